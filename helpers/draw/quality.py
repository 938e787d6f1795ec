"""Drawings of notebook 07: surprise, windows, scored options, changed answers and a coin, KL; and its charts."""

import math
import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np

from .. import plots
from .canvas import (
    BLUE,
    GRAY,
    INK,
    LIGHT,
    OCHRE,
    ORANGE,
    RED,
    WIDTH,
    arrow,
    box,
    brace,
    canvas,
    finish,
    say,
    strip,
    tint,
)

__all__ = [
    "changed_answers",
    "coin_tosses",
    "damage",
    "kl_along_a_text",
    "kl_terms",
    "luck_by_changes",
    "on_two_models",
    "perplexity_by_window",
    "resampled",
    "scored_options",
    "sliding_windows",
    "surprise",
]

LARGE = 5.0  # nats that have the darkest color


def _plain(token: str | None) -> str:
    """A token as it can be drawn: a blank before it left out, a line break as an arrow, other scripts as dots.

    None is a number beyond a tokenizer's: a model of random weights may have a larger vocabulary than it.
    """
    if token is None:
        return "·"
    token = token.replace("Ċ", "↵").replace("<0x0A>", "↵").replace("\n", "↵").lstrip("Ġ▁ ") or "␣"
    token = "".join(c if ord(c) < 0x250 or c in "↵␣–’“”" else "·" for c in token)
    return token.replace("$", r"\$")


def _token(ax, x: float, y: float, w: float, h: float, token: str, nats: float) -> None:
    """A token in a box, the darker the more nats it costs, all of them on one base line."""
    patch = box(ax, x, y, w, h, color=tint(ORANGE, min(1.0, max(0.0, nats) / LARGE)), linewidth=0.5)
    say(ax, x + w / 2, y + h / 2, _plain(token), size=10.4, va="center_baseline").inside = patch


def _number(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}f}".replace("-", "−")


def surprise(tokens: Sequence[str], nats: Sequence[float], most: int = 48, least: float = 0.5) -> None:
    """A text token by token, the more surprising the darker, with the nats below each of at least `least`.

    Pieces of one word touch. Of a longer text the first `most` tokens are drawn.
    """
    places, x, line = [], 1.0, 0
    for token, value in list(zip(tokens, nats, strict=True))[:most]:
        text = _plain(token)
        w = max(3.0, 1.02 * len(text) + 0.9)
        x += 0.9 if token[:1] in "Ġ▁ " else 0.0
        if x + w > 75.5:
            x, line = 1.0, line + 1
        places.append((x, line, w, text, value))
        x += w
    ax = canvas(0.42 + 0.6 * (line + 1))
    top = 10 * ax.figure.get_figheight()
    said = f"the darker, the more surprising; the number is the surprise in nats (not written below {least:g})"
    say(ax, 1, top - 1.7, said, ha="left", color=GRAY, size=10.3)
    for x, row, w, text, value in places:
        y = top - 7.0 - 6.0 * row
        _token(ax, x, y, w, 3.2, text, value)
        if value >= least:
            say(ax, x + w / 2, y - 1.4, _number(value), color=OCHRE, size=10.3)
    costly = max(places, key=lambda place: place[-1])
    finish(
        ax,
        f"A text of {len(places)} tokens in boxes, the darker the more surprising: most are pale, and the most "
        f"surprising one, “{costly[3]}”, costs {costly[4]:.1f} nats.",
    )


