"""Drawings of notebook 06: what a decode step waits for, what it is made of, and how it comes to wait for less."""

from collections.abc import Mapping, Sequence

from .canvas import GRAY, GREEN, INK, LIGHT, ORANGE, box, canvas, finish, say, tint

__all__ = ["step_parts", "step_timelines"]

SLICES = 14  # pieces that stand for the kernels of a step launched from Python, however many they are
PARTS = (
    ("reading the weights, at least", GREEN),
    ("dequantizing, multiplying", tint(GREEN, 0.35)),
    ("all other kernels", LIGHT),
)


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
        say(ax, 75, y, f"{ms:.1f} ms", ha="right", size=11, weight="bold")
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
    said = "; ".join(f"{name}: {ms:.1f} ms" for name, ms in ways)
    finish(
        ax,
        f"{title}. A decode step on two lines, Python and GPU, to scale. At the top Python launches one kernel after "
        "another, and the GPU waits most of the time. Below, Python gives one order, and the GPU works without gaps. "
        f"{said}.",
    )


def step_parts(title: str, ways: Mapping[str, Sequence[float]], floor: str = "") -> None:
    """The milliseconds of replayed decode steps as bars to one scale, each in the three `PARTS`.

    Each name stands above its bar. With a `floor`, a dashed line with these words marks the end of the first part.
    """
    ax = canvas(0.85 * len(ways) + (1.5 if floor else 1.0))
    top = 8.5 * len(ways) + (12.4 if floor else 7.6)
    say(ax, 2, top, title, ha="left", weight="bold", size=12)
    x = 2.0
    for name, color in PARTS:
        box(ax, x, top - 5.6, 2.2, 2.2, color=color)
        say(ax, x + 3.0, top - 4.5, name, ha="left", size=10.5)
        x += 4.6 + 0.81 * len(name)
    per_ms = 63 / max(sum(parts) for parts in ways.values())
    bottom = 5.0 if floor else 0.6
    for i, (name, parts) in enumerate(ways.items()):
        x, y = 2.0, 8.5 * (len(ways) - 1 - i) + bottom
        say(ax, x, y + 5.6, name, ha="left", size=10.8)
        for ms, (_, color) in zip(parts, PARTS, strict=True):
            wide = ms * per_ms > 3
            box(ax, x, y, ms * per_ms, 4.0, f"{ms:.1f}" if wide else "", color=color)
            if not wide:
                say(ax, x + ms * per_ms / 2, y - 1.1, f"{ms:.1f}", size=10.5)
            x += ms * per_ms
        say(ax, x + 1.0, y + 2.0, f"{sum(parts):.1f} ms", ha="left", size=11, color=INK, weight="bold")
    if floor:
        end = 2.0 + per_ms * list(ways.values())[-1][0]
        ax.plot([end, end], [3.2, bottom], color=INK, lw=1.1, linestyle="--")
        say(ax, 2.0, 1.7, floor, ha="left", size=10.5)
    names = [name for name, _ in PARTS]
    said = "; ".join(
        f"{way}: " + ", ".join(f"{name} {ms:.1f} ms" for name, ms in zip(names, parts, strict=True))
        for way, parts in ways.items()
    )
    finish(ax, f"{title}. Bars to one scale, each in three parts. {said}." + (f" Below: {floor}" if floor else ""))
