"""The mechanism of the exercises: open, passed or failed with a hint, never a traceback, and progress that is kept."""

import subprocess
import sys
import types

import nbformat
import numpy as np
import pytest
import torch

from helpers import exercises, run
from helpers.exercises import Hint, call, check, exercise, number, numbers


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Register two exercises of a notebook 99 for one test, as if they were the course's only ones."""
    monkeypatch.setattr(exercises, "_checks", {})
    monkeypatch.setattr(exercises, "_wrong", {})
    monkeypatch.setattr(exercises, "_solved", set())
    monkeypatch.setattr(exercises, "__path__", [])
    monkeypatch.setitem(sys.modules, "helpers.exercises.nb99", types.ModuleType("nb99"))

    @exercise("99-1")
    def check_number(answer, *, truth=9):
        if number(answer) != truth:
            raise Hint("count again.")
        return "that is a ninth."

    @exercise("99-2")
    def check_function(answer):
        if number(call(answer, 3), "your function's result") != 9:
            raise Hint("square it.")
        return "squared."


def said(displayed) -> tuple[str, str]:
    data = displayed[-1]["data"]
    bundle = data[exercises.MIME]
    assert set(data) == {exercises.MIME, "text/markdown", "text/plain"}
    assert data["text/markdown"] == data["text/plain"]
    shown, _, counted = data["text/markdown"].partition("\n\n")
    assert bundle["message"] == shown and bool(counted) == (bundle["state"] == "passed")
    return bundle["state"], bundle["message"]


def counted(displayed) -> str:
    return displayed[-1]["data"]["text/markdown"].partition("\n\n")[2]


@pytest.fixture
def file(monkeypatch, tmp_path):
    monkeypatch.setenv("MISTRAL_4BIT_PROGRESS", str(tmp_path / "progress"))
    return tmp_path / "progress"


def restart(monkeypatch) -> None:
    """Forget what a kernel remembers."""
    monkeypatch.setattr(exercises, "_solved", set())


@pytest.mark.parametrize(
    ("name", "answer"),
    [("99-1", ...), ("99-1", [1, ...]), ("99-1", {"a": ...}), ("99-2", lambda x: ...)],
)
def test_an_open_exercise_says_so(displayed, name, answer):
    assert not check(name, answer)
    assert said(displayed) == ("open", f"Exercise {name} is open: replace the `...`.")


@pytest.mark.parametrize("answer", [9, 9.0, np.int64(9), torch.tensor(9.0)])
def test_a_right_answer_passes(displayed, answer):
    assert check("99-1", answer)
    assert said(displayed) == ("passed", "✓ Exercise 99-1: that is a ninth.")
    assert check("99-1", 4, truth=4) and not check("99-1", 9, truth=4)


def failing(x):
    raise KeyError("absmax")


@pytest.mark.parametrize(
    ("name", "answer", "hint"),
    [
        ("99-1", 8, "count again."),
        ("99-1", "9", "the answer should be a number, and this is of type str."),
        ("99-1", True, "of type bool"),
        ("99-1", float("nan"), "NaN"),
        ("99-1", torch.ones(2), "should be one number, and this holds several."),
        ("99-2", lambda x: 2 * x, "square it."),
        ("99-2", lambda x: "9", "your function's result should be a number"),
        ("99-2", lambda: 9, "your function raised TypeError: "),
        ("99-2", failing, "your function raised KeyError: 'absmax'."),
        ("99-2", lambda x: None, "returns nothing: is there a `return`?"),
        ("99-2", 9, "a function is wanted here, and this is of type int."),
    ],
)
def test_a_wrong_answer_gets_a_hint(displayed, name, answer, hint):
    assert not check(name, answer)
    state, message = said(displayed)
    assert state == "failed" and message.startswith(f"✗ Exercise {name}: ") and hint in message


@pytest.mark.parametrize("answer", [[1, 2], (1.0, 2), np.array([1, 2]), torch.tensor([1.0, 2.0])])
def test_several_numbers_may_come_in_any_kind_of_list(answer):
    assert numbers(answer, 2, "two numbers") == [1.0, 2.0]


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (1, "list of two numbers."),
        ([1], "list of two numbers."),
        (torch.tensor(1.0), "list of two"),
        ([1, "2"], "number 2 should"),
    ],
)
def test_anything_but_so_many_numbers_gets_a_hint(answer, hint):
    with pytest.raises(Hint, match=hint):
        numbers(answer, 2, "two numbers")


def test_what_a_check_did_not_foresee_is_a_hint_too(displayed):
    @exercise("99-3")
    def check_length(answer):
        return f"{len(answer)} items"

    assert not check("99-3", 5)
    assert "the check stops: TypeError: object of type 'int' has no len()." in said(displayed)[1]