def sliding_windows(pieces: Sequence[tuple[Sequence[int], int]]) -> None:
    """Windows over a strip of numbered tokens: in each what is only read is gray, and what is scored is colored.

    `pieces` are pairs of a window's tokens, which are numbers from 1 on, and the index of the first one scored in it.
    """
    n = max(max(ids) for ids, _ in pieces)
    w, left = min(5.4, 44 / n), 14.0
    ax = canvas(1.1 + 0.52 * len(pieces))
    top, told = 10 * ax.figure.get_figheight(), []
    say(ax, left - 1, top - 3.3, "the text", ha="right", weight="bold", size=10.5)
    strip(ax, left, top - 5.0, [str(k + 1) for k in range(n)], w, 3.4)
    for i, (ids, first) in enumerate(pieces):
        y = top - 10.6 - 5.2 * i
        colors = [LIGHT if k < first else tint(ORANGE, 0.65) for k in range(len(ids))]
        strip(ax, left + w * (ids[0] - 1), y, [str(k) for k in ids], w, 3.4, colors)
        say(ax, left - 1, y + 1.7, f"window {i + 1}", ha="right", size=10.5)
        scored = ", ".join(str(k) for k in ids[first:])
        say(ax, left + w * n + 2, y + 1.7, f"scores {scored}", ha="left", size=10.5, color=OCHRE)
        told.append(f"window {i + 1} reads {ids[0]} to {ids[-1]} and scores {scored}")
    if len(pieces) > 1:
        step = pieces[1][0][0] - pieces[0][0][0]
        start = left + w * (pieces[0][0][0] - 1)
        brace(ax, start, start + w * step, top - 11.0, f"stride {step}")  # under window 1, where window 2 isn't yet
    for x, color, said in ((32, LIGHT, "read only"), (46, tint(ORANGE, 0.65), "read and scored")):
        box(ax, x, y - 3.4, 2.2, 2.2, color=color)
        say(ax, x + 3, y - 2.3, said, ha="left", size=10.3)
    finish(ax, f"A text of {n} tokens, and windows that slide over it: {'; '.join(told)}.")


def scored_options(question: str, options: Sequence[Sequence[tuple[str, float]]], right: int) -> None:
    """A question with a branch to each option, whose tokens carry their nats; at the end the sum, the least chosen.

    Each option is a list of pairs of token and nats.
    """
    ax = canvas(0.75 + 0.62 * len(options))
    top = 10 * ax.figure.get_figheight()
    sums = [sum(value for _, value in option) for option in options]
    chosen = int(np.argmin(sums))
    say(ax, 31, top - 2.0, "each option's tokens, with their nats, and the sum", ha="left", color=GRAY, size=10.3)
    middle = top - 4.4 - 3.1 * len(options)
    lines = [textwrap.fill(part, 24) for part in _plain(question).replace("↵", "\n").split("\n")]
    text = "\n".join(lines)
    tall = 2.2 * (text.count("\n") + 1) + 2.4
    box(ax, 0.6, middle - tall / 2, 26, tall, text, color=LIGHT, size=10.4)
    for i, (option, total) in enumerate(zip(options, sums, strict=True)):
        y = top - 8.4 - 6.2 * i
        arrow(ax, (26.8, middle), (30.4, y + 1.6), color=GRAY, linewidth=1.0, mutation_scale=8)
        x = 31.0
        for token, value in option:
            w = max(3.6, 1.02 * len(_plain(token)) + 0.9)
            if x + w > 58:
                say(ax, x + 1.5, y + 1.6, "…")
                x += 3
                break
            _token(ax, x, y, w, 3.4, token, value)
            say(ax, x + w / 2, y - 1.4, _number(abs(value)), color=OCHRE, size=10.3)
            x += w
        mark, weight = (" (chosen)", "bold") if i == chosen else ("", "normal")
        say(ax, x + 1.2, y + 1.6, f"= {_number(abs(total))}{mark}", ha="left", weight=weight)
    finish(
        ax,
        f"A question and {len(options)} options that continue it, token by token. The sums of their surprise are "
        f"{', '.join(f'{abs(total):.1f}' for total in sums)} nats. The least, option {chosen + 1}, is the model's "
        f"answer, and it is {'right' if chosen == right else 'wrong'}.",
    )


