"""papermill with an engine of ours: it executes one notebook, and somebody watches."""

import contextlib
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

import nbformat
import papermill
import psutil
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from .. import files
from .course import ROOT, TIMING
from .outcome import NotebookError, NotebookRun
from .rules import check, collect, first_line

__all__ = ["CELL_TIMEOUT", "CourseEngine", "ENGINE", "Machine", "QUIET", "Watch", "execute"]

CELL_TIMEOUT = 600.0  # seconds; the longest cell of the course, fine-tuning, needs a quarter of it on two cores
QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONHASHSEED": "0",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    "MISTRAL_4BIT_PROGRESS": "",  # the learner's progress is the learner's
    # threads that wait sleep: where others use the cores too, threads that spin made a notebook ten times slower
    "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive"),
}
ENGINE = "course"  # the name under which papermill knows the engine below


def execute(
    path: Path,
    output: Path,
    parameters: dict | None = None,
    timeout: float = CELL_TIMEOUT,
    progress: Callable[[int, int], None] | None = None,
    cwd: Path | None = None,
    threads: int | None = None,
) -> NotebookRun:
    """Have papermill execute the notebook at `path`, write the executed copy to `output`, return what it recorded.

    `parameters` are injected after the cell tagged `parameters`; `timeout` is in seconds a cell; `progress` is called
    with the cell's number and the number of cells; the kernel works in `cwd` (default: the notebook's folder) and
    computes with so many `threads` (default: as the machine has it).
    Raises NotebookError, with the partial copy at `output` once the kernel has started, when the notebook breaks one
    of the rules above or a cell fails.
    """
    path, output, parameters = Path(path), Path(output), dict(parameters or {})
    check(path, parameters)
    run, watch = NotebookRun(path.stem), Watch(Path(cwd or path.parent).absolute(), progress, threads)
    begun = time.perf_counter()
    try:
        _in_a_thread(
            watch,
            lambda: papermill.execute_notebook(
                # not to a file: papermill would write it in place, cell by cell, and a full disk would leave half of it
                *(str(path), None, parameters),
                engine_name=ENGINE,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                execution_timeout=timeout,
                watch=watch,
            ),
        )
    except CellTimeoutError:
        raise NotebookError(f"{run.name}: {watch.where} did not end within {timeout:g} s.", run) from None
    except DeadKernelError:
        last = "".join(f" (it said: {first_line(line)})" for line in watch.last_words())
        why = f"it was killed, ran out of memory, or crashed{last}"
        raise NotebookError(f"The kernel died in {watch.where} of {run.name}: {why}.", run) from None
    except PapermillExecutionError as error:
        text = first_line(error.evalue or "") if error.evalue else ""
        said = f"{error.ename}: {text}" if text else str(error.ename)
        if watch.in_an_exercise:
            why = "an unsolved stub must run and say that it is open"
            raise NotebookError(f"{run.name}: {watch.where} is an exercise and raises {said}; {why}.", run) from None
        raise NotebookError(f"{run.name}: {watch.where} raised {said}.", run) from None
    except (RuntimeError, KeyError) as error:  # jupyter_client's NoSuchKernel is a KeyError
        raise NotebookError(f"{run.name}: the kernel could not be started or reached: {error}.", run) from error
    finally:
        run.seconds, run.peak_memory_bytes = time.perf_counter() - begun, watch.peak
        watch.close()
        if watch.notebook:
            files.write(output, nbformat.writes(watch.notebook) + "\n")
    collect(watch.notebook, run)
    return run


