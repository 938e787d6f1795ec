"""How each claim of a guide to 4-bit models is judged: pure functions from measurements to a verdict.

A measurement is a dict of plain numbers, as notebook 10 makes and records it. What a machine could not measure is
None or missing, and the claims that need it are "not measured" there.
"""

import math

from .claim import Verdict, claim
from .kernel import ratios_with_kernel
from .margins import ADDED, BEHIND, NEGLIGIBLE, ROOM, TOLERANCE, inside, needed, settled
from .wording import changed, listed, points_lost, signed, span

__all__ = ["INSTALL", "unpaired_z"]

QLORA = "[QLoRA](https://arxiv.org/abs/2305.14314)"
MISTRAL = "[Mistral 7B](https://arxiv.org/abs/2310.06825)"
YOSHIDA = "[Yoshida](https://arxiv.org/abs/2306.06965)"
OPTIONS = "[transformers](https://huggingface.co/docs/transformers/main/en/quantization/bitsandbytes)"
INSTALL = "[bitsandbytes](https://huggingface.co/docs/bitsandbytes/main/en/installation)"
SPEEDS = "[bitsandbytes' benchmarks](https://github.com/bitsandbytes-foundation/bitsandbytes/tree/main/benchmarking)"
SAMPLING = "[Miller](https://arxiv.org/abs/2411.00640)"


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
    """Whether what was measured is within the tolerance of a figure of the guide's."""
    return abs(measured / claimed - 1) <= TOLERANCE


@claim(
    "intro",
    "size",
    "FP32 is 16 GB,\nFP16 8 GB",
    "We multiply the number of parameters by the bits of each.",
    MISTRAL,
    "size",
)
def intro(size) -> Verdict:
    good = {name: _near(gb, size[name]) for name, gb in {"fp32": 16, "fp16": 8}.items()}
    shown = f"Mistral-7B's weights take {size['fp32']:.2f} GB in FP32 and {size['fp16']:.2f} GB in FP16."
    return _shares(good, "the format", shown)


@claim(
    "range",
    "size",
    "4-bit: 2–4 GB",
    "We forecast the bytes from the configuration, constants included.",
    QLORA,
    "size",
)
def four_bit_range(size) -> Verdict:
    good = {name: 2 * (1 - TOLERANCE) <= size[name] <= 4 * (1 + TOLERANCE) for name in ("nf4", "nf4-dq")}
    shown = f"Mistral-7B's weights take {size['nf4']:.2f} GB in NF4, and {size['nf4-dq']:.2f} GB with double "
    shown += f"quantization. Up to {4 * (1 + TOLERANCE):.1f} GB counts as true."
    return _shares(good, "double quantization", shown)


@claim(
    "table",
    "size",
    "28, 14, 7\nand 3.5 GB",
    "We forecast all four sizes, the last one with double quantization.",
    MISTRAL,
    "size",
)
def size_table(size) -> Verdict:
    claimed = {"fp32": 28, "fp16": 14, "int8": 7, "nf4-dq": 3.5}
    names = ("FP32", "FP16", "8 bits", "4 bits")
    off = [signed(size[scheme] / gb - 1, ".0%") for scheme, gb in claimed.items()]
    shown = listed([f"{share} in {name}" for share, name in zip(off, names, strict=True)])
    good = {name: _near(gb, size[name]) for name, gb in claimed.items()}
    return _shares(good, "the row", f"The real sizes differ from these figures by {shown}.")


@claim(
    "linear",
    "size",
    "loads weights\nin 4 bits",
    "We count which share of the parameters is in 4-bit layers.",
    OPTIONS,
    "loaded",
)
def linear_share(loaded) -> Verdict:
    share = loaded["linear_share"]
    shown = f"{share:.1%} of the loaded model's parameters are in 4-bit layers. The others keep 16 bits. "
    shown += f"From {1 - TOLERANCE:.0%} on, the claim counts as true."
    return Verdict("true" if share >= 1 - TOLERANCE else "depends on the model" if share > 0 else "false", shown)


