"""The claims of a guide to 4-bit models, and how each is judged: pure functions from measurements to a verdict.

A measurement is a dict of plain numbers, as notebook 10 makes and records it. What a machine could not measure is
None or missing, and the claims that need it are "not measured" there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from .kernel import ratios_with_kernel
from .margins import ADDED, BEHIND, NEGLIGIBLE, ROOM, TOLERANCE, equivalence, needed

__all__ = [
    "CLAIMS",
    "Claim",
    "Verdict",
    "combined",
    "judge",
    "points_changed",
    "unpaired_z",
]

QLORA = "[QLoRA](https://arxiv.org/abs/2305.14314)"
MISTRAL = "[Mistral 7B](https://arxiv.org/abs/2310.06825)"
YOSHIDA = "[Yoshida](https://arxiv.org/abs/2306.06965)"
OPTIONS = "[transformers](https://huggingface.co/docs/transformers/main/en/quantization/bitsandbytes)"
INSTALL = "[bitsandbytes](https://huggingface.co/docs/bitsandbytes/main/en/installation)"
SPEEDS = "[bitsandbytes' benchmarks](https://github.com/bitsandbytes-foundation/bitsandbytes/tree/main/benchmarking)"
SAMPLING = "[Miller](https://arxiv.org/abs/2411.00640)"


KINDS = ("true", "false", "depends", "open", "not measured")


@dataclass(frozen=True)
class Verdict:
    """`verdict` is "true", "false", "depends on …", "open…" or "not measured"; `because` holds the figures.

    "open" is an interval that lies neither inside the margin nor outside: more has to be measured.
    """

    verdict: str
    because: str = ""

    @property
    def kind(self) -> str:
        """The verdict without what it depends on, or what would decide it."""
        return next(kind for kind in KINDS if self.verdict.startswith(kind))


@dataclass(frozen=True)
class Claim:
    """A claim in the guide's words, how to test it, a source, what it needs of a measurement, and its judge."""

    id: str
    topic: str
    claim: str
    test: str
    source: str
    needs: tuple[str, ...]
    rule: Callable[..., Verdict]


CLAIMS: dict[str, Claim] = {}


def _claim(id: str, topic: str, claim: str, test: str, source: str, *needs: str):
    def register(rule):
        CLAIMS[id] = Claim(id, topic, claim, test, source, needs, rule)
        return rule

    return register


def judge(id: str, measured: dict) -> Verdict:
    """Judge one claim by a measurement; "not measured" where a part that it needs is missing or None."""
    claim = CLAIMS[id]
    parts = [measured.get(need) for need in claim.needs]
    if any(part is None for part in parts):
        return Verdict("not measured")
    return claim.rule(*parts)


def combined(here: Verdict, recorded: Verdict, name: str = "this model", timed: bool = False) -> str:
    """One verdict of two models: the common one, or that it depends on the model, and on what else one of them met.

    Where only one was measured it is a verdict on that one: `name` is the model's here. What was `timed` differs in the
    machine as well.
    """
    if "not measured" in (here.kind, recorded.kind):
        if here.kind == recorded.kind:
            return here.verdict
        one, place = (recorded, "7B shapes") if here.kind == "not measured" else (here, name)
        return f"{one.verdict}, on {place} alone"
    if here.kind == recorded.kind == "false" and here.verdict != recorded.verdict:  # false for opposite reasons
        here_why, recorded_why = (verdict.verdict.removeprefix("false: ") for verdict in (here, recorded))
        elsewhere = "7B shapes and another machine" if timed else "7B shapes"
        return f"false: {here_why} on {name}, {recorded_why} on {elsewhere}"
    if here.kind == recorded.kind:
        return here.verdict
    conditions = [v.verdict.removeprefix("depends on ") for v in (recorded, here) if v.kind == "depends"]
    conditions = [condition for condition in conditions if condition != "the model"]
    return " and on ".join(["depends on the model and machine" if timed else "depends on the model", *conditions[:1]])


def unpaired_z(before: float, after: float, questions: int) -> float:
    """Difference of two shares of right answers in its standard errors, if each comes from questions of its own."""
    variance = (before * (1 - before) + after * (1 - after)) / questions
    return abs(before - after) / math.sqrt(variance)


