"""Drawings of notebook 16: what several GPUs share, what each holds, and what a second one buys."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

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
    RED,
    SKY,
    WIDTH,
    arrow,
    box,
    canvas,
    finish,
    say,
    tint,
)

__all__ = ["cards_needed", "per_gpu", "several_gpus", "shards_of_four", "share_of_a_card"]

PARTS = {  # groups of a forecast, in the order in which they are stacked, with color and hatch
    "codes": (tint(GREEN, 0.55), ""),
    "constants": (tint(OCHRE, 0.6), ""),
    "embeddings, head, norms": (tint(SKY, 0.55), ""),
    "adapters, gradients, optimizer": (tint(PINK, 0.6), ""),
    "whole for a moment": (tint(RED, 0.3), "//"),
    "activations, a decoded layer": (tint(ORANGE, 0.7), ""),
    "workspace and CUDA context": (LIGHT, ""),
}
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}


def several_gpus(blocks: int = 4) -> None:
    """Two GPUs, each with the whole model and half of the batch, or each with half of every block."""
    ax = canvas(3.3)
    for x0, title in ((2, "DDP: a whole model each"), (41, "FSDP: half a model each")):
        shared = title.startswith("FSDP")
        say(ax, x0, 31.0, title, ha="left", weight="bold")
        for g, y in enumerate((18.0, 5.4)):
            box(ax, x0, y, 33, 10.2, color="white", edgecolor=GRAY)
            say(ax, x0 + 1, y + 8.6, f"GPU {g + 1}: texts {2 * g + 1} and {2 * g + 2}", ha="left", size=10.3)
            for i in range(blocks):
                x = x0 + 1.2 + 7.9 * i
                for half in range(2):  # 0 is the upper one
                    own, at = not shared or half == g, (x, y + 1.0 + (0 if half else 2.7))
                    if own:
                        box(ax, *at, 6.8, 2.7, color=tint(GREEN, 0.55))
                    elif i == 2:
                        box(ax, *at, 6.8, 2.7, color=tint(RED, 0.3), hatch="//", edgecolor=RED)
                    else:
                        box(ax, *at, 6.8, 2.7, color="white", edgecolor=GRAY, ls="--", linewidth=0.7)
    arrow(ax, (36.6, 22.0), (36.6, 11.0), color=RED, arrowstyle="<|-|>")
    say(ax, 18.5, 2.4, "only gradients travel, once per step", size=10.3, color=RED)
    arrow(ax, (61.4, 18.6), (61.4, 12.2), color=RED, arrowstyle="<|-|>")
    say(ax, 57.5, 2.4, "block 3 is completed, then block 4, …", size=10.3, color=RED)
    finish(
        ax,
        "Two GPUs with two texts each. DDP: each holds all blocks, and only gradients travel. FSDP: each holds half of "
        "every block, and one block at a time is completed from the other GPU, here block 3.",
    )


def shards_of_four(weights: Sequence[float]) -> None:
    """Two GPUs with a half of four weights each, in three moments: waiting, gathered for a block's work, let go."""
    ax = canvas(2.5)
    half = len(weights) // 2
    for x, title in ((2.5, "it waits"), (28, "it works"), (53.5, "it waits again")):
        say(ax, x + 10.6, 23.2, title, weight="bold")
        for gpu, y in enumerate((14.5, 5.5)):
            own = [gpu * half <= i < (gpu + 1) * half for i in range(len(weights))]
            for i, (weight, mine) in enumerate(zip(weights, own, strict=True)):
                text, look = f"{weight:.2f}".replace("-", "−"), {"color": tint(GREEN, 0.55)}
                if not mine:
                    look = {"color": tint(RED, 0.3), "edgecolor": RED, "hatch": "//"}
                if not mine and x != 28:
                    text, look = "", {"color": "white", "edgecolor": GRAY, "ls": "--", "linewidth": 0.7}
                box(ax, x + 5.3 * i, y, 5.3, 4, **look)
                if text:
                    pad = {"facecolor": look["color"], "edgecolor": "none", "pad": 0.2}
                    say(ax, x + 5.3 * i + 2.65, y + 2, text, size=10.2, bbox=pad)
            if x == 2.5:
                say(ax, x, y + 5.4, f"GPU {gpu + 1}", ha="left", size=10.3, color=GRAY)
    for x, text in ((24.1, "gather"), (49.6, "let go")):
        arrow(ax, (x, 12.6), (x + 3.5, 12.6), color=RED)
        say(ax, x + 1.75, 10.9, text, size=10.3, color=RED)
    say(
        ax,
        38,
        2.0,
        "green: its own shard, always there; hatched: came over the wire, and is given back",
        size=10.3,
        color=GRAY,
    )
    told = ", ".join(f"{w:.2f}" for w in weights)
    finish(
        ax,
        f"Four weights, {told}, on two GPUs in three moments. Each GPU holds its half while the block waits. While the "
        "block works both hold all four. Then each keeps its half alone.",
    )


