"""One look for every figure of the course: the same color, marker and hatching for a scheme everywhere."""

import base64
import io
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

__all__ = [
    "PALETTE",
    "PART_COLORS",
    "SCHEME_COLORS",
    "SCHEME_HATCHES",
    "SCHEME_MARKERS",
    "bars",
    "lines",
    "live",
    "show",
    "stacked_bars",
    "style",
]

# Okabe and Ito, "Color Universal Design" (2008): tells apart for all common kinds of color vision
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000")
SCHEME_COLORS = {
    "fp32": "#000000",
    "fp16": "#0072B2",
    "bf16": "#56B4E9",
    "int8": "#E69F00",
    "fp4": "#CC79A7",
    "nf4": "#009E73",
    "nf4-dq": "#D55E00",
}
SCHEME_MARKERS = {"fp32": "X", "fp16": "s", "bf16": "o", "int8": "D", "fp4": "v", "nf4": "^", "nf4-dq": "P"}
SCHEME_HATCHES = {"fp32": "", "fp16": "//", "bf16": "\\\\", "int8": "..", "fp4": "xx", "nf4": "--", "nf4-dq": "++"}
# One color for a part of a model, in every figure and drawing of the course; drawings tint it
PART_COLORS = {
    "codes": PALETTE[2],
    "constants": PALETTE[1],
    "16 bits": PALETTE[0],
    "embeddings": PALETTE[4],
    "adapters": PALETTE[5],
    "activations": PALETTE[6],
    "gradients": PALETTE[3],
    "optimizer": "#555555",
    "KV cache": "#9a6700",
    "logits": "#a4517f",
    "the rest": "#bbbbbb",
}
MARKERS = "osD^vPX*"
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "++", "oo")

RC = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "figure.figsize": (7.2, 4.0),
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "text.color": "#222222",
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "mistral-4bit",
}


class style:
    """Set the course's look: `plots.style()` for all figures from now on, `with plots.style():` for a block."""

    def __init__(self) -> None:
        self._before = {name: rcParams[name] for name in RC}
        rcParams.update(RC)

    def __enter__(self) -> "style":
        return self

    def __exit__(self, *_) -> None:
        rcParams.update(self._before)


def show(fig: Figure, alt: str) -> None:
    """Display the figure once, close it, and put `alt` below it in italics and into the image as alternative text.

    `alt` is one sentence that says what there is to see. Raises ValueError when it is empty.
    """
    data, metadata = _image(fig, alt)
    display(data, metadata=metadata, raw=True)
    alt = data["text/plain"]
    display({"text/markdown": f"*{alt.replace('*', '')}*", "text/plain": alt}, raw=True)


def live(fig: Figure, alt: str, handle=None):
    """Display a figure that will be drawn anew, or put it in the place of the one before it; close it.

    Returns the display's handle, for the next call. `alt` as in `show`. The last figure stays in the notebook.
    """
    data, metadata = _image(fig, alt)
    if handle is None:
        return display(data, metadata=metadata, raw=True, display_id=True)
    handle.update(data, metadata=metadata, raw=True)
    return handle


def _image(fig: Figure, alt: str) -> tuple[dict, dict]:
    if not alt or not alt.strip():
        raise ValueError("A figure needs a sentence that tells what it shows, for readers who cannot see it.")
    alt = " ".join(alt.split())
    buffer = io.BytesIO()
    # without the Software entry the file does not change with matplotlib's version
    fig.savefig(
        buffer, format="png", dpi=RC["savefig.dpi"], facecolor="white", bbox_inches="tight", metadata={"Software": None}
    )
    plt.close(fig)
    small = io.BytesIO()  # the same pixels, an eighth smaller
    Image.open(buffer).convert("RGB").save(small, "PNG", optimize=True)
    image = base64.b64encode(small.getvalue()).decode("ascii")
    return {"image/png": image, "text/plain": alt}, {"image/png": {"alt": alt}}