def _shares(good: dict[str, bool], what: str, because: str) -> Verdict:
    """True if all parts are, false if none is, else it depends on `what`."""
    if all(good.values()):
        return Verdict("true", because)
    return Verdict(f"depends on {what}" if any(good.values()) else "false", because)


def _near(claimed: float, measured: float) -> bool:
    """Whether a figure of the guide's is within the tolerance of what was measured."""
    return abs(claimed / measured - 1) <= TOLERANCE


@_claim("intro", "size", "FP32 is 16 GB, FP16 8 GB for a 7B model", "parameters × bits / 8", MISTRAL, "size")
def intro(size) -> Verdict:
    good = {name: _near(gb, size[name]) for name, gb in {"fp32": 16, "fp16": 8}.items()}
    return _shares(good, "the format", f"{size['fp32']:.2f} and {size['fp16']:.2f} GB")


@_claim(
    "range",
    "size",
    "4-bit: 2–4 GB for a 7B model",
    "forecast from the configuration, constants included",
    QLORA,
    "size",
)
def four_bit_range(size) -> Verdict:
    good = {name: 2 * (1 - TOLERANCE) <= size[name] <= 4 * (1 + TOLERANCE) for name in ("nf4", "nf4-dq")}
    return _shares(good, "double quantization", f"{size['nf4']:.2f} GB, with double quantization {size['nf4-dq']:.2f}")


@_claim("table", "size", "28, 14, 7 and 3.5 GB", f"the same, within {TOLERANCE:.0%}", MISTRAL, "size")
def size_table(size) -> Verdict:
    claimed = {"fp32": 28, "fp16": 14, "int8": 7, "nf4-dq": 3.5}
    shown = ", ".join(f"{name} {gb / size[name] - 1:+.0%}" for name, gb in claimed.items())
    return _shares({name: _near(gb, size[name]) for name, gb in claimed.items()}, "the row", shown)


@_claim(
    "linear", "size", "Loads model weights in 4-bit precision", "share of parameters in 4-bit layers", OPTIONS, "loaded"
)
def linear_share(loaded) -> Verdict:
    share = loaded["linear_share"]
    shown = f"{share:.1%} of the parameters; embeddings, head and norms keep 16 bits"
    return Verdict("true" if share >= 1 - TOLERANCE else "depends on the model" if share > 0 else "false", shown)


@_claim(
    "saves",
    "size",
    "Reduces memory by ~75%",
    "bytes against 16 bits: by formula, counted, by forecast",
    QLORA,
    "loaded",
    "size",
)
def saves(loaded, size) -> Verdict:
    parts = {"a linear layer": loaded["saved_linear"], "the loaded model": loaded["saved"]}
    parts["Mistral-7B"] = 1 - size["nf4-dq"] / size["fp16"]
    good = {name: _near(0.75, value) for name, value in parts.items()}
    return _shares(good, "what is counted", ", ".join(f"{value:.1%} of {name}" for name, value in parts.items()))


@_claim("dq-bits", "size", "Double quantization saves ~0.4 bits per parameter", "constants counted", QLORA, "loaded")
def dq_bits(loaded) -> Verdict:
    bits, here = loaded["dq_bits_7b"], loaded["dq_bits"]
    shown = f"{bits:.3f} bit a quantized parameter of Mistral-7B, {here:.3f} of the loaded model"
    return _shares({"7B": _near(0.4, bits), "here": _near(0.4, here)}, "the model", shown)


@_claim("fewer", "size", "Fewer parameters to load", "parameters counted before and after", OPTIONS, "loaded")
def fewer(loaded) -> Verdict:
    before, after = loaded["parameters"]["16 bits"], loaded["parameters"]["nf4-dq"]
    return Verdict(
        "true" if after < before else "false", f"{before:,} before, {after:,} after: fewer bits, not fewer parameters"
    )


@_claim(
    "int4",
    "precision",
    "NF4 keeps better precision than INT4",
    "squared error on normal numbers, 4.5 bits each",
    YOSHIDA,
    "error",
)
def better_than_int4(error) -> Verdict:
    good = {name: error["NF4"] < error[name] for name in ("INT4 symmetric", "INT4 affine")}
    shown = ", ".join(f"{name} {value:.3f}%" for name, value in error.items())
    return _shares(good, "which INT4", shown)


