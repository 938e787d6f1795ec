"""Primitives for drawings of an idea: boxes, strips, arrows, number lines, bells; and whether all can be read.

A drawing is a canvas, 76 units wide, whose height is in tenths of an inch. It takes its numbers from its caller, so
that a drawing in a notebook shows the values of the cells around it.
"""

import base64
import io
import itertools
import math
from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from PIL import Image

from ..plots import PALETTE, PART_COLORS, RC

__all__ = [
    "ACROSS",
    "ACTIVATIONS",
    "ADAPTERS",
    "BLUE",
    "CODES",
    "CONSTANTS",
    "EMBEDDINGS",
    "GRAY",
    "GREEN",
    "INK",
    "LIGHT",
    "OCHRE",
    "ORANGE",
    "PINK",
    "PLUM",
    "RED",
    "SIXTEEN",
    "SKY",
    "WIDTH",
    "arrow",
    "bell",
    "box",
    "brace",
    "canvas",
    "faults",
    "finish",
    "matrix",
    "picture",
    "ruler",
    "say",
    "strip",
    "tint",
]

BLUE, ORANGE, GREEN, RED, SKY, PINK = PALETTE[:6]
INK, GRAY, LIGHT = "#222222", "#767676", "#e9e9e9"
CODES, CONSTANTS, SIXTEEN = (PART_COLORS[part] for part in ("codes", "constants", "16 bits"))
EMBEDDINGS, ADAPTERS, ACTIVATIONS = (PART_COLORS[part] for part in ("embeddings", "adapters", "activations"))
OCHRE, PLUM = "#9a6700", "#a4517f"  # orange and pink, dark enough for text on white
WIDTH = 7.0  # inches of every drawing: it fills the column
ACROSS = 76  # units of the canvas from its left edge to its right
NARROW = 680  # pixels that a column has at the least: JupyterLab in a window of 1024, its list of files open
SMALLEST = 9.0  # points of any text, as shown in a column of NARROW pixels
SHARPER = 1.6  # pixels of the file for one pixel shown


def canvas(height: float) -> Axes:
    """An empty canvas of so many inches; x runs to `ACROSS` and y, upward, to 10 · height."""
    with plt.rc_context({**RC, "figure.constrained_layout.use": False}):
        fig = plt.figure(figsize=(WIDTH, height))
        ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, ACROSS), ylim=(0, 10 * height))
    ax.axis("off")
    return ax


def tint(color: str, share: float = 0.25) -> str:
    """A color, mixed with white: `share` is how much of it is left."""
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)


def say(ax: Axes, x: float, y: float, text: str, *, size: float = 11, color: str = INK, ha: str = "center", **look):
    """Text at a point, centered there unless told otherwise; returns it."""
    look = {"va": "center", "linespacing": 1.25, **look}
    return ax.text(x, y, text, fontsize=size, color=color, ha=ha, **look)


def box(ax: Axes, x: float, y: float, w: float, h: float, text: str = "", *, color: str = "white", **look) -> Rectangle:
    """A box with its lower left corner at (x, y), and text in its middle."""
    size, bold = look.pop("size", 11), look.pop("bold", False)
    edge = {"edgecolor": INK, "linewidth": 0.9, **look}
    patch = ax.add_patch(Rectangle((x, y), w, h, facecolor=color, **edge))
    if text:
        written = say(ax, x + w / 2, y + h / 2, text, size=size, weight="bold" if bold else "normal")
        written.inside = patch
    return patch


def strip(ax: Axes, x: float, y: float, texts: Sequence[str], w: float, h: float, colors=None, **look) -> list[float]:
    """A row of boxes that touch; returns the x of each one's middle."""
    colors = itertools.repeat("white") if colors is None else colors
    for i, (text, color) in enumerate(zip(texts, colors, strict=False)):
        box(ax, x + i * w, y, w, h, text, color=color, **look)
    return [x + (i + 0.5) * w for i in range(len(texts))]


def matrix(ax: Axes, x: float, y: float, w: float, h: float, rows: int, columns: int, colors, **look) -> None:
    """A matrix as a grid of `rows` × `columns` cells; `colors` are given row by row, from the top."""
    look = {"edgecolor": "white", "linewidth": 1.2, **look}
    for i, color in enumerate(colors):
        row, column = divmod(i, columns)
        corner = x + column * w / columns, y + h - (row + 1) * h / rows
        ax.add_patch(Rectangle(corner, w / columns, h / rows, facecolor=color, **look))


def arrow(ax: Axes, start, end, text: str = "", *, color: str = INK, bend: float = 0, above: float = 1.2, **look):
    """An arrow between two points; `bend` curves it, and text stands `above` its middle."""
    size = look.pop("size", 10.5)
    look = {"arrowstyle": "-|>", "mutation_scale": 11, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0, **look}
    patch = FancyArrowPatch(start, end, color=color, connectionstyle=f"arc3,rad={bend}", **look)
    ax.add_patch(patch)
    if text:
        say(ax, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + above, text, color=color, size=size)
    return patch