@claim(
    "saves",
    "size",
    "saves ~75%\nof memory",
    "We compare bytes with those in 16 bits, counted for the loaded model and by forecast for Mistral-7B.",
    QLORA,
    "loaded",
    "size",
)
def saves(loaded, size) -> Verdict:
    parts = {"a linear layer": loaded["saved_linear"], "the loaded model": loaded["saved"]}
    parts["Mistral-7B"] = 1 - size["nf4-dq"] / size["fp16"]
    good = {name: _near(0.75, parts[name]) for name in ("the loaded model", "Mistral-7B")}  # the two cases
    shown = listed([f"{value:.1%} of {name}" for name, value in parts.items()])
    return _shares(good, "the model", f"NF4 with double quantization saves {shown}.")


@claim(
    "dq-bits",
    "size",
    "double quant.\nsaves ~0.4 bits",
    "We count the constants with and without it.",
    QLORA,
    "loaded",
)
def dq_bits(loaded) -> Verdict:
    bits, here = loaded["dq_bits_7b"], loaded["dq_bits"]
    shown = f"It saves {bits:.3f} bits per quantized parameter of Mistral-7B, and {here:.3f} of the loaded model"
    shown += ", whose small layers each bring a table for it." if here < 0.95 * bits else "."
    return _shares({"7B": _near(0.4, bits), "here": _near(0.4, here)}, "the model", shown)


@claim(
    "fewer",
    "size",
    "fewer\nparameters",
    "We count parameters before and after.",
    OPTIONS,
    "loaded",
)
def fewer(loaded) -> Verdict:
    before, after = loaded["parameters"]["16 bits"], loaded["parameters"]["nf4-dq"]
    shown = f"There are {before:,} parameters before and {after:,} after"
    if after < before:
        return Verdict("true", f"{shown}.")
    return Verdict("false", f"{shown}. Each takes fewer bits, but none goes away.")


@claim(
    "int4",
    "precision",
    "NF4 beats INT4",
    "We compare squared errors on normally distributed numbers, with 4.5 bits each.",
    YOSHIDA,
    "error",
)
def better_than_int4(error) -> Verdict:
    good = {name: error["NF4"] < error[name] for name in ("INT4 symmetric", "INT4 affine")}
    shown = listed([f"{value / error['NF4']:.2f} times for {name}" for name, value in error.items() if name != "NF4"])
    return _shares(good, "which INT4", f"Compared with NF4, the squared error is {shown}.")


@claim(
    "recommended",
    "quality",
    "NF4 is\nrecommended",
    "We compare perplexity with that of FP4, the other 4-bit format of bitsandbytes.",
    QLORA,
    "quality",
)
def recommended(quality) -> Verdict:
    value, low, high = quality["fp4 over nf4"]
    shown = f"Compared with NF4, FP4 changes perplexity by {changed(value, low, high)}."
    return Verdict("true of the two in bitsandbytes" if low > 0 else "false" if high < 0 else "open", shown)


@claim(
    "compute",
    "precision",
    "computes\nin FP16",
    "We ask the guide's own configuration for its compute dtype.",
    OPTIONS,
    "configured",
)
def computes_in(configured) -> Verdict:
    shown = f"The guide's own configuration asks for a compute dtype, and layers then compute in {configured['guide']}."
    shown += f" (If you leave that line out, they compute in {configured['default']}.)"
    return Verdict("true" if configured["guide"] == "float16" else "false", shown)


def _added(compute, part: str) -> float:
    """By what share a rounding lengthens the error that quantization makes: errors that do not know each other."""
    return math.hypot(compute["quantization"], compute[part]) / compute["quantization"] - 1


