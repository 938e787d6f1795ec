"""Verdicts on the guide's claims follow from measurements: change one, and the verdict changes."""

import copy
import itertools
import re

import pytest
import torch

from helpers import claims, memory, models, nf4, results
from helpers.claims import measure
from helpers.claims.quotes import QUOTES

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
        "room": 176.0,
    },
    "configured": {"default": "float32", "guide": "float16"},
    "speed": {
        "by batch": {"1": [1.08, 1.05, 1.1], "16": [0.67, 0.6, 0.7]},
        "over fp32": {"1": [1.5, 1.4, 1.6], "16": [1.4, 1.3, 1.5]},
        "short": [1.08, 1.05, 1.1],
        "long": [0.9, 0.85, 0.95],
        "short length": 32,
        "long length": 4080,
        "layer time": {"1": [1.4, 1.3, 1.5], "256": [1.6, 1.5, 1.7]},
        "bytes": 0.29,
    },
    "quality": {
        "nf4-dq over 16 bits": [0.032, 0.027, 0.037],
        "nf4-dq over nf4": [0.0, -0.0004, 0.0004],
        "fp4 over nf4": [0.054, 0.045, 0.064],
        "accuracy": [-0.005, -0.015, 0.001],
        "questions": 200,
    },
    "mmlu": {"questions": 14042, "before": 0.612, "after": 0.609},
    "training": {
        "forecast_gb": 4.36,
        "forecast_all_gb": 4.77,
        "peak_gb": None,
        "weights_gb": 4.125,
        "length": 128,
        "steps": 16,
        "curve": [11.2, 8.8],
        "layers compared": 42,
        "weights refuse": True,
        "base unchanged": True,
        "adapters changed": True,
    },
    "hardware": {"cpu works": True, "bitsandbytes": "0.50.2"},
    "sweep": {"q and v": [0.6, 0.5, 0.7], "all layers": [0.8, 0.78, 0.82], "behind": [0.2, 0.1, 0.3]}
    | {"behind at equal size": [0.12, 0.06, 0.18]},
}
VERDICTS = {
    "intro": "false",
    "range": "depends",
    "table": "depends",
    "linear": "depends",
    "saves": "depends",
    "dq-bits": "depends",
    "fewer": "false",
    "int4": "depends",
    "recommended": "true",
    "compute": "true",
    "fp16": "true",
    "storage": "true",
    "faster": "false",
    "bandwidth": "true",
    "simplified": "false",
    "long": "open",
    "loss": "false",
    "dq-loss": "true",
    "mmlu": "not measured",
    "conclusion": "false",
    "2gb": "false",
    "targets": "false",
    "inference": "true",
    "hardware": "false",
}
GUIDE = """
- **FP32**: 32 bits per value = 16GB for 7B model
- **FP16**: 16 bits per value = 8GB for 7B model
- **4-bit**: 4 bits per value = 2-4GB for 7B model
- Loads model weights in 4-bit precision
- Reduces memory by ~75%
- Negligible quality loss
### bnb_4bit_use_double_quant
- Additional ~0.4 bits saved per parameter
- More memory savings with minimal impact
- **NF4 (Normal Float 4)**: Optimized 4-bit format
- Maintains better precision than regular INT4
- Recommended for language models
- Computation still happens in FP16
- Maintains numerical precision
- Only storage is quantized
| Mistral-7B | FP32 | 28GB | 100% |
| Mistral-7B | FP16 | 14GB | 50% |
| Mistral-7B | 8-bit | 7GB | 25% |
| Mistral-7B | 4-bit | 3.5GB | 12.5% |
Quantized models are typically **2-3x faster**:
- Reduced memory bandwidth
- Fewer parameters to load
- Simplified matrix operations
### Benchmark Results (on MMLU):
- FP32: 61.3% accuracy
- FP16: 61.2% accuracy (-0.1%)
- 4-bit: 60.9% accuracy (-0.4%)
**Conclusion**: Minimal quality loss for significant speed/memory gains
Combine quantization with LoRA for efficient fine-tuning:
    target_modules=["q_proj", "v_proj"],  # Target attention layers
This allows fine-tuning 7B model with <2GB VRAM!
1. **Inference Only**: For training, use QLoRA method
2. **Specific Hardware**: Needs NVIDIA GPU with compute capability 7.0+
3. **Token Generation**: Slightly slower than FP16 for very long sequences
"""  # the lines of the guide that make claims, as received
SIZES = {"fp32": 16, "fp16": 8, "int8": 7, "nf4": 3.9, "nf4-dq": 3.6}
GOOD = {"accuracy": [0.0, -0.004, 0.004], "nf4-dq over 16 bits": [0.001, -0.001, 0.003]}
BAD = {"accuracy": [-0.05, -0.07, -0.03]}
FAST = {"1": [2.1, 2.0, 2.2], "16": [2.5, 2.4, 2.6]}
# claim, what is measured instead, and the verdict that follows
CHANGES = [
    ("intro", {"size": SIZES}, "true"),
    ("intro", {"size": {"fp16": 8.1}}, "depends"),
    ("range", {"size": {"nf4-dq": 4.5}}, "false"),
    ("range", {"size": SIZES}, "true"),
    ("table", {"size": {"nf4-dq": 3.55}}, "true"),
    ("table", {"size": {"fp32": 40, "fp16": 20, "int8": 10}}, "false"),
    ("linear", {"loaded": {"linear_share": 0.95}}, "true"),
    ("linear", {"loaded": {"linear_share": 0.0}}, "false"),
    ("saves", {"loaded": {"saved_linear": 0.9}, "size": {"nf4-dq": 1.0}}, "false"),
    ("saves", {"loaded": {"saved_linear": 0.751, "saved": 0.749}, "size": {"nf4-dq": 3.62}}, "true"),
    ("dq-bits", {"loaded": {"dq_bits_7b": 0.3}}, "false"),
    ("dq-bits", {"loaded": {"dq_bits_7b": 0.5}}, "false"),
    ("dq-bits", {"loaded": {"dq_bits": 0.39}}, "true"),
    ("fewer", {"loaded": {"parameters": {"16 bits": 100, "nf4-dq": 50}}}, "true"),
    ("int4", {"error": {"NF4": 0.7}}, "true"),
    ("int4", {"error": {"NF4": 1.3}}, "false"),
    ("recommended", {"quality": {"fp4 over nf4": [0.001, -0.001, 0.003]}}, "open"),
    ("recommended", {"quality": {"fp4 over nf4": [-0.02, -0.03, -0.01]}}, "false"),
    ("compute", {"configured": {"guide": "float32"}}, "false"),
    ("fp16", {"compute": {"room": 5.0}}, "false"),
    ("fp16", {"compute": {"room": 0.5}}, "false"),
    ("fp16", {"compute": {"float16": 0.01}}, "false"),
    ("storage", {"compute": {"layer against dequantized": 0.05}}, "false"),
    ("faster", {"speed": {"by batch": FAST, "over fp32": FAST}}, "true"),
    ("faster", {"speed": {"by batch": FAST}}, "depends"),
    ("faster", {"speed": {"over fp32": FAST}}, "depends"),
    ("faster", {"speed": {"by batch": FAST, "over fp32": {"1": [1.8, 1.6, 2.0]}}}, "open"),
    ("faster", {"speed": {"by batch": {"1": [1.8, 1.6, 2.0]}, "over fp32": {}}}, "open"),
    ("bandwidth", {"speed": {"bytes": 1.0}}, "false"),
    ("simplified", {"speed": {"layer time": {"1": [0.5, 0.4, 0.6], "256": [0.7, 0.6, 0.8]}}}, "true"),
    ("simplified", {"speed": {"layer time": {"1": [0.5, 0.4, 0.6], "256": [1.7, 1.6, 1.8]}}}, "depends"),
    ("simplified", {"speed": {"layer time": {"1": [0.5, 0.4, 1.6], "256": [1.7, 1.6, 1.8]}}}, "open"),
    ("long", {"speed": {"long": [1.1, 1.05, 1.2]}}, "false"),
    ("long", {"speed": {"long": [0.95, 0.92, 0.98], "short": [0.8, 0.7, 0.9]}}, "depends"),
    ("long", {"speed": {"long": [0.95, 0.92, 0.98]}}, "true"),
    ("long", {"speed": {"long": [0.5, 0.45, 0.55]}}, "false"),
    ("loss", {"quality": GOOD}, "true"),
    ("loss", {"quality": GOOD | {"accuracy": [-0.005, -0.015, 0.001]}}, "open"),
    ("dq-loss", {"quality": {"nf4-dq over nf4": [0.002, -0.003, 0.007]}}, "open"),
    ("dq-loss", {"quality": {"nf4-dq over nf4": [0.02, 0.01, 0.03]}}, "false"),
    (
        "conclusion",
        {"quality": GOOD, "speed": {"by batch": FAST, "over fp32": FAST}}
        | {"loaded": {"saved_linear": 0.751, "saved": 0.749}, "size": {"nf4-dq": 3.62}},
        "true",
    ),
    ("conclusion", {"quality": GOOD, "speed": {"by batch": FAST}}, "depends"),
    ("2gb", {"training": {"forecast_gb": 1.9}}, "true"),
    ("targets", {"sweep": {"behind": [0.01, -0.01, 0.03], "behind at equal size": [0.0, -0.02, 0.02]}}, "true"),
    ("targets", {"sweep": {"behind": [0.05, -0.01, 0.1]}}, "open"),
    ("inference", {"training": {"base unchanged": False}}, "false"),
    ("inference", {"training": {"weights refuse": False}}, "false"),
    ("hardware", {"hardware": {"cpu works": False}}, "true"),
]
UNMEASURED = {"mmlu"}  # three scores that nobody here can measure: no figure makes them true or false


