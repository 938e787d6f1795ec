"""Drawings of notebook 03: the two storeys of double quantization, three 8-bit types, and a model byte by byte."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch

from .. import plots
from .canvas import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    ORANGE,
    PINK,
    RED,
    SKY,
    WIDTH,
    arrow,
    box,
    canvas,
    finish,
    ruler,
    say,
    strip,
    tint,
)

__all__ = ["absmax_by_hand", "absmax_hill", "bytes_of_a_model", "error_against_bits", "small_levels", "two_storeys"]


def two_storeys(block: int = 64, second_block: int = 256) -> None:
    """Weights under an absmax, absmax under a second absmax, an offset for all; and what each adds to a weight."""
    ax = canvas(3.1)
    rows = (
        (3.0, f"{block} codes of 4 bits", GREEN, 24, 4.0),
        (13.0, f"{second_block} absmax of 8 bits", ORANGE, 16, 8 / block),
        (23.0, "1 second absmax of 32 bits", RED, 1, 32 / block / second_block),
    )
    for y, name, color, boxes, bits in rows:
        width = 40 / boxes if boxes > 1 else 3
        x = 3 if boxes > 1 else 21.5
        texts = ["…" if boxes > 1 and i == boxes // 2 else "" for i in range(boxes)]  # more than are drawn
        strip(ax, x, y, texts, width, 3.2, [tint(color, 0.6)] * boxes, linewidth=0.7)
        text = f"{bits:.5f}".rstrip("0").rstrip(".") if bits < 1 else f"{bits:g}"
        say(ax, 46, y + 1.6, name, ha="left", weight="bold")
        say(ax, 46, y - 1.0, f"{text} bits per weight", ha="left", color=GRAY, size=10.5)
    for goal, y, x0, x1, said in (
        (3 + 40 / 16 * 7.5, 6.2, 3, 43, "one block"),
        (23.0, 16.2, 3, 43, f"{second_block} blocks"),
    ):
        ax.plot([x0, goal], [y, y + 6.8], color=GRAY, lw=1)
        ax.plot([x1, goal], [y, y + 6.8], color=GRAY, lw=1)
        say(ax, goal, y + 2.0, said, size=10.5, color=GRAY)
    box(ax, 3, 23.0, 9.5, 3.2, "1 offset", color=tint(BLUE, 0.3))
    say(ax, 7.8, 28.2, "per layer", size=10.5, color=GRAY)
    total = 4 + 8 / block + 32 / block / second_block
    say(ax, 61, 29.2, f"in all {total:.3f} bits", weight="bold")
    finish(
        ax,
        f"Three storeys. At the bottom {block} codes of 4 bits, above them {second_block} absmax of 8 bits, one for "
        f"each block, and on top one second absmax of 32 bits for all of these. Together {total:.3f} bits per weight. "
        "Next to them, one offset per layer.",
    )


def absmax_by_hand(absmax: torch.Tensor, offset: float, second: float, codes, restored: torch.Tensor) -> None:
    """Eight absmax on their way to 8 bits and back, one row for each step."""
    w, left = 7.1, 18.0
    ax = canvas(3.8)
    centered = absmax - offset
    rows = [
        ("absmax", absmax, "white", "{:.2f}"),
        (f"− {offset:.2f}, the mean", centered, "white", "{:+.2f}"),
        (f"÷ {second:.2f}, the largest", centered / second, tint(ORANGE, 0.35), "{:+.2f}"),
        ("code, of 8 bits", codes, tint(BLUE, 0.3), "{:d}"),
        ("the way back", restored, tint(GREEN, 0.3), "{:.4f}"),
    ]
    for i, (name, values, color, form) in enumerate(rows):
        y = 32.6 - 7.2 * i
        texts = [form.format(value).replace("-", "−") for value in values.tolist()]
        at = strip(ax, left, y, texts, w, 3.6, [color] * len(texts), size=10.5)
        say(ax, left - 1, y + 1.8, name, ha="right")
        if i:
            for x in at:
                arrow(ax, (x, y + 7.0), (x, y + 3.8), color=GRAY, linewidth=0.9, mutation_scale=8)
    finish(
        ax,
        f"Eight absmax in a row; below each its distance to the mean, {offset:.2f}; that distance divided by the "
        f"largest of the eight, {second:.2f}; its code, the place of the nearest of 256 "
        "levels; and the absmax that comes back.",
    )


def small_levels(rulers: dict[str, torch.Tensor], high: float) -> None:
    """The levels between 0 and `high` of several 8-bit types."""
    ax = canvas(0.4 + 0.62 * len(rulers))
    for i, (name, values) in enumerate(rulers.items()):
        y = 10 * ax.figure.get_figheight() - 3.6 - 6.2 * i
        ticks = [value for value in values.tolist() if 0 <= value <= high]
        at = ruler(ax, y, 15, 73, 0, high, ticks, color=(ORANGE, PINK, BLUE)[i % 3], long=2.6, thick=1.1)
        say(ax, 13.8, y + 1.1, name, weight="bold", ha="right")
        say(ax, 13.8, y - 1.1, f"{len(ticks)} levels", ha="right", color=GRAY, size=10.5)
    for tick in (0, high / 2, high):
        say(ax, at(tick), y - 2.7, f"{tick:g}", color=GRAY, size=10.5)
    finish(
        ax,
        f"Number lines from 0 to {high:g} with the levels of {', '.join(rulers)}. The dynamic type is dense near zero, "
        "integers are evenly spaced.",
    )


def absmax_hill(scales: torch.Tensor) -> None:
    """How the absmax of a layer are spread, with their mean marked."""
    plots.style()
    least, mean = scales.min().item(), scales.mean().item()
    fig, ax = plt.subplots(figsize=(WIDTH, 3.0))
    ax.hist(scales.numpy(), bins=40, color=tint(ORANGE, 0.8))
    ax.axvline(mean, color=INK, ls="--", lw=1.3)
    ax.annotate(f"mean {mean:.3f}", (mean, ax.get_ylim()[1]), (5, -12), textcoords="offset points", fontsize=10)
    ax.set(xlabel="absmax of a block", ylabel="number of blocks", xlim=(0, None))
    ax.set_title(f"None is near zero: the smallest absmax is {least:.2f}, and their mean {mean:.2f}")
    plots.show(
        fig, f"Histogram of {len(scales):,} absmax: the smallest is {least:.3f}, and they lie around {mean:.3f}."
    )


def error_against_bits(sizes: Sequence[int], curves: dict[str, tuple[Sequence[float], Sequence[float]]]) -> None:
    """Error against bits per weight of NF4 with and without double quantization, points labeled by block size."""
    plots.style()
    fig, ax = plt.subplots(figsize=(WIDTH, 3.9))
    for (name, (bits, errors)), color, marker in zip(curves.items(), (GREEN, RED), "^P", strict=True):
        ax.plot(bits, errors, marker + "-", color=color, label=name)
        for size, x, y in zip(sizes[:4], bits, errors, strict=False):
            ax.annotate(f"{size}", (x, y), (6, 4), textcoords="offset points", fontsize=10, color=color)
    (plain, errors), (double, _) = curves.values()
    at = list(sizes).index(64)
    look = {"arrowstyle": "-|>", "color": INK}
    ax.annotate("", (double[at] + 0.02, errors[at]), (plain[at] - 0.02, errors[at]), arrowprops=look)
    said = f"same error,\n{plain[at] - double[at]:.2f} bits less"
    place = 0.85 * plain[at] + 0.15 * double[at]
    ax.annotate(said, (place, errors[at]), (14, -30), textcoords="offset points", ha="center", fontsize=10)
    for name, size in zip(curves, (128, 32), strict=True):  # two ways to spend the same bits
        bits, found = curves[name]
        k = list(sizes).index(size)
        ax.plot([bits[k]], [found[k]], "o", ms=15, mfc="none", mec=INK, mew=1.2)
    ax.set(xlabel="bits per weight", ylabel="squared error, % of the\nmean squared weight")
    ax.set_title("With 8-bit constants, small blocks become cheap (circles: same bits)")
    ax.legend()
    plots.show(
        fig, "Error against bits per weight for blocks of 32 to 4,096: double quantization shifts the curve left."
    )


def bytes_of_a_model(parts: dict[str, int]) -> None:
    """The bytes of a model as areas of boxes, with those that are too small to see listed beside."""
    ax = canvas(2.9)
    total = sum(parts.values())
    shown = {name: n for name, n in parts.items() if n / total > 0.01}
    colors = dict(zip(parts, (GREEN, ORANGE, RED, PINK, SKY, BLUE), strict=False))
    width, height, x, y = 50.0, 22.0, 3.0, 3.0
    codes, *rest = sorted(shown, key=shown.get, reverse=True)
    column = width * shown[codes] / sum(shown.values())
    said = f"{codes}\n{shown[codes] / 1e9:.2f} GB"
    box(ax, x, y, column, height, said, color=tint(colors[codes], 0.45), bold=True, size=12)
    for name in rest:
        share = height * shown[name] / (sum(shown.values()) - shown[codes])
        box(ax, x + column, y, width - column, share, color=tint(colors[name], 0.55))
        middle = y + share / 2
        ax.plot([x + width, x + width + 1.4], [middle, middle], color=GRAY, lw=1)
        say(ax, x + width + 2, middle, f"{name}\n{shown[name] / 1e9:.2f} GB", ha="left", size=10.5)
        y += share
    small = sum(n for name, n in parts.items() if name not in shown)
    say(ax, 3, 27.2, f"{total / 1e9:.2f} GB, drawn to scale", ha="left", weight="bold")
    if small:
        say(ax, 73, 27.2, f"not visible: {small / 1e6:.1f} MB of the rest", ha="right", color=GRAY, size=10.5)
    finish(
        ax,
        f"A rectangle of {total / 1e9:.2f} GB, cut to scale into "
        + ", ".join(f"{name} {n / 1e9:.3f} GB" for name, n in parts.items())
        + ".",
    )
