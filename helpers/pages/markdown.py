"""Markdown as HTML, with everything that a page needs already in it: math, colored code, and links that lead on.

Math becomes MathML, which browsers draw by themselves: no script, no font to fetch, and a screen reader reads it.
"""

import html
import re
from collections.abc import Callable
from urllib.parse import unquote

import mistune
from latex2mathml.converter import convert
from mistune.plugins.math import math
from mistune.plugins.table import table
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

__all__ = ["Text", "colored", "plain", "slug"]

# HTML that our texts may hold; anything else, which a model may have written, is shown as text
TAG = re.compile(r"</?(?:details|summary|br|sub|sup|kbd)(?: open)?\s*/?>")
# below the link to a film, the film: it can be folded, and whoever asked for less motion has the drawing above it
FILM = """<details class="film" open><summary>Fold it to stop it</summary>
<div class="picture" tabindex="0"><img src="{}" alt="{}" loading="lazy"></div></details>
"""
ANY_TAG = re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>", re.S)


def slug(heading: str) -> str:
    """Return a heading's anchor; links in the style of GitHub and of JupyterLab both come out as this one."""
    return re.sub(r"[^\w\- ]", "", plain(unquote(heading)).lower()).strip().replace(" ", "-")


def plain(markup: str) -> str:
    """Return the words of some HTML, for a title, an anchor or the search."""
    joined = re.sub(r"</?(?:span|a|b|em|strong|code|sub|sup|mi|mo|mn|msub|msup|mrow)\b[^>]*>", "", markup)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", joined)).split())


def colored(code: str, language: str = "python") -> str:
    """Return code as HTML, its words in classes that the style sheet colors; a long line can be scrolled to by keys."""
    try:
        lexer = get_lexer_by_name(language or "text", stripnl=False)
    except ClassNotFound:
        lexer = get_lexer_by_name("text", stripnl=False)
    inner = highlight(code, lexer, HtmlFormatter(nowrap=True)).rstrip("\n")
    return f'<pre class="code" tabindex="0"><code>{inner}</code></pre>'


class Text:
    """Turns Markdown into HTML; `link` says where a target leads on this page, or None where it leads nowhere."""

    def __init__(self, link: Callable[[str], str | None] = lambda target: target):
        self._renderer = _Renderer(link)
        self._parse = mistune.Markdown(renderer=self._renderer, plugins=[table, math])

    def __call__(self, text: str, images: dict[str, str] | None = None) -> str:
        """Return the HTML of a text; `images` are addresses of what it has attached, by name."""
        self._renderer.images = images or {}
        return str(self._parse(text))


class _Renderer(mistune.HTMLRenderer):
    def __init__(self, where: Callable[[str], str | None]):
        super().__init__(escape=False)
        self.where, self.images, self.films = where, {}, []

    def heading(self, text: str, level: int, **attributes) -> str:
        return f'<h{level} id="{slug(text)}">{text}</h{level}>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        there = self.where(url)
        if there is None:
            return text
        outside = ' rel="external"' if re.match(r"https?:", there) else ""
        if there.endswith(".gif") and title:
            self.films.append(FILM.format(html.escape(there), html.escape(title)))
        return f'<a href="{html.escape(self.safe_url(there))}"{outside}>{text}</a>'

    def image(self, text: str, url: str, title: str | None = None) -> str:
        if re.match(r"https?:", url):  # a badge: the page shows its words, and asks no other machine for a picture
            return text
        there = self.images.get(url.removeprefix("attachment:")) or self.where(url)
        return f'<img src="{html.escape(there or "")}" alt="{html.escape(plain(text))}" loading="lazy">'

    def paragraph(self, text: str) -> str:
        if re.fullmatch(r"<img [^>]*>", text):  # a drawing: as those that cells make
            return f'<div class="picture" tabindex="0">{text}</div>\n'
        films, self.films = self.films, []
        return f"<p>{text}</p>\n" + "".join(films)

    def block_code(self, code: str, info: str | None = None) -> str:
        return colored(code, (info or "").split(" ")[0] or "text") + "\n"

    def table(self, text: str) -> str:
        return f'<div class="wide" tabindex="0"><table>\n{text}</table></div>\n'

    def inline_math(self, text: str) -> str:
        return self._math(text, "inline")

    def block_math(self, text: str) -> str:
        return f'<div class="wide" tabindex="0">{self._math(text, "block")}</div>\n'

    def _math(self, text: str, display: str) -> str:
        try:
            return convert(text, display=display)
        except Exception:  # of a parser that is not ours: the formula as it is written is better than no page
            return f"<code>{html.escape(text)}</code>"

    def block_html(self, markup: str) -> str:
        return _ours(markup)

    def inline_html(self, markup: str) -> str:
        return _ours(markup)


def _ours(markup: str) -> str:
    """The HTML with our own tags as they are, comments left out, and every other tag as text."""

    def keep(match: re.Match) -> str:
        tag = match[0]
        if tag.startswith("<!--"):
            return ""
        return tag if TAG.fullmatch(tag) else html.escape(tag)

    return ANY_TAG.sub(keep, markup)
