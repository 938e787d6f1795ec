"""What notebook 12 shows of recorded costs, on figures that can be checked by hand."""

from types import SimpleNamespace

import pytest

from helpers.finetune import report


def rung(recipe, peak, seconds, losses=(2.0, 1.0), batch=1, length=100):
    row = {"recipe": recipe, "batch": batch, "length": length, "peak_bytes": peak, "seconds": seconds}
    return row | {"tokens_a_second": batch * length / sorted(seconds)[1], "losses": list(losses)}


RECORDED = {
    "rows": [
        rung("standard recipe", 9e9, [2.0, 1.0, 4.0], (2.2, 1.1)),
        rung("no float32 upcast", 6e9, [0.5, 0.4, 0.8]),
        rung("regional compile", 1e9, [0.1, 0.1, 0.1]),  # beside the ladder
        rung("+ loss in pieces", 5.5e9, [0.5, 0.25, 1.0], (2.0, 1.001)),
        rung("+ loss in pieces", 7e9, [1.0, 1.0, 1.0], batch=4),
        {"recipe": "+ CUDA graph", "batch": 1, "length": 100, "failed": "out of memory"},
    ]
}


def test_the_ladder_has_the_rungs_of_one_shape_each_beside_the_one_before():
    rows = report.ladder(RECORDED, 1, 100)
    assert [row["recipe"] for row in rows] == ["standard recipe", "no float32 upcast", "+ loss in pieces"]
    assert [row["peak GB"] for row in rows] == [9, 6, 5.5] and [row["tokens/s"] for row in rows] == [50, 200, 200]
    assert [row["slowest–fastest step"] for row in rows] == ["25–100", "125–250", "100–400"]
    assert [row.get("change, GB") for row in rows] == [None, "-3.00", "-0.50"]
    assert [row.get("change of speed") for row in rows] == [None, "+300%", "+0%"]
    assert [row["losses differ by"] for row in rows] == ["1e-01", "0e+00", "1e-03"]


def test_the_figure_says_how_much_faster_the_last_rung_is():
    fig, gains = report.ladder_figure(RECORDED, [(1, 100), (4, 100)], {(1, 100): (5, 300), (4, 100): (7, 100)})
    assert gains == {(1, 100): 4, (4, 100): 1} and "1.0 to 4.0 times" in fig.get_suptitle()


def test_presets_that_did_not_run_have_a_forecast_alone():
    presets = {name: SimpleNamespace(batch=2, length=64, compute_dtype="auto") for name in ("6gb", "24gb")}
    ran = {"recipe": "6gb", "peak_bytes": 4.8e9, "cap_bytes": 6e9, "tokens_a_second": 645.0}
    small, large = report.preset_rows(presets, {"6gb": 4.7, "24gb": 13.3}, {"presets": [ran]})
    assert (small["measured GB"], small["cap GB"], small["tokens/s"]) == (4.8, 6, 645)
    assert (large["forecast GB"], large["measured GB"], large["tokens/s"]) == (13.3, None, None)


def test_several_gpus_are_compared_with_one():
    run = {"peak_bytes": [5e9], "tokens_a_second": 100, "losses": [2.0]}
    two = {"peak_bytes": [5e9, 6e9], "tokens_a_second": 150, "losses": [1.5]}
    rows = report.scale_rows({"runs": {"one GPU": run, "DDP": two, "FSDP": {"failed": "no"}}})
    assert [(row["run"], row["peak GB of a GPU"], row["times one GPU"]) for row in rows] == [
        ("one GPU", 5, 1),
        ("DDP", 6, 1.5),
    ]


def test_the_sweep_names_what_chance_alone_does():
    names = ["all", "q, v", "q, v, equal", "r=4", "r=64", "rate 1e-3"]
    shares = [0.8, 0.6, 0.75, 0.7, 0.85, 0.3]
    sweep = {"rows": [{"name": n, "exact_match": s} for n, s in zip(names, shares, strict=True)], "held_out": 200}
    text = report.sweep_finding(sweep)
    assert "**60%** at the same rank, **75%**" in text and "reach **80%**" in text
    assert "Ranks spread over 15 points, learning rates over 50." in text and "at most 5.0%" in text


def test_losses_of_other_batches_are_not_compared():
    plain = {"turns": 8.0, "tokens": 160, "seconds": 2.0, "span": [1.0, 4.0], "kept": 3e6, "losses": [2.0, 1.0]}
    found = {"plain": plain, "chunked": plain | {"losses": [2.0, 1.01], "kept": 1e6}, "packed": plain | {"turns": 16.0}}
    rows = report.lever_rows(found)
    assert [row["losses differ by"] for row in rows] == ["0e+00", "1e-02", None]
    assert [row["turns/s"] for row in rows] == [4, 4, 8] and rows[2]["slowest–fastest step"] == "4–16"
    assert rows[1]["memory"] == "1.0 MB kept"
    assert [row["tokens a turn"] for row in rows] == [20, 20, 10]


@pytest.mark.parametrize(("others", "gap"), [([2.0, 1.0], 0), ([1.0, 1.0], 1), ([2.0, 2.0], 0.5)])
def test_agreement_is_the_largest_relative_difference(others, gap):
    assert report.agreement([2.0, 1.0], others) == gap
