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
            step, w = (6.1, 5.2) if shared else (7.9, 6.8)
            for i in range(blocks):
                for half in range(2):  # 0 is the upper one
                    look = {"color": tint(GREEN, 0.55)}
                    if shared and half != g:
                        look = {"color": "white", "edgecolor": GRAY, "ls": "--", "linewidth": 0.7}
                    box(ax, x0 + 1.2 + step * i, y + (1.0 if half else 3.7), w, 2.7, **look)
            if shared:  # a whole block beside the shards
                look = {"color": tint(RED, 0.3), "hatch": "//", "edgecolor": RED}
                box(ax, x0 + 26.6, y + 1.0, w, 5.4, **look)
                pad = {"facecolor": look["color"], "edgecolor": "none", "pad": 0.8}
                say(ax, x0 + 26.6 + w / 2, y + 3.7, "3", size=10.5, bbox=pad)
    arrow(ax, (36.6, 22.0), (36.6, 11.0), color=RED, arrowstyle="<|-|>")
    say(ax, 18.5, 2.4, "only gradients travel, once per step", size=10.3, color=RED)
    arrow(ax, (70.2, 18.6), (70.2, 12.2), color=RED, arrowstyle="<|-|>")
    say(ax, 57.5, 2.4, "beside: block 3 whole, then block 4, …", size=10.3, color=RED)
    finish(
        ax,
        "Two GPUs with two texts each. DDP: each holds all blocks, and only gradients travel. FSDP: each holds half of "
        "every block, and beside them one whole block at a time, gathered from both GPUs, here block 3.",
    )


def shards_of_four(weights: Sequence[float], gradients: Sequence[float]) -> None:
    """Two GPUs with a half of four weights each: waiting, gathered beside it for a block's work, and its gradient."""
    ax = canvas(2.9)
    half = len(weights) // 2
    green, pink = {"color": tint(GREEN, 0.55)}, {"color": tint(PINK, 0.6)}
    hatched = {"color": tint(RED, 0.3), "edgecolor": RED, "hatch": "//"}
    for x, title in ((7.3, "it waits"), (35.8, "it works"), (66.4, "its gradient")):
        say(ax, x, 27.2, title, weight="bold")
    for gpu, y in enumerate((18.0, 8.6)):
        own = range(gpu * half, (gpu + 1) * half)
        say(ax, 2, y + 5.4, f"GPU {gpu + 1}", ha="left", size=10.3, color=GRAY)
        places = [(2 + 5.3 * k, 5.3, weights[i], ".2f", green) for k, i in enumerate(own)]
        places += [(19 + 5.3 * k, 5.3, weights[i], ".2f", green) for k, i in enumerate(own)]
        places += [(31.4 + 5.3 * i, 5.3, weight, ".2f", hatched) for i, weight in enumerate(weights)]
        places += [(59.4 + 7 * k, 7, gradients[i], ".3f", pink) for k, i in enumerate(own)]
        for x, w, number, digits, look in places:
            box(ax, x, y, w, 4, **look)
            pad = {"facecolor": look["color"], "edgecolor": "none", "pad": 0.2}
            say(ax, x + w / 2, y + 2, f"{number:{digits}}".replace("-", "−"), size=10.2, bbox=pad)
    for x, above, text in ((15.8, "", "gather"), (56.0, "let go", "sum up")):
        arrow(ax, (x - 2, 15.9), (x + 2, 15.9), color=RED)
        say(ax, x, 17.3, above, size=10.3, color=RED)
        say(ax, x, 14.3, text, size=10.3, color=RED)
    told = "green: its own shard, which stays; hatched: the whole block, gathered beside it"
    say(ax, 38, 4.4, told, size=10.3, color=GRAY)
    say(ax, 38, 1.7, "pink: the mean gradient, only for the weights of its own shard", size=10.3, color=GRAY)
    told = ", ".join(f"{w:.2f}" for w in weights)
    finish(
        ax,
        f"Four weights, {told}, on two GPUs in three moments. Each GPU holds its half while the block waits. While the "
        "block works both hold all four beside their half. Then all four are let go, and each GPU receives the other's "
        "gradients for its half: it keeps their mean, "
        + " and ".join(", ".join(f"{v:.3f}" for v in part) for part in (gradients[:half], gradients[half:]))
        + ".",
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
        for i, parts in enumerate(bars.values()):  # beyond the line, if it would cut the number
            total = sum(parts.values())
            at = card if 0 <= card - total < 0.1 * top else total
            ax.text(at + 0.01 * top, i, f"{total:.1f}", va="center", weight="bold", fontsize=11, bbox=WHITE, zorder=5)
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


def per_gpu(rows: Sequence[Mapping], title: str, elsewhere: str = "") -> None:
    """Speed per GPU as a share of one GPU alone, for each batch: DDP and FSDP; `elsewhere`: a batch of another host."""
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
                if batch == elsewhere:
                    ax.text(x, 0.45, "another\ncomputer", ha="center", va="center", fontsize=10.3, bbox=WHITE)
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
    other = f" {elsewhere} was recorded on another computer." if elsewhere else ""
    finish(ax, f"Speed per GPU of two, where one GPU alone is 1. {'; '.join(told)}.{other}")


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
    say(ax, 38, 2.2, "thick frame: measured; all others are forecasts", size=10.3, color=GRAY)
    finish(ax, f"How many cards hold a model. {'; '.join(told)}. Measured: {tried[0]} on {tried[1]} GB.")
