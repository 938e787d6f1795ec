"""The widgets, moved from code: what they show follows what they are set to."""

import time

import pytest
import torch

from helpers import formats
from helpers.widgets import rounding


def texts(panel):
    choice, row, text = panel.children
    return "".join(button.description for button in row.children), text.value


@pytest.mark.parametrize("name", [*formats.FLOATS, *rounding.INTEGERS])
def test_every_bit_toggled_changes_the_value_as_its_format_says(name):
    panel = rounding.bit_toggles(0.1, "fp16")
    choice, row, _ = panel.children
    choice.value = name
    kinds = rounding.parts_of(name)
    assert [button.tooltip for button in row.children] == kinds
    before, _ = texts(panel)
    for i, button in enumerate(row.children):
        button.value = not button.value
        bits, text = texts(panel)
        assert bits[:i] + bits[i + 1 :] == before[:i] + before[i + 1 :] and bits[i] != before[i]
        assert f"<b>{rounding.value_of(bits, name):.9g}</b>" in text or "nan" in text
        button.value = not button.value
    assert texts(panel)[0] == before


def test_integers_are_in_twos_complement():
    assert rounding.value_of("1000", "int4") == -8 and rounding.value_of("0111", "int4") == 7
    assert rounding.value_of("11111111", "int8") == -1


def test_the_panel_redraws_quickly_with_what_the_sliders_say(displayed, monkeypatch):
    x = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    drawn = []
    monkeypatch.setattr(rounding.plots, "show", lambda fig, alt: (drawn.append(alt), rounding.plt.close(fig)))
    panel = rounding.rounding_panel(x)
    bits, block_size, method = panel.children[0].children
    assert drawn[-1].startswith("4 bits, blocks of 64, absmax: 4.500 bits per weight")
    begun = time.perf_counter()
    bits.value = 3
    assert time.perf_counter() - begun < 2
    assert drawn[-1].startswith("3 bits, blocks of 64, absmax: 3.500")
    block_size.value = 16
    method.value = "signed max"
    assert drawn[-1].startswith("3 bits, blocks of 16, signed max: 4.000")
    assert len(drawn) == 4