@claim(
    "fp16",
    "precision",
    "FP16 is precise",
    "We compare rounding to float16 with the error of quantization, and the largest input with float16's range.",
    OPTIONS,
    "compute",
)
def fp16_precise(compute) -> Verdict:
    added, room = _added(compute, "float16"), compute["room"]
    shown = f"Computing in float16 makes the error of quantization larger by {100 * added:.2g}%. And float16 reaches "
    shown += f"{room:,.0f} times" if room >= 10 else f"{room:.1f} times"
    shown += " as far as the largest input of one text."
    return Verdict("true" if added < ADDED and room >= ROOM else "false", shown)


@claim(
    "storage",
    "precision",
    "only storage\nis quantized",
    "We compare the output of a 4-bit layer with that of its own dequantized weights.",
    QLORA,
    "compute",
)
def storage_only(compute) -> Verdict:
    off, added = compute["layer against dequantized"], _added(compute, "layer against dequantized")
    shown = f"The two outputs differ by {off:.2%}"
    if added < ADDED:
        return Verdict("true", f"{shown}, which is the rounding of the compute dtype.")
    return Verdict("false", f"{shown}, which is more than the rounding of a compute dtype.")


@claim(
    "faster",
    "speed",
    "2–3x faster",
    "We time decoding at several batch sizes, against 16 bits and against FP32.",
    SPEEDS,
    "speed",
)
def faster(speed) -> Verdict:
    """The guide names no baseline and takes FP32 as 100% in its tables: both are tried."""
    least = 2 * (1 - TOLERANCE)
    ways, told = {}, []
    for part, base in (("by batch", "16 bits"), ("over fp32", "FP32")):
        ratios = speed.get(part) or {}
        ways |= {f"{base}, {batch}": ratio for batch, ratio in ratios.items()}
        if ratios:
            each = [f"{span(ratio)} at batch {batch}" for batch, ratio in ratios.items()]
            told.append(f"compared with {base}, {listed(each)}")
    shown = f"The speed in 4 bits is, {'; '.join(told)}."
    if speed.get("kernel"):
        shown += f" With notebook 11's kernel it is, compared with 16 bits at batch 1, {ratios_with_kernel(speed)}. "
        shown += "That isn't counted, because the guide speaks of bitsandbytes."
    kinds = {way: inside(-high, -low, -least) for way, (_, low, high) in ways.items()}
    more = {"depends": "depends on baseline and batch", "open": "open: it needs more runs"}
    kind = settled(list(kinds.values()))
    return Verdict(more.get(kind, kind), shown)


@claim(
    "bandwidth",
    "speed",
    "less memory\nbandwidth",
    "We compute the bytes that a step has to move for one text.",
    SPEEDS,
    "speed",
)
def bandwidth(speed) -> Verdict:
    ratio = speed["bytes"]
    shown = f"A step for one text reads {ratio:.0%} of the bytes of 16 bits. (Unlike the layers, the output head stays "
    shown += "in 16 bits. Of the embeddings, a step reads only one row.)"
    return Verdict("true by calculation, for one text at a time" if ratio < 1 - TOLERANCE else "false", shown)


@claim(
    "simplified",
    "speed",
    "simplified, read\nas “quicker”",
    "We read it as “quicker”, and time the layers for one row of inputs and for many.",
    QLORA,
    "speed",
)
def simplified(speed) -> Verdict:
    """A layer that dequantizes and then multiplies does more, not less; faster it can be, where bytes are the limit."""
    kinds, told = [], []
    for rows, (ratio, low, high) in speed["layer time"].items():
        kinds.append(inside(low, high, 1 - TOLERANCE))
        told.append(f"{ratio:.2f} ({low:.2f}–{high:.2f}) times as long for {rows} {'row' if rows == '1' else 'rows'}")
    shown = f"Compared with 16 bits, the layers take {listed(told)}."
    kind = settled(kinds)
    return Verdict("depends on the number of rows" if kind == "depends" else kind, shown)


