"""Drawings of notebook 06: where two texts part, reading and writing, two clocks, and the roof that memory sets."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from ..plots import RC, SCHEME_COLORS, SCHEME_MARKERS
from .canvas import (
    GRAY,
    GREEN,
    INK,
    LIGHT,
    ORANGE,
    RED,
    WIDTH,
    arrow,
    box,
    canvas,
    finish,
    say,
    tint,
)

__all__ = ["fork", "prefill_and_decode", "roofline", "two_clocks"]


def _short(token: str, most: int = 11) -> str:
    """A token as it can be drawn: whitespace made visible, foreign letters as one sign, long ones cut."""
    token = token.strip().replace("\n", "↵") or "␣"
    token = token.replace("$", r"\$")  # matplotlib would begin a formula
    if not all(sign in "↵␣" or " " < sign < "ɐ" for sign in token):
        return "◇"
    return token if len(token) <= most else token[: most - 1] + "…"


def fork(texts: Mapping[str, Sequence[str]], at: int, chances: Mapping[str, Sequence[tuple[str, float]]]) -> None:
    """Where the texts of two models part: their tokens around place `at`, and each one's likeliest tokens there."""
    ax, first = canvas(3.6), max(0, at - 4)
    for row, (name, tokens) in enumerate(texts.items()):
        x, y = 12.0, 30.0 - 5.0 * row
        say(ax, 10.6, y + 1.7, name, ha="right", weight="bold", size=10.5)
        if first:
            say(ax, x + 0.8, y + 1.7, "…")
            x += 2.4
        for place in range(first, len(tokens)):
            word = _short(tokens[place])
            width = 1.15 * len(word) + 1.8
            if x + width > 72:
                break
            color = LIGHT if place < at else tint(RED, 0.45) if place == at else tint(RED, 0.15)
            box(ax, x, y, width, 3.4, word, color=color, size=10.3, bold=place == at)
            x += width + 0.5
        say(ax, x + 1.0, y + 1.7, "…")
    say(ax, 2, 20.6, f"How likely each model finds the next token, {at} tokens after the prompt:", ha="left", size=10.5)
    highest = max(share for likely in chances.values() for _, share in likely)
    for column, (name, likely) in enumerate(chances.items()):
        left = 2 + 38 * column
        say(ax, left, 17.2, name, ha="left", weight="bold", size=10.5)
        for i, (token, share) in enumerate(likely):
            y = 12.2 - 4.2 * i
            say(ax, left + 11.4, y + 1.4, _short(token), ha="right", size=10.3, weight="normal" if i else "bold")
            box(ax, left + 12.2, y, max(0.2, 16 * share / highest), 2.8, color=tint(RED, 0.15 if i else 0.45))
            say(ax, left + 13.0 + 16 * share / highest, y + 1.4, f"{share:.0%}", ha="left", size=10.3)
    told = "; ".join(
        f"{name}: " + ", ".join(f"{token.strip()} {share:.0%}" for token, share in likely)
        for name, likely in chances.items()
    )
    finish(
        ax,
        f"The tokens of two texts, one below the other. They are the same up to token {at}, and different from there "
        f"on. Below, bars show how likely each model finds the next token at that place. {told}.",
    )


def _grid(ax, x: float, y: float, rows, width: float, color: str, digits: int) -> float:
    """A matrix of numbers as boxes, its top at `y`; returns its right edge."""
    for i, row in enumerate(rows):
        for k, number in enumerate(row):
            written = f"{float(number):.{digits}f}".replace("-", "−")
            box(ax, x + k * width, y - 2.8 * (i + 1), width, 2.8, written, color=color, size=10.3)
    return x + len(rows[0]) * width


def prefill_and_decode(weights, tokens) -> None:
    """One small matrix, used for several tokens at once and for one: the weights read are the same."""
    ax = canvas(3.4)
    weights, tokens = weights.tolist(), tokens.tolist()
    size, many = len(weights) * len(weights[0]), len(tokens)
    panels = ((29.6, "Prefill", f"{many} tokens\nat once", tokens), (11.2, "Decode", "1 token", tokens[:1]))
    for top, name, how, rows in panels:
        say(ax, 2, top - 1.2, name, ha="left", weight="bold", size=12)
        say(ax, 2, top - (5.2 if len(rows) > 1 else 4.0), how, ha="left", size=10.5)
        middle, begin = top - 1.4 * len(rows), top - 1.4 * len(rows) + 2.8
        right = _grid(ax, 15, top, rows, 3.4, tint(ORANGE, 0.7), 0)
        say(ax, right + 1.9, middle, "×", size=13)
        right = _grid(ax, right + 3.8, begin, weights, 5.4, tint(GREEN, 0.55), 2)
        say(ax, right + 1.9, middle, "=", size=13)
        products = [[sum(a * b for a, b in zip(row, w, strict=True)) for w in weights] for row in rows]
        _grid(ax, right + 3.8, top, products, 5.8, tint(ORANGE, 0.35), 2)
        bottom = min(top - 2.8 * len(rows), begin - 5.6) - 2.4
        ink = f"{size} weights are read, once, and used {'once' if len(rows) == 1 else f'{len(rows)} times'} each"
        say(ax, 15, bottom, f"{ink}:  {size * len(rows)} multiply-adds", ha="left", size=10.8)
    for x, name in ((21.8, "tokens"), (43.2, "weights"), (63.8, "results")):
        say(ax, x, 31.0, name, size=10.3, color=GRAY, va="baseline")
    finish(
        ax,
        f"The same matrix of {size} weights, twice. Above, {many} tokens are multiplied by it at once: {size} weights "
        f"are read and {size * many} multiply-adds are done. Below, a single token: the same {size} weights are read, "
        f"for {size} multiply-adds.",
    )


