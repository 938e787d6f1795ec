"""Drawings of notebook 12: what a training step remembers, and what each lever changes about it."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from .. import plots
from .canvas import (
    ACTIVATIONS,
    BLUE,
    CODES,
    EMBEDDINGS,
    GRAY,
    GREEN,
    INK,
    LIGHT,
    ORANGE,
    PINK,
    PLUM,
    RED,
    SIXTEEN,
    WIDTH,
    arrow,
    box,
    canvas,
    finish,
    say,
    tint,
)

__all__ = [
    "bytes_per_number",
    "gradient_moves",
    "launches",
    "logits_in_pieces",
    "mountain",
    "offloading",
    "packing",
    "parts_of_a_step",
    "peaks",
    "staircase",
    "trips",
]

POINTS = 64  # stretches of each pass; the lowest and the highest moment of each are drawn, so that none is lost
HELD = {  # kinds of tensors as a `Timeline` names them, in the order in which they are stacked
    "gradients of the adapters": ("gradients", tint(RED, 0.9)),
    "activations": ("activations", tint(ACTIVATIONS, 0.7)),
    "logits": ("logits", PLUM),
    "a decoded layer": ("dequantized", tint(SIXTEEN, 0.5)),
}
TURNS = (BLUE, ORANGE, GREEN, RED, PINK)  # colors of the turns of a batch


def _moments(budget, points: int = POINTS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places on the axis (0 to 1 forward, 1 to 2 backward), GB held, and numbers of events, at the extreme moments."""
    live = budget.timeline.live().numpy() / 1e9
    live = live + budget.allocator_bytes / 1e9 - live.max()
    turn = budget.timeline.backward
    places, chosen = [], []
    for start, stop, at in ((0, turn, 0.0), (turn, len(live), 1.0)):
        edges = np.unique(np.linspace(start, stop, points + 1).astype(int))
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            for moment in sorted({low + int(live[low:high].argmin()), low + int(live[low:high].argmax())}):
                chosen.append(moment)
                places.append(at + (moment - start) / (stop - start))
    chosen = np.array(chosen)
    return np.array(places), live[chosen], chosen


def _passes(ax, top: float) -> None:
    """The two passes named, the turn between them marked."""
    ax.axvline(1, color=GRAY, lw=1, ls=":")
    for x, said in ((0.5, "forward pass →"), (1.5, "backward pass →")):
        ax.text(x, top, said, ha="center", va="top", fontsize=11, color=GRAY)
    ax.set(xlim=(0, 2), xticks=[])
    ax.grid(visible=False, axis="x")


def mountain(steps: Mapping[str, object], card: float) -> None:
    """Memory during a training step, a curve for each budget, and how much memory a card has (GB)."""
    with plots.style():
        fig, ax = plt.subplots(figsize=(WIDTH, 4.4))
        top, told = 1.24 * max(card, *(step.allocator_bytes / 1e9 for step in steps.values())), []
        for (name, step), share in zip(steps.items(), (0.3, 0.9), strict=True):
            places, gb, _ = _moments(step)
            floor = (step.allocator_bytes - step.timeline.peak) / 1e9
            ax.fill_between(places, gb, color=tint(ACTIVATIONS, share), lw=0, label=name)
            ax.plot(places, gb, color=INK, lw=0.7)
            peak = int(gb.argmax())
            ax.plot(places[peak], gb[peak], "o", color=INK, markersize=6)
            said = f"{name}\npeak {gb[peak]:.1f} GB"
            ax.text(places[peak] + 0.04, gb[peak] + 0.01 * top, said, va="bottom", fontsize=11)
            told.append((name, gb[peak]))
        ax.fill_between(places, floor, color=tint(CODES, 0.55), lw=0, label="weights, and all that stays")
        ax.axhline(card, color=RED, lw=1.2, ls="--")
        ax.text(0.02, card + 0.01 * top, f"the card has {card:g} GB", color=RED, va="bottom", fontsize=11)
        _passes(ax, -0.02 * top)
        ax.set(ylim=(0, top), ylabel="GB")
        ax.set_title(f"Checkpointing cuts the mountain down, from {told[0][1]:.1f} GB to {told[-1][1]:.1f}")
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=10.5)
    finish(
        ax,
        "Memory during one training step. It rises in the forward pass, is highest about where the backward pass "
        f"begins, and falls until its end. {'; '.join(f'{name}, peak {gb:.1f} GB' for name, gb in told)}; a dashed "
        f"line at {card:g} GB.",
    )


