"""Terms linked to the glossary: the first time that a page uses one, its words lead there and show its meaning."""

import html
import re
from pathlib import Path

from .markdown import Text, plain, slug

__all__ = ["Glossary"]

ROW = re.compile(r"^\| \*\*(.+?)\*\* \| (.+?) \| [\d, ]+ \|$", re.M)
INSIDE = re.compile(r"a|code|pre|h[1-6]|summary|math|th|button|td")  # where no word becomes a link


class Glossary:
    """The terms of GLOSSARY.md, and their links in a page's HTML; `page` is the glossary's own address."""

    def __init__(self, file: Path, page: str):
        self.page, self.meanings = page, {}
        for names, meaning in ROW.findall(file.read_text(encoding="utf-8")):
            for name in names.split(","):
                if name.strip() != "the":
                    self.meanings[name.strip()] = (slug(names), plain(Text()(meaning)))
        longest_first = sorted(map(re.escape, self.meanings), key=len, reverse=True)
        self.words = re.compile(rf"(?<![\w-])({'|'.join(longest_first)})(s?)(?![\w-])", re.I) if self.meanings else None

    def linked(self, markup: str) -> str:
        """Return the HTML with the first use of each term as a link; headings, code and tables are left alone."""
        if not self.words:
            return markup
        depth, done, out = 0, set(), []
        for part in re.split(r"(<[^>]+>)", markup):
            if tag := re.match(r"<(/?)(\w+)", part):
                if INSIDE.fullmatch(tag[2]):
                    depth += -1 if tag[1] else 1
            elif not depth:
                part = self.words.sub(lambda match: self._link(match, done), part)
            out.append(part)
        return "".join(out)

    def _link(self, match: re.Match, done: set[str]) -> str:
        exact = {name.lower(): name for name in self.meanings}[match[1].lower()]
        anchor, meaning = self.meanings[exact]
        same = match[1] == exact or exact.islower()  # "nat" may begin a sentence, and "Guide" is no "GUIDE"
        if not same or anchor in done:
            return match[0]
        done.add(anchor)
        return f'<a class="term" href="{self.page}#{anchor}" title="{html.escape(meaning)}">{match[0]}</a>'

    def anchored(self, markup: str) -> str:
        """Return the glossary's own HTML with an anchor at each row."""
        return re.sub(
            r"<tr>\s*<td><strong>(.+?)</strong>",
            lambda match: f'<tr id="{slug(match[1])}"><td><strong>{match[1]}</strong>',
            markup,
        )
