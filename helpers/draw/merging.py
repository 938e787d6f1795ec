"""Drawings of notebook 09: a merge by hand, an update that snaps back, five merges as a tree, and what arrives."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch

from .. import plots
from .canvas import (
    ACROSS,
    ADAPTERS,
    BLUE,
    GRAY,
    GREEN,
    INK,
    LIGHT,
    PLUM,
    RED,
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

__all__ = [
    "along_and_rest",
    "arrow_and_rest",
    "crossings",
    "eight_updates",
    "five_merges",
    "snaps_back",
    "sum_of_matrices",
]

LETTERS = "ABCDE"


def _short(value: float, digits: int = 3) -> str:
    """A number for a small box: a minus sign, no zeros at its end."""
    text = f"{value:.{digits}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text.replace("-", "−")


def sum_of_matrices(weights: torch.Tensor, change: torch.Tensor) -> None:
    """A small matrix on its levels, plus an update, is the merged matrix, every number written in."""
    ax = canvas(1.55)
    rows, columns = weights.shape
    w, h = 6.0, 3.6
    parts = (
        (weights, "W, each weight on a level", GREEN, GREEN),
        (change, "BA, the update", ADAPTERS, PLUM),
        (weights + change, "W + BA, merged", GRAY, INK),
    )
    for k, (values, name, color, ink) in enumerate(parts):
        x = 0.2 + k * (columns * w + 1.6)
        for row in range(rows):
            texts = [_short(value) for value in values[row].tolist()]
            fill = [tint(color, 0.3 if k < 2 else 0.15)] * columns
            strip(ax, x, 7.0 - h * row, texts, w, h, fill, size=10.2)
        say(ax, x + columns * w / 2, 12.8, name, color=ink, weight="bold", size=10.5)
        if k:
            say(ax, x - 0.8, 7.0, "+="[k - 1], size=12)
    told = "; ".join(", ".join(_short(value) for value in row) for row in (weights + change).tolist())
    finish(ax, f"A matrix of {rows} × {columns} weights, plus an update of the same shape, is the merged one: {told}.")


def snaps_back(levels: torch.Tensor, absmax: float, start: float, update: float) -> None:
    """Three neighboring levels of a block on a number line, a weight, its update, and where rounding takes it.

    The band shows all values that are rounded to the level in the middle, the one that `start` is rounded to. Raises
    ValueError if that is the first or the last level.
    """
    scaled = levels * absmax
    k = int((scaled - start).abs().argmin())
    if not 0 < k < len(levels) - 1:
        raise ValueError("Choose a weight on an inner level: an outermost one has a neighbor on one side only.")
    low, home, high = (scaled[i].item() for i in (k - 1, k, k + 1))
    left, right, room = (low + home) / 2, (home + high) / 2, (high - low) * 0.09
    end = start + update
    target = scaled[(scaled - end).abs().argmin()].item()
    ax = canvas(1.75)
    at = ruler(ax, 6.4, 3, 73, low - room, high + room, [low, home, high], color=GREEN, long=2.4, thick=2.8)
    ax.fill_between([at(left), at(right)], 5.0, 7.8, color=tint(GREEN, 0.22), lw=0, zorder=0)
    for level, code in ((low, k - 1), (home, k), (high, k + 1)):
        say(ax, at(level), 2.9, f"level {level:.3f}\ncode {code}".replace("-", "−"), color=GREEN, size=10.5)
    for border in (left, right):
        ax.plot([at(border)] * 2, [4.4, 9.4], color=GRAY, lw=1.3, ls="--")
        say(ax, at(border), 2.9, f"border\n{border:.3f}".replace("-", "−"), color=GRAY, size=10.5)
    ax.plot([at(start)], [6.4], "o", color=RED, ms=6, zorder=3)
    arrow(ax, (at(start), 9.0), (at(end), 9.0), color=PLUM, linewidth=2.2, mutation_scale=13)
    ax.plot([at(start)] * 2, [7.0, 9.0], color=PLUM, lw=1, ls=":")
    away, side = ("right", -0.8) if update > 0 else ("left", 0.8)
    signed = f"{update:+g}".replace("-", "−")
    say(ax, at(start) + side, 10.4, f"the update, {signed}", color=PLUM, ha=away, size=10.5)
    back = abs(target - home) < 1e-9
    bend = (0.45 if target < end else -0.3) if back else (-0.25 if target > end else 0.25)
    arrow(ax, (at(end), 12.6), (at(target), 7.6), color=RED, bend=bend)
    ax.plot([at(end)] * 2, [9.4, 12.4], color=RED, lw=1, ls=":")
    ax.plot([at(end)], [6.4], "o", mfc="white", mec=RED, mew=1.6, ms=6, zorder=3)
    told = f"the sum {end:.3f} is rounded {'back ' if back else ''}to {target:.3f}".replace("-", "−")
    say(ax, at(end), 15.4, told, color=RED, weight="bold", size=11)
    where = "goes back to the level in the middle" if back else "crosses the border and goes to the next level"
    finish(
        ax,
        f"A number line with three levels, {low:.3f}, {home:.3f} and {high:.3f}, and the borders half-way between "
        f"them, {left:.3f} and {right:.3f}. A weight at {start:.3f} is moved by {update:g} to {end:.3f}. Rounded, it "
        f"{where}.",
    )


def eight_updates(levels: torch.Tensor, absmax: float, weights: torch.Tensor, update: torch.Tensor) -> list[int]:
    """A block and one update, twice: started from the levels and from the original weights; returns what crossed."""
    scaled = levels * absmax

    def nearest(values):
        return scaled[(scaled[None] - values[:, None]).abs().argmin(1)]

    base = nearest(weights)
    n, w, left, h = len(weights), 7.2, 17.8, 3.5
    ax = canvas(3.85)
    ax.set(ylim=(2.5, 41))
    crossed = []
    for y, start, title in (
        (36.6, base, "From the levels, where the 4-bit base has its weights"),
        (17.2, weights, "From the original weights, before they were rounded"),
    ):
        end = nearest(start + update)
        moved = (end - base).abs() > 1e-6
        crossed.append(int(moved.sum()))
        say(ax, 2, y + 2.4, title, ha="left", weight="bold", size=11)
        rows = (
            ("start", start, [tint(GREEN if y > 30 else BLUE, 0.3)] * n, 3),
            ("plus the update", update, [tint(ADAPTERS, 0.35)] * n, 2),
            ("sum", start + update, ["white"] * n, 3),
            ("nearest level", end, [tint(RED, 0.45) if m else tint(GREEN, 0.3) for m in moved.tolist()], 3),
        )
        for i, (name, values, colors, digits) in enumerate(rows):
            texts = [_short(value, digits) for value in values.tolist()]
            if i == 1:
                texts = [text if text.startswith("−") or text == "0" else f"+{text}" for text in texts]
            strip(ax, left, y - 3.6 - h * i, texts, w, h, colors, size=10.3)
            say(ax, left - 0.8, y - 3.6 - h * i + h / 2, name, ha="right", size=10.5)
    finish(
        ax,
        f"A block of {n} weights, the update, the sum and the nearest level, twice. From the levels, {crossed[0]} of "
        f"{n} weights end on another level than that of the base; from the original weights, {crossed[1]} do.",
    )
    return crossed


def five_merges(scores: Mapping[str, float] | None = None, unmerged: float | None = None) -> None:
    """The five merges as a tree with the letters A to E, with a bar for each once there are scores.

    `scores` has the share of exact answers by letter; a letter without is left out.
    """
    ax = canvas(4.5)
    ax.set(ylim=(-2.6, 42.4))
    scores, asked = scores or {}, scores is not None
    four, sixteen = tint(GREEN, 0.35), tint(BLUE, 0.3)
    bases = (
        (33.6, "the 4-bit base", four, 4.6),
        (24.4, "the 4-bit base,\ndequantized", sixteen, 5.4),
        (9.2, "the original,\nnever quantized", sixteen, 5.4),
    )
    leaves = {
        "A": (33.6, "in 4 bits", four),
        "B": (24.8, "in 16 bits", sixteen),
        "C": (17.2, "in 4 bits", four),
        "D": (9.6, "in 16 bits", sixteen),
        "E": (2.0, "in 4 bits", four),
    }
    for y, text, color, h in bases:
        box(ax, 1.5, y, 15.5, h, text, color=color, size=10.5)
        arrow(ax, (17.4, y + h / 2), (31.6, y + h / 2), "+ the update", color=PLUM, size=10.5, linewidth=1.8)
    arrow(ax, (9.2, 33.2), (9.2, 30.2), color=GRAY)
    say(ax, 10.2, 31.8, "dequantize", color=GRAY, ha="left", size=10.3)
    for letter, (y, text, color) in leaves.items():
        box(ax, 32, y, 4.0, 4.6, letter, color=INK, size=13).set_zorder(2)
        ax.texts[-1].set(color="white", weight="bold", zorder=3)
        box(ax, 36, y, 11.0, 4.6, text, color=color, size=10.5)
    for upper, lower, text in ((24.8, 21.8, "quantize again"), (9.6, 6.6, "quantize")):
        arrow(ax, (34.0, upper - 0.1), (34.0, lower + 0.2), color=GRAY)
        say(ax, 35.6, (upper + lower) / 2, text, color=GRAY, ha="left", size=10.3)
    x0, x1 = 50.5, 69.0
    if asked:
        ax.plot([x0, x0], [1.2, 39.0], color=GRAY, lw=1)
        if unmerged is not None:
            line = x0 + unmerged * (x1 - x0)
            ax.plot([line] * 2, [1.2, 39.0], color=PLUM, lw=1.6, ls="--")
            side = "right" if unmerged > 0.35 else "left"
            x, told = line + (0.6 if side == "right" else -0.6), f"unmerged: {100 * unmerged:.3g}%"
            say(ax, x, 40.6, told, color=PLUM, ha=side, size=10.5, weight="bold")
        for letter, share in scores.items():
            y, color = leaves[letter][0], leaves[letter][2]
            box(ax, x0, y + 0.6, max(share, 0.004) * (x1 - x0), 3.4, color=color)
            end = x0 + max(share, (unmerged or 0) if abs(share - (unmerged or 0)) < 0.1 else 0) * (x1 - x0)
            say(ax, end + 0.9, y + 2.3, f"{100 * share:.3g}%", ha="left", weight="bold")
        say(ax, x0, -0.9, "exactly right answers", color=GRAY, ha="left", size=10.3)
        for letter in set(LETTERS) - set(scores):
            say(ax, x0 + 1, leaves[letter][0] + 2.3, "needs 16 bits: left out", ha="left", color=GRAY, size=10.3)
    else:
        for y, _, _ in leaves.values():
            say(ax, 55, y + 2.3, "?", size=17, color=GRAY, weight="bold")
        say(ax, 55, 40.4, "still right?", color=GRAY, size=10.5)
    told = ", ".join(f"{letter} {100 * share:.3g}%" for letter, share in scores.items())
    finish(
        ax,
        "A tree. The update is added to the 4-bit base, which gives A, in 4 bits; to the dequantized base, which gives "
        "B, in 16 bits, and C, that is B quantized again; and to the original model, which gives D, in 16 bits, and E, "
        "that is D quantized." + (f" Exact answers: {told}." if told else ""),
    )


def crossings(ratios: Mapping[str, np.ndarray]) -> None:
    """How long updates are compared with the distance to the border, a panel for each start; beyond 1 is shaded."""
    plots.style()
    fig, axes = plt.subplots(
        len(ratios), 1, figsize=(WIDTH, 1.3 + 1.75 * len(ratios)), sharex=True, sharey=True, squeeze=False
    )
    shares = {name: float((values > 1).mean()) for name, values in ratios.items()}
    bins = np.logspace(-3, 2, 61)
    for ax, (name, values), color in zip(axes[:, 0], ratios.items(), (GREEN, BLUE), strict=False):
        weights = np.full(values.size, 100 / values.size)
        ax.hist(values, bins, weights=weights, color=tint(color, 0.55))
        ax.axvspan(1, bins[-1], color=tint(RED, 0.2), lw=0, zorder=0)
        ax.axvline(1, color=RED, lw=1.6)
        ax.set(xscale="log", ylabel="share of weights, %", xlim=(bins[0], bins[-1]))
        ax.set_title(f"From {name}: {shares[name]:.1%} cross", loc="left", fontsize=11.5)
        ax.annotate("crosses", (1.25, 0.8), xycoords=("data", "axes fraction"), color=RED, fontsize=10.5, weight="bold")
        stays = "snaps back" if name == "the levels" else "same level as the base"
        ax.annotate(stays, (1.3e-3, 0.8), xycoords=("data", "axes fraction"), color=INK, fontsize=10.5)
    axes[-1, 0].set_xticks([0.001, 0.01, 0.1, 1, 2, 10, 100])
    axes[-1, 0].xaxis.set_major_formatter(plt.FuncFormatter(lambda ratio, _: f"{ratio:g}"))
    axes[-1, 0].set_xlabel("update ÷ distance to the border (from 1 on, the code changes)")
    told = ", ".join(f"from {name} {share:.1%}" for name, share in shares.items())
    plots.show(fig, f"Histograms of update divided by distance to the border, shaded beyond 1. Beyond it are {told}.")


def _upright(unit: float) -> float:
    """As long upward as `unit` is across: the axes of a canvas have different units."""
    return unit * 10 * WIDTH / ACROSS


def _meant_and_real(ax, x: float, y: float, unit: float, share: float, rest: float, color: str) -> tuple[float, float]:
    """The update as a thick arrow of length 1 from (x, y), and the real change as an arrow; returns where that ends."""
    arrow(ax, (x, y), (x + unit, y), color=tint(ADAPTERS, 0.6), linewidth=5, mutation_scale=17).set_zorder(1)
    end = x + share * unit, y + rest * _upright(unit)
    ax.plot([end[0]] * 2, [y, end[1]], color=GRAY, lw=1.2, ls=":", zorder=2)
    arrow(ax, (x, y), end, color=color, linewidth=2.2, mutation_scale=13)
    return end


def arrow_and_rest(meant: torch.Tensor, changed: torch.Tensor) -> None:
    """A few weights, what each was meant to move by and did move by, and both as arrows with their two measures."""
    part = (changed @ meant / (meant @ meant)).item()
    left_over = changed - part * meant
    rest = (left_over.norm() / meant.norm()).item()
    unit, x, y, n = 7.4, 57.0, 7.6, len(meant)
    across, tall = max(-0.2, min(part, 1.4)), min(rest, 5.0)
    ax = canvas((max(y + tall * _upright(unit), 24.0) + 2.6) / 10)
    rows = (
        ("meant", meant, tint(ADAPTERS, 0.35), PLUM),
        ("changed", changed, tint(GREEN, 0.35), GREEN),
        ("the rest: changed − share × meant", left_over, "white", INK),
    )
    for k, (name, values, fill, ink) in enumerate(rows):
        low = 19.6 - 8.6 * k
        strip(ax, 1, low, [_short(value) for value in values.tolist()], 41.6 / n, 3.4, [fill] * n, size=10.3)
        say(ax, 1, low + 4.8, name, color=ink, ha="left", weight="bold", size=10.5)
    right, top = _meant_and_real(ax, x, y, unit, across, tall, GREEN)
    middle = (y + top) / 2
    say(ax, (x + right) / 2 - 1.4, middle + 1.5, "changed", color=GREEN, ha="right", weight="bold")
    say(ax, right + 1.2, middle, f"the rest,\n{rest:.2f} times\nas long", color=INK, ha="left")
    say(ax, x - 1.2, y, "meant", color=PLUM, ha="right", weight="bold")
    ax.plot([x, x, right, right], [y - 1.4, y - 2.2, y - 2.2, y - 1.4], color=INK, lw=1)
    say(ax, (x + right) / 2, y - 4.6, f"share: {100 * part:.3g}%")
    finish(
        ax,
        f"{n} weights, with what each was meant to move by, what it did move by, and the rest. Beside them two arrows "
        "from one point: the update that was meant goes across; the real change goes along it for "
        f"{100 * part:.3g}% of its length, and upward, at a right angle to it, {rest:.2f} times its length: the rest.",
    )


def along_and_rest(found: Mapping[str, tuple[float, float]], most: float = 3.4) -> None:
    """For each merge the update that was meant, and what the merge really changed: its part along it, and the rest.

    `found` has (share along the update, length of the rest in lengths of the update) by letter.
    """
    unit, y = 6.2, 11.2
    highest = min(most, max([1.0, *(rest for _, rest in found.values())]))
    tall = highest * _upright(unit)
    ax = canvas((y + tall + 5.4) / 10)
    say(ax, 1, y + tall + 3.4, "↑ the rest, in lengths of the update", color=GRAY, ha="left", size=10.5)
    key = (44, y + tall + 3.4), (50.2, y + tall + 3.4)
    arrow(ax, *key, color=tint(ADAPTERS, 0.6), linewidth=5, mutation_scale=17)
    say(ax, 51.4, y + tall + 3.4, "the update that was meant", color=PLUM, ha="left", size=10.5)
    for length in range(int(highest) + 1):
        ax.plot([4.4, 75], [y + length * _upright(unit)] * 2, color=GRAY if length == 0 else LIGHT, lw=1, zorder=0)
        say(ax, 3.2, y + length * _upright(unit), str(length), color=GRAY, size=10.3)
    wide = 68 / max(len(found), 1)
    for k, (letter, (share, rest)) in enumerate(found.items()):
        x, four = 8.5 + k * wide, letter in "ACE"
        across, up = max(-0.2, min(share, 1.4)), min(rest, most)
        _meant_and_real(ax, x, y, unit, across, up, GREEN if four else BLUE)
        middle = x + unit / 2
        say(ax, middle, 8.2, f"{letter}, {4 if four else 16} bits", weight="bold", color=GREEN if four else BLUE)
        say(ax, middle, 5.0, f"{100 * share:.3g}% arrived", size=10.4)
        say(ax, middle, 2.0, f"rest {rest:.2f}" if rest < 10 else f"rest {rest:.0f}", color=GRAY, size=10.4)
    told = "; ".join(f"{letter} {100 * share:.3g}% along, rest {rest:.2f}" for letter, (share, rest) in found.items())
    finish(
        ax,
        "A small drawing for each merge: a thick arrow across for the update that was meant, and one for the real "
        f"change, with the rest as its height. {told}. 100% and 0 would be perfect.",
    )
