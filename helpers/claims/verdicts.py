"""The claims of a guide to 4-bit models, and how each is judged: pure functions from measurements to a verdict.

A measurement is a dict of plain numbers, as notebook 10 makes and records it. What a machine could not measure is
None or missing, and the claims that need it are "not measured" there.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "CLAIMS",
    "NEGLIGIBLE",
    "Claim",
    "Verdict",
    "combined",
    "judge",
    "points_changed",
    "ratios_with_kernel",
    "unpaired_z",
    "with_kernel",
]

NEGLIGIBLE = 0.005  # a change of perplexity, or of a share of right answers, that we call negligible
CLOSE = 0.05  # how far a size may be from the true one and still be a fair rounding
PRECISE = 0.1  # rounding errors below this share of the quantization error do not matter
ROOM = 100  # times that the largest input of a layer should fit into float16's range

QLORA = "[QLoRA](https://arxiv.org/abs/2305.14314)"
MISTRAL = "[Mistral 7B](https://arxiv.org/abs/2310.06825)"
LORA = "[LoRA](https://arxiv.org/abs/2106.09685)"
YOSHIDA = "[Yoshida](https://arxiv.org/abs/2306.06965)"
OPTIONS = "[transformers](https://huggingface.co/docs/transformers/main/en/quantization/bitsandbytes)"
INSTALL = "[bitsandbytes](https://huggingface.co/docs/bitsandbytes/main/en/installation)"
SPEEDS = "[bitsandbytes' benchmarks](https://github.com/bitsandbytes-foundation/bitsandbytes/tree/main/benchmarking)"
SAMPLING = "[Miller](https://arxiv.org/abs/2411.00640)"


@dataclass(frozen=True)
class Verdict:
    """`verdict` is "true", "false", "depends on …" or "not measured"; `because` holds the figures it comes from."""

    verdict: str
    because: str = ""

    @property
    def kind(self) -> str:
        """The verdict without what it depends on."""
        return "depends" if self.verdict.startswith("depends") else self.verdict


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


def combined(here: Verdict, recorded: Verdict) -> str:
    """One verdict of two machines: the one that measured, the common one, or that it depends on the machine."""
    if "not measured" in (here.kind, recorded.kind):
        return recorded.verdict if here.kind == "not measured" else here.verdict
    return here.verdict if here.kind == recorded.kind else "depends on the model and machine"


def unpaired_z(before: float, after: float, questions: int) -> float:
    """Difference of two shares of right answers in its standard errors, if each comes from questions of its own."""
    variance = (before * (1 - before) + after * (1 - after)) / questions
    return abs(before - after) / math.sqrt(variance)


def _shares(good: dict[str, bool], what: str, because: str) -> Verdict:
    """True if all parts are, false if none is, else it depends on `what`."""
    if all(good.values()):
        return Verdict("true", because)
    return Verdict(f"depends on {what}" if any(good.values()) else "false", because)


def _off(claimed: float, true: float) -> float:
    return claimed / true - 1


@_claim("intro", "size", "FP32 is 16 GB, FP16 8 GB for a 7B model", "parameters × bits / 8", MISTRAL, "size")
def intro(size) -> Verdict:
    claimed = {"fp32": 16, "fp16": 8}
    good = {name: abs(_off(gb, size[name])) <= CLOSE for name, gb in claimed.items()}
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
    good = {name: 2 <= size[name] <= 4 for name in ("nf4", "nf4-dq")}
    return _shares(good, "double quantization", f"{size['nf4']:.2f} GB, with double quantization {size['nf4-dq']:.2f}")


@_claim("table", "size", "28, 14, 7 and 3.5 GB", f"the same, within {CLOSE:.0%}", MISTRAL, "size")
def size_table(size) -> Verdict:
    claimed = {"fp32": 28, "fp16": 14, "int8": 7, "nf4-dq": 3.5}
    off = {name: _off(gb, size[name]) for name, gb in claimed.items()}
    shown = ", ".join(f"{name} {value:+.0%}" for name, value in off.items())
    return _shares({name: abs(value) <= CLOSE for name, value in off.items()}, "the row", shown)


@_claim(
    "linear", "size", "Loads model weights in 4-bit precision", "share of parameters in 4-bit layers", OPTIONS, "loaded"
)
def linear_share(loaded) -> Verdict:
    share = loaded["linear_share"]
    shown = f"{share:.1%} of the parameters; embeddings, head and norms keep 16 bits"
    return Verdict("true" if share > 0.999 else "depends on the layer" if share > 0 else "false", shown)


@_claim("saves", "size", "Reduces memory by ~75%", "bytes against 16 bits, counted", QLORA, "loaded", "size")
def saves(loaded, size) -> Verdict:
    parts = {"a linear layer": loaded["saved_linear"], "the loaded model": loaded["saved"]}
    parts["Mistral-7B"] = 1 - size["nf4-dq"] / size["fp16"]
    good = {name: abs(value - 0.75) < 0.01 for name, value in parts.items()}
    return _shares(good, "what is counted", ", ".join(f"{value:.1%} of {name}" for name, value in parts.items()))


@_claim("dq-bits", "size", "Double quantization saves ~0.4 bits per parameter", "constants counted", QLORA, "loaded")
def dq_bits(loaded) -> Verdict:
    bits, here = loaded["dq_bits_7b"], loaded["dq_bits"]
    shown = f"{bits:.3f} bit a quantized parameter of Mistral-7B, {here:.3f} of the loaded model"
    return Verdict("true" if 0.35 <= bits < 0.45 else "false", shown)


@_claim("fewer", "size", "Fewer parameters to load", "parameters counted before and after", OPTIONS, "loaded")
def fewer(loaded) -> Verdict:
    before, after = loaded["parameters"]["16 bits"], loaded["parameters"]["nf4-dq"]
    return Verdict("true" if after < before else "false", f"{before:,} before, {after:,} after: fewer bits, not fewer")


@_claim(
    "int4", "precision", "NF4 keeps better precision than INT4", "squared error at 4.5 bits a weight", YOSHIDA, "error"
)
def better_than_int4(error) -> Verdict:
    good = {name: error["NF4"] < error[name] for name in ("INT4 symmetric", "INT4 affine")}
    shown = ", ".join(f"{name} {value:.3f}%" for name, value in error.items())
    return _shares(good, "which INT4", shown)


@_claim(
    "recommended",
    "quality",
    "NF4 is recommended for language models",
    "perplexity of FP4 against NF4",
    QLORA,
    "quality",
)
def recommended(quality) -> Verdict:
    value, low, high = quality["fp4 over nf4"]
    shown = f"FP4 {value:+.2%} perplexity over NF4 ({low:+.2%} to {high:+.2%})"
    return Verdict("true" if low > 0 else "false" if high < 0 else "depends on the texts", shown)


@_claim("compute", "precision", "Computation still happens in FP16", "default of the option", OPTIONS, "compute")
def computes_in(compute) -> Verdict:
    default = compute["default"]
    shown = f"bnb_4bit_compute_dtype is {default} unless set"
    return Verdict("true" if default == "float16" else "depends on the configuration", shown)


@_claim(
    "fp16",
    "precision",
    "FP16 maintains numerical precision",
    "rounding against quantization error, range",
    OPTIONS,
    "compute",
)
def fp16_precise(compute) -> Verdict:
    ratio, room = compute["float16"] / compute["quantization"], compute["room"]
    shown = f"{ratio:.2%} of the quantization error; the largest input fits {room:,.0f} times into its range"
    if ratio > PRECISE or room < 1:
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
    off = compute["layer against dequantized"]
    return Verdict("true" if off < 0.02 else "false", f"outputs differ by {off:.2%}: the dtype's rounding")


@_claim(
    "faster", "speed", "Typically 2–3x faster", "decode, tokens a second, by batch, against 16 bits", SPEEDS, "speed"
)
def faster(speed) -> Verdict:
    ratios = speed["by batch"]
    good = {batch: ratio >= 2 for batch, ratio in ratios.items()}
    shown = ", ".join(f"{ratio:.2f}× at batch {batch}" for batch, ratio in ratios.items())
    if speed.get("kernel"):
        good |= {f"kernel, {way}": ratio["low"] >= 2 for way, ratio in speed["kernel"].items()}
        shown += f"; with notebook 11's kernel {ratios_with_kernel(speed)} at batch 1"
        return _shares(good, "the batch and the kernel", shown)
    return _shares(good, "the batch", shown)


def ratios_with_kernel(speed) -> str:
    """The ratios of `with_kernel`, with their quartiles."""
    shown = {}
    for way, r in speed["kernel"].items():
        spread = f"{r['low']:.2f}–{r['high']:.2f}" + (", which leaves 2× open" if r["low"] < 2 <= r["high"] else "")
        shown[way] = f"{r['median']:.2f}× ({spread})"
    return ", ".join(text if way == "plain" else f"{text} with the rest {way}" for way, text in shown.items())


def with_kernel(speed: dict | None, bench: dict) -> dict | None:
    """A measurement of speed with what notebook 11's kernel made of decoding, from the recorded part "kernels".

    Adds how many times bf16's speed nf4-dq then has at batch 1, by what was done to the rest of a step: medians, and
    the least and most that the quartiles allow. None stays None.
    """
    if speed is None:
        return None
    ways = {}
    for way in ("plain", "fused"):
        slow, fast = (bench["decode"][scheme].get(way, {}).get("ms") for scheme in ("bf16", "kernel"))
        if slow and fast:
            ends = {"median": ("median", "median"), "low": ("low", "high"), "high": ("high", "low")}
            ways[way] = {name: slow[mine] / fast[other] for name, (mine, other) in ends.items()}
    return {**speed, "kernel": ways}


@_claim("bandwidth", "speed", "Reduced memory bandwidth", "bytes that a decode step moves", SPEEDS, "speed")
def bandwidth(speed) -> Verdict:
    ratio = speed["bytes"]
    return Verdict("true" if ratio < 0.9 else "false", f"{ratio:.0%} of the bytes of 16 bits")


@_claim(
    "simplified", "speed", "Simplified matrix operations", "one layer, many rows, time against 16 bits", QLORA, "speed"
)
def simplified(speed) -> Verdict:
    ratio, rows = speed["layer time"], speed["layer rows"]
    return Verdict(
        "true" if ratio < 0.9 else "false", f"{ratio:.2f} times the time for {rows} rows: dequantize, then multiply"
    )


@_claim(
    "long",
    "speed",
    "Slightly slower than FP16 for very long sequences",
    "decode after a short and a long text",
    SPEEDS,
    "speed",
)
def long_sequences(speed) -> Verdict:
    short, long = speed["short"], speed["long"]
    shown = f"{short:.2f}× after {speed['short length']:,} tokens, {long:.2f}× after {speed['long length']:,}"
    if long >= 1:
        return Verdict("false", shown)
    return Verdict("true" if short >= 1 else "depends on more than the length", shown)


@_claim("loss", "quality", "Negligible quality loss", "perplexity and quiz, paired with 16 bits", QLORA, "quality")
def negligible(quality) -> Verdict:
    value, low, high = quality["nf4-dq over 16 bits"]
    points, _, above = quality["accuracy"]
    good = {"perplexity": value < NEGLIGIBLE or low <= 0, "quiz": points > -NEGLIGIBLE or above >= 0}
    shown = f"perplexity {value:+.2%} ({low:+.2%} to {high:+.2%}), quiz {points_changed(quality)}"
    return _shares(good, "the measure", shown)


def points_changed(quality) -> str:
    """Change of a quiz in points with its interval; if no answer changed, a bootstrap has no interval to give."""
    points, low, high = (100 * value for value in quality["accuracy"])
    if low == high == 0:
        return f"unchanged on {quality['questions']:,} questions"
    return f"{points:+.1f} points ({low:+.1f} to {high:+.1f}) on {quality['questions']:,} questions"


@_claim("dq-loss", "quality", "Double quantization: minimal impact", "perplexity with and without", QLORA, "quality")
def dq_loss(quality) -> Verdict:
    value, low, high = quality["nf4-dq over nf4"]
    shown = f"perplexity {value:+.2%} ({low:+.2%} to {high:+.2%})"
    if max(abs(low), abs(high)) < NEGLIGIBLE:
        return Verdict("true", shown)
    return Verdict("false" if low > NEGLIGIBLE else "depends on the texts", shown)


@_claim(
    "mmlu", "quality", "MMLU: 61.3, 61.2, 60.9%", "difference in standard errors, 14,042 questions", SAMPLING, "mmlu"
)
def mmlu(mmlu) -> Verdict:
    z = unpaired_z(mmlu["before"], mmlu["after"], mmlu["questions"])
    shown = f"{100 * (mmlu['before'] - mmlu['after']):.1f} points are {z:.1f} standard errors, unpaired"
    return Verdict("true" if z > 1.96 else "depends on paired scores, which the guide does not have", shown)


@_claim(
    "conclusion", "quality", "Minimal quality loss for significant speed/memory gains", "three verdicts above", QLORA,
    "quality", "speed", "loaded", "size",
)  # fmt: skip
def conclusion(quality, speed, loaded, size) -> Verdict:
    parts = {"quality": negligible(quality), "speed": faster(speed), "memory": saves(loaded, size)}
    shown = ", ".join(f"{name}: {part.kind}" for name, part in parts.items())
    kinds = {part.kind for part in parts.values()}
    return Verdict(kinds.pop() if kinds in ({"true"}, {"false"}) else "depends on which gain is meant", shown)


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
    shown += f", weights {training['weights_gb']:.2f}; adapters on q and v alone"
    return Verdict("true" if max(peaks.values()) < 2 else "false", shown)


@_claim(
    "targets", "training", "LoRA of rank 16 on q_proj and v_proj", "loss after as many steps on all linear layers",
    LORA, "training",
)  # fmt: skip
def targets(training) -> Verdict:
    loss = training.get("loss")
    if not loss:
        return Verdict("not measured")
    few, every = loss["q_proj, v_proj"], loss["all linear"]
    shown = (
        f"loss {training['loss before']:.2f} at first; in the last 4 steps {few:.2f} with q and v, {every:.2f} with all"
    )
    if few > 0.95 * training["loss before"]:
        return Verdict("false", shown)
    return Verdict("true" if few <= every * 1.02 else "depends on how much it has to learn", shown)


@_claim(
    "inference",
    "training",
    "Inference only",
    "train adapters through the 4-bit base; compare its bytes",
    QLORA,
    "training",
)
def inference_only(training) -> Verdict:
    shown = f"adapters train: {_yes(training['adapters changed'])}; base unchanged: {_yes(training['base unchanged'])}"
    if not training["adapters changed"]:
        return Verdict("true", shown)
    return Verdict("depends on what is trained" if training["base unchanged"] else "false", shown)


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
        return Verdict("false", "a 4-bit layer ran on this machine's CPU")
    return Verdict("true", "a 4-bit layer did not run on this machine's CPU")


def _yes(value: bool) -> str:
    return "yes" if value else "no"
