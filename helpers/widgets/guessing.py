"""Guess before you see: buttons that keep a guess, which a later cell answers."""

from collections.abc import Sequence

import ipywidgets as widgets
from IPython.display import display

from .. import results

__all__ = ["guess", "guessed"]

_given: dict[str, object] = {}  # by the name of the question, in this kernel


def guess(name: str, question: str, options: Sequence) -> None:
    """Ask before the answer can be seen: the question as text, and a button for each of `options`.

    What is clicked is kept under `name` for `guessed`. Where no widget can be shown the question still stands there,
    with its options. Raises ValueError for fewer than two options, or two alike.
    """
    labels = [str(option) for option in options]
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise ValueError("A guess needs two options or more, all of them different.")
    _given.pop(name, None)
    results.show(f"**Guess first.** {question} *({' · '.join(labels)})*")
    buttons = widgets.ToggleButtons(options=list(zip(labels, options, strict=True)), value=None)
    buttons.style.button_width = "auto"
    said = widgets.HTML()

    def keep(change) -> None:
        _given[name] = change["new"]
        said.value = f"Your guess, <b>{buttons.label}</b>, is kept. Go on to see."

    buttons.observe(keep, "value")
    panel = widgets.VBox([buttons, said])
    display({**panel._repr_mimebundle_(), "text/plain": f"Guess: {' · '.join(labels)}"}, raw=True)


def guessed(name: str) -> str:
    """What was guessed, as the beginning of the sentence that answers it: "You guessed 30. ", or "" without a guess."""
    return f"You guessed {_given[name]}. " if name in _given else ""
