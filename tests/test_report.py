"""What notebook 12 shows of recorded costs, on figures that can be checked by hand."""

from types import SimpleNamespace

import pytest
import torch

from helpers import finetune
from helpers.finetune import report


def rung(recipe, peak, seconds, losses=(2.0, 1.0), batch=1, length=100):
    row = {"recipe": recipe, "batch": batch, "length": length, "peak_bytes": peak, "seconds": seconds}
    speeds = [batch * length / second for second in seconds]
    return row | {"tokens_a_second": sorted(speeds)[1], "by_process": sorted(set(speeds)), "losses": list(losses)}


RECORDED = {
    "rows": [
        rung("standard recipe", 9e9, [2.0, 1.0, 4.0], (2.2, 1.1)),
        rung("no float32 upcast", 6e9, [0.5, 0.4, 0.8]),
        rung("regional compile", 1e9, [0.1, 0.1, 0.1]),  # beside the ladder
        rung("+ loss in pieces", 5.5e9, [0.5, 0.25, 1.0], (2.0, 1.001)),
        rung("+ loss in pieces", 7e9, [1.0, 1.0, 1.0], batch=4),
        {"recipe": "+ CUDA graph", "batch": 1, "length": 100, "failed": "out of memory"},
        rung("Unsloth", 4e9, [0.25, 0.25, 0.25]),
    ]
}


def test_the_ladder_has_the_rungs_of_one_shape_each_beside_the_one_before():
    rows = report.ladder(RECORDED, 1, 100)
    assert [row["recipe"] for row in rows] == ["standard recipe", "no float32 upcast", "+ loss in pieces", "Unsloth"]
    assert [row["peak GB"] for row in rows] == [9, 6, 5.5, 4] and [row["tokens/s"] for row in rows] == [
        50,
        200,
        200,
        400,
    ]
    assert [row["slowest–fastest process"] for row in rows] == ["25–100", "125–250", "100–400", None]
    assert [row.get("change, GB") for row in rows] == [None, "-3.00", "-0.50", None]
    assert [row.get("change of speed") for row in rows] == [None, "open", "open", None]


def test_a_change_of_speed_is_open_unless_it_exceeds_what_processes_differ_by():
    def changed(one, other):
        rows = [rung("standard recipe", 9e9, [1, 1, 1]), rung("no float32 upcast", 9e9, [1, 1, 1])]
        for row, speeds in zip(rows, (one, other), strict=True):
            row["by_process"], row["tokens_a_second"] = speeds, sum(speeds) / 2
        return report.ladder({"rows": rows}, 1, 100)[1]["change of speed"]

    assert changed([100, 110], [121, 125]) == "+17%" and changed([121, 125], [100, 110]) == "-15%"
    assert changed([100, 110], [119, 125]) == "open"  # 9 apart, and the first differs by 10
    assert changed([100, 101], [105, 120]) == "open" and changed([100, 110], [105, 120]) == "open"


def test_rungs_are_numbered_and_the_rival_is_none_of_them():
    found = report.rungs(RECORDED, 1, 100)
    assert [(rung["number"], rung["name"], rung["gb"]) for rung in found] == [
        (0, "standard recipe", 9),
        (1, "no float32 upcast", 6),
        (2, "loss in pieces", 5.5),
    ]
    assert found[0]["by process"] == [25, 50, 100] and [rung["faster"] for rung in found] == [None] * 3
    assert all(rung["label"] for rung in found)
    assert report.gains(RECORDED, [(1, 100), (4, 100)]) == {(1, 100): 4, (4, 100): 1}


def certain(*speeds):
    """A ladder of rungs of 9, 8, … GB, each measured in two processes that agree."""
    rows = [rung(name, (9 - i) * 1e9, [1.0] * 3) for i, name in enumerate(("standard recipe", "+ a", "Unsloth"))]
    for row, speed in zip(rows, speeds, strict=True):
        row["by_process"], row["tokens_a_second"] = [speed, speed + 1], speed + 0.5
    return {"rows": rows}


def test_a_rung_says_what_it_changed_and_no_more():
    assert report.rung_said(RECORDED, 1, [(1, 100)]) == (
        "At 1 × 100 tokens, the peak falls from 9.0 to **6.0 GB**, and the recording can't tell whether it is faster."
    )
    slower = report.rung_said(certain(100, 80, 50), 1, [(1, 100)])
    assert "falls from 9.0 to **8.0 GB**" in slower and "changes by **−20%**" in slower
    same = certain(100, 80, 50)
    same["rows"][1]["peak_bytes"] = 9.02e9
    assert "the peak stays at 9.0 GB" in report.rung_said(same, 1, [(1, 100)])


