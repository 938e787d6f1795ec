"""Drawings of notebook 10: from a claim to a verdict, values against what counts as true, and the scoreboard."""

import math
import textwrap
from collections.abc import Mapping, Sequence

from .canvas import (
    BLUE,
    CODES,
    CONSTANTS,
    GRAY,
    GREEN,
    INK,
    LIGHT,
    OCHRE,
    ORANGE,
    RED,
    SIXTEEN,
    SKY,
    arrow,
    box,
    canvas,
    finish,
    ruler,
    say,
    tint,
)

__all__ = [
    "bytes_of_a_block",
    "claim_to_verdict",
    "errors_at_right_angles",
    "guide_page",
    "less_to_carry",
    "scoreboard",
    "zone",
]

TITLE = 0.38  # inches that a title takes
LOOKS = {  # by kind of verdict: its sign, and its color as a fill and as text
    "true": ("✓", GREEN, "#00714f"),
    "false": ("✗", RED, "#b34700"),
    "depends": ("◐", ORANGE, OCHRE),
    "open": ("?", SKY, "#00598a"),
    "not measured": ("–", GRAY, "#5f5f5f"),
}


def claim_to_verdict(claim: str, fixed: Mapping[str, str], found: str, kind: str) -> None:
    """A claim, the three things to fix before measuring, what was then found, and the verdict."""
    ax = canvas(2.75)
    say(ax, 8.6, 21.4, "a claim", color=GRAY, size=10.5)
    box(ax, 0.6, 7.0, 16, 12.5, claim, color=LIGHT, size=11)
    box(ax, 20.9, 2.1, 34.2, 22.3, linewidth=1.2, linestyle="--", edgecolor="#00598a")
    say(ax, 38, 25.9, "fixed before you look", color=GRAY, size=10.5)
    for i, (what, said) in enumerate(fixed.items()):
        y = 17.4 - 7.1 * i
        box(ax, 22, y, 32, 5.9, color=tint(BLUE, 0.2))
        say(ax, 23, y + 4.2, what, ha="left", size=10.3, color="#00598a")
        say(ax, 23, y + 1.8, said, ha="left", weight="bold", size=10.5)
    sign, color, dark = LOOKS[kind.removesuffix(" so far")]
    say(ax, 67.4, 25.9, "then measured", color=GRAY, size=10.5)
    box(ax, 59.4, 15.4, 16, 7.0, found, color=LIGHT, size=11)
    box(ax, 59.4, 3.2, 16, 6.6, f"{sign} {kind}", color=tint(color, 0.35), bold=True, size=12)
    arrow(ax, (17.0, 13.25), (20.7, 13.25))
    arrow(ax, (55.3, 18.9), (59.2, 18.9))
    arrow(ax, (67.4, 15.0), (67.4, 10.2))
    steps = "; ".join(f"{what}: {said}" for what, said in fixed.items())
    finish(
        ax,
        f"From the claim “{claim}” an arrow leads to a frame with three boxes, which are filled in before anything is "
        "measured. "
        f"{steps}. Then comes the measurement, {found}, and from it the verdict: {kind}.",
    )


def _titled(ax, title: str) -> None:
    """A title at the upper left, for which the canvas was made `TITLE` inches taller."""
    say(ax, 0.6, 10 * ax.figure.get_figheight() - 2.2, title, ha="left", weight="bold", size=11.5)