@_claim(
    "recommended",
    "quality",
    "NF4 is recommended for language models",
    "perplexity, against FP4",
    QLORA,
    "quality",
)
def recommended(quality) -> Verdict:
    value, low, high = quality["fp4 over nf4"]
    shown = f"FP4 {value:+.2%} perplexity over NF4 ({low:+.2%} to {high:+.2%})"
    return Verdict("true" if low > 0 else "false" if high < 0 else "open", shown)


@_claim(
    "compute",
    "precision",
    "Computation still happens in FP16",
    "the dtype of the guide's own configuration, whatever the model",
    OPTIONS,
    "configured",
)
def computes_in(configured) -> Verdict:
    shown = f"with the guide's configuration in {configured['guide']}; unless it is set, in {configured['default']}"
    return Verdict("true" if configured["guide"] == "float16" else "false", shown)


def _added(compute, part: str) -> float:
    """By what share a rounding lengthens the error that quantization makes: errors that do not know each other."""
    return math.hypot(compute["quantization"], compute[part]) / compute["quantization"] - 1


@_claim(
    "fp16",
    "precision",
    "Maintains numerical precision",
    "rounding beside the quantization error, range",
    OPTIONS,
    "compute",
)
def fp16_precise(compute) -> Verdict:
    added, room = _added(compute, "float16"), compute["room"]
    shown = f"float16 adds {100 * added:.2g}% to the quantization error; "
    shown += f"the largest input of one text fits {room:,.0f} times"
    if added > ADDED or room < 1:
        return Verdict("false", shown)
    return Verdict("true" if room >= ROOM else "depends on the activations", shown)


@_claim(
    "storage",
    "precision",
    "Only storage is quantized",
    "layer against product with dequantized weights",
    QLORA,
    "compute",
)
def storage_only(compute) -> Verdict:
    off, added = compute["layer against dequantized"], _added(compute, "layer against dequantized")
    return Verdict("true" if added < ADDED else "false", f"outputs differ by {off:.2%}: the dtype's rounding")


@_claim(
    "faster",
    "speed",
    "Typically 2–3x faster",
    "decode, tokens a second, by batch, over 16 bits and over FP32",
    SPEEDS,
    "speed",
)
def faster(speed) -> Verdict:
    """The guide names no baseline and takes FP32 as 100% in its tables: both are tried."""
    least = 2 * (1 - TOLERANCE)
    ways = {f"over 16 bits at batch {batch}": ratio for batch, ratio in speed["by batch"].items()}
    ways |= {f"over FP32 at batch {batch}": ratio for batch, ratio in speed.get("over fp32", {}).items()}
    shown = ", ".join(f"{median:.2f}× ({low:.2f}–{high:.2f}) {way}" for way, (median, low, high) in ways.items())
    if speed.get("kernel"):
        shown += f"; with notebook 11's kernel {ratios_with_kernel(speed)} over 16 bits at batch 1"
    # the guide speaks of bitsandbytes, so that our kernel is told and not counted
    kinds = {way: equivalence(-high, -low, -least) for way, (_, low, high) in ways.items()}
    if "open" in kinds.values() and "true" not in kinds.values():
        return Verdict("open: more processes", shown)
    return _shares({way: kind == "true" for way, kind in kinds.items()}, "baseline and batch", shown)


@_claim(
    "bandwidth",
    "speed",
    "Reduced memory bandwidth",
    "bytes that a step at batch 1 has to move, computed",
    SPEEDS,
    "speed",
)
def bandwidth(speed) -> Verdict:
    ratio = speed["bytes"]
    return Verdict(
        "true by calculation, at one row" if ratio < 1 - TOLERANCE else "false", f"{ratio:.0%} of the bytes of 16 bits"
    )


@_claim(
    "simplified",
    "speed",
    "Simplified matrix operations",
    "read as “quicker”: time of the layers over that in 16 bits, for one row and for many",
    QLORA,
    "speed",
)
def simplified(speed) -> Verdict:
    """A layer that dequantizes and then multiplies does more, not less; faster it can be, where bytes are the limit."""
    kinds, shown = [], []
    for rows, (ratio, low, high) in speed["layer time"].items():
        kinds.append(equivalence(low, high, 1 - TOLERANCE))
        shown.append(
            f"{ratio:.2f} ({low:.2f}–{high:.2f}) times the time with {rows} {'row' if rows == '1' else 'rows'}"
        )
    shown = ", ".join(shown)
    if "open" in kinds:
        return Verdict("open", shown)
    return Verdict(kinds[0] if len(set(kinds)) == 1 else "depends on the number of rows", shown)


