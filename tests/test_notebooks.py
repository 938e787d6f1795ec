"""Every notebook of the map, executed: as shipped, and with its solutions and the likely wrong answers in place."""

import importlib
import re
from pathlib import Path

import nbformat
import pytest
from expectations import EXPECT, SMALL, SOLVED

from helpers import exercises, run

NAMES = run.course_map()
MINIMUM = {"01": 4, "02": 4, "03": 4}  # exercises; three elsewhere


def tagged(cell, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def bundles(cell) -> list[dict]:
    return [out.data[exercises.MIME] for out in cell.get("outputs", []) if exercises.MIME in out.get("data", {})]


def scaled(value, factor):
    """Return `value` with every number in it multiplied, so that a bound on the wrong side is found out."""
    if isinstance(value, dict):
        return {key: scaled(item, factor) for key, item in value.items()}
    if isinstance(value, list):
        return [scaled(item, factor) for item in value]
    return value * factor if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def solution(markdown: str) -> str:
    """Return the one Python block of a cell tagged `solution`."""
    blocks = re.findall(r"^```python\n(.*?)^```", markdown, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1, f"a solution has one ```python block, this one {len(blocks)}: {markdown[:80]!r}"
    assert re.match(r"<details>\s*<summary>Solution</summary>\n\n", markdown), "a solution is folded: <details>"
    assert markdown.rstrip().endswith("</details>")
    return blocks[0].rstrip("\n")


def exercise_id(source: str) -> str:
    ids = re.findall(r"""exercises\.check\(\s*["'](\d\d-\d+)["']""", source)
    assert len(ids) == 1, f"one exercises.check a stub, not {ids}"
    return ids[0]


def wrong_answers(name: str) -> dict[str, list[tuple[str, str]]]:
    try:
        return importlib.import_module(f"wrong_answers.nb{name[:2]}").WRONG
    except ModuleNotFoundError:
        pytest.fail(f"{name} has no tests/wrong_answers/nb{name[:2]}.py")


def with_solutions(notebook, wrong: dict) -> nbformat.NotebookNode:
    """Return the notebook with each stub replaced by its solution, then the wrong answers, then the solution again."""
    cells = []
    for i, cell in enumerate(notebook.cells):
        if not tagged(cell, "exercise"):
            cells.append(cell)
            continue
        after = notebook.cells[i + 1]
        assert after.cell_type == "markdown" and tagged(after, "solution"), f"cell {i + 1}: no solution after it"
        source, name = solution(after.source), exercise_id(cell.source)
        assert exercise_id(source) == name, f"the solution of {name} checks {exercise_id(source)}"
        cell.source = source
        cells.append(cell)
        for answer, hint in wrong.get(name, []):
            more = {"tags": ["wrong-answer"], "hint": hint, "exercise": name}
            cells.append(nbformat.v4.new_code_cell(answer, metadata=more))
        cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": ["exercise"]}))
    notebook.cells = cells
    return notebook


def test_the_map_lists_the_notebooks_there_are():
    assert NAMES and run.map_problems() == {}
    assert [name[:2] for name in NAMES] == sorted(name[:2] for name in NAMES)
    assert set(EXPECT) <= set(NAMES) and {*SMALL, *SOLVED} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_as_shipped(name, tmp_path):
    assert name in EXPECT, f"{name} has no expectations: add them to tests/expectations.py"
    parameters = {"MODEL_ID": "embedded", **SMALL.get(name, {})}
    done = run.execute(run.NOTEBOOKS / f"{name}.ipynb", tmp_path / f"{name}.ipynb", parameters, cwd=tmp_path)
    EXPECT[name](done.record)
    for factor in (10, 0.1):
        with pytest.raises((AssertionError, KeyError, TypeError, ValueError, IndexError)):
            EXPECT[name](scaled(done.record, factor))
    assert done.headline and len(done.headline) < 120
    number = name[:2]
    assert [entry["id"] for entry in done.exercises] == [f"{number}-{i + 1}" for i in range(len(done.exercises))]
    assert len(done.exercises) >= MINIMUM.get(number, 3)
    assert {entry["state"] for entry in done.exercises} == {"open"}
    executed = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", f"stray output of a library: {output['text'][:300]}"
    left = {path.name for path in Path(tmp_path).iterdir()} - {f"{name}.ipynb"}
    assert not left, f"the notebook left files behind: {left}"


@pytest.mark.parametrize("name", NAMES)
def test_solutions_pass_and_wrong_answers_get_their_hint(name, tmp_path):
    notebook = nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    ids = [exercise_id(cell.source) for cell in notebook.cells if tagged(cell, "exercise")]
    wrong = wrong_answers(name)
    assert len(ids) >= MINIMUM.get(name[:2], 3) and sorted(wrong) == sorted(ids)
    assert all(len(answers) >= 2 for answers in wrong.values()), "two wrong answers for each exercise"
    source = tmp_path / "source" / f"{name}.ipynb"
    source.parent.mkdir()
    nbformat.write(with_solutions(notebook, wrong), source)
    parameters = {"MODEL_ID": "embedded", **SMALL.get(name, {}), **SOLVED.get(name, {})}
    run.execute(source, tmp_path / f"{name}.ipynb", parameters, cwd=tmp_path)
    executed = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
    passed = []
    for cell in executed.cells:
        if tagged(cell, "exercise"):
            (bundle,) = bundles(cell)
            assert bundle["state"] == "passed", f"the solution does not pass: {bundle['message']}"
            passed.append(bundle["id"])
        elif tagged(cell, "wrong-answer"):
            (bundle,) = bundles(cell)
            assert bundle["id"] == cell.metadata.exercise
            assert bundle["state"] == "failed", f"a wrong answer passes: {cell.source}"
            assert cell.metadata.hint in bundle["message"], f"{cell.source}\ngets: {bundle['message']}"
    assert passed == [name for name in ids for _ in range(2)]
