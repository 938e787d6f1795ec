"""Which notebooks there are, in which order, and which of them are asked for."""

import json
import re
from pathlib import Path

from .outcome import NotebookError

__all__ = ["NOTEBOOKS", "ROOT", "TIMING", "course_map", "map_problems", "measures_time", "select", "titles"]

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = ROOT / "notebooks"
TIMING = "timing"  # a cell with this tag measures time: while it runs, no other notebook's cell does


def course_map(folder: Path = NOTEBOOKS) -> list[str]:
    """Return the notebooks' names, without extension, in the order in which `folder/README.md` links them."""
    try:
        text = (Path(folder) / "README.md").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotebookError("There is no map: notebooks/README.md is missing.") from None
    return list(dict.fromkeys(re.findall(r"\]\((?:\./)?([\w.-]+)\.ipynb\)", text)))


def titles(folder: Path = NOTEBOOKS) -> dict[str, str]:
    """Return each notebook's title, without its number, by name and in the map's order."""
    return {name: _title(Path(folder) / f"{name}.ipynb") or name for name in course_map(folder)}


def _title(path: Path) -> str:
    """The first line of a notebook: "# 05 · Measure memory" gives "Measure memory"; "" if it has none."""
    try:
        first = json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"]
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return ""
    line = "".join(first).partition("\n")[0]
    return re.sub(r"^#\s*(?:\d+ · )?", "", line) if line.startswith("#") else ""


def map_problems(folder: Path = NOTEBOOKS) -> dict[str, str]:
    """Return one sentence for each notebook that is missing from the map, or in the map without a file."""
    listed = course_map(folder)
    files = sorted(path.stem for path in Path(folder).glob("*.ipynb"))
    problems = {
        name: f"{name}.ipynb is in the map notebooks/README.md, but there is no such file."
        for name in listed
        if name not in files
    }
    for name in files:
        if name not in listed:
            problems[name] = f"{name}.ipynb is not in the map notebooks/README.md: add its row."
    return problems


def measures_time(path: Path) -> bool:
    """Whether a notebook has a cell with the tag `timing`: a neighbor would change its figures."""
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        return any(TIMING in cell.get("metadata", {}).get("tags", []) for cell in cells)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True  # no notebook: `execute` says so


def select(names: list[str], only: str) -> list[str]:
    """Return those of `names` that `only` asks for by number or name ("05", "04,05"); all for an empty text."""
    wanted = [part.strip().removesuffix(".ipynb") for part in only.replace(" ", ",").split(",") if part.strip()]
    if not names:
        raise NotebookError("The map notebooks/README.md lists no notebook.")
    for part in wanted:
        if not any(_matches(name, part) for name in names):
            raise NotebookError(f"ONLY={only}: no notebook {part}; there are {', '.join(names)}.")
    return [name for name in names if not wanted or any(_matches(name, part) for part in wanted)]


def _matches(name: str, part: str) -> bool:
    return name == part or name.split("_")[0] == part.zfill(2)