def two_clocks() -> None:
    """What a clock shows that stops when the call returns, and one that waits until the GPU is idle."""
    ax = canvas(3.0)
    begin, returned, done = 12.0, 27.0, 66.0
    for name, y in (("Python", 20.0), ("GPU", 14.6)):
        say(ax, 10.6, y + 1.6, name, ha="right", size=10.8, color=GRAY)
        ax.plot([11.6, 74], [y - 0.3, y - 0.3], color=GRAY, lw=0.6)
    box(ax, begin, 20.0, returned - begin, 3.2, "places orders", color=tint(ORANGE, 0.7), size=10.3)
    box(ax, returned, 20.0, done - returned, 3.2, "waits in synchronize()", color="white", size=10.3, linestyle="--")
    edges = [14.0, 21.5, 30.0, 37.0, 46.0, 53.5, done]
    for left, right in zip(edges, edges[1:], strict=False):
        box(ax, left, 14.6, right - left, 3.2, color=tint(GREEN, 0.6))
    say(ax, 28.4, 12.6, "works through them, one after another", ha="left", size=10.3, color=GRAY)
    for x, y in ((begin, 2.0), (returned, 6.6), (done, 2.0)):
        ax.plot([x, x], [y, 25.6], color=INK, lw=0.9, linestyle=":", zorder=0)
    say(ax, begin, 27.0, "t = time()", size=10.3)
    say(ax, returned + 1.0, 27.0, "the call returns", size=10.3, color=RED)
    say(ax, done, 27.0, "all is done", size=10.3)
    arrow(ax, (begin, 8.0), (returned, 8.0), color=RED, arrowstyle="<|-|>")
    say(ax, returned + 1.4, 8.0, "the first clock: time to place the orders", ha="left", color=RED, size=10.3)
    arrow(ax, (begin, 3.2), (done, 3.2), color=INK, arrowstyle="<|-|>")
    say(ax, 39.0, 4.9, "what it takes", size=10.3)
    finish(
        ax,
        "Two lines, Python and GPU. Python places orders for a short time, and the call returns. The GPU works through "
        "them for much longer. A clock that is read when the call returns shows only the time to place the orders. "
        "One that is read after synchronize shows what the work takes. Not to scale.",
    )


def roofline(bandwidth: float, most: float, ways: Mapping[str, Sequence], where: str) -> None:
    """The roof: bytes a second times the use of each byte, up to the most arithmetic that was seen.

    `ways` has for each name (scheme, whether replayed, points of (batch, multiply-adds per byte, per second)).
    """
    points = [point for _, _, found in ways.values() for point in found]
    low, edge = min(use for _, use, _ in points) / 2, most / bandwidth
    high = 3 * max(edge, *(use for _, use, _ in points))
    bottom = min(rate for _, _, rate in points) / 2.5
    with plt.rc_context({**RC, "axes.titlesize": 11.5}):
        fig, ax = plt.subplots(figsize=(WIDTH, 4.4))
        under = all(rate <= min(most, use * bandwidth) for _, use, rate in points)
        ax.set_title(f"{'Decode stays below' if under else 'Decode, and'} the roof that memory sets ({where})")
    ax.plot([low, edge, high], [low * bandwidth, most, most], color=INK, lw=2.2)
    ax.set(xscale="log", yscale="log", xlim=(low, high), ylim=(bottom, 4 * most))
    look = {"fontsize": 10.5, "color": INK}
    ax.text(high / 1.1, 1.35 * most, "the most arithmetic seen, in prefill", ha="right", **look)
    ax.text(edge / 14, most / 8, "what memory\nallows", ha="right", **look)
    told = []
    for name, (scheme, replayed, found) in ways.items():
        xs, ys = [use for _, use, _ in found], [rate for *_, rate in found]
        roof = min(xs[0] * bandwidth, most)
        label = f"{name}: {roof / ys[0]:.1f}× below the roof" if roof > ys[0] else name
        look = {"color": SCHEME_COLORS[scheme], "marker": SCHEME_MARKERS[scheme], "markersize": 9, "label": label}
        ax.plot(xs, ys, lw=1.0, linestyle="-" if replayed else ":", mfc=None if replayed else "white", **look)
        told.append(
            f"{name}: " + ", ".join(f"{y / 1e12:.2g} at batch {n}" for (n, *_), y in zip(found, ys, strict=True))
        )
        if not replayed:
            continue
        for (batch, *_), x, y in zip(found, xs, ys, strict=True):
            ax.annotate(str(batch), (x, y), (8, -13), textcoords="offset points", fontsize=10.3, color=INK)
        ax.plot([xs[0]] * 2, [ys[0], roof], color=SCHEME_COLORS[scheme], lw=1.0, linestyle="--", zorder=0)
    for axis in (ax.xaxis, ax.yaxis):
        scale = 1 if axis is ax.xaxis else 1e12
        axis.set_major_formatter(lambda value, _, scale=scale: f"{value / scale:g}")
    ax.set_xlabel("multiply-adds per byte that is read")
    ax.set_ylabel("trillions of multiply-adds per second")
    ax.tick_params(labelsize=10.5)
    ax.legend(loc="lower right", fontsize=10.5)
    finish(
        ax,
        "A roofline on two logarithmic axes: a slope, what memory allows, meets a flat roof, the most arithmetic that "
        "was seen. Decode steps lie below it, numbered by batch. Trillions of multiply-adds per second: "
        f"{'; '.join(told)}.",
    )
