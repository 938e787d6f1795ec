"""Drawings of notebooks 00 and 04: what fits on which card, which parts of a model become 4 bits, what a layer does."""

from collections.abc import Sequence

import matplotlib.pyplot as plt

from .. import plots
from .canvas import (
    BLUE,
    CODES,
    EMBEDDINGS,
    GRAY,
    GREEN,
    INK,
    ORANGE,
    RED,
    WIDTH,
    arrow,
    box,
    canvas,
    finish,
    matrix,
    say,
    strip,
    tint,
)

__all__ = ["effect_of_options", "follow_a_byte", "inside_a_layer", "schemes_and_cards", "what_is_replaced"]


def what_is_replaced(layers: dict[str, tuple[int, int]], blocks: int, embedding: tuple[int, int]) -> None:
    """A decoder from bottom to top: parts that stay in 16 bits in blue, linear layers of a block in green.

    `layers` are the linear layers of one block with their shapes, and `embedding` is the shape of the table of
    embeddings.
    """
    ax = canvas(3.7)
    kept, color = tint(EMBEDDINGS, 0.5), tint(CODES, 0.5)
    box(ax, 17, 1.0, 32, 3.4, f"embeddings, {embedding[0]:,} × {embedding[1]:,}", color=kept, size=10.5)
    for k in range(min(blocks - 1, 2), 0, -1):
        box(ax, 3 + 0.9 * k, 7.0 + 0.7 * k, 60, 20.5, color="white", edgecolor=GRAY)
    box(ax, 3, 7.0, 60, 20.5, color="white")
    say(ax, 4.5, 25.8, f"one of {blocks} transformer blocks", ha="left", weight="bold", size=10.5)
    box(ax, 17, 32.2, 32, 3.4, f"output head, {embedding[0]:,} × {embedding[1]:,}", color=kept, size=10.5)
    names = list(layers)
    half = (len(names) + 1) // 2
    for row, part in enumerate((names[:half], names[half:])):
        y = 11.2 + 7.6 * row
        width = 56 / max(len(part), 1)
        for i, name in enumerate(part):
            rows, columns = layers[name]
            box(ax, 5 + i * width, y, width - 1, 4.6, f"{name}\n{rows:,} × {columns:,}", color=color, size=10.3)
        box(ax, 5, y - 2.3, 55, 1.3, color=kept, linewidth=0.6)
    box(ax, 17, 30.6, 32, 1.1, color=kept, linewidth=0.6)
    for start, end in ((4.6, 6.8), (29.0, 30.4)):
        arrow(ax, (33, start), (33, end), color=INK)
    for y, said in ((13.5, "attention"), (21.1, "feed-\nforward")):
        say(ax, 69.5, y, said, size=10.3)
    say(ax, 69.5, 8.9, "a norm", color=GRAY, size=10.3)
    arrow(ax, (65.6, 9.0), (60.4, 9.5), color=GRAY, linewidth=1)
    box(ax, 57.0, 33.0, 2.2, 1.8, color=color)
    say(ax, 60.2, 33.9, "4 bits", ha="left", size=10.5)
    box(ax, 66.0, 33.0, 2.2, 1.8, color=kept)
    say(ax, 69.2, 33.9, "16 bits", ha="left", size=10.5)
    finish(
        ax,
        f"A language model from bottom to top: embeddings, {blocks} blocks, output head. In a block the linear layers "
        f"{', '.join(layers)} are green, because they are stored in 4 bits. Embeddings, norms and head are light "
        "blue: they stay in 16 bits. The sizes are not drawn to scale.",
    )


