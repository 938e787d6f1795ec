"""Drawings of notebook 02: where weights lie, how a bell curve places 16 levels, and how a block becomes bytes."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch

from .. import plots
from .canvas import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    LIGHT,
    OCHRE,
    ORANGE,
    PINK,
    PLUM,
    RED,
    SKY,
    WIDTH,
    arrow,
    bell,
    box,
    brace,
    canvas,
    finish,
    ruler,
    say,
    strip,
    tint,
)

__all__ = [
    "bell_in_slices",
    "block_by_hand",
    "border",
    "contest",
    "half_bell",
    "last_slice",
    "layers_and_bell",
    "levels_under_bell",
    "on_a_ruler",
    "rulers_of_formats",
    "use_of_codes",
]

OUT = 2.7  # standard deviations that a bell is drawn to


def normal_below(values) -> list[float]:
    """Below which value so large a share of a normal distribution lies: its quantiles."""
    return torch.special.ndtri(torch.as_tensor(values, dtype=torch.float64)).tolist()


def on_a_ruler(values: torch.Tensor, levels, middle: int = 2) -> list[int]:
    """Values as dots, stacked over the tick that each is rounded to; returns how many there are at each tick.

    `values` lie between −1 and 1 and `levels` are the ticks' numbers, evenly spaced and symmetric. The ticks up to
    `middle` on each side are colored.
    """
    levels = [int(level) for level in levels]
    codes = (values * max(levels)).round().int().tolist()
    counts = [codes.count(level) for level in levels]
    ax = canvas(1.2 + 0.13 * max(counts))
    labels = [f"−{-level}" if level < 0 else str(level) for level in levels]
    at = ruler(ax, 6.6, 4, 72, levels[0], levels[-1], levels, labels=labels, size=11)
    for level, count in zip(levels, counts, strict=True):
        color = BLUE if abs(level) <= middle else GRAY
        ax.plot([at(level)] * count, [8.2 + 1.3 * k for k in range(count)], "o", color=color, ms=6.5)
    inner, half = sum(n for level, n in zip(levels, counts, strict=True) if abs(level) <= middle), 0.45
    outer = sum(counts) - inner
    brace(ax, at(-middle - half), at(middle + half), 3.6, f"{inner} weights", color=BLUE, size=11)
    left = sum(n for level, n in zip(levels, counts, strict=True) if level < -middle)
    for end, near, n in ((levels[0], -middle - 1 + half, left), (middle + 1 - half, levels[-1], outer - left)):
        brace(ax, at(end), at(near), 3.6, f"{n} weights", size=11)
    finish(
        ax,
        f"A number line with {len(levels)} evenly spaced ticks, and {sum(counts)} weights as dots stacked over the "
        f"tick that each is rounded to. {inner} of them stand over the {2 * middle + 1} ticks in the middle, and "
        f"{outer} over all the others.",
    )
    return counts


def bell_in_slices(n: int = 16) -> None:
    """The bell curve cut into n slices of equal probability, with a level in the middle of each."""
    edges = normal_below([i / n for i in range(1, n)])
    middles = normal_below([(i + 0.5) / n for i in range(n)])
    ax = canvas(2.75)
    at = ruler(ax, 4.0, 4, 72, -OUT, OUT, [], color=GRAY)
    for sigma in (-2, -1, 1, 2):
        ax.plot([at(sigma)] * 2, [3.4, 4.6], color=GRAY, lw=1.2)
        say(ax, at(sigma), 1.6, f"{sigma}σ".replace("-", "−"), size=10.5, color=GRAY)
    curve = bell(ax, 6.4, 17, at, -OUT, OUT, edges, [tint(SKY, 0.75), tint(SKY, 0.3)])
    for middle in middles:
        ax.plot([at(middle)] * 2, [6.4, curve(middle)], color=BLUE, lw=0.8, ls=":")
        ax.plot([at(middle)], [4.0], "o", color=BLUE, ms=7)
    ax.plot([at(0)] * 2, [4.0, curve(0) + 0.6], color=RED, lw=1.6)
    say(ax, at(0), 25.4, "zero", color=RED, weight="bold")
    say(ax, at(-1.75), 21.5, f"every slice holds 1/{n}\nof the weights", color=INK)
    arrow(ax, (at(-1.75), 18.8), (at(-0.95), 13.5), color=GRAY)
    say(ax, at(1.8), 20.0, "wide slices where\nweights are rare", color=INK)
    arrow(ax, (at(1.8), 17.2), (at(1.85), 9.6), color=GRAY)
    say(ax, at(0), 1.6, f"{n} dots: the levels", color=BLUE)
    finish(
        ax,
        f"A bell curve cut into {n} slices of equal area, thin in the middle and wide at the sides. Below it a number "
        "line with one dot for each slice. A red line marks zero: it falls between the two middle dots.",
    )


def levels_under_bell(positive: torch.Tensor, negative: torch.Tensor) -> None:
    """The bell with zero as a level: the levels of both sides, in standard deviations, without the zero."""
    up, down = positive.tolist(), negative.tolist()
    ax = canvas(2.9)
    at = ruler(ax, 4.6, 4, 72, -OUT, OUT, [], color=GRAY)
    curve = bell(ax, 7.0, 16, at, -OUT, OUT)
    for sigma in (-2, 2):
        ax.plot([at(sigma)] * 2, [4.0, 5.2], color=GRAY, lw=1.2)
        say(ax, at(sigma) + (1.6 if sigma > 0 else -1.6), 2.6, f"{sigma}σ".replace("-", "−"), size=10.5, color=GRAY)
    for level, color in [*((v, BLUE) for v in up), *((v, ORANGE) for v in down)]:
        ax.plot([at(level)] * 2, [4.6, curve(level)], color=color, lw=1.1)
        ax.plot([at(level)], [4.6], "o", color=color, ms=7)
    ax.plot([at(0)] * 2, [4.6, curve(0)], color=RED, lw=2.4)
    ax.plot([at(0)], [4.6], "o", color=RED, ms=9)
    say(ax, at(0), 25.0, "zero, exactly", color=RED, weight="bold")
    for side, color, x in ((up, BLUE, 1.75), (down, OCHRE, -1.75)):
        share = 0.5 * torch.erf(torch.tensor(abs(side[0])) / 2**0.5).item()  # between zero and the first level
        said = f"{len(side)} levels on this side:\n{share:.1%} of the weights\nbetween two levels"
        say(ax, at(x), 21.0, said, color=color)
    said = f"{len(down)} + 1 + {len(up)} = {len(down) + len(up) + 1} levels"
    brace(ax, at(min(down)), at(max(up)), 3.2, said, size=11)
    finish(
        ax,
        f"A bell curve with a bold line at zero, {len(up)} levels to the right of it and {len(down)} to the left. The "
        "levels are close together in the middle and far apart in the tails.",
    )


def last_slice(n: int = 16) -> None:
    """The right tail of the bell: the last of n slices, and the level in the middle of it by probability."""
    edge, level = normal_below([1 - 1 / n, 1 - 0.5 / n])
    ax = canvas(2.5)
    low, high = 0.9, 3.4
    at = ruler(ax, 3.2, 4, 70, low, high, [], color=GRAY)
    colors = [tint(SKY, 0.2), tint(SKY, 0.8), tint(ORANGE, 0.75)]
    curve = bell(ax, 3.2, 27, at, low, high, [edge, level], colors)
    ax.plot([at(edge)] * 2, [3.2, curve(edge)], color=GRAY, lw=1)
    ax.plot([at(level)] * 2, [3.2, 13.5], color=BLUE, lw=2)
    say(ax, at(level), 15.0, f"the last level, {level:.2f}σ", color=BLUE, weight="bold")
    say(ax, at((edge + level) / 2), 1.5, f"1/{2 * n}", color=BLUE)
    say(ax, at(level + 0.35), 1.5, f"1/{2 * n}", color=OCHRE)
    text = f"The last slice holds 1/{n} of the weights\nand goes on forever. The level stands\n"
    say(ax, at(2.75), 20.5, f"{text}where half of them are further out.")
    arrow(ax, (at(3.15), 3.2), (at(high), 3.2), color=GRAY)
    say(ax, at(high) + 1.6, 3.2, "∞", size=15, color=GRAY)
    finish(
        ax,
        f"The right tail of the bell curve, enlarged. The last slice begins at {edge:.2f}; a line at {level:.2f} "
        f"splits it into two parts of 1/{2 * n} of the weights each.",
    )


def half_bell(n: int = 7) -> None:
    """The left side of the bell: half a slice beside zero, n whole slices, and the level in the middle of the last."""
    slices = 2 * n + 1  # of equal probability on the whole bell, one of them around zero
    edges = [-edge for edge in normal_below([0.5 + (k + 0.5) / slices for k in range(n)])]
    middles = [-middle for middle in normal_below([0.5 + (k + 1) / slices for k in range(n)])]
    ax = canvas(3.0)
    low, last = -2.9, middles[-1]
    at = ruler(ax, 6.0, 5, 71, low, 0, [], color=GRAY)
    colors = [tint(ORANGE, 0.75), *(tint(SKY, 0.75 if k % 2 else 0.3) for k in range(n)), tint(RED, 0.45)]
    curve = bell(ax, 6.0, 20, at, low, 0, [last, *reversed(edges)], colors)
    for k, middle in enumerate(middles):
        look = {"lw": 1.8} if k == n - 1 else {"lw": 0.8, "ls": ":"}
        ax.plot([at(middle)] * 2, [6.0, curve(middle)], color=BLUE, **look)
        ax.plot([at(middle)], [6.0], "o", color=BLUE, ms=7)
    ax.plot([at(0)] * 2, [6.0, 27.0], color=RED, lw=2)
    say(ax, at(-0.05), 28.0, "zero", color=RED, weight="bold", ha="right")
    brace(ax, at(edges[0]), at(0), 4.6, f"1/{2 * slices}", color=RED)
    brace(ax, at(edges[-1]) + 0.4, at(edges[0]) - 0.4, 4.6, f"{n - 1} slices of 1/{slices} each", color=BLUE)
    brace(ax, at(low), at(edges[-1]) - 0.4, 4.6, f"the last slice, of 1/{slices}", color=OCHRE)
    said = f"the last level, {last:.2f}σ:\n1/{2 * slices} of all weights\nlie beyond it".replace("-", "−")
    say(ax, at(-2.25), 21.0, said, color=BLUE)
    arrow(ax, (at(-2.2), 17.2), (at(-2.05), 7.6), color=GRAY)
    finish(
        ax,
        f"The left half of a bell curve: half a slice beside zero, {n - 1} whole slices with a level in the middle of "
        f"each, and a last slice that goes on forever. Its level, at {last:.2f}σ, leaves 1/{2 * slices} of all weights "
        "beyond it.",
    )


def rulers_of_formats(rulers: dict[str, torch.Tensor], values: Sequence[float], block: int = 0) -> None:
    """The levels of several formats on [−1, 1], and where each moves a small and a large value.

    With `block`, a bell stands on each line: the weights of typical blocks of that size, divided by their absmax.
    """
    tall = 9.6 if block else 7.5
    ax = canvas(0.35 + 0.1 * tall * len(rulers))
    # the median of the largest of `block` magnitudes, in standard deviations
    reach = torch.special.ndtri(torch.tensor((1 + 0.5 ** (1 / block)) / 2)).item() if block else 1.0
    colors = {"NF4": GREEN, "INT4": BLUE, "FP4": PLUM}
    for i, (name, levels) in enumerate(rulers.items()):
        y = 10 * ax.figure.get_figheight() - 6.0 - tall * i - (2.1 if block else 0)
        color = colors.get(name, INK)
        at = ruler(ax, y, 9, 73, -1, 1, levels.tolist(), color=color, long=2.2, thick=2)
        if block:
            bell(ax, y, 5.4, lambda sigmas, at=at: at(sigmas / reach), -reach, reach, colors=[tint(SKY, 0.35)])
        say(ax, 4.2, y, name, color=color, weight="bold", size=12)
        for value in values:
            nearest = levels[(levels - value).abs().argmin()].item()
            ax.plot([at(value)], [y + 2.2], "o", color=RED, ms=6)
            arrow(ax, (at(value), y + 2.0), (at(nearest), y + 0.9), color=RED, linewidth=1.1)
            place = 74.5 if value > 0.6 else at(value) + 4
            said = f"{value:g} → {nearest:.3f}, off by {abs(nearest - value):.3f}"
            say(ax, place, y + (6.7 if block else 3.8), said, color=RED, size=10.5, ha="right")
    for tick in (-1, 0, 1):
        say(ax, at(tick), y - 2.6, f"{tick:g}".replace("-", "−"), color=GRAY, size=10.5)
    finish(
        ax,
        f"Number lines from −1 to 1 with the levels of {', '.join(rulers)}. NF4's are dense in the middle. The values "
        f"{' and '.join(f'{value:g}' for value in values)} move to the nearest level on each.",
    )


def border(levels: torch.Tensor, value: float) -> None:
    """Where two neighboring levels meet: the border half-way, and a value just beside it."""
    k = int((levels < value).sum()) - 1
    low, high = levels[k].item(), levels[k + 1].item()
    middle, room = (low + high) / 2, (high - low) * 0.35
    ax = canvas(1.4)
    at = ruler(ax, 6.2, 5, 71, low - room, high + room, [low, high], color=GREEN, long=2.0, thick=2.6)
    for level, code in ((low, k), (high, k + 1)):
        say(ax, at(level), 3.0, f"level {level:.4f}\ncode {code}", color=GREEN)
    ax.plot([at(middle)] * 2, [4.6, 11.6], color=GRAY, lw=1.3, ls="--")
    say(ax, at(middle), 2.8, f"border {middle:.4f}", color=GRAY)
    ax.plot([at(value)], [6.2], "o", color=RED, ms=8, zorder=3)
    target, side, turn = (low, "right", -1) if value <= middle else (high, "left", 1)
    say(ax, at(value) + 0.8 * turn, 10.6, f"our weight, {value:.4f}", color=RED, ha=side)
    arrow(ax, (at(value), 7.2), (at(target), 7.4), color=RED, bend=-0.12 * turn)
    finish(
        ax,
        f"Two neighboring levels, {low:.4f} and {high:.4f}, and the border half-way between them at {middle:.4f}. The "
        f"value {value:.4f} lies just {'below' if target == low else 'above'} it and moves to the "
        f"{'lower' if target == low else 'upper'} level.",
    )


def block_by_hand(weights: torch.Tensor, absmax: float, codes: torch.Tensor, levels: torch.Tensor, packed) -> None:
    """A block on its way into bytes, one row for each step, every number written in."""
    n, w, left = len(weights), 7.35, 16.6
    ax = canvas(4.1)
    scaled, codes = weights / absmax, [int(code) for code in codes]
    rows = [
        ("weights", [f"{value:g}" for value in weights.tolist()], ["white"] * n),
        (
            f"÷ {absmax:g}, the absmax",
            [f"{value:.4f}".rstrip("0").rstrip(".") for value in scaled.tolist()],
            ["white"] * n,
        ),
        ("nearest of\nthe 16 levels", [f"{levels[code]:.3f}" for code in codes], [tint(GREEN, 0.3)] * n),
        ("its code", [str(code) for code in codes], [tint(BLUE, 0.3)] * n),
        ("in binary", [f"{code:04b}" for code in codes], [tint(BLUE, 0.3)] * n),
    ]
    for i, (name, texts, colors) in enumerate(rows):
        y = 35.5 - 6.6 * i
        at = strip(ax, left, y, [text.replace("-", "−") for text in texts], w, 3.6, colors, size=10.3)
        say(ax, left - 0.8, y + 1.8, name, ha="right", size=10.5)
        if i:
            for x in at:
                arrow(ax, (x, y + 6.4), (x, y + 3.8), color=GRAY, linewidth=0.9, mutation_scale=8)
    for k, byte in enumerate(int(b) for b in packed):
        x = left + 2 * w * k
        box(ax, x + 0.2, 1.2, 2 * w - 0.4, 4.2, f"{byte:08b} = {byte}", color=tint(ORANGE, 0.45), size=10.25)
        arrow(ax, (x + w, 8.9), (x + w, 5.6), color=GRAY, linewidth=0.9, mutation_scale=8)
    say(ax, left - 1, 3.3, "two codes\nmake a byte", ha="right")
    finish(
        ax,
        f"Eight weights in a row; below each its value divided by {absmax:g}, the nearest level, the code of that "
        "level in decimal and in binary; at the bottom two codes at a time joined to a byte: "
        f"{', '.join(str(int(byte)) for byte in packed)}.",
    )


def layers_and_bell(layers: dict[str, torch.Tensor]) -> None:
    """Histograms of two layers, in standard deviations, over a bell curve: the whole, and the right tails enlarged."""
    plots.style()
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH + 1, 3.5), width_ratios=(1.5, 1))
    x = torch.linspace(-5, 6, 800)
    bell_curve = torch.exp(-(x**2) / 2) / (2 * math.pi) ** 0.5
    for ax, (low, high), bins in zip(axes, ((-5, 5), (2.5, 6)), (101, 36), strict=True):
        ax.fill_between(x, bell_curve, color=LIGHT, label="a bell curve")
        ax.plot(x, bell_curve, color=GRAY, lw=1.2)
        for (name, values), color in zip(layers.items(), (BLUE, RED), strict=False):
            step = (high - low) / bins
            counts = torch.histc(values.flatten(), bins=bins, min=low, max=high) / values.numel() / step
            ax.stairs(counts.numpy(), [low + k * step for k in range(bins + 1)], color=color, lw=1.8, label=name)
        ax.set(xlabel="weight, in standard deviations (σ)", xlim=(low, high), yticks=[])
    axes[0].set(ylabel="how common", title="Most weights: roughly a bell")
    far = " and ".join(f"{(values.abs() > 4).double().mean().item():.3%}" for values in layers.values())
    axes[1].set(ylim=(0, 0.022), title="The right tails, enlarged")
    axes[1].axvline(4, color=INK, ls=":", lw=1.2)
    axes[1].annotate("beyond ±4σ:", (4.1, 0.0195), fontsize=10)
    for k, ((name, values), color) in enumerate(zip(layers.items(), (BLUE, RED), strict=False)):
        share = (values.abs() > 4).double().mean().item()
        said = f"{name.split('.')[-1]} {share:.3%}"
        axes[1].annotate(said, (4.1, 0.0178 - 0.0017 * k), fontsize=10, color=color, weight="bold")
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    plots.show(
        fig,
        f"Left, histograms of {' and '.join(layers)} over a bell curve: roughly the same shape. Right, their tails "
        f"from 2.5σ on, enlarged; beyond 4σ, on both sides together, lie {far}.",
    )


def use_of_codes(use: dict[str, torch.Tensor], levels: torch.Tensor) -> None:
    """How often each code is used, as bars by code, each code with its level below it; a line for equal use."""
    plots.style()
    fig, ax = plt.subplots(figsize=(WIDTH, 3.5))
    for i, (name, shares) in enumerate(use.items()):
        places = torch.arange(len(shares)) + 0.4 * (i - (len(use) - 1) / 2)
        ax.bar(places, 100 * shares, 0.38, label=name, color=(tint(GRAY, 0.5), RED)[i], edgecolor="white")
    ax.axhline(100 / len(levels), color=INK, ls="--", lw=1.2, label=f"a fair share, {1 / len(levels):.2%}")
    short = [f"{level:.2f}".rstrip("0").rstrip(".").replace("-", "−").replace("0.", ".") for level in levels.tolist()]
    marks = [f"{code}\n{text}" for code, text in enumerate(short)]
    ax.set_xticks(range(len(levels)), marks, fontsize=9.2)
    ax.set(xlabel="code, and below it the level that it stands for", ylabel="share of all weights, %")
    ax.set_title("The inner codes are used most, the outer ones least")
    ax.grid(axis="x", visible=False)
    ax.legend(ncols=3, fontsize=10)
    ax.margins(y=0.2)
    plots.show(
        fig, "Bars: how often each of the 16 codes is used. The bars are tall in the middle and short at the ends."
    )


def contest(lost: dict[str, dict[str, float]]) -> None:
    """Errors of formats as bars with their numbers, a panel for each kind of data, the least of each in bold."""
    plots.style()
    fig, axes = plt.subplots(1, len(lost), figsize=(WIDTH + 1, 3.2), sharey=True)
    most = max(max(found.values()) for found in lost.values())
    formats = list(next(iter(lost.values())))
    for ax, (kind, found) in zip(axes, lost.items(), strict=True):
        best = min(found, key=found.get)
        for i, name in enumerate(formats):
            look = {"color": (GREEN, PINK, BLUE, ORANGE, SKY)[i], "hatch": plots.HATCHES[i], "edgecolor": "white"}
            ax.barh(i, found[name], 0.72, **look)
            weight = "bold" if name == best else "normal"
            said = f"{found[name]:.2f}" + (" least" if name == best else "")
            ax.annotate(
                said, (found[name], i), (3, 0), textcoords="offset points", va="center", weight=weight, fontsize=10
            )
        ax.set(title=kind, xlabel="squared error, %", xlim=(0, most * 1.4))
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(formats)), formats)
    axes[0].invert_yaxis()
    told = "; ".join(f"{kind}: {min(found, key=found.get)} has the least" for kind, found in lost.items())
    plots.show(fig, f"Bars of the squared error of {len(formats)} formats, three times. On the {told}.")