def changed_answers(before: Sequence[bool], after: Sequence[bool], names: tuple[str, str] = ("16 bits", "4 bits")):
    """Right and wrong answers of two models in two rows, and the table of two by two, with lost and won in bold."""
    pairs = list(zip(before, after, strict=True))
    lost, won = pairs.count((True, False)), pairs.count((False, True))
    same = {True: pairs.count((True, True)), False: pairs.count((False, False))}
    ax = canvas(3.35)
    w, left = min(2.9, 54 / len(pairs)), 9.0
    for y, name, row in ((28.2, names[0], before), (24.6, names[1], after)):
        colors = [tint(RED, 0.45) if b and not a else tint(BLUE, 0.4) if a and not b else "white" for b, a in pairs]
        strip(ax, left, y, ["✓" if right else "✗" for right in row], w, 3.2, colors, size=10.5)
        say(ax, left - 1, y + 1.6, name, ha="right", weight="bold", size=10.5)
        say(ax, 75.5, y + 1.6, f"{sum(row)} of {len(pairs)}", ha="right", size=10.5)
    say(ax, 41.5, 19.6, f"{names[1]}: right", size=10.5)
    say(ax, 59.5, 19.6, f"{names[1]}: wrong", size=10.5)
    for y, name, cells in (
        (11.6, f"{names[0]}: right", ((f"both right: {same[True]}", LIGHT), (f"lost: {lost}", tint(RED, 0.45)))),
        (5.2, f"{names[0]}: wrong", ((f"won: {won}", tint(BLUE, 0.4)), (f"both wrong: {same[False]}", LIGHT))),
    ):
        say(ax, 31.5, y + 3.1, name, ha="right", size=10.5)
        for x, (text, color) in zip((32.5, 50.5), cells, strict=True):
            box(ax, x, y, 18, 6.2, text, color=color, bold=text[0] in "lw")
    say(ax, 50.5, 2.2, "only the colored ones say which model is better", color=GRAY, size=10.5)
    finish(
        ax,
        f"{len(pairs)} questions, answered by two models, and sorted into a table of two by two: {same[True]} both "
        f"right, {lost} lost, {won} won, {same[False]} both wrong.",
    )


def coin_tosses(lost: int, won: int) -> None:
    """In how many of all ways a coin falls so often on heads, as bars; at least as uneven as lost and won in red."""
    n, few = lost + won, min(lost, won)
    ways = [math.comb(n, k) for k in range(n + 1)]
    uneven = [k <= few or k >= n - few for k in range(n + 1)]
    ax = canvas(2.9)
    w = 66 / (n + 1)
    for k, count in enumerate(ways):
        x, tall = 5 + w * k, 17.0 * count / max(ways)
        box(ax, x + 0.12 * w, 6.2, 0.76 * w, tall, color=tint(RED, 0.75) if uneven[k] else LIGHT)
        say(ax, x + w / 2, 7.6 + tall, str(count), color=RED if uneven[k] else GRAY, size=10.5)
        say(ax, x + w / 2, 4.6, str(k), size=10.5)
    say(ax, 38, 2.0, f"answers lost, of the {n} that changed", size=10.5)
    total = sum(count for count, red in zip(ways, uneven, strict=True) if red)
    said = f"{total} of {2**n} ways are at least as uneven:\np = {total / 2**n:.2f}"
    say(ax, 2, 25.6, said, ha="left", color=RED, weight="bold", size=10.5)
    say(ax, 75.5, 26.6, f"ways in which {n} coins can fall", ha="right", color=GRAY, size=10.5)
    finish(
        ax,
        f"Bars of the ways in which {n} coins can fall, by how many show heads: {', '.join(map(str, ways))}. Those at "
        f"least as uneven as {lost} to {won} are marked, {total} of {2**n} in all.",
    )


def kl_terms(
    tokens: Sequence[str], before: Sequence[float], after: Sequence[float], terms: Sequence[float], names, colors
) -> None:
    """Probabilities of a few next tokens from two models as pairs of bars, and below them the terms of KL.

    The last entry may stand for all other tokens. `names` and `colors` are those of the two models.
    """
    ax = canvas(3.5)
    w, left, high = 57 / len(tokens), 12.5, 17.0
    for x, name, color in ((12.5, names[0], colors[0]), (38, names[1], colors[1])):
        box(ax, x, 32.0, 1.9, 1.9, color=color)
        say(ax, x + 2.8, 33.0, f"probability in {name}", ha="left", size=10.5)
    for i, (token, p, q, term) in enumerate(zip(tokens, before, after, terms, strict=True)):
        x = left + w * i
        for shift, value, color in ((0.06, p, colors[0]), (0.5, q, colors[1])):
            box(ax, x + shift * w, 11.0, 0.43 * w, high * value, color=color, linewidth=0.4)
            say(ax, x + (shift + 0.215) * w, 12.3 + high * value, f"{value:.3f}".lstrip("0"), size=10.3)
        say(ax, x + w / 2, 8.9, _plain(token)[:10], weight="bold", size=10.5)
        look = {"color": RED if term > 0.005 else GRAY, "weight": "bold" if term > 0.005 else "normal"}
        say(ax, x + w / 2, 4.6, _number(term, 2).replace("−0.00", "0.00"), size=10.5, **look)
    ax.plot([left, left + 57], [11.0, 11.0], color=INK, lw=1)
    say(ax, left - 0.6, 8.9, "next token", ha="right", size=10.3)
    say(ax, left - 0.6, 4.6, "p · log(p / q)", ha="right", size=10.3)
    say(ax, 75.5, 4.6, f"= {sum(terms):.2f}", ha="right", weight="bold", color=RED, size=10.5)
    say(
        ax, left, 1.4, f"p from {names[0]}, q from {names[1]}; the sum is KL, in nats", ha="left", color=GRAY, size=10.3
    )
    parts = zip(tokens, before, after, terms, strict=True)
    told = "; ".join(f"{_plain(t)} {p:.2f} and {q:.2f}, term {term:.2f}" for t, p, q, term in parts)
    finish(ax, f"Probabilities of the next token from {names[0]} and {names[1]}, and the terms of KL: {told}. Their "
               f"sum is {sum(terms):.2f} nats.")  # fmt: skip


