"""Drawings of notebook 08: LoRA beside a frozen layer, the tokens that are learned, what checkpointing keeps."""

import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np

from .. import plots
from .canvas import (
    ACTIVATIONS,
    ADAPTERS,
    BLUE,
    CODES,
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
    matrix,
    say,
    tint,
)

__all__ = ["before_and_after", "checkpointing", "learned_tokens", "lora_layer", "small_and_large", "what_ranks_can_do"]


def small_and_large(rows: int, columns: int, rank: int) -> None:
    """An update of a matrix as the product of a tall and a flat one, with their sizes."""
    ax = canvas(2.5)
    box(ax, 3, 4.4, 15, 15, f"{rows:,} × {columns:,}\n\n{rows * columns:,}\nnumbers", color=tint(GRAY, 0.3), size=10.5)
    say(ax, 10.5, 22.0, "ΔW, the change", weight="bold")
    say(ax, 22.5, 11.9, "=", size=20)
    box(ax, 28, 4.4, 1.6, 15, color=tint(ADAPTERS, 0.8))
    say(ax, 28.8, 22.0, "B", weight="bold", color=PLUM)
    say(ax, 28.8, 2.2, f"{rows:,} × {rank}", size=10.5)
    say(ax, 35.0, 11.9, "×", size=16)
    box(ax, 39, 11.1, 15, 1.6, color=tint(ADAPTERS, 0.4))
    say(ax, 46.5, 14.6, "A", weight="bold", color=PLUM)
    say(ax, 46.5, 8.8, f"{rank} × {columns:,}", size=10.5)
    both = rank * (rows + columns)
    said = f"{both:,}\nnumbers instead,\n{both / (rows * columns):.1%} as many"
    say(ax, 66.5, 13.4, said, weight="bold")
    say(ax, 66.5, 6.6, f"the rank is {rank}\n(drawn thicker\nthan it is)", color=GRAY, size=10.5)
    finish(
        ax,
        f"The change, a square of {rows:,} × {columns:,} numbers, is a tall matrix B of {rows:,} × {rank} times a flat "
        f"matrix A of {rank} × {columns:,}. B and A have {both:,} numbers, {both / (rows * columns):.1%} of it.",
    )


# a matrix in which one can see what is missing: the word "4-bit" in ones and zeros
WORD = (
    "..............................",
    "....#.........#......#....#...",
    "...##.........#...........#...",
    "..#.#.........#.....##...####.",
    ".#..#.........###....#....#...",
    ".#####..###...#..#...#....#...",
    "....#.........#..#...#....#...",
    "....#.........###...###....##.",
    "..............................",
)


