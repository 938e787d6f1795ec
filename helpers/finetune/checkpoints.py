"""Checkpoints that are whole or not there, and that are resumed with their own recipe only."""

import contextlib
import json
from dataclasses import asdict
from pathlib import Path

from .. import files, sharding
from ..errors import CourseError
from ..recipe import Recipe

__all__ = ["RECIPE", "checkpoints_in", "resumable", "whole_or_gone", "write_recipe"]

RECIPE = "recipe.json"  # in every checkpoint: what it may be resumed with


def checkpoints_in(folder: str | Path) -> list[Path]:
    """Complete checkpoints in a folder, oldest first: the recipe is what is written last."""
    folders = [path.parent for path in Path(folder).glob(f"checkpoint-*/{RECIPE}")]
    return sorted(folders, key=lambda path: int(path.name.split("-")[-1]))


def resumable(folder: str | Path, recipe: Recipe) -> Path:
    """The newest checkpoint; raises CourseError if there is none, or if it is of another recipe."""
    if not (complete := checkpoints_in(folder)):
        raise CourseError(f"There is no checkpoint in {folder} to resume: start without --resume.")
    saved = json.loads((complete[-1] / RECIPE).read_text(encoding="utf-8"))
    if (made_by := saved.get("processes", 1)) != sharding.world():
        raise CourseError(
            f"{complete[-1].name} was made by {made_by} process(es), and this run has {sharding.world()}: they would "
            f"read other texts in each step. Go on with --num_processes {made_by}, or start anew."
        )
    mine = asdict(recipe)
    other = [
        f"{name} {saved.get(name)!r} there and {mine[name]!r} here" for name in mine if mine[name] != saved.get(name)
    ]
    if other:
        raise CourseError(
            f"{complete[-1].name} is of another configuration ({'; '.join(other)}): use that, or start anew."
        )
    return complete[-1]


def write_recipe(folder: str | Path, step: int, recipe: Recipe) -> None:
    """Write the recipe into a checkpoint that is whole otherwise: what may be resumed, and with what."""
    file = Path(folder) / f"checkpoint-{step}" / RECIPE
    file.write_text(json.dumps(asdict(recipe) | {"processes": sharding.world()}, indent=1) + "\n", encoding="utf-8")


@contextlib.contextmanager
def whole_or_gone(folder: str | Path, step: int):
    """Around what writes a checkpoint: one that could not be written whole goes, and the error names the last good one.

    Raises CourseError for a full disk and whatever else the system refuses.
    """
    try:
        yield
    except Exception as error:
        full = files.disk_is_full(error)
        if not full and not isinstance(error, OSError):
            raise
        files.remove(Path(folder) / f"checkpoint-{step}")
        good = checkpoints_in(folder)
        left = f"the last good checkpoint is {good[-1].name}" if good else "there is no earlier checkpoint"
        why = "the disk is full" if full else f"{type(error).__name__}: {error}"
        raise CourseError(
            f"Checkpoint {step} could not be saved ({why}); {left}: make room and go on with --resume."
        ) from error
