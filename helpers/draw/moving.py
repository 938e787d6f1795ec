"""Three short films, for what a drawing can only say: how a block is rounded, how a step reads, what a pass keeps.

A film is a sequence of (canvas, milliseconds); `film` makes it a GIF. Each one's first picture can be understood by
itself, nothing flashes, and the last one stands for more than two seconds before it begins again.
"""

import io
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from PIL import Image

from .canvas import (
    ACTIVATIONS,
    BLUE,
    GRAY,
    GREEN,
    INK,
    LIGHT,
    ORANGE,
    RED,
    box,
    canvas,
    ruler,
    say,
    strip,
    tint,
)

__all__ = ["checkpointing_film", "decode_film", "film", "frame", "nf4_film"]

DPI = 126  # 882 pixels wide
TICK = 80  # milliseconds of a picture while something moves
FIRST, PAUSE, LAST = 1600, 700, 2600
Film = Iterator[tuple[Axes, int]]


def frame(ax: Axes) -> Image.Image:
    """One picture of a film, and its figure closed."""
    fig = ax.figure
    fig.set_dpi(DPI)
    fig.canvas.draw()
    size = fig.canvas.get_width_height(physical=True)
    picture = Image.frombytes("RGBA", size, bytes(fig.canvas.buffer_rgba())).convert("RGB")
    plt.close(fig)
    return picture


def film(pictures: Iterable[tuple[Axes, int]], colors: int = 64) -> bytes:
    """The film as GIF: one palette for all of it, so that no color changes from one picture to the next."""
    frames, times = [], []
    for ax, milliseconds in pictures:
        frames.append(frame(ax))
        times.append(milliseconds)
    seen = Counter()
    for picture in frames:
        seen.update({color: count for count, color in picture.getcolors(picture.width * picture.height)})
    chosen = []
    for color, _ in seen.most_common():  # exact ones, and none that is nearly another: areas stay as they were drawn
        if len(chosen) < colors and all(math.dist(color, other) > 14 for other in chosen):
            chosen.append(color)
    palette = Image.new("P", (1, 1))
    palette.putpalette([part for color in chosen for part in color])
    frames = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in frames]
    made = io.BytesIO()
    frames[0].save(made, "GIF", save_all=True, append_images=frames[1:], duration=times, loop=0, disposal=1)
    return made.getvalue()


def _eased(pictures: int) -> list[float]:
    """Shares of a way, from just after its beginning to its end: slow, fast, slow."""
    return [(s := (k + 1) / pictures) * s * (3 - 2 * s) for k in range(pictures)]


