"""Build the course's site from the committed notebooks, without executing anything: `make site` → build/site/.

Everything that a page loads lies beside it, and scripts are plain ones, so that the site works from a disk as well.
"""

import hashlib
import html
import json
import re
import shutil
import sys
import time
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helpers import files, pages, run  # noqa: E402
from helpers.errors import CourseError  # noqa: E402
from scripts import links, teachers  # noqa: E402

SOURCE = ROOT / "site"
TARGET = ROOT / "build" / "site"
# Texts that become pages, by the name of the page
TEXTS = {
    "map": "notebooks/README.md",
    "glossary": "notebooks/GLOSSARY.md",
    "teaching": "notebooks/TEACHING.md",
    "readme": "README.md",
}
NAMES = {"map": "The map", "glossary": "Glossary", "teaching": "For teachers", "readme": "Install and run"}
SHEETS = "To print, a page each"  # for teachers, about each notebook
# The tools: a file site/NAME.html each, and the scripts it needs
TOOLS = {
    "quantize": ("Quantize a block", ["numbers.js", "quantize.js"]),
    "bits": ("The bits of a number", ["numbers.js", "bits.js"]),
    "fit": ("Will it fit?", ["forecasts.js", "forecast.js", "fit.js"]),
    "update": ("An update that vanishes", ["numbers.js", "update.js"]),
}


def build(target: Path = TARGET) -> Path:
    """Write the whole site into a folder and return it; what was there before stays until all is made."""
    with files.replacing(target) as folder:
        (folder / "pictures").mkdir(parents=True)
        (folder / "notebooks").mkdir()
        Site(folder).write()
    return target


