"""Drawings of notebook 13: what a format's bits go to, three ways to round better, and the contest."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from .. import plots
from .canvas import (
    BLUE,
    CODES,
    CONSTANTS,
    GRAY,
    GREEN,
    INK,
    LIGHT,
    ORANGE,
    RED,
    SKY,
    WIDTH,
    arrow,
    box,
    canvas,
    finish,
    matrix,
    ruler,
    say,
    strip,
    tint,
)

__all__ = [
    "bits_of_formats",
    "changes_with_intervals",
    "errors_that_count",
    "moved_levels",
    "outputs_and_rise",
    "pass_it_on",
    "superblock",
]


def bits_of_formats(formats: dict[str, tuple[float, str]]) -> None:
    """One bar a format: 4 bits of codes, and its constants, in bits per weight; with what the constants are."""
    ax = canvas(0.75 + 0.34 * len(formats))
    top, told = 10 * ax.figure.get_figheight(), []
    for x, color, said in ((13.5, CODES, "codes: 4 bits per weight"), (40, CONSTANTS, "constants")):
        box(ax, x, top - 2.6, 1.8, 1.8, color=tint(color, 0.55))
        say(ax, x + 2.6, top - 1.7, said, ha="left", size=10.3)
    for i, (name, (constants, said)) in enumerate(formats.items()):
        y = top - 6.8 - 3.4 * i
        say(ax, 12.6, y + 1.2, name, ha="right", weight="bold", size=10.5)
        box(ax, 13.5, y, 28, 2.4, color=tint(GREEN, 0.55))
        box(ax, 41.5, y, 7 * constants, 2.4, color=tint(ORANGE, 0.7))
        say(ax, 46.5, y + 1.2, f"{4 + constants:.3g}", ha="left", weight="bold", size=10.5)
        say(ax, 51.0, y + 1.2, said, ha="left", size=10.3, color=GRAY)
        told.append(f"{name} {4 + constants:.3g} ({said})")
    finish(ax, f"Bits per weight of each format, 4 for codes and the rest for constants: {'; '.join(told)}.")


def moved_levels(weights: torch.Tensor, rulers: dict[str, torch.Tensor]) -> None:
    """Weights as dots over two number lines with the same steps, one of them moved; and the squared error on each."""
    ax = canvas(0.2 + 1.15 * len(rulers))
    low = min(levels.min().item() for levels in rulers.values())
    high = max(levels.max().item() for levels in rulers.values())
    errors = {}
    for i, (name, levels) in enumerate(rulers.items()):
        y = 10 * ax.figure.get_figheight() - 8.0 - 11.5 * i
        ticks = [f"{level:.2f}".replace("-", "−") for level in levels.tolist()]
        look = {"color": (GRAY, GREEN)[i], "long": 2.2, "thick": 2, "labels": ticks, "size": 10.5}
        at = ruler(ax, y, 5, 71, low, high, levels.tolist(), **look)
        nearest = levels[(weights[:, None] - levels).abs().argmin(1)]
        errors[name] = (nearest - weights).square().mean().item()
        for value, goal in zip(weights.tolist(), nearest.tolist(), strict=True):
            ax.plot([at(value)], [y + 2.6], "o", color=RED, ms=6, zorder=3)
            ax.plot([at(value), at(goal)], [y + 2.3, y + 1.1], color=RED, lw=1.2)
        said = f"levels {name}: mean squared error {errors[name]:.4f}"
        say(ax, 2, y + 5.8, said, ha="left", weight="bold", color=INK)
    told = "; ".join(f"{name}, {error:.4f}" for name, error in errors.items())
    count = len(next(iter(rulers.values())))
    finish(ax, f"{len(weights)} weights as dots over two rows of {count} levels, each with its squared error: {told}.")


def errors_that_count(
    title: str,
    weights: Sequence[float],
    rounded: Sequence[float],
    inputs: Sequence[float],
    factors: Sequence[float] | None = None,
    most: float | None = None,
) -> None:
    """A few weights, what they are rounded to, their inputs, and what each error does to the output.

    With `factors`, each weight is multiplied before it is rounded (`rounded` is the result), and divided again after.
    An error of `most` has the darkest color; by default that is the largest.
    """
    back = [r / f for r, f in zip(rounded, factors or [1] * len(rounded), strict=True)]
    counts = [(r - w) * x for w, r, x in zip(weights, back, inputs, strict=True)]
    most = most or max(map(abs, counts))
    plain, shades = [LIGHT] * len(weights), [tint(RED, 0.1 + 0.6 * abs(value) / most) for value in counts]
    rows = [("weight", [f"{w:.2f}" for w in weights], None), ("rounded", [f"{r:.2f}" for r in rounded], plain)]
    if factors:
        said = [
            f"{w:.2f} · {f:g} = {w * f:.2f}" if f != 1 else f"{w:.2f}" for w, f in zip(weights, factors, strict=True)
        ]
        rows.insert(1, ("multiplied", said, None))
        said = [
            f"{r:.2f} / {f:g} = {r / f:.2f}" if f != 1 else f"{r:.2f}" for r, f in zip(rounded, factors, strict=True)
        ]
        rows.append(("divided again", said, None))
    rows += [("input", [f"{x:g}" for x in inputs], None), ("error × input", [f"{c:+.2f}" for c in counts], shades)]
    ax = canvas(0.55 + 0.5 * len(rows))
    top, width = 10 * ax.figure.get_figheight(), 52 / len(weights)
    say(ax, 2, top - 2.2, title, ha="left", weight="bold")
    for i, (name, texts, colors) in enumerate(rows):
        y = top - 8.8 - 5.0 * i
        say(ax, 18.5, y + 1.9, name, ha="right", weight="bold" if name == "error × input" else "normal")
        strip(ax, 20, y, [text.replace("-", "−") for text in texts], width, 3.8, colors, size=11)
    finish(
        ax,
        f"{title}. Weights {', '.join(f'{w:g}' for w in weights)}, rounded to {', '.join(f'{r:g}' for r in back)}, "
        f"with inputs {', '.join(f'{x:g}' for x in inputs)}. Error times input is "
        f"{', '.join(f'{c:+.2f}' for c in counts)}.",
    )


def pass_it_on(columns: int = 9, done: int = 4, rows: int = 5) -> None:
    """A weight matrix that is rounded column by column; the error of one column goes to those on its right."""
    ax = canvas(2.75)
    width = 60 / columns
    colors = []
    for _ in range(rows):
        for column in range(columns):
            colors.append(tint(GREEN, 0.5) if column < done else tint(ORANGE, 0.7) if column == done else LIGHT)
    matrix(ax, 8, 4.4, 60, 15.0, rows, columns, colors)
    middle = 8 + (done + 0.5) * width
    for k, column in enumerate(range(done + 1, columns)):
        goal = 8 + (column + 0.5) * width
        arrow(
            ax,
            (middle, 19.8),
            (goal, 19.8),
            color=RED,
            bend=-0.35,
            linewidth=(0.8, 2.2, 0.5, 1.5)[k % 4],
            mutation_scale=9,
        )
    say(ax, 8 + done * width / 2, 2.4, "already rounded", color=GREEN, size=10.5)
    say(ax, middle, 2.4, "now", color=INK, size=10.5, weight="bold")
    say(ax, 8 + (done + 1 + columns) / 2 * width, 2.4, "not rounded yet", color=GRAY, size=10.5)
    say(
        ax,
        8,
        25.4,
        "its error is passed on, most of it to columns with inputs like its own",
        ha="left",
        color=RED,
        size=10.5,
    )
    finish(
        ax,
        f"A matrix of {columns} columns. The left {done} are rounded, one is being rounded, and arrows lead from it to "
        "the columns on its right, which are changed so that the output stays as it was.",
    )


def superblock() -> None:
    """Q4_K: eight small blocks of 32 weights, a scale and a low of 6 bits for each, and two numbers that all share."""
    ax = canvas(3.3)
    for x, color, said in ((3, ORANGE, "for the scales"), (24, SKY, "for the lows")):
        box(ax, x, 30.0, 1.8, 1.8, color=tint(color, 0.7))
        say(ax, x + 2.6, 30.9, said, ha="left", size=10.5)
    for i in range(8):
        x = 3 + 5.2 * i
        box(ax, x, 2.0, 5.0, 3.2, "32×4", color=tint(GREEN, 0.55), size=10.3)
        strip(ax, x, 11.6, ["6", "6"], 2.5, 3.2, [tint(ORANGE, 0.7), tint(SKY, 0.7)], size=10.3)
        ax.plot([x + 2.5, x + 2.5], [5.4, 11.4], color=GRAY, lw=0.9)
        ax.plot([x + 2.5, 23.8], [15.0, 21.0], color=GRAY, lw=0.7)
    strip(ax, 18.8, 21.2, ["16", "16"], 5.0, 3.4, [tint(ORANGE, 0.7), tint(SKY, 0.7)], size=10.5)
    rows = (
        (22.9, "2 numbers of 16 bits", "shared by all, and multiplied with"),
        (13.2, "8 scales, 8 lows of 6 bits", "one of each per block"),
        (3.6, "256 codes of 4 bits", "8 blocks of 32 weights"),
    )
    for y, said, more in rows:
        say(ax, 47, y + 1.2, said, ha="left", weight="bold", size=10.5)
        say(ax, 47, y - 1.4, more, ha="left", color=GRAY, size=10.3)
    finish(
        ax,
        "Q4_K at three levels. At the bottom eight small blocks of 32 codes. Above each a scale and a low of 6 bits. "
        "On top two numbers of 16 bits: one that all scales are multiplied with, and one for all lows.",
    )


def changes_with_intervals(
    changes: dict[str, tuple[float, float, float]], colors: dict[str, str], title: str, alt: str, base: str = "NF4"
) -> None:
    """Changes with their intervals, a line each, best on top; a dashed line at that of `base`.

    `changes` maps a name to value, low and high, as shares. `colors` maps kinds of methods to the names of a kind.
    """
    plots.style()
    order = sorted(changes, key=lambda name: -changes[name][0])
    fig, ax = plt.subplots(figsize=(WIDTH + 0.4, 0.9 + 0.33 * len(order)))
    kinds = dict(zip(colors, (GREEN, BLUE, ORANGE), strict=False))
    seen = set()
    for y, name in enumerate(order):
        value, low, high = (100 * part for part in changes[name])
        kind = next(kind for kind, names in colors.items() if name in names)
        label = None if kind in seen else kind
        seen.add(kind)
        look = {"fmt": "o", "color": kinds[kind], "capsize": 3, "ms": 6, "label": label}
        ax.errorbar([value], [y], xerr=[[value - low], [high - value]], **look)
        ax.annotate(f"{value:+.2f}", (high, y), (5, 0), textcoords="offset points", va="center", fontsize=10)
    ax.axvline(100 * changes[base][0], color=INK, ls="--", lw=1, label=f"{base}, for comparison")
    ax.set_yticks(range(len(order)), order)
    ax.set(xlabel="change of perplexity against the model before rounding, % (lower is better)", title=title)
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.12)
    ax.legend(loc="upper right", fontsize=10)
    plots.show(fig, alt)


def name_points(ax, points: dict[str, tuple[float, float]], legend) -> None:
    """Name each point beside it, or further off with a thin line, so that no name covers a point or another name."""
    ax.figure.canvas.draw()
    unit, size = ax.figure.dpi / 72, 5  # pixels of a point of type, and half of a dot
    dots = {name: ax.transData.transform(at) for name, at in points.items()}
    taken = [Bbox.from_extents(*(at - size * unit), *(at + size * unit)) for at in dots.values()]
    taken.append(legend.get_window_extent())
    directions = [
        (1, 0.7),
        (1, -0.7),
        (0.5, 1),
        (0.5, -1),
        (0, 1),
        (0, -1),
        (-0.5, 1),
        (-0.5, -1),
        (-1, 0.7),
        (-1, -0.7),
    ]
    places = [(far * across, far * up) for far in (7, 18, 26, 34, 42, 50, 60, 72) for across, up in directions]
    for name in sorted(points, key=points.get, reverse=True):
        for across, up in places:
            line = {"arrowstyle": "-", "color": GRAY, "lw": 0.7, "shrinkA": 0, "shrinkB": 3}
            near = max(abs(across), abs(up)) < 10
            sides = ("left", "center", "right")[1 - (across > 0) + (across < 0)], "bottom" if up > 0 else "top"
            if abs(across) < abs(up):
                sides = "center", sides[1]
            look = {"textcoords": "offset points", "fontsize": 10.5, "ha": sides[0], "va": sides[1]}
            said = ax.annotate(name, points[name], (across, up), arrowprops=None if near else line, **look)
            said.update_positions(ax.figure.canvas.get_renderer())
            room = Text.get_window_extent(said).padded(2)  # without its line
            parts = [] if near else np.linspace(0.3, 1, 16)
            steps = [dots[name] + unit * part * np.array([across, up]) for part in parts]
            free = not any(room.overlaps(other) for other in taken) and ax.bbox.containsx(room.x1)
            if free and ax.bbox.containsy(room.y0) and not any(b.contains(*at) for b in taken for at in steps):
                taken.append(room)
                taken += [Bbox.from_extents(*(at - 4), *(at + 4)) for at in steps]
                break
            said.remove()


def outputs_and_rise(
    outputs: dict[str, float], rises: dict[str, float], colors: dict[str, str], title: str, alt: str
) -> None:
    """Each method as a point: error of its layers' outputs to the right, rise of perplexity upward, both as shares.

    `colors` is as in `changes_with_intervals`. Every point is named.
    """
    plots.style()
    fig, ax = plt.subplots(figsize=(WIDTH + 0.4, 3.6))
    for color, (kind, names) in zip((GREEN, BLUE, ORANGE), colors.items(), strict=False):
        ax.plot([100 * outputs[n] for n in names], [100 * rises[n] for n in names], "o", color=color, ms=7, label=kind)
    ax.set(xlabel="squared error of the layers' outputs, % (further left is more exact)", title=title)
    ax.set_ylabel("rise of perplexity, %\n(lower is better)")
    ax.set_ylim(bottom=0)
    ax.margins(x=0.12, y=0.12)
    legend = ax.legend(loc="upper left", fontsize=10)
    name_points(ax, {name: (100 * outputs[name], 100 * rises[name]) for name in outputs}, legend)
    plots.show(fig, alt)
