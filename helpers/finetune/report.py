"""What fine-tuning costs, measured or recorded, as sentences, rows for tables and pictures: for notebook 12."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from .. import plots

__all__ = [
    "exact_rows",
    "ladder",
    "ladder_figure",
    "ladder_said",
    "lever_rows",
    "preset_rows",
    "scale_rows",
    "sweep_best",
    "sweep_figure",
    "sweep_finding",
    "sweep_machines",
    "sweep_summary",
]

FIRST, UNSLOTH = "standard recipe", "Unsloth"


def sweep_best(sweep: dict) -> dict[str, dict]:
    """Of each recipe of `benchmarks/finetune_sweep.py`: its best rate, and the exact answers there by reported seed."""
    best = {}
    for run in sweep["runs"]:
        if run["seed"] in sweep["reported"]:
            row = best.setdefault(run["recipe"], {"rate": run["rate"], "parameters": run["parameters"], "by seed": {}})
            row["by seed"][run["seed"]] = run["exact_match"]
    return best


def sweep_summary(sweep: dict) -> dict[str, list[float]]:
    """[mean, low, high] over seeds, for notebook 10: two recipes of one rank, and by how much one is
    behind, also with as many parameters.

    A seed draws the same questions for all recipes, so that differences are taken seed by seed.
    """
    from .. import quality

    best = sweep_best(sweep)
    few, wide, every = (best[name]["by seed"] for name in ("q and v, r=16", _wide(best), "all layers, r=16"))
    behind, equal = ([every[seed] - other[seed] for seed in sweep["reported"]] for other in (few, wide))
    sets = {"q and v": few.values(), "all layers": every.values(), "behind": behind, "behind at equal size": equal}
    return {name: list(quality.mean_interval(list(values))) for name, values in sets.items()}


def _wide(best: dict) -> str:
    """The recipe for q and v with as many parameters as all layers have at rank 16."""
    return next(name for name in best if name.startswith("q and v") and name != "q and v, r=16")


def sweep_figure(sweep: dict) -> Figure:
    """Left, how far each recipe gets by learning rate; right, at its best rate, every seed and their mean."""
    from .. import quality

    plots.style()
    fig, (left, right) = plots.plt.subplots(1, 2, figsize=(11, 4.8), width_ratios=(1, 1.2), layout="constrained")
    best = sweep_best(sweep)
    for k, (name, row) in enumerate(best.items()):
        runs = [run for run in sweep["runs"] if run["recipe"] == name and run["seed"] in sweep["choosing"]]
        rates = sorted({run["rate"] for run in runs})
        means = [_mean(run["exact_match"] for run in runs if run["rate"] == rate) for rate in rates]
        look = {"color": plots.PALETTE[k], "marker": plots.MARKERS[k]}
        left.plot(rates, means, label=name, **look)
        shares = list(row["by seed"].values())
        mean, low, high = quality.mean_interval(shares)
        right.plot([k] * len(shares), shares, linestyle="", alpha=0.4, **look)
        right.errorbar(k + 0.25, mean, [[mean - low], [high - mean]], capsize=5, **look)
        right.annotate(f"{mean:.0%}", (k + 0.25, mean), xytext=(9, -4), textcoords="offset points", fontsize=10)
    left.set(
        xscale="log",
        xlabel="learning rate",
        ylabel="share of exact answers",
        title="Where the best rate lies depends on the recipe",
    )
    left.set_xticks(
        every := sorted({run["rate"] for run in sweep["runs"]}), [f"{rate:g}" for rate in every], fontsize=9
    )
    left.minorticks_off()
    fig.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=9)
    labels = [
        f"{name.replace(', ', chr(10))}\n{row['parameters'] / 1e3:,.0f} k\nat {row['rate']:g}"
        for name, row in best.items()
    ]
    right.set_xticks(range(len(best)), labels, fontsize=9)
    right.set(xlim=(-0.5, len(best)), title=f"At its best rate: {len(sweep['reported'])} other seeds")
    for ax in (left, right):
        ax.yaxis.set_major_formatter("{x:.0%}")
        ax.set_ylim(0, 1)
    return fig


def _mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)


def sweep_finding(sweep: dict) -> str:
    """What the sweep says on target layers, rank and learning rate, and how sure."""
    from .. import quality

    best, seeds = sweep_best(sweep), sweep["reported"]

    def gap(one: str, other: str) -> str:
        values = [best[one]["by seed"][seed] - best[other]["by seed"][seed] for seed in seeds]
        mean, low, high = quality.mean_interval(values)
        return f"**{100 * mean:+.0f} points** ({100 * low:+.0f} to {100 * high:+.0f})"

    rates = [row["rate"] for row in best.values()]
    wide = _wide(best)
    return (
        f"The best learning rates lie between {min(rates):g} and {max(rates):g}. Each recipe at the best of the rates "
        f"tried: all layers "
        f"against q and v alone, both of rank 16, {gap('all layers, r=16', 'q and v, r=16')}; with as many parameters "
        f"on q and v ({wide}), {gap('all layers, r=16', wide)}. Rank 64 against rank 2 on all layers, "
        f"{gap('all layers, r=64', 'all layers, r=2')}. Differences are taken seed by seed, over {len(seeds)} seeds; "
        f"in brackets are 95% intervals. {sweep_machines(sweep)}".rstrip()
    )


def sweep_machines(sweep: dict) -> str:
    """Which of the runs another machine made than the recording's own, as a sentence; empty if none."""
    if not (other := sweep.get("runs_of_another_machine")):
        return ""
    seeds, rates = other["seeds"], ", ".join(f"{rate:g}" for rate in other["rates"])
    return (
        f"Two machines made the runs: those of seeds {seeds[0]} to {seeds[-1]} and of the learning rate {rates} come "
        f"from {other['hardware']}, with torch {other['versions']['torch']}."
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
    """The rungs of `benchmarks/finetune_bench.py` at one shape, in order, with what each changes; last Unsloth.

    A change of speed is open unless a rung and the one before it lie further apart than the processes of either.
    """
    rungs = [r for r in recorded["rows"] if (r["batch"], r["length"]) == (batch, length) and "peak_bytes" in r]
    rungs = [r for r in rungs if _is_rung(r["recipe"]) or r["recipe"] == UNSLOTH]
    rows = []
    for i, rung in enumerate(rungs):
        gb, speed = rung["peak_bytes"] / 1e9, rung["tokens_a_second"]
        row = {"batch × length": f"{batch} × {length}", "recipe": rung["recipe"], "peak GB": gb, "tokens/s": speed}
        several = len(rung["by_process"]) > 1  # of one there is no range to show
        row["slowest–fastest process"] = (
            f"{min(rung['by_process']):,.0f}–{max(rung['by_process']):,.0f}" if several else None
        )
        if i and rung["recipe"] != UNSLOTH:
            before = rungs[i - 1]
            row["change, GB"] = f"{gb - before['peak_bytes'] / 1e9:+.2f}"
            apart = _apart(rung["by_process"], before["by_process"])
            row["change of speed"] = f"{speed / before['tokens_a_second'] - 1:+.0%}" if apart else "open"
        rows.append(row)
    return rows


def _is_rung(name: str) -> bool:
    return name in (FIRST, "no float32 upcast") or name.startswith("+")


def _by_process(recorded: dict, batch: int, length: int) -> dict[str, list[float]]:
    """Tokens a second of each process, by row, at one shape."""
    here = [row for row in recorded["rows"] if (row["batch"], row["length"]) == (batch, length)]
    return {row["recipe"]: row["by_process"] for row in here if "by_process" in row}


def _apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two rows lie further apart than the processes of either.

    That they don't overlap is not enough: of two rows of two processes that differ by luck alone, one pair in three
    doesn't.
    """
    gap = max(min(one) - max(other), min(other) - max(one))
    return gap > max(max(row) - min(row) for row in (one, other))


def ladder_said(recorded: dict, shapes: list[tuple[int, int]]) -> str:
    """What holds in every process, shape by shape: how far processes differ, first rung against last, and graphs."""
    said = []
    for batch, length in shapes:
        rows = _by_process(recorded, batch, length)
        spread = max(max(found) / min(found) for found in rows.values()) - 1
        rungs = [name for name in rows if _is_rung(name)]
        first, last, rival = rows[FIRST], rows[rungs[-1]], rows.get(UNSLOTH)
        text = f"- **{batch} × {length}:** processes of one row differ by up to {spread:.0%}. The last rung is "
        text += f"{min(last) / max(first):.1f} to {max(last) / min(first):.1f} times as fast as the first"
        if rival:
            ahead = [name for name in rungs if min(rows[name]) > max(rival) and _apart(rows[name], rival)]
            text += f"; by the rule of the last column faster than Unsloth: {', '.join(ahead) or 'none'}"
        said.append(text + ".")
    return "\n".join(said)


def exact_rows(recorded: dict) -> list[dict]:
    """Whether a lever computes the same step: how far its gradient is off float32's, and where a real run ends."""
    rows = []
    for row in recorded["exact"]:
        tail, gap, moved = row["losses"][-8:], row.get("gradient_gap"), row.get("gradient_moved")
        line = {"recipe": row["recipe"], "gradient off float32's": f"{gap:.1%}" if gap else None}
        line["off the rung before"] = None if moved is None or not gap else f"{moved:.1%}"
        line |= {"first loss": f"{row['losses'][0]:.2f}", "mean of the last 8": f"{sum(tail) / len(tail):.3f}"}
        rows.append(line)
    return rows


def ladder_figure(recorded: dict, shapes: list[tuple[int, int]]) -> tuple[Figure, dict]:
    """Peak memory against tokens a second, a panel a shape, with Unsloth's; and first rung to last, by shape."""
    plots.style()
    fig, axes = plots.plt.subplots(1, len(shapes), figsize=(4.4 * len(shapes), 4.4), layout="constrained")
    gains = {}
    for ax, shape in zip(axes, shapes, strict=True):
        rows = ladder(recorded, *shape)
        other = [row for row in rows if row["recipe"] == UNSLOTH]
        rows = [row for row in rows if row["recipe"] != UNSLOTH]
        gb, speed = [row["peak GB"] for row in rows], [row["tokens/s"] for row in rows]
        gains[shape] = speed[-1] / speed[0]
        found = _by_process(recorded, *shape)
        for row in (*rows, *other):  # a thin line from the slowest to the fastest process
            k = int(row["recipe"] == UNSLOTH)
            ax.plot([row["peak GB"]] * 2, [f(found[row["recipe"]]) for f in (min, max)], color=plots.PALETTE[k], lw=1)
        ax.plot(gb, speed, marker="o", color=plots.PALETTE[0], label="the ladder, rung by rung")
        for row in other:
            look = {"color": plots.PALETTE[1], "markersize": 9, "linestyle": "", "label": "Unsloth, in the same run"}
            ax.plot(row["peak GB"], row["tokens/s"], "s", **look)
        ax.annotate("standard", (gb[0], speed[0]), xytext=(0, -16), textcoords="offset points", ha="center", fontsize=9)
        ax.annotate("last rung", (gb[-1], speed[-1]), xytext=(6, 6), textcoords="offset points", fontsize=9)
        ax.set_title(f"{shape[0]} × {shape[1]} tokens", fontsize=11)
        ax.set_xlabel("peak, GB")
        ax.margins(0.22)
    axes[0].set_ylabel("tokens a second")
    batch, length = shapes[0]  # at the others a step waits for the host, and hosts differ
    fig.suptitle(f"Up and to the left: {gains[shapes[0]]:.1f} times the standard speed at {batch} × {length} tokens")
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
