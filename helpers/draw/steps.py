"""Drawings of notebook 06: what a decode step waits for, what it is made of, and the roofline it cannot get below."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt

from ..plots import RC
from .canvas import CODES, GRAY, GREEN, INK, LIGHT, ORANGE, SIXTEEN, WIDTH, box, canvas, finish, say, tint

__all__ = ["roofline", "step_parts", "step_timelines"]

SLICES = 14  # pieces that stand for the kernels of a step launched from Python, however many they are
PARTS = (
    ("reading weights", GREEN),
    ("rest of multiplying", tint(GREEN, 0.35)),
    ("other kernels", LIGHT),
    ("waiting for Python", tint(ORANGE, 0.7)),
)


def _ms(ms: float) -> str:
    """Milliseconds with two digits: what takes long comes from Python, and scatters."""
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def step_timelines(title: str, ways: Sequence[tuple[str, float]]) -> None:
    """A decode step in several ways, to scale: (name, milliseconds) of each.

    The first is launched kernel by kernel from Python, so that the GPU waits; the others are replayed with one order.
    What the GPU computes in the first is taken from the second, which has the same kernels.
    """
    ax = canvas(1.28 * len(ways) + 0.4)
    say(ax, 2, 12.8 * len(ways) + 1.8, title, ha="left", weight="bold", size=12)
    per_ms = 63 / ways[0][1]
    for i, (name, ms) in enumerate(ways):
        y = 12.8 * (len(ways) - i) - 3.4
        say(ax, 2, y, name, ha="left", size=11)
        say(ax, 75, y, _ms(ms), ha="right", size=11, weight="bold")
        for lane, at in (("Python", y - 4.2), ("GPU", y - 8.0)):
            say(ax, 10.6, at + 1.1, lane, ha="right", size=10.5, color=GRAY)
            ax.plot([11.6, 75], [at - 0.3, at - 0.3], color=GRAY, lw=0.6)
        if i:
            box(ax, 12, y - 4.2, 0.5, 2.3, color=tint(ORANGE, 0.7))
            box(ax, 12.3, y - 8.0, ms * per_ms, 2.3, color=tint(GREEN, 0.6))
            continue
        width, busy = ms * per_ms / SLICES, ways[1][1] * per_ms / SLICES
        for k in range(SLICES):
            box(ax, 12 + k * width, y - 4.2, width - 0.3, 2.3, color=tint(ORANGE, 0.7))
            box(ax, 12 + (k + 1) * width - busy, y - 8.0, busy, 2.3, color=tint(GREEN, 0.6))
    said = "; ".join(f"{name}: {_ms(ms)}" for name, ms in ways)
    finish(
        ax,
        f"{title}. A decode step on two lines, Python and GPU, to scale. At the top Python launches one kernel after "
        "another, and the GPU waits most of the time. Below, Python gives one order, and the GPU works without gaps. "
        f"{said}.",
    )


def step_parts(title: str, ways: Mapping[str, Sequence[float]], floor: str = "") -> None:
    """The milliseconds of decode steps as bars to one scale, each in the first three or all four of `PARTS`.

    Each name stands above its bar. With a `floor`, a dashed line with these words runs down from the end of the first
    part of the first bar.
    """
    ax = canvas(0.85 * len(ways) + (1.5 if floor else 1.0))
    top = 8.5 * len(ways) + (12.4 if floor else 7.6)
    say(ax, 2, top, title, ha="left", weight="bold", size=12)
    x, shown = 2.0, PARTS[: max(map(len, ways.values()))]
    for name, color in shown:
        box(ax, x, top - 5.6, 2.2, 2.2, color=color)
        say(ax, x + 3.0, top - 4.5, name, ha="left", size=10.5)
        x += 4.6 + 0.84 * len(name)
    per_ms = 63 / max(sum(parts) for parts in ways.values())
    bottom, small = 5.0 if floor else 0.6, len(shown) == len(PARTS)
    for i, (name, parts) in enumerate(ways.items()):
        x, y = 2.0, 8.5 * (len(ways) - 1 - i) + bottom
        say(ax, x, y + 5.6, name, ha="left", size=10.8)
        for ms, (_, color) in zip(parts, shown, strict=False):
            wide = ms * per_ms > 3
            box(ax, x, y, ms * per_ms, 4.0, _ms(ms).removesuffix(" ms") if wide else "", color=color)
            if not wide and not small:
                say(ax, x + ms * per_ms / 2, y - 1.1, f"{ms:.1f}", size=10.5)
            x += ms * per_ms
        say(ax, x + 1.0, y + 2.0, _ms(sum(parts)), ha="left", size=11, color=INK, weight="bold")
    if floor:
        end = 2.0 + per_ms * list(ways.values())[-1][0]
        ax.plot([end, end], [3.2, bottom], color=INK, lw=1.1, linestyle="--")
        say(ax, 2.0, 1.7, floor, ha="left", size=10.5)
    names = [name for name, _ in shown]
    said = "; ".join(
        f"{way}: {_ms(sum(parts))}, of these "
        + ", ".join(f"{name} {_ms(ms)}" for name, ms in zip(names, parts, strict=False))
        for way, parts in ways.items()
    )
    finish(ax, f"{title}. Bars to one scale, each in parts. {said}." + (f" Below: {floor}" if floor else ""))


def roofline(
    title: str,
    reading: Mapping[str, Callable[[int], float]],
    per_text: float,
    measured: Mapping[str, Mapping[int, float]],
    most: int = 256,
) -> None:
    """Milliseconds of a decode step by texts in a batch: what it takes at least, and measured steps above that.

    `reading` has for "16 bits" and "4 bits" the milliseconds to read the bytes of a step by batch, `per_text` are the
    milliseconds of one text's arithmetic. `measured` are lines of points, whose names begin with the format; those of
    "few" kernels are filled diamonds, and others hollow crosses, as in `guide_and_measured`.
    """
    batches = [most ** (i / 80) for i in range(81)]
    with plt.rc_context({**RC, "axes.titlesize": 11.5}):
        fig, ax = plt.subplots(figsize=(WIDTH, 4.9))
        ax.set_title(title)
    colors = {"16 bits": SIXTEEN, "4 bits": CODES}
    roofs = {name: [max(least(n), n * per_text) for n in batches] for name, least in reading.items()}
    ax.fill_between(batches, 0.1, roofs["4 bits"], color=LIGHT, lw=0, zorder=0)
    for name, roof in roofs.items():
        ax.plot(batches, roof, color=colors[name], lw=2.2, ls="--", zorder=2)
    words = {
        "16 bits": f"reading 16 bits: {reading['16 bits'](1):.1f} ms",
        "4 bits": f"reading 4 bits: {reading['4 bits'](1):.1f} ms",
    }
    look = {"fontsize": 10.3, "va": "top"}
    ax.text(1.05, 0.94 * reading["16 bits"](1), words["16 bits"], color=SIXTEEN, **look)
    ax.text(1.05, 0.94 * reading["4 bits"](1), words["4 bits"], color="#006b4e", **look)
    ax.text(0.96 * most, 0.72 * most * per_text * 0.6, "arithmetic", color=INK, ha="right", **look)
    start = reading["4 bits"](1) / per_text
    ax.plot([start, most], [start * per_text, most * per_text], color=INK, lw=2.6, zorder=3)
    ax.text(1.05, 0.66, "No step in 4 bits can get down here.", color=INK, fontsize=10.3, va="bottom")
    for name, points in measured.items():
        sixteen, few = name.startswith("16"), "few" in name
        color = SIXTEEN if sixteen else CODES
        style = {"color": color, "marker": "D" if few else "P", "lw": 1.2, "label": name}
        style |= {"ms": 10.5 if sixteen else 6 if few else 8, "markerfacecolor": color if few else "white"}
        ax.plot(list(points), list(points.values()), zorder=4, **style)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log", base=2)
    ticks = [2**i for i in range(0, most.bit_length(), 2)]
    ax.set_xticks(ticks, [str(n) for n in ticks])
    ax.set_yticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    ax.minorticks_off()
    ax.set(xlim=(0.9, 1.1 * most), ylim=(0.6, 36), xlabel="texts at once (batch)", ylabel="milliseconds of a step")
    ax.tick_params(labelsize=10.5)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), fontsize=10.5, ncols=1)
    told = "; ".join(
        f"{name}: " + ", ".join(f"{ms:.1f} at {n}" for n, ms in points.items()) for name, points in measured.items()
    )
    finish(
        ax,
        f"{title}. Milliseconds of a step by texts in a batch, both scales logarithmic. Dashed lines show what reading "
        f"takes: {words['16 bits']}, {words['4 bits']}. With more texts a rising line, arithmetic, takes over: "
        f"{per_text:.3f} ms per text. Points above are measured. {told}.",
    )
