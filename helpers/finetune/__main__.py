"""QLoRA as a program."""

import argparse
import functools
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from transformers import TrainerCallback

from .. import files, models, publish, sharding
from ..errors import CourseError
from ..recipe import PRESETS, Recipe, preset
from .asking import answers, exact_match
from .checkpoints import checkpoints_in
from .data import make_chat_ready, questions, read_jsonl
from .training import finished, train

__all__ = ["main"]

LOST = ("gloo", "NCCL", "onnection closed", "onnection reset")  # in what is raised where another process is gone


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
    if options.held_out < 0:
        raise CourseError(f"--held-out is {options.held_out}: give 0 or more questions.")
    if options.resume and not options.checkpoints:
        raise CourseError("--resume goes on from a checkpoint: name their folder with --checkpoints.")
    rank, sharded = sharding.rank(), sharding.wanted()
    if options.out and rank == 0:
        with files.beside(options.out.absolute()):  # tried now, and not after hours of training
            pass
    sharding.start()
    choice = models.resolve(options.model_id)
    if sharded:
        model, tokenizer = sharding.build(choice, recipe, options.scheme), models.tokenizer(choice)
    else:
        model, tokenizer = models.load(choice, options.scheme, recipe.compute_dtype)
    make_chat_ready(tokenizer)
    count = recipe.steps * recipe.batch * sharding.world()
    pairs, kept = questions(count, options.held_out, recipe.seed, choice.kind == "mini")
    if options.data:  # the course's held-out questions say nothing about other data
        pairs, kept = read_jsonl(options.data, tokenizer, recipe.length), []
    # one process asks, the others wait where gradients meet; a model in shards cannot answer
    asking = kept and rank == 0 and not sharded
    before = exact_match(answers(model, tokenizer, kept), kept) if asking else None
    shown = [_Line()] if rank == 0 else []

    def keep(run) -> None:
        adapted, write = finished(run), None
        if sharded:  # gathered from all processes
            write = functools.partial(adapted.save_pretrained, state_dict=sharding.gathered(adapted))
        if rank == 0:
            _save(adapted, tokenizer, options.out, choice, write)

    folder = {"checkpoints": options.checkpoints, "resume": options.resume, "keep": keep if options.out else None}
    try:
        adapted, curve = train(model, tokenizer, pairs, recipe, shown, **folder)
    except RuntimeError as error:
        if sharding.world() > 1 and any(word in str(error) for word in LOST):
            raise CourseError(_left_alone(options.checkpoints)) from error
        raise
    after = exact_match(answers(adapted, tokenizer, kept), kept) if asking else None
    report = {"recipe": asdict(recipe), "losses": curve, "exact_match": {"before": before, "after": after}}
    if rank == 0:
        print(json.dumps({**report, "losses": [curve[0], curve[-1]]}, indent=1))
    return report


def _save(adapted, tokenizer, out: Path, choice, write=None) -> None:
    """Save what was trained; where that fails after all, in a new folder of the system's, and say where."""
    try:
        publish.save(adapted, tokenizer, out, choice, write)
    except (CourseError, OSError) as error:
        instead = Path(tempfile.mkdtemp(prefix="adapter-"))
        publish.save(adapted, tokenizer, instead, choice, write)
        raise CourseError(f"{error} What was trained is in {instead}.") from error


class _Line(TrainerCallback):
    """Progress on a terminal: the step and its loss, on one line that is written over."""

    def on_log(self, args, state, control, logs=None, **given):
        if sys.stderr.isatty() and "loss" in (logs or {}):
            end = "\n" if state.global_step >= state.max_steps else "\r"
            print(f"step {state.global_step} of {state.max_steps}, loss {logs['loss']:.3f} ", end=end, file=sys.stderr)


def _left_alone(checkpoints: Path | None) -> str:
    """What to say where this process stops only because another one did."""
    whole = checkpoints_in(checkpoints) if checkpoints else []
    after = f"go on from {whole[-1].name} with --resume" if whole else "no checkpoint was kept: start anew"
    return f"Process {sharding.rank()} stops, since another one ended (its message says why): {after}."


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt as stopped:
        print(f"\nStopped{f' {stopped}' if str(stopped) else ''}.", file=sys.stderr)
        raise SystemExit(130) from None
