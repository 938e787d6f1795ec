"""A learner's copy of the notebooks, without outputs: `python -m helpers.learn` writes it to learn/.

The notebooks in notebooks/ keep their outputs for readers on the web. Whoever works through them wants to guess before
the answer can be seen. A copy that the learner has changed, or run, is never touched again.
"""

import copy
import hashlib
import json
import sys
from pathlib import Path

import nbformat

from . import files, run
from .errors import CourseError

__all__ = ["FOLDER", "cleared", "prepare", "said"]

FOLDER = run.ROOT / "learn"
NOTED = ".written.json"  # in the folder: a hash of each file as it was written there


def cleared(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A notebook without outputs, counts of executions, and the hash of the code that the outputs came from."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop(run.SOURCES, None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def prepare(folder: Path = FOLDER) -> dict[str, str]:
    """Write or refresh the copy; return by file "new", "same", "refreshed", "yours", or "yours, outdated".

    A file that differs from what was written there is the learner's and stays as it is, whatever the course has by now.
    Raises CourseError when nothing can be written to the folder.
    """
    noted = _noted(folder)
    outcome = {}
    for name, content in _contents().items():
        path, now = folder / name, _hash(content)
        there = _there(path, content)
        if there not in (None, noted.get(name), now):
            outcome[name] = "yours" if noted.get(name) == now else "yours, outdated"
            continue
        outcome[name] = "new" if there is None else "same" if there == now else "refreshed"
        try:
            if there != now:
                files.write(path, content)
            if noted.get(name) != now:
                noted[name] = now
                files.write(folder / NOTED, json.dumps(noted, indent=1) + "\n")
        except OSError as error:
            raise CourseError(
                f"Nothing can be written to {folder} ({error.strerror}): free some room, or open notebooks/ instead."
            ) from error
    return outcome


def said(outcome: dict[str, str], folder: Path = FOLDER) -> str:
    """What `prepare` did, for the learner."""
    yours = [name for name, state in outcome.items() if state.startswith("yours")]
    lines = [f"Your copies of the notebooks are in {folder.name}/, without outputs, so that you can guess first."]
    if yours:
        lines.append(f"Left as you left them: {', '.join(yours)}.")
    if outdated := [name for name in yours if outcome[name].endswith("outdated")]:
        lines.append(
            f"The course has newer ones of {', '.join(outdated)}: rename yours, and the next call brings them."
        )
    return "\n".join(lines)


def _contents() -> dict[str, str | bytes]:
    """What belongs into the copy, by file name: the notebooks, and the pages and films that they link to."""
    texts = {}
    for name in run.course_map():
        notebook = nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4)
        texts[f"{name}.ipynb"] = nbformat.writes(cleared(notebook)) + "\n"
    for page in sorted(run.NOTEBOOKS.glob("*.md")):  # the recordings are not copied
        texts[page.name] = page.read_text(encoding="utf-8").replace("](recorded/", "](../notebooks/recorded/")
    films = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in run.NOTEBOOKS.glob("animations/*.gif")}
    return texts | films


def _there(path: Path, content: str | bytes) -> str | None:
    """The hash of what lies at `path`, read as what is to come there: text has other ends of lines on Windows."""
    if not path.is_file():
        return None
    is_text = isinstance(content, str)
    return _hash(path.read_text(encoding="utf-8", errors="replace") if is_text else path.read_bytes())


def _noted(folder: Path) -> dict[str, str]:
    try:
        noted = json.loads((folder / NOTED).read_text(encoding="utf-8"))
        return noted if isinstance(noted, dict) else {}
    except (OSError, ValueError):
        return {}


def _hash(content: str | bytes) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


if __name__ == "__main__":
    try:
        print(said(prepare()))
    except CourseError as error:
        sys.exit(str(error))
