"""Drawings of notebook 01: what a weight costs, the fields of a number, rounding to steps, and who shares a scale."""

from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.colors import to_hex

from .canvas import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    ORANGE,
    PINK,
    RED,
    SKY,
    arrow,
    bell,
    box,
    brace,
    canvas,
    finish,
    matrix,
    ruler,
    say,
    strip,
    tint,
)

__all__ = [
    "FIELDS",
    "bit_fields",
    "eight_to_codes",
    "floats_on_a_ruler",
    "levels_in_use",
    "nearest_level",
    "no_level_at_zero",
    "outlier",
    "weight_in_bits",
    "who_shares_a_scale",
]

# sign, exponent and mantissa in the colors that JupyterLab gives to the buttons of notebook 01
FIELDS = {"sign": tint("#f44336", 0.8), "exponent": tint("#ff9800", 0.75), "mantissa": tint("#00bcd4", 0.6)}


def weight_in_bits(parameters: int, guide: dict[str, float], weight: float = 0.31, absmax: float = 0.80) -> None:
    """The bits of one weight in 32, 16, 8 and 4 bits, the value that comes back, and what all weights of a model take.

    `absmax` is the largest magnitude in the weight's block, from which the scale of 8 and of 4 bits is made. `guide`
    holds what the guide's table says, in GB, by format; a format that it leaves out gets no such figure.
    """
    ax = canvas(2.75)
    formats = {"FP32": (32, GRAY), "FP16": (16, BLUE), "8-bit": (8, ORANGE), "4-bit": (4, GREEN)}
    say(ax, 27, 25.6, f"the weight {weight:g}, one box per bit", color=GRAY)
    say(ax, 75.5, 25.6, f"{parameters / 1e9:.2f} billion weights take", color=GRAY, ha="right")
    told = []
    for i, (name, (bits, color)) in enumerate(formats.items()):
        y = 19.6 - 5.6 * i
        say(ax, 8.2, y + 1.4, name, ha="right", weight="bold")
        stored, restored = _as_bits(weight, bits, absmax)
        strip(ax, 9.0, y, stored, 1.18, 2.8, [tint(color, 0.55)] * bits, size=10.3)
        say(ax, 9.8 + 1.18 * bits, y + 1.4, f"= {restored:.4g}", ha="left", size=10.5)
        said = f"{parameters * bits / 8 / 1e9:.2f} GB" + (f"  (guide: {guide[name]:g})" if name in guide else "")
        say(ax, 57.2, y + 1.4, said, ha="left", weight="bold" if name == "4-bit" else "normal", size=10.5)
        told.append(f"{name} gives back {restored:.4g} and takes {parameters * bits / 8 / 1e9:.2f} GB for all weights")
    finish(ax, f"The weight {weight:g} as a row of 32, 16, 8 and 4 bits: {'; '.join(told)}.")


def nearest_level(weight: float = 0.31, absmax: float = 0.80) -> None:
    """Every value that 8 and 4 bits can stand for between ±`absmax`, and the nearest one to the weight."""
    ax = canvas(2.45)
    told = []
    for y, bits, color in ((17.0, 8, ORANGE), (6.6, 4, GREEN)):
        top = 2 ** (bits - 1) - 1
        levels = [code * absmax / top for code in range(-top, top + 1)]
        nearest = min(levels, key=lambda level: abs(level - weight))
        at = ruler(ax, y, 12, 72, -absmax, absmax, levels, color=color, long=2.4, thick=2.4 if bits < 8 else 0.7)
        say(ax, 10.4, y + 0.9, f"{bits} bits:\n{len(levels)} values", color=INK, ha="right", size=10.5)
        if bits < 8:
            for code in range(-top, top + 1):
                say(ax, at(code * absmax / top), y - 2.2, str(code).replace("-", "−"), color=GREEN, size=10.5)
            say(ax, 6.6, y - 2.8, "codes:", color=GREEN, ha="right", size=10.5)
        ax.plot([at(weight)], [y + 3.4], "o", color=RED, ms=7, zorder=3)
        arrow(ax, (at(weight), y + 3.0), (at(nearest), y + 1.2), color=RED, linewidth=1.3)
        say(ax, at(weight) - 1.4, y + 3.8, f"{weight:g}", color=RED, ha="right")
        say(ax, at(nearest) + 2.2, y + 3.8, f"becomes {nearest:.4f}", color=RED, ha="left")
        told.append(f"with {bits} bits there are {len(levels)} ticks, and the nearest to {weight:g} is {nearest:.4f}")
    for value in (-absmax, 0, absmax):
        say(ax, at(value), 1.6, f"{value:g}".replace("-", "−"), color=GRAY, size=10.5)
    say(ax, 6.6, 1.6, "values:", color=GRAY, ha="right", size=10.5)
    finish(ax, f"Two number lines from −{absmax:g} to {absmax:g}: {'; '.join(told)}.")


