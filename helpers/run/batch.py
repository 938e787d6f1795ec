"""Many notebooks, several at a time where the machine has room."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

from .. import results
from .course import NOTEBOOKS, measures_time
from .engine import CELL_TIMEOUT, Watch, execute
from .outcome import NotebookError, NotebookRun

__all__ = ["Job", "MEMORY_EACH", "at_once", "each", "jobs"]

MEMORY_EACH = 2e9  # bytes of free memory for each notebook at a time; the largest kernel of the course takes 1.3


@dataclass(frozen=True)
class Job:
    """One notebook to execute: `source` into `output`, its kernel working in `cwd` (default: the source's folder)."""

    source: Path
    output: Path
    parameters: dict = field(default_factory=dict)
    cwd: Path | None = None


def jobs(names: list[str], folder: Path, model_id: str = "mini", parameters: dict | None = None) -> list[Job]:
    """Return the jobs that execute notebooks of the map into `folder`."""
    values = {"MODEL_ID": model_id, **(parameters or {})}
    return [Job(NOTEBOOKS / f"{name}.ipynb", Path(folder) / f"{name}.ipynb", values) for name in names]


def each(
    jobs: Iterable[Job],
    at_once: int = 1,
    timeout: float = CELL_TIMEOUT,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[NotebookRun]:
    """Execute notebooks and yield their runs as they end; one that fails says why in `error`, and the others go on.

    They run in order, `at_once` at a time, each with its share of the cores. Of several, those with cells that measure
    time come last and have all cores; while such a cell runs, the others wait. `progress` is called with a notebook's
    name, its cell's number (0 at the start) and how many it has. Ctrl-C ends all kernels.
    """
    jobs, share, stopped = list(jobs), None, threading.Event()
    if at_once > 1:
        jobs, share = sorted(jobs, key=lambda job: measures_time(job.source)), max(1, results.cores() // at_once)

    def run(job: Job) -> NotebookRun:
        threads = None if measures_time(job.source) else share

        def say(cell: int, cells: int) -> None:
            if stopped.is_set():  # a kernel that was about to start when the others were ended
                raise NotebookError(f"{job.source.stem}: stopped.")
            if progress:
                progress(job.source.stem, cell, cells)

        try:
            say(0, 0)
            return execute(job.source, job.output, job.parameters, timeout, say, job.cwd, threads)
        except NotebookError as error:
            failed = error.run or NotebookRun(job.source.stem)
            failed.error = str(error)
            return failed

    if at_once == 1:
        yield from map(run, jobs)  # none begins while the caller looks at the one before
        return
    with futures.ThreadPoolExecutor(at_once) as pool:
        ended: queue.SimpleQueue[futures.Future] = queue.SimpleQueue()
        waiting = []
        try:
            for job in jobs:
                waiting.append(pool.submit(run, job))
                waiting[-1].add_done_callback(ended.put)
            for _ in waiting:
                yield _next(ended).result()
        except BaseException:
            stopped.set()
            for future in waiting:
                future.cancel()
            for watch in list(Watch.running):
                watch.stop()
            raise


def _next(ended: "queue.SimpleQueue[futures.Future]") -> futures.Future:
    """Return what has ended; wakes up now and then, since Windows hears Ctrl-C between two waits alone."""
    while True:
        with contextlib.suppress(queue.Empty):
            return ended.get(timeout=0.5)


def at_once(model_id: str) -> int:
    """Return how many notebooks this machine takes side by side with a model: two cores and 4 GB make room for two."""
    if model_id != "mini" or results.environment()["gpu"]:
        return 1  # a larger model wants the machine for itself; on a GPU, cells without the tag are timed, too
    return max(1, min(results.cores(), int(results.free_memory() // MEMORY_EACH), 2))
