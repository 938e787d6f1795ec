"""Widgets to play with: bits to toggle, a quantizer to turn. They use only what ipywidgets 7.7 and 8 share."""

import math

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch

from .. import formats, plots

__all__ = ["BLOCK_SIZES", "CONSTANT_BITS", "bit_toggles", "draw_rounding", "rounding_panel"]

CONSTANT_BITS = {"absmax": 32, "affine": 32, "signed max": 16}  # for each block, as `formats.quantize` stores them
BLOCK_SIZES = [16, 32, 64, 128, 256, 1024, 4096]

INTEGERS = {"int8": 8, "int4": 4}
STYLES = {"sign": "danger", "exponent": "warning", "mantissa": "info"}  # red, orange, teal, as `draw.FIELDS`


def parts_of(name: str) -> list[str]:
    """Return for each bit of a format, the highest first, whether it is sign, exponent or mantissa."""
    if name in INTEGERS:
        return ["sign"] + ["mantissa"] * (INTEGERS[name] - 1)
    form = formats.FLOATS[name]
    return ["sign"] + ["exponent"] * form.exponent + ["mantissa"] * form.mantissa


def value_of(bits: str, name: str) -> float:
    """Return the number that a string of 0 and 1 stands for; integers are in two's complement."""
    if name in INTEGERS:
        return int(bits, 2) - (2 ** len(bits) if bits[0] == "1" else 0)
    form = formats.FLOATS[name]
    return formats.from_fields(bits[0], bits[1 : 1 + form.exponent], bits[1 + form.exponent :], name)


def described(bits: str, name: str) -> str:
    """Return the value and how it comes about, as HTML."""
    value = value_of(bits, name)
    if name in INTEGERS:
        return f"<b>{value}</b> (two's complement: the first bit counts −{2 ** (len(bits) - 1)})"
    form = formats.FLOATS[name]
    exponent, mantissa = int(bits[1 : 1 + form.exponent], 2), int(bits[1 + form.exponent :], 2)
    if not math.isfinite(value):
        return f"<b>{value}</b>"
    lead, power = (0, 1 - form.bias) if exponent == 0 else (1, exponent - form.bias)
    sign = "−" if bits[0] == "1" else ""
    return f"<b>{value:.9g}</b> = {sign}({lead} + {mantissa}/{2**form.mantissa}) · 2<sup>{power}</sup>"


def bit_toggles(value: float = 0.1, name: str = "fp16") -> widgets.Widget:
    """Return a panel in which each bit of a number is a button; changing one shows the new value at once."""
    choice = widgets.Dropdown(options=[*formats.FLOATS, *INTEGERS], value=name, description="format")
    row, text = widgets.HBox(layout=widgets.Layout(flex_flow="row wrap")), widgets.HTML()

    def show(_=None) -> None:
        for button in row.children:
            button.description = "1" if button.value else "0"
        text.value = described("".join(button.description for button in row.children), choice.value)

    def rebuild(_=None) -> None:
        kinds = parts_of(choice.value)
        bits = "".join(formats.fields(value, choice.value)) if choice.value in formats.FLOATS else "0" * len(kinds)
        layout = widgets.Layout(width="26px", padding="0px")
        buttons = [
            widgets.ToggleButton(value=bit == "1", tooltip=kind, button_style=STYLES[kind], layout=layout)
            for bit, kind in zip(bits, kinds, strict=True)
        ]
        for button in buttons:
            button.observe(show, "value")
        row.children = buttons
        show()

    choice.observe(rebuild, "value")
    rebuild()
    return widgets.VBox([choice, row, text])


def draw_rounding(x: torch.Tensor, bits: int, block_size: int, method: str) -> None:
    """Show how often each code is used and how large errors are, with the cost in bits per weight in the title."""
    plots.style()
    rounded = formats.quantize(x, bits, block_size, method)
    restored = formats.dequantize(rounded)
    errors = formats.errors(x, restored)
    cost = formats.bits_per_parameter(bits, block_size, CONSTANT_BITS[method])
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    codes, counts = rounded.codes.unique(return_counts=True)
    left.bar(codes.numpy(), 100 * counts.numpy() / rounded.codes.numel(), color=plots.PALETTE[0])
    left.xaxis.set_major_locator(plt.MaxNLocator(integer=True))
    left.set(xlabel="code", ylabel="share of weights, %", title=f"{len(codes)} codes, {cost:.3f} bits per weight")
    right.hist(((restored - x) / x.std()).flatten().numpy(), bins=81, range=(-1, 1), color=plots.PALETTE[3])
    right.set(
        xlabel="error / σ",
        ylabel="weights",
        title=f"Mean |error| {errors.mean / x.std():.4f} σ, SNR {errors.snr:.1f} dB",
    )
    settings = f"{bits} bits, blocks of {block_size}, {method}"
    plots.show(
        fig,
        f"{settings}: {cost:.3f} bits per weight, mean |error| {errors.mean / x.std():.4f} σ, SNR {errors.snr:.1f} dB.",
    )


def rounding_panel(x: torch.Tensor) -> widgets.Widget:
    """Return sliders for bits, block size and method that redraw `draw_rounding` of `x` when let go."""
    controls = {
        "bits": widgets.IntSlider(value=4, min=2, max=8, description="bits", continuous_update=False),
        "block_size": widgets.SelectionSlider(
            options=BLOCK_SIZES, value=64, description="block size", continuous_update=False
        ),
        "method": widgets.Dropdown(options=list(formats.METHODS), value="absmax", description="method"),
    }
    picture = widgets.interactive_output(lambda **chosen: draw_rounding(x, **chosen), controls)
    row = widgets.HBox(
        list(controls.values()), layout=widgets.Layout(flex_flow="row wrap")
    )  # a slider needs its length
    return widgets.VBox([row, picture])