def test_rows_of_rungs_have_memory_and_speed_of_each_shape():
    first, second = report.rung_rows(certain(100, 200, 50), [(1, 100)])
    assert first == {"rung": 0, "lever": "standard recipe", "peak, GB, 1 × 100": "9.00", "speed, 1 × 100": None}
    assert second == {"rung": 1, "lever": "a", "peak, GB, 1 × 100": "8.00", "speed, 1 × 100": "2.0 times"}
    assert report.rung_rows(RECORDED, [(1, 100)])[1]["speed, 1 × 100"] == "open"


def test_the_ladder_at_each_size_holds_in_every_process():
    (row,) = report.size_rows(RECORDED, [(1, 100)])  # 25–100 against 100–400
    assert row == {"size": "1 × 100", "peak": "9.0 → 5.5", "times as fast": "1.0 to 16.0", "levers": "none"}
    assert report.size_rows(certain(100, 200, 50), [(1, 100)])[0]["levers"] == "a"
    told = report.open_said(RECORDED, [(1, 100)])
    assert "Of 2 changes in speed, 2 are open" in told and "by up to 300%" in told and "slower" not in told
    assert "Of 1 changes in speed, 0 are open" in report.open_said(certain(100, 200, 50), [(1, 100)])


def test_a_ladder_that_gains_less_than_its_last_rung_says_why():
    rows = [rung(name, 9e9, [1.0] * 3) for name in ("standard recipe", "+ offloading", "+ CUDA graph")]
    for row, speed in zip(rows, (100, 80, 300), strict=True):
        row["by_process"], row["tokens_a_second"] = [speed, speed + 1], speed
    assert "slower than rung 0. That difference is more than luck." in report.open_said({"rows": rows}, [(1, 100)])
    rows[1]["by_process"] = [60, 99]
    assert "That difference is itself open." in report.open_said({"rows": rows}, [(1, 100)])


def test_a_rung_is_faster_than_the_rival_only_by_the_rule():
    # Unsloth has 400 in all, which no rung exceeds in every process
    assert "no rung is faster for sure, and Unsloth's peak is 4.0 GB" in report.rival_said(RECORDED, [(1, 100)])
    assert "tokens rung 1 is faster, and" in report.rival_said(certain(100, 200, 150), [(1, 100)])
    assert "tokens rungs 0 and 1 are faster, and" in report.rival_said(certain(100, 200, 50), [(1, 100)])
    near = certain(100, 200, 150)
    near["rows"][1]["by_process"] = [155, 245]
    assert "no rung is faster for sure (rung 1 is open)" in report.rival_said(near, [(1, 100)])
    assert report.rival_said({"rows": RECORDED["rows"][:4]}, [(1, 100)]) == ""


def test_the_ladder_ends_with_the_graph_and_what_lies_above_is_told_apart():
    names = ("standard recipe", "+ CUDA graph", "+ optimizer not paged")
    rows = [rung(name, 9e9, [1.0] * 3) for name in names]
    for row, speed in zip(rows, (100, 300, 270), strict=True):
        row["by_process"], row["tokens_a_second"] = [speed, speed + 1], speed
    assert [r["name"] for r in report.rungs({"rows": rows}, 1, 100)] == ["standard recipe", "CUDA graph"]
    assert report.gains({"rows": rows}, [(1, 100)]) == {(1, 100): 3}
    assert "the speed is **3.0 times** that of the rung below" in report.rung_said({"rows": rows}, 1, [(1, 100)])
    assert report.unpaged_said({"rows": rows}, [(1, 100)]) == "−10% at 1 × 100"


def test_the_most_of_a_kind_is_found_wherever_it_is():
    timeline = SimpleNamespace(kinds=("logits", "activations", "logits", "logits"), deltas=(2e9, 9e9, -1e9, 3e9))
    assert report.highest(SimpleNamespace(timeline=timeline), "logits") == 4


def test_presets_that_did_not_run_have_a_forecast_alone():
    presets = {name: SimpleNamespace(batch=2, length=64, compute_dtype="auto") for name in ("6gb", "24gb")}
    ran = {"recipe": "6gb", "peak_bytes": 4.8e9, "cap_bytes": 6e9, "tokens_a_second": 645.0}
    small, large = report.preset_rows(presets, {"6gb": 4.7, "24gb": 13.3}, {"presets": [ran]})
    assert (small["measured GB"], small["cap GB"], small["tokens/s"]) == (4.8, 6, 645)
    assert (large["forecast GB"], large["measured GB"], large["tokens/s"]) == (13.3, None, None)