def changed(changes: dict) -> dict:
    measured = copy.deepcopy(MEASURED)
    for part, values in changes.items():
        measured[part].update(values)
    return measured


@pytest.mark.parametrize("claim", claims.CLAIMS)
def test_each_claim_is_judged_by_what_was_measured(claim):
    found = claims.judge(claim, MEASURED)
    assert found.kind == VERDICTS[claim]
    assert re.search(r"\d", found.because) or claim in ("inference", "conclusion")


@pytest.mark.parametrize(("claim", "changes", "verdict"), CHANGES)
def test_another_measurement_gives_another_verdict(claim, changes, verdict):
    assert VERDICTS[claim] != verdict
    found = claims.judge(claim, changed(changes))
    assert found.kind == verdict
    assert found.because != claims.judge(claim, MEASURED).because


def test_a_recipe_is_judged_at_the_guides_rank_and_at_equal_size():
    crossing = changed({"sweep": {"behind": [0.2, 0.1, 0.3], "behind at equal size": [0.1, 0.048, 0.182]}})
    found = claims.judge("targets", crossing)
    assert found.verdict == "open" and "10.0 points behind (4.8 to 18.2)" in found.because


def test_a_measured_peak_counts_more_than_a_forecast():
    found = claims.judge("2gb", changed({"training": {"forecast_gb": 1.9, "peak_gb": 2.5}}))
    assert found.verdict == "false" and "2.50" in found.because and "1.90" in found.because


