"""Export what no formula gives for "Will it fit?" on the site: activations at the peak, traced for each preset.

`python scripts/forecasts.py` writes site/forecasts.json, in about 20 minutes of one core. It is kept in the repository,
because a build that takes seconds cannot trace 2,000 steps; a test traces some of them anew.
"""

import json
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from helpers import files, memory
from helpers.memory.budget import GROUPS, PARTS

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "site" / "forecasts.json"
# config.json of each on the Hugging Face hub, as far as the forecast reads it
LLAMA_3 = {"model_type": "llama", "vocab_size": 128256, "num_key_value_heads": 8, "tie_word_embeddings": False}
PRESETS = {
    "SmolLM2-135M": {
        "model_type": "llama",
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    },
    "Llama-3.2-1B": {
        **LLAMA_3,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "tie_word_embeddings": True,
    },
    "Mistral-7B-v0.1": {
        "model_type": "mistral",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
        "sliding_window": 4096,
        "tie_word_embeddings": False,
    },
    "Llama-3.1-8B": {
        **LLAMA_3,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "Llama-3.1-70B": {
        **LLAMA_3,
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
    },
}
SCHEMES = ("fp32", "bf16", "int8", "nf4", "nf4-dq")  # fp16 takes the bytes of bf16, and fp4 those of nf4
BATCHES = (1, 2, 4, 8, 16)
LENGTHS = {"prefill": (512, 1024, 2048, 4096, 8192, 16384, 32768), "train": (512, 1024, 2048, 4096)}
RANKS = (8, 16, 64)
TRACED = ("gradients", "kv_cache", "activations", "logits", "dequantized")  # the parts that depend on the moment


def config_of(preset: str):
    """Return a preset's configuration as transformers has it."""
    from transformers import AutoConfig

    values = dict(PRESETS[preset])
    return AutoConfig.for_model(values.pop("model_type"), max_position_embeddings=131072, **values)


def key(preset: str, scheme: str, stage: str, batch: int, length: int, rank: int) -> str:
    return f"{preset} {scheme} {stage} {batch} {length}" + (f" {rank}" if stage == "train" else "")


def traced(preset: str, scheme: str, stage: str, batch: int, length: int, rank: int) -> list[int]:
    """Return bytes at the peak, for each of `TRACED`."""
    changes = {"rank": rank} if stage == "train" else {}
    budget = memory.predict(config_of(preset), scheme, context=length, batch=batch, stage=stage, **changes)
    return [budget.parts.get(part, 0) for part in TRACED]


def questions(preset: str, scheme: str):
    for stage, lengths in LENGTHS.items():
        for length in lengths:
            for batch in BATCHES:
                for rank in RANKS if stage == "train" else (0,):
                    yield preset, scheme, stage, batch, length, rank


def _rows(both: tuple[str, str]) -> dict[str, list[int]]:
    return {key(*question): traced(*question) for question in questions(*both)}


def main() -> None:
    table = {}
    with ProcessPoolExecutor(2) as pool:
        for rows in pool.map(_rows, [(preset, scheme) for preset in PRESETS for scheme in SCHEMES]):
            table |= rows
            print(f"{len(table)} questions", flush=True)
    choices = {"batches": BATCHES, "lengths": LENGTHS, "ranks": RANKS, "parts": TRACED}
    content = {"presets": PRESETS, "names": PARTS, "groups": GROUPS, **choices, "table": table}
    lines = json.dumps(content, separators=(",", ":"), ensure_ascii=False).replace('],"', '],\n"')
    files.write(TABLE, lines + "\n")


if __name__ == "__main__":
    main()