class Site:
    """One build: what all pages share, and the pages."""

    def __init__(self, folder: Path):
        self.folder, self.index = folder, []
        self.titles = run.titles()
        self.address = links.where(ROOT)  # (owner/name, tag), or None
        self.glossary = pages.Glossary(ROOT / "notebooks" / "GLOSSARY.md", "glossary.html")
        self.places = {
            "Start": [pages.Place("index.html", "", "Welcome"), *self._texts("map", "readme")],
            "Notebooks": [pages.Place(f"{name}.html", name[:2], title) for name, title in self.titles.items()],
            "Compute here": [pages.Place(f"{name}.html", "", title) for name, (title, _) in TOOLS.items()],
            "More": [*self._texts("glossary", "teaching"), pages.Place("teachers.html", "", SHEETS)],
        }

    @staticmethod
    def _texts(*names: str) -> list:
        return [pages.Place(f"{name}.html", "", NAMES[name]) for name in names]

    def write(self) -> None:
        for path in (*SOURCE.glob("*.js"), *SOURCE.glob("*.css"), pages.LOOK / "page.css", pages.LOOK / "page.js"):
            shutil.copy(path, self.folder / path.name)
        table = (SOURCE / "forecasts.json").read_text(encoding="utf-8")
        self._file("forecasts.js", f"window.FORECASTS = {table.strip()};\n")
        for name in self.titles:
            self.notebook(name)
        for name, source in TEXTS.items():
            self.text(name, ROOT / source)
        for name, (title, scripts) in TOOLS.items():
            self.page(name, title, self._part(name), kind="compute", scripts=scripts)
        self.sheets()
        self.page("index", pages.COURSE, self._front(), kind="front", scripts=TOOLS["quantize"][1])
        self._file("search.js", f"window.COURSE_INDEX = {json.dumps(self.index, ensure_ascii=False)};\n")

    def notebook(self, name: str) -> None:
        path = run.NOTEBOOKS / f"{name}.ipynb"
        shutil.copy(path, self.folder / "notebooks" / path.name)
        sheet = pages.sheet(nbformat.read(path, as_version=4), self._reader(path), self._picture)
        ways = [f'<a href="notebooks/{name}.ipynb" download>Download the notebook</a>']
        if self.address:
            ways += [f'<a href="{address}" rel="external">{words}</a>' for words, address in self._elsewhere(name)]
        ways.append(f'<a href="teachers.html#{teachers.anchor(name)}">A page for teachers</a>')
        above = f'<p class="above">{" ".join(ways)}</p>'
        self.page(name, sheet.title, sheet.body, headings=sheet.headings, above=above)
        self._note(name, sheet)

    def text(self, name: str, path: Path) -> None:
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(path.read_text(encoding="utf-8"))])
        sheet = pages.sheet(notebook, self._reader(path))
        body = self.glossary.anchored(sheet.body) if name == "glossary" else sheet.body
        self.page(name, NAMES[name], body, headings=sheet.headings, linked_terms=name != "glossary")
        self._note(name, sheet)

    def sheets(self) -> None:
        """The teachers' pages, one below the other: in print, each is a sheet of paper."""
        body = [self._part("teachers")]
        for name, title in self.titles.items():
            body.append(teachers.sheet(name, title, self._reader(run.NOTEBOOKS / f"{name}.ipynb"), self._picture))
        headings = [(2, teachers.anchor(name), f"{name[:2]} {title}") for name, title in self.titles.items()]
        self.page("teachers", "A page for each notebook", "\n".join(body), headings=headings, kind="sheets")

    def page(self, name: str, title: str, body: str, *, linked_terms: bool = True, **how) -> None:
        if linked_terms and "kind" not in how:
            body = self.glossary.linked(body)
        sheets = ["page.css", "site.css"] if "kind" in how else ["page.css"]
        here = {"places": self.places, "here": f"{name}.html", "search": "search.js", "sheets": sheets}
        self._file(f"{name}.html", pages.frame(title, body, **here, **how))

    def _reader(self, path: Path) -> pages.Text:
        return pages.Text(lambda target: self._link(target, path))

    def _link(self, target: str, page: Path) -> str | None:
        """Where a link leads on the site; to the repository's other files only once there is an address."""
        if own := links.PAGE.fullmatch(f"]({target})"):  # a page of this site, whatever its address
            return own[1]
        if re.match(r"[a-z]+:", target):
            return target
        place, _, anchor = target.partition("#")
        anchor = f"#{pages.slug(anchor)}" if anchor else ""
        if not place:
            return anchor
        there = (page.parent / place).resolve()
        known = {(ROOT / source).resolve(): f"{name}.html" for name, source in TEXTS.items()}
        known |= {run.NOTEBOOKS / f"{name}.ipynb": f"{name}.html" for name in self.titles}
        if there in known:
            return known[there] + anchor
        if there.suffix in {".png", ".gif"} and there.is_file():
            return self._picture(there.read_bytes(), there.suffix)
        if self.address and there.exists():
            repo, tag = self.address
            return f"https://github.com/{repo}/blob/{tag}/{there.relative_to(ROOT).as_posix()}{anchor}"
        return None

    def _elsewhere(self, name: str) -> list[tuple[str, str]]:
        repo, tag = self.address
        colab = links.COLAB.format(repo=repo, tag=tag, name=name)
        binder = links.BINDER.format(repo=repo, tag=tag, file=f"{name}.ipynb")
        return [("Open in Colab", colab), ("Open in Binder", binder)]

    def _picture(self, picture: bytes, kind: str = ".png") -> str:
        name = f"pictures/{hashlib.sha256(picture).hexdigest()[:16]}{kind}"
        (self.folder / name).write_bytes(picture)
        return name

    def _note(self, name: str, sheet: pages.Sheet) -> None:
        """Remember the words of a page for the search: page, title, anchor, heading, text."""
        title = NAMES.get(name) or f"{name[:2]} {self.titles[name]}"
        for anchor, heading, words in sheet.sections():
            if words:
                self.index.append([f"{name}.html", title, anchor, heading, words])

    def _part(self, name: str) -> str:
        return (SOURCE / f"{name}.html").read_text(encoding="utf-8")

    def _front(self) -> str:
        """The front page, with the notebooks of the map and the first tool in their places."""
        rows = re.findall(
            r"^\| \d+ \| \[.+?\]\((\w+)\.ipynb\) \| (.+?) \| (\d+ min) \|",
            (run.NOTEBOOKS / "README.md").read_text(encoding="utf-8"),
            re.M,
        )
        items = [
            f'<li><a href="{name}.html"><b>{name[:2]}</b> {html.escape(self.titles[name])}</a>'
            f" <span>{time}</span><br>{html.escape(what)}</li>"
            for name, what, time in rows
        ]
        return self._part("index").replace("{notebooks}", "\n".join(items)).replace("{quantize}", self._panel())

    def _panel(self) -> str:
        """The first tool without the text around it."""
        return re.search(r"<section .*?</section>", self._part("quantize"), re.S)[0]

    def _file(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")


def main() -> int:
    begun = time.monotonic()
    try:
        folder = build()
    except CourseError as error:
        print(error, file=sys.stderr)
        return 1
    made = [path for path in folder.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in made)
    print(f"{len(made)} files, {size / 1e6:.1f} MB, in {time.monotonic() - begun:.1f} s. Open {folder / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
