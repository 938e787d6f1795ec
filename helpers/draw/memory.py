"""Drawings of notebook 05: what takes memory at each stage of a model's life, and how the KV cache grows."""

from collections.abc import Mapping

from .canvas import (
    ACTIVATIONS,
    ADAPTERS,
    CODES,
    GRAY,
    INK,
    LIGHT,
    OCHRE,
    RED,
    arrow,
    box,
    brace,
    canvas,
    finish,
    say,
    strip,
    tint,
)

__all__ = ["cache_grid", "life_of_memory"]

CACHE = tint(OCHRE, 0.55)
COLORS = {
    "weights": tint(CODES, 0.55),
    "KV cache": CACHE,
    "activations": tint(ACTIVATIONS, 0.7),
    "adapters and optimizer": tint(ADAPTERS, 0.6),
    "CUDA context": LIGHT,
}


def life_of_memory(stages: Mapping[str, Mapping[str, float]]) -> None:
    """A column for each stage, stacked from its parts in GB, to scale; the parts are the keys of `COLORS`."""
    ax = canvas(4.6)
    highest = max(sum(parts.values()) for parts in stages.values())
    per_gb, width, gap = 30.5 / highest, 9.6, 13.6
    for i, (stage, parts) in enumerate(stages.items()):
        x, y = 7.4 + gap * i, 5.4
        for part, color in COLORS.items():
            height = parts.get(part, 0) * per_gb
            if height:
                box(ax, x, y, width, height, color=color)
            y += height
        total = sum(parts.values())
        say(ax, x + width / 2, y + 1.6, f"{total:.1f} GB", weight="bold")
        say(ax, x + width / 2, 2.8, stage, size=10.5)
        if i:
            arrow(ax, (x - gap + width + 1.0, 2.8), (x - 1.0, 2.8), color=GRAY, mutation_scale=8)
    places = ((3, 43.2), (17, 43.2), (31, 43.2), (21, 39.8), (3, 39.8))
    for (part, color), (x, y) in zip(COLORS.items(), places, strict=True):
        box(ax, x, y - 1.0, 2.2, 2.0, color=color)
        say(ax, x + 3.0, y, part, ha="left", size=10.3)
    told = "; ".join(
        f"{stage.replace(chr(10), ' ')}: {sum(parts.values()):.1f} GB, of it "
        + ", ".join(f"{part} {size:.2f}" for part, size in parts.items() if size >= 0.01)
        for stage, parts in stages.items()
    )
    finish(ax, f"Columns of memory by stage, to scale. {told}.")


def cache_grid(layers: int, heads: int, size: int) -> None:
    """The KV cache: a row for each layer, a column for each token, in each place keys and values of a few heads."""
    ax = canvas(3.6)
    words = ["The", "capital", "of", "France", "is", "Paris"]
    rows = ["layer 1", "layer 2", "…", f"layer {layers}"]
    for column, word in enumerate(words):
        x, new = 11.5 + 7.3 * column, column == len(words) - 1
        say(ax, x + 3.2, 31.8, word, size=10.5, weight="bold" if new else "normal", color=RED if new else INK)
        for row, name in enumerate(rows):
            y = 25.4 - 5.2 * row
            if name == "…":
                say(ax, x + 3.2, y + 1.6, "⋮", color=GRAY)
                continue
            colors = [tint(RED, 0.3)] * 2 if new else [CACHE, tint(OCHRE, 0.3)]
            strip(ax, x, y, ["K", "V"], 3.2, 3.4, colors, size=10.3)
    for row, name in enumerate(rows):
        if name != "…":
            say(ax, 10.4, 27.1 - 5.2 * row, name, ha="right", size=10.3, color=GRAY)
    brace(ax, 11.5, 18.0, 8.4, "")
    say(ax, 9.0, 4.4, f"each K, and each V: {heads} heads × {size} numbers of 2 bytes", ha="left", size=10.5)
    say(ax, 57.6, 27.0, "a new token adds", ha="left", size=10.5, color=RED)
    say(ax, 57.6, 24.2, "one column", ha="left", size=10.5, color=RED, weight="bold")
    finish(
        ax,
        f"A grid with a row for each of {layers} layers and a column for each token. Each place holds a key and a "
        f"value, {heads} heads of {size} numbers of 2 bytes each. The newest token, Paris, adds one column.",
    )
