"""What fine-tuning costs, measured or recorded, as sentences, rows for tables and pictures: for notebook 12."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from .. import plots

__all__ = ["ladder", "ladder_figure", "lever_rows", "preset_rows", "scale_rows", "sweep_figure", "sweep_finding"]

FIRST = "standard recipe"


def sweep_figure(sweep: dict) -> Figure:
    """Exact answers of each run of `benchmarks/finetune_sweep.py`, with 95% intervals."""
    from .. import quality

    names = [row["name"] for row in sweep["rows"]]
    shares = [row["exact_match"] for row in sweep["rows"]]
    n = sweep["held_out"]
    spans = [quality.interval([1] * round(share * n) + [0] * (n - round(share * n))) for share in shares]
    errors = [[share - low for share, (low, _) in zip(shares, spans, strict=True)]]
    errors += [[high - share for share, (_, high) in zip(shares, spans, strict=True)]]
    title = f"After {sweep['steps']} steps, by recipe: from {min(shares):.0%} right to {max(shares):.0%}"
    labels = [f"{name}\n{row['parameters'] / 1e3:,.0f} k" for name, row in zip(names, sweep["rows"], strict=True)]
    fig = plots.bars(labels, shares, errors=errors, title=title, ylabel="share of exact answers", text="{:.0%}")
    fig.set_size_inches(11, 4.4)
    fig.axes[0].tick_params(axis="x", labelsize=9)
    return fig


def sweep_finding(sweep: dict) -> str:
    """What the sweep says on targets, rank and learning rate, beside what chance alone does."""
    rows = sweep["rows"]
    whole, few, equal = rows[:3]
    ranks = [row["exact_match"] for row in rows if row["name"].startswith("r=")] + [whole["exact_match"]]
    rates = [row["exact_match"] for row in rows if row["name"].startswith("rate")] + [whole["exact_match"]]
    ranks, rates = (100 * (max(shares) - min(shares)) for shares in (ranks, rates))
    error = (2 * 0.25 / sweep["held_out"]) ** 0.5  # variances add; that the questions are the same only makes it less
    return (
        f"q and v alone: **{few['exact_match']:.0%}** at the same rank, **{equal['exact_match']:.0%}** with as many "
        f"parameters as all layers have, which reach **{whole['exact_match']:.0%}**. Ranks spread over "
        f"{ranks:.0f} points, learning rates over {rates:.0f}. One standard error of "
        f"the difference of two shares of {sweep['held_out']} questions is at most {error:.1%}: what is closer than "
        "two of them is no finding."
    )


def agreement(losses: list[float], others: list[float]) -> float:
    """The largest relative difference of two loss curves."""
    return max(abs(a / b - 1) for a, b in zip(losses, others, strict=True))


def lever_rows(found: Mapping[str, dict]) -> list[dict]:
    """Rows of what `finetune.cost` measured; the first is what the others are compared with."""
    plain, rows = next(iter(found.values())), []
    for name, cost in found.items():
        alike = cost["turns"] == plain["turns"]  # packed batches hold other turns: their losses are not to be compared
        size = f"{cost['kept'] / 1e6:.1f} MB kept" if cost["kept"] else f"{cost['peak'] / 1e9:.2f} GB peak"
        row = {
            "lever": name,
            "turns/s": cost["turns"] / cost["seconds"],
            "slowest–fastest step": _span(cost["turns"], cost["span"]),
            "tokens a turn": cost["tokens"] / cost["turns"],
        }
        gap = f"{agreement(cost['losses'], plain['losses']):.0e}" if alike else None
        rows.append({**row, "memory": size, "losses differ by": gap})
    return rows


def _span(count: float, seconds: list[float]) -> str:
    """How many a second in the slowest step and in the fastest."""
    return f"{count / max(seconds):,.0f}–{count / min(seconds):,.0f}"


def ladder(recorded: dict, batch: int, length: int) -> list[dict]:
    """The rungs of `benchmarks/finetune_bench.py` at one shape, in order, with what each changes."""
    rungs = [r for r in recorded["rows"] if (r["batch"], r["length"]) == (batch, length) and "peak_bytes" in r]
    rungs = [r for r in rungs if r["recipe"] == FIRST or r["recipe"] == "no float32 upcast" or r["recipe"][0] == "+"]
    rows = []
    for i, rung in enumerate(rungs):
        gb, speed = rung["peak_bytes"] / 1e9, rung["tokens_a_second"]
        row = {"batch × length": f"{batch} × {length}", "recipe": rung["recipe"], "peak GB": gb, "tokens/s": speed}
        row["slowest–fastest step"] = _span(batch * length, rung["seconds"])
        if i:
            before = rungs[i - 1]
            row["change, GB"] = f"{gb - before['peak_bytes'] / 1e9:+.2f}"
            row["change of speed"] = f"{speed / before['tokens_a_second'] - 1:+.0%}"
        # the plain recipe in 16 bits is what all further rungs have to agree with
        row["losses differ by"] = f"{agreement(rung['losses'], rungs[min(1, len(rungs) - 1)]['losses']):.0e}"
        rows.append(row)
    return rows


def ladder_figure(recorded: dict, shapes: list[tuple[int, int]], quoted: dict) -> tuple[Figure, dict]:
    """Peak memory against tokens a second, a panel a shape, with others' figures; and first rung to last, by shape."""
    plots.style()
    fig, axes = plots.plt.subplots(1, len(shapes), figsize=(4.4 * len(shapes), 4.4), layout="constrained")
    gains = {}
    for ax, shape in zip(axes, shapes, strict=True):
        rows = ladder(recorded, *shape)
        gb, speed = [row["peak GB"] for row in rows], [row["tokens/s"] for row in rows]
        gains[shape] = speed[-1] / speed[0]
        ax.plot(gb, speed, marker="o", color=plots.PALETTE[0], label="the ladder, rung by rung")
        ax.plot(*quoted[shape], "s", color=plots.PALETTE[1], markersize=9, linestyle="", label="Unsloth, quoted")
        ax.annotate("standard", (gb[0], speed[0]), xytext=(0, -16), textcoords="offset points", ha="center", fontsize=9)
        ax.annotate("last rung", (gb[-1], speed[-1]), xytext=(6, 6), textcoords="offset points", fontsize=9)
        ax.set_title(f"{shape[0]} × {shape[1]} tokens", fontsize=11)
        ax.set_xlabel("peak, GB")
        ax.margins(0.22)
    axes[0].set_ylabel("tokens a second")
    fig.suptitle(
        f"Up and to the left: {min(gains.values()):.1f} to {max(gains.values()):.1f} times the standard recipe's speed"
    )
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return fig, gains


