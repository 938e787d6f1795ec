"""What fine-tuning costs, measured or recorded, as sentences, rows for tables and pictures: for notebook 12."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from .. import plots

__all__ = [
    "gains",
    "highest",
    "open_said",
    "ladder",
    "preset_rows",
    "rival_said",
    "later_said",
    "rung_rows",
    "rung_said",
    "rungs",
    "scale_rows",
    "size_rows",
    "sweep_best",
    "sweep_by_rate",
    "sweep_by_seed",
    "sweep_finding",
    "sweep_machines",
    "sweep_summary",
    "unpaged_said",
]

FIRST, TOP, UNSLOTH = "standard recipe", "+ CUDA graph", "Unsloth"  # what lies above the top is told apart
LABELS = {  # of the rungs, as a recording names them, below a bar
    FIRST: "standard\nrecipe",
    "no float32 upcast": "no\nupcast",
    "+ loss in pieces": "loss in\npieces",
    "+ fused adapters": "fused\nadapters",
    "+ Liger kernels": "Liger\nkernels",
    "+ offloading": "off-\nloading",
    "+ CUDA graph": "CUDA\ngraph",
}


def sweep_best(sweep: dict) -> dict[str, dict]:
    """Of each recipe of `benchmarks/finetune_sweep.py`: its best rate, and the exact answers there by reported "
    "seed."""
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


def sweep_by_rate(sweep: dict, only: str = "") -> Figure:
    """How far each recipe whose name begins so gets, by learning rate: the mean of the seeds that choose the rate."""
    plots.style()
    fig, ax = plots.plt.subplots(figsize=(7.0, 3.9))
    for k, name in enumerate(sweep_best(sweep)):
        if not name.startswith(only):
            continue
        runs = [run for run in sweep["runs"] if run["recipe"] == name and run["seed"] in sweep["choosing"]]
        rates = sorted({run["rate"] for run in runs})
        means = [_mean(run["exact_match"] for run in runs if run["rate"] == rate) for rate in rates]
        ax.plot(rates, means, label=_spoken(name), color=plots.PALETTE[k], marker=plots.MARKERS[k])
    ax.set(xscale="log", xlabel="learning rate", ylim=(0, 1.02))
    ax.set_ylabel(f"exact answers, mean of {len(sweep['choosing'])} seeds")
    ax.set_title("Which learning rate is best depends on the recipe")
    every = sorted({run["rate"] for run in sweep["runs"] if run["recipe"].startswith(only)})
    ax.set_xticks(every, [f"{rate:g}" for rate in every])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=10.5)
    return fig


def sweep_by_seed(sweep: dict) -> Figure:
    """Each recipe at its best rate: every seed that did not choose it, their mean and its 95% interval."""
    from .. import quality

    plots.style()
    fig, ax = plots.plt.subplots(figsize=(7.0, 3.7))
    best = sweep_best(sweep)
    for k, row in enumerate(best.values()):
        look = {"color": plots.PALETTE[k], "marker": plots.MARKERS[k]}
        shares = list(row["by seed"].values())
        mean, low, high = quality.mean_interval(shares)
        ax.plot([k] * len(shares), shares, linestyle="", markerfacecolor="white", **look)
        ax.errorbar(k + 0.22, mean, [[mean - low], [high - mean]], capsize=5, **look)
        ax.annotate(f"{mean:.0%}", (k + 0.22, mean), xytext=(8, -4), textcoords="offset points", fontsize=10.5)
    counts = [f"{row['parameters'] / 1e3:,.0f} thousand" for row in best.values()]
    labels = [f"{_spoken(name).replace(', ', chr(10))}\n{count}" for name, count in zip(best, counts, strict=True)]
    ax.set_xticks(range(len(best)), labels, fontsize=10.3)
    ax.set(xlim=(-0.4, len(best) - 0.2), ylim=(0, 1.02), ylabel="share of exact answers")
    ax.set_xlabel("recipe, and how many numbers it trains")
    ax.set_title(f"At its best rate: every one of {len(sweep['reported'])} other seeds, and the mean")
    ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    return fig


