"""Verdicts on the guide's claims follow from measurements: change one, and the verdict changes."""

import copy
import math
import re

import pytest
import torch

from helpers import claims, memory, models, nf4
from helpers.claims import measure

MEASURED = {
    "size": {"fp32": 28.967, "fp16": 14.483, "int8": 7.510, "nf4": 4.451, "nf4-dq": 4.1255},
    "loaded": {
        "bytes": {"bf16": 11_540_992, "nf4": 4_760_704, "nf4-dq": 4_583_848},
        "parameters": {"16 bits": 5_770_496, "nf4-dq": 5_770_496},
        "linear_share": 0.8177,
        "saved": 0.603,
        "saved_linear": 0.742,
        "dq_bits_7b": 0.373,
        "dq_bits": 0.3,
    },
    "error": {"NF4": 0.846, "FP4": 1.487, "INT4 symmetric": 1.16, "INT4 affine": 0.802},
    "compute": {
        "quantization": 0.04,
        "float16": 0.0002,
        "bfloat16": 0.0017,
        "layer against dequantized": 0.0017,
        "default": "float32",
        "room": 176.0,
    },
    "speed": {
        "by batch": {"1": 1.08, "16": 0.67},
        "short": 1.08,
        "long": 0.9,
        "short length": 32,
        "long length": 4080,
        "layer time": 1.6,
        "layer rows": 256,
        "bytes": 0.29,
    },
    "quality": {
        "nf4-dq over 16 bits": [0.032, 0.027, 0.037],
        "nf4-dq over nf4": [0.0, -0.0004, 0.0004],
        "fp4 over nf4": [0.054, 0.045, 0.064],
        "accuracy": [-0.005, -0.015, 0.0],
        "questions": 200,
    },
    "mmlu": {"questions": 14042, "before": 0.613, "after": 0.609},
    "training": {
        "forecast_gb": 4.36,
        "peak_gb": None,
        "weights_gb": 4.125,
        "length": 128,
        "steps": 16,
        "loss before": 11.2,
        "loss": {"q_proj, v_proj": 8.8, "all linear": 6.8},
        "base unchanged": True,
        "adapters changed": True,
    },
    "hardware": {"cpu works": True},
}
VERDICTS = {
    "intro": "false",
    "range": "false",
    "table": "depends",
    "linear": "depends",
    "saves": "depends",
    "dq-bits": "true",
    "fewer": "false",
    "int4": "depends",
    "recommended": "true",
    "compute": "depends",
    "fp16": "true",
    "storage": "true",
    "faster": "false",
    "bandwidth": "true",
    "simplified": "false",
    "long": "true",
    "loss": "depends",
    "dq-loss": "true",
    "mmlu": "depends",
    "conclusion": "depends",
    "2gb": "false",
    "targets": "depends",
    "inference": "depends",
    "hardware": "false",
}
SIZES = {"fp32": 16, "fp16": 8, "int8": 7, "nf4": 3.9, "nf4-dq": 3.6}
GOOD = {"accuracy": [0.0, -0.01, 0.01], "nf4-dq over 16 bits": [0.001, -0.001, 0.003]}
BAD = {"accuracy": [-0.05, -0.07, -0.03]}
# claim, what is measured instead, and the verdict that follows
CHANGES = [
    ("intro", {"size": SIZES}, "true"),
    ("intro", {"size": {"fp16": 8.1}}, "depends"),
    ("range", {"size": {"nf4-dq": 3.9}}, "depends"),
    ("range", {"size": SIZES}, "true"),
    ("table", {"size": {"int8": 7.2, "nf4-dq": 3.55}}, "true"),
    ("table", {"size": {"fp32": 40, "fp16": 20, "int8": 10}}, "false"),
    ("linear", {"loaded": {"linear_share": 1.0}}, "true"),
    ("linear", {"loaded": {"linear_share": 0.0}}, "false"),
    ("saves", {"loaded": {"saved_linear": 0.7}}, "false"),
    ("saves", {"loaded": {"saved_linear": 0.751, "saved": 0.749}, "size": {"nf4-dq": 3.62}}, "true"),
    ("dq-bits", {"loaded": {"dq_bits_7b": 0.3}}, "false"),
    ("dq-bits", {"loaded": {"dq_bits_7b": 0.5}}, "false"),
    ("fewer", {"loaded": {"parameters": {"16 bits": 100, "nf4-dq": 50}}}, "true"),
    ("int4", {"error": {"NF4": 0.7}}, "true"),
    ("int4", {"error": {"NF4": 1.3}}, "false"),
    ("recommended", {"quality": {"fp4 over nf4": [0.001, -0.001, 0.003]}}, "depends"),
    ("recommended", {"quality": {"fp4 over nf4": [-0.02, -0.03, -0.01]}}, "false"),
    ("compute", {"compute": {"default": "float16"}}, "true"),
    ("fp16", {"compute": {"room": 20.0}}, "depends"),
    ("fp16", {"compute": {"room": 0.5}}, "false"),
    ("fp16", {"compute": {"float16": 0.01}}, "false"),
    ("storage", {"compute": {"layer against dequantized": 0.05}}, "false"),
    ("faster", {"speed": {"by batch": {"1": 2.0, "16": 2.5}}}, "true"),
    ("faster", {"speed": {"by batch": {"1": 2.0, "16": 0.5}}}, "depends"),
    ("bandwidth", {"speed": {"bytes": 1.0}}, "false"),
    ("simplified", {"speed": {"layer time": 0.5}}, "true"),
    ("long", {"speed": {"long": 1.1}}, "false"),
    ("long", {"speed": {"short": 0.8}}, "depends"),
    ("loss", {"quality": GOOD}, "true"),
    ("loss", {"quality": BAD}, "false"),
    ("dq-loss", {"quality": {"nf4-dq over nf4": [0.002, -0.003, 0.007]}}, "depends"),
    ("dq-loss", {"quality": {"nf4-dq over nf4": [0.02, 0.01, 0.03]}}, "false"),
    ("mmlu", {"mmlu": {"after": 0.59}}, "true"),
    ("mmlu", {"mmlu": {"questions": 200_000}}, "true"),
    ("conclusion", {"quality": BAD, "loaded": {"saved_linear": 0.7}}, "false"),
    ("2gb", {"training": {"forecast_gb": 1.9}}, "true"),
    ("targets", {"training": {"loss": {"q_proj, v_proj": 6.8, "all linear": 6.8}}}, "true"),
    ("targets", {"training": {"loss": {"q_proj, v_proj": 11.1, "all linear": 6.8}}}, "false"),
    ("targets", {"training": {"loss": None}}, "not measured"),
    ("inference", {"training": {"base unchanged": False}}, "false"),
    ("inference", {"training": {"adapters changed": False}}, "true"),
    ("hardware", {"hardware": {"cpu works": False}}, "true"),
]