def follow_a_byte(byte: int, levels: Sequence[float], absmax: float) -> None:
    """One byte on its way to two weights: its halves, their codes, their levels, and the absmax of the block."""
    ax = canvas(2.05)
    bits = f"{byte:08b}"
    at = strip(ax, 11, 15.8, list(bits), 2.6, 3.8, [tint(GREEN, 0.55)] * 4 + [tint(BLUE, 0.4)] * 4)
    say(ax, 10, 17.7, f"byte {byte}", ha="right", weight="bold")
    told = []
    for i, (color, x) in enumerate(((GREEN, 6), (BLUE, 43))):
        code = int(bits[4 * i : 4 * i + 4], 2)
        level = levels[code]
        arrow(ax, ((at[4 * i + 1] + at[4 * i + 2]) / 2, 15.4), (x + 4.0, 10.2), color=GRAY)
        texts = [f"code\n{code}", f"level\n{level:.3f}", f"weight\n{level * absmax:.3f}"]
        for k, (text, w) in enumerate(zip(texts, (7, 8, 8), strict=True)):
            left = x + (0, 9, 21)[k]
            box(ax, left, 4.4, w, 5.4, text.replace("-", "−"), color=tint(color, 0.35) if k < 2 else "white")
        arrow(ax, (x + 7.2, 7.1), (x + 8.8, 7.1), color=GRAY, mutation_scale=8)
        arrow(ax, (x + 17.2, 7.1), (x + 20.8, 7.1), color=GRAY, mutation_scale=8)
        for k, said in enumerate(("half a byte", "one of 16", f"level × {absmax:g}")):
            say(ax, x + (3.5, 13, 25)[k], 2.4, said, color=GRAY, size=10.3)
        told.append(f"{bits[4 * i : 4 * i + 4]} is code {code}, whose level {level:.3f} times {absmax:g} is the weight "
                    f"{level * absmax:.3f}")  # fmt: skip
    say(ax, 75, 17.7, f"{absmax:g} is the absmax of their block", color=GRAY, ha="right", size=10.3)
    finish(ax, f"The byte {byte} is {bits} in binary. Its two halves go separate ways: {'; '.join(told)}.")


def inside_a_layer(rows: int, columns: int, packed_bytes: int, constants: int) -> None:
    """What a 4-bit layer does at each call: decode its bytes to a matrix, multiply, and forget the matrix."""
    ax = canvas(2.7)
    box(ax, 1.5, 6.6, 13, 9.0, "", color=tint(GREEN, 0.5))
    say(ax, 8, 12.8, "codes", weight="bold")
    say(ax, 8, 9.6, f"{packed_bytes:,}\nbytes", size=10.5)
    box(ax, 1.5, 0.6, 13, 5.4, f"constants\n{constants:,} bytes", color=tint(ORANGE, 0.5), size=10.3)
    ax.plot([15.0, 16.0, 16.0, 15.0], [15.6, 15.6, 0.6, 0.6], color=INK, lw=1.2)
    arrow(ax, (16.4, 9.2), (25.6, 9.2), "decode", color=INK, above=1.5)
    matrix(ax, 26.5, 5.2, 14, 11.4, 8, 6, [tint(BLUE, 0.25 + 0.35 * ((7 * k) % 5) / 5) for k in range(48)])
    ax.add_patch(plt.Rectangle((26.1, 4.8), 14.8, 12.2, fill=False, ls="--", ec=INK, lw=1.2))
    say(ax, 33.5, 19.4, f"weights, {rows:,} × {columns:,},\nfor a moment", size=10.5)
    say(ax, 44.5, 10.8, "×", size=18)
    matrix(ax, 47.5, 6.6, 2.2, 8.6, 6, 1, [tint(GRAY, 0.5)] * 6)
    say(ax, 48.6, 19.4, "input", size=10.5)
    arrow(ax, (51.5, 10.8), (58.0, 10.8), color=INK)
    matrix(ax, 59.0, 5.2, 2.2, 11.4, 8, 1, [tint(RED, 0.5)] * 8)
    say(ax, 60.2, 19.4, "output", size=10.5)
    arrow(ax, (33.5, 4.4), (33.5, 1.2), color=GRAY)
    say(ax, 35.0, 2.4, "thrown away", color=GRAY, ha="left", size=10.5)
    say(ax, 8, 19.4, "stored", size=10.5)
    say(ax, 75, 1.8, "sizes not to scale", color=GRAY, ha="right", size=10.3)
    finish(
        ax,
        f"Inside a 4-bit layer. Stored are {packed_bytes:,} bytes of codes and {constants:,} bytes of constants. At "
        f"each call they are decoded to a matrix of {rows:,} × {columns:,} weights, which is multiplied with the "
        "input and then thrown away.",
    )


