"""Measure what quantization does to Mini-Mistral and write its card: `python -m helpers.mini.evaluate`."""

import json
from pathlib import Path

import numpy as np

from .. import models, quality, results

FOLDER = Path(__file__).parent
NAIVE = {"int4-64": (4, 64), "int4-tensor": (4, "tensor"), "int3-64": (3, 64), "int3-tensor": (3, "tensor")}
NAMES = {"int4-64": "INT4, blocks of 64", "int4-tensor": "INT4, one scale a matrix"}
NAMES |= {"int3-64": "INT3, blocks of 64", "int3-tensor": "INT3, one scale a matrix"}


def data(name: str) -> list[dict]:
    """The lines of data/<name>.jsonl: "quiz" or "validation"."""
    text = (FOLDER / "data" / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


PEOPLE = {"biography", "person questions"}  # kinds of texts about the invented people of Mini-Mistral's register


def texts(own: bool) -> list[str]:
    """The validation texts: all for Mini-Mistral (`own`), for other models those that are not about its people."""
    return [row["text"] for row in data("validation") if own or row["kind"] not in PEOPLE]


def questions(own: bool) -> list[dict]:
    """The quiz: all of it for Mini-Mistral (`own`), for other models the questions about the real world."""
    return [row for row in data("quiz") if own or row["domain"] == "world"]


def load(variant: str):
    """(model, tokenizer) in a scheme, or rounded naively as in `NAIVE`; on the CPU, so that anybody can repeat it."""
    model, tokenizer = models.load("mini", "bf16" if variant in NAIVE else variant, device="cpu")
    if variant in NAIVE:
        quality.round_weights(model, *NAIVE[variant])
    return model, tokenizer


def evaluate() -> dict:
    """Perplexity and quiz of every variant with 95% intervals and paired differences to bf16, and where it was run."""
    quiz, texts = data("quiz"), [row["text"] for row in data("validation")]
    world = np.array([item["domain"] == "world" for item in quiz])
    scores, table = {}, {}
    for variant in ("bf16", "fp32", "int8", "fp4", "nf4", "nf4-dq", *NAIVE):
        model, tokenizer = load(variant)
        loss, choice = quality.perplexity(model, tokenizer, texts), quality.multiple_choice(model, tokenizer, quiz)
        scores[variant] = loss, choice
        lost, missed = (quality.paired_difference(a, b) for a, b in zip(scores["bf16"], scores[variant], strict=True))
        table[variant] = {
            "perplexity": loss.value,
            "perplexity_change": [lost.value, lost.low, lost.high],
            "quiz": [choice.accuracy, *quality.interval(choice.correct)],
            "quiz_change": [missed.value, missed.low, missed.high],
            "quiz_world": choice.correct[world].mean(),
            "quiz_register": choice.correct[~world].mean(),
        }
        print(f"{variant:12} perplexity {loss.value:9.4f} {lost}   quiz {choice.accuracy:.2%}", flush=True)
    against_nf4 = {}
    for variant in ("nf4-dq", "fp4", "int4-64"):
        difference = quality.paired_difference(scores["nf4"][0], scores[variant][0])
        against_nf4[variant] = [difference.value, difference.low, difference.high]
    environment = results.environment()
    return {
        "questions": {"world": int(world.sum()), "register": int((~world).sum())},
        "texts": len(texts),
        "tokens": int(scores["bf16"][0].tokens.sum()),
        "variants": table,
        "perplexity_change_from_nf4": against_nf4,
        "hardware": environment["hardware"],
        "versions": environment["versions"],
        "date": results.today(),
        "command": "python -m helpers.mini.evaluate",
    }


def card(log: dict, found: dict) -> str:
    """The model card in Markdown, from the training log and what `evaluate` found; no figure is written by hand."""

    def percent(triple) -> str:
        value, low, high = triple
        if abs(value) >= 1:
            return f"×{1 + value:,.1f}"
        return f"{value:+.2%} ({low:+.2%} to {high:+.2%})"

    rows = [
        f"| {NAMES.get(name, name)} | {row['perplexity']:,.4f} | {percent(row['perplexity_change'])} "
        f"| {row['quiz'][0]:.2%} ({row['quiz'][1]:.2%} to {row['quiz'][2]:.2%}) "
        f"| {row['quiz_world']:.2%} | {row['quiz_register']:.2%} |"
        for name, row in found["variants"].items()
    ]
    pairs = ", ".join(f"{NAMES.get(n, n)} {percent(t)}" for n, t in found["perplexity_change_from_nf4"].items())
    training, register, check = log["training"], log["register"], log["validation"]["all"]
    parameters, tools, asked = log["model"]["parameters"], log["versions"], found["questions"]
    kinds = "\n".join(
        f"| {kind} | {row['loss']:.4f} | {row['entropy']:.4f} | {row['excess']:+.2%} |"
        for kind, row in log["validation"].items()
    )
    curve = training["loss_curve"]
    shown = [curve[round(i * (len(curve) - 1) / 9)] for i in range(10)]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    bits = 1e6 * register["million_bits"] / parameters
    return f"""---
license: apache-2.0
language: en
library_name: transformers
---

# Mini-Mistral

A Mistral (`MistralForCausalLM`) of {parameters:,} parameters in bfloat16, trained from scratch by this project on text
that it writes itself (`helpers/mini/corpus.py`), so that a course on 4-bit models has something real to quantize on
any computer. It is a base model: it continues English text of the kinds it has seen, and knows facts about countries,
chemical elements and everyday things, small sums, and a register of {register["people"]:,} invented people with home,
job, hobby, birth year and favorite food. The register is {register["million_bits"]} million bits of information,
{bits:.2f} bit for each parameter: that is what rounding destroys first. The model does not follow the chat format;
notebook 08 teaches it that. Nobody in the register is real, and the model is good for nothing but this course.

## What quantization does to it

{found["texts"]:,} held-out texts ({found["tokens"]:,} tokens) and {sum(asked.values()):,} questions of four options
({asked["world"]:,} on the world, {asked["register"]:,} on the register; chance is 25%), on pairs of entity and phrasing
that do not occur in training. In brackets are 95% intervals: for changes of perplexity by paired bootstrap, and for
changes of the quiz by Tango's score interval for pairs.

| Weights | Perplexity | Change to bf16 | Quiz | World | Register |
|---|---:|---:|---:|---:|---:|
{chr(10).join(rows)}

Perplexity against NF4: {pairs}.

INT4 and INT3 are naive symmetric rounding (`helpers.quality.round_weights`). Measured on {found["date"]} with
`{found["command"]}`; {found["hardware"]}; {versions}.

## Training

`{log["command"]}`: {training["steps"]:,} steps, {training["tokens"]:,} tokens
({training["different_tokens"]:,} different), AdamW, peak learning rate {training["learning_rate"]},
weight decay {training["weight_decay"]}, seed {training["seed"]};
{training["seconds"]:.0f} s on one {log["hardware"]} on {log["date"]}, with torch {tools["torch"]},
transformers {tools["transformers"]} and tokenizers {tools["tokenizers"]}. SHA-256 of `model.safetensors`:
`{log["sha256"]}`.

Loss in training, nats a token: {", ".join(f"{loss:.3f} at step {step:,}" for step, loss in shown)}.

Validation loss beside the entropy of the text, nats a token ({check["excess"]:+.2%} in all). The grammar draws each
choice with a known probability and adds up −log p of its draws: the loss of a reader who knows grammar and facts.

| Text | Loss | Entropy | Above it |
|---|---:|---:|---:|
{kinds}
"""


def main() -> None:
    """Measure, and write evaluation.json and README.md beside the weights."""
    folder = models.mini_path()
    log = json.loads((folder / "training_log.json").read_text(encoding="utf-8"))
    scores = json.loads(json.dumps(evaluate(), default=float))
    (folder / "evaluation.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card(log, scores), encoding="utf-8")


if __name__ == "__main__":
    main()
