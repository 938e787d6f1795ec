"""Execute the notebooks of the map with papermill, strictly, and collect what they record: `python -m helpers.run`.

`execute` runs one notebook and raises NotebookError, one sentence, for everything that papermill lets pass: an unknown
parameter, a missing `parameters` tag, a missing or wrong record, a kernel that died. `each` runs many, several at a
time where they do not measure time.
"""

import argparse
import ast
import contextlib
import copy
import hashlib
import html
import json
import os
import queue
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import papermill
import psutil
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from . import exercises, results

__all__ = [
    "Job",
    "NotebookError",
    "NotebookRun",
    "at_once",
    "clean",
    "course_map",
    "each",
    "execute",
    "jobs",
    "main",
    "map_problems",
    "measures_time",
    "select",
    "sources",
]

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "notebooks"
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
TIMING = "timing"  # a cell with this tag measures time: while it runs, no other notebook's cell does
MEMORY_EACH = 2e9  # bytes of free memory for each notebook at a time; the largest kernel of the course takes 1.3
SOURCES = "mistral_4bit_sources"  # in a notebook's metadata: what its outputs were made from
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


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


def course_map(folder: Path = NOTEBOOKS) -> list[str]:
    """Return the notebooks' names, without extension, in the order in which `folder/README.md` links them."""
    try:
        text = (Path(folder) / "README.md").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotebookError("There is no map: notebooks/README.md is missing.") from None
    return list(dict.fromkeys(re.findall(r"\]\((?:\./)?([\w.-]+)\.ipynb\)", text)))


def map_problems(folder: Path = NOTEBOOKS) -> dict[str, str]:
    """Return one sentence for each notebook that is missing from the map, or in the map without a file."""
    listed = course_map(folder)
    there = sorted(path.stem for path in Path(folder).glob("*.ipynb"))
    problems = {
        name: f"{name}.ipynb is in the map notebooks/README.md, but there is no such file."
        for name in listed
        if name not in there
    }
    for name in there:
        if name not in listed:
            problems[name] = f"{name}.ipynb is not in the map notebooks/README.md: add its row."
    return problems


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
    _check(path, parameters)
    run, watch = NotebookRun(path.stem), _Watch(Path(cwd or path.parent).absolute(), progress, threads)
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
        last = "".join(f" (it said: {_first_line(line)})" for line in watch.last_words())
        why = f"it was killed, ran out of memory, or crashed{last}"
        raise NotebookError(f"The kernel died in {watch.where} of {run.name}: {why}.", run) from None
    except PapermillExecutionError as error:
        text = _first_line(error.evalue or "") if error.evalue else ""
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
            _write(output, nbformat.writes(watch.notebook) + "\n")
    _collect(watch.notebook, run)
    return run


class _Machine:
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


class _Watch:
    """What is known of a notebook while papermill executes it: its cell, its kernel's peak and last words."""

    running: set["_Watch"] = set()  # of this process, so that Ctrl-C can end their kernels
    machine = _Machine()

    def __init__(self, cwd: Path, progress: Callable[[int, int], None] | None, threads: int | None) -> None:
        self.cwd, self.progress, self.threads = cwd, progress, threads
        self.notebook: nbformat.NotebookNode | None = None
        self.client: PapermillNotebookClient | None = None
        self.cell, self.cells, self.peak = 0, 0, 0
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
        """End the kernel and all that it has started."""
        with contextlib.suppress(psutil.Error, TypeError, ValueError):
            kernel = psutil.Process(self.pid)
            for process in [*kernel.children(recursive=True), kernel]:
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def close(self) -> None:
        self.leave()  # where a cell has not ended: its kernel died, or it took too long
        self.running.discard(self)
        self.stderr.close()


