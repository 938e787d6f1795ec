"""Drawings of notebooks 06 and 11: what a decode step waits for, and how it comes to wait for less."""

from collections.abc import Sequence

from .canvas import BLUE, GRAY, GREEN, INK, ORANGE, PINK, box, canvas, finish, say, tint

__all__ = ["step_timelines"]

SLICES = 14  # pieces that stand for the kernels of a step launched from Python, however many they are


def step_timelines(ways: Sequence[tuple[str, int, float]]) -> None:
    """A decode step in several ways, to scale: (name, kernels, milliseconds) of each.

    The first is launched kernel by kernel from Python, so that the GPU waits; the others are replayed with one order.
    What the GPU computes in the first is taken from the second, which has the same kernels.
    """
    ax = canvas(1.35 * len(ways))
    per_ms = 63 / ways[0][2]
    colors = [tint(GREEN, 0.6), tint(GREEN, 0.6), tint(BLUE, 0.45), tint(PINK, 0.6)]
    for i, (name, kernels, ms) in enumerate(ways):
        y = 13.5 * (len(ways) - i) - 3.2
        say(ax, 2, y, name, ha="left", weight="bold", size=11)
        say(ax, 75, y, f"{kernels:,} kernels, {ms:.1f} ms", ha="right", size=10.5, color=INK)
        for lane, at in (("Python", y - 4.2), ("GPU", y - 8.0)):
            say(ax, 10.6, at + 1.1, lane, ha="right", size=10.5, color=GRAY)
            ax.plot([11.6, 75], [at - 0.3, at - 0.3], color=GRAY, lw=0.6)
        if i:
            box(ax, 12, y - 4.2, 0.5, 2.3, color=tint(ORANGE, 0.7))
            box(ax, 12.3, y - 8.0, ms * per_ms, 2.3, color=colors[i % len(colors)])
            continue
        width, busy = ms * per_ms / SLICES, ways[1][2] * per_ms / SLICES
        for k in range(SLICES):
            box(ax, 12 + k * width, y - 4.2, width - 0.3, 2.3, color=tint(ORANGE, 0.7))
            box(ax, 12 + (k + 1) * width - busy, y - 8.0, busy, 2.3, color=colors[0])
    said = "; ".join(f"{name}: {kernels} kernels, {ms:.1f} ms" for name, kernels, ms in ways)
    finish(
        ax,
        "A decode step on two lines, Python and GPU, to scale. At the top Python launches one kernel after another, "
        "and the GPU waits most of the time. Below, Python gives one order, and the GPU works without gaps: for as "
        f"long as the same kernels take, then with few kernels, then with a faster product, too. {said}.",
    )