def effect_of_options(labels: Sequence[str], errors: Sequence[float], sizes: Sequence[int], reference: str) -> None:
    """Two panels of bars, one bar for each step: the error of the outputs, and the bytes of the model.

    The second step changes the type of the first, and the third one quantizes the constants of the second.
    """
    plots.style()
    fig, axes = plt.subplots(1, 2, figsize=(WIDTH + 1, 3.1), sharey=True)
    megabytes = [size / 1e6 for size in sizes]
    lower = "lowers" if errors[1] <= errors[0] else "raises"
    by_type = f"NF4 {lower} the error\nby {abs(errors[1] - errors[0]):.1f} points"
    by_constants = f"Double quantization saves\n{megabytes[1] - megabytes[2]:.2f} MB"
    for ax, values, form, title, xlabel in (
        (axes[0], errors, "{:.2f}", by_type, f"error of the logits, %, against {reference}"),
        (axes[1], megabytes, "{:.2f}", by_constants, "size of the weights, MB"),
    ):
        best = min(values)
        colors = [GREEN if value < best * 1.02 else tint(GRAY, 0.6) for value in values]
        ax.barh(range(len(values)), values, 0.66, color=colors, edgecolor="white")
        for i, value in enumerate(values):
            ax.annotate(form.format(value), (value, i), (3, 0), textcoords="offset points", va="center", fontsize=10)
        ax.set(title=title, xlabel=xlabel, xlim=(0, max(values) * 1.2))
        ax.title.set_fontsize(10.5)
        ax.grid(axis="y", visible=False)
    axes[0].set_yticks(range(len(labels)), labels)
    axes[0].invert_yaxis()
    fig.suptitle("One step after the other (green: the least, or nearly)", fontsize=10.5)
    plots.show(fig, "Bars for each option, left the error of the logits, right the size of the weights.")


def schemes_and_cards(needed: dict[str, float], cards: dict[str, float]) -> None:
    """GB that a model needs in each scheme, as bars in the color of its bits, and the memory of cards as lines."""
    plots.style()
    fig, ax = plt.subplots(figsize=(WIDTH + 0.6, 3.7))
    smallest = min(cards.values())
    colors = [{"fp32": GRAY, "fp16": BLUE, "bf16": BLUE, "int8": ORANGE}.get(scheme, GREEN) for scheme in needed]
    for i, gb in enumerate(needed.values()):
        ax.barh(i, gb, 0.66, color=tint(colors[i], 0.55), edgecolor="white")
        look = {"textcoords": "offset points", "va": "center", "fontsize": 10, "weight": "bold"}
        ax.annotate(f"{gb:.2f}", (0, i), (6, 0), ha="left", **look)  # at the left: no line of a card crosses it there
        if gb <= smallest:
            ax.annotate("fits the laptop", (smallest, i), (6, 0), ha="left", **{**look, "weight": "normal"})
    for name, size in cards.items():
        ax.axvline(size, color=INK, ls=":", lw=1.2)
        ax.text(size, -0.75, f"{name}\n= {size:.1f} GB", ha="center", va="bottom", fontsize=10)
    ax.set_yticks(range(len(needed)), list(needed))
    ax.invert_yaxis()
    ax.set_xlabel("GB to load Mistral-7B")
    ax.grid(axis="y", visible=False)
    ax.set_title("On the card of a small laptop, only 4 bits fit", pad=40)
    told = ", ".join(f"{scheme} {gb:.2f}" for scheme, gb in needed.items())
    plots.show(fig, f"GB that Mistral-7B needs by scheme, {told}, with the memory of three cards as lines.")