def _stacked(ax, budget, places, gb, chosen, floor):
    """What is held, stacked by its kind, over the floor; what the logits hold, or None."""
    kinds, deltas = np.array(budget.timeline.kinds), np.array(budget.timeline.deltas)
    below, spike = np.full(len(places), floor), None
    ax.fill_between(places, below, color=tint(CODES, 0.55), lw=0, label="weights, adapters, optimizer, workspace")
    ax.plot(places, gb, color=INK, lw=0.5, antialiased=False)  # sharp, and a third of the bytes
    for name, (kind, color) in HELD.items():
        held = np.where(kinds == kind, deltas, 0).cumsum()[chosen] / 1e9
        if held.max() > 0.01 * gb.max():
            ax.fill_between(places, below, below + held, color=color, lw=0, label=name)
            spike = held if name == "logits" else spike
        below = below + held
    return spike


def parts_of_a_step(budget) -> None:
    """Memory during one training step, stacked by what it is for; the floor is what is there all the time."""
    places, gb, chosen = _moments(budget)
    floor = (budget.allocator_bytes - budget.timeline.peak) / 1e9
    peak, top = int(gb.argmax()), 1.36 * gb.max()
    line = {"arrowstyle": "-|>", "color": INK, "shrinkB": 1}
    on = "a tooth"
    with plots.style():
        fig, (ax, near) = plt.subplots(1, 2, figsize=(WIDTH, 4.2), sharey=True, width_ratios=(1.6, 1))
        _stacked(ax, budget, places, gb, chosen, floor)
        middle = (places > 0.4) & (places < 0.5)
        low = places[middle][gb[middle].argmin()], gb[middle].min()
        ax.annotate("kept: the inputs of\nthe blocks so far", low, (0.04, 0.8 * gb.max()), arrowprops=line, fontsize=11)
        late = (places > 1.7) & (places < 1.8)
        high = places[late][gb[late].argmax()], gb[late].max()
        ax.annotate("a tooth: one block,\ncomputed again", high, (1.14, 1.06 * gb.max()), arrowprops=line, fontsize=11)
        places, gb, chosen = _moments(budget, 20 * POINTS)
        spike = _stacked(near, budget, places, gb, chosen, floor)
        if spike is not None:  # its thin ends, too, in color
            there = spike > 0
            near.vlines(places[there], gb[there] - spike[there], gb[there], color=HELD["logits"][1], lw=2.2)
        peak = int(gb.argmax())
        if spike is not None and spike[peak] > 0.5 * spike.max():
            on = "the logits"
        elif spike is not None:
            tip = np.where(spike > 0.5 * spike.max(), gb, 0).argmax()
            near.annotate("the logits", (places[tip], gb[tip]), (0.945, 1.1 * gb.max()), arrowprops=line, fontsize=11)
        for axis in (ax, near):
            axis.plot(places[peak], gb[peak], "o", color=INK, markersize=6)
        at = (places[peak], 1.2 * gb.max())
        near.annotate(
            f"the peak: {gb[peak]:.1f} GB,\non {on}", (places[peak], gb[peak]), at, arrowprops=line, fontsize=11
        )
        _passes(ax, -0.02 * top)
        near.axvline(1, color=GRAY, lw=1, ls=":")
        near.set(xlim=(0.94, 1.1), xticks=[])
        near.set_xlabel("the turn, enlarged", color=GRAY)
        near.grid(visible=False, axis="x")
        ax.set(ylim=(0, top), ylabel="GB", title="One moment is the highest, and it decides")
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=10.5)
    half = "in the forward pass" if places[peak] < 1 else "in the backward pass"
    finish(
        ax,
        f"Memory during one training step, stacked. {floor:.1f} GB are there all the time. Activations rise in steps "
        "during the forward pass; in the backward pass a tall tooth stands for each block that is computed again, and "
        f"what is kept falls. The peak, {gb[peak]:.1f} GB, is {half}, on {on}. Right, the turn, enlarged.",
    )


