"""A guess is asked before the answer can be seen, is kept, and is answered by a later cell."""

import pytest

from helpers.widgets import guess, guessed
from helpers.widgets import guessing as module


@pytest.fixture
def displayed(monkeypatch):
    seen = []
    monkeypatch.setattr(module, "display", lambda data, raw=None: seen.append(data))
    monkeypatch.setattr(module.results, "show", lambda text: seen.append(text))
    monkeypatch.setattr(module, "_given", {})
    return seen


def buttons(monkeypatch, *arguments):
    """The buttons that a guess shows."""
    made = []
    real = module.widgets.ToggleButtons
    monkeypatch.setattr(module.widgets, "ToggleButtons", lambda **given: made.append(real(**given)) or made[-1])
    guess(*arguments)
    return made[0]


def test_a_click_is_kept_and_answered(displayed, monkeypatch):
    panel = buttons(monkeypatch, "99-a", "How many?", [20, 30])
    assert panel.value is None and guessed("99-a") == ""
    panel.value = 30
    assert guessed("99-a") == "You guessed 30. "
    panel.value = 20
    assert guessed("99-a") == "You guessed 20. " and guessed("99-b") == ""


def test_the_question_stands_there_where_no_widget_does(displayed):
    guess("99-a", "How many?", ["few", "many"])
    text, data = displayed
    assert text == "**Guess first.** How many? *(few · many)*"
    assert data["text/plain"] == "Guess: few · many" and any("widget" in mime for mime in data)


def test_asking_again_forgets(displayed, monkeypatch):
    buttons(monkeypatch, "99-a", "?", [1, 2]).value = 1
    guess("99-a", "?", [1, 2])
    assert guessed("99-a") == ""


@pytest.mark.parametrize("options", [[], [1], [1, 1], [1, "1"]])
def test_a_guess_needs_a_choice(displayed, options):
    with pytest.raises(ValueError, match="two options"):
        guess("99-a", "?", options)