def bytes_of_a_block(rows: Mapping[str, tuple[float, float]], plain: float = 16) -> None:
    """Bits per weight as bars to one scale: codes and constants of each row, next to `plain` bits without constants."""
    ax = canvas(0.75 + 0.42 * (len(rows) + 1) + TITLE)
    _titled(ax, "The larger the block, the less its constant costs per weight")
    top, per, told = 10 * (ax.figure.get_figheight() - TITLE), 36 / plain, []
    for x, color, said in ((26, CODES, "codes"), (38, CONSTANTS, "constants")):
        box(ax, x, top - 3.0, 1.9, 1.9, color=tint(color, 0.55))
        say(ax, x + 2.8, top - 2.05, said, ha="left", size=10.5)
    for i, (name, (codes, constants)) in enumerate([("no quantization", (plain, 0)), *rows.items()]):
        y = top - 7.4 - 4.2 * i
        say(ax, 25, y + 1.4, name, ha="right", size=10.5, weight="bold")
        box(ax, 26, y, codes * per, 2.8, color=tint(CODES, 0.55) if i else tint(SIXTEEN, 0.5))
        if constants:
            box(ax, 26 + codes * per, y, constants * per, 2.8, color=tint(CONSTANTS, 0.7))
        both = codes + constants
        saved = f", saves {1 - both / plain:.1%}" if i else ""
        say(ax, 27.2 + both * per, y + 1.4, f"{both:.4g} bits{saved}", ha="left", size=10.5)
        told.append(f"{name}, {both:.4g} bits{saved}")
    finish(ax, f"Bits per weight as bars, codes and constants: {'; '.join(told)}.")


def errors_at_right_angles(pairs: Mapping[str, tuple[float, float]]) -> None:
    """Two independent errors as the sides of a right triangle, and both together as its long side.

    One that is too flat to be seen is drawn to scale all the same, and says so.
    """
    ax = canvas(2.6)
    width, told = 76 / len(pairs), []
    for i, (name, (large, small)) in enumerate(pairs.items()):
        x, both = i * width + 2.5, math.hypot(large, small)
        say(ax, x, 24.2, name, ha="left", size=10.8, weight="bold")
        flat = small < 0.05 * large
        if flat:
            _flat_triangle(ax, x, large, small)
        else:
            per = 20 / large
            _triangle(ax, (x, x + 20), 4.6, (0, small * per), (f"{large:.6g}", f"{small:.3g}"))
            say(ax, x + 9.0, 4.6 + small * per / 2 + 2.3, f"{both:.6g}", weight="bold", ha="right")
        told.append(
            f"{name}: {large:.6g} and {small:.3g} make {both:.6g}{', so flat it looks like a line' if flat else ''}"
        )
    finish(
        ax,
        f"Right triangles whose short sides are two errors, and whose long side is both together. {'; '.join(told)}.",
    )


def _triangle(ax, along: tuple[float, float], y: float, rise: tuple[float, float], labels: tuple[str, str]) -> None:
    """The sides of a triangle, or of its tip: the long side rises from one height to the other."""
    left, right = along
    ax.plot([left, right], [y, y], color=GREEN, lw=3, solid_capstyle="butt")
    ax.plot([right, right], [y, y + rise[1]], color=ORANGE, lw=3, solid_capstyle="butt")
    ax.plot([left, right], [y + rise[0], y + rise[1]], color=INK, lw=1.5)
    if labels[0]:
        say(ax, (left + right) / 2, y - 2.2, labels[0], color="#00714f", weight="bold")
        say(ax, right + 1, y + rise[1] / 2, labels[1], color=OCHRE, weight="bold", ha="left")


def _flat_triangle(ax, x: float, large: float, small: float) -> None:
    """A triangle to scale that looks like a line, with the same three labels."""
    long, y = 26, 11.0
    _triangle(ax, (x, x + long), y, (0, small * long / large), (f"{large:.6g}", f"{small:.2g}"))
    say(ax, x + long / 2, y + 2.4, f"{math.hypot(large, small):.6g}", weight="bold")
    say(ax, x + long / 2, y - 6.4, "(so flat that it looks like a line)", color=GRAY, size=10.3)


