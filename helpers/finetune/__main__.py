"""QLoRA as a program."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import torch
from transformers import TrainerCallback

from .. import models, publish
from ..errors import CourseError
from ..recipe import PRESETS, Recipe, preset
from .asking import answers, exact_match
from .data import make_chat_ready, questions, read_jsonl
from .training import train

__all__ = ["main"]


def main(arguments_given: Sequence[str] | None = None) -> dict:
    """Fine-tune, print losses and exact match before and after, and save the adapter if a folder is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-id", default="mini")
    parser.add_argument("--scheme", default="nf4-dq")
    parser.add_argument("--preset", choices=PRESETS, help="batch, length and levers for a GPU of that size")
    parser.add_argument("--data", type=Path, help='your own questions: a file of {"question": …, "answer": …} lines')
    parser.add_argument("--held-out", type=int, default=200, help="questions to ask before and after; 0 asks none")
    parser.add_argument("--out", type=Path, help="folder for the adapter")
    parser.add_argument("--checkpoints", type=Path, help="folder for checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint")
    for item in fields(Recipe):
        how = {"action": argparse.BooleanOptionalAction} if item.type is bool else {"type": item.type}
        parser.add_argument(f"--{item.name.replace('_', '-')}", default=None, **how)
    options = parser.parse_args(arguments_given)
    changes = {item.name: getattr(options, item.name) for item in fields(Recipe)}
    changes = {name: value for name, value in changes.items() if value is not None}
    recipe = preset(options.preset, **changes) if options.preset else Recipe(**changes)
    if options.resume and not options.checkpoints:
        raise CourseError("--resume goes on from a checkpoint: name their folder with --checkpoints.")
    rank = int(os.environ.get("RANK", 0))
    local = int(os.environ.get("LOCAL_RANK", 0))
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    choice = models.resolve(options.model_id)
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"
    model, tokenizer = models.load(choice, options.scheme, recipe.compute_dtype, sharded=sharded)
    make_chat_ready(tokenizer)
    count = recipe.steps * recipe.batch * int(os.environ.get("WORLD_SIZE", 1))
    pairs, kept = questions(count, options.held_out, recipe.seed, choice.kind == "mini")
    if options.data:  # the course's held-out questions say nothing about other data
        pairs, kept = read_jsonl(options.data, tokenizer, recipe.length), []
    # one process asks, the others wait where gradients meet; a model in shards cannot answer
    asking = kept and rank == 0 and not sharded
    before = exact_match(answers(model, tokenizer, kept), kept) if asking else None
    shown = [_Line()] if rank == 0 else []
    adapted, curve = train(
        model, tokenizer, pairs, recipe, shown, options.checkpoints, resume=options.resume, out=options.out
    )
    after = exact_match(answers(adapted, tokenizer, kept), kept) if asking else None
    if options.out and rank == 0:
        tokenizer.save_pretrained(options.out)  # its chat template is part of what was trained
        publish.make_public(options.out, choice)
    report = {"recipe": asdict(recipe), "losses": curve, "exact_match": {"before": before, "after": after}}
    if rank == 0:
        print(json.dumps({**report, "losses": [curve[0], curve[-1]]}, indent=1))
    return report


class _Line(TrainerCallback):
    """Progress on a terminal: the step and its loss, on one line that is written over."""

    def on_log(self, args, state, control, logs=None, **given):
        if sys.stderr.isatty() and "loss" in (logs or {}):
            end = "\n" if state.global_step >= state.max_steps else "\r"
            print(f"step {state.global_step} of {state.max_steps}, loss {logs['loss']:.3f} ", end=end, file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        raise SystemExit(str(error)) from None