def _as_bits(weight: float, bits: int, absmax: float) -> tuple[str, float]:
    """How a weight is stored, as a text of zeros and ones, and what comes back: a float, or a code times a scale."""
    if bits >= 16:
        value = torch.tensor(weight, dtype=torch.float32 if bits == 32 else torch.float16)
        stored = value.view(torch.int32 if bits == 32 else torch.int16).item()
        return f"{stored & (2**bits - 1):0{bits}b}", value.item()
    top = 2 ** (bits - 1) - 1
    code = round(weight / absmax * top)
    return f"{code & (2**bits - 1):0{bits}b}", code * absmax / top


def eight_to_codes(weights: torch.Tensor, codes: torch.Tensor, step: float, top: int = 7) -> None:
    """Weights as dots on a line, whole numbers below it, and an arrow from each to the one that it is rounded to."""
    ax = canvas(2.75)
    reach = top * step
    at = ruler(ax, 17.5, 5, 71, -reach, reach, [-reach, 0, reach], labels=None, color=GRAY, long=1.6)
    labels = [f"−{-k}" if k < 0 else str(k) for k in range(-top, top + 1)]
    ruler(ax, 7.0, 5, 71, -top, top, range(-top, top + 1), labels=labels, size=11)
    say(ax, 5, 24.8, "weights", ha="left", weight="bold", color=BLUE)
    say(ax, 5, 1.6, "codes", ha="left", weight="bold")
    order = sorted(range(len(weights)), key=lambda i: weights[i].item())
    for place, i in enumerate(order):
        value, code = weights[i].item(), int(codes[i])
        x, goal = at(value), at(code * step)
        ax.plot([x], [17.5], "o", color=BLUE, ms=7, zorder=3)
        arrow(ax, (x, 16.6), (goal, 8.0), color=RED, linewidth=1.1)
        high = 19.9 if place % 2 == 0 else 22.2
        say(ax, x, high, f"{value:.2f}".replace("-", "−"), size=10.5, color=BLUE)
    brace(ax, at(0), at(step), 3.9, "", color=INK)
    say(ax, (at(0) + at(step)) / 2, 1.6, f"one step: {step:.4f}", size=10.5)
    finish(
        ax,
        f"{len(weights)} weights as dots on a number line, and below them the whole numbers from −{top} to {top}. An "
        f"arrow leads from each weight to the nearest multiple of the step, {step:.4f}.",
    )


def bit_fields(rows: Sequence[tuple[str, str, str, str, str]]) -> None:
    """The bits of one number in several formats: (name, sign, exponent, mantissa, value), one format per row."""
    ax = canvas(0.95 + 0.46 * len(rows))
    top = 10 * ax.figure.get_figheight()
    for x, (part, color) in zip((12, 24, 42), FIELDS.items(), strict=True):
        box(ax, x, top - 4.2, 2.2, 2.2, color=color)
        say(ax, x + 3.2, top - 3.1, part, ha="left")
    for i, (name, sign, exponent, mantissa, value) in enumerate(rows):
        y, x = top - 9.2 - 4.6 * i, 11.2
        say(ax, 10.4, y + 1.4, name, ha="right", weight="bold")
        for part, bits in zip(FIELDS, (sign, exponent, mantissa), strict=True):
            strip(ax, x, y, list(bits), 1.36, 2.8, [FIELDS[part]] * len(bits), size=10.3, linewidth=0.6)
            x += 1.36 * len(bits)
        say(ax, 75.5, y + 1.4, value, ha="right", size=10.5)
    finish(
        ax,
        "The bits of one number in several formats, colored by sign, exponent and mantissa: "
        + "; ".join(f"{name} holds {value}" for name, *_, value in rows)
        + ".",
    )