def changed(changes: dict) -> dict:
    measured = copy.deepcopy(MEASURED)
    for part, values in changes.items():
        measured[part].update(values)
    return measured


@pytest.mark.parametrize("claim", claims.CLAIMS)
def test_each_claim_is_judged_by_what_was_measured(claim):
    found = claims.judge(claim, MEASURED)
    assert found.kind == VERDICTS[claim]
    assert re.search(r"\d", found.because) or claim in ("inference", "conclusion", "hardware")


@pytest.mark.parametrize(("claim", "changes", "verdict"), CHANGES)
def test_another_measurement_gives_another_verdict(claim, changes, verdict):
    assert VERDICTS[claim] != verdict
    found = claims.judge(claim, changed(changes))
    assert found.kind == verdict
    assert found.because != claims.judge(claim, MEASURED).because


def test_a_measured_peak_counts_more_than_a_forecast():
    found = claims.judge("2gb", changed({"training": {"forecast_gb": 1.9, "peak_gb": 2.5}}))
    assert found.verdict == "false" and "2.50" in found.because and "1.90" in found.because


def test_every_claim_can_change():
    assert {claim for claim, _, _ in CHANGES} == set(claims.CLAIMS) == set(VERDICTS)


@pytest.mark.parametrize("claim", claims.CLAIMS)
def test_what_was_not_measured_is_not_judged(claim):
    for need in claims.CLAIMS[claim].needs:
        assert claims.judge(claim, MEASURED | {need: None}).verdict == "not measured"
    assert claims.judge(claim, {}) == claims.Verdict("not measured")


