"""The guide that notebook 10 puts to the test, written again so that each of its sentences is true."""

from math import hypot

from ..results import markdown_table
from .kernel import ratios_with_kernel
from .verdicts import INSTALL, unpaired_z
from .wording import changed, listed, points_lost, span

__all__ = ["guide"]

CONFIGURATION = """```python
BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",  # unless you say so, it is "fp4"
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype=torch.bfloat16,  # torch.float16 on a GPU below capability 8.0
)
```"""


ABOUT = {"Mini-Mistral": " Mini-Mistral, which some numbers come from, is a very small model, trained for a course."}


def guide(
    here: dict,
    recorded: dict | None = None,
    name: str = "this model",
    others: dict[str, dict] | None = None,
    folded: bool = False,
) -> str:
    """The guide again, in Markdown, from measurements alone: what was not measured is not said.

    `recorded` is a measurement of the 7B shapes on a GPU; its sentences name it as such. `name` is
    that of the model at hand, which need not be a Mistral-7B. `others` are measurements of further models by name, for
    the section on quality. What comes after the sizes is `folded` if asked.
    """
    first = [
        "### Mistral-7B in 4 bits: a guide",
        "Mistral-7B's weights are numbers of 16 bits. You can store nearly all of them in 4 bits instead, in a format "
        "called NF4, and they then take less than a third of the memory. This page says how, and what it costs."
        + ABOUT.get(name, ""),
        CONFIGURATION,
        *_memory(here, name),
    ]
    rest = [
        *_precision(here, name),
        *_speed(here, recorded, name),
        *_quality(here, name, others),
        *_training(here, recorded),
        *_hardware(here),
    ]
    if folded:
        rest = [
            "<details><summary>The rest of the guide: precision, speed, quality, fine-tuning, hardware</summary>",
            *rest,
            "</details>",
        ]
    return "\n\n".join([*first, *rest])


def _memory(here: dict, name: str) -> list[str]:
    size, loaded = here["size"], here.get("loaded")
    kinds = {"FP32": "fp32", "FP16": "fp16", "8 bits": "int8", "NF4": "nf4", "NF4, double quantization": "nf4-dq"}
    rows = [
        {"format": kind, "GB": f"{size[scheme]:.2f}", "of FP16": f"{size[scheme] / size['fp16']:.0%}"}
        for kind, scheme in kinds.items()
    ]
    parts = [
        "#### How much memory you save",
        "These are Mistral-7B's weights, in GB of 10⁹ bytes. In use it takes more, because there are also the KV "
        "cache and intermediate results.",
        markdown_table(rows),
    ]
    if not loaded:
        return parts
    gone = loaded["parameters"]["16 bits"] - loaded["parameters"]["nf4-dq"]
    parts.append(
        f"With double quantization, NF4 saves {1 - size['nf4-dq'] / size['fp16']:.1%} compared with FP16. The codes "
        "alone would save 75%. But each block of 64 weights also stores a constant, so that a linear layer shrinks by "
        f"{loaded['saved_linear']:.1%}, and embeddings, output head and norms stay in 16 bits. The larger "
        f"their part of a model, the less you save: {name} shrinks by {loaded['saved']:.1%}. "
        + (f"{gone:,} parameters go away." if gone else "No parameter goes away; most of them take fewer bits.")
    )
    parts.append(
        "Double quantization stores the constants in 8 bits instead of 32. It saves "
        f"{loaded['dq_bits_7b']:.3f} bits per quantized parameter, which is "
        f"{size['nf4'] - size['nf4-dq']:.1f} GB here. The section on quality says what that costs."
    )
    return parts


def _precision(here: dict, name: str) -> list[str]:
    error, compute = here["error"], here["compute"]
    beaten = [other for other in error if other != "NF4" and error["NF4"] < error[other]]
    better = [other for other in error if error[other] < error["NF4"]]
    added = hypot(compute["float16"], compute["quantization"]) / compute["quantization"] - 1
    return [
        "#### How precise it is",
        "The 16 levels of NF4 are placed for weights that follow a bell curve. On such weights, and with 4.5 bits for "
        f"each in all, its squared error is smaller than that of {listed(beaten, 'no other format')}"
        + (f", and larger than that of {listed(better)}." if better else "."),
        "Only the storage is in 4 bits. To be multiplied, weights are turned back into the format that you choose as "
        f"`bnb_4bit_compute_dtype`. If you choose none, that is {here['configured']['default']}. bfloat16 reaches as "
        "far as float32 and is the usual choice where the GPU has it (capability 8.0 and up).",
        f"float16 rounds more finely, but doesn't reach as far. In a layer of {name}, computing in it made the error "
        f"of quantization larger by only {100 * added:.1g}% (if the two errors are independent).",
    ]


