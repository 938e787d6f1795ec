"""The mechanism of the exercises: open, passed or failed with a hint, and never a traceback."""

import sys
import types

import numpy as np
import pytest
import torch

from helpers import exercises
from helpers.exercises import Hint, call, check, exercise, number


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Register two exercises of a notebook 99 for one test."""
    monkeypatch.setattr(exercises, "_checks", {})
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
    assert bundle["message"] == data["text/markdown"] == data["text/plain"]
    return bundle["state"], bundle["message"]


@pytest.mark.parametrize(
    ("name", "answer"),
    [("99-1", ...), ("99-1", [1, ...]), ("99-1", {"a": ...}), ("99-2", lambda x: ...), ("99-2", lambda x: None)],
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
        ("99-2", 9, "a function is wanted here, and this is of type int."),
    ],
)
def test_a_wrong_answer_gets_a_hint(displayed, name, answer, hint):
    assert not check(name, answer)
    state, message = said(displayed)
    assert state == "failed" and message.startswith(f"✗ Exercise {name}: ") and hint in message


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