def bars(
    labels: Sequence[str],
    values: Sequence[float],
    *,
    title: str,
    ylabel: str,
    errors: Sequence[float] | Sequence[Sequence[float]] | None = None,
    text: str | Sequence[str] | None = "{:.3g}",
    log: bool = False,
    ax: Axes | None = None,
) -> Figure:
    """Draw one bar a label; a label that is a scheme gets the scheme's color and hatching.

    `errors` are half widths, or two rows with lower and upper ones. `text` is a format for the figure above each bar,
    a list of such texts, or None. Returns the figure, for `show`.
    """
    fig, ax = _axes(ax, title, ylabel)
    for i, (label, value) in enumerate(zip(labels, values, strict=True)):
        color = SCHEME_COLORS.get(label, PALETTE[0])
        ax.bar(i, value, width=0.68, color=color, hatch=SCHEME_HATCHES.get(label, ""), edgecolor="white", linewidth=0.8)
    tops = list(values)
    if errors is not None:
        ax.errorbar(range(len(tops)), values, yerr=errors, fmt="none", ecolor="#222222", capsize=4, linewidth=1.2)
        upper = errors[1] if len(errors) == 2 and hasattr(errors[0], "__len__") else errors
        tops = [value + more for value, more in zip(values, upper, strict=True)]
    if log:
        ax.set_yscale("log")
    if text is not None:
        texts = [text.format(value) for value in values] if isinstance(text, str) else list(text)
        look = {"ha": "center", "va": "bottom", "fontsize": 10}
        look["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # a line drawn across it stays behind
        for i, (top, label) in enumerate(zip(tops, texts, strict=True)):
            ax.annotate(label, (i, top), (0, 3), textcoords="offset points", **look)
    ax.set_xticks(range(len(tops)), labels)
    ax.grid(axis="x", visible=False)
    ax.margins(y=0.12)
    return fig


def stacked_bars(
    labels: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    *,
    title: str,
    xlabel: str,
    text: str | None = "{:.3g}",
    ax: Axes | None = None,
    colors: Mapping[str, str] | None = None,
) -> Figure:
    """Draw one horizontal bar a label, made of `parts` (name of the part → one value a label), the total at its end.

    `colors` maps names of parts to their colors, so that a part has the same one in every figure, also where others
    are missing. Returns the figure, for `show`.
    """
    fig, ax = _axes(ax, title, None)
    left = [0.0] * len(labels)
    for i, (name, values) in enumerate(parts.items()):
        place = list(colors).index(name) if colors else i
        look = {"color": colors[name] if colors else PALETTE[i % len(PALETTE)], "hatch": HATCHES[place % len(HATCHES)]}
        ax.barh(
            range(len(labels)), values, left=left, height=0.62, label=name, edgecolor="white", linewidth=0.6, **look
        )
        left = [start + value for start, value in zip(left, values, strict=True)]
    if text is not None:
        for i, total in enumerate(left):
            label = text.format(total)
            ax.annotate(label, (total, i), (4, 0), textcoords="offset points", ha="left", va="center", fontsize=10)
    ax.set_yticks(range(len(labels)), labels)
    ax.invert_yaxis()
    ax.set_xlabel(xlabel)
    ax.grid(axis="y", visible=False)
    ax.margins(x=0.12)
    fig.legend(loc="outside lower center", ncols=min(4, max(1, len(parts))))
    return fig


def lines(
    x: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    logx: bool = False,
    logy: bool = False,
    markers: bool = True,
    ax: Axes | None = None,
) -> Figure:
    """Draw one line a series; a series named like a scheme gets the scheme's color and marker.

    `bands` maps a series to its lower and upper values, drawn as a shade. `logx` is base 2 with plain numbers as
    ticks, since block sizes and batches double. Returns the figure, for `show`.
    """
    fig, ax = _axes(ax, title, ylabel)
    free = [color for color in PALETTE if color not in {SCHEME_COLORS.get(name) for name in series}] or PALETTE
    shapes = [marker for marker in MARKERS if marker not in {SCHEME_MARKERS.get(name) for name in series}] or MARKERS
    for i, (name, values) in enumerate(series.items()):
        color = SCHEME_COLORS.get(name, free[i % len(free)])
        marker = SCHEME_MARKERS.get(name, shapes[i % len(shapes)]) if markers else None
        ax.plot(
            x, values, color=color, marker=marker, linestyle=("-", "--", "-.", ":")[i // len(PALETTE) % 4], label=name
        )
        if bands and name in bands:
            ax.fill_between(x, *bands[name], color=color, alpha=0.18, linewidth=0)
    if logx:
        ax.set_xscale("log", base=2)
        ax.set_xticks(list(x), [f"{value:,g}" for value in x])
        ax.minorticks_off()
    if logy:
        ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    if len(series) > 1:
        ax.legend()
    return fig


def _axes(ax: Axes | None, title: str, ylabel: str | None) -> tuple[Figure, Axes]:
    if not title:
        raise ValueError("A figure needs a title that states its finding.")
    style()
    if ax is None:
        _, ax = plt.subplots()
    ax.set_title(title)
    if ylabel:
        ax.set_ylabel(ylabel)
    return ax.figure, ax