@claim(
    "long",
    "speed",
    "slightly slower\non long texts",
    "Generating tokens is decoding: one text is continued, after a short beginning and after a long one. (Reading a "
    "long text was not timed.)",
    SPEEDS,
    "speed",
)
def long_sequences(speed) -> Verdict:
    short, long = speed["short"], speed["long"]
    near, far = f"{speed['short length']:,}", f"{speed['long length']:,}"
    shown = f"Compared with 16 bits, the speed is {span(short)} after {near} tokens, and {span(long)} after {far}."
    if speed.get("window"):
        shown += f" No step looks back further than {speed['window']:,} tokens."
    if long[1] >= 1:
        return Verdict("false: not slower", shown)
    if long[2] < 1 - TOLERANCE:
        return Verdict("false: much slower" + (", even on short texts" if short[2] < 1 - TOLERANCE else ""), shown)
    if long[2] >= 1 or long[1] < 1 - TOLERANCE:
        return Verdict("open", shown)
    return Verdict("true" if short[1] >= 1 else "depends on more than the length", shown)


@claim(
    "loss",
    "quality",
    "negligible loss",
    "We compare perplexity and a quiz with those of 16 bits, on the same texts and questions.",
    QLORA,
    "quality",
)
def negligible(quality) -> Verdict:
    """The damage is a rise of perplexity, and a fall of the share of right answers.

    These are parts, not cases: to be negligible it has to be so in both, and either one refutes it alone.
    """
    value, low, high = quality["nf4-dq over 16 bits"]
    points, least, most = quality["accuracy"]
    kinds = [inside(low, high, NEGLIGIBLE), inside(-most, -least, NEGLIGIBLE)]
    shown = f"Perplexity changed by {changed(value, low, high)}, and the quiz lost {points_lost(quality)}."
    if "false" in kinds:
        return Verdict("false", shown)
    if "open" in kinds:
        n = needed(-points, -most, -least, NEGLIGIBLE, quality["questions"])
        return Verdict("open" + (f": it needs about {n:,} questions" if kinds[1] == "open" and n else ""), shown)
    return Verdict("true", shown)


@claim(
    "dq-loss",
    "quality",
    "double quant.\ncosts little",
    "We compare perplexity with and without it.",
    QLORA,
    "quality",
)
def dq_loss(quality) -> Verdict:
    value, low, high = quality["nf4-dq over nf4"]
    shown = f"Double quantization changed perplexity by {changed(value, low, high)}."
    return Verdict(inside(low, high, NEGLIGIBLE), shown)


@claim(
    "mmlu",
    "quality",
    "MMLU: 61.3,\n61.2, 60.9%",
    "One would have to ask MMLU's questions in all three formats, and we didn't.",
    SAMPLING,
    "mmlu",
)
def mmlu(mmlu) -> Verdict:
    """Three scores that nothing here has measured; what can be said of them is how sure their difference is."""
    z = unpaired_z(mmlu["before"], mmlu["after"], mmlu["questions"])
    points = 100 * (mmlu["before"] - mmlu["after"])
    shown = f"If 16 and 4 bits had been asked separate questions, {points:.1f} points would be {z:.1f} standard errors "
    shown += "of their difference."
    return Verdict("not measured", shown)


@claim(
    "conclusion",
    "quality",
    "small loss,\nlarge gains",
    "We combine three verdicts: on the loss, on the speed and on the memory.",
    QLORA,
    "quality",
    "speed",
    "loaded",
    "size",
)
def conclusion(quality, speed, loaded, size) -> Verdict:
    parts = {"quality": negligible(quality), "speed": faster(speed), "memory": saves(loaded, size)}
    told = listed([f"“{part.kind}” on {name}" for name, part in parts.items()])
    shown = (
        f"For the model here, on this machine alone, the verdicts are {told}. A small loss for gains needs all three."
    )
    kinds = {part.kind for part in parts.values()}
    for kind, verdict in (("false", "false"), ("open", "open"), ("depends", "depends on what its parts depend on")):
        if kind in kinds:
            return Verdict(verdict, shown)
    return Verdict("true", shown)


