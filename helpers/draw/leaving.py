"""Drawings of notebook 14: the way from an adapter to a file, what is in the file, and an order that must change."""

from collections.abc import Sequence

from .canvas import BLUE, GRAY, GREEN, LIGHT, OCHRE, ORANGE, PINK, PLUM, RED, SKY, arrow, box, canvas, finish, say, tint

__all__ = ["inside_a_file", "rotation_pairs", "way_out"]


def way_out(sizes: dict[str, int]) -> None:
    """From adapter and 4-bit base to a merged model, to a file, to a smaller file; `sizes` are the bytes of each."""
    ax = canvas(2.1)
    steps = (
        ("adapter", "4-bit base\n+ adapter", GREEN),
        ("merged", "merged,\n16 bits", BLUE),
        ("file", "one file,\nGGUF", ORANGE),
        ("small", "the same\nin 4 bits", PINK),
    )
    arrows = ("merge", "export", "quantize")
    for i, (key, said, color) in enumerate(steps):
        x = 2 + 19.5 * i
        box(ax, x, 8.2, 12.5, 6.4, said, color=tint(color, 0.5), size=10.5)
        say(ax, x + 6.2, 6.2, f"{sizes[key] / 1e6:.1f} MB", size=10.5, color=GRAY)
        if i:
            arrow(ax, (x - 6.6, 11.4), (x - 0.4, 11.4), arrows[i - 1], above=1.7, size=10.3)
    say(ax, 2, 17.6, "in Python", ha="left", weight="bold", color=GRAY)
    say(ax, 41, 17.6, "anywhere: llama.cpp, Ollama …", ha="left", weight="bold", color=OCHRE)
    ax.plot([38.2, 38.2], [3.0, 19.4], color=GRAY, ls="--", lw=1)
    say(ax, 38.2, 1.4, "here it leaves Python", color=GRAY, size=10.3)
    told = ", ".join(f"{said.replace(chr(10), ' ')} {sizes[key] / 1e6:.1f} MB" for key, said, _ in steps)
    finish(ax, f"Four boxes from left to right, joined by merge, export and quantize: {told}. The last two are files.")


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