@pytest.mark.parametrize("claim", claims.CLAIMS)
def test_what_is_generated_reads_as_sentences(claim):
    """Reasons and tests begin with a capital, end with a period, and hold no two spaces, nor text of Python's."""
    several = [MEASURED, *(changed(changes) for name, changes, _ in CHANGES if name == claim)]
    for said in [claims.CLAIMS[claim].test, *(claims.judge(claim, measured).because for measured in several)]:
        assert said[0].isupper() or said.startswith(("16", "4", *"0123456789")), said
        assert said.rstrip(")").endswith(".") and not re.search(r"  |None|nan|\bTrue\b|\[|, and and|\.\.", said), said
    assert max(map(len, claims.CLAIMS[claim].short.split("\n"))) <= 16, "it has to fit into a tile"


def is_quote(words: str) -> bool:
    """Whether words, with " … " for what is left out, are whole words of the guide's lines, in its order.

    A part of a quote comes from one line; of two parts the later stands later.
    """
    at = 0
    for part in words.split(" … "):
        found = re.compile(rf"(?<![\w.~<-]){re.escape(part)}(?![\w.%+-])").search(GUIDE.replace("**", ""), at)
        if not part.strip() or "\n" in part or not found:
            return False
        at = found.end()
    return True


@pytest.mark.parametrize("claim", claims.CLAIMS)
def test_what_notebook_10_calls_the_guides_own_words_is_a_quote(claim):
    assert is_quote(claims.CLAIMS[claim].claim)


def test_every_claim_has_words_and_no_words_are_left():
    assert set(QUOTES) == set(claims.CLAIMS) and len(claims.CLAIMS) == 24  # notebook 10 says how many
    assert len(set(QUOTES.values())) == 24