@claim(
    "2gb",
    "training",
    "fine-tunes 7B\nin 2 GB",
    "We forecast the smallest step, and take the measured peak where a GPU trained a 7B model.",
    QLORA,
    "training",
)
def two_gb(training) -> Verdict:
    peaks = {"forecast": training["forecast_gb"], "measured": training.get("peak_gb")}
    peaks = {name: gb for name, gb in peaks.items() if gb}
    shown = (
        f"By forecast, a step takes at least {peaks['forecast']:.2f} GB with adapters on q and v alone. The weights "
    )
    shown += f"are {training['weights_gb']:.2f} GB of it."
    if "measured" in peaks:
        shown += f" With a larger batch, {peaks['measured']:.2f} GB was measured."
    return Verdict("true" if max(peaks.values()) <= 2 * (1 + TOLERANCE) else "false", shown)


@claim(
    "targets",
    "training",
    "adapters on q, v\nare efficient",
    "We compare exact answers with those of adapters on all layers, of the same rank and with as many parameters, each "
    "recipe at the best learning rate of those tried.",
    QLORA,
    "sweep",
)
def targets(sweep) -> Verdict:
    """From a sweep's [mean, low, high] over seeds: of both recipes, and of the difference.

    The guide does not say compared with what, so there are two cases: the guide's rank, where all layers have more
    parameters, and as many parameters for both.
    """
    few, every, (gap, low, high) = sweep["q and v"], sweep["all layers"], sweep["behind"]
    equal = sweep["behind at equal size"]
    shown = f"With adapters on q and v, {few[0]:.0%} of the answers were exact, and with adapters of the same rank on "
    shown += f"all layers {every[0]:.0%}: q and v are {100 * gap:.0f} points behind ({100 * low:.0f} to "
    shown += f"{100 * high:.0f}). With as many parameters they are {100 * equal[0]:.1f} points behind "
    shown += f"({100 * equal[1]:.1f} to {100 * equal[2]:.1f})."
    return Verdict(settled([inside(low, high, BEHIND), inside(equal[1], equal[2], BEHIND)]), shown)


@claim(
    "inference",
    "training",
    "for training:\nQLoRA",
    "We ask a 4-bit weight for gradients, train adapters through it, and compare its bytes before and after.",
    QLORA,
    "training",
)
def inference_only(training) -> Verdict:
    layers = training.get("layers compared", 7)  # older recordings do not say it: they looked at seven
    good = training["adapters changed"] and training["base unchanged"]
    told = [f"the adapters {'learned' if training['adapters changed'] else 'did not change'}"]
    told.append(f"{layers} layers of the base {'kept' if training['base unchanged'] else 'did not keep'} every byte")
    if "weights refuse" in training:  # not in older recordings
        told.insert(0, f"a 4-bit weight {'refuses' if training['weights refuse'] else 'accepts'} gradients")
        good = good and training["weights refuse"]
    shown = ", and ".join([", ".join(told[:-1]), told[-1]])
    return Verdict("true" if good else "false", f"{shown[0].upper()}{shown[1:]}.")


@claim(
    "hardware",
    "hardware",
    "needs NVIDIA\n7.0 or newer",
    "We run a 4-bit layer on a CPU.",
    INSTALL,
    "hardware",
)
def hardware(hardware) -> Verdict:
    if hardware["cpu works"]:
        with_version = f", with bitsandbytes {hardware['bitsandbytes']}" if "bitsandbytes" in hardware else ""
        return Verdict("false", f"A 4-bit layer ran on the machine's CPU{with_version}.")
    return Verdict("true", "A 4-bit layer did not run on the machine's CPU.")