def test_several_gpus_are_compared_with_one_at_the_same_batch():
    def run(world, batch, speed, model="mistral-7b-shape"):
        recipe = {"batch": batch, "length": 2048}
        return {"world_size": world, "peak_bytes": [5e9] * world, "tokens_a_second": speed, "recipe": recipe} | {
            "model": model
        }

    runs = {"one GPU": run(1, 1, 100), "one GPU, 4 × 2048": run(1, 4, 400), "FSDP, 4 × 2048": run(2, 4, 600)}
    runs |= {"DDP": run(2, 1, 210), "DDP, 8 × 2048": run(2, 8, 900), "FSDP": {"failed": "no"}}
    runs |= {"mini, DDP": run(2, 1, 50, "mini"), "70B": run(2, 1, 10, "llama-70b-shape")}
    rows = report.scale_rows(runs)
    assert [(row["way"], row["per GPU"], row["times one GPU"]) for row in rows] == [
        ("DDP", "1 × 2,048", 1.05),
        ("FSDP", "4 × 2,048", 0.75),
    ]


def test_a_sweep_is_judged_by_the_seeds_that_did_not_choose():
    runs = []
    best = {"all layers, r=16": (0.8, 0.82, 0.84), "q and v, r=16": (0.6, 0.5, 0.7), "q and v, r=87": (0.7, 0.72, 0.71)}
    best |= {"all layers, r=2": (0.8, 0.8, 0.82), "all layers, r=64": (0.81, 0.8, 0.82)}
    for name, shares in best.items():
        for rate, share in ((1e-3, 0.99), (2e-3, 0.1)):  # what chose is not what is reported
            runs += [{"recipe": name, "rate": rate, "seed": 0, "exact_match": share, "parameters": 10}]
        for seed, share in zip((3, 4, 5), shares, strict=True):
            runs += [{"recipe": name, "rate": 1e-3, "seed": seed, "exact_match": share, "parameters": 10}]
    sweep = {"runs": runs, "choosing": [0], "reported": [3, 4, 5]}
    summary = report.sweep_summary(sweep)
    assert summary["q and v"][0] == pytest.approx(0.6) and summary["all layers"][0] == pytest.approx(0.82)
    # differences 0.20, 0.32, 0.14, seed by seed: their mean, and Student's 4.303 standard errors of it
    mean, low, high = summary["behind"]
    assert mean == pytest.approx(0.22) and high - mean == pytest.approx(4.3027 * 0.0916515 / 3**0.5, rel=1e-3)
    assert mean - low == pytest.approx(high - mean)
    assert summary["behind at equal size"][0] == pytest.approx(0.82 - 0.71)
    text = report.sweep_finding(sweep)
    assert "**+22 points** (−1 to +45)" in text and "over 3 seeds" in text and "rank 64 against rank 2: " in text
    assert "rank 87 against rank 16 is **+11 points**" in text
    assert report.sweep_machines(sweep) == "" and text.endswith("</details>") and "takes rank 87" in text
    low = summary["behind at equal size"][1]
    assert ("So it matters where" in text) == (low > 0)
    other = {"seeds": [4, 5], "rates": [2.5e-4], "hardware": "a small CPU", "versions": {"torch": "9.9"}}
    told = report.sweep_finding(sweep | {"runs_of_another_machine": other})
    assert "seeds 4 to 5 and of the learning rate 0.00025 come from a small CPU, with torch 9.9" in told
    by_rate, by_seed = report.sweep_by_rate(sweep), report.sweep_by_seed(sweep)
    assert len(report.sweep_by_rate(sweep, "all layers").axes[0].lines) == 3
    assert len(by_rate.axes[0].lines) == 5 and "3 other seeds" in by_seed.axes[0].get_title(loc="left")


def test_operations_are_what_computes_and_views_are_not():
    x = torch.ones(3, 4)
    found = finetune.operations(lambda: (x.t().reshape(2, 6) * 2).mean())
    assert [name for name, _ in found] == ["clone", "mul", "mean"] and [count for _, count in found] == [12, 12, 1]
    assert finetune.operations(lambda: x.view(4, 3)) == [] and finetune.operations(lambda: x.add_(1)) == [("add_", 12)]


def test_traffic_is_the_bytes_that_an_operation_reads_and_writes():
    x, a, half = torch.ones(64, 32), torch.ones(32, 2), torch.ones(4, dtype=torch.float16)
    assert finetune.traffic(lambda: x @ a) == [("mm", 128, 4 * (64 * 32 + 64), 4 * 128)]
    assert finetune.traffic(lambda: x + x) == [("add", 2048, 2 * 8192, 8192)]  # read twice, though it is one tensor
    assert finetune.traffic(lambda: half.float()) == [("_to_copy", 4, 8, 16)]
    assert finetune.traffic(lambda: x * torch.ones(1, 1).expand(64, 32))[-1][2] == 8192 + 4  # one number, repeated