class Machine:
    """Who may compute: the cells of several notebooks, or one cell that measures time and wants nobody beside it."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.computing, self.timing, self.waiting = 0, False, 0

    def take(self, timing: bool) -> None:
        """Wait until a cell may run. One that measures time goes before those that have not begun."""
        with self.changed:
            self.waiting += timing
            self.changed.wait_for(lambda: not self.timing and not (self.computing if timing else self.waiting))
            if timing:
                self.waiting, self.timing = self.waiting - 1, True
            else:
                self.computing += 1

    def give(self, timing: bool) -> None:
        with self.changed:
            if timing:
                self.timing = False
            else:
                self.computing -= 1
            self.changed.notify_all()

    @contextlib.contextmanager
    def place(self):
        self.take(False)
        try:
            yield
        finally:
            self.give(False)


class Watch:
    """What is known of a notebook while papermill executes it: its cell, its kernel's peak and last words."""

    running: set["Watch"] = set()  # of this process, so that Ctrl-C can end their kernels
    machine = Machine()

    def __init__(self, cwd: Path, progress: Callable[[int, int], None] | None, threads: int | None) -> None:
        self.cwd, self.progress, self.threads = cwd, progress, threads
        self.notebook: nbformat.NotebookNode | None = None
        self.client: PapermillNotebookClient | None = None
        self.cell, self.cells, self.peak = 0, 0, 0
        self.stopped = False
        self.holds: bool | None = None  # a place on the machine: to compute (False) or to measure time (True)
        # what the kernel's process itself says, at its end above all: for its death certificate, not for the progress
        self.stderr = tempfile.TemporaryFile()
        self.running.add(self)

    @property
    def where(self) -> str:
        return f"cell {self.cell + 1} of {self.cells}"

    @property
    def in_an_exercise(self) -> bool:
        return "exercise" in self.tags[self.cell]

    def begin(self, notebook: nbformat.NotebookNode) -> None:
        self.notebook, self.cells = notebook, len(notebook.cells)
        self.tags = [cell.metadata.get("tags", []) for cell in notebook.cells]  # papermill adds cells on an error

    def cell_started(self, cell, cell_index: int) -> None:
        self.cell = cell_index
        if self.stopped:  # while the kernel was starting, when there was none to end
            raise NotebookError("stopped.")
        if self.progress:
            self.progress(cell_index + 1, self.cells)
        if cell.cell_type == "code" and cell.source.strip():
            timing = TIMING in self.tags[cell_index]
            self.machine.take(timing)
            self.holds = timing

    def cell_executed(self, **_) -> None:
        self.leave()
        self.peak = max(self.peak, _peak(self.pid))

    def leave(self) -> None:
        """Let others compute."""
        if self.holds is not None:
            self.machine.give(self.holds)
            self.holds = None

    @property
    def pid(self) -> int | None:
        return getattr(getattr(getattr(self.client, "km", None), "provisioner", None), "pid", None)

    def last_words(self) -> list[str]:
        self.stderr.seek(0)
        return self.stderr.read().decode(errors="replace").strip().splitlines()[-1:]

    def stop(self) -> None:
        """End the kernel and all that it has started; one that is about to start gets no cell to run."""
        self.stopped = True
        if self.pid is None:  # which psutil takes for this very process
            return
        with contextlib.suppress(psutil.Error, TypeError, ValueError):
            kernel = psutil.Process(self.pid)
            for process in [*kernel.children(recursive=True), kernel]:
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def close(self) -> None:
        self.leave()  # where a cell has not ended: its kernel died, or it took too long
        self.running.discard(self)
        self.stderr.close()


class _Client(PapermillNotebookClient):
    """papermill's client, which looks at its sockets now and then, whether or not they say that there is something.

    On a busy machine it has happened that a kernel had done its work and the answer lay there, but the event that tells
    of it did not come: ZeroMQ's file descriptor speaks up once for several messages. A poll begun anew sees them.
    """

    async def async_start_new_kernel_client(self):
        kernel_client = await super().async_start_new_kernel_client()
        for channel in (kernel_client.shell_channel, kernel_client.iopub_channel):
            channel.get_msg = patient(channel.get_msg)
        return kernel_client


def patient(get: Callable, each: float = 2.0) -> Callable:
    """Return a channel's `get_msg` that asks `get` again every `each` seconds, up to the time-out it is given."""

    async def get_msg(timeout: float | None = None):
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            left = each if end is None else min(each, end - time.monotonic())
            try:
                return await get(timeout=max(0.0, left))
            except queue.Empty:
                if end is not None and time.monotonic() >= end:
                    raise

    return get_msg


class CourseEngine(NBClientEngine):
    """papermill's own engine, with the course's environment for the kernel and somebody who watches it."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, watch: Watch, execution_timeout, start_timeout=60, **_):
        for cell in nb_man.nb.cells:
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.id = "injected-parameters"  # papermill's is another one each time
        watch.begin(nb_man.nb)
        watch.client = _Client(
            nb_man,
            kernel_name=kernel_name,
            timeout=execution_timeout,
            startup_timeout=start_timeout,
            # the kernel's advice about its own transport says nothing to a reader of the progress; errors still show
            extra_arguments=["--log-level=ERROR"],
            force_raise_errors=True,
            record_timing=False,
            coalesce_streams=True,
            on_cell_start=watch.cell_started,
            on_cell_executed=watch.cell_executed,
            resources={"metadata": {"path": str(watch.cwd)}},
        )
        try:
            watch.client.execute(env=_kernel_environment(watch.threads), stderr=watch.stderr)
        except (CellTimeoutError, DeadKernelError):
            # papermill marks what a cell raises, and would call a notebook whose kernel died free of exceptions
            nb_man.cell_exception(nb_man.nb.cells[watch.cell], watch.cell)
            raise


papermill_engines.register(ENGINE, CourseEngine)


def _in_a_thread(watch: Watch, work: Callable[[], object]) -> None:
    """Do `work` beside this thread, which hears Ctrl-C: in the main thread nbclient would take that for itself."""
    with futures.ThreadPoolExecutor(1) as pool:
        try:
            done = pool.submit(work)
            while not futures.wait([done], timeout=0.5).done:  # Windows hears Ctrl-C between two waits alone
                pass
        except BaseException:
            watch.stop()
            raise
        done.result()


def _kernel_environment(threads: int | None = None) -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    return environment | ({"OMP_NUM_THREADS": str(threads)} if threads else {})


def _peak(pid: int | None) -> int:
    """Return the peak resident bytes of a kernel's process: the kernel's own count, or what psutil knows."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        memory = psutil.Process(pid).memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    except (psutil.Error, TypeError, ValueError):
        return 0