def perplexity_by_window(windows: Sequence[int], overlapping: Sequence[float]) -> None:
    """The same model and texts, measured with longer and longer windows."""
    title = f"Same model, same texts: perplexity from {overlapping[0]:,.2f} to {overlapping[-1]:,.2f}"
    look = {"title": title, "xlabel": "length of the windows (tokens)", "ylabel": "perplexity", "logx": True}
    fig = plots.lines(windows, {"perplexity": overlapping}, **look)
    fig.axes[0].set_ylim(bottom=1)
    if legend := fig.axes[0].get_legend():
        legend.remove()
    plots.show(fig, "Perplexity against the length of the windows, on the same texts.")


def resampled(changes: Sequence[float], seen: float, low: float, high: float, what: str) -> None:
    """Histogram of a change of perplexity over drawn sets of texts, its middle 95% shaded, and no change marked."""
    plots.style()
    fig, ax = plt.subplots(figsize=(WIDTH, 3.3))
    ax.axvspan(100 * low, 100 * high, color=tint(ORANGE, 0.25), lw=0, label="the middle 95%")
    ax.hist(100 * np.asarray(changes), bins=40, color=ORANGE, edgecolor="white", lw=0.5)
    ax.axvline(100 * seen, color=INK, lw=1.6, label="our texts")
    ax.axvline(0, color=GRAY, ls="--", lw=1.4, label="no change")
    ax.set(xlabel=f"change of perplexity, {what} (%)", ylabel="draws", yticks=[])
    ax.set_title(f"95% of the draws lie between {low:+.1%} and {high:+.1%}".replace("-", "−"))
    ax.grid(axis="y", visible=False)
    ax.legend(ncols=3, fontsize=10.5, loc="upper center", bbox_to_anchor=(0.5, -0.25))
    plots.show(
        fig,
        f"Histogram of the change of perplexity over {len(changes):,} draws of the texts: the middle 95% goes from "
        f"{low:+.1%} to {high:+.1%}.",
    )


def luck_by_changes(
    questions: int,
    net: int,
    changed: Sequence[int],
    p_values: Sequence[float],
    edge: int,
    example: tuple[int, int],
) -> None:
    """The p-value of a net loss against how many answers changed; from `edge` changes on it may be luck.

    `example` is one case of lost and won answers, to be marked.
    """
    plots.style()
    fig, ax = plt.subplots(figsize=(WIDTH, 3.6))
    ax.axhspan(0.05, 1.5, color=tint(ORANGE, 0.25), lw=0)
    ax.plot(changed, p_values, color=BLUE)
    ax.axhline(0.05, color=INK, ls="--", lw=1)
    look = {"arrowprops": {"arrowstyle": "-", "color": GRAY}, "ha": "center", "va": "center", "fontsize": 10.5}
    points = ((edge, 0.05, RED, f"{edge} changed: p = 0.05", 0.9), (sum(example), None, BLUE, None, 1.0))
    for count, p, color, said, shift in points:
        p = p or p_values[list(changed).index(count)]
        said = said or f"{example[0]} lost + {example[1]} won\n= {count:,} changed: p = {p:.2f}"
        ax.plot(count, p, "o", color=color, ms=8)
        ax.annotate(said, (count, p), (count + 260 * shift, p / 40), **look)
    ax.annotate("may be luck", (edge * 0.4, 0.35), ha="center", va="center", fontsize=10.5, weight="bold")
    ax.annotate("hardly luck", (edge * 2.6, 0.00003), ha="center", va="center", fontsize=10.5, weight="bold")
    ax.set(yscale="log", ylim=(1e-6, 1.5), ylabel="p-value (log scale)")
    ax.set_yticks([1, 0.05, 1e-2, 1e-4, 1e-6], ["1", "0.05", "0.01", "0.0001", "0.000001"])
    ax.minorticks_off()
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel(f"answers that changed, lost and won together (of {questions:,})")
    ax.set_title(f"{net} more lost than won: is it luck?")
    plots.show(
        fig,
        f"The p-value of a net loss of {net} in {questions:,} answers rises with the number that changed, and reaches "
        f"0.05 at {edge}.",
    )


