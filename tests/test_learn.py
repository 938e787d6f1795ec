"""The learner's copy: without outputs, with working links, and never written over once it was changed."""

import os
import re
from pathlib import Path

import nbformat
import pytest

from helpers import learn, run
from helpers.errors import CourseError

NAME = f"{run.course_map()[1]}.ipynb"


@pytest.fixture
def folder(tmp_path):
    learn.prepare(tmp_path / "learn")
    return tmp_path / "learn"


def test_the_copy_has_every_cell_and_no_output(folder):
    for name in run.course_map():
        shipped = nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4)
        copied = nbformat.read(folder / f"{name}.ipynb", as_version=4)
        nbformat.validate(copied)
        assert [(c.id, c.source, c.metadata) for c in copied.cells] == [
            (c.id, c.source, c.metadata) for c in shipped.cells
        ]
        assert [c.get("attachments") for c in copied.cells] == [c.get("attachments") for c in shipped.cells]
        assert not any(cell.get("outputs") or cell.get("execution_count") for cell in copied.cells)


def test_links_of_the_copy_lead_to_what_is_there(folder):
    pages = {path.name for path in folder.iterdir()}
    assert {path.name for path in run.NOTEBOOKS.glob("*.md")} <= pages and folder.name == learn.FOLDER.name
    assert learn.FOLDER.parent == run.NOTEBOOKS.parent  # so that ../README.md is the same page from both
    found = []
    for page in folder.glob("*.md"):
        found += re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    for target in found:
        if target.startswith("../build/site/"):  # there after `make site`
            continue
        beside = Path(os.path.normpath(learn.FOLDER / target))  # as seen from where the copy will be
        assert (folder / target).exists() or beside.exists(), target
    assert "../notebooks/recorded/map.png" in found


def test_films_that_notebooks_link_to_come_along(folder):
    found = set()
    for path in folder.glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        found |= {film for cell in cells for film in re.findall(r"\]\((animations/\S+)", cell.source)}
    assert len(found) == 3 and all(
        (folder / film).read_bytes() == (run.NOTEBOOKS / film).read_bytes() for film in found
    )
    mine = folder / sorted(found)[0]
    mine.write_bytes(b"mine")
    assert learn.prepare(folder)[sorted(found)[0]] == "yours" and mine.read_bytes() == b"mine"


def test_what_a_learner_changed_is_never_written_over(folder):
    path = folder / NAME
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].source += "\n# mine"
    nbformat.write(notebook, path)
    mine = path.read_bytes()
    outcome = learn.prepare(folder)
    assert path.read_bytes() == mine and outcome.pop(NAME) == "yours" and set(outcome.values()) == {"same"}
    assert f"Left as you left them: {NAME}." in learn.said(learn.prepare(folder))


def test_a_newer_course_refreshes_what_was_not_changed_and_says_what_it_left(folder, monkeypatch):
    mine, other = folder / NAME, folder / f"{run.course_map()[2]}.ipynb"
    mine.write_text("mine", encoding="utf-8")
    cleared = learn.cleared
    monkeypatch.setattr(learn, "cleared", lambda notebook: nbformat.from_dict(cleared(notebook) | {"metadata": {}}))
    outcome = learn.prepare(folder)
    assert outcome[NAME] == "yours, outdated" and mine.read_text(encoding="utf-8") == "mine"
    assert outcome[other.name] == "refreshed" and nbformat.read(other, as_version=4).metadata == {}
    assert "newer ones of " + NAME in learn.said(outcome)
    assert learn.prepare(folder)[NAME] == "yours, outdated" and set(learn.prepare(folder).values()) > {"same"}
    mine.unlink()
    assert learn.prepare(folder)[NAME] == "new"


def test_files_that_were_there_before_are_somebodys(tmp_path):
    (tmp_path / NAME).write_text("from another course", encoding="utf-8")
    assert learn.prepare(tmp_path)[NAME].startswith("yours")
    assert (tmp_path / NAME).read_text(encoding="utf-8") == "from another course"
    (tmp_path / learn.NOTED).write_text("broken", encoding="utf-8")
    assert learn.prepare(tmp_path)[NAME].startswith("yours")


def test_a_folder_that_cannot_be_written_gets_a_sentence(tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CourseError, match="open notebooks/ instead"):
        learn.prepare(tmp_path / "file")