class CourseEngine(NBClientEngine):
    """papermill's own engine, with the course's environment for the kernel and somebody who watches it."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, kernel_name, watch: _Watch, execution_timeout, start_timeout=60, **_):
        for cell in nb_man.nb.cells:
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.id = "injected-parameters"  # papermill's is another one each time
        watch.begin(nb_man.nb)
        watch.client = PapermillNotebookClient(
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


def _in_a_thread(watch: _Watch, work: Callable[[], object]) -> None:
    """Do `work` beside this thread, which hears Ctrl-C: in the main thread nbclient would take that for itself."""
    with futures.ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        try:
            while not futures.wait([done], timeout=0.5).done:  # Windows hears Ctrl-C between two waits alone
                pass
        except BaseException:
            watch.stop()
            raise
        done.result()


@dataclass(frozen=True)
class Job:
    """One notebook to execute: `source` into `output`, its kernel working in `cwd` (default: the source's folder)."""

    source: Path
    output: Path
    parameters: dict = field(default_factory=dict)
    cwd: Path | None = None


def jobs(names: list[str], folder: Path, model_id: str = "embedded", parameters: dict | None = None) -> list[Job]:
    """Return the jobs that execute notebooks of the map into `folder`."""
    given = {"MODEL_ID": model_id, **(parameters or {})}
    return [Job(NOTEBOOKS / f"{name}.ipynb", Path(folder) / f"{name}.ipynb", given) for name in names]


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
        waiting = [pool.submit(run, job) for job in jobs]
        try:
            for future in waiting:
                future.add_done_callback(ended.put)
            for _ in waiting:
                yield _next(ended).result()
        except BaseException:
            stopped.set()
            for future in waiting:
                future.cancel()
            for watch in list(_Watch.running):
                watch.stop()
            raise


def _next(ended: "queue.SimpleQueue[futures.Future]") -> futures.Future:
    """Return what has ended; wakes up now and then, since Windows hears Ctrl-C between two waits alone."""
    while True:
        with contextlib.suppress(queue.Empty):
            return ended.get(timeout=0.5)


def at_once(model_id: str) -> int:
    """Return how many notebooks this machine takes side by side with a model: two cores and 2 GB make room for two."""
    if model_id != "embedded":
        return 1  # a larger model wants the machine, or its GPU, for itself
    return max(1, min(results.cores(), int(results.free_memory() // MEMORY_EACH), 2))


def measures_time(path: Path) -> bool:
    """Whether a notebook has a cell with the tag `timing`: a neighbor would change its figures."""
    try:
        cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
        return any(TIMING in cell.get("metadata", {}).get("tags", []) for cell in cells)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return True  # no notebook: `execute` says so


def _check(path: Path, parameters: dict) -> None:
    """Hold the notebook to the rules that need no kernel, and that papermill does not have."""
    name = path.stem
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except FileNotFoundError:
        raise NotebookError(f"{name}: there is no file {path.name}.") from None
    except Exception as error:
        raise NotebookError(f"{name}: {path.name} is no valid notebook: {_first_line(error)}.") from None
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        what = "no cell" if not tagged else f"{len(tagged)} cells"
        raise NotebookError(f'{name}: {what} with the tag "parameters"; exactly one code cell must have it.')
    known = _parameters(name, tagged[0].source)
    for parameter in parameters:
        if parameter not in known:
            raise NotebookError(f"{name}: unknown parameter {parameter}; it has {', '.join(known) or 'none'}.")


def _parameters(name: str, source: str) -> list[str]:
    """Return the names that the parameters cell assigns; anything but `NAME = literal` is an error."""
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise NotebookError(f"{name}: the parameters cell is no valid Python: {error.msg}.") from None
    names = []
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        try:
            if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or not isinstance(targets[0], ast.Name):
                raise ValueError
            if len(targets) > 1 or value is None or targets[0].id in names:
                raise ValueError
            ast.literal_eval(value)
        except ValueError:
            text = ast.get_source_segment(source, statement)
            rule = "the parameters cell holds literals only, each name once; compute after it"
            raise NotebookError(f"{name}: {rule} (found: {text[:80]}).") from None
        names.append(targets[0].id)
    return names


def _collect(notebook: nbformat.NotebookNode, run: NotebookRun) -> None:
    """Take record and exercises from the outputs, or raise NotebookError."""
    code = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    records = []
    for i, cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                raise NotebookError(f"{run.name}: cell {i + 1} shows an error: {output.ename}: {output.evalue}.", run)
            data = output.get("data", {})
            if exercises.MIME in data:
                run.exercises.append(dict(data[exercises.MIME]))
            if results.MIME in data:
                records.append((i, data[results.MIME]))
        if "exercise" in cell.metadata.get("tags", []) and not _mimes(cell, exercises.MIME):
            raise NotebookError(f"{run.name}: the exercise in cell {i + 1} shows no check: end it with one.", run)
    if not records:
        raise NotebookError(f"{run.name}: nothing is recorded: end the last code cell with results.record.", run)
    if len(records) > 1:
        raise NotebookError(f"{run.name}: {len(records)} records, and there must be one, in the last code cell.", run)
    at, bundle = records[0]
    if at != code[-1][0]:
        raise NotebookError(f"{run.name}: the record is in cell {at + 1} and must be in the last code cell.", run)
    if not isinstance(bundle, dict) or bundle.get("notebook") != run.name:
        named = bundle.get("notebook") if isinstance(bundle, dict) else None
        raise NotebookError(f"{run.name}: its record names the notebook {named!r}; the name must be the file's.", run)
    if not isinstance(bundle.get("values"), dict) or not bundle["values"]:
        raise NotebookError(f"{run.name}: its record holds no values.", run)
    run.record = dict(bundle["values"])
    run.headline = str(run.record.get("headline", ""))


def _mimes(cell: nbformat.NotebookNode, mime: str) -> list:
    return [output.data[mime] for output in cell.outputs if mime in output.get("data", {})]


def _first_line(error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".")[:300] if lines else type(error).__name__


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


def sources(notebook: nbformat.NotebookNode) -> str:
    """Return a hash of the code that makes a notebook's outputs.

    Text, and with it the badges, can change without a new run, and so can the cell that sets up Colab: it does nothing
    elsewhere. Parameters that a run injects are no sources.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and "google.colab" not in cell.source]
    code = [cell.source for cell in code if "injected-parameters" not in cell.metadata.get("tags", [])]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return an executed notebook fit to be kept: no papermill, timing or widget leftovers, no path of this machine.

    Its metadata say which sources the outputs belong to.
    """
    notebook = copy.deepcopy(notebook)
    for key in ("papermill", "widgets"):
        notebook.metadata.pop(key, None)
    notebook.metadata.get("language_info", {}).pop("version", None)  # differs between machines, says nothing
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    count = 0
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            cell.metadata.pop("tags")
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        cell.outputs = [output for output in cell.outputs if WIDGET_VIEW not in output.get("data", {})]
        for i, output in enumerate(cell.outputs):
            if output.output_type == "execute_result":
                output.execution_count = count
            cell.outputs[i] = nbformat.from_dict(_without_paths(output))
    notebook.metadata[SOURCES] = sources(notebook)
    return notebook


def _without_paths(value):
    if isinstance(value, dict):
        return {key: item if key == "image/png" else _without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    if isinstance(value, str):
        for folder, short in ((str(ROOT) + os.sep, ""), (str(ROOT), "."), (str(Path.home()) + os.sep, "~" + os.sep)):
            if len(folder) > 2:
                value = value.replace(folder, short)
    return value


def _write(path: Path, text: str) -> None:
    """Write the whole file or leave the old one: what was there survives a full disk and a Ctrl-C."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class _Progress:
    """Which notebooks, which cells, how long: one rewritten line on a terminal, a line now and then in a log."""

    def __init__(self, names: list[str], stream=None) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.lock = threading.Lock()
        self.heads = {name: f"[{i}/{len(names)}] {name}" for i, name in enumerate(names, start=1)}
        self.cells: dict[str, str] = {}  # of the notebooks that run now
        self.begun: dict[str, float] = {}
        self.said = time.monotonic()
        self.over = threading.Event()
        threading.Thread(target=self._tick, daemon=True).start()

    def cell(self, name: str, number: int, total: int) -> None:
        self.cells[name] = f"cell {number}/{total}" if number else "starting"
        if not number:
            self.begun[name] = time.monotonic()
            self._line([name])

    def _tick(self) -> None:
        while not self.over.wait(0.5):
            if self.cells and (self.live or time.monotonic() - self.said >= 10):
                self._line(list(self.cells))

    def _line(self, names: list[str]) -> None:
        """Say where `names` are: in a log those, on a terminal all that run, in the one line there is."""
        with self.lock:
            self.said = now = time.monotonic()
            names = list(self.cells) if self.live else names
            text = "  ·  ".join(f"{self.heads[n]}  {self.cells[n]}, {now - self.begun[n]:.0f} s" for n in names)
            self.stream.write(f"\r\x1b[2K{text}" if self.live else text + "\n")
            self.stream.flush()

    def end(self, name: str, outcome: str) -> None:
        self.cells.pop(name, None)
        with self.lock:
            self.stream.write(("\r\x1b[2K" if self.live else "") + f"{self.heads[name]}  {outcome}\n")
            self.stream.flush()

    def stop(self) -> None:
        """Say of each notebook that ran that it was stopped."""
        for name in list(self.cells):
            self.end(name, "stopped")

    def close(self) -> None:
        self.over.set()


def main(arguments: list[str] | None = None) -> int:
    """Run the course; return 0, or 1 when a notebook failed and 2 when the request makes no sense."""
    options = _options(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a log that knows no arrow, as on Windows, shows a question mark
            stream.reconfigure(errors="replace")
    folder, build = options.notebooks, options.build
    parameters = {"MODEL_ID": options.model_id, **dict(options.parameter)}
    try:
        problems = map_problems(folder)
        names = select(list(dict.fromkeys([*course_map(folder), *problems])), options.only)
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 2
    build.mkdir(parents=True, exist_ok=True)
    progress, entries, begun = _Progress(names), {}, time.monotonic()

    def ended(run: NotebookRun) -> None:
        entries[run.name] = entry = _entry(folder, build, run, parameters, options)
        took = f"{entry['seconds']:.1f} s"
        progress.end(run.name, f"FAILED after {took}: {entry['error']}" if run.error else f"done in {took}")
        _report(build, course_map(folder), {name: entries[name] for name in names if name in entries})

    try:
        for name in names:
            if name in problems:
                ended(NotebookRun(name, error=problems[name]))
        jobs = [_job(folder, build, name, parameters) for name in names if name not in problems]
        count = 1 if options.write_back else at_once(options.model_id)
        for run in each(jobs, count, options.timeout, progress.cell):
            with _Watch.machine.place():  # making a page is work, too: not beside a cell that measures time
                ended(run)
    except KeyboardInterrupt:
        progress.stop()
        return 130
    finally:
        progress.close()
    entries = {name: entries[name] for name in names}
    failed = [name for name, entry in entries.items() if "error" in entry]
    print("\n" + _summary(entries))
    print(
        f"\n{len(entries) - len(failed)} of {len(entries)} notebooks ran, in {time.monotonic() - begun:.0f} s. ", end=""
    )
    print(f"Open {_relative(build / 'index.html')}; the figures are in {_relative(build / 'results.json')}.")
    for name in failed:
        print(f"FAILED {entries[name]['error']}", file=sys.stderr)
    return 1 if failed else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m helpers.run", description="Execute the course's notebooks.")
    parser.add_argument("--model-id", default="embedded", help="embedded (default), mistral-7b-shape, auto, or any id")
    parser.add_argument("--only", default="", help="notebooks by number or name, such as 05 or 04,05")
    parser.add_argument("--timeout", type=float, default=CELL_TIMEOUT, help="seconds a cell may take (default: 600)")
    parser.add_argument("--write-back", action="store_true", help="also write clean outputs into the notebooks")
    parser.add_argument("-p", "--parameter", action="append", default=[], type=_pair, metavar="NAME=VALUE")
    parser.add_argument("--build", type=Path, default=Path("build"), help="where the executed copies go")
    parser.add_argument("--notebooks", type=Path, default=NOTEBOOKS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.model_id = options.model_id or "embedded"
    return options


def _pair(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def select(names: list[str], only: str) -> list[str]:
    """Return those of `names` that `only` asks for by number or name ("05", "04,05"); all for an empty text."""
    wanted = [part.strip().removesuffix(".ipynb") for part in only.replace(" ", ",").split(",") if part.strip()]
    if not names:
        raise NotebookError("The map notebooks/README.md lists no notebook.")
    for part in wanted:
        if not any(_matches(name, part) for name in names):
            raise NotebookError(f"ONLY={only}: no notebook {part}; there are {', '.join(names)}.")
    return [name for name in names if not wanted or any(_matches(name, part) for part in wanted)]


def _matches(name: str, part: str) -> bool:
    return name == part or name.split("_")[0] == part.zfill(2)


def _job(folder: Path, build: Path, name: str, parameters: dict) -> Job:
    """The notebook into `build`, under a name that spares what an earlier run left there until this one succeeds."""
    source = folder / f"{name}.ipynb"
    return Job(source, build / f"{name}.failed.ipynb", parameters)


def _entry(folder: Path, build: Path, run: NotebookRun, parameters: dict, options: argparse.Namespace) -> dict:
    """What results.json holds of a run; its notebook gets a page, and the place of the one before if it succeeded."""
    entry = {"date": results.today(), "model_id": parameters["MODEL_ID"]}
    entry |= {"seconds": round(run.seconds, 2), "peak_memory_bytes": run.peak_memory_bytes}
    failed = build / f"{run.name}.failed.ipynb"
    if run.error:
        if run.seconds and failed.is_file():
            page = _html(nbformat.read(failed, as_version=4), course_map(folder))
            _write(build / f"{run.name}.failed.html", page)
        return {**entry, "error": run.error}
    executed = nbformat.read(failed, as_version=4)
    _write(build / f"{run.name}.html", _html(executed, course_map(folder)))
    os.replace(failed, build / f"{run.name}.ipynb")
    (build / f"{run.name}.failed.html").unlink(missing_ok=True)
    if options.write_back:
        _write(folder / f"{run.name}.ipynb", nbformat.writes(clean(executed)) + "\n")
    return {**entry, "headline": run.headline, "exercises": run.exercises, "values": run.record}


def _html(notebook: nbformat.NotebookNode, names: list[str]) -> str:
    """Return the notebook as one HTML page that opens offline, its links to other notebooks turned to their pages."""
    from nbconvert import HTMLExporter

    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)  # the page has no widget manager; every widget has a static figure beside it
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET_VIEW not in output.get("data", {})]
    notebook.metadata["title"] = next((cell.source.splitlines()[0].lstrip("# ") for cell in notebook.cells[:1]), "")
    exporter = HTMLExporter(embed_images=True, require_js_url="", jquery_url="", mermaid_js_url="")
    page, _ = exporter.from_notebook_node(notebook)
    # the exporter's template drops the figures' alternative texts and says so instead
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    images = [output.get("metadata", {}).get("image/png", {}) for output in outputs if "image/png" in output.data]
    nothing = "No description has been provided for this image"
    for image in images:
        page = page.replace(f'alt="{nothing}"', f'alt="{html.escape(image.get("alt", nothing.lower()))}"', 1)
    for name in names:
        page = page.replace(f'href="{name}.ipynb"', f'href="{name}.html"')
    return page.replace('href="README.md"', 'href="index.html"')


def _report(build: Path, order: list[str], entries: dict[str, dict]) -> None:
    """Write results.json and index.html; results of notebooks that did not run now, or failed now, are kept."""
    environment, kept = results.environment(), {}
    try:
        earlier = json.loads((build / "results.json").read_text(encoding="utf-8"))
        if earlier["environment"] == environment:  # else they would be shown under a machine they were not made on
            kept = earlier["notebooks"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    merged = dict(kept)
    for name, entry in entries.items():
        if "error" in entry and "values" in kept.get(name, {}):
            merged[name] = {**kept[name], "error": entry["error"], "failed_on": entry["date"]}
        else:
            merged[name] = entry
    merged = {
        name: merged[name] for name in [*order, *(name for name in merged if name not in order)] if name in merged
    }
    content = {"environment": environment, "date": results.today(), "notebooks": merged}
    _write(build / "results.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    _write(build / "index.html", _index(build, content))


def _index(build: Path, content: dict) -> str:
    rows = []
    for name, entry in content["notebooks"].items():
        links = [f'<a href="{name}.html">{name}</a>' if (build / f"{name}.html").is_file() else name]
        if (build / f"{name}.ipynb").is_file():
            links.append(f'<a href="{name}.ipynb">notebook</a>')
        if "error" in entry and (build / f"{name}.failed.html").is_file():
            links.append(f'<a href="{name}.failed.html">what ran before it failed</a>')
        said = html.escape(f"Failed: {entry['error']}" if "error" in entry else entry.get("headline", ""))
        cells = [" · ".join(links), f"{entry['seconds']:.0f} s", _size(entry["peak_memory_bytes"]), said]
        cells += [html.escape(str(entry["model_id"])), entry["date"]]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    environment = content["environment"]
    versions = ", ".join(f"{package} {version}" for package, version in environment["versions"].items())
    where = html.escape(f"{environment['hardware']}; Python {environment['python']}; {versions}")
    heads = ("Notebook", "Time", "Peak memory", "Result", "Model", "Date")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mistral-7B in 4 bits: results</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
body {{ color: #222; background: #fff; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ddd; }}
td:nth-child(2), td:nth-child(3) {{ text-align: right; white-space: nowrap; }}
</style>
</head>
<body>
<h1>Mistral-7B in 4 bits</h1>
<p>{where}</p>
<table>
<thead><tr>{"".join(f"<th>{head}</th>" for head in heads)}</tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table>
<p>All figures: <a href="results.json">results.json</a></p>
</body>
</html>
"""


def _summary(entries: dict[str, dict]) -> str:
    rows = [("notebook", "seconds", "peak memory", "result")]
    for name, entry in entries.items():
        said = "FAILED" if "error" in entry else entry.get("headline", "")
        rows.append((name, f"{entry['seconds']:.1f}", _size(entry["peak_memory_bytes"]), said))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count else "–"


def _relative(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
