"""Drawings of notebooks 06 and 11: what a decode step waits for, and how it comes to wait for less."""

from collections.abc import Sequence

from .canvas import BLUE, GRAY, GREEN, INK, ORANGE, arrow, box, canvas, finish, say, tint

__all__ = ["step_timelines"]


def step_timelines(ways: Sequence[tuple[str, int, float | None]]) -> None:
    """One decode step three ways, not to scale: (name, kernels, milliseconds) of each.

    The first is launched kernel by kernel from Python, the second replayed as a graph, the third replayed, too, and of
    few kernels.
    """
    ax = canvas(4.5)
    lengths, blocks = (52, 34, 13), (7, 14, 4)
    for i, ((name, kernels, ms), length, count) in enumerate(zip(ways, lengths, blocks, strict=True)):
        y = 40.2 - 14.6 * i
        say(ax, 2, y, name, ha="left", weight="bold", size=11)
        for lane, at in (("Python", y - 4.4), ("GPU", y - 9.0)):
            say(ax, 10.4, at + 1.2, lane, ha="right", size=10.5, color=GRAY)
            ax.plot([11.4, 66], [at - 0.3, at - 0.3], color=GRAY, lw=0.6)
        width = length / count
        for k in range(count):
            x = 12 + k * width
            if i == 0:
                box(ax, x, y - 4.4, width - 0.5, 2.6, color=tint(ORANGE, 0.7))
                box(ax, x + width - 1.6, y - 9.0, 1.8, 2.6, color=tint(GREEN, 0.6))
                arrow(ax, (x + width - 1.0, y - 4.6), (x + width - 0.7, y - 6.3), color=GRAY, mutation_scale=6)
            else:
                box(ax, x + 3.4, y - 9.0, width - 0.25, 2.6, color=tint(GREEN, 0.6) if i == 1 else tint(BLUE, 0.45))
        if i:
            box(ax, 12, y - 4.4, 3.0, 2.6, color=tint(ORANGE, 0.7))
            arrow(ax, (14.2, y - 4.6), (15.6, y - 6.3), color=GRAY, mutation_scale=6)
        told = f"{kernels:,} kernels" + (f", {ms:.1f} ms" if ms else "")
        say(ax, 66, y, told, ha="right", size=10.5, color=INK)
    said = "; ".join(f"{name}: {kernels} kernels" + (f", {ms:.1f} ms" if ms else "") for name, kernels, ms in ways)
    finish(
        ax,
        "A decode step on two lines, Python and GPU. At the top Python launches each kernel, and between two the GPU "
        "waits. In the middle Python replays all with one order, and the GPU has no gaps. At the bottom there are few "
        f"kernels, and they end much earlier. {said}.",
    )
