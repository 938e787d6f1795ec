"""Drawings of notebook 03: the two storeys of double quantization, three 8-bit types, and a model byte by byte."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch

from .. import plots
from .canvas import (
    BLUE,
    CODES,
    CONSTANTS,
    GRAY,
    GREEN,
    INK,
    ORANGE,
    PINK,
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

__all__ = ["absmax_by_hand", "absmax_hill", "bytes_of_a_model", "error_against_bits", "hill_over_levels", "storeys"]


def storeys(block: int = 64, second_block: int = 256) -> None:
    """Weights under an absmax, absmax under a second absmax, an offset for all; and what each adds to a weight."""
    ax = canvas(3.1)
    rows = (
        (3.0, f"{block} codes of 4 bits", CODES, 24, 4.0),
        (13.0, f"{second_block} absmax of 8 bits", CONSTANTS, 16, 8 / block),
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
    say(ax, 9.0, 28.2, "32 bits per matrix", size=10.5, color=GRAY)
    total = 4 + 8 / block + 32 / block / second_block
    said = f"in all {total:.3f} bits per weight,\nand {4 + 32 / block:g} with absmax in 32 bits"
    say(ax, 75, 29.0, said, weight="bold", ha="right", size=10.5)
    finish(
        ax,
        f"Three storeys. At the bottom {block} codes of 4 bits, above them {second_block} absmax of 8 bits, one for "
        f"each block, and on top one second absmax of 32 bits for all of these. Together {total:.3f} bits per weight. "
        "Next to them, one offset per matrix.",
    )


def absmax_by_hand(absmax: torch.Tensor, offset: float, second: float, codes, levels: torch.Tensor) -> None:
    """Eight absmax on their way to 8 bits and back, one row for each step."""
    w, left = 7.1, 18.0
    ax = canvas(4.5)
    centered, restored = absmax - offset, levels[codes] * second + offset
    rows = [
        ("absmax", absmax, "white", "{:.2f}"),
        (f"− {offset:.2f}, the mean", centered, "white", "{:+.2f}"),
        (f"÷ {second:.2f}, the\nlargest distance", centered / second, "white", "{:+.2f}"),
        ("code of the near-\nest of 256 levels", codes, tint(ORANGE, 0.6), "{:d}"),
        ("that level", levels[codes], tint(ORANGE, 0.35), "{:+.3f}"),
        (f"× {second:.2f}, + {offset:.2f}:\nthe way back", restored, "white", "{:.4f}"),
    ]
    for i, (name, values, color, form) in enumerate(rows):
        y = 39.8 - 7.2 * i
        texts = [form.format(value).replace("-", "−") for value in values.tolist()]
        at = strip(ax, left, y, texts, w, 3.6, [color] * len(texts), size=10.5)
        say(ax, left - 1, y + 1.8, name, ha="right")
        if i:
            for x in at:
                arrow(ax, (x, y + 7.0), (x, y + 3.8), color=GRAY, linewidth=0.9, mutation_scale=8)
    finish(
        ax,
        f"Eight absmax in a row; below each its distance to the mean, {offset:.2f}; that distance divided by the "
        f"largest of the eight, {second:.2f}; the code of the nearest of 256 levels; that level; and the absmax "
        "that comes back.",
    )


def hill_over_levels(scaled: torch.Tensor, rulers: dict[str, torch.Tensor]) -> None:
    """How scaled absmax above their mean are spread, and below them the levels of several 8-bit types from 0 to 1."""
    ax = canvas(1.75 + 0.62 * len(rulers))
    top = 10 * ax.figure.get_figheight()
    counts = torch.histc(scaled[scaled >= 0], bins=40, min=0, max=1)
    for k, count in enumerate(counts.tolist()):
        box(ax, 15 + 58 * k / 40, top - 12.4, 58 / 40, 9.5 * count / counts.max().item(), color=tint(GRAY, 0.5),
            edgecolor="white", linewidth=0.5)  # fmt: skip
    ax.plot([15, 73], [top - 12.4] * 2, color=GRAY, lw=1.1)
    say(ax, 73, top - 3.2, "absmax values above their mean, in one layer", ha="right", weight="bold")
    told = []
    for i, (name, values) in enumerate(rulers.items()):
        y = top - 16.4 - 6.2 * i
        ticks = [value for value in values.tolist() if 0 <= value <= 1]
        small = sum(value <= 0.1 for value in ticks)
        at = ruler(ax, y, 15, 73, 0, 1, ticks, color=(ORANGE, PINK, BLUE)[i % 3], long=2.6, thick=0.8)
        say(ax, 13.8, y + 1.1, name, weight="bold", ha="right")
        say(ax, 13.8, y - 1.3, f"{small} levels to 0.1", ha="right", color=GRAY, size=10.5)
        told.append(f"{name} has {small} of {len(ticks)} up to 0.1")
    for tick in (0, 0.1, 0.5, 1):
        say(ax, at(tick), y - 2.8, f"{tick:g}", color=GRAY, size=10.5)
    finish(
        ax,
        "A hill of scaled absmax from 0 to 1, highest near 0 and thin near 1. Below it number lines with the levels of "
        f"{', '.join(rulers)}: {'; '.join(told)}.",
    )


def absmax_hill(scales: torch.Tensor) -> None:
    """How the absmax of a layer are spread: divided by their largest, and with their mean subtracted first."""
    plots.style()
    centered = scales - scales.mean()
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH + 0.6, 2.9), sharey=True)
    below = (scales / scales.max()).min().item()
    for ax, values, title in (
        (axes[0], scales / scales.max(), f"As they are: nothing below {below:.2f}"),
        (axes[1], centered / centered.abs().max(), "With the mean subtracted first"),
    ):
        ax.hist(values.numpy(), bins=40, color=tint(ORANGE, 0.8))
        ax.axvline(values.mean().item(), color=INK, ls="--", lw=1.3, label="mean")
        ax.legend(loc="upper left", fontsize=10)
        ax.axvspan(-1, values.min().item(), color=tint(RED, 0.2), lw=0)
        ax.axvspan(values.max().item(), 1, color=tint(RED, 0.2), lw=0)
        ax.set(xlim=(-1, 1), xlabel="absmax, divided by the largest", title=title)
        ax.title.set_fontsize(10.5)
        ax.grid(axis="y", visible=False)
    axes[1].set_xlabel("distance from the mean, divided by the largest")
    axes[0].set_ylabel("number of blocks")
    axes[0].annotate("no absmax\nhere", (-0.45, axes[0].get_ylim()[1] * 0.6), ha="center", fontsize=10)
    plots.show(
        fig,
        f"Two histograms of {len(scales):,} absmax on the levels' range from −1 to 1. As they are they fill only what "
        f"lies above {below:.2f}; with the mean subtracted they lie on both sides of zero. The rest is shaded.",
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


def bytes_of_a_model(models: dict[str, dict[str, int]], digits: int = 3) -> None:
    """The bytes of a model, stored in two or three ways, as bars to one scale; parts too small to see are named.

    `models` maps the name of each way to its parts, in bytes; `digits` are the decimals of each number.
    """
    ax = canvas(0.8 + 0.97 * len(models))
    most = max(sum(parts.values()) for parts in models.values())
    unit, name = (1e9, "GB") if most >= 1e9 else (1e6, "MB")
    seen = [part for parts in models.values() for part, size in parts.items() if 72 * size / most >= 0.25]
    like = {
        "absmax": "constants",
        "embeddings and head": "embeddings",
        "embeddings, head, norms": "embeddings",
        "4-bit weights": "codes",
    }
    like |= {"weights": "16 bits", "layers that become 4-bit": "16 bits"}
    colors = {part: plots.PART_COLORS.get(like.get(part, part), GRAY) for part in dict.fromkeys(seen)}
    top, told, x = 10 * ax.figure.get_figheight(), [], 2.0
    apart = min(6.5, (73 - 0.82 * sum(map(len, colors))) / len(colors))  # so that the last fits in, too
    for part, color in colors.items():
        box(ax, x, top - 2.6, 1.8, 1.8, color=tint(color, 0.5))
        say(ax, x + 2.6, top - 1.7, part, ha="left", size=10.3)
        x += apart + 0.82 * len(part)
    for i, (way, parts) in enumerate(models.items()):
        y, x, narrow, small = top - 11.2 - 9.7 * i, 2.0, [], []
        say(ax, 2, y + 5.1, f"{way}: {sum(parts.values()) / unit:.{digits}f} {name}", ha="left", weight="bold")
        for part, size in parts.items():
            width = 72 * size / most
            if width < 0.25:
                small += [part] if size else []
                continue
            box(ax, x, y, width, 3.6, color=tint(colors[part], 0.5))
            if width > 4.5:
                said = f"{size / unit:.{digits if width > 6.5 else 2}f}"
                say(ax, x + width / 2, y + 1.8, said, size=10.5)
            elif len(parts) > 1:  # with one part, the line above the bar has its size
                narrow.append(f"{part} {size / unit:.{digits}f} {name}")
            x += width
        if small:
            amount = f"{sum(parts[part] for part in small) / unit:.4f} {name}"
            narrow.append(f"too small to draw: {', '.join(small)}, {amount}")
        say(ax, 2, y - 1.4, "; ".join(narrow), ha="left", color=GRAY, size=10.3)
        told.append(f"{way}, {', '.join(f'{part} {size / unit:.3f}' for part, size in parts.items())}")
    finish(ax, f"The bytes of a model as bars to scale, in {name}: {'; '.join(told)}.")
