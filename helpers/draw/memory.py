"""Drawings of notebook 05: a model's matrices to scale, what takes memory at each stage, how the KV cache grows."""

from collections.abc import Mapping

from .canvas import (
    ACTIVATIONS,
    ADAPTERS,
    CODES,
    EMBEDDINGS,
    GRAY,
    INK,
    LIGHT,
    OCHRE,
    RED,
    SIXTEEN,
    arrow,
    box,
    canvas,
    finish,
    say,
    strip,
    tint,
)

__all__ = ["cache_grid", "life_of_memory", "matrices_to_scale"]

CACHE = tint(OCHRE, 0.55)
COLORS = {
    "weights": tint(CODES, 0.55),
    "one matrix in 16 bits": tint(SIXTEEN, 0.7),
    "KV cache": CACHE,
    "activations": tint(ACTIVATIONS, 0.7),
    "adapters and optimizer": tint(ADAPTERS, 0.6),
    "CUDA context": LIGHT,
}


def life_of_memory(stages: Mapping[str, Mapping[str, float]]) -> None:
    """A column for each stage, stacked from its parts in GB, to scale; the parts are the keys of `COLORS`."""
    ax = canvas(4.9)
    highest = max(sum(parts.values()) for parts in stages.values())
    per_gb, width, gap = 30.5 / highest, 9.6, 13.6
    for i, (stage, parts) in enumerate(stages.items()):
        x, y, aside = 7.4 + gap * i, 5.4, 0
        for part, color in COLORS.items():
            height = parts.get(part, 0) * per_gb
            if height > 0.05:
                box(ax, x, y, width, height, color=color)
                middle = y + height / 2
                if height > 1.6:
                    say(ax, x + width / 2, middle, f"{parts[part]:.2f}", size=10.3)
                else:  # too flat for its number, which stands beside it
                    aside = max(middle, aside + 1.8)
                    say(ax, x + width + 0.3, aside, f"{parts[part]:.2f}", ha="left", size=10.3)
            y += height
        total = sum(parts.values())
        say(ax, x + width / 2, y + 1.6, f"{total:.1f} GB", weight="bold")
        say(ax, x + width / 2, 2.8, stage, size=10.5)
        if 0 < i < len(stages) - 1:  # training is another life
            arrow(ax, (x - gap + width + 1.0, 2.8), (x - 1.0, 2.8), color=GRAY, mutation_scale=8)
    places = ((3, 43.2), (3, 39.8), (17, 43.2), (31, 43.2), (50, 43.2), (28, 39.8))
    for (part, color), (x, y) in zip(COLORS.items(), places, strict=True):
        box(ax, x, y - 1.0, 2.2, 2.0, color=color)
        say(ax, x + 3.0, y, part, ha="left", size=10.3)
    say(ax, 3.0, 46.6, "Mistral-7B in 4 bits, on a GPU, in GB", ha="left", weight="bold")
    told = "; ".join(
        f"{stage.replace(chr(10), ' ')}: {sum(parts.values()):.1f} GB, of it "
        + ", ".join(f"{part} {size:.2f}" for part, size in parts.items() if size >= 0.01)
        for stage, parts in stages.items()
    )
    finish(ax, f"Columns of Mistral-7B's memory by stage, to scale. {told}.")


def cache_grid(layers: int) -> None:
    """Mistral-7B's KV cache: a row for each block, a column for each token, in each place a key and a value."""
    ax = canvas(3.3)
    words = ["The", "capital", "of", "France", "is", "Paris"]
    rows = ["block 1", "block 2", "…", f"block {layers}"]
    say(ax, 3.0, 30.4, "Mistral-7B", ha="left", size=11, weight="bold")
    for column, word in enumerate(words):
        x, new = 13.5 + 7.3 * column, column == len(words) - 1
        say(ax, x + 3.2, 26.4, word, size=10.5, weight="bold" if new else "normal", color=RED if new else INK)
        for row, name in enumerate(rows):
            y = 20.2 - 5.2 * row
            if name == "…":
                say(ax, x + 3.2, y + 1.6, "⋮", color=GRAY)
                continue
            colors = [tint(RED, 0.3)] * 2 if new else [CACHE, tint(OCHRE, 0.3)]
            strip(ax, x, y, ["K", "V"], 3.2, 3.4, colors, size=10.3)
    for row, name in enumerate(rows):
        if name != "…":
            say(ax, 12.4, 21.9 - 5.2 * row, name, ha="right", size=10.3, color=GRAY)
    say(ax, 58.6, 22.0, "a new token", ha="left", size=10.5, color=RED)
    say(ax, 58.6, 19.2, "adds one column", ha="left", size=10.5, color=RED, weight="bold")
    say(ax, 58.6, 9.6, "K: keys, V: values", ha="left", size=10.3)
    say(ax, 58.6, 6.8, "of all heads", ha="left", size=10.3)
    finish(
        ax,
        f"Mistral-7B's KV cache as a grid, with a row for each of {layers} transformer blocks and a column for each "
        "token. In each place are the keys (K) and the values (V) of all heads. The newest token, Paris, adds one.",
    )


def matrices_to_scale(layers: int, hidden: int, inner: int, queries: int, keys: int, words: int) -> None:
    """Mistral-7B's matrices, their areas to scale, the longer side across.

    `queries` and `keys` are what all heads have together: their number times their size.
    """
    ax = canvas(4.5)
    unit = 17.5 / inner
    high = hidden * unit * 0.921  # a unit across is shorter than one upward
    box(ax, 1.5, 17.6, 73.0, 26.0, color="white", edgecolor=GRAY)
    say(ax, 3.0, 41.6, f"{layers} transformer blocks, each with seven matrices in 4 bits", ha="left", weight="bold")
    say(ax, 13.0, 34.0, "attention", ha="right", size=10.5)
    for name, x, wide in (("q", 14.5, queries), ("k", 22.0, keys), ("v", 26.2, keys), ("o", 30.4, queries)):
        box(ax, x, 31.5, wide * unit, high, color=tint(CODES, 0.55))
        say(ax, x + wide * unit / 2, 38.2, name, size=10.5)
    say(ax, 38.5, 34.0, f"{queries // keys} heads share one key and one value", ha="left", size=10.3)
    say(ax, 13.0, 22.0, "feed-\nforward", ha="right", size=10.5)
    for i, name in enumerate(("gate", "up", "down")):
        box(ax, 14.5 + 19.6 * i, 19.5, 17.5, high, name, color=tint(CODES, 0.55), size=10.5)
    say(ax, 3.0, 15.2, "once, in 16 bits", ha="left", weight="bold")
    for y, name in (
        (8.2, "embeddings: a row for each known token"),
        (1.6, "output head: a row for each known token"),
    ):
        box(ax, 14.5, y, words * unit, high, name, color=tint(EMBEDDINGS, 0.55), size=10.5)
    finish(
        ax,
        f"Mistral-7B's matrices to scale. In each of {layers} transformer blocks, in 4 bits: q, k, v and o for "
        "attention, of which k and v are a quarter of q, and gate, up and down for the feed-forward part, each three "
        "and a half times q. Once, in 16 bits: embeddings and output head, each nearly eight times q.",
    )