def what_ranks_can_do(ranks: Sequence[int] = (1, 2, 4)) -> None:
    """A small matrix as a picture, and the nearest that a product of two thin matrices of each rank comes to it."""
    full = np.array([[float(cell == "#") for cell in row] for row in WORD])
    rows, columns = full.shape
    u, values, v = np.linalg.svd(full, full_matrices=False)
    near = {f"rank {rank}": (u[:, :rank] * values[:rank]) @ v[:rank] for rank in ranks}
    ax = canvas(3.0)
    told = []
    for i, (name, picture) in enumerate({"all of it": full, **near}.items()):
        x, y = 3 + 37 * (i % 2), 15.6 - 14.0 * (i // 2)
        grays = [tint(INK, min(max(value, 0.0), 1.0) * 0.85 + 0.05) for value in picture.flatten()]
        matrix(ax, x, y, 33, 9.9, rows, columns, grays, linewidth=0.4)
        numbers = rows * columns if i == 0 else ranks[i - 1] * (rows + columns)
        sum_of = f"{rows} × {columns}" if i == 0 else f"{ranks[i - 1]} × ({rows} + {columns})"
        say(ax, x, y + 11.4, name, ha="left", weight="bold")
        say(ax, x + 33, y + 11.4, f"{sum_of} = {numbers} numbers", ha="right", color=GRAY, size=10.5)
        told.append(f"{name}, {numbers} numbers")
    finish(
        ax,
        f"A matrix of {rows} × {columns} numbers, drawn in gray, in which the word 4-bit can be read, and the nearest "
        f"products of two thin matrices: {'; '.join(told)}. With a higher rank more of the word can be read.",
    )


def lora_layer(rank: int) -> None:
    """The frozen path through W, and beside it the path through A and B that is trained; gradients in red."""
    ax = canvas(2.7)
    say(ax, 4.5, 13.5, "x", size=15, weight="bold")
    arrow(ax, (6.5, 14.0), (14.5, 20.0), color=INK)
    arrow(ax, (6.5, 13.0), (14.5, 7.0), color=INK)
    box(ax, 15, 16.0, 27, 8.0, "W, in 4 bits\nfrozen: no byte changes", color=tint(CODES, 0.55))
    box(ax, 15, 4.8, 11, 4.6, f"A\n{rank} rows", color=tint(ADAPTERS, 0.4), size=10.3)
    arrow(ax, (26.4, 7.1), (30.8, 7.1), color=INK)
    box(ax, 31, 4.8, 11, 4.6, f"B\n{rank} columns", color=tint(ADAPTERS, 0.8), size=10.3)
    arrow(ax, (42.4, 7.1), (48.6, 7.1), color=INK)
    box(ax, 49, 4.8, 7.5, 4.6, "× α/r", color="white", size=10.5)
    arrow(ax, (42.4, 20.0), (61.0, 14.6), color=INK)
    arrow(ax, (56.8, 7.4), (61.0, 12.2), color=INK)
    say(ax, 62.8, 13.4, "+", size=20)
    arrow(ax, (64.8, 13.4), (69.5, 13.4), color=INK)
    say(ax, 71.8, 13.5, "y", size=15, weight="bold")
    arrow(ax, (55, 2.6), (15.5, 2.6), color=RED, linewidth=2)
    say(ax, 66, 2.6, "gradients for A and B", color=RED, size=10.5)
    arrow(ax, (42, 14.4), (15.5, 14.4), color=RED, linewidth=1.2, ls="--")
    say(ax, 28.5, 12.4, "gradients pass through W, and leave it alone", color=RED, size=10.3)
    finish(
        ax,
        "The input x takes two paths. One goes through the frozen matrix W in 4 bits. The other goes through A, then "
        "B, then is multiplied by α/r. The two are added to the output y. Only A and B receive gradients; on their "
        "way to earlier layers, gradients also pass through W, which stays as it is.",
    )


def learned_tokens(tokens: Sequence[str], learned: Sequence[bool], padding: int = 2, end: str = "</s>") -> None:
    """The tokens of a padded turn in two rows: labels as they should be, and with the end token lost."""
    ax = canvas(2.45)
    tokens, learned = list(tokens), list(learned)
    if len(tokens) > 9:  # the middle of a long question is not needed
        cut = len(tokens) - 7
        tokens, learned = [*tokens[:2], "…", *tokens[cut + 2 :]], [*learned[:2], False, *learned[cut + 2 :]]
    tokens, learned = tokens + ["pad"] * padding, learned + [False] * padding
    wrong = [was and not (i == len(tokens) - padding - 1) for i, was in enumerate(learned)]
    width = 72 / len(tokens)
    for y, marks, said in (
        (15.2, learned, "Right: the answer and the end token have labels (below each token)"),
        (4.2, wrong, "Wrong: masked by token, the end token goes with the padding (hatched)"),
    ):
        say(ax, 2, y + 6.0, said, ha="left", weight="bold", color=INK)
        for i, (token, mark) in enumerate(zip(tokens, marks, strict=True)):
            pad = i >= len(tokens) - padding
            lost = learned[i] and not mark
            fill = tint(GREEN, 0.5) if mark else tint(RED, 0.6) if lost else ("white" if pad else LIGHT)
            look = {"hatch": "///", "edgecolor": GRAY} if pad else {}
            filled = tokens[len(tokens) - padding - 1] if y < 10 else "pad"  # below, the end token is what fills up
            box(ax, 2 + i * width, y, width, 3.6, filled if pad else token, color=fill, size=10.3, **look)
            label, ink = (token, INK) if mark else ("−100", RED if lost else GRAY)
            say(ax, 2 + (i + 0.5) * width, y - 1.6, label, size=10.3, color=ink, weight="bold" if lost else "normal")
    finish(
        ax,
        "One turn as a row of tokens, twice. The question is gray and has the label −100. Above, the answer and the "
        f"end token {end} are colored, because they are learned. Below, the end token is marked in red: it has the "
        "label −100 as well.",
    )


def checkpointing(blocks: int = 6) -> None:
    """What is kept of each block for the backward pass, without and with checkpointing."""
    ax = canvas(2.9)
    for y, title, tall in (
        (16.5, "Without: every block keeps all that its backward pass needs", 6.4),
        (2.0, "With: only inputs are kept, and one block at a time is computed again", 0.8),
    ):
        say(ax, 3, y + 10.9, title, ha="left", weight="bold")
        for i in range(blocks):
            x = 3 + i * 10.4
            if tall < 1 and i == blocks - 2:
                box(ax, x, y + 2.6, 8.6, 6.4, "computed\nagain", color=tint(RED, 0.35), ls="--", size=10.3)
            if tall > 1 or i < blocks - 1:  # the last block is done: its input is gone
                box(ax, x, y + 2.6, 8.6, tall, color=tint(ACTIVATIONS, 0.7))
            done = tall < 1 and i == blocks - 1
            box(ax, x, y - 0.6, 8.6, 2.8, "done" if done else f"block {i + 1}", color="white", size=10.3)
    arrow(ax, (71.5, 4.0), (66.2, 4.0), color=RED)
    say(ax, 71.2, 7.2, "backward", color=RED, size=10.3)
    finish(
        ax,
        f"{blocks} blocks in a row, twice. Above, a tall box stands on each: everything is kept. Below, only a thin "
        "one, its input; on one block stands a dashed box, which is computed again while the backward pass is there.",
    )


def before_and_after(shares: dict[str, float], spans: Sequence[tuple[float, float]]) -> None:
    """Bars of shares of right answers with their 95% intervals."""
    names = [textwrap.fill(name, 18) for name in shares]
    values = list(shares.values())
    errors = np.abs(np.array(spans).T - values)
    title = f"Fine-tuning took it from {values[0]:.1%} to {values[1]:.1%} right"
    fig = plots.bars(names, values, errors=errors, title=title, ylabel="share of right answers", text="{:.1%}")
    for patch, color in zip(fig.axes[0].patches, (GRAY, GREEN, tint(BLUE, 0.5)), strict=False):
        patch.set(facecolor=color)
    fig.axes[0].set_ylim(0, 1.15)
    fig.axes[0].yaxis.set_major_formatter(plt.FuncFormatter(lambda share, _: f"{share:.0%}"))
    fig.set_size_inches(WIDTH, 3.6)
    plots.show(fig, f"Bars: {', '.join(f'{name} {share:.1%}' for name, share in shares.items())}; 95% intervals.")