def peaks(steps: Mapping[str, object]) -> None:
    """The same step with more and more levers, a small curve for each, its peak marked."""
    top, told = 1.3 * max(step.allocator_bytes for step in steps.values()) / 1e9, []
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    with plots.style():
        fig, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.8), sharey=True)
        said = "Take the highest point away, and another one is highest"
        fig.suptitle(said, x=0.01, ha="left", weight="bold", fontsize=12)
        for ax, (name, step) in zip(axes.flat, steps.items(), strict=True):
            places, gb, chosen = _moments(step)
            spike = _stacked(ax, step, places, gb, chosen, (step.allocator_bytes - step.timeline.peak) / 1e9)
            at = int(gb.argmax())
            on = "the logits" if spike is not None and spike[at] > 0.5 * spike.max() else "a tooth"
            ax.axvline(1, color=GRAY, lw=1, ls=":")
            ax.plot(places[at], gb[at], "o", color=INK, markersize=6)
            x, side = (1.98, "right") if places[at] > 1.7 else (places[at], "center")
            ax.text(x, gb[at] + 0.04 * top, f"{gb[at]:.1f} GB, {on}", ha=side, va="bottom", fontsize=11, bbox=white)
            ax.set(xlim=(0, 2), xticks=[], ylim=(0, top))
            ax.set_title(name, fontsize=11, weight="normal")
            where = "at the turn" if abs(places[at] - 1) < 0.06 else f"{places[at] / 2:.0%} of the way through"
            told.append(f"{name}: {gb[at]:.1f} GB, {where}, on {on}")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=10.5)
        for ax in axes[:, 0]:
            ax.set_ylabel("GB")
            ax.locator_params(axis="y", nbins=4)
        for ax in axes[1]:
            ax.set_xlabel("forward → | backward →")
    finish(axes[0, 0], f"Four curves of memory during the same step, with the peak marked. {'; '.join(told)}.")


def bytes_per_number(embeddings: Sequence[float], head: Sequence[float]) -> None:
    """What the upcast makes wider: embeddings, head and all states, in 32 bits above and in 16 below; sizes in GB."""
    ax = canvas(3.7)
    say(ax, 2, 34.2, "In 32 bits, every state between two blocks is twice as large", ha="left", weight="bold", size=12)
    for row, title in enumerate(("With the upcast: 4 bytes per number", "Without: 2 bytes per number")):
        y, h = (23.6, 7.0) if row == 0 else (9.4, 3.5)
        middle = y - 2.2
        say(ax, 2, y + 4.8, title, ha="left", va="baseline")
        said = f"embeddings\n{embeddings[row]:.2f} GB" if row == 0 else ""
        box(ax, 2, middle - h / 2, 13, h, said, color=tint(EMBEDDINGS, 0.5), size=10.3)
        said = f"head\n{head[row]:.2f} GB" if row == 0 else ""
        box(ax, 61, middle - h / 2, 13, h, said, color=tint(EMBEDDINGS, 0.5), size=10.3)
        if row:
            say(ax, 8.5, middle, f"{embeddings[row]:.2f} GB", size=10.3)
            say(ax, 67.5, middle, f"{head[row]:.2f} GB", size=10.3)
        for i in range(4):
            x = 17.2 + 11.5 * i
            box(ax, x, middle - h / 2, 2.2, h, color=tint(ACTIVATIONS, 0.7))
            if i < 3:
                box(ax, x + 3.6, middle - 1.6, 6.5, 3.2, "block", color=tint(CODES, 0.55), size=10.3)
        for i in range(2):
            arrow(ax, (15.4 if i == 0 else 54.3, middle), (16.9 if i == 0 else 60.6, middle), mutation_scale=8)
    say(
        ax,
        38,
        1.6,
        "yellow: the states between blocks · green: weights in 4 bits, the same in both",
        size=10.3,
        color=GRAY,
    )
    finish(
        ax,
        "A chain of embeddings, states, blocks and output head, twice. With the upcast, embeddings "
        f"({embeddings[0]:.2f} GB), head ({head[0]:.2f} GB) and states are twice as tall as without "
        f"({embeddings[1]:.2f} and {head[1]:.2f} GB). The blocks, in 4 bits, are the same.",
    )