def less_to_carry(megabytes: Mapping[str, float]) -> None:
    """What a layer does in 16 bits and in 4: bytes to scale, then the steps; 4 bits have one more."""
    ax = canvas(2.5 + TITLE)
    _titled(ax, "In 4 bits there is less to read, and more to do")
    most, told = max(megabytes.values()), []
    for x, said in ((20.5, "weights to read"), (49.3, "to do for each of them")):
        say(ax, x, 22.6, said, ha="left" if x < 30 else "center", color=GRAY, size=10.5)
    for i, (name, size) in enumerate(megabytes.items()):
        y = 14.6 - 9.6 * i
        say(ax, 10.6, y + 2.2, name, ha="right", weight="bold", size=11)
        long = 23 * size / most
        box(ax, 12, y, long, 4.4, color=tint(SIXTEEN if i == 0 else CODES, 0.5))
        inside = long > 11
        say(ax, 12 + long / 2 if inside else 12.8 + long, y + 2.2, f"{size:.1f} MB", ha="center" if inside else "left")
        arrow(ax, (36.2, y + 2.2), (39.4, y + 2.2))
        steps = ("multiply",) if i == 0 else ("look up", "× scale", "multiply")
        for k, step in enumerate(steps):
            color = {"look up": tint(CODES, 0.4), "× scale": tint(CONSTANTS, 0.5)}.get(step, LIGHT)
            box(ax, 40.2 + 12 * k, y, 11.2, 4.4, step, color=color, size=10.5)
        told.append(f"{name}: {size:.1f} MB to read, then {', '.join(steps)}")
    finish(ax, f"A layer twice, its bytes to scale. {'; '.join(told)}.")


def zone(
    rows: Mapping[str, Sequence[float]],
    within: tuple[float, float],
    kinds: Sequence[str],
    axis: str,
    form: str = "{:.3g}",
    ends: tuple[float, float] | None = None,
    ticks: Sequence[float] = (),
    title: str = "",
    spread: bool = False,
) -> None:
    """Values on one number line, a row each, over the zone in which they count as true; the verdict at the right.

    A row is a value, or a value with the low and high end of its interval; with `spread`, these are the ends of all
    that was seen, drawn as a pale band. `kinds` are the verdicts, row by row.
    `within` may be infinite at one end. What lies beyond the right of `ends` becomes an
    arrow with its value. The title, if there is one, says what the rows tell together.
    """
    ax = canvas(1.15 + 0.4 * len(rows) + (0.38 if title else 0))
    top = 10 * ax.figure.get_figheight() - (3.8 if title else 0)
    if title:
        say(ax, 0.6, top + 1.6, title, ha="left", weight="bold", size=11.5)
    values = [number for row in rows.values() for number in row] + [end for end in within if math.isfinite(end)]
    room = 0.08 * (max(values) - min(values))
    low, high = ends or (min(values) - room, max(values) + room)
    ticks = [tick for tick in ticks if low <= tick <= high]
    labels = [f"{tick:g}".replace("-", "−") for tick in ticks]
    at = ruler(ax, 5.6, 27, 62, low, high, ticks, labels=labels, thick=1.2, size=10.3)
    left, right = max(within[0], low), min(within[1], high)
    box(ax, at(left), 5.6, at(right) - at(left), top - 10.2, color=tint(GREEN, 0.18), linewidth=0, zorder=0)
    middle = min(max((at(left) + at(right)) / 2, 35), 56)
    say(ax, middle, top - 2.8, "counts as true", color="#00714f", size=10.5)
    for edge in within:
        if math.isfinite(edge):
            ax.plot([at(edge)] * 2, [5.6, top - 4.6], color=GREEN, lw=1.3, ls="--", zorder=1)
    told = []
    for i, ((name, row), kind) in enumerate(zip(rows.items(), kinds, strict=True)):
        y = top - 6.9 - 4.0 * i
        sign, _, dark = LOOKS[kind]
        say(ax, 25.6, y, name, ha="right", size=10.5)
        value, *span = row
        if value > high:
            arrow(ax, (at(high) - 5, y), (at(high), y), color=dark)
            say(ax, at(high) - 5.6, y, form.format(value), ha="right", size=10.5, color=dark, weight="bold")
        elif span and spread:
            ax.plot([at(span[0]), at(span[1])], [y, y], color=tint(dark, 0.35), lw=11, zorder=2, solid_capstyle="butt")
        elif span:
            ax.plot([at(span[0]), at(span[1])], [y, y], color=dark, lw=2.6, zorder=3, solid_capstyle="butt")
            for end in span:
                ax.plot([at(end)] * 2, [y - 0.8, y + 0.8], color=dark, lw=2, zorder=3)
        if value <= high:
            ax.plot([at(value)], [y], "o", color=dark, ms=7, zorder=4)
        say(ax, 64.0, y, f"{sign} {kind}", ha="left", size=10.8, color=dark, weight="bold")
        told.append(f"{name} {' to '.join(form.format(number) for number in (span or [value]))}, {kind}")
    say(ax, 44.5, 1.3, axis, color=GRAY, size=10.5)
    finish(ax, f"Values on a number line ({axis}), with the zone that counts as true. {'; '.join(told)}.")