def test_two_machines_agree_or_the_verdict_depends():
    yes, no, depends, nothing = (claims.Verdict(v) for v in ("true", "false", "depends on x", "not measured"))
    assert claims.combined(yes, nothing) == claims.combined(nothing, yes) == claims.combined(yes, yes) == "true"
    assert claims.combined(nothing, nothing) == "not measured"
    assert claims.combined(depends, claims.Verdict("depends on y")) == "depends on x"
    for pair in ((yes, no), (no, yes), (depends, no)):
        assert claims.combined(*pair).startswith("depends on the model")


def test_standard_errors_against_a_simulation():
    z = claims.unpaired_z(0.613, 0.609, 14042)
    assert 0.68 < z < 0.70 and z == claims.unpaired_z(0.609, 0.613, 14042)
    draws = torch.distributions.Binomial(14042, torch.tensor([0.613, 0.609])).sample((20_000,)) / 14042
    assert abs(0.004 / (draws[:, 0] - draws[:, 1]).std().item() / z - 1) < 0.03


def test_the_guide_is_made_from_the_measurement():
    text = claims.guide(MEASURED)
    for figure in (
        "28.97",
        "4.13",
        "71.5%",
        "0.373",
        "float32",
        "1.08 at batch 1",
        "29%",
        "+3.20%",
        "-0.5 points",
        "4.36",
    ):
        assert figure in text, figure
    assert "not recorded" not in text and "None" not in text and "nan" not in text
    other = changed({"size": {"fp32": 12.34}, "compute": {"default": "bfloat16"}, "training": {"peak_gb": 5.67}})
    other["speed"]["by batch"]["1"] = 2.22
    told = claims.guide(other)
    for figure in ("12.34", "bfloat16 unless", "2.22 at batch 1", "measured were 5.67 GB"):
        assert figure in told and figure not in text
    assert "4-bit layers run on CPUs" in text and "A GPU is needed" in claims.guide(
        changed({"hardware": {"cpu works": False}})
    )
    assert "no lack of one" in text and "a loss." in claims.guide(changed({"mmlu": {"after": 0.59}}))


def test_a_quiz_without_a_changed_answer_has_no_interval():
    same = changed({"quality": {"accuracy": [0.0, 0.0, 0.0]}})
    assert "unchanged on 200 questions" in claims.judge("loss", same).because
    assert "unchanged on 200 questions" in claims.guide(same)


def test_the_guide_leaves_out_what_was_not_measured():
    bare = claims.guide(
        MEASURED | {"speed": None, "quality": None} | {"training": MEASURED["training"] | {"loss": None}}
    )
    assert "0.373" not in claims.guide(MEASURED | {"loaded": None})
    assert "No parameter goes away" in bare
    assert "at batch" not in bare and "perplexity" not in bare and "steps the loss" not in bare
    recorded = changed({"speed": {"by batch": {"64": 0.77}}, "training": {"peak_gb": 6.28}})
    both = claims.guide(MEASURED, recorded)
    assert "On the recorded GPU" in both and "0.77 at batch 64" in both and "6.28" in both
    assert "On the recorded GPU" not in claims.guide(MEASURED)


# --- what is measured ---


def test_sizes_and_shares_of_mini_mistral():
    found = measure.loaded(models.resolve("mini"), "bf16")
    config = models.config("mini")
    for scheme, size in found["bytes"].items():
        assert size == memory.predict(config, scheme).weight_bytes
    assert found["linear_share"] == pytest.approx(4_718_592 / 5_770_496)
    assert found["dq_bits_7b"] == pytest.approx(0.5 - (nf4.bits_per_parameter(64, True) - 4), abs=1e-3)
    assert 0.2 < found["dq_bits"] < found["dq_bits_7b"]  # its small layers pay for tables of their own
    assert found["saved_linear"] == pytest.approx(1 - 4.127 / 16, abs=1e-4)


def test_errors_of_formats_and_of_dtypes():
    error = measure.normal_errors()
    for name, low, high in (("NF4", 0.836, 0.856), ("FP4", 1.47, 1.505), ("INT4 affine", 0.793, 0.813)):
        assert low < error[name] < high
    found = measure.precision(models.resolve("mini"))
    assert 2**-13 < found["float16"] < 2**-10.5 and 2**-10 < found["bfloat16"] < 2**-7.5  # half a unit, and its sum
    assert 0.02 < found["quantization"] < 0.15 and found["layer against dequantized"] < 0.02
    assert found["default"] == "float32" and 1 < found["room"] < 1e5