def logits_in_pieces(tokens: int, vocabulary: int, rows: int, whole: float, piece: float) -> None:
    """The logits of a batch: several copies as a whole, and a slice of rows that moves down; `whole`, `piece` in GB."""
    ax = canvas(3.6)
    say(ax, 7, 33.0, f"All at once: {whole:.2f} GB", ha="left", weight="bold", va="baseline")
    say(ax, 46, 33.0, f"In pieces: {piece:.2f} GB at a time", ha="left", weight="bold", va="baseline")
    one, part = tokens * vocabulary * 4 / 1e9, rows * vocabulary * 4 / 1e9
    copies, fewer = round(whole / one), piece / part
    for k in reversed(range(copies)):
        box(ax, 7 + 1.6 * k, 6.2 + 1.0 * k, 20, 20, color=tint(PLUM, 0.6))
    say(ax, 17, 16.2, f"{tokens:,} tokens\n×\n{vocabulary:,} words", size=10.5)
    say(ax, 18.6, 3.0, f"{copies} copies of all scores", size=10.5)
    box(ax, 46, 6.2, 20, 20, color="white", ls="--", edgecolor=GRAY)
    high = 20 * rows / tokens
    for k in reversed(range(math.ceil(fewer))):
        box(ax, 46 + 1.0 * k, 15.0 - high + 0.7 * k, 20 * min(1.0, fewer - k), high, color=tint(PLUM, 0.6))
    say(ax, 56, 21.6, "done, and freed", size=10.3, color=GRAY)
    say(ax, 56, 9.4, "still to come", size=10.3, color=GRAY)
    arrow(ax, (70.4, 25.5), (70.4, 7.0), color=GRAY)
    say(ax, 56, 3.0, f"{rows:,} tokens at a time", size=10.5)
    finish(
        ax,
        f"Left, {copies} full rectangles of {tokens:,} tokens × {vocabulary:,} words, {whole:.2f} GB. Right, the same "
        f"outline, with only a slice of {rows:,} tokens in it that moves down, in {fewer:.1f} copies, {piece:.2f} "
        "GB at a time.",
    )


def trips(ways: Mapping[str, Sequence[tuple[str, bool, int, int]]]) -> None:
    """Operations in a row over memory: (name, whether its result is large, bytes read, bytes written).

    An arrow is as thick as its bytes, up to a least thickness that can be seen.
    """
    ax = canvas(1.75 * len(ways) + 0.25)
    most = max(len(steps) for steps in ways.values())
    heaviest = max(max(step[2:]) for steps in ways.values() for step in steps)
    width, told = min(11.0, 72 / most), []

    def carry(x, low, high, size):
        thick = max(0.6, 5.4 * size / heaviest)
        look = {"linewidth": thick, "mutation_scale": 7 + 1.6 * thick, "color": INK if thick > 0.6 else GRAY}
        arrow(ax, (x, low), (x, high), **look)

    for row, (title, steps) in enumerate(ways.items()):
        y = 17.5 * (len(ways) - row) - 9.2
        large = sum(step[1] for step in steps)
        say(ax, 2, y + 9.0, title, ha="left", weight="bold", va="baseline")
        say(ax, 74, y + 9.0, f"large results: {large}", ha="right", color=BLUE, size=10.5, va="baseline")
        for i, (name, big, read, written) in enumerate(steps):
            x = 2 + width * i
            box(ax, x + 0.4, y + 2.6, width - 0.8, 4.4, name, color=tint(BLUE, 0.35) if big else "white", size=10.3)
            carry(x + 0.32 * width, y - 0.6, y + 2.4, read)
            carry(x + 0.70 * width, y + 2.4, y - 0.6, written)
            told.append(f"{name} reads {read / 1e3:.1f} kB and writes {written / 1e3:.1f}")
        box(ax, 2, y - 3.2, max(width * len(steps), 18), 2.4, "the GPU's memory", color=LIGHT, size=10.3)
        told[-len(steps)] = f"{title}, {large} large results: {told[-len(steps)]}"
    key = f"the thickest arrow: {heaviest / 1e3:,.0f} kB · the others to scale · gray: too few bytes to draw to scale"
    say(ax, 2, 2.2, key, ha="left", size=10.3, color=GRAY)
    finish(ax, f"Rows of operations over a bar of memory, with arrows as thick as their bytes. {'; '.join(told)}.")