@pytest.mark.parametrize(
    "words",
    [
        "Typically 2-3x faster",  # another letter
        "typically 2–3x faster",  # another mark
        "4-bit: 2-4GB for 7B model",  # words left out, and not said
        "bit: 4 bits per value",  # begins inside a word
        "Reduces memory by ~75",  # ends inside one
        "Negligible quality loss … Reduces memory by ~75%",  # not the guide's order
        "Only storage is quantized\n| Mistral-7B",  # across lines
        "NF4 keeps better precision than INT4",  # ours
        "",
    ],
)
def test_what_is_no_quote(words):
    assert not is_quote(words)


def test_the_verdict_on_a_saving_is_true_between_the_ends_that_notebook_10_names():
    """A tenth of the stated 75% to either side, as for every figure."""
    for saved, kind in ((0.675 + 1e-6, "true"), (0.675 - 1e-6, "false"), (0.825 - 1e-6, "true"), (0.826, "false")):
        parts = {"loaded": {"saved_linear": saved, "saved": saved}, "size": {"fp16": 1, "nf4-dq": 1 - saved}}
        assert claims.judge("saves", changed(parts)).kind == kind
    assert claims.FOLLOWED["saves"][2] == "67.5% to 82.5% is saved"
    assert claims.judge("saves", MEASURED).verdict == "depends on the model"  # the loaded one is very small
    large = changed({"loaded": {"saved": 1 - MEASURED["size"]["nf4-dq"] / MEASURED["size"]["fp16"]}})
    assert claims.judge("saves", large).verdict == "true"


def test_what_was_measured_is_said_in_a_few_words():
    for id in claims.FOLLOWED:
        said = claims.brief(id, {"mini": MEASURED, "again": copy.deepcopy(MEASURED), "nothing": {}})
        assert "mini" not in said and len(said.split()) <= 12 and not re.search(r"None|nan|  ", said), said
        assert re.search(r"\d", said) or id == "mmlu"
        assert claims.brief(id, {"mini": {}}) == "nothing"
    both = {"mini": MEASURED, "other": changed({"loaded": {"saved": 0.715}})}
    assert claims.brief("saves", both) == "60.3% saved (mini); 71.5% saved (other)"
    assert claims.brief("faster", both) == "0.60× to 1.60×"


def test_the_followed_claims_have_their_boxes():
    assert set(claims.FOLLOWED) < set(claims.CLAIMS) and len(claims.FOLLOWED) == 8  # notebook 10 says how many
    assert all(len(boxes) == 3 for boxes in claims.FOLLOWED.values())


def test_every_claim_can_change():
    assert {claim for claim, _, _ in CHANGES} | UNMEASURED == set(claims.CLAIMS) == set(VERDICTS)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [(0.05, -0.001, 0.101), (0.05, 0.0, 0.13), (0.0, -0.025, 0.025), (0.004, 0.003, 0.006)],
)
def test_what_is_not_significant_is_not_negligible(value, low, high):
    """An interval that includes zero proves nothing: it has to lie inside the margin, as a whole."""
    assert claims.inside(low, high, claims.NEGLIGIBLE) == "open"
    for part in ({"nf4-dq over 16 bits": [value, low, high]}, {"accuracy": [-value, -high, -low]}):
        found = claims.judge("loss", changed({"quality": GOOD | part}))
        assert found.kind == "open", part
    found = claims.judge("dq-loss", changed({"quality": {"nf4-dq over nf4": [value, low, high]}}))
    assert found.kind == "open"


def test_an_open_quiz_says_how_many_questions_would_decide():
    found = claims.judge("loss", changed({"quality": GOOD | {"accuracy": [-0.01, -0.02, 0.0], "questions": 150}}))
    assert (
        found.verdict == "open: it needs about 600 questions"
    )  # half the interval is twice what is left to the margin
    decided = [-0.01, -0.01 - 0.005 + 1e-6, -0.01 + 0.005 - 1e-6]
    decided = claims.judge("loss", changed({"quality": GOOD | {"accuracy": decided, "questions": 600}}))
    assert decided.verdict == "false"


def test_a_rise_of_perplexity_refutes_negligible_whatever_the_quiz_can_tell():
    assert claims.judge("loss", changed({"quality": GOOD | BAD})).verdict == "false"  # and so does the quiz
    for accuracy in ([0.0, -0.004, 0.004], [-0.005, -0.015, 0.001], [-0.05, -0.07, -0.03]):
        assert claims.judge("loss", changed({"quality": {"accuracy": accuracy}})).verdict == "false"


