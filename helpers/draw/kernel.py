"""Drawings of notebook 11: what a GPU reads, and what a kernel does for a byte."""

import math
from collections.abc import Mapping, Sequence

from .canvas import (
    BLUE,
    GRAY,
    GREEN,
    INK,
    LIGHT,
    OCHRE,
    ORANGE,
    PLUM,
    RED,
    SKY,
    arrow,
    box,
    canvas,
    finish,
    matrix,
    say,
    strip,
    tint,
)

__all__ = [
    "KINDS",
    "amdahl",
    "few_kernels",
    "finished_kernel",
    "kernel_tile",
    "loads_for_eight",
    "more_rows",
    "moves_between_threads",
    "road_of_weights",
    "work_for_a_byte",
]

WEIGHTS, REST = tint(GREEN, 0.5), tint(SKY, 0.45)
KINDS = {"products": GREEN, "attention": BLUE, "the rest": SKY}  # of kernels in a step
LANES = (GREEN, BLUE, OCHRE, PLUM)


def road_of_weights(processors: int, bytes_per_second: float) -> None:
    """A GPU as memory, a road of limited width, and multiprocessors."""
    ax = canvas(2.5)
    box(ax, 2, 4.6, 17, 15.0, "memory\n\nholds all\nweights", color=WEIGHTS, size=11)
    box(ax, 20, 10.4, 24, 3.4, "", color=tint(ORANGE, 0.35), linewidth=0)
    arrow(ax, (20.2, 12.1), (44.4, 12.1), color=OCHRE, linewidth=2.2, mutation_scale=16)
    say(ax, 32, 16.0, f"{bytes_per_second / 1e12:.2f} TB per second,", size=10.5)
    say(ax, 32, 8.2, "and no more", size=10.5)
    columns = 22
    rows = -(-processors // columns)
    colors = [tint(BLUE, 0.5)] * processors + ["white"] * (rows * columns - processors)
    matrix(ax, 45.5, 4.6, 29, 15.0, rows, columns, colors)
    say(ax, 60, 21.8, f"{processors} multiprocessors compute", weight="bold", size=10.5)
    say(ax, 10.5, 21.8, "stored", weight="bold", size=10.5)
    say(ax, 38, 1.8, "in each decode step, every weight of the layers takes this road once", size=10.5, color=GRAY)
    finish(
        ax,
        f"A GPU: memory on the left holds all weights, and {processors} multiprocessors on the right compute. Between "
        f"them is a road that carries {bytes_per_second / 1e12:.2f} TB per second. Every weight takes it once a step.",
    )


def work_for_a_byte(byte: int, levels: Sequence[float]) -> None:
    """What a simple kernel does for one byte of codes, from the byte to its part of the sum."""
    ax = canvas(2.75)
    bits, told = f"{byte:08b}", []
    strip(ax, 1.5, 12.0, list(bits), 2.1, 3.8, [tint(GREEN, 0.55)] * 4 + [tint(BLUE, 0.4)] * 4)
    say(ax, 9.9, 17.8, f"byte {byte}", weight="bold")
    for i, (color, y, how) in enumerate(((GREEN, 17.4, "shift"), (BLUE, 5.2, "mask"))):
        code = int(bits[4 * i : 4 * i + 4], 2)
        middle = y + 2.2
        arrow(ax, (18.8, 13.9), (26.6, middle), color=GRAY)
        say(ax, 21.6, middle + (0.2 if i == 0 else -1.0), how, size=10.5, color=GRAY)
        box(ax, 27.2, y, 7.4, 4.4, f"code\n{code}", color=tint(color, 0.35), size=10.3)
        arrow(ax, (35.0, middle), (42.6, middle), "look up", color=GRAY, size=10.3)
        box(ax, 43.2, y, 8.0, 4.4, f"level\n{levels[code]:.3f}".replace("-", "−"), color=tint(color, 0.35), size=10.3)
        arrow(ax, (51.6, middle), (57.4, middle), "× x", color=GRAY)
        arrow(ax, (58.0, middle), (62.2, 13.9), color=GRAY)
        told.append(f"code {code}, level {levels[code]:.3f}")
    box(ax, 62.8, 11.6, 3.6, 4.6, "+", color="white")
    arrow(ax, (66.8, 13.9), (75.0, 13.9), color=INK)
    say(ax, 70.8, 16.2, "× absmax", size=10.3, color=OCHRE)
    say(ax, 71.2, 11.6, "to the\ntotal", size=10.3, va="top")
    say(ax, 38, 1.6, "all of this for two weights, and a 7B model has seven billion", size=10.5, color=GRAY)
    finish(
        ax,
        f"The byte {byte} goes two ways: a shift and a mask give {told[0]} and {told[1]}. Each level is looked up and "
        "multiplied by its input, the two are added, multiplied by absmax, and added to the total.",
    )


def kernel_tile(rows: int, width: int) -> None:
    """A matrix of codes, the rows of one program, and the window that its loop moves to the right."""
    ax = canvas(3.4)
    x0, w, y0, h = 15, 44, 5.2, 20.8
    say(ax, 13.4, 29.6, "x", ha="right", weight="bold")
    box(ax, x0, 28.4, w, 2.4, color=LIGHT)
    box(ax, x0 + 16, 28.4, 9, 2.4, color=tint(GRAY, 0.6))
    for i in range(5):
        y = y0 + h - (i + 1) * h / 5
        mine = i == 1
        box(ax, x0, y, w, h / 5, color=tint(GREEN, 0.3) if mine else tint(GREEN, 0.1))
        name = f"program {i}" if i < 4 else "…"
        say(ax, 13.4, y + h / 10, name, ha="right", weight="bold" if mine else "normal", size=10.3)
        box(ax, 63, y, 3.0, h / 5, color=tint(RED, 0.6) if mine else tint(RED, 0.12))
    y = y0 + 3 * h / 5
    for k in range(rows):
        box(ax, x0 + 16, y + k * h / 5 / rows, 9, h / 5 / rows, color=tint(GREEN, 0.85), linewidth=0.6)
    arrow(ax, (x0 + 25.4, y + h / 10), (x0 + 37, y + h / 10), color=INK, linewidth=2)
    say(ax, x0 + 31, y + h / 10 + 1.3, "the loop", size=10.3)
    say(ax, 64.5, 29.6, "out", weight="bold")
    say(ax, 67.2, y + h / 10, f"{rows} sums", ha="left", size=10.3)
    say(ax, 37, 2.6, f"the codes: one program has {rows} rows of them, and takes {width} bytes of each at a time",
        size=10.5, color=GRAY)  # fmt: skip
    finish(
        ax,
        f"A matrix of codes, cut into bands of {rows} rows, one for each program. In the band of program 1 a window of "
        f"{width} bytes moves to the right, and with it a window on x. At the end the program writes {rows} sums.",
    )


def loads_for_eight(kernels: Mapping[str, Mapping[str, float]]) -> None:
    """What kernels load for eight weights, a box for each load, less for a part of one; given are loads per weight.

    "moves" count with the loads: what goes from lane to lane, once for writing and once for reading.
    """
    looks = {"codes": tint(GREEN, 0.5), "levels": tint(BLUE, 0.5), "absmax": tint(ORANGE, 0.55), "x": tint(GRAY, 0.6)}
    looks["moves"] = tint(RED, 0.5)
    looks = {kind: color for kind, color in looks.items() if any(each.get(kind) for each in kernels.values())}
    ax, w, x0 = canvas(1.25 + 0.75 * len(kernels)), 2.25, 17
    top, told = 7.5 * len(kernels) + 3.4, []
    title = f"Loads {'and moves ' if 'moves' in looks else ''}for eight weights"
    say(ax, x0, top + 5.6, title, ha="left", weight="bold")
    for i, (name, each) in enumerate(kernels.items()):
        y, x = top - 1.4 - 7.5 * i, x0
        say(ax, x0 - 1.4, y + 1.8, name, ha="right", size=10.5)
        for kind, color in looks.items():
            count = 8 * each.get(kind, 0)
            for k in range(math.ceil(count)):
                part = w * min(1, count - k)
                box(ax, x, y, part, 3.6, color=color)
                x += part
            if count:
                told.append(f"{name}: {kind} {count:g}")
        say(ax, x + 1.2, y + 1.8, f"{8 * sum(each.values()):g}", ha="left", weight="bold")
    for i, (kind, color) in enumerate(looks.items()):
        apart = 13 if len(looks) < 5 else 11.5
        box(ax, x0 + apart * i, 1.6, 2.2, 2.2, color=color)
        say(ax, x0 + 3.2 + apart * i, 2.7, kind, ha="left", size=10.5)
    finish(ax, f"Boxes, one for each load that a kernel makes for eight weights. {'; '.join(told)}.")


def more_rows(texts: int) -> None:
    """One row of x against many: the same weights, more work with them."""
    ax = canvas(2.3)
    for x, n, said in ((1, 1, "one text"), (38, texts, f"{texts} texts at once")):
        say(ax, x + 15, 20.6, said, weight="bold")
        matrix(ax, x, 5.4, 17, 12.6, 7, 8, [tint(GREEN, 0.3 + 0.3 * ((5 * k) % 7) / 7) for k in range(56)])
        say(ax, x + 19, 11.7, "×", size=16)
        wide = 1.6 if n == 1 else 14.4
        matrix(ax, x + 21, 5.4, wide, 12.6, 8, n, [tint(GRAY, 0.6)] * 8 * n)  # as many as the weights have columns
        count = "1 row of x" if n == 1 else f"{n} rows of x"
        say(ax, x + 21 + wide / 2, 3.4, count, size=10.5)
        say(ax, x + 8.5, 3.4, "weights, once", size=10.5)
    say(ax, 38, 0.9, "(rows of x are drawn as columns)", size=10.3, color=GRAY)
    finish(
        ax,
        f"Twice the same matrix of weights, read once. On the left it is multiplied by one row of x, on the right by "
        f"{texts}: the bytes of the weights are the same, and the work is {texts} times as much.",
    )


def few_kernels(plain: int, fused: int, layers: int) -> None:
    """The operations of a transformer block, each a kernel or more; below, the same in eight kernels."""
    ax = canvas(3.7)
    top = ("norm", "q", "k", "v", "position", "KV cache", "attention", "o",
           "add", "norm", "gate", "up", "SiLU", "multiply", "down", "add")  # fmt: skip
    products = {"q", "k", "v", "o", "gate", "up", "down", "q, k, v", "gate, up"}
    say(ax, 1.5, 35.2, "One block, as transformers has it", ha="left", weight="bold")
    say(ax, 75, 35.2, f"{plain:,} kernels a step; many boxes take several", ha="right", size=10.5)
    for i, name in enumerate(top):
        x, y = 1.5 + 9.25 * (i % 8), 29.2 - 5.2 * (i // 8)
        box(ax, x, y, 8.6, 4.0, name, color=WEIGHTS if name in products else REST, size=10.3)
    bottom = ("add,\nnorm", "q, k, v", "position,\nKV cache,\nattention", "o", "add,\nnorm", "gate, up",
              "SiLU,\nmultiply", "down")  # fmt: skip
    say(ax, 1.5, 17.6, "The same, fused", ha="left", weight="bold")
    say(ax, 75, 17.6, f"{fused:,} kernels a step; each box is one", ha="right", size=10.5)
    for i, name in enumerate(bottom):
        box(ax, 1.5 + 9.25 * i, 8.4, 8.9, 6.6, name, color=WEIGHTS if name in products else REST, size=10.3)
    box(ax, 17, 3.0, 2.4, 2.0, color=WEIGHTS)
    say(ax, 20.6, 4.0, "products", ha="left", size=10.5)
    box(ax, 38, 3.0, 2.4, 2.0, color=REST)
    say(ax, 41.6, 4.0, "the rest, attention included", ha="left", size=10.5)
    finish(
        ax,
        f"The operations of one transformer block. Above, each takes a kernel or several: {plain:,} kernels a step. "
        f"Below they are fused into eight, of which four are products: {fused:,} kernels a step in {layers} blocks.",
    )


def amdahl(p: float, s: float) -> None:
    """A step of 100, of which `p` are products; then the products `s` times as fast."""
    ax = canvas(1.75)
    per, times = 0.52, (100 * p, 100 * p / s)
    for y, products, said in ((10.6, times[0], "before"), (4.0, times[1], "after")):
        rest = 100 * (1 - p)
        say(ax, 10, y + 2.0, said, ha="right", weight="bold")
        box(ax, 11, y, products * per, 4.0, f"products {products:.0f}", color=WEIGHTS, size=10.3)
        box(ax, 11 + products * per, y, rest * per, 4.0, f"rest {rest:.0f}", color=REST, size=10.3)
        say(ax, 12 + (products + rest) * per, y + 2.0, f"{products + rest:.0f}", ha="left", weight="bold")
    finish(
        ax,
        f"Two bars to scale. Before, a step takes 100: products {times[0]:.0f}, the rest {100 * (1 - p):.0f}. After, "
        f"products take {times[1]:.0f}, the rest still {100 * (1 - p):.0f}: {times[1] + 100 * (1 - p):.0f} in all.",
    )


def moves_between_threads(threads: int = 4, each: int = 2) -> None:
    """Bytes as threads load them, several to each, and as they multiply them, dealt out one by one; moves between."""
    ax = canvas(3.1)
    count, w, x0 = threads * each, 5.0, 18
    found, dealt = [i // each for i in range(count)], [i % threads for i in range(count)]
    at = {}
    for y, holders, said in (
        (21.0, found, "the thread that\nfinds its levels"),
        (4.2, dealt, "the thread that\nmultiplies them"),
    ):
        colors = [tint(LANES[thread % len(LANES)], 0.5) for thread in holders]
        at[y] = strip(ax, x0, y, [str(thread) for thread in holders], w, 4.0, colors)
        say(ax, x0 - 1.6, y + 2.0, said, ha="right", size=10.5, weight="bold")
    say(ax, x0 - 1.6, 27.2, "byte", ha="right", size=10.3, color=GRAY)
    for i, x in enumerate(at[21.0]):
        say(ax, x, 27.2, str(i), size=10.3, color=GRAY)
        arrow(ax, (x, 20.6), (x, 16.8), color=INK)
        arrow(ax, (x, 12.2), (x, 8.6), color=INK)
    end = x0 + count * w
    box(ax, x0, 12.4, end + 4.4 - x0, 4.2, "shared memory: written here, and read again", color=tint(ORANGE, 0.45),
        size=10.5)  # fmt: skip
    ax.plot([end + 0.4, end + 2.2], [6.2, 6.2], color=INK, lw=1.3)
    arrow(ax, (end + 2.2, 6.2), (end + 2.2, 12.2), color=INK)
    ax.plot([end + 2.2, end + 2.2], [16.8, 23.0], color=INK, lw=1.3)
    arrow(ax, (end + 2.2, 23.0), (end + 0.4, 23.0), color=INK)
    say(ax, end + 5.2, 14.5, "then the sum\nof each byte\ngoes back", ha="left", size=10.3)
    others = sum(a != b for a, b in zip(found, dealt, strict=True))
    said = f"{others} of {count} bytes end in another color, so with another thread"
    say(ax, x0 + count * w / 2, 1.6, said, size=10.5, color=GRAY)
    finish(
        ax,
        f"{count} bytes and {threads} threads. Above, each thread finds the levels of {each} bytes side by side. "
        f"Below, bytes are dealt out one by one to be multiplied. For {others} of {count} bytes these are two "
        "different threads, so levels move through shared memory, and each byte's sum goes back the same way.",
    )


def finished_kernel(byte: int, levels: Sequence[float], rows: int = 16) -> None:
    """What the finished kernel does for a byte: one look-up in a copy of its own, then the tensor core."""
    ax = canvas(3.3)
    pair = [f"{levels[code]:.3f}".replace("-", "−") for code in (byte >> 4, byte & 15)]
    say(ax, 22.2, 30.4, "a thread", weight="bold")
    box(ax, 1.0, 7.6, 42.4, 21.0, color="white", edgecolor=GRAY, linestyle="--")
    box(ax, 2.6, 16.2, 8.4, 4.6, f"byte\n{byte}", color=tint(GREEN, 0.5), size=10.5)
    arrow(ax, (11.4, 18.5), (15.0, 18.5))
    for i in (2, 1, 0):
        box(ax, 15.4 + 0.9 * i, 12.6 + 0.9 * i, 11.4, 10.0, color=tint(ORANGE, 0.4))
    say(ax, 21.1, 17.6, "its copy of\nthe table:\n256 pairs", size=10.3)
    say(ax, 21.6, 26.4, "32 threads, 32 copies in shared memory", size=10.3, color=OCHRE)
    arrow(ax, (29.2, 18.5), (32.6, 18.5))
    for y, level in ((19.0, pair[0]), (14.4, pair[1])):
        box(ax, 33.0, y, 9.0, 4.0, level, color=tint(BLUE, 0.4), size=10.5)
    say(ax, 22.2, 9.6, "one look-up gives two levels", size=10.3, color=GRAY)
    arrow(ax, (43.8, 18.5), (48.0, 18.5))
    say(ax, 59.4, 30.4, "the tensor core", weight="bold")
    side, x0, y0 = 19.2, 48.6, 7.6
    colors = [tint(BLUE, 0.18)] * (rows * rows)
    colors[5 * rows + 4 : 5 * rows + 6] = [BLUE, BLUE]
    matrix(ax, x0, y0, side, 17.0, rows, rows, colors, linewidth=0.8)
    strip(ax, x0, 25.8, [""] * rows, side / rows, 2.0, [tint(GRAY, 0.6)] * rows, linewidth=0.6)
    say(ax, x0 + side + 0.9, 26.8, "x", ha="left", weight="bold")
    strip_x = x0 + side + 1.2
    matrix(ax, strip_x, y0, 2.0, 17.0, rows, 1, [tint(RED, 0.5)] * rows, linewidth=0.8)
    say(ax, strip_x + 4.6, y0 + 8.5, f"{rows}\nsums", size=10.3)
    say(ax, x0 + side + 3.0, 5.0, "× absmax", size=10.3, color=OCHRE)
    say(ax, x0 + 7.6, 5.0, f"an x serves {rows} rows", size=10.3, color=GRAY)
    say(ax, 38, 1.4, "nothing moves from thread to thread", size=10.5, color=GREEN, weight="bold")
    finish(
        ax,
        f"A thread looks the byte {byte} up in its own copy of a table of 256 pairs, and gets the levels {pair[0]} and "
        f"{pair[1]}. The thread hands them to the tensor core, which multiplies {rows} rows of {rows} levels by the "
        f"same {rows} numbers of x, and gives {rows} sums. These are multiplied by absmax.",
    )
