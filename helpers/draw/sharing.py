"""Drawings of notebook 16: what several GPUs share, what each holds, and what a second one buys."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from .. import plots
from .canvas import (
    ACTIVATIONS,
    ADAPTERS,
    BLUE,
    CODES,
    CONSTANTS,
    EMBEDDINGS,
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
    say,
    tint,
)

__all__ = ["cards_needed", "passes_of_a_gpu", "per_gpu", "several_gpus", "share_of_a_card", "step_of_a_gpu"]

PARTS = {  # groups of a forecast, in the order in which they are stacked, with color and hatch
    "codes": (tint(CODES, 0.55), ""),
    "constants": (tint(CONSTANTS, 0.8), ""),
    "embeddings, head, norms": (tint(EMBEDDINGS, 0.55), ""),
    "adapters, gradients, optimizer": (tint(ADAPTERS, 0.6), ""),
    "whole for a moment": (tint(RED, 0.3), "//"),
    "activations, a decoded layer": (tint(ACTIVATIONS, 0.7), ""),
    "workspace and CUDA context": (LIGHT, ""),
}
SLICES = 14  # pieces that stand for the blocks of a step, however many they are
WHITE = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}


def several_gpus(blocks: int = 4) -> None:
    """Two GPUs, each with the whole model and half of the batch, or each with half of every block."""
    ax = canvas(3.55)
    for x0, title in ((2, "DDP: a whole model each"), (41, "FSDP: half a model each")):
        shared = title.startswith("FSDP")
        say(ax, x0, 33.4, title, ha="left", weight="bold")
        for g, y in enumerate((20.4, 7.8)):
            box(ax, x0, y, 33, 10.2, color="white", edgecolor=GRAY)
            say(ax, x0 + 1, y + 8.6, f"GPU {g + 1}: texts {'AC'[g]} and {'BD'[g]}", ha="left", size=10.3)
            step, w = (5.2, 4.5) if shared else (7.9, 6.8)
            for i in range(blocks):
                for half in range(2):  # 0 is the upper one
                    look = {"color": tint(CODES, 0.55)}
                    if shared and half != g:
                        look = {"color": "white", "edgecolor": GRAY, "ls": "--", "linewidth": 0.7}
                    box(ax, x0 + 1.2 + step * i, y + (1.0 if half else 3.7), w, 2.7, **look)
            for k, number in enumerate("34" if shared else ""):  # whole blocks beside the shards: at work, on its way
                look = {"color": tint(RED, 0.3), "hatch": "//", "edgecolor": RED, "ls": "--" if k else "-"}
                box(ax, x0 + 22.6 + step * k, y + 1.0, w, 5.4, **look)
                pad = {"facecolor": look["color"], "edgecolor": "none", "pad": 0.8}
                say(ax, x0 + 22.6 + step * k + w / 2, y + 3.7, number, size=10.5, bbox=pad)
    arrow(ax, (36.6, 24.4), (36.6, 13.4), color=RED, arrowstyle="<|-|>")
    say(ax, 18.5, 4.8, "only gradients travel,", size=10.3, color=RED)
    say(ax, 18.5, 2.2, "once per step", size=10.3, color=RED)
    for x in (65.9, 71.1):
        arrow(ax, (x, 21.0), (x, 14.6), color=RED, arrowstyle="<|-|>")
    say(ax, 57.5, 4.8, "blocks travel, in both passes,", size=10.3, color=RED)
    say(ax, 57.5, 2.2, "and gradients, once per step", size=10.3, color=RED)
    finish(
        ax,
        "Two GPUs with two texts each. DDP: each holds all blocks, and only gradients travel, once per step. FSDP: "
        "each holds half of every block, and beside the halves whole blocks, gathered from both GPUs: block 3, which "
        "computes, and block 4, which is on its way. Blocks travel in both passes, and gradients once per step.",
    )


def passes_of_a_gpu(blocks: int = 3, size: int = 16) -> None:
    """What one of two GPUs holds of a few blocks, of `size` bytes each, while they wait and in both passes."""
    ax = canvas(3.6)
    green, pink = {"color": tint(CODES, 0.55)}, {"color": tint(ADAPTERS, 0.6)}
    hatched = {"color": tint(RED, 0.3), "edgecolor": RED, "hatch": "//"}
    order = list(range(blocks))
    moments = [None, *order, *reversed(order)]
    left, w, high = 10.5, 65 / len(moments), 4.6
    top = 22.4
    for title, first, many in (("waiting", 0, 1), ("forward pass", 1, blocks), ("backward pass", 1 + blocks, blocks)):
        x0, x1 = left + w * first + 0.5, left + w * (first + many) - 0.5
        say(ax, (x0 + x1) / 2, 33.2, title, weight="bold", size=10.5)
        ax.plot([x0, x1], [31.2, 31.2], color=INK, lw=1)
    for row in order:
        say(ax, 1, top - 6.1 * row + high / 2 + 1.2, f"block {row + 1}", ha="left", size=10.3)
    told = []
    for k, works in enumerate(moments):
        x = left + w * k + 0.7
        for row in order:
            y = top - 6.1 * row + 1.2
            box(ax, x, y + high / 2, 2.6, high / 2, **green)
            if row == works:
                box(ax, x + 3.0, y, 2.6, high, **hatched)
            if k > blocks and row >= works:
                box(ax, x + 6.0, y + high / 2, 2.0, high / 2, **pink)
        held = size * blocks // 2 + (0 if works is None else size)
        say(ax, left + w * (k + 0.5), 7.2, str(held), weight="bold", size=10.5)
        told.append(str(held))
    say(ax, 1, 7.2, "weights,\nbytes", ha="left", size=10.3)
    for x, look, text in ((6, green, "its shard"), (25, hatched, "a whole block"), (50, pink, "gradient of its shard")):
        box(ax, x, 1.6, 2.6, 2.3, **look)
        say(ax, x + 3.6, 2.7, text, ha="left", size=10.3)
    finish(
        ax,
        f"What GPU 1 of two holds of {blocks} blocks of {size} bytes. Its shards, half of each block, stay all "
        f"the time. "
        "In the forward pass block after block is whole beside them, and in the backward pass again, in reverse, where "
        f"the gradients of its shards are added. Bytes of weights, moment by moment: {', '.join(told)}.",
    )


def share_of_a_card(bars: Mapping[str, Mapping[str, float]], card: float, title: str) -> None:
    """What a training step takes on one card, stacked by groups of parts (GB), and how much a card has."""
    with plots.style():
        fig, ax = plt.subplots(figsize=(WIDTH, 1.75 + 0.62 * len(bars)))
        named = set()
        top = 1.05 * max(card, *(sum(parts.values()) for parts in bars.values()))
        for i, parts in enumerate(bars.values()):
            left = 0.0
            for part, (color, hatch) in PARTS.items():
                size = parts.get(part, 0)
                if not size:
                    continue
                label = None if part in named else part
                named.add(part)
                ax.barh(
                    i, size, left=left, height=0.6, color=color, hatch=hatch, edgecolor=INK, linewidth=0.7, label=label
                )
                left += size
        names = [f"{bar} {sum(parts.values()):.1f} GB" for bar, parts in bars.items()]
        ax.axvline(card, color=RED, lw=1.4, ls="--")
        ax.text(card, -0.52, f"a card: {card:.1f} GB ", color=RED, ha="right", va="bottom", fontsize=11)
        ax.set(yticks=range(len(bars)), yticklabels=names, xlim=(0, top), ylim=(len(bars) - 0.55, -0.95))
        ax.set_xlabel("GB on one card, at the highest moment of a step")
        ax.grid(visible=False, axis="y")
        ax.set_title(title)
        handles = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
        shown = [part for part in PARTS if part in handles]  # in the order of the bars
        fig.legend([handles[part] for part in shown], shown, loc="outside lower center", ncols=2, fontsize=10)
    told = "; ".join(f"{bar.replace(chr(10), ' ')}, {sum(parts.values()):.1f} GB" for bar, parts in bars.items())
    finish(
        ax, f"{title}. Stacked bars of what one card holds: {told}. A dashed line at {card:.1f} GB, what a card has."
    )


def per_gpu(rows: Sequence[Mapping], title: str, elsewhere: str = "", again: Mapping[str, float] | None = None) -> None:
    """Speed per GPU as a share of one GPU alone, for each batch: DDP and FSDP.

    `elsewhere` is a batch of another computer, and `again` what FSDP reached there with other batches.
    """
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
        for batch, value in (again or {}).items():
            x = batches.index(batch) + 0.19
            ax.plot([x - 0.18, x + 0.18], [value] * 2, color=RED, lw=3)
            words = f"another\ncomputer:\n{value:.2f}"
            ax.text(x, value - 0.05, words, ha="center", va="top", fontsize=10.3, color=RED, bbox=WHITE)
            told.append(f"FSDP, {batch}, again on another computer: {value:.2f}")
        ax.axhline(1, color=INK, lw=1, ls="--")
        ax.set(
            xticks=range(len(batches)), xticklabels=batches, ylim=(0, 1.45), ylabel="speed of each GPU\n(one alone: 1)"
        )
        ax.set_xlabel("texts × tokens on each GPU")
        ax.set_title(title)
        ax.legend(loc="upper right", framealpha=1, ncols=2)
        ax.grid(visible=False, axis="x")
    other = f" {elsewhere} was recorded on another computer." if elsewhere else ""
    finish(ax, f"Speed per GPU of two, where one GPU alone is 1. {'; '.join(told)}.{other}")


def cards_needed(
    needed: Mapping[str, Mapping[int, int | str | None]], tried: Sequence[tuple[str, int]], title: str
) -> None:
    """A grid of models and cards, GB: how many cards of a size hold a model, or "host" for two with shards on the host.

    `tried` are the places that were recorded.
    """
    sizes = list(next(iter(needed.values())))
    colors = {1: tint(GREEN, 0.25), 2: tint(GREEN, 0.5), 4: tint(GREEN, 0.75), "host": tint(SKY, 0.45)}
    top = 13 + 5 * len(needed)
    ax = canvas(top / 10)
    say(ax, 38, top - 2.2, title, weight="bold", size=11.5)
    w, left, told = 62 / len(sizes), 12, []
    for i, size in enumerate(sizes):
        say(ax, left + (i + 0.5) * w, top - 5.6, f"{size} GB", size=11)
    for row, (model, counts) in enumerate(needed.items()):
        y = top - 11.4 - 5 * row
        say(ax, left - 1.5, y + 2.3, model, ha="right", weight="bold")
        for i, size in enumerate(sizes):
            count, mine = counts[size], (model, size) in tried
            text = {None: "more than 4", "host": "2 + host"}.get(count) or f"{count} card{'s' * (count > 1)}"
            look = {"edgecolor": RED, "linewidth": 2.4} if mine else {"edgecolor": "white", "linewidth": 1.5}
            box(ax, left + i * w, y, w - 0.3, 4.6, text, color=colors.get(count, LIGHT), bold=mine, size=10.5, **look)
            told.append(f"{model} on {size} GB: {text}")
    told_below = "thick frame: recorded, on larger cards held to this size; the others are forecasts"
    say(ax, 38, 2.2, told_below, size=10.3, color=GRAY)
    measured = " and ".join(f"{model} on {size} GB" for model, size in tried)
    finish(ax, f"How many cards hold a model. {'; '.join(told)}. Recorded: {measured}.")


def step_of_a_gpu(title: str, ways: Mapping[str, tuple[float, float]]) -> None:
    """An FSDP step on three lanes, Python, wire and GPU: milliseconds of computing, and of the recorded step.

    In the first way Python sets the pace, and in the others it has as much to do. Each piece of the GPU begins when
    Python has launched it.
    """
    ax = canvas(1.72 * len(ways) + 0.75)
    top = 17.2 * len(ways) + 7.5
    say(ax, 2, top - 2.4, title, ha="left", weight="bold", size=12)
    per_ms = 63 / max(recorded for _, recorded in ways.values())
    first_gpu, first = next(iter(ways.values()))
    python = first - first_gpu / SLICES
    for i, (name, (gpu, recorded)) in enumerate(ways.items()):
        y = top - 7.0 - 17.2 * i
        say(ax, 2, y, name, ha="left", size=11)
        say(ax, 75, y, f"{recorded:,.0f} ms", ha="right", size=11, weight="bold")
        launch, compute = python * per_ms / SLICES, gpu * per_ms / SLICES
        for lane, at in (("Python", y - 4.2), ("wire", y - 8.0), ("GPU", y - 11.8)):
            say(ax, 10.6, at + 1.1, lane, ha="right", size=10.5, color=GRAY)
            ax.plot([11.6, 75], [at - 0.3, at - 0.3], color=GRAY, lw=0.6)
        for k in range(SLICES):
            x = 12 + k * max(launch, compute)
            box(ax, x, y - 4.2, launch - 0.3, 2.3, color=tint(ORANGE, 0.7))
            box(ax, x + launch - 0.5, y - 8.0, 0.4, 2.3, color=tint(RED, 0.6), edgecolor=RED)
            box(ax, x + launch, y - 11.8, max(compute - 0.15, 0.4), 2.3, color=tint(GREEN, 0.6))
    note = "estimated from recorded steps, to scale; only the wire is drawn wider than it is"
    say(ax, 2, 1.4, note, ha="left", size=10.3, color=GRAY)
    times = "; ".join(f"{name}: {recorded:,.0f} ms" for name, (_, recorded) in ways.items())
    finish(
        ax,
        f"{title}. A step on three lanes, Python, wire and GPU. With little to compute, the GPU waits for Python "
        "most of the time. With much, Python waits, and the GPU works without gaps. The wire is busy for moments only. "
        f"Recorded: {times}.",
    )