def guide_page(topics: Mapping[str, Sequence[tuple[str, bool]]], across: int = 68) -> None:
    """The lines of a guide by topic, and a marker over those that are followed, which are True."""
    lines = [
        (topic if i == 0 else "", textwrap.wrap(said, across), marked)
        for topic, found in topics.items()
        for i, (said, marked) in enumerate(found)
    ]
    ax = canvas(0.35 + sum(0.1 + 0.19 * len(rows) for _, rows, _ in lines) + 0.1 * len(topics))
    y, told = 10 * ax.figure.get_figheight() - 1.2, []
    box(ax, 0.4, 0.4, 75.2, y + 0.6, linewidth=1.0)
    for topic, rows, marked in lines:
        if topic:
            y -= 1.0
            say(ax, 11.4, y - 1.4, topic, ha="right", weight="bold", size=10.8)
        tall = 1.0 + 1.9 * len(rows)
        if marked:
            box(ax, 12.4, y - tall + 0.3, 62.2, tall - 0.1, color=tint(BLUE, 0.2), linewidth=0)
        for k, row in enumerate(rows):
            say(ax, 13.2, y - 1.35 - 1.9 * k, row, ha="left", size=10.2)
        y -= tall
        told.append(f"{f'{topic}: ' if topic else ''}{' '.join(rows)}{' (marked)' if marked else ''}")
    finish(ax, f"{len(lines)} lines of the guide, {sum(m for *_, m in lines)} of them marked. {'; '.join(told)}.")


def scoreboard(
    topics: Mapping[str, Sequence[tuple[str, str]]], star: str = "", columns: int = 4, title: str = ""
) -> None:
    """A tile for each claim, in a few words, and its verdict, by topic.

    A star after a verdict stays there, and `star` says below the tiles what it means. "open: false" is an open claim
    that is false so far.
    """
    lines = []
    for topic, tiles in topics.items():
        for start in range(0, len(tiles), columns):
            lines.append((topic if start == 0 else "", tiles[start : start + columns]))
    starred = star and any(kind.endswith("*") for tiles in topics.values() for _, kind in tiles)
    ax = canvas(0.92 * len(lines) + (0.5 if starred else 0.12) + (TITLE if title else 0))
    if title:
        _titled(ax, title)
    top, told = 10 * (ax.figure.get_figheight() - (TITLE if title else 0)), []
    width = 65 / columns
    for i, (topic, tiles) in enumerate(lines):
        y = top - 9.0 - 9.2 * i
        if topic:
            say(ax, 9.6, y + 4.1, topic, ha="right", weight="bold", size=10.8)
        for k, (short, kind) in enumerate(tiles):
            whole, _, so_far = kind.partition(": ")
            sign, color, dark = LOOKS[whole.rstrip("*")]
            kind = f"so far {so_far}" if so_far else kind
            x = 10.6 + width * k
            box(ax, x, y, width - 0.8, 8.2, color=tint(color, 0.3), linewidth=0.7)
            say(ax, x + width / 2 - 0.4, y + 5.3, short, size=10.2)
            say(ax, x + width / 2 - 0.4, y + 1.5, f"{sign} {kind}", size=10.3, weight="bold", color=dark)
            told.append(f"{' '.join(short.split())} ({kind})")
    if starred:
        say(ax, 10.6, 2.0, f"* {star}", ha="left", size=10.5)
    finish(ax, f"{len(told)} claims as tiles: {'; '.join(told)}.{f' A star: {star}.' if starred else ''}")