def kl_along_a_text(
    kl: Sequence[float], moved: Sequence[bool], tokens: Sequence[str], what: str, least: float = 1e-6
) -> None:
    """KL before each token of a text as bars, with crosses where another token than before is the likeliest.

    At a cross stands the token that came.
    """
    plots.style()
    fig, ax = plt.subplots(figsize=(WIDTH, 3.6))
    kl, moved = np.asarray(kl), np.asarray(moved)
    places = np.arange(1, len(kl) + 1)
    ax.bar(places, np.maximum(kl, least) - least, bottom=least, width=0.65, color=[RED if m else BLUE for m in moved])
    ax.plot(places[moved], kl[moved], "X", color=RED, ms=8, label="another first choice; in quotes: what really came")
    for place, height, token in zip(places[moved], kl[moved], np.asarray(tokens, object)[moved], strict=True):
        look = {"textcoords": "offset points", "ha": "center", "va": "bottom", "color": RED, "fontsize": 10.5}
        ax.annotate(f"“{_plain(token)}”", (place, height), (0, 6), weight="bold", **look)
    ax.set(yscale="log", ylim=(least, 4 * max(kl.max(), 1)), ylabel="KL (nats, log scale)")
    ax.set_yticks([1, 1e-2, 1e-4, 1e-6], ["1", "0.01", "0.0001", "0.000001"])
    ax.minorticks_off()
    ax.set_xlabel("token to be guessed, counted from the start (no bar: KL below a millionth)")
    ax.set_title(f"{what}: {int(moved.sum())} of {len(kl)} first choices have changed")
    if moved.any():
        ax.legend(loc="upper left")
        ax.set_ylim(top=300 * max(kl.max(), 1))
    plots.show(
        fig,
        f"KL before each of the {len(kl)} tokens of a text on a log axis, with crosses at the {int(moved.sum())} where "
        "another token is the likeliest.",
    )