def offloading(blocks: int = 5) -> None:
    """Inputs of blocks go to the computer's memory in the forward pass, and come back one by one in the backward."""
    ax = canvas(3.4)
    key = "green: the block at work · yellow: the input of one block"
    say(ax, 2, 32.2, key, ha="left", size=10.3, color=GRAY)
    for x0, title, at, here in (
        (2, "Forward: inputs leave when used", 3, (3, 4)),
        (40, "Backward: each comes back in time", 3, (2, 3)),
    ):
        forward = x0 < 20
        say(ax, x0, 27.2, title, ha="left", weight="bold", va="baseline")
        say(ax, x0, 23.4, "the GPU's memory", ha="left", size=10.3, color=GRAY)
        say(ax, x0, 2.2, "the computer's memory", ha="left", size=10.3, color=GRAY)
        for i in range(blocks):
            x = x0 + 6.9 * i
            works = i == (at if forward else at - 0)
            box(ax, x, 16.6, 6.1, 3.4, f"block {i + 1}", color=tint(GREEN, 0.55) if works else "white", size=10.3)
            gone = i < here[0] if forward else i < here[0]
            if i in here and (forward and i <= at or not forward and i <= at):
                box(ax, x + 0.6, 14.4, 4.9, 1.4, color=tint(ACTIVATIONS, 0.7))
            if gone or (forward and i == here[0] - 1):
                box(ax, x + 0.6, 5.0, 4.9, 1.4, color=tint(ACTIVATIONS, 0.7))
        x = x0 + 6.9 * 2 + 3.05
        ends = ((x, 13.6), (x, 7.2)) if forward else ((x, 7.2), (x, 13.6))
        arrow(ax, *ends, color=BLUE, linewidth=2)
        say(ax, x + 1.4, 10.4, "copied while\nthe GPU computes", ha="left", size=10.3, color=BLUE)
    finish(
        ax,
        f"Two moments of a step with {blocks} blocks. Forward: while a block computes, the input of the one before it "
        "is copied from the GPU's memory to the computer's, where the earlier ones already are. Backward: while a "
        "block computes, the input of the next one to come is copied back.",
    )


