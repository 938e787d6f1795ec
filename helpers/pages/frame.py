"""The page around what is read: its head, the way to every other page, and what stands on this one."""

import html
from dataclasses import dataclass
from pathlib import Path
from string import Template

__all__ = ["COURSE", "LOOK", "Place", "frame"]

LOOK = Path(__file__).resolve().parent / "look"  # page.html, page.css and page.js
COURSE = "Mistral-7B in 4 bits"


@dataclass(frozen=True)
class Place:
    """A page to go to: its address, its number or sign, its name."""

    address: str
    sign: str
    name: str


def frame(
    title: str,
    body: str,
    *,
    places: dict[str, list[Place]],
    here: str,
    headings: list[tuple[int, str, str]] = (),
    above: str = "",
    kind: str = "text",
    scripts: list[str] = (),
    search: str = "",
    sheets: list[str] = (),
    home: str = "index.html",
) -> str:
    """Return a whole page.

    `places` are groups of pages by their heading, and `here` is this one's address. `above` stands before the text,
    such as a mark or links. With `sheets`, which are addresses of style sheets, the page reads those, and page.js
    beside it; without, it holds page.css and page.js itself. `search` is the address of the index, loaded on demand.
    """
    order = [place for group in places.values() for place in group]
    at = next((i for i, place in enumerate(order) if place.address == here), None)
    linked = "\n".join(f'<link rel="stylesheet" href="{sheet}">' for sheet in sheets)
    values = {
        "title": html.escape(title if title.startswith(COURSE) else f"{title} · {COURSE}"),
        "course": COURSE,
        "home": home,
        "kind": kind,
        "style": linked or f"<style>\n{read('page.css')}</style>",
        "script": '<script src="page.js"></script>' if sheets else f"<script>\n{read('page.js')}</script>",
        "more": "".join(f'\n<script src="{script}"></script>' for script in scripts),
        "find": FIND.format(index=search) if search else "",
        "nav": "\n".join(_group(name, group, here) for name, group in places.items()),
        "above": above,
        "contents": _contents(headings),
        "body": body,
        "around": _around(order, at),
    }
    return Template(read("page.html")).substitute(values)


FIND = """<div class="find" role="search"><input type="search" id="find" placeholder="Search" aria-label="Search the \
course" data-index="{index}" autocomplete="off"><div id="found" role="status"></div></div>"""


def read(name: str) -> str:
    return (LOOK / name).read_text(encoding="utf-8")


def _link(place: Place, here: str) -> str:
    mark = ' aria-current="page"' if place.address == here else ""
    sign = f"<b>{html.escape(place.sign)}</b> " if place.sign else ""
    return f'<li><a href="{place.address}"{mark}>{sign}{html.escape(place.name)}</a></li>'


def _group(name: str, group: list[Place], here: str) -> str:
    links = "\n".join(_link(place, here) for place in group)
    return f"<h2>{html.escape(name)}</h2>\n<ul>\n{links}\n</ul>"


def _contents(headings: list[tuple[int, str, str]]) -> str:
    links = [
        f'<li><a href="#{anchor}">{html.escape(words)}</a></li>' for level, anchor, words in headings if level == 2
    ]
    if len(links) < 3:
        return ""
    inner = "\n".join(links)
    return f'<details class="contents"><summary>On this page</summary>\n<ul>\n{inner}\n</ul></details>'


def _around(order: list[Place], at: int | None) -> str:
    """Links to the page before and the page after."""
    if at is None:
        return ""
    before = order[at - 1] if at > 0 else None
    after = order[at + 1] if at + 1 < len(order) else None
    parts = []
    for place, words, way in ((before, "Previous", "prev"), (after, "Next", "next")):
        if place:
            name = html.escape(f"{place.sign} {place.name}".strip())
            parts.append(f'<a class="{way}" rel="{way}" href="{place.address}"><span>{words}</span>{name}</a>')
    return f'<nav class="around" aria-label="Previous and next page">{"".join(parts)}</nav>'
