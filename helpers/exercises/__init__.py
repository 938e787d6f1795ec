"""Exercises: a learner's answer goes in, and a friendly sentence comes out; never a traceback.

The checks of notebook NN live in `helpers/exercises/nbNN.py` and register themselves:

    @exercise("05-1")
    def check_05_1(answer, *, model):
        if number(answer) != truth(model):
            raise Hint("Count the quantization constants too.")
        return "The constants are a ninth of the codes."
"""

import importlib
import inspect
import math
from collections.abc import Callable

from IPython.display import display

__all__ = ["MIME", "Hint", "call", "check", "exercise", "number"]

MIME = "application/vnd.mistral-4bit.exercise+json"
_checks: dict[str, Callable] = {}


class Hint(Exception):
    """Raised by a check: the answer is wrong, and this sentence helps to find out why."""


class _Open(Exception):
    """The learner has not answered yet."""


class Outcome(int):
    """True or False for code; shows nothing more when it is the last expression of a cell."""

    def __repr__(self) -> str:
        return str(bool(self))

    def _ipython_display_(self) -> None:
        pass


def exercise(name: str) -> Callable:
    """Register the decorated function as the check of exercise `name`, such as "05-1".

    The function takes the answer and what `check` was given by keyword; it returns the sentence shown on success
    or raises Hint. It works the truth out for itself and imports no other part of `helpers`.
    """

    def register(function: Callable) -> Callable:
        if name in _checks and _checks[name].__module__ != function.__module__:
            raise ValueError(f"Exercise {name} is registered twice.")
        _checks[name] = function
        return function

    return register


def check(name: str, answer, **given) -> bool:
    """Check the answer to exercise `name` and show the outcome; return whether it is right.

    An answer that is still `...` is shown as open. Whatever the learner's code raises becomes a hint. Raises
    ValueError for an exercise that does not exist and TypeError for keywords that its check does not take: both are
    mistakes of the notebook, not of the learner.
    """
    function = _find(name)
    inspect.signature(function).bind(answer, **given)
    try:
        if _is_open(answer):
            raise _Open
        text = function(answer, **given)
        state, mark = "passed", f"✓ Exercise {name}: {text}"
    except _Open:
        state, mark = "open", f"Exercise {name} is open: replace the `...`."
    except Hint as hint:
        state, mark = "failed", f"✗ Exercise {name}: {hint}"
    except Exception as error:
        state, mark = "failed", f"✗ Exercise {name}: with this answer the check stops: {_said(error)}."
    message = {"id": name, "state": state, "message": mark}
    display({MIME: message, "text/markdown": mark, "text/plain": mark}, raw=True)
    return Outcome(state == "passed")


def call(answer, *args, **kwargs):
    """Call the learner's function; `...` or None counts as still open, an exception becomes a hint."""
    if not callable(answer):
        raise Hint(f"a function is wanted here, and this is of type {type(answer).__name__}.")
    try:
        value = answer(*args, **kwargs)
    except Exception as error:
        raise Hint(f"your function raised {_said(error)}.") from None
    if value is None or _is_open(value):
        raise _Open
    return value


def number(answer, what: str = "the answer") -> float:
    """Return the answer as a float; a NumPy or torch scalar will do, anything else becomes a hint."""
    if hasattr(answer, "item"):
        try:
            answer = answer.item()
        except (ValueError, RuntimeError, TypeError):
            raise Hint(f"{what} should be one number, and this holds several.") from None
    if isinstance(answer, bool) or not isinstance(answer, (int, float)):
        raise Hint(f"{what} should be a number, and this is of type {type(answer).__name__}.")
    if math.isnan(answer):
        raise Hint(f"{what} is not a number (NaN).")
    return float(answer)


def _is_open(answer) -> bool:
    if isinstance(answer, dict):
        return any(_is_open(item) for item in answer.values())
    if isinstance(answer, (list, tuple, set)):
        return any(_is_open(item) for item in answer)
    return answer is ...


def _find(name: str) -> Callable:
    notebook, _, order = str(name).partition("-")
    if not (len(notebook) == 2 and notebook.isdigit() and order.isdigit()):
        raise ValueError(f'{name!r} is no exercise: names look like "05-1".')
    module = f"{__name__}.nb{notebook}"
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ValueError(f"There is no exercise {name}: helpers/exercises/nb{notebook}.py is missing.") from None
    if name not in _checks:
        known = ", ".join(sorted(key for key in _checks if key.startswith(notebook))) or "none"
        raise ValueError(f"There is no exercise {name}; helpers/exercises/nb{notebook}.py has: {known}.")
    return _checks[name]


def _said(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    if len(text) > 200:
        text = text[:197] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