@_claim(
    "long",
    "speed",
    "Slightly slower than FP16 for very long sequences",
    "read as decoding: one text, after a short and a long one; reading a long one was not timed",
    SPEEDS,
    "speed",
)
def long_sequences(speed) -> Verdict:
    short, long = speed["short"], speed["long"]
    shown = f"{short[0]:.2f}× ({short[1]:.2f}–{short[2]:.2f}) after {speed['short length']:,} tokens, "
    shown += f"{long[0]:.2f}× ({long[1]:.2f}–{long[2]:.2f}) after {speed['long length']:,}"
    if speed.get("window"):
        shown += f", and no step looks back further than {speed['window']:,}"
    both = f"at both lengths, {speed['short length']:,} and {speed['long length']:,} tokens"
    if long[1] >= 1:
        where = both if short[1] >= 1 else f"at {speed['long length']:,} tokens"
        return Verdict(f"false: decoding one text not slower {where}", shown)
    if long[2] < 1 - TOLERANCE:
        always = both if short[2] < 1 - TOLERANCE else f"at {speed['long length']:,} tokens already"
        return Verdict(f"false: decoding one text much slower {always}", shown)
    if long[2] >= 1 or long[1] < 1 - TOLERANCE:
        return Verdict("open", shown)
    return Verdict("true" if short[1] >= 1 else "depends on more than the length", shown)


@_claim("loss", "quality", "Negligible quality loss", "perplexity and quiz, paired with 16 bits", QLORA, "quality")
def negligible(quality) -> Verdict:
    """The damage is a rise of perplexity, and a fall of the share of right answers.

    To be negligible it has to be so in both. A rise of perplexity that is not refutes it alone: the quiz takes its
    questions for independent, though up to four are about one country, so that its edge is less sure.
    """
    value, low, high = quality["nf4-dq over 16 bits"]
    points, least, most = quality["accuracy"]
    kinds = [equivalence(low, high, NEGLIGIBLE), equivalence(-most, -least, NEGLIGIBLE)]
    shown = f"perplexity {value:+.2%} ({low:+.2%} to {high:+.2%}), quiz {points_changed(quality)}"
    if kinds[0] == "false" or kinds[0] == kinds[1] != "open":
        return Verdict(kinds[0], shown)
    if "open" in kinds:
        n = needed(-points, -most, -least, NEGLIGIBLE, quality["questions"])
        return Verdict("open" + (f": needs about {n:,} questions" if kinds[1] == "open" and n else ""), shown)
    return Verdict("depends on the measure", shown)


def points_changed(quality) -> str:
    """Change of a quiz in points with its interval."""
    points, low, high = (100 * value for value in quality["accuracy"])
    return f"{points:+.2f} points ({low:+.2f} to {high:+.2f}) on {quality['questions']:,} questions"


@_claim("dq-loss", "quality", "Double quantization: minimal impact", "perplexity with and without", QLORA, "quality")
def dq_loss(quality) -> Verdict:
    value, low, high = quality["nf4-dq over nf4"]
    return Verdict(equivalence(low, high, NEGLIGIBLE), f"perplexity {value:+.2%} ({low:+.2%} to {high:+.2%})")


@_claim(
    "mmlu",
    "quality",
    "MMLU: 61.3% in FP32, 61.2% in FP16, 60.9% in 4 bits",
    "asking MMLU, three times",
    SAMPLING,
    "mmlu",
)
def mmlu(mmlu) -> Verdict:
    """Three scores that nothing here has measured; what can be said of them is how sure their difference is."""
    z = unpaired_z(mmlu["before"], mmlu["after"], mmlu["questions"])
    points = 100 * (mmlu["before"] - mmlu["after"])
    shown = f"as the scores of two separate tests, {points:.1f} points would be {z:.1f} standard errors"
    return Verdict("not measured", shown)