def floats_on_a_ruler(rulers: dict[str, torch.Tensor], high: float) -> None:
    """The numbers between 0 and `high` that each format has, as ticks."""
    ax = canvas(0.35 + 0.62 * len(rulers))
    for i, (name, values) in enumerate(rulers.items()):
        y = 10 * ax.figure.get_figheight() - 4.4 - 6.2 * i
        color = (BLUE, PINK, GREEN, ORANGE)[i % 4]
        ticks = [value for value in values.tolist() if 0 <= value <= high]
        at = ruler(ax, y, 14, 73, 0, high, ticks, color=color, long=2.6, thick=1.3)
        say(ax, 12.8, y, name, color=color, weight="bold", ha="right")
    for tick in range(int(high) + 1):
        say(ax, at(tick), y - 2.6, str(tick), color=GRAY, size=10.5)
    finish(
        ax,
        f"Number lines from 0 to {high:g} with every number that {', '.join(rulers)} can hold: floating-point numbers "
        "crowd near zero, integers are evenly spaced.",
    )


def who_shares_a_scale(rows: int = 4, columns: int = 16, block: int = 4) -> None:
    """One small matrix three times: colored by who shares a scale, for a tensor, a row and a block."""
    ax = canvas(1.75)
    colors = [to_hex(color) for color in plt.get_cmap("tab20").colors]  # as many as there are blocks to tell apart
    cells = range(rows * columns)
    owners = {
        "one scale": [0 for _ in cells],
        f"{rows} scales": [cell // columns for cell in cells],
        f"{rows * columns // block} scales": [cell // block for cell in cells],
    }
    titles = ("per tensor", "per row", f"per block of {block}")
    for i, ((count, owner), title) in enumerate(zip(owners.items(), titles, strict=True)):
        x = 2.5 + 25 * i
        matrix(ax, x, 4.2, 21, 8.6, rows, columns, [colors[(7 * who) % len(colors)] for who in owner])
        say(ax, x + 10.5, 15.0, title, weight="bold")
        say(ax, x + 10.5, 2.0, count, color=GRAY)
    finish(
        ax,
        f"The same matrix of {rows} rows and {columns} columns three times. Weights of one color share a scale: all of "
        f"them, each row, or each block of {block} neighbors.",
    )


def levels_in_use(weights: torch.Tensor, rulers: dict[str, torch.Tensor]) -> None:
    """Weights as dots on number lines with the levels of several methods; levels that no weight can need are gray."""
    ax = canvas(0.45 + 0.9 * len(rulers))
    low, high = weights.min().item(), weights.max().item()
    reach = max(abs(low), abs(high), *(levels.abs().max().item() for levels in rulers.values()))
    told, y = [], 10 * ax.figure.get_figheight() - 6.8
    for (name, levels), color in zip(rulers.items(), (BLUE, GREEN), strict=False):
        step = (levels[1] - levels[0]).item()
        ticks = levels.tolist()
        idle = [level for level in ticks if not low - step / 2 < level < high + step / 2]
        at = ruler(ax, y, 12, 73, -reach, reach, [level for level in ticks if level not in idle], color=color, long=2.6,
                   thick=2.6)  # fmt: skip
        ruler(ax, y, 12, 73, -reach, reach, idle, color=GRAY, long=2.6, thick=1.1)
        say(ax, 10.4, y, name, weight="bold", color=color, ha="right")
        for value in weights.tolist():
            ax.plot([at(value)], [y + 2.4], "o", color=RED, ms=6, zorder=3)
        if idle:
            say(ax, (at(idle[0]) + at(idle[-1])) / 2, y + 3.6, f"{len(idle)} idle levels", color=GRAY, size=10.5)
        told.append(f"{name} has {len(ticks)} levels, and {len(idle) or 'none'} of them idle")
        y -= 9.5
    for value in (low, 0, high):
        say(ax, at(value), y + 9.5 - 3.0, f"{value:g}".replace("-", "−"), color=GRAY, size=10.5)
    finish(ax, f"{len(weights)} weights as dots between {low:g} and {high:g} on {len(rulers)} number lines: "
               f"{'; '.join(told)}.")  # fmt: skip


REACH = 9.0  # standard deviations that are drawn on either side of a bell with an outlier


def _bell_over_levels(ax, y: float, levels: Sequence[float], title: str) -> Callable[[float], float]:
    """Draw it, and return where a value lies on it."""
    seen = [level for level in levels if abs(level) <= REACH]
    labels = [f"{level:.1f}σ".replace("-", "−") if abs(level) > 1e-3 else "0" for level in seen]
    at = ruler(ax, y, 4, 72, -REACH, REACH, seen, thick=2.2, labels=labels if len(seen) < 8 else None, size=10.5)
    bell(ax, y, 7.0, at, -3.4, 3.4, colors=[tint(SKY, 0.6)])
    say(ax, 38, y + 9.6, title, weight="bold")
    return at


def outlier(distance: float = 50, top: int = 7) -> None:
    """The steps of 4 bits under a bell of weights, without an outlier and with one at so many standard deviations."""
    ax = canvas(2.96)
    for y, reach, title in (
        (17.6, 3.5, "A sketch without an outlier: the steps fit the weights"),
        (3.8, distance, f"One weight at {distance:g}σ: the steps are {distance / 3.5:.0f} times as wide"),
    ):
        _bell_over_levels(ax, y, [k * reach / top for k in range(-top, top + 1)], title)
    _toward(ax, 7.4, distance)
    finish(
        ax,
        f"Above, a bell of weights over 15 ticks that cover it. Below, the same bell after one weight at {distance:g} "
        "standard deviations has stretched the scale: only three ticks are left in the picture, and nearly all weights "
        "lie nearest to the one at zero.",
    )


def _toward(ax, y: float, distance: float) -> None:
    """Where the outlier is: beyond the picture."""
    arrow(ax, (66, y), (74.5, y), color=RED)
    say(ax, 65.4, y, f"to the outlier, {distance:g}σ", color=RED, ha="right", size=10.5)


def no_level_at_zero(rulers: dict[str, torch.Tensor], distance: float = 50) -> None:
    """The bell over the levels of several methods, in standard deviations, and where most of its weights go."""
    ax = canvas(0.1 + 1.45 * len(rulers))
    told = []
    for i, (name, levels) in enumerate(rulers.items()):
        y = 10 * ax.figure.get_figheight() - 12.0 - 14.2 * i
        near = sorted(levels.tolist(), key=abs)[:2]
        zero = abs(near[0]) < 1e-3
        where = "a level at zero" if zero else f"zero lies between {min(near):.1f}σ and {max(near):.1f}σ"
        where = where.replace("-", "−")
        at = _bell_over_levels(ax, y, levels.tolist(), f"{name}: {where}")
        for start in (-0.35, 0.35):  # typical weights: where the bell is highest
            goal = near[0] if zero else min(near, key=lambda level: abs(level - 2 * start))
            arrow(ax, (at(start), y + 4.6), (at(goal + 0.3 * start * zero), y + 1.0), color=RED, linewidth=1.4)
        told.append(f"{name}, {where}")
        _toward(ax, y + 3.6, distance)
    finish(ax, f"The same bell of weights over the levels of {len(rulers)} methods: {'; '.join(told)}. Red arrows lead "
               "from weights near the middle to the nearest level.")  # fmt: skip