def brace(ax: Axes, x0: float, x1: float, y: float, text: str, *, color: str = GRAY, size: float = 10.5) -> None:
    """A bracket under a stretch, with text below it."""
    ax.plot([x0, x0, x1, x1], [y, y - 0.7, y - 0.7, y], color=color, lw=1.1)
    say(ax, (x0 + x1) / 2, y - 2.0, text, color=color, size=size)


def ruler(ax: Axes, y: float, x0: float, x1: float, low: float, high: float, ticks, **look) -> Callable[[float], float]:
    """A number line from `low` to `high` with ticks; returns where on the canvas a value lies."""
    color, long, labels = look.pop("color", INK), look.pop("long", 1.0), look.pop("labels", None)
    size, thick = look.pop("size", 10), look.pop("thick", 1.6)

    def at(value: float) -> float:
        return x0 + (value - low) / (high - low) * (x1 - x0)

    ax.plot([x0, x1], [y, y], color=color, lw=1.1, zorder=1)
    for i, tick in enumerate(ticks):
        ax.plot([at(tick)] * 2, [y - long / 2, y + long / 2], color=color, lw=thick, zorder=1)
        if labels is not None and labels[i]:
            say(ax, at(tick), y - long / 2 - 1.1, labels[i], size=size, color=color)
    return at


def bell(ax: Axes, y: float, height: float, at: Callable[[float], float], low: float, high: float, edges=(), colors=()):
    """The bell curve over `low` to `high` standard deviations, on a base line at `y`, its slices shaded by turns.

    `at` says where a value lies on the canvas. Returns the height of the curve above a value.
    """

    def curve(value: float) -> float:
        return y + height * math.exp(-value * value / 2)

    cuts = [low, *(edge for edge in edges if low < edge < high), high]
    for i, (left, right) in enumerate(itertools.pairwise(cuts)):
        xs = [left + (right - left) * k / 60 for k in range(61)]
        color = colors[i % len(colors)] if colors else LIGHT
        ax.fill_between([at(x) for x in xs], [curve(x) for x in xs], y, color=color, lw=0, zorder=0)
    xs = [low + (high - low) * k / 300 for k in range(301)]
    ax.plot([at(x) for x in xs], [curve(x) for x in xs], color=GRAY, lw=1.4, zorder=1)
    ax.plot([at(low), at(high)], [y, y], color=GRAY, lw=1)
    return curve


def faults(fig: Figure) -> list[str]:
    """What a reader could not read: text that is cut off, lies on other text, leaves its box, or is too small."""
    fig.canvas.draw()
    renderer = fig.canvas.get_renderer()
    texts = [text for ax in fig.axes for text in ax.texts if text.get_text().strip() and text.get_visible()]
    places = [(text, text.get_window_extent(renderer)) for text in texts]
    page, found = fig.bbox, []
    shrunk = min(1.0, NARROW / (fig.get_figwidth() * RC["figure.dpi"]))
    for text, place in places:
        said = " ".join(text.get_text().split())
        if place.x0 < page.x0 - 1 or place.y0 < page.y0 - 1 or place.x1 > page.x1 + 1 or place.y1 > page.y1 + 1:
            found.append(f"“{said}” is cut off")
        if text.get_fontsize() * shrunk < SMALLEST - 0.01:
            found.append(f"“{said}” is {text.get_fontsize() * shrunk:.1f} points")
        if (patch := getattr(text, "inside", None)) is not None:
            room = patch.get_window_extent(renderer)
            if place.width > room.width + 1 or place.height > room.height + 1:
                found.append(f"“{said}” leaves its box")
    for (one, a), (other, b) in itertools.combinations(places, 2):
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1:
            found.append(f"“{one.get_text()}” lies on “{other.get_text()}”")
    return found


def picture(fig: Figure) -> bytes:
    """The drawing as PNG, and the figure closed."""
    drawn, small = io.BytesIO(), io.BytesIO()
    fig.savefig(drawn, format="png", dpi=SHARPER * RC["figure.dpi"], facecolor="white", metadata={"Software": None})
    plt.close(fig)
    # a drawing has few colors: a palette makes its file a third as large
    Image.open(drawn).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def finish(ax: Axes, alt: str) -> None:
    """Display a drawing with its alternative text, and note in the output's metadata what cannot be read on it.

    `alt` says what there is to see, for readers who cannot see it. Raises ValueError when it is empty.
    """
    fig, alt = ax.figure, " ".join((alt or "").split())
    if not alt:
        raise ValueError("A drawing needs a sentence that tells what it shows, for readers who cannot see it.")
    unread, width = faults(fig), round(fig.get_figwidth() * RC["figure.dpi"])
    image = base64.b64encode(picture(fig)).decode("ascii")
    metadata = {"image/png": {"alt": alt, "width": width, "faults": unread}}
    display({"image/png": image, "text/plain": alt}, metadata=metadata, raw=True)