def test_scores_that_nobody_measured_are_not_judged_however_far_apart():
    found = claims.judge("mmlu", changed({"mmlu": {"before": 0.9, "after": 0.1}}))
    assert found.verdict == "not measured" and "standard errors" in found.because


@pytest.mark.parametrize("claim", claims.CLAIMS)
def test_what_was_not_measured_is_not_judged(claim):
    for need in claims.CLAIMS[claim].needs:
        assert claims.judge(claim, MEASURED | {need: None}).verdict == "not measured"
    assert claims.judge(claim, {}) == claims.Verdict("not measured")


def test_two_machines_agree_or_the_verdict_depends():
    yes, no, depends, nothing = (claims.Verdict(v) for v in ("true", "false", "depends on x", "not measured"))
    assert claims.combined(yes, yes) == "true"
    unsure = claims.Verdict("open: it needs more runs")
    assert claims.combined(yes, nothing, "mini") == "open: true on mini, not measured on Mistral-7B"
    assert claims.combined(nothing, no, "mini") == "open: false on Mistral-7B's shapes, not measured on mini"
    assert claims.combined(unsure, nothing, "mini") == "open on mini, not measured on Mistral-7B"
    for known in ("true", "false", "open", "depends"):  # as an open case beside it
        said = claims.Verdict(claims.combined(claims.Verdict(known), nothing)).kind
        assert said == ("depends" if known == "depends" else claims.settled([known, "open"]))
    assert claims.Verdict(claims.combined(depends, nothing)).kind == "depends"
    assert claims.combined(nothing, nothing) == "not measured"
    slower, faster = claims.Verdict("false: far slower"), claims.Verdict("false: not slower")
    said = "false: with mini it is far slower, and with Mistral-7B's shapes{} it is not slower"
    assert claims.combined(slower, faster, "mini") == said.format("")
    assert claims.combined(slower, faster, "mini", timed=True) == said.format(" on another machine")
    assert claims.combined(slower, slower) == "false: far slower"
    assert claims.combined(depends, claims.Verdict("depends on y")) == "depends on x"
    for pair in ((yes, no), (no, yes)):
        assert claims.combined(*pair) == "depends on the model"
        assert claims.combined(*pair, timed=True) == "depends on the model and machine"
    assert claims.combined(depends, no) == claims.combined(yes, depends) == "depends on the model, and on x"
    assert claims.combined(no, claims.Verdict("depends on the model")) == "depends on the model"
    assert claims.combined(no, depends, timed=True) == "depends on the model and machine, and on x"


def test_open_cases_settle_what_they_cannot_overturn_and_nothing_else():
    """Against all that the open cases may turn out to be: where these agree, that is the verdict."""
    for kinds in itertools.chain(*(itertools.product(("true", "false", "open"), repeat=n) for n in (1, 2, 3, 4))):
        ends = itertools.product(*(("true", "false") if kind == "open" else (kind,) for kind in kinds))
        ends = {next(iter(set(end))) if len(set(end)) == 1 else "depends" for end in ends}
        assert claims.settled(list(kinds)) == (ends.pop() if len(ends) == 1 else "open"), kinds


def test_models_of_a_kind_witness_together():
    yes, no, unsure = (claims.Verdict(v, "Because.") for v in ("true", "false", "open"))
    assert claims.witnessed({"mini": yes}) == claims.witnessed({"mini": yes, "other": yes}) == yes
    assert claims.witnessed({"mini": yes, "other": claims.Verdict("not measured")}) == yes
    both = claims.witnessed({"mini": yes, "other": unsure})
    assert both.kind == "open" and both.because == "Because. On other: Because."
    assert claims.witnessed({"mini": yes, "other": no}).verdict == "depends on the model"


def test_every_claim_has_one_place_on_the_board_of_faults():
    named = [id for ids in claims.FAULTS.values() for id in ids]
    assert len(named) == len(set(named)) and set(named) <= set(claims.CLAIMS)
    for id in claims.CLAIMS:
        assert claims.fault(id, "true") == "holds"
        assert all(claims.fault(id, kind) in claims.FAULTS for kind in ("false", "depends", "open", "not measured"))
    assert claims.fault("2gb", "false") == "isn't so" and claims.fault("fp16", "open") == "too little\nmeasured"