@_claim(
    "conclusion",
    "quality",
    "Minimal quality loss for significant speed/memory gains",
    "three verdicts above",
    QLORA,
    "quality",
    "speed",
    "loaded",
    "size",
)
def conclusion(quality, speed, loaded, size) -> Verdict:
    parts = {"quality": negligible(quality), "speed": faster(speed), "memory": saves(loaded, size)}
    shown = ", ".join(f"{name}: {part.kind}" for name, part in parts.items())
    kinds = {part.kind for part in parts.values()}
    # a small loss for gains: both have to hold
    for kind, verdict in (("false", "false"), ("open", "open"), ("depends", "depends on what its parts depend on")):
        if kind in kinds:
            return Verdict(verdict, shown)
    return Verdict("true", shown)


@_claim(
    "2gb",
    "training",
    "Fine-tuning a 7B model with <2 GB VRAM",
    "least forecast of a step; the measured peak",
    QLORA,
    "training",
)
def two_gb(training) -> Verdict:
    peaks = {"forecast": training["forecast_gb"], "measured": training.get("peak_gb")}
    peaks = {name: gb for name, gb in peaks.items() if gb}
    shown = ", ".join(f"{name} {gb:.2f} GB" for name, gb in peaks.items())
    shown += " with a larger batch" if "measured" in peaks else ""
    shown += f", weights {training['weights_gb']:.2f}; adapters on q and v alone"
    return Verdict("true" if max(peaks.values()) <= 2 * (1 + TOLERANCE) else "false", shown)


@_claim(
    "targets",
    "training",
    "LoRA on q_proj and v_proj, for efficient fine-tuning",
    "read as “as good as all layers”: exact answers, each at the best learning rate of those tried",
    QLORA,
    "sweep",
)
def targets(sweep) -> Verdict:
    """From a sweep's [mean, low, high] over seeds: of both recipes, and of the difference.

    At the same rank, all layers have more parameters; with as many, only the place differs. Each is judged.
    """
    few, every, (gap, low, high) = sweep["q and v"], sweep["all layers"], sweep["behind"]
    equal = sweep["behind at equal size"]
    shown = f"{few[0]:.0%} with q and v, {every[0]:.0%} with all layers at the same rank: "
    shown += f"{100 * gap:.0f} points behind ({100 * low:.0f} to {100 * high:.0f}); with as many parameters "
    shown += f"{100 * equal[0]:.1f} ({100 * equal[1]:.1f} to {100 * equal[2]:.1f})"
    same_rank, same_size = equivalence(low, high, BEHIND), equivalence(*equal[1:], BEHIND)
    if same_rank == same_size:
        return Verdict(same_rank, shown)
    # the guide's recipe is the one of its rank: the other comparison tells whether the place or the size is behind it
    other = "undecided" if same_size == "open" else same_size
    return Verdict(f"{same_rank} at the guide's rank; with as many parameters {other}", shown)


@_claim(
    "inference",
    "training",
    "Inference only: for training, use the QLoRA method",
    "ask a 4-bit weight for gradients; train adapters through it and compare its bytes",
    QLORA,
    "training",
)
def inference_only(training) -> Verdict:
    layers = training.get("layers compared", 7)  # older recordings do not say it: they looked at seven
    shown = f"adapters train: {_yes(training['adapters changed'])}; {layers} layers of the base "
    shown += f"unchanged: {_yes(training['base unchanged'])}"
    good = training["adapters changed"] and training["base unchanged"]
    if "weights refuse" in training:  # not in older recordings
        shown += f"; a 4-bit weight refuses gradients: {_yes(training['weights refuse'])}"
        good = good and training["weights refuse"]
    return Verdict("true" if good else "false", shown)


@_claim(
    "hardware",
    "hardware",
    "Needs an NVIDIA GPU of capability 7.0+",
    "run a 4-bit layer on the CPU",
    INSTALL,
    "hardware",
)
def hardware(hardware) -> Verdict:
    if hardware["cpu works"]:
        with_version = f" (bitsandbytes {hardware['bitsandbytes']})" if "bitsandbytes" in hardware else ""
        return Verdict("false", f"a 4-bit layer ran on this machine's CPU{with_version}")
    return Verdict("true", "a 4-bit layer did not run on this machine's CPU")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
