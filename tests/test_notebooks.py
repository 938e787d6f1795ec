"""Every notebook of the map, executed end to end by papermill, with its solutions and the likely wrong answers."""

import answers
import nbformat
import pytest
from expectations import EXPECT, SMALL

from helpers import exercises, run

NAMES = run.course_map()
MINIMUM = {"01": 4, "02": 4, "03": 4}  # exercises; three elsewhere


def bundles(cell) -> list[dict]:
    return [out.data[exercises.MIME] for out in cell.get("outputs", []) if exercises.MIME in out.get("data", {})]


def scaled(value, factor):
    """Return `value` with every number in it multiplied, so that a bound on the wrong side is found out."""
    if isinstance(value, dict):
        return {key: scaled(item, factor) for key, item in value.items()}
    if isinstance(value, list):
        return [scaled(item, factor) for item in value]
    return value * factor if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def test_the_map_lists_the_notebooks_there_are():
    assert NAMES and run.map_problems() == {}
    assert [name[:2] for name in NAMES] == sorted(name[:2] for name in NAMES)
    assert set(EXPECT) <= set(NAMES) and set(SMALL) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_by_papermill_with_right_wrong_and_no_answers(executed, name):
    """One execution: solutions pass, wrong answers get their hint, stubs say that they are open, the record holds."""
    assert name in EXPECT, f"{name} has no expectations: add them to tests/expectations.py"
    done = executed(name)
    EXPECT[name](done.record)
    for factor in (10, 0.1):
        with pytest.raises((AssertionError, KeyError, TypeError, ValueError, IndexError)):
            EXPECT[name](scaled(done.record, factor))
    assert done.headline and len(done.headline) < 120
    assert not done.left, f"the notebook left files behind: {done.left}"

    wrong = answers.wrong_answers(name)
    ids = [answers.exercise_id(cell.source) for cell in done.cells if answers.tagged(cell, "exercise")]
    assert ids == [f"{name[:2]}-{i + 1}" for i in range(len(ids))] and len(ids) >= MINIMUM.get(name[:2], 3)
    assert sorted(wrong) == sorted(ids)
    assert all(len(given) >= 2 for given in wrong.values()), "two wrong answers for each exercise"
    states = {"exercise": [], answers.SOLVED: []}
    for cell in done.cells:
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", f"stray output of a library: {output['text'][:300]}"
        for tag, seen in states.items():
            if answers.tagged(cell, tag):
                (bundle,) = bundles(cell)
                seen.append((bundle["id"], bundle["state"]))
        if answers.tagged(cell, answers.WRONG):
            (bundle,) = bundles(cell)
            assert bundle["id"] == cell.metadata.exercise
            assert bundle["state"] == "failed", f"a wrong answer passes: {cell.source}"
            assert cell.metadata.hint in bundle["message"], f"{cell.source}\ngets: {bundle['message']}"
            wrong[bundle["id"]].remove((cell.source, cell.metadata.hint))
    assert states["exercise"] == [(name, "open") for name in ids]
    # before the wrong answers and after them: what one try leaves behind must not help or harm the next
    assert states[answers.SOLVED] == [(name, "passed") for name in ids for _ in range(2)]
    assert not any(wrong.values()), f"wrong answers that were not tried: {wrong}"


@pytest.mark.parametrize("name", NAMES)
def test_the_copy_that_is_kept_is_the_notebook_as_shipped(executed, name):
    """What the inserted cells showed goes with them."""
    kept = nbformat.read(executed(name).kept, as_version=4)
    shipped = nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    assert [(cell.id, cell.source) for cell in kept.cells] == [(cell.id, cell.source) for cell in shipped.cells]
    counts = [cell.execution_count for cell in kept.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