def test_a_short_and_a_long_text_tell_length_from_slowness():
    slow = changed({"speed": {"long": [0.5, 0.45, 0.55], "short": [0.46, 0.35, 0.52]}})
    assert claims.judge("long", slow).verdict == "false: much slower, even on short texts"
    assert claims.judge("long", changed({"speed": {"long": [0.5, 0.45, 0.55]}})).verdict == "false: much slower"
    fast = claims.judge("long", changed({"speed": {"long": [1.16, 1.15, 1.17], "window": 4096}}))
    assert fast.verdict == "false: not slower" and "No step looks back further than 4,096" in fast.because
    other = claims.judge("long", changed({"speed": {"long": [1.16, 1.15, 1.17], "short": [0.9, 0.8, 1.0]}}))
    assert other.verdict == "false: not slower"


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
        "1.08× (1.05–1.10)",
        "29%",
        "+3.20%",
        "a quiz lost 0.50 points",
        "at least 4.36 GB with adapters on `q_proj` and `v_proj` alone, and 4.77 GB with adapters on all linear",
    ):
        assert figure in text, figure
    assert "not recorded" not in text and "None" not in text and "nan" not in text
    other = changed({"size": {"fp32": 12.34}, "configured": {"default": "bfloat16"}, "training": {"peak_gb": 5.67}})
    other["speed"]["by batch"]["1"] = [2.22, 2.2, 2.3]
    told = claims.guide(other)
    for figure in ("12.34", "that is bfloat16", "2.22× (2.20–2.30)", "5.67 GB was measured"):
        assert figure in told and figure not in text
    assert "4-bit layers also run without a GPU" in text and "did not run on a CPU" in claims.guide(
        changed({"hardware": {"cpu works": False}})
    )
    assert "MMLU, a well-known quiz, was not measured" in text
    folded = claims.guide(MEASURED, folded=True)
    assert folded.count("<details>") == folded.count("</details>") == 1 and folded.index("28.97") < folded.index("<det")
    assert "20 points (95% interval over seeds: 10 to 30), and 12.0 points (6.0 to 18.0)" in text


def test_the_guide_leaves_out_what_was_not_measured():
    older = changed({"training": {"forecast_all_gb": None}})
    assert "alone, and more with more adapters." in claims.guide(older)
    bare = claims.guide(MEASURED | {"speed": None, "quality": None, "sweep": None})
    assert "0.373" not in claims.guide(MEASURED | {"loaded": None})
    assert "No parameter goes away" in bare
    assert "How fast" not in bare and "perplexity" not in bare and "over seeds" not in bare
    recorded = changed({"speed": {"by batch": {"64": [0.77, 0.7, 0.8]}}, "training": {"peak_gb": 6.28}})
    both = claims.guide(MEASURED, recorded)
    assert "Mistral-7B's shapes, on a GPU" in both and "0.77× (0.70–0.80)" in both and "6.28" in both
    assert "Mistral-7B's shapes" not in claims.guide(MEASURED)
    named = changed({"speed": {"hardware": "NVIDIA X"}})
    assert "Mistral-7B's shapes, on NVIDIA X" in claims.guide(MEASURED, named)
    more = claims.guide(
        MEASURED, None, "mini", {"another": changed({"quality": {"nf4-dq over 16 bits": [0.2, 0.1, 0.3]}})}
    )
    assert "**another**: perplexity changed by +20.00%" in more
    assert "**mini**: perplexity" in more


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
    assert (found["default"], found["guide"]) == ("float32", "float16") and 1 < found["room"] < 1e5


def test_speed_is_a_ratio_by_turns_over_all_processes(monkeypatch):
    """Two processes of two turns each: the ratio's ends are those of the least and the most favorable turn."""
    runs = []
    for slow in (1.0, 2.0):
        turns = []
        for noise in (1.0, 1.25):
            turn = {"layers, bf16, 1": 0.1, "layers, nf4-dq, 1": 0.05 * noise}
            turn |= {"layers, bf16, 256": 0.1, "layers, nf4-dq, 256": 0.2 * noise}
            for case in ("1 × 32", "4 × 32", "1 × 504"):
                turn |= {f"bf16, {case}": 100.0 / slow, f"nf4-dq, {case}": 50.0 * noise / slow}
                turn |= {f"fp32, {case}": 25.0} if case != "1 × 504" else {}
            turns.append(turn)
        runs.append({"rounds": turns, "lengths": (32, 504), "bytes": 0.3})

    class Context:
        def Pool(self, count):  # noqa: N802
            return self

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def apply(self, function, arguments):
            assert function is measure.decoded_once and arguments[2] == (1, 4)
            return runs.pop(0)

    monkeypatch.setattr(measure.multiprocessing, "get_context", lambda kind: Context())
    monkeypatch.setattr(measure, "decoded_once", lambda *given: None)
    found = measure.decoding(models.resolve("mini"), "bf16", [1, 4], 8, 2)
    assert found["by batch"] == {"1": [0.5625, 0.5, 0.625], "4": [0.5625, 0.5, 0.625]}
    assert found["over fp32"]["1"] == [pytest.approx(1.625), 1.0, 2.5] and found["layer time"]["256"][1:] == [2.0, 2.5]
    assert found["layer time"]["1"][1:] == [0.5, 0.625]
    assert found["long"] == [0.5625, 0.5, 0.625] and (found["turns"], found["processes"]) == (4, 2)


