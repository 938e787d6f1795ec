"""What the benchmarks share: a file that is whole after every row, a clock for Trainer's steps, room between models."""

import gc
import json
import time
from pathlib import Path

import torch
from transformers import TrainerCallback

from helpers import files
from helpers.errors import CourseError

__all__ = ["Clock", "forget", "write"]

WRITTEN: set[Path] = set()


def write(file: str | Path | None, report: dict) -> None:
    """Write a report as JSON, if there is a file to write it to; called after every row, so that a stop takes none.

    Raises CourseError for a file that is there and was not written by this process: it might be anybody's.
    """
    if not file:
        return
    file = Path(file)
    if file not in WRITTEN and file.exists():
        raise CourseError(f"{file} is there already: name a new file, or move it.")
    WRITTEN.add(file)
    files.write(file, json.dumps(report, indent=1, ensure_ascii=False) + "\n")


def forget() -> None:
    """Give memory back before the next model."""
    gc.collect()
    torch.cuda.empty_cache()


class Clock(TrainerCallback):
    """Seconds from the end of one step to the end of the next, the GPU idle whenever the clock is read."""

    def __init__(self):
        self.marks = []

    def on_step_begin(self, args, state, control, **given):
        if not self.marks:
            torch.cuda.synchronize()
            self.marks.append(time.perf_counter())

    def on_step_end(self, args, state, control, **given):
        torch.cuda.synchronize()
        self.marks.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]
