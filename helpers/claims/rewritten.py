"""The guide that notebook 10 puts to the test, written anew so that each of its sentences is true."""

from math import hypot

from .kernel import ratios_with_kernel
from .verdicts import INSTALL, points_changed, unpaired_z

__all__ = ["guide"]


def guide(
    here: dict, recorded: dict | None = None, name: str = "this model", others: dict[str, dict] | None = None
) -> str:
    """The guide again, in Markdown, from measurements alone: what was not measured is not said.

    `recorded` is a measurement of the 7B shapes on a GPU; its sentences name it as such. `name` is
    that of the model at hand, which need not be a Mistral-7B. `others` are measurements of further models by name, for
    the sentence on quality.
    """
    size, loaded, error = here["size"], here.get("loaded"), here["error"]
    compute, training, mmlu = here["compute"], here["training"], here["mmlu"]
    lines = [
        "## Mistral-7B in 4 bits, as forecast, and as measured with random weights of its shapes and on smaller models",
        "### Size",
    ]
    lines.append(
        f"The weights of Mistral-7B take {size['fp32']:.2f} GB in FP32, {size['fp16']:.2f} in FP16, "
        f"{size['int8']:.2f} in 8 bits, {size['nf4']:.2f} in NF4 and {size['nf4-dq']:.2f} with double quantization, "
        f"{1 - size['nf4-dq'] / size['fp16']:.1%} less than in FP16."
    )
    if loaded:
        gone = loaded["parameters"]["16 bits"] - loaded["parameters"]["nf4-dq"]
        lines.append(
            f"A linear layer alone shrinks by {loaded['saved_linear']:.1%} against 16 bits; embeddings, output head "
            f"and norms stay in 16 bits. {f'{gone:,} parameters go away' if gone else 'No parameter goes away'}. "
            f"Double quantization saves {loaded['dq_bits_7b']:.3f} bit for each quantized parameter."
        )
    lines.append("### Precision")
    beaten = [name for name in error if name != "NF4" and error["NF4"] < error[name]]
    better = [name for name in error if error[name] < error["NF4"]]
    lines.append(
        "On normal weights, at 4.5 bits per weight, NF4 has a smaller squared error than "
        f"{_list(beaten, 'no other format')}"
        + (f", and a larger one than {_list(better)}" if better else "")
        + f". Weights are dequantized before they are multiplied, in the dtype that you choose: it is "
        f"{here['configured']['default']} unless you set it. In one layer of {name}, "
        "computing in float16 made the error of quantization larger by "
        f"{100 * (hypot(compute['float16'], compute['quantization']) / compute['quantization'] - 1):.1g}%, if the two "
        "errors know nothing of each other; "
        "bfloat16 has float32's range and is the usual choice where the GPU has it (capability 8.0 and up)."
    )
    lines.append("### Speed")
    gpu = ((recorded or {}).get("speed") or {}).get("hardware", "a GPU")
    places = {
        f"On this machine, with {name}": here,
        f"On {gpu}, recorded, with Mistral-7B's shapes and CUDA graphs": recorded,
    }
    for place, measured in places.items():
        speed = (measured or {}).get("speed")
        if speed:
            ratios = ", ".join(f"{_range(ratio)} at batch {batch}" for batch, ratio in speed["by batch"].items())
            over = ", ".join(f"{_range(r)} at batch {batch}" for batch, r in speed.get("over fp32", {}).items())
            rows = {"1": "one row"}
            times = [f"{_range(time)} for {rows.get(n, f'{n} rows')}" for n, time in speed["layer time"].items()]
            lines.append(
                f"{place}, NF4 with double quantization wrote, after {speed['short length']} tokens, at this multiple "
                f"of the speed of 16 bits: {ratios}" + (f", and of FP32: {over}" if over else "") + "; a "
                f"decode step at batch 1 has {speed['bytes']:.0%} of the bytes to move, by calculation, and the layers "
                f"took this multiple of the time in 16 bits: {_list(times)}."
                + (
                    f" With notebook 11's kernel the speed at batch 1 was {ratios_with_kernel(speed)}, over 16 bits "
                    "(that notebook's own run; brackets: what the quartiles allow)."
                    if speed.get("kernel")
                    else ""
                )
            )
    lines.append(
        "In these brackets stands the whole range of the turns, if nothing else is said; for layers a turn is a median "
        "of several calls. Other GPUs were not timed here, and on the GPU launches from Python were left out: "
        "measure yours."
    )
    lines.append("### Quality")
    for model, measured in {f"{name} and its texts": here, **(others or {})}.items():
        quality = measured.get("quality")
        if not quality:
            continue
        value, low, high = quality["nf4-dq over 16 bits"]
        lines.append(
            f"On {model}, perplexity with NF4 and double quantization changed against 16 bits by {value:+.2%} "
            f"(95%: {low:+.2%} to {high:+.2%}); "
            f"the quiz: {points_changed(quality)}, taken for independent."
        )
    z = unpaired_z(mmlu["before"], mmlu["after"], mmlu["questions"])
    lines.append(
        f"MMLU was not measured. As scores of two separate tests of {mmlu['questions']:,} questions, "
        f"{100 * (mmlu['before'] - mmlu['after']):.1f} points would be {z:.1f} standard errors: two such scores alone "
        "show neither a loss nor the lack of one; answers to the same questions could, if few of them changed."
    )
    lines.append("### Fine-tuning")
    peak = (recorded or {}).get("training", {}).get("peak_gb") or training.get("peak_gb")
    lines.append(
        f"QLoRA trains adapters through the frozen 4-bit base. Of Mistral-7B the weights alone take "
        f"{training['weights_gb']:.2f} GB, and a step on one sequence of {training['length']} tokens at least "
        f"{training['forecast_gb']:.2f} GB by forecast, with adapters on q_proj and v_proj alone"
        + (f"; measured were {peak:.2f} GB, with a larger batch." if peak else ".")
    )
    if sweep := here.get("sweep"):
        few, every, behind = sweep["q and v"], sweep["all layers"], sweep["behind"]
        equal = sweep["behind at equal size"]
        lines.append(
            f"A small model, each recipe at the best learning rate of those tried, got {few[0]:.0%} of held-out "
            f"questions right with adapters on q_proj and v_proj and {every[0]:.0%} with adapters of the same rank "
            f"on all linear layers: {100 * behind[0]:.0f} points behind (95% over seeds: {100 * behind[1]:.0f} to "
            f"{100 * behind[2]:.0f}). With as many parameters on q_proj and v_proj it was {100 * equal[0]:.1f} points "
            f"({100 * equal[1]:.1f} to {100 * equal[2]:.1f})."
        )
    lines.append("### Hardware")
    cpu = "4-bit layers run on CPUs, too" if here["hardware"]["cpu works"] else "A GPU is needed"
    lines.append(f"{cpu}; what your GPU needs is in the {INSTALL} documentation.")
    return "\n\n".join(lines)


def _range(ratio) -> str:
    """A ratio, and the whole range of what was seen."""
    return "{:.2f} ({:.2f}–{:.2f})".format(*ratio)


def _list(names: list[str], none: str = "none") -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names) or none
