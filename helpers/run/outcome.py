"""What comes of running a notebook: a record, or one sentence on why there is none."""

from dataclasses import dataclass, field

__all__ = ["NotebookError", "NotebookRun"]


@dataclass
class NotebookRun:
    """One executed notebook: wall `seconds`, the kernel's peak resident bytes, and what it displayed for the record."""

    name: str
    seconds: float = 0.0
    peak_memory_bytes: int = 0
    record: dict = field(default_factory=dict)
    exercises: list[dict] = field(default_factory=list)
    headline: str = ""
    error: str = ""  # why it does not count, where `each` ran it; `execute` raises instead


class NotebookError(Exception):
    """Why a notebook does not count as run, in one sentence; `run` holds what was measured until then."""

    def __init__(self, message: str, run: NotebookRun | None = None) -> None:
        super().__init__(message)
        self.run = run