@pytest.mark.parametrize(
    ("name", "given", "error"),
    [("99-9", {}, "has: 99-1, 99-2"), ("97-1", {}, "nb97.py is missing"), ("x", {}, "names look like")],
)
def test_an_exercise_that_does_not_exist_is_the_notebooks_mistake(name, given, error):
    with pytest.raises(ValueError, match=error):
        check(name, 1, **given)


def test_a_keyword_that_the_check_does_not_take_is_the_notebooks_mistake():
    with pytest.raises(TypeError, match="weights"):
        check("99-1", ..., weights=1)


def test_a_name_is_registered_once():
    def other(answer):
        return ""

    other.__module__ = "elsewhere"
    with pytest.raises(ValueError, match="twice"):
        exercise("99-1")(other)


def test_the_outcome_shows_nothing_when_it_ends_a_cell(displayed):
    from IPython.core.interactiveshell import InteractiveShell

    outcome = check("99-1", 9)
    assert outcome == True and repr(outcome) == "True"  # noqa: E712
    formatted = InteractiveShell.instance().display_formatter.format(outcome)
    InteractiveShell.clear_instance()
    assert formatted == ({}, {})


def test_the_third_wrong_answer_is_told_where_the_solution_is(displayed):
    offered = []
    for answer in (8, 7, ..., 6, 5, 9, 4):
        check("99-1", answer)
        offered.append("folded below" in said(displayed)[1])
    # an open answer is no try, every try from the third on is offered it, and a right answer begins anew
    assert offered == [False, False, False, True, True, False, False]
    assert not check("99-2", lambda x: x) and "folded below" not in said(displayed)[1]


def test_progress_counts_what_is_solved_and_outlives_the_kernel(displayed, file, monkeypatch):
    exercise("98-1")(lambda answer: "so it is.")
    for name, answer, line in [
        ("99-1", 9, "Exercises done: 1 of 2 in notebook 99, 1 of 3 in all."),
        ("99-1", 9, "Exercises done: 1 of 2 in notebook 99, 1 of 3 in all."),
        ("99-2", lambda x: x * x, "Exercises done: 2 of 2 in notebook 99, 2 of 3 in all."),
    ]:
        assert check(name, answer) and counted(displayed) == line
        restart(monkeypatch)
    check("99-1", 8)
    check("99-2", ...)
    exercises.progress()
    assert displayed[-1]["data"]["text/plain"] == "2 of 3 exercises done. By notebook: 98: 0/1 · 99: 2/2"
    assert file.read_text().split() == ["99-1", "99-2"]


@pytest.mark.parametrize("broken", [b"\xff\x00{", b"99-1\n99-", b'{"passed": ["99-1"]}', b"42-1 99-7\r\n", b""])
def test_a_broken_file_is_passed_over_and_added_to(displayed, file, monkeypatch, broken):
    file.write_bytes(broken)
    assert check("99-2", lambda x: x * x)
    restart(monkeypatch)
    exercises.progress()
    done = 1 + broken.startswith(b"99-1")
    assert displayed[-1]["data"]["text/plain"].startswith(f"{done} of 2 exercises done.")
    assert file.read_bytes().startswith(broken)


def test_where_nothing_can_be_written_the_kernel_still_counts(displayed, monkeypatch, tmp_path):
    for place in (tmp_path, tmp_path / "missing" / "progress", ""):
        monkeypatch.setenv("MISTRAL_4BIT_PROGRESS", str(place))
        restart(monkeypatch)
        assert check("99-1", 9)
        assert counted(displayed) == "Exercises done: 1 of 2 in notebook 99, 1 of 2 in all."
    assert list(tmp_path.iterdir()) == []


def test_two_kernels_at_once_lose_nothing(file):
    """Four processes keep names together; none undoes what another has kept."""
    names = sorted(f"{number:02}-{i}" for number in range(13) for i in (1, 2, 3))
    source = "import sys\nfrom helpers import exercises\nfor name in sys.argv[1:]:\n    exercises._keep(name)\n"
    command = [sys.executable, "-c", source]
    running = [subprocess.Popen([*command, *names[i::4]], cwd=run.ROOT) for i in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    kept = file.read_text().split()
    assert sorted(kept) == names


def test_the_courses_total_is_what_its_notebooks_ask(monkeypatch):
    monkeypatch.undo()
    asked = [
        cell.source.split("exercises.check(")[1][1:5]
        for name in run.course_map()
        for cell in nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        if "exercise" in cell.metadata.get("tags", [])
    ]
    assert len(set(asked)) == len(asked) and exercises.all_names() == set(asked)


def test_no_run_writes_the_learners_progress(tmp_path):
    assert run.QUIET["MISTRAL_4BIT_PROGRESS"] == ""
    assert exercises.PROGRESS.parent == run.NOTEBOOKS
    ignored = subprocess.run(["git", "check-ignore", "-q", str(exercises.PROGRESS)], cwd=run.ROOT)
    assert ignored.returncode in (0, 128)  # 128: no repository, as in a workshop's archive
