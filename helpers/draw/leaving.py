"""Drawings of notebook 14: the way from an adapter to a file, what is in the file, and an order that must change."""

from collections.abc import Sequence

import matplotlib.pyplot as plt

from .. import plots
from .canvas import (
    BLUE,
    CODES,
    GRAY,
    GREEN,
    LIGHT,
    OCHRE,
    ORANGE,
    PINK,
    PLUM,
    RED,
    SIXTEEN,
    SKY,
    WIDTH,
    arrow,
    box,
    canvas,
    finish,
    say,
    tint,
)

__all__ = ["inside_a_file", "loss_along_a_text", "rotation_pairs", "way_out"]


def way_out() -> None:
    """From adapter and 4-bit base to a merged model, and from that to two files, in 16 and in 4 bits."""
    ax = canvas(2.6)
    say(ax, 2, 23.6, "in Python", ha="left", weight="bold", color=GRAY)
    say(ax, 45.5, 23.6, "anywhere, in llama.cpp", ha="left", weight="bold", color=OCHRE)
    ax.plot([43, 43], [1.0, 25.4], color=GRAY, ls="--", lw=1)
    box(ax, 2, 8.6, 13.5, 6.4, "4-bit base\n+ adapter", color=tint(CODES, 0.5), size=10.5)
    box(ax, 25, 8.6, 13.5, 6.4, "merged,\n16 bits", color=tint(SIXTEEN, 0.5), size=10.5)
    arrow(ax, (15.9, 11.8), (24.6, 11.8), "merge", above=1.7, size=10.5)
    for y, said, color in (
        (14.2, "a GGUF file\nin 16 bits", SIXTEEN),
        (2.6, "a GGUF file\nin 4 bits", CODES),
    ):
        box(ax, 58, y, 15, 6.4, said, color=tint(color, 0.5), size=10.5)
        arrow(ax, (38.9, 11.8), (57.6, y + 3.2), size=10.5)
    say(ax, 51.5, 18.4, "export", size=10.5)
    say(ax, 49.0, 4.6, "quantize\nand export", size=10.5)
    finish(
        ax,
        "Boxes from left to right: a 4-bit base with an adapter is merged into a model in 16 bits. From that one, two "
        "files are written, one in 16 bits and one in 4 bits. The files need no Python.",
    )


def inside_a_file(parts: Sequence[tuple[str, str, int]]) -> None:
    """What a GGUF file holds, from top to bottom: (name, an example, bytes) of each part, not to scale."""
    ax = canvas(0.5 + 0.62 * len(parts))
    colors = (LIGHT, tint(SKY, 0.6), tint(ORANGE, 0.6), tint(GREEN, 0.55), tint(PINK, 0.5))
    for i, (name, example, size) in enumerate(parts):
        y = 10 * ax.figure.get_figheight() - 6.6 - 6.2 * i
        box(ax, 2, y, 17, 5.2, name, color=colors[i % len(colors)], bold=True, size=10.5)
        say(ax, 20.6, y + 2.6, example, ha="left", size=10.3)
        say(ax, 75, y + 2.6, f"{size:,} bytes", ha="right", size=10.3, color=GRAY)
    told = "; ".join(f"{name}, {size:,} bytes" for name, _, size in parts)
    finish(ax, f"What is in a GGUF file, from top to bottom: {told}.")


def rotation_pairs(size: int = 8) -> None:
    """The rows of one head in both orders: partners half a head apart, and partners side by side."""
    ax = canvas(2.7)
    half, w = size // 2, 5.4
    colors = [(GREEN, BLUE, OCHRE, PLUM)[i % 4] for i in range(half)]
    x0 = 22
    for y, order, said in (
        (17.4, list(range(size)), "transformers:\nhalf a head apart"),
        (4.6, [i // 2 + half * (i % 2) for i in range(size)], "llama.cpp:\nside by side"),
    ):
        say(ax, 19.8, y + 2.0, said, ha="right", size=10.5)
        place = {}
        for slot, row in enumerate(order):
            box(ax, x0 + slot * w, y, w, 4.0, str(row), color=tint(colors[row % half], 0.35))
            place[row] = x0 + (slot + 0.5) * w
        for row in range(half):
            top = y + 4.2 if y > 10 else y - 0.2
            look = {"arrowstyle": "-", "bend": -0.3 if y > 10 else 0.4, "linewidth": 1.6}
            arrow(ax, (place[row], top), (place[row + half], top), color=colors[row], **look)
        where = place
        if y > 10:
            upper = where
    for row in range(size):
        arrow(ax, (upper[row], 17.0), (where[row], 9.0), color=GRAY, linewidth=0.8, mutation_scale=7)
    say(ax, 70.5, 12.8, "the\nexport\nmoves\nrows", color=RED, size=10.3)
    finish(
        ax,
        f"The {size} rows of a head, numbered. In transformers row 0 has row {half} as its partner, in llama.cpp they "
        "lie side by side. Arrows show where each row goes.",
    )


def loss_along_a_text(right: Sequence[float], wrong: Sequence[float], title: str, alt: str, width: int = 5) -> None:
    """Nats per token at each position of a text, in groups of `width`, with rows in the right and the wrong order."""
    plots.style()
    fig, ax = plt.subplots(figsize=(WIDTH + 0.4, 3.3))
    for said, nats, color, line in (("rows forgotten", wrong, RED, "-"), ("rows moved", right, GREEN, "-")):
        groups = [nats[i : i + width] for i in range(0, len(nats) - width + 1, width)]
        middles = [i * width + (width + 1) / 2 for i in range(len(groups))]
        means = [sum(group) / width for group in groups]
        ax.plot(middles, means, line, marker="o", color=color, lw=2)
        ax.annotate(said, (middles[-1], means[-1]), (8, 0), textcoords="offset points", va="center", color=color)
    ax.set(xlabel="position of the token in its text", ylabel="nats per token\n(lower is better)", title=title)
    ax.set_ylim(bottom=0)
    ax.set_xlim(0, len(right) * 1.24)
    plots.show(fig, alt)
