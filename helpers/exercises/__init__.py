"""Exercises: a learner's answer goes in, and a friendly sentence comes out; never a traceback.

The checks of notebook NN live in `helpers/exercises/nbNN.py` and register themselves:

    @exercise("05-1")
    def check_05_1(answer, *, model):
        if number(answer) != truth(model):
            raise Hint("Count the quantization constants too.")
        return "The constants are a ninth of the codes."

What is solved is kept in `notebooks/.progress`, one name a line. It is only ever added to, so that two kernels at once
do not undo each other; lines that name no exercise are passed over. The environment variable MISTRAL_4BIT_PROGRESS
names another file, or, empty, none: so the runner and the tests leave the learner's file alone.
"""

import contextlib
import importlib
import inspect
import math
import os
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

from IPython.display import display

__all__ = ["MIME", "Hint", "call", "check", "exercise", "matched", "number", "numbers", "progress"]

MIME = "application/vnd.mistral-4bit.exercise+json"
PROGRESS = Path(__file__).resolve().parents[2] / "notebooks" / ".progress"
TRIES = 3  # that many wrong answers, and the check points to the solution
_checks: dict[str, Callable] = {}
_wrong: dict[str, int] = {}  # wrong answers in this kernel since the last right one
_solved: set[str] = set()  # in this kernel, whether or not the file can be written


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

    An answer that is still `...` is shown as open. Whatever the learner's code raises becomes a hint, and the third
    wrong answer is told where the solution is. A right one is counted in the learner's progress. Raises ValueError for
    an exercise that does not exist and TypeError for keywords that its check does not take: both are mistakes of the
    notebook, not of the learner.
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
    if state == "failed":
        _wrong[name] = _wrong.get(name, 0) + 1
        if _wrong[name] >= TRIES:
            mark += " Stuck? The solution is folded below this cell: open it, compare, go on."
    shown = mark
    if state == "passed":
        _wrong.pop(name, None)
        _keep(name)
        shown += f"\n\n{_counted(name[:2])}"
    display(
        {MIME: {"id": name, "state": state, "message": mark}, "text/markdown": shown, "text/plain": shown}, raw=True
    )
    return Outcome(state == "passed")


def progress() -> None:
    """Show how many of the course's exercises are solved, in all and by notebook."""
    done, names = _done(), all_names()
    notebooks = sorted({name[:2] for name in names})
    parts = [f"{book}: {_of(book, done)}/{_of(book, names)}" for book in notebooks]
    text = f"**{len(done)} of {len(names)} exercises done.** By notebook: {' · '.join(parts)}"
    display({"text/markdown": text, "text/plain": text.replace("*", "")}, raw=True)


def _counted(book: str) -> str:
    done, names = _done(), all_names()
    here = f"{_of(book, done)} of {_of(book, names)} in notebook {book}"
    return f"Exercises done: {here}, {len(done)} of {len(names)} in all."


def _of(book: str, names: set[str]) -> int:
    return sum(name[:2] == book for name in names)


def all_names() -> set[str]:
    """Return the names of all exercises of the course."""
    for module in pkgutil.iter_modules(__path__):
        if re.fullmatch(r"nb\d\d", module.name):
            importlib.import_module(f"{__name__}.{module.name}")
    return set(_checks)


def _file() -> Path | None:
    place = os.environ.get("MISTRAL_4BIT_PROGRESS")
    return PROGRESS if place is None else Path(place) if place else None


def _done() -> set[str]:
    lines: set[str] = set()
    with contextlib.suppress(OSError):
        if file := _file():
            lines = set(file.read_text(encoding="utf-8", errors="replace").split())
    return (lines | _solved) & all_names()


def _keep(name: str) -> None:
    known = _done()
    _solved.add(name)
    file = _file()
    if file is None or name in known:
        return
    # a folder that cannot be written keeps nobody from learning; the line break comes first, after whatever is there
    with contextlib.suppress(OSError), file.open("a", encoding="utf-8") as lines:
        lines.write(f"\n{name}")


def call(answer, *args, **kwargs):
    """Call the learner's function; `...` counts as still open, None and an exception become hints."""
    if not callable(answer):
        raise Hint(f"a function is wanted here, and this is of type {type(answer).__name__}.")
    try:
        value = answer(*args, **kwargs)
    except Exception as error:
        raise Hint(f"your function raised {_said(error)}.") from None
    if value is None:
        raise Hint("your function returns nothing: is there a `return`?")
    if _is_open(value):
        raise _Open
    return value


def matched(answer, truth: dict[str, str], hints: dict[str, str], others: tuple[str, ...] = ()) -> None:
    """Check a dict that gives one of a few words to each letter; `others` are words that fit none of them.

    Raises a Hint for another shape, a word that there is not, and the first letter with the wrong word.
    """
    words = sorted({*truth.values(), *others})
    if not isinstance(answer, dict) or set(answer) != set(truth):
        raise Hint(f'give a dict with the letters {", ".join(truth)}, for example {{"A": "{words[0]}", …}}.')
    for letter, word in truth.items():
        if answer[letter] not in words:
            raise Hint(f"{answer[letter]!r} is none of the words: use {', '.join(map(repr, words))}.")
        if answer[letter] != word:
            raise Hint(hints[letter])


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
        raise Hint(f"{what} is not a number (NaN): is there a logarithm of zero or of something negative?")
    return float(answer)


def numbers(answer, count: int, wanted: str) -> list[float]:
    """Return the answer as so many floats; anything but a list, tuple or tensor of `count` numbers becomes a hint.

    `wanted` is what the hint asks for, such as "two numbers".
    """
    if hasattr(answer, "tolist"):
        answer = answer.tolist()
    if not isinstance(answer, (list, tuple)) or len(answer) != count:
        raise Hint(f"give a list of {wanted}.")
    return [number(value, f"number {i}") for i, value in enumerate(answer, start=1)]


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
