"""Bring badges and setup cells in line with the course's public address: `make links REPO=owner/name TAG=v0.1.0`.

The address and the tag have one place, `Source` under [project.urls] in pyproject.toml; without them, notebooks say so.
"""

import argparse
import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import quote

import nbformat

ROOT = Path(__file__).resolve().parent.parent
NO_BADGES = "<!-- `make links` puts the badges of Colab and Binder here -->"  # a reader sees nothing
NO_SETUP = """\
# On Colab this cell fetches the course and what Colab lacks; anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    raise RuntimeError("This copy has no public address yet: upload the repository and run `pip install -e .` in it.")
""".rstrip()
SETUP = """\
# On Colab this cell fetches the course and what Colab lacks; anywhere else it does nothing.
import sys

if "google.colab" in sys.modules:
    import subprocess
    from pathlib import Path

    address, tag = "https://github.com/{repo}", "{tag}"
    course = Path("mistral-4bit-course").resolve()
    if not course.exists():
        clone = ["git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--depth=1", f"--branch={{tag}}"]
        subprocess.run([*clone, address, str(course)], check=True)
    sys.path.insert(0, str(course))
    from helpers import colab

    colab.setup()"""
COLAB = "https://colab.research.google.com/github/{repo}/blob/{tag}/notebooks/{name}.ipynb"
BINDER = "https://mybinder.org/v2/gh/{repo}/{tag}?urlpath=lab/tree/notebooks/{file}"
SITE = "https://{owner}.github.io/{name}/"  # where the workflow *Pages* puts what `make site` builds
PAGE = re.compile(r"\]\((?:(?:\.\./)?build/site/|https://[\w-]+\.github\.io/[\w.-]+/)(\w+\.html)\)")
# a line that this program may replace: what it writes itself, with or without an address
OURS = re.compile(rf"^(?:{re.escape(NO_BADGES)}|\[!\[Open in Colab\].*|\[!\[Launch Binder\].*)$", re.M)


def where(root: Path = ROOT) -> tuple[str, str] | None:
    """Return (owner/name, tag) from pyproject.toml, or None while the course has no public address."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    source = project.get("urls", {}).get("Source")
    found = re.fullmatch(r"https://github\.com/([^/]+/[^/]+)/tree/(.+)", source or "")
    if source and not found:
        raise SystemExit(f"pyproject.toml: Source is {source}, and not https://github.com/owner/name/tree/TAG.")
    return (found[1], found[2]) if found else None


def settle(repo: str, tag: str, root: Path = ROOT) -> None:
    """Write the address into pyproject.toml; two empty texts take it out."""
    if bool(repo) != bool(tag):
        raise SystemExit("Give both REPO and TAG, as in make links REPO=owner/name TAG=v0.1.0.")
    if repo and not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?/[A-Za-z0-9._-]+", repo):
        raise SystemExit(f"REPO is {repo!r} and must be owner/name, as on GitHub.")
    if repo and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", tag):
        raise SystemExit(f"TAG is {tag!r} and must be the name of a tag, without spaces or slashes.")
    path = root / "pyproject.toml"
    head, table, rest = path.read_text(encoding="utf-8").partition("[project.urls]\n")
    rest = re.sub(r"^Source = .*\n", "", rest, flags=re.M)
    line = f'Source = "https://github.com/{repo}/tree/{tag}"\n' if repo else ""
    path.write_text(head + table + line + rest, encoding="utf-8")


def setup_cell(place: tuple[str, str] | None) -> str:
    """Return the source of the setup cell, the same in every notebook."""
    return SETUP.format(repo=place[0], tag=place[1]) if place else NO_SETUP


def badges(place: tuple[str, str] | None, name: str) -> str:
    """Return the line of badges of one notebook."""
    if not place:
        return NO_BADGES
    colab = COLAB.format(repo=place[0], tag=place[1], name=name)
    return (
        f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({colab}) "
        f"[![Launch Binder](https://mybinder.org/badge_logo.svg)]({_binder(place, f'{name}.ipynb')})"
    )


def front(place: tuple[str, str] | None, names: list[str]) -> str:
    """Return the line of the README: the map on Binder, each notebook on Colab."""
    if not place:
        return NO_BADGES
    links = " · ".join(f"[{name[:2]}]({COLAB.format(repo=place[0], tag=place[1], name=name)})" for name in names)
    return f"[![Launch Binder](https://mybinder.org/badge_logo.svg)]({_binder(place, 'README.md')}) Colab: {links}"


def _binder(place: tuple[str, str], file: str) -> str:
    return BINDER.format(repo=place[0], tag=quote(place[1], safe=""), file=file)


def pages(text: str, place: tuple[str, str] | None, up: str = "") -> str:
    """Return a text whose links to the course's site lead to its public address, or, without one, to what was built."""
    if place:
        owner, name = place[0].split("/")
        start = SITE.format(owner=owner.lower(), name=name)
    else:
        start = f"{up}build/site/"
    return PAGE.sub(rf"]({start}\1)", text)


def apply(root: Path = ROOT) -> list[Path]:
    """Rewrite what differs from the address in pyproject.toml and return the files that changed."""
    place = where(root)
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    texts = {path: _notebook(path, place) for path in paths}
    readme = root / "README.md"
    text = _line(readme.read_text(encoding="utf-8"), front(place, [path.stem for path in paths]), "README.md")
    texts[readme] = pages(text, place)
    teaching = root / "notebooks" / "TEACHING.md"
    texts[teaching] = pages(teaching.read_text(encoding="utf-8"), place, up="../")
    changed = [path for path, text in texts.items() if text != path.read_text(encoding="utf-8")]
    for path in changed:
        path.write_text(texts[path], encoding="utf-8")
    return changed


def _notebook(path: Path, place: tuple[str, str] | None) -> str:
    notebook = nbformat.read(path, as_version=4)
    title, setup = notebook.cells[0], notebook.cells[2]
    if setup.cell_type != "code" or "google.colab" not in setup.source:
        raise SystemExit(f"{path.name}: the third cell must be the setup cell, which mentions google.colab.")
    title.source = _line(title.source, badges(place, path.stem), path.name)
    setup.source = setup_cell(place)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = pages(cell.source, place, up="../")
    return nbformat.writes(notebook) + "\n"


def _line(text: str, line: str, name: str) -> str:
    text, count = OURS.subn(lambda _: line, text)
    if count != 1:
        raise SystemExit(f"{name}: {count} lines of badges, and there must be one.")
    return text


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make links", description=__doc__.splitlines()[0])
    parser.add_argument("--repo", default=None, help="owner/name on GitHub; an empty text takes the address out")
    parser.add_argument("--tag", default=None, help="the tag under which this copy is published")
    options = parser.parse_args(arguments)
    if options.repo is not None or options.tag is not None:
        settle(options.repo or "", options.tag or "")
    changed = apply()
    place = where()
    print(f"{len(changed)} files changed; {' at '.join(place) if place else 'no address is set'}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
