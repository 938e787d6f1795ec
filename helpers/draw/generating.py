"""Drawings of notebook 06: reading and writing, two clocks, and where two texts part."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt

from ..plots import RC
from .canvas import (
    ACTIVATIONS,
    CODES,
    GRAY,
    GREEN,
    INK,
    LIGHT,
    ORANGE,
    RED,
    SIXTEEN,
    WIDTH,
    arrow,
    box,
    canvas,
    finish,
    say,
    tint,
)

__all__ = ["fork", "guide_and_measured", "prefill_and_decode", "two_clocks"]


def _short(token: str, most: int = 11) -> str:
    """A token as it can be drawn: whitespace made visible, foreign letters as one sign, long ones cut."""
    token = token.strip().replace("\n", "↵") or "␣"
    if token in ".,·'":
        token = f"“{token}”"  # alone in a box, a full stop would look like a dot
    token = token.replace("$", r"\$")  # matplotlib would begin a formula
    if not all(sign in "↵␣" or " " < sign < "ɐ" for sign in token):
        return "◇"
    return token if len(token) <= most else token[: most - 1] + "…"


def fork(texts: Mapping[str, Sequence[str]], at: int, chances: Mapping[str, Sequence[tuple[str, float]]]) -> None:
    """Where the texts of two models part: their tokens around place `at`, and each one's likeliest tokens there."""
    ax, first = canvas(4.1), max(0, at - 4)
    title = "One token differs, and from there on each model goes on by itself"
    say(ax, 2, 39.0, title, ha="left", weight="bold", size=12)
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
    ax = canvas(3.8)
    say(ax, 2, 36.2, "Reading uses a weight for every token, writing for one", ha="left", weight="bold", size=12)
    weights, tokens = weights.tolist(), tokens.tolist()
    size, many = len(weights) * len(weights[0]), len(tokens)
    panels = ((29.6, "Prefill", f"{many} tokens\nat once", tokens), (11.2, "Decode", "1 token", tokens[:1]))
    for top, name, how, rows in panels:
        say(ax, 2, top - 1.2, name, ha="left", weight="bold", size=12)
        say(ax, 2, top - (5.2 if len(rows) > 1 else 4.0), how, ha="left", size=10.5)
        middle, begin = top - 1.4 * len(rows), top - 1.4 * len(rows) + 2.8
        right = _grid(ax, 15, top, rows, 3.4, tint(ACTIVATIONS, 0.8), 0)
        right = _grid(ax, right + 3.8, begin, weights, 5.4, tint(SIXTEEN, 0.35), 2)
        say(ax, right + 1.9, middle, "→", size=13)
        products = [[sum(a * b for a, b in zip(row, w, strict=True)) for w in weights] for row in rows]
        _grid(ax, right + 3.8, top, products, 5.8, tint(ACTIVATIONS, 0.35), 2)
        bottom = min(top - 2.8 * len(rows), begin - 5.6) - 2.4
        ink = f"{size} weights are read, once, and used {'once' if len(rows) == 1 else f'{len(rows)} times'} each"
        say(ax, 15, bottom, f"{ink}:  {size * len(rows)} multiply-adds", ha="left", size=10.8)
    for x, name in ((21.8, "tokens"), (43.2, "weights W"), (63.8, "tokens @ W.T")):
        say(ax, x, 31.0, name, size=10.3, color=GRAY, va="baseline")
    finish(
        ax,
        f"The same matrix of {size} weights, twice. Above, {many} tokens are multiplied by it at once: {size} weights "
        f"are read and {size * many} multiply-adds are done. Below, a single token: the same {size} weights are read, "
        f"for {size} multiply-adds.",
    )


def two_clocks() -> None:
    """What a clock shows that stops when the call returns, and one that waits until the GPU is idle."""
    ax = canvas(3.4)
    title = "A long prompt: the orders are soon placed, the work takes longer"
    say(ax, 2, 32.0, title, ha="left", weight="bold", size=12)
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


def guide_and_measured(curves: Mapping[str, Mapping[int, float]], fair: Sequence[str]) -> None:
    """How many times as fast 4 bits are as 16, by batch, beside the guide's band.

    `curves` has for each name the ratio by batch; those in `fair` are counted in the title, others are pale.
    """
    counted = [value for name in fair for value in curves[name].values()]
    inside = sum(2 <= value <= 3 for value in counted)
    with plt.rc_context({**RC, "axes.titlesize": 11.5}):
        fig, ax = plt.subplots(figsize=(WIDTH, 4.2))
        ax.set_title(f"{inside} of {len(counted)} measurements on a GPU are where the guide says")
    ax.axhspan(2, 3, color=LIGHT, zorder=0)
    ax.axhline(1, color=INK, linestyle="--", linewidth=1)
    told, top = [], 3.2
    for name, found in curves.items():
        if not found:
            continue
        mine, ours = name not in fair, "notebook 11" in name
        marker, color = "o" if mine else "D" if ours else "P", GRAY if mine else CODES
        style = {"color": color, "marker": marker, "ls": ":" if mine else "-", "ms": 8, "label": name}
        face = color if mine or ours else "white"
        ax.plot(list(found), list(found.values()), zorder=2 if mine else 3, markerfacecolor=face, **style)
        top = max(top, 1.05 * max(found.values()))
        told.append(f"{name}: " + ", ".join(f"{m:.2f} at {n}" for n, m in found.items()))
    sizes = sorted({n for found in curves.values() for n in found}) or [1]
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.minorticks_off()
    ax.text(sizes[-1], 2.5, "what the guide says", ha="right", va="center", fontsize=10.5)
    middle = (sizes[0] * sizes[-1]) ** 0.5
    ax.text(middle, 1.03, "as fast as 16 bits", ha="center", va="bottom", fontsize=10.5)
    ax.set(ylim=(0, top), xlabel="texts at once (batch)", ylabel="4 bits: times as fast as 16")
    ax.tick_params(labelsize=10.5)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=10.5, ncols=1)
    finish(
        ax,
        f"How many times as fast 4 bits are as 16, by batch; the guide's band, 2 to 3, is gray. {'; '.join(told)}.",
    )