def test_speed_is_a_ratio_of_two_schemes(monkeypatch):
    class Timed:
        def __init__(self, rate):
            self.decode_rate = type("Rate", (), {"median": rate})

    def time_generation(model, batch, length, new_tokens, repeats, way):
        assert way == "static"
        four = any(type(m).__name__ == "Linear4bit" for m in model.modules())
        return Timed(batch * 1000 / (2 if four else 1) / (1 if length == measure.SHORT else 4 if four else 2))

    monkeypatch.setattr(measure.speed, "time_generation", time_generation)
    monkeypatch.setattr(measure, "_layer_seconds", lambda model, repeats: 0.1)
    found = measure.decoding(models.resolve("mini"), "bf16", [1, 4], 8, 1)
    assert found["by batch"] == {"1": 0.5, "4": 0.5} and found["short"] == 0.5 and found["long"] == 0.25
    assert found["long length"] == 504 and found["layer time"] == 1 and 0.2 < found["bytes"] < 0.5


def test_random_weights_are_not_asked_and_nothing_is_loaded_that_does_not_fit(monkeypatch):
    choice = models.resolve("mini")
    shape = models.Choice("mistral-7b-shape", "random weights", "shape", "test")
    assert measure.scores(shape, "bf16", ["a b"], []) is None
    monkeypatch.setattr(measure.models, "fit", lambda *_: models.Fit(2, 1, "cpu"))
    monkeypatch.setattr(measure.models, "load", lambda *_: pytest.fail("loaded"))
    assert measure.loaded(choice, "bf16") is measure.decoding(choice, "bf16") is None
    assert measure.scores(choice, "bf16", ["a b"], []) is None


def test_a_short_training_run():
    found = measure.training(models.resolve("mini"), steps=2, batch=2)
    assert found["base unchanged"] and found["adapters changed"]
    assert len(found["curves"]["all linear"]) == 2 and found["loss before"] == found["curves"]["all linear"][0]
    assert all(5 < loss < 20 for loss in found["loss"].values())
    assert 4.125 < found["weights_gb"] < 4.126 and found["weights_gb"] + 0.05 < found["forecast_gb"] < 8
    assert found["peak_gb"] is None and all(math.isfinite(x) for curve in found["curves"].values() for x in curve)


def test_a_four_bit_layer_runs_on_this_cpu(monkeypatch):
    assert measure.cpu_works()
    monkeypatch.setattr(measure, "_off", lambda y, exact: 0.5)
    assert not measure.cpu_works()


def bench(bf16, kernel, way="plain"):
    """The part "kernels" of a recording, as far as claims read it: milliseconds as (median, low, high)."""
    times = {"bf16": bf16, "kernel": kernel}
    return {
        "decode": {s: {way: {"ms": dict(zip(("median", "low", "high"), t, strict=True))}} for s, t in times.items()}
    }


def test_the_kernel_of_notebook_11_counts_if_its_quartiles_do():
    slow = {"by batch": {"1": 1.1}}
    clear = claims.with_kernel(slow, bench((9.0, 8.8, 9.2), (4.0, 3.9, 4.1)))
    assert clear["kernel"]["plain"] == pytest.approx({"median": 2.25, "low": 8.8 / 4.1, "high": 9.2 / 3.9})
    assert "kernel" not in slow and claims.with_kernel(None, {}) is None
    verdict = claims.judge("faster", {"speed": clear})
    assert (
        verdict.verdict == "depends on the batch and the kernel" and "2.25× (2.15–2.36) at batch 1" in verdict.because
    )
    doubtful = claims.with_kernel(slow, bench((9.0, 8.0, 10.0), (4.0, 3.9, 4.1), "fused"))
    verdict = claims.judge("faster", {"speed": doubtful})
    assert verdict.kind == "false" and "2.25× (1.95–2.56, which leaves 2× open) with the rest fused" in verdict.because
    here = copy.deepcopy(MEASURED)
    here["speed"] = claims.with_kernel(here["speed"], bench((9.0, 8.8, 9.2), (4.0, 3.9, 4.1)))
    assert "notebook 11's kernel it was 2.25×" in claims.guide(here) and "notebook 11" not in claims.guide(MEASURED)
