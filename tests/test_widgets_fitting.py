"""Sentences that follow from the budgets, and a panel that follows its menus."""

import pytest

from helpers import memory, models, widgets
from helpers.errors import CourseError
from helpers.widgets import fitting


@pytest.mark.parametrize(
    ("name", "millions"),
    [("Mistral-7B", 7241.7), ("Llama-3.2-1B", 1235.8), ("Gemma-2B", 2506.2), ("Qwen2.5-3B", 3085.9),
     ("Llama-3.1-8B", 8030.3), ("Llama-2-13B", 13015.9), ("Llama-3.1-70B", 70553.7)],
)  # fmt: skip
def test_shapes_have_the_published_number_of_parameters(name, millions):
    assert memory.predict(widgets.shape(name), "bf16").weight_bytes / 2e6 == pytest.approx(millions, abs=0.06)


def test_sentences():
    said = widgets.answer("Mistral-7B", "nf4-dq", "prefill", 512, 1, 6)
    budget = memory.predict(models.mistral_7b_config(), "nf4-dq", stage="prefill", context=512)
    assert f"takes {budget.gb:.2f} GB and fits in 6 GB; at most " in said
    said = widgets.answer("Mistral-7B", "bf16", "prefill", 512, 1, 12)
    assert "does not fit in 12 GB; no length would." in said
    with pytest.raises(CourseError, match="Unknown model 'Mistral-8B'"):
        widgets.answer("Mistral-8B", "bf16", "prefill", 512, 1, 12)


def test_the_panel_follows_its_menus(monkeypatch):
    said = []
    monkeypatch.setattr(fitting.results, "show", said.append)
    panel = widgets.panel(512)
    menus = {menu.description: menu for menu in panel.children[0].children}
    assert said[-1].startswith("Mistral-7B in nf4-dq, prefill of 1 × 512 tokens")
    menus["GPU, GB"].value = 6
    menus["batch"].value = 32
    assert "prefill of 32 × 512" in said[-1] and "does not fit in 6 GB" in said[-1]
    menus["model"].value = "Llama-3.2-1B"
    assert said[-1].startswith("Llama-3.2-1B") and len(said) == 4