@pytest.mark.slow
def test_a_process_measures_all_schemes_by_turns():
    found = measure.decoded_once(models.resolve("mini"), "bf16", (1, 2), 4, 2)
    assert len(found["rounds"]) == 2 and found["lengths"] == (32, 508)
    assert {name.split(",")[0] for name in found["rounds"][0]} == {"bf16", "nf4-dq", "fp32", "layers"}
    assert all(value > 0 for turn in found["rounds"] for value in turn.values())


def test_no_recorded_figure_is_faster_than_it_can_be():
    """Dequantizing and multiplying is no faster than multiplying; no step is faster than its bytes at the read rate."""
    speed = results.read_recording(part="decoding", quiet=True).values["decoding"]["speed"]
    assert speed["layer time"]["256"][1] > 0.95 and speed["processes"] >= 2
    kernels = results.read_recording(part="kernels", quiet=True).values["kernels"]
    read = kernels["bytes_per_second"]["read"]
    step = memory.predict(models.mistral_7b_config(), "bf16").weight_bytes - 2 * 32_000 * 4096  # one row of embeddings
    for row in speed["tokens/s"]:
        batch, floor = int(row["batch"]), step / read
        assert row["bf16"] < 1.02 * batch / floor
        assert row["nf4-dq"] < batch / (speed["bytes"] * floor)


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
    assert len(found["curve"]) == 2 and all(5 < loss < 20 for loss in found["curve"])
    assert 4.125 < found["weights_gb"] < 4.126 and found["weights_gb"] + 0.05 < found["forecast_gb"] < 8
    assert found["forecast_gb"] + 0.3 < found["forecast_all_gb"] < 8  # six times as many numbers are trained
    assert found["peak_gb"] is None


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


def test_the_kernel_of_notebook_11_counts_if_its_range_does():
    slow = {"by batch": {"1": [1.1, 1.0, 1.2]}}
    clear = claims.with_kernel(slow, bench((9.0, 8.8, 9.2), (4.0, 3.9, 4.1)))
    assert clear["kernel"]["plain"] == pytest.approx({"median": 2.25, "low": 8.8 / 4.1, "high": 9.2 / 3.9})
    assert "kernel" not in slow and claims.with_kernel(None, {}) is None
    verdict = claims.judge("faster", {"speed": clear})
    assert (
        verdict.kind == "false" and "16 bits at batch 1, 2.25× (2.15–2.36)." in verdict.because
    )  # told, and not counted
    doubtful = claims.with_kernel(slow, bench((9.0, 7.0, 10.0), (4.0, 3.9, 4.1), "fused"))
    verdict = claims.judge("faster", {"speed": doubtful})
    assert verdict.kind == "false" and "2.25× (1.71–2.56) with the rest of a step fused" in verdict.because
    again = bench((9.0, 8.8, 9.2), (4.0, 3.9, 4.1)) | {"again": bench((9.0, 8.8, 9.2), (5.0, 4.9, 5.1))}
    both = claims.with_kernel(slow, again)["kernel"]["plain"]
    assert both == pytest.approx({"median": (2.25 + 1.8) / 2, "low": 8.8 / 5.1, "high": 9.2 / 3.9})
    here = copy.deepcopy(MEASURED)
    here["speed"] = claims.with_kernel(here["speed"], bench((9.0, 8.8, 9.2), (4.0, 3.9, 4.1)))
    told = claims.guide(here)
    assert "the one from notebook 11" in told and "2.25× (2.15–2.36)" in told
    assert "notebook 11" not in claims.guide(MEASURED)