def share_of_a_card(bars: Mapping[str, Mapping[str, float]], card: float, title: str) -> None:
    """What a training step takes on one card, stacked by groups of parts (GB), and how much a card has."""
    with plots.style():
        fig, ax = plt.subplots(figsize=(WIDTH, 1.75 + 0.62 * len(bars)))
        top = 1.17 * max(card, *(sum(parts.values()) for parts in bars.values()))
        for i, parts in enumerate(bars.values()):
            left = 0.0
            for part, (color, hatch) in PARTS.items():
                size = parts.get(part, 0)
                label = part if i == 0 or part == "whole for a moment" and size else None
                if part == "whole for a moment" and not size:
                    continue
                ax.barh(
                    i, size, left=left, height=0.6, color=color, hatch=hatch, edgecolor=INK, linewidth=0.7, label=label
                )
                left += size
            ax.text(left + 0.01 * top, i, f"{left:.1f}", va="center", weight="bold", fontsize=11, bbox=WHITE, zorder=5)
        ax.axvline(card, color=RED, lw=1.4, ls="--")
        ax.text(card, -0.52, f"a card: {card:.1f} GB ", color=RED, ha="right", va="bottom", fontsize=11)
        ax.set(yticks=range(len(bars)), yticklabels=list(bars), xlim=(0, top), ylim=(len(bars) - 0.55, -0.95))
        ax.set_xlabel("GB on one card, at the highest moment of a step")
        ax.grid(visible=False, axis="y")
        ax.set_title(title)
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=10)
    told = "; ".join(f"{bar.replace(chr(10), ' ')}, {sum(parts.values()):.1f} GB" for bar, parts in bars.items())
    finish(
        ax, f"{title}. Stacked bars of what one card holds: {told}. A dashed line at {card:.1f} GB, what a card has."
    )


def per_gpu(rows: Sequence[Mapping], title: str) -> None:
    """Speed per GPU as a share of one GPU alone, for each batch: pairs of bars, DDP and FSDP."""
    batches = list(dict.fromkeys(row["per GPU"] for row in rows))
    colors, told = {"DDP": BLUE, "FSDP": GREEN}, []
    with plots.style():
        fig, ax = plt.subplots(figsize=(WIDTH, 3.1))
        for way, color in colors.items():
            found = {row["per GPU"]: row["times one GPU"] for row in rows if row["way"] == way}
            at = [batches.index(batch) + (-0.19 if way == "DDP" else 0.19) for batch in found]
            hatch = "//" if way == "FSDP" else ""
            ax.bar(
                at, found.values(), 0.36, color=tint(color, 0.55), hatch=hatch, edgecolor=INK, linewidth=0.8, label=way
            )
            for x, (batch, value) in zip(at, found.items(), strict=True):
                ax.text(x, value + 0.02, f"{value:.2f}", ha="center", va="bottom", fontsize=11, bbox=WHITE)
                told.append(f"{way}, {batch}: {value:.2f}")
            for batch in set(batches) - set(found):
                x = batches.index(batch) + (-0.19 if way == "DDP" else 0.19)
                ax.text(x, 0.03, f"{way} not\nrecorded", ha="center", va="bottom", fontsize=10.5, color=GRAY)
        ax.axhline(1, color=INK, lw=1, ls="--")
        ax.set(xticks=range(len(batches)), xticklabels=batches, ylim=(0, 1.45), ylabel="times one GPU, per GPU")
        ax.set_xlabel("texts × tokens on each GPU")
        ax.set_title(title)
        ax.legend(loc="upper right", framealpha=1, ncols=2)
        ax.grid(visible=False, axis="x")
    finish(ax, f"Speed per GPU of two, where one GPU alone is 1. {'; '.join(told)}.")


def cards_needed(needed: Mapping[str, Mapping[int, int | None]], tried: tuple[str, int], title: str) -> None:
    """A grid of models and cards, GB: how many cards of a size hold a model; `tried` is the place that was recorded."""
    sizes = list(next(iter(needed.values())))
    colors = {1: tint(GREEN, 0.25), 2: tint(GREEN, 0.5), 4: tint(GREEN, 0.75)}
    ax = canvas(1.3 + 0.5 * len(needed))
    top = 10 * (1.3 + 0.5 * len(needed))
    say(ax, 38, top - 2.2, title, weight="bold", size=11.5)
    w, left, told = 62 / len(sizes), 12, []
    for i, size in enumerate(sizes):
        say(ax, left + (i + 0.5) * w, top - 5.6, f"{size} GB", size=11)
    for row, (model, counts) in enumerate(needed.items()):
        y = top - 11.4 - 5 * row
        say(ax, left - 1.5, y + 2.3, model, ha="right", weight="bold")
        for i, size in enumerate(sizes):
            count, mine = counts[size], (model, size) == tried
            text = "more than 4" if count is None else f"{count} card{'s' * (count > 1)}"
            look = {"edgecolor": RED, "linewidth": 2.4} if mine else {"edgecolor": "white", "linewidth": 1.5}
            box(ax, left + i * w, y, w - 0.3, 4.6, text, color=colors.get(count, LIGHT), bold=mine, size=10.5, **look)
            told.append(f"{model} on {size} GB: {text}")
    say(ax, 38, 2.2, "red frame: measured; all others are forecasts", size=10.3, color=GRAY)
    finish(ax, f"How many cards hold a model. {'; '.join(told)}. Measured: {tried[0]} on {tried[1]} GB.")
