"""A notebook as the inside of a page: its cells in order, what is hidden folded, pictures with their words."""

import base64
import hashlib
import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field

import nbformat

from .markdown import Text, colored, plain, slug

__all__ = ["Sheet", "inline", "sheet"]

ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")  # colors of a terminal
GUESS = re.compile(r"^(\*\*Guess first\.\*\* .*) \*\((.+ · .+)\)\*$", re.S)
HEADING = re.compile(r'<h([1-6]) id="([^"]*)">(.*?)</h\1>', re.S)
# the third line of every title: links to its neighbors, which a page has at its foot; and badges, which it words itself
BADGES = re.compile(r"^(?:\[!\[Open in Colab\]|\[!\[Launch Binder\]|\[← |\[Map\]\(README).*$", re.M)


@dataclass
class Sheet:
    """A page's title, its inside as HTML, and its headings (level, anchor, text) in order."""

    title: str
    body: str
    headings: list[tuple[int, str, str]] = field(default_factory=list)

    def sections(self) -> list[tuple[str, str, str]]:
        """Return (anchor, heading, words below it), for the search."""
        parts = HEADING.split(self.body)
        found = [("", self.title, plain(parts[0]))]
        for anchor, heading, below in zip(parts[2::4], parts[3::4], parts[4::4], strict=True):
            found.append((anchor, plain(heading), plain(below)))
        return found


def inline(picture: bytes) -> str:
    """Return a picture's address that holds the picture itself."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def sheet(notebook: nbformat.NotebookNode, text: Text, store: Callable[[bytes], str] = inline) -> Sheet:
    """Return a notebook's page; `store` keeps a picture and returns its address."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            attached = {
                name: store(base64.b64decode(bundle["image/png"]))
                for name, bundle in cell.get("attachments", {}).items()
                if "image/png" in bundle
            }
            parts.append(text(BADGES.sub("", cell.source) if not parts else cell.source, attached))
        elif cell.cell_type == "code" and cell.source.strip():
            parts.append(_code(cell, text, store))
    body = _anchors(_framed("\n".join(parts)))
    headings = [(int(level), anchor, plain(words)) for level, anchor, words in HEADING.findall(body)]
    title = next((words for level, _, words in headings if level == 1), "")
    return Sheet(title, body, headings)


def _code(cell, text: Text, store) -> str:
    source = colored(cell.source)
    asks = cell.source.startswith("guess(")  # the page asks by itself
    if cell.metadata.get("jupyter", {}).get("source_hidden") or asks:  # fold it, as JupyterLab does
        source = f'<details class="folded"><summary>Code</summary>\n{source}</details>'
    outputs = "\n".join(filter(None, (_output(output, text, store) for output in cell.get("outputs", []))))
    outputs = f'\n<div class="out">\n{outputs}\n</div>' if outputs else ""
    return f'<div class="cell">{source}{outputs}</div>'


def _output(output, text: Text, store) -> str:
    if output.output_type == "stream":
        return _printed(output.text, output.name)
    if output.output_type == "error":
        return _printed("\n".join(output.traceback), "error")
    data = output.data
    if "application/vnd.jupyter.widget-view+json" in data:
        return ""  # the page has no kernel to turn it; what it showed stands beside it
    if "image/png" in data:
        look = output.metadata.get("image/png", {})
        width = f' width="{look["width"]}"' if "width" in look else ""
        address = store(base64.b64decode(data["image/png"]))
        image = f'<img src="{address}"{width} alt="{html.escape(look.get("alt", ""))}" loading="lazy">'
        return f'<div class="picture" tabindex="0">{image}</div>'
    if "text/markdown" in data:
        guess = GUESS.match(data["text/markdown"].strip())
        return _guess(guess, text) if guess else f'<div class="said">{text(data["text/markdown"])}</div>'
    return _printed(data.get("text/plain", ""), "result")


def _printed(words: str, kind: str) -> str:
    words = ESCAPES.sub("", words).rstrip("\n")
    return f'<pre class="{kind}" tabindex="0">{html.escape(words, quote=False)}</pre>' if words else ""


def _guess(match: re.Match, text: Text) -> str:
    """The question with a button for each option: whoever reads on the web guesses, too."""
    buttons = "".join(f'<button type="button">{html.escape(option)}</button>' for option in match[2].split(" · "))
    return f'<div class="guess">{text(match[1])}<p>{buttons}</p><p role="status"></p></div>'


def _framed(body: str) -> str:
    """Put what the style sheet treats apart into boxes: mistakes, notes, exercises' solutions."""
    kinds = {"Common mistake.": "mistake", "Note.": "note"}
    for words, kind in kinds.items():
        opening = f"<blockquote>\n<p><strong>{words}</strong>"
        body = body.replace(opening, opening.replace("<blockquote>", f'<blockquote class="{kind}">'))
    return body


def _anchors(body: str) -> str:
    """Number the anchors of headings that are alike, so that each leads to its own."""
    seen: dict[str, int] = {}

    def once(match: re.Match) -> str:
        level, anchor, words = match[1], match[2] or slug(hashlib.md5(match[3].encode()).hexdigest()[:6]), match[3]
        seen[anchor] = seen.get(anchor, 0) + 1
        anchor += f"-{seen[anchor] - 1}" if seen[anchor] > 1 else ""
        return f'<h{level} id="{anchor}">{words}</h{level}>'

    return HEADING.sub(once, body)
