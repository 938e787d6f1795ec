"""QLoRA with `Trainer` and peft: the recipe of notebook 08 in library form, and as a program.

    python -m helpers.finetune                                     # Mini-Mistral, about a minute on two cores
    python -m helpers.finetune --model-id mistral-7b --preset 24gb --out adapter   # a real checkpoint, on a GPU
    python -m helpers.finetune --data mine.jsonl --checkpoints run --resume        # your own questions and answers
    accelerate launch --config_file helpers/configs/ddp.yaml -m helpers.finetune   # on several GPUs

Source of the recipe: Dettmers et al., "QLoRA", arXiv 2305.14314, section 4 and appendix B: NF4 with double
quantization, adapters on all linear layers, a constant base.
"""

from ..adapters import add_adapters, load_adapter
from ..recipe import PRESETS, Recipe, preset
from .asking import ANSWER_TOKENS, answers, completions, end_ids, exact_match
from .data import Question, encode, frame, make_chat_ready, pack, questions, read_jsonl
from .measure import base_hash, cost, operations, optimizer_bytes, saved_activations, traffic
from .training import Watch, arguments, finished, losses, train, trainer

__all__ = [
    "ANSWER_TOKENS",
    "PRESETS",
    "Recipe",
    "add_adapters",
    "load_adapter",
    "preset",
    "Question",
    "Watch",
    "answers",
    "arguments",
    "base_hash",
    "completions",
    "cost",
    "encode",
    "end_ids",
    "exact_match",
    "finished",
    "frame",
    "losses",
    "make_chat_ready",
    "operations",
    "optimizer_bytes",
    "pack",
    "questions",
    "read_jsonl",
    "saved_activations",
    "traffic",
    "train",
    "trainer",
]