def _speed(here: dict, recorded: dict | None, name: str) -> list[str]:
    gpu = ((recorded or {}).get("speed") or {}).get("hardware", "a GPU")
    places = {f"{name}, on the machine at hand": here, f"Mistral-7B's shapes, on {gpu}": recorded}
    rows, told, begun = [], [], []
    for place, measured in places.items():
        speed = (measured or {}).get("speed")
        if not speed:
            continue
        if (length := f"{speed['short length']:,}") not in begun:
            begun.append(length)
        for batch, ratio in speed["by batch"].items():
            fp32 = speed.get("over fp32", {}).get(batch)
            rows.append(
                {"model and machine": place, "texts at once": int(batch)}
                | {"compared with 16 bits": span(ratio), "compared with FP32": span(fp32) if fp32 else None}
            )
        times = [
            f"{ratio:.2f} times as long for {n} {'row' if n == '1' else 'rows'} of inputs"
            for n, (ratio, _, _) in speed["layer time"].items()
        ]
        told.append(
            f"**{place}:** a step for one text moves {speed['bytes']:.0%} of the bytes (by calculation). "
            f"Compared with 16 bits, the linear layers took {listed(times)}."
        )
    if not rows:
        return []
    parts = [
        "#### How fast it is",
        "That depends on the machine, on how many texts you process at once, and on what you compare it with. Here is "
        f"the speed of writing in 4 bits after {' or '.join(begun)} tokens, as a multiple of the other format's speed:",
        markdown_table(rows),
        "In brackets is the whole range that was seen. On a GPU, the time that Python takes to launch each step is "
        "left out (CUDA graphs). Other machines will give other numbers, so measure yours.",
        "Why so different? Two things pull in opposite directions. Each step has fewer bytes to move, but the codes "
        "have to be turned back into weights, which is additional work.",
        *told,
    ]
    if recorded and (recorded.get("speed") or {}).get("kernel"):
        speed = recorded["speed"]
    else:
        speed = here.get("speed") or {}
    if speed.get("kernel"):
        parts.append(
            "A better kernel helps. With the one from notebook 11, the speed of writing one text was "
            f"{ratios_with_kernel(speed)}, compared with 16 bits. (These come from that notebook's own run, and the "
            "brackets from its quartiles.)"
        )
    return parts


def _quality(here: dict, name: str, others: dict[str, dict] | None) -> list[str]:
    parts, mmlu = ["#### What you lose"], here["mmlu"]
    measured = {model: found["quality"] for model, found in {name: here, **(others or {})}.items()}
    measured = {model: quality for model, quality in measured.items() if quality}
    if measured:
        parts.append(
            "4 bits cost some quality, and how much depends on the model and on the texts. These models were compared "
            "with themselves in 16 bits:"
        )
    for model, quality in measured.items():
        parts.append(
            f"- **{model}**: perplexity changed by {changed(*quality['nf4-dq over 16 bits'])}, and a quiz lost "
            f"{points_lost(quality)}. Double quantization alone changed perplexity by "
            f"{changed(*quality['nf4-dq over nf4'])}."
        )
    if measured and not any("Mistral-7B" in model for model in measured):
        parts.append("What Mistral-7B itself loses was not measured here. Measure it with your own texts.")
    z = unpaired_z(mmlu["before"], mmlu["after"], mmlu["questions"])
    parts.append(
        "MMLU, a well-known quiz, was not measured. If somebody shows you two of its scores that are "
        f"{100 * (mmlu['before'] - mmlu['after']):.1f} points apart, ask how many questions there were and whether "
        f"both models got the same ones. For two separate tests of {mmlu['questions']:,} questions, as many as MMLU "
        f"has, that is {z:.1f} standard errors, which shows neither that there is a loss nor that there is none."
    )
    return parts


def _training(here: dict, recorded: dict | None) -> list[str]:
    training = here["training"]
    peak = (recorded or {}).get("training", {}).get("peak_gb") or training.get("peak_gb")
    every = training.get("forecast_all_gb")  # not in older recordings
    on_all = f", and {every:.2f} GB with adapters on all linear layers" if every else ", and more with more adapters"
    parts = [
        "#### How to fine-tune it",
        "You can't train 4-bit weights themselves, but you can train adapters through them: that is QLoRA. Mistral-7B "
        f"doesn't fit into 2 GB then, because its weights alone take {training['weights_gb']:.2f} GB. By forecast, a "
        f"step on one text of {training['length']} tokens takes at least {training['forecast_gb']:.2f} GB with "
        f"adapters on `q_proj` and `v_proj` alone{on_all}."
        + (f" With these, and a larger batch, {peak:.2f} GB was measured." if peak else ""),
    ]
    if sweep := here.get("sweep"):
        few, every, behind = sweep["q and v"], sweep["all layers"], sweep["behind"]
        equal = sweep["behind at equal size"]
        parts.append(
            "Put adapters on all linear layers, and not on `q_proj` and `v_proj` alone. In a small model, with the "
            f"best learning rate tried for each, all layers got {every[0]:.0%} of held-out questions right and the two "
            f"kinds, at the same rank, {few[0]:.0%}. The difference is {100 * behind[0]:.0f} points (95% interval over "
            f"seeds: {100 * behind[1]:.0f} to {100 * behind[2]:.0f}), and {100 * equal[0]:.1f} points "
            f"({100 * equal[1]:.1f} to {100 * equal[2]:.1f}) if the two kinds get as many parameters as all layers."
        )
    return parts


def _hardware(here: dict) -> list[str]:
    works = here["hardware"]["cpu works"]
    first = "4-bit layers also run without a GPU." if works else "4-bit layers did not run on a CPU here."
    return ["#### What you need", f"{first} Which GPUs will do is listed in the documentation of {INSTALL}."]