def preset_rows(presets: Mapping[str, object], forecasts: Mapping[str, float], recorded: dict) -> list[dict]:
    """What each preset is forecast to take, and took under its cap."""
    tried, rows = {row["recipe"]: row for row in recorded["presets"]}, []
    for name, recipe in presets.items():
        ran = tried.get(name, {})
        row = {"preset": name, "batch × length": f"{recipe.batch} × {recipe.length}", "dtype": recipe.compute_dtype}
        row["forecast GB"] = forecasts[name]
        row["measured GB"] = ran["peak_bytes"] / 1e9 if "peak_bytes" in ran else None
        rows.append({**row, "cap GB": ran["cap_bytes"] / 1e9 if ran else None, "tokens/s": ran.get("tokens_a_second")})
    return rows


def scale_rows(scale: dict) -> list[dict]:
    """One GPU against several, from `benchmarks/scale_bench.py`."""
    runs = {name: run for name, run in scale["runs"].items() if "peak_bytes" in run}
    alone, rows = runs["one GPU"]["tokens_a_second"], []
    for name, run in runs.items():
        row = {"run": name, "peak GB of a GPU": max(run["peak_bytes"]) / 1e9, "tokens/s": run["tokens_a_second"]}
        rows.append({**row, "times one GPU": run["tokens_a_second"] / alone, "first loss": f"{run['losses'][0]:.4f}"})
    return rows