def _number(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def nf4_film(weights: Sequence[float], levels: Sequence[float]) -> Film:
    """A block is divided by its absmax, snapped to levels, stored as codes, and multiplied back."""
    absmax = max(map(abs, weights))
    scaled = [weight / absmax for weight in weights]
    codes = [min(range(len(levels)), key=lambda code, v=v: abs(levels[code] - v)) for v in scaled]
    snapped = [levels[code] for code in codes]
    back = [level * absmax for level in snapped]
    largest = weights.index(min(weights, key=lambda weight: -abs(weight)))

    def drawn(title: str, dots: Sequence[float], rows: Sequence[tuple], stored: int = 0, scale=1.0, was=()) -> Axes:
        ax, w, left = canvas(4.0), 7.45, 14.8
        say(ax, 2, 37.2, title, ha="left", size=14, weight="bold")
        for i, (name, values, digits, color) in enumerate(rows):
            y = 30.2 - 4.9 * i
            texts = [_number(value, digits) for value in values]
            texts = [text.rstrip("0").rstrip(".") if digits > 3 else text for text in texts]
            colors = [color if name != "code" or k < stored else "white" for k in range(len(values))]
            if name == "weight":
                colors[largest] = tint(ORANGE, 0.55)
            if name == "code":
                texts = [text if k < stored else "" for k, text in enumerate(texts)]
            strip(ax, left, y, texts, w, 3.7, colors, size=10.4 if digits > 3 else 11.5)
            say(ax, left - 0.8, y + 1.85, name, ha="right", size=11.5)
        at = ruler(ax, 4.8, 6, 70, -1, 1, [level * scale for level in levels], color=GREEN, long=2.2, thick=2)
        for tick in (-1, 0, 1):
            say(ax, at(tick), 1.9, _number(tick, 0), size=11, color=GRAY)
        for value in was:
            ax.plot([at(value)], [8.2], "o", color=GRAY, mfc="white", ms=9, mew=1.4, zorder=2)
        for dot in dots:
            ax.plot([at(dot)], [6.6 if not was else 5.4], "o", color=RED, ms=9, zorder=3)
        if was:
            say(ax, 6, 10.8, "○ as they were", ha="left", size=11.5, color=GRAY)
            say(ax, 22, 10.8, "● as they came back", ha="left", size=11.5, color=RED)
        times = f" × {absmax:.2f}" if scale < 1 else ""
        say(ax, 70, 10.8, f"the {len(levels)} levels of NF4{times}", ha="right", size=11.5, color=GREEN)
        return ax

    def between(start: Sequence[float], end: Sequence[float], pictures: int) -> Iterator[list[float]]:
        for share in _eased(pictures):
            yield [a + share * (b - a) for a, b in zip(start, end, strict=True)]

    rows = [("weight", weights, 2, "white")]
    yield drawn("Eight weights, and 4 bits for each", weights, rows), FIRST
    title = f"1 · Divide by the absmax, {absmax:.2f}"
    for dots in between(weights, scaled, 12):
        yield drawn(title, dots, rows), TICK
    rows = [*rows, (f"÷ {absmax:.2f}", scaled, 4, "white")]
    yield drawn(title, scaled, rows), PAUSE
    title = f"2 · Snap to the nearest of {len(levels)} levels"
    for dots in between(scaled, snapped, 12):
        yield drawn(title, dots, rows), TICK
    rows = [*rows, ("level", snapped, 3, tint(GREEN, 0.3))]
    yield drawn(title, snapped, rows), PAUSE
    title = f"3 · Store the codes: {len(codes)} × 4 bits, and one absmax"
    rows = [*rows, ("code", codes, 0, tint(BLUE, 0.3))]
    for stored in range(1, len(codes) + 1):
        yield drawn(title, snapped, rows, stored), 2 * TICK
    yield drawn(title, snapped, rows, len(codes)), PAUSE
    title = f"4 · The way back: the code's level × {absmax:.2f}"
    rows = [("weight", weights, 2, "white"), rows[-1], rows[-2]]
    yield drawn(title, snapped, rows, len(codes)), PAUSE
    for dots in between(snapped, back, 12):
        yield drawn(title, dots, rows, len(codes), min(dots) / min(snapped)), TICK
    rows = [*rows[:3], ("back", back, 2, tint(ORANGE, 0.3))]
    worst = max(range(len(back)), key=lambda k: abs(back[k] - weights[k]))
    title = f"Close, not equal: {_number(weights[worst])} came back as {_number(back[worst])}"
    yield drawn(title, back, rows, len(codes), absmax, weights), LAST


def decode_film(gigabytes: dict[str, float], wagons: int = 10, seconds: float = 7.0) -> Film:
    """The weights of a model pass the compute units once for each token, in two formats, over roads of one width.

    `gigabytes` are what a step reads in each; the first is the larger. While it passes once, the other one passes
    several times.
    """
    (wide, most), (narrow, least) = gigabytes.items()
    gate, door, long = 58.0, 16.0, 70.0  # where weights are used, where they leave memory, the longer train
    pictures = round(1000 * seconds / TICK)

    def lane(ax: Axes, y: float, name: str, size: float, way: float) -> int:
        """One road, its trains having moved by `way`; returns how many have passed."""
        train = long * size / most
        ax.add_patch(plt.Rectangle((door, y), gate - door, 5, facecolor=tint(ORANGE, 0.22), lw=0, zorder=0))
        for number in range(int((way + gate - door) // train) + 1):
            for k in range(wagons):
                right = gate + way - number * train - k * train / wagons
                left = max(door, right - train / wagons * 0.9)
                right = min(gate, right)
                if right > left:
                    color = tint(GREEN, 0.75 if number % 2 else 0.45)
                    ax.add_patch(plt.Rectangle((left, y + 0.7), right - left, 3.6, facecolor=color, lw=0, zorder=1))
        box(ax, 2, y - 1.2, 14, 7.4, "memory", color="white", size=11.5)
        box(ax, gate, y - 1.2, 16, 7.4, "compute", color=tint(BLUE, 0.3), size=11.5)
        say(ax, 2, y + 8.4, f"{name}: {size:.1f} GB for each token", ha="left", size=12.5, weight="bold")
        done = int(way / train + 1e-6)
        for k in range(done):
            box(ax, 30.5 + 8.6 * k, y - 5.2, 7.8, 3.2, f"token {k + 1}", color=tint(ORANGE, 0.7), size=10.5)
        say(ax, 28.8, y - 3.6, "written:", ha="right", size=11.5)
        return done

    def drawn(title: str, way: float) -> Axes:
        ax = canvas(4.2)
        say(ax, 2, 39.2, title, ha="left", size=14, weight="bold")
        lane(ax, 25.0, wide, most, way)
        lane(ax, 7.6, narrow, least, way)
        return ax

    title = "Each token needs all weights once, over the same road"
    yield drawn(title, 0.0), FIRST
    for k in range(1, pictures + 1):
        yield drawn(title, long * k / pictures), TICK
    yield drawn(f"If reading is all that counts: {most / least:.1f} times as fast", long), LAST


def checkpointing_film(blocks: int = 6, whole: float = 8.0) -> Film:
    """Both passes with and without gradient checkpointing: what is kept, what is computed again, all of it as a bar.

    A block keeps its input, of size 1, or all that its backward pass needs, of size `whole`.
    """
    full, flat = [whole] * blocks, [1.0] * blocks

    def moments(checkpointing: bool) -> Iterator[tuple[str, int, list[float], list[float]]]:
        """(what happens, at which block, kept of each block, computed again of each block), one after the other."""
        kept, again = [0.0] * blocks, [0.0] * blocks
        for i in range(blocks):
            kept[i] = flat[i] if checkpointing else full[i]
            yield "forward", i, [*kept], [*again]
        for i in reversed(range(blocks)):
            if checkpointing:
                again[i] = whole - 1
                yield "again", i, [*kept], [*again]
            yield "backward", i, [*kept], [*again]
            kept[i] = again[i] = 0.0
        yield "done", -1, [*kept], [*again]

    ways = [list(moments(False)), list(moments(True))]
    longest = max(map(len, ways))
    names = ("Without: each block keeps everything", "With: only inputs are kept")
    doing = {"forward": "forward", "again": "computed again", "backward": "backward", "done": "done"}
    shades = {"forward": tint(GREEN, 0.5), "again": tint(RED, 0.2), "backward": tint(RED, 0.55)}

    def lane(ax: Axes, y: float, name: str, now: tuple, peak: float) -> None:
        what, where, kept, again = now
        say(ax, 2, y + 12.8, name, ha="left", size=12.5, weight="bold", va="baseline")
        if what:
            color = {"forward": GREEN, "done": GRAY}.get(what, RED)
            say(ax, 61, y + 12.8, doing[what], ha="right", size=12, color=color, weight="bold", va="baseline")
        for i in range(blocks):
            x = 2 + i * 10.0
            shade = shades.get(what, "white") if i == where else "white"
            box(ax, x, y - 0.8, 8.8, 3.2, f"block {i + 1}", color=shade, size=10.8)
            if kept[i] > 0:
                box(ax, x, y + 2.8, 8.8, kept[i], color=tint(ACTIVATIONS, 0.7), linewidth=0.7)
            if again[i] > 0:
                box(ax, x, y + 2.8 + kept[i], 8.8, again[i], color=tint(RED, 0.35), ls="--")
        scale = 10.8 / (blocks * whole)
        box(ax, 67, y, 5.5, blocks * whole * scale, color="white", edgecolor=LIGHT)
        a, b = sum(kept) * scale, sum(again) * scale
        ax.add_patch(plt.Rectangle((67, y), 5.5, a, facecolor=tint(ACTIVATIONS, 0.7), lw=0))
        ax.add_patch(plt.Rectangle((67, y + a), 5.5, b, facecolor=tint(RED, 0.35), lw=0))
        ax.plot([65.8, 73.7], [y + peak * scale] * 2, color=INK, lw=2)
        if what == "done":  # nothing is left, so the bar shows how much it was
            ax.add_patch(plt.Rectangle((67, y), 5.5, peak * scale, facecolor=tint(ACTIVATIONS, 0.4), lw=0))
        said = "most at once" if what == "done" else "bytes now"
        say(ax, 69.75, y + 12.8, said, size=11, va="baseline")

    def drawn(title: str, nows: Sequence[tuple], highs: Sequence[float]) -> Axes:
        ax = canvas(4.2)
        say(ax, 2, 39.3, title, ha="left", size=14, weight="bold")
        for y, name, now, high in zip((21.4, 3.0), names, nows, highs, strict=True):
            lane(ax, y, name, now, high)
        return ax

    def mixed(before: tuple, after: tuple, share: float) -> tuple:
        parts = [[a + share * (b - a) for a, b in zip(before[n], after[n], strict=True)] for n in (2, 3)]
        return after[0], after[1], *parts

    empty = ("", -1, [0.0] * blocks, [0.0] * blocks)
    before, highs = [empty, empty], [0.0, 0.0]
    yield drawn("What a training step keeps for its backward pass", before, highs), FIRST
    for k in range(longest):
        after = [way[min(k, len(way) - 1)] for way in ways]
        title = "Forward: compute, and keep" if k < blocks else "Backward: use it, and let it go"
        if all(now[0] == "done" for now in after):
            title = "Far less at once, but each block is computed twice"
        for share in _eased(3):
            nows = [mixed(a, b, share) for a, b in zip(before, after, strict=True)]
            highs = [max(high, sum(now[2]) + sum(now[3])) for high, now in zip(highs, nows, strict=True)]
            yield drawn(title, nows, highs), TICK
        yield drawn(title, after, highs), LAST if k == longest - 1 else 2 * TICK
        before = after