def damage(
    model: str,
    columns: dict[str, dict[str, tuple[float, float, float]]],
    seen: dict[str, Sequence[str]],
    line: float | None,
    noise: str = "fp32",
    wrecked: Sequence[str] = (),
) -> None:
    """What three measures say of each changed model, in three columns; filled marks where a measure sees a change.

    `columns` are KL in nats, the rise of perplexity in percent and the loss of right answers in points: for each name
    the value and its interval. `seen` says which of them each measure sees, `line` is the KL of no change, `noise` the
    same weights, computed otherwise. What is `wrecked` may lie off the chart, where an arrow gives its value.
    """
    plots.style()
    names = list(next(iter(columns.values())))
    size = (WIDTH + 0.6, 2.3 + 0.36 * len(names))
    fig, axes = plt.subplots(1, 3, figsize=size, sharey=True, width_ratios=(0.9, 1, 1))
    changed = len(names) - (noise in names)
    told = []
    for ax, (measure, rows), color in zip(axes, columns.items(), (BLUE, ORANGE, RED), strict=True):
        found = seen[measure]
        kept = [row for name, row in rows.items() if name not in wrecked] or list(rows.values())
        most, least = max(row[2] for row in kept), min(row[1] for row in kept)
        end = math.inf if measure == "KL" else most + 0.5 * max(most - min(least, 0), 1e-3)
        for y, (name, (value, low, high)) in enumerate(rows.items()):
            look = {"color": color, "mfc": color if name in found else "white", "ms": 7}
            if high <= end:
                bars = [[max(0.0, value - low)], [max(0.0, high - value)]]
                ax.errorbar([value], [y], xerr=bars, fmt="o", capsize=3, **look)
                continue
            ax.plot([end * 0.97], [y], ">", clip_on=False, **look)
            far = f"+{value:.3g}" if value < 1000 else f"×{float(f'{1 + value / 100:.2g}'):,.0f}"
            ax.annotate(far, (end * 0.97, y), (-7, 0), textcoords="offset points", ha="right", va="center", fontsize=10)
        if end < math.inf:
            ax.set_xlim(min(least, 0) - 0.06 * (end - least), end)
            ax.axvline(0.0, color=INK, ls=":", lw=1.5, zorder=1)
        ax.set_title(f"{measure} sees\n{len(found)} of {changed}", loc="left")
        ax.grid(axis="y", visible=False)
        told.append(f"{measure} sees {', '.join(found) or 'none'}")
    if line is not None:
        axes[0].axvline(line, color=INK, ls=":", lw=1.5, zorder=1)
    axes[0].set_xscale("log")
    axes[0].set_xticks([1e-4, 1e-2, 1], ["0.0001", "0.01", "1"])
    axes[0].minorticks_off()
    axes[0].set_xlim(right=3 * axes[0].get_xlim()[1])
    axes[0].set_yticks(range(len(names)), [f"{name} (same weights)" if name == noise else name for name in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    labels = ("KL (nats, log scale)", "rise of perplexity (%)", "right answers lost (points)")
    for ax, label in zip(axes, labels, strict=True):
        ax.set_xlabel(label)
    look = {"color": GRAY, "marker": "o", "ls": "", "ms": 7}
    marks = [plt.Line2D([], [], color=INK, ls=":", lw=1.4, label="no change")]
    marks.append(plt.Line2D([], [], label="seen", **look))
    marks.append(plt.Line2D([], [], label="not seen", mfc="white", **look))
    fig.legend(handles=marks, loc="outside lower center", ncols=3, fontsize=10.5)
    fig.suptitle(f"{model} (arrow: off the chart; no bar: inside the mark)", fontsize=10.5, color=GRAY)
    plots.show(
        fig,
        f"{model} after rounding, least changed on top, in three columns: KL, rise of perplexity, right answers lost. "
        f"Filled marks are what the measure sees: {'; '.join(told)}.",
    )


def on_two_models(changes: dict[str, dict[str, tuple[float, float, float]]]) -> None:
    """The rise of perplexity in two models that are rounded in the same ways and read the same texts, with intervals.

    `changes` has for each of the models the schemes, with the change and its 95% interval, as fractions.
    """
    plots.style()
    (one, first), (two, second) = changes.items()
    names = list(first)
    fig, ax = plt.subplots(figsize=(WIDTH, 1.5 + 0.5 * len(names)))
    told = []
    for model, rows, color, shift in ((one, first, BLUE, -0.17), (two, second, ORANGE, 0.17)):
        for y, name in enumerate(names):
            value, low, high = (100 * part for part in rows[name])
            bars, label = [[value - low], [high - value]], model if y == 0 else None
            ax.errorbar([value], [y + shift], xerr=bars, fmt="o", color=color, capsize=3, ms=7, label=label)
            look = {"textcoords": "offset points", "va": "center", "fontsize": 10.5}
            ax.annotate(f"{value:+.1f}%".replace("-", "−"), (high, y + shift), (7, 0), **look)
        told.append(f"{model}: " + ", ".join(f"{name} {rows[name][0]:+.1%}" for name in names))
    ax.axvline(0.0, color=INK, ls=":", lw=1.5, zorder=1)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xlim(right=1.18 * ax.get_xlim()[1])
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("rise of perplexity (%), with 95% intervals")
    more = max(changes, key=lambda model: sum(row[0] for row in changes[model].values()))
    ax.set_title(f"Same rounding, same texts: {more} loses more")
    ax.legend(ncols=2, fontsize=10.5, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    plots.show(fig, f"Rise of perplexity by scheme in two models, on the same texts. {'. '.join(told)}.")
