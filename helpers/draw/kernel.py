"""Drawings of notebook 11: what a GPU reads, and what a kernel does for a byte."""

import math
from collections.abc import Mapping, Sequence

from .canvas import (
    ACTIVATIONS,
    BLUE,
    CODES,
    GRAY,
    GREEN,
    INK,
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
    "columns_in_another_order",
    "few_kernels",
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
    strip(ax, 1.5, 12.0, list(bits), 2.1, 3.8, [tint(CODES, 0.65)] * 4 + [tint(CODES, 0.25)] * 4)
    say(ax, 9.9, 17.8, f"byte {byte}", weight="bold")
    for i, (share, y, how) in enumerate(((0.65, 17.4, "shift"), (0.25, 5.2, "mask"))):
        code = int(bits[4 * i : 4 * i + 4], 2)
        middle, color = y + 2.2, tint(CODES, share)
        arrow(ax, (18.8, 13.9), (26.6, middle), color=GRAY)
        say(ax, 21.6, middle + (0.2 if i == 0 else -1.0), how, size=10.5, color=GRAY)
        box(ax, 27.2, y, 7.4, 4.4, f"code\n{code}", color=color, size=10.3)
        arrow(ax, (35.0, middle), (42.6, middle), "look up", color=GRAY, size=10.3)
        box(ax, 43.2, y, 8.0, 4.4, f"level\n{levels[code]:.3f}".replace("-", "−"), color=color, size=10.3)
        arrow(ax, (51.6, middle), (62.2, 13.9 + (0.8 if i == 0 else -0.8)), color=GRAY)
        say(ax, 58.4, middle + (0.4 if i == 0 else -0.4), f"× its x{'₁₂'[i]}", size=10.5, color=GRAY)
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
    box(ax, x0, 28.4, w, 2.4, color=tint(ACTIVATIONS, 0.25))
    box(ax, x0 + 16, 28.4, 9, 2.4, color=ACTIVATIONS)
    for i in range(5):
        y = y0 + h - (i + 1) * h / 5
        mine = i == 1
        box(ax, x0, y, w, h / 5, color=tint(GREEN, 0.3) if mine else tint(GREEN, 0.1))
        name = f"program {i}" if i < 4 else "…"
        say(ax, 13.4, y + h / 10, name, ha="right", weight="bold" if mine else "normal", size=10.3)
        box(ax, 63, y, 3.0, h / 5, color=ACTIVATIONS if mine else tint(ACTIVATIONS, 0.2))
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
    title = f"Loads for eight weights{'; a move is a write and a read' if 'moves' in looks else ''}"
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
    finish(ax, f"Boxes, one for each load of a kernel for eight weights, and two for a move. {'; '.join(told)}.")


def more_rows(texts: int) -> None:
    """One row of x against many, above the same weights: more work with them."""
    ax = canvas(3.1)
    for x, n, said in ((12, 1, "one text"), (50, texts, f"{texts} texts at once")):
        say(ax, x + 11, 29.2, said, weight="bold")
        high = 1.4 if n == 1 else 9.6
        matrix(ax, x, 17.0, 22, high, n, 8, [tint(ACTIVATIONS, 0.8)] * 8 * n, edgecolor=GRAY, linewidth=0.5)
        say(ax, x - 1.4, 17.0 + high / 2, "1 row of x" if n == 1 else f"{n} rows\nof x", ha="right", size=10.5)
        matrix(ax, x, 4.6, 22, 10.6, 6, 8, [tint(CODES, 0.3 + 0.3 * ((5 * k) % 7) / 7) for k in range(48)])
        say(ax, x - 1.4, 9.9, "weights", ha="right", size=10.5)
        times = "for one product" if n == 1 else f"for {n} products"
        say(ax, x + 11, 2.2, f"read once, {times}", size=10.5, color=GRAY)
    finish(
        ax,
        f"Twice the same matrix of weights, read once. On the left one row of x lies above it, on the right {texts} "
        f"rows: the bytes of the weights are the same, and the products are {texts} instead of one.",
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
    say(ax, 1.5, 6.2, "(the last add is done at the start of the next block)", ha="left", size=10.3, color=GRAY)
    box(ax, 17, 1.6, 2.4, 2.0, color=WEIGHTS)
    say(ax, 20.6, 2.6, "products", ha="left", size=10.5)
    box(ax, 38, 1.6, 2.4, 2.0, color=REST)
    say(ax, 41.6, 2.6, "the rest, attention included", ha="left", size=10.5)
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


def moves_between_threads(threads: int = 4, each: int = 8) -> None:
    """Bytes as threads load them, several to each, and as they multiply them, dealt out one by one; moves between."""
    ax = canvas(4.1)
    count, w, x0 = threads * each, 1.3, 22
    held, dealt = [i // each for i in range(count)], [i % threads for i in range(count)]
    end = x0 + count * w
    for y, holders, said in (
        (30.6, held, "has the codes,\nfinds the levels"),
        (17.2, dealt, "has the x,\nmultiplies"),
        (3.8, held, "has the absmax,\nkeeps the total"),
    ):
        colors = [tint(LANES[thread % len(LANES)], 0.5) for thread in holders]
        middles = strip(ax, x0, y, ["ABCDEFGH"[thread] for thread in holders], w, 4.0, colors, size=10.3)
        say(ax, x0 - 1.6, y + 2.0, said, ha="right", size=10.5, weight="bold")
        if y == 30.6:
            say(ax, x0 - 1.6, 37.0, "byte", ha="right", size=10.3, color=GRAY)
            for i in range(0, count, each):
                say(ax, middles[i], 37.0, str(i), size=10.3, color=GRAY)
            say(ax, middles[-1], 37.0, str(count - 1), size=10.3, color=GRAY)
            continue
        box(ax, x0, y + 7.0, count * w, 3.4, "shared memory", color=tint(GRAY, 0.3), size=10.5)
        for x in middles[::2]:
            arrow(ax, (x + w / 2, y + 13.2), (x + w / 2, y + 10.6), color=INK)
            arrow(ax, (x + w / 2, y + 6.8), (x + w / 2, y + 4.2), color=INK)
        say(ax, end + 1.2, y + 8.7, "2 levels\nof each byte" if y > 10 else "1 sum\nof each byte", ha="left", size=10.5)
    say(ax, x0 + count * w / 2, 1.4, "letters and colors: which thread", size=10.5, color=GRAY)
    finish(
        ax,
        f"{count} bytes and {threads} threads. Above, each thread has {each} bytes side by side, and finds their "
        "levels. In the middle, bytes are dealt out one by one to be multiplied by x. Below, each thread has its own "
        "bytes again, keeps the total and multiplies by absmax. Two levels of each byte go down through shared memory "
        "first, then one sum.",
    )


def columns_in_another_order(threads: int = 4) -> None:
    """A row of a tensor core's tile: who must bring each place's level, and who has loaded it, in two orders."""
    ax = canvas(4.0)
    count, w, x0 = 4 * threads, 3.3, 21.6
    half = count // 2
    wanted = [place % half // 2 for place in range(count)]  # as the hardware has it
    better = [4 * thread + place % 2 + 2 * (place // half) for place, thread in enumerate(wanted)]

    def row(y: float, said: str, texts: Sequence, owners: Sequence[int], mark: Sequence[int] = ()) -> None:
        strip(ax, x0, y, [str(t) for t in texts], w, 3.6, [tint(LANES[t], 0.5) for t in owners], size=10.3)
        say(ax, x0 - 1.4, y + 1.8, said, ha="right", size=10.5)
        for place in mark:
            say(ax, x0 + (place + 0.5) * w, y - 1.5, "✗", size=10.5, color=RED, weight="bold")

    row(33.6, "the tensor core\nwants from thread", ["ABCDEFGH"[thread] for thread in wanted], wanted)
    told = []
    for y, order, said in ((21.4, range(count), "before"), (7.0, better, "after")):
        owners = [column // 4 for column in order]
        wrong = [place for place in range(count) if owners[place] != wanted[place]]
        end = f"{len(wrong)} of {count} levels have to move" if wrong else "each level is where it is wanted"
        say(ax, x0, y + 5.2, f"{said}: {end}", ha="left", weight="bold", color=RED if wrong else GREEN)
        row(y, "column of the weights", order, owners, wrong)
        told.append(f"{said}: {end}")
    strip(ax, x0, 3.4, [str(column) for column in better], w, 3.0, [tint(ACTIVATIONS, 0.7)] * count, size=10.3)
    say(ax, x0 - 1.4, 4.9, "number of x", ha="right", size=10.5)
    say(ax, 38, 1.3, "a color is a thread (A to D); each has loaded four columns side by side", size=10.3,
        color=GRAY)  # fmt: skip
    finish(
        ax,
        f"The {count} places of a row of the tensor core's tile, colored by the thread that must bring the level. "
        f"Below, the columns of the weights, colored by the thread that has loaded them. {told[0]}; {told[1]}, with "
        f"the columns in the order {', '.join(map(str, better))}, and the numbers of x in the same order.",
    )