def _spoken(name: str) -> str:
    """ "all layers, r=16" as "all layers, rank 16"."""
    return name.replace("r=", "rank ")


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
        return f"**{100 * mean:+.0f} points** ({100 * low:+.0f} to {100 * high:+.0f})".replace("-", "−")

    wide = _wide(best)
    every, wider = best["all layers, r=16"]["by seed"], best[wide]["by seed"]
    _, low, _ = quality.mean_interval([every[seed] - wider[seed] for seed in seeds])
    where = "So it matters where the adapters are, and not only how large." if low > 0 else "That leaves it open."
    rank = wide.split("=")[1]
    return "\n\n".join(
        (
            "Adapters on all layers against q and v alone, both of rank 16: "
            f"{gap('all layers, r=16', 'q and v, r=16')}. (In brackets is the 95% interval over {len(seeds)} seeds.) "
            "Is that because there are more numbers to train? We gave q and v as many, which takes rank "
            f"{rank}: {gap('all layers, r=16', wide)}. {where}",
            f"And the rank? On all layers, rank 64 against rank 2: {gap('all layers, r=64', 'all layers, r=2')}.",
            "<details><summary>How this was computed, and the rank on q and v</summary>\n\nDifferences are taken seed "
            "by seed, and only then rounded. α is as large as the rank, so that the scale α/r is 1 everywhere. "
            f"{sweep_machines(sweep)}".rstrip()
            + f"\n\nWith adapters on q and v alone, the rank matters: rank {rank} against rank 16 is "
            f"{gap(wide, 'q and v, r=16')}.\n\n</details>",
        )
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


def rungs(recorded: dict, batch: int, length: int) -> list[dict]:
    """The rungs of one shape up to `TOP`, numbered from 0, for `draw.staircase`; `faster` is None where it is open."""
    found, processes = [], _by_process(recorded, batch, length)
    for row in ladder(recorded, batch, length):
        if row["recipe"] == UNSLOTH:
            continue
        change = row.get("change of speed")
        rung = {"number": len(found), "name": row["recipe"].removeprefix("+ "), "label": LABELS.get(row["recipe"], "")}
        rung |= {"gb": row["peak GB"], "speed": row["tokens/s"], "by process": processes[row["recipe"]]}
        found.append(rung | {"faster": None if change in (None, "open") else _spoken_change(change)})
        if row["recipe"] == TOP:
            break
    return found


def _spoken_change(change: str) -> str:
    """ "-5%" with a minus sign, and "+169%" as "2.7 times"."""
    share = float(change.rstrip("%")) / 100
    return f"{1 + share:.1f} times" if share >= 1 else change.replace("-", "−")


def rung_said(recorded: dict, number: int, shapes: Sequence[tuple[int, int]]) -> str:
    """What one rung changed in the recorded run, shape by shape, as a sentence each."""
    said = []
    for batch, length in shapes:
        steps = rungs(recorded, batch, length)
        before, rung = steps[number - 1], steps[number]
        change = rung["gb"] - before["gb"]
        if abs(change) < 0.05:
            text = f"the peak stays at {rung['gb']:.1f} GB"
        else:
            way = "falls" if change < 0 else "rises"
            text = f"the peak {way} from {before['gb']:.1f} to **{rung['gb']:.1f} GB**"
        if rung["faster"] is None:
            text += ", and the recording can't tell whether it is faster"
        elif rung["faster"].endswith("times"):
            text += f", and the speed is **{rung['faster']}** that of the rung below"
        else:
            text += f", and the speed changes by **{rung['faster']}**"
        said.append(f"At {batch} × {length} tokens, {text}.")
    return " ".join(said)


def unpaged_said(recorded: dict, shapes: Sequence[tuple[int, int]]) -> str:
    """What an optimizer that isn't paged changed about the top of the ladder, shape by shape."""
    said = []
    for batch, length in shapes:
        rows = ladder(recorded, batch, length)
        change = next(row["change of speed"] for row in rows if row["recipe"] == "+ optimizer not paged")
        said.append(f"{change.replace('-', '−')} at {batch} × {length}")
    return ", ".join(said)


def later_said(recorded: dict, shapes: Sequence[tuple[int, int]]) -> str:
    """What the rung that was recorded on another day made of the one below it, of the same day, shape by shape."""
    said = []
    for batch, length in shapes:
        rows = recorded.get("later", recorded)["rows"]  # where all rungs are of one day, these are among them
        rows = {r["recipe"]: r for r in rows if (r["batch"], r["length"]) == (batch, length)}
        below, rung = rows["+ optimizer not paged"], rows["+ adapters as one tensor"]
        speeds = [row["tokens_a_second"] for row in (below, rung)]
        two = [row.get("by_process", ()) for row in (below, rung)]
        sure = min(map(len, two)) > 1 and _apart(*two)  # of one process nobody knows how far another would differ
        said.append(
            f"at {batch} × {length} tokens from {speeds[0]:,.0f} to {speeds[1]:,.0f} tokens per second "
            f"({speeds[1] / speeds[0] - 1:+.0%}, {'counted' if sure else 'open'})"
        )
    return "; ".join(said)


def rung_rows(recorded: dict, shapes: Sequence[tuple[int, int]]) -> list[dict]:
    """A row for each rung: what it changed in memory at the first shape, and in speed at each."""
    steps = {shape: rungs(recorded, *shape) for shape in shapes}
    rows = []
    for rung in steps[shapes[0]]:
        i = rung["number"]
        row = {"rung": i, "lever": rung["name"]}
        for batch, length in shapes:
            here = steps[batch, length][i]
            row[f"peak, GB, {batch} × {length}"] = f"{here['gb']:.2f}"
        for batch, length in shapes:
            here = steps[batch, length][i]
            row[f"speed, {batch} × {length}"] = (here["faster"] or "open") if i else None
        rows.append(row)
    return rows


def gains(recorded: dict, shapes: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
    """How many times as fast the last rung is as the first, by shape."""
    steps = {shape: rungs(recorded, *shape) for shape in shapes}
    return {shape: found[-1]["speed"] / found[0]["speed"] for shape, found in steps.items()}


def size_rows(recorded: dict, shapes: Sequence[tuple[int, int]]) -> list[dict]:
    """A row for each size: what the whole ladder gained, in every process, and which levers changed the speed."""
    rows = []
    for batch, length in shapes:
        found = rungs(recorded, batch, length)
        first, last = found[0], found[-1]
        low = min(last["by process"]) / max(first["by process"])
        high = max(last["by process"]) / min(first["by process"])
        settled = [rung for rung in found if rung["faster"]]
        told = ", ".join(rung["name"] for rung in settled) or "none"
        if len(settled) > 2:
            most = max(settled, key=lambda rung: rung["speed"] / found[rung["number"] - 1]["speed"])
            told = f"{len(settled)} of {len(found) - 1}, most of all {most['name']}"
        row = {"size": f"{batch} × {length}", "peak": f"{first['gb']:.1f} → {last['gb']:.1f}"}
        rows.append(row | {"times as fast": f"{low:.1f} to {high:.1f}", "levers": told})
    return rows


def open_said(recorded: dict, shapes: Sequence[tuple[int, int]]) -> str:
    """How many changes of speed are open, and why; and where the ladder gains less than its last rung."""
    steps = {shape: rungs(recorded, *shape) for shape in shapes}
    changes = [rung["faster"] for found in steps.values() for rung in found[1:]]
    pairs = [rung["by process"] for found in steps.values() for rung in found]
    spread = max(max(pair) / min(pair) - 1 for pair in pairs)
    said = [
        f"Of {len(changes)} changes in speed, {changes.count(None)} are open, because two processes of one rung "
        f"differ by up to {spread:.0%}. Open doesn't mean useless."
    ]
    for (batch, length), found in steps.items():
        if found[-2]["speed"] < found[0]["speed"]:
            known = "more than luck" if _apart(found[-2]["by process"], found[0]["by process"]) else "itself open"
            said.append(
                f"At {batch} × {length}, the last rung gains more than the whole ladder, because the rung below it was "
                f"slower than rung 0. That difference is {known}."
            )
    return " ".join(said)


def rival_said(recorded: dict, shapes: Sequence[tuple[int, int]]) -> str:
    """Which rungs were faster than Unsloth, by the rule of the table, and both peaks."""
    said = []
    for batch, length in shapes:
        rows, found = _by_process(recorded, batch, length), ladder(recorded, batch, length)
        rival = next((row for row in found if row["recipe"] == UNSLOTH), None)
        if rival is None:
            continue
        above = [rung for rung in rungs(recorded, batch, length) if rung["speed"] > rival["tokens/s"]]
        sure = [
            r for r in above if min(r["by process"]) > max(rows[UNSLOTH]) and _apart(r["by process"], rows[UNSLOTH])
        ]
        open_ = [rung for rung in above if rung not in sure]
        shown = _listed(sure, "faster") if sure else "no rung is faster for sure"
        shown += f" ({_listed(open_, 'open')})" if open_ else ""
        said.append(f"at {batch} × {length} tokens {shown}, and Unsloth's peak is {rival['peak GB']:.1f} GB")
    return f"Compared with Unsloth: {'; '.join(said)}." if said else ""


def _listed(found: Sequence[Mapping], what: str) -> str:
    """ "rungs 4 and 6 are faster" or "rung 5 is open"."""
    numbers = [str(rung["number"]) for rung in found]
    several = len(numbers) > 1
    return f"rung{'s' * several} {' and '.join(numbers)} {'are' if several else 'is'} {what}"


def highest(budget, kind: str) -> float:
    """The most GB that tensors of a kind, such as "logits", take at one moment of a forecast step."""
    held = most = 0
    for name, change in zip(budget.timeline.kinds, budget.timeline.deltas, strict=True):
        held += change if name == kind else 0
        most = max(most, held)
    return most / 1e9


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


def scale_rows(runs: Mapping[str, dict]) -> list[dict]:
    """DDP and FSDP against one GPU, from `benchmarks/scale_bench.py`: speeds per GPU, at the same batch on each GPU.

    Rows are those of Mistral-7B's shapes; a batch that one GPU did not run alone has nothing to be compared with.
    """
    runs = {name: run for name, run in runs.items() if "peak_bytes" in run and run["model"] == "mistral-7b-shape"}
    alone = {run["recipe"]["batch"]: run["tokens_a_second"] for run in runs.values() if run["world_size"] == 1}
    rows = []
    for name, run in runs.items():
        batch, length = run["recipe"]["batch"], run["recipe"]["length"]
        if run["world_size"] == 1 or batch not in alone:
            continue
        speed = run["tokens_a_second"] / run["world_size"] / alone[batch]
        row = {"way": name.partition(",")[0], "per GPU": f"{batch} × {length:,}", "times one GPU": speed}
        row |= {"tokens/s": run["tokens_a_second"], "one GPU, tokens/s": alone[batch]}
        rows.append(row | {"peak, GB": max(run["peak_bytes"]) / 1e9})
    return sorted(rows, key=lambda row: (int(row["per GPU"].split()[0]), row["way"]))