def launches(steps: Sequence[tuple[str, float, float]]) -> None:
    """Steps of training, launched from Python and replayed as a graph, to scale: (name, seconds, seconds as a graph).

    The first is a step for which the GPU waits, so its seconds are Python's; they are taken for the others, too, since
    these have as many kernels.
    """
    ax = canvas(2.05 * len(steps) + 0.85)
    high = 20.5 * len(steps) + 6.0
    say(ax, 2, high, "A small step waits for Python, a large one doesn't", ha="left", weight="bold", size=12)
    scale, told, pieces = 50 / max(max(row[1:]) for row in steps), [], 14
    for i, (name, alone, graph) in enumerate(steps):
        y = 20.5 * (len(steps) - i) + 1.5
        say(ax, 2, y, name, ha="left")
        for k, (way, seconds) in enumerate((("from Python", alone), ("as a graph", graph))):
            at = y - 4.4 - 8.2 * k
            say(ax, 2, at - 1.2, way, ha="left", size=10.3)
            say(ax, 16.4 + seconds * scale, at - 2.9, f"{1000 * seconds:.0f} ms", ha="left", size=10.5, weight="bold")
            if k:
                box(ax, 15, at, 0.9, 2.2, color=tint(ORANGE, 0.7), linewidth=0.6)
                box(ax, 15.9, at - 4.0, seconds * scale - 0.9, 2.2, color=tint(GREEN, 0.6), linewidth=0.6)
                continue
            orders = (steps[0][1] - min(steps[0][1:]) / pieces) * scale / pieces  # the last kernel ends the step
            busy, late = min(graph, alone) * scale / pieces, alone * scale - orders
            for piece in range(pieces):
                box(ax, 15 + orders * piece, at, orders - 0.4, 2.2, color=tint(ORANGE, 0.7), linewidth=0.6)
                x = 15 + orders + (late - busy) * piece / (pieces - 1)  # no kernel before its order is complete
                box(ax, x, at - 4.0, busy, 2.2, color=tint(GREEN, 0.6), linewidth=0.6)
        told.append(f"{name}: {1000 * alone:.0f} ms launched from Python, {1000 * graph:.0f} ms as a graph")
    say(ax, 38, 1.5, "orange: Python gives orders · green: the GPU computes", size=10.3, color=GRAY)
    finish(
        ax,
        "Two lanes for each step, Python's orders in orange and the GPU's work in green, to scale. Launched from "
        f"Python a short step leaves gaps on the GPU, and as a graph it has none. {'; '.join(told)}.",
    )


def packing(lengths: Sequence[int], rows: Sequence[Sequence[int]], width: int) -> None:
    """Turns padded to the longest, packed into rows of `width` tokens (`rows`: numbers of turns), and a row's mask."""
    ax = canvas(3.5)
    longest, shown = max(lengths), max(range(len(rows)), key=lambda k: len(rows[k]))
    high = min(2.4, 22 / len(lengths))
    colors = [tint(TURNS[i % len(TURNS)], 0.8 - 0.25 * (i // len(TURNS) % 3)) for i in range(len(lengths))]
    waste = {"color": "white", "hatch": "///", "edgecolor": GRAY, "linewidth": 0.6}
    for x, said in ((2, "Padded to the longest"), (29.5, "Packed"), (56, f"The mask of row {shown + 1}")):
        say(ax, x, 32.4, said, ha="left", weight="bold", size=10.5, va="baseline")
    for i, size in enumerate(lengths):
        y = 29.4 - (high + 0.4) * (i + 1)
        box(ax, 2, y, 23.5, high, **waste)
        box(ax, 2, y, size * 23.5 / longest, high, color=colors[i])
    for k, row in enumerate(rows):
        y, x = 29.4 - (high + 0.4) * (k + 1), 29.5
        box(ax, x, y, 23.5, high, **waste)
        for i in row:
            box(ax, x, y, lengths[i] * 23.5 / width, high, color=colors[i])
            x += lengths[i] * 23.5 / width
    side, at = 18.0, 0.0
    box(ax, 56, 29.0 - side, side, side, color="white", edgecolor=GRAY)
    for i in rows[shown]:
        size = side * lengths[i] / width
        x, y = 56 + at, 29.0 - at
        ax.fill([x, x, x + size], [y, y - size, y - size], color=colors[i], lw=0)
        at += size
    computed = [longest * len(lengths), width * len(rows)]
    shares = [1 - sum(lengths) / count for count in computed]
    for x, count, share in zip((2, 29.5), computed, shares, strict=True):
        say(ax, x, 3.0, f"{count:,} places,\n{share:.0%} of them padding", ha="left", size=10.5)
    say(ax, 56 + side / 2, 30.3, "…may see these", size=10.3, color=GRAY)
    say(ax, 54.6, 29.0 - side / 2, "each token…", size=10.3, color=GRAY, rotation=90)
    say(ax, 56, 7.0, "a triangle for each text:\nno text sees another", ha="left", size=10.3, color=GRAY)
    finish(
        ax,
        f"{len(lengths)} texts as bars. Left, each padded to the longest, {computed[0]:,} places, {shares[0]:.0%} "
        f"padding. In the middle, packed into {len(rows)} rows, {computed[1]:,} places, {shares[1]:.0%} padding. "
        f"Right, the mask of row {shown + 1}: a triangle for each text, so that no text sees another.",
    )


def staircase(rungs: Sequence[Mapping], rival: Mapping | None = None, title: str = "") -> None:
    """Peak memory and speed of each rung, by its number, `by process` being single speeds. A rival is a dashed line."""
    numbers = [rung["number"] for rung in rungs]
    gb, speed = [rung["gb"] for rung in rungs], [rung["speed"] for rung in rungs]
    lowest = [s - min(r["by process"]) for r, s in zip(rungs, speed, strict=True)]
    highest = [max(r["by process"]) - s for r, s in zip(rungs, speed, strict=True)]
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
    with plots.style():
        fig, (above, below) = plt.subplots(2, 1, figsize=(WIDTH, 4.9), sharex=True)
        above.bar(numbers, gb, color=tint(BLUE, 0.55), edgecolor=INK, linewidth=0.8)
        below.bar(numbers, speed, color=tint(GREEN, 0.6), edgecolor=INK, linewidth=0.8)
        below.errorbar(numbers, speed, [lowest, highest], color=INK, capsize=4, ls="", lw=1)
        for ax, values, text in ((above, gb, "{:.1f}"), (below, speed, "{:,.0f}")):
            top = 1.3 * max(values)
            ax.set_ylim(0, top)
            if rival:
                ax.axhline(rival["gb" if ax is above else "speed"], color=RED, ls="--", lw=1.3, label=rival["name"])
            for i, value in enumerate(values):
                y = value + (highest[i] if ax is below else 0) + 0.03 * top
                said = text.format(value)
                ax.text(numbers[i], y, said, ha="center", va="bottom", fontsize=10.5, bbox=white, zorder=3)
            ax.grid(visible=False, axis="x")
        if rival:
            above.legend(loc="upper right", fontsize=10.5)
        above.set(ylabel="peak, GB", title=title)
        below.set(ylabel="tokens per second")
        below.yaxis.set_major_formatter("{x:,.0f}")
        below.set_xticks(numbers, [f"{rung['number']}\n{rung['label']}" for rung in rungs], fontsize=10.3)
    said = "; ".join(f"{r['number']} {r['name']}, {r['gb']:.1f} GB, {r['speed']:,.0f} tokens per second" for r in rungs)
    finish(above, f"Two rows of bars by rung, peak memory above and speed below. {said}.")


def gradient_moves(moves: Sequence[tuple[str, float]]) -> None:
    """By how much each rung moves the gradient, against the rung before it: (number and name, share)."""
    most = max(share for _, share in moves)
    far = [name.split(" ")[0] for name, share in moves if share > 0.3 * most]
    with plots.style():
        fig, ax = plt.subplots(figsize=(WIDTH, 0.36 * len(moves) + 0.9))
        places = range(len(moves))
        ax.barh(places, [share for _, share in moves], color=tint(RED, 0.5), edgecolor=INK, linewidth=0.8)
        for place, (_, share) in zip(places, moves, strict=True):
            ax.text(share + 0.01 * most, place, f"{share:.1%}", va="center", fontsize=10.5)
        ax.set_yticks(places, [name for name, _ in moves], fontsize=10.5)
        ax.invert_yaxis()
        ax.set(xlim=(0, 1.12 * most), title=f"Rungs {' and '.join(far)} move the gradient, the others hardly")
        ax.set_xlabel("distance to the gradient of the rung before, in % of its length")
        ax.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        ax.grid(visible=False, axis="y")
    told = "; ".join(f"{name} {share:.1%}" for name, share in moves)
    finish(ax, f"A bar for each rung: how far its gradient is from that of the rung before. {told}.")
