"""Execute the notebooks of the map in order, strictly, and collect what they record: `python -m helpers.run`.

`execute` runs one notebook and raises NotebookError, one sentence, for everything that papermill or nbclient let pass:
an unknown parameter, a missing `parameters` tag, a missing or wrong record, a kernel that died.
"""

import argparse
import ast
import copy
import hashlib
import html
import json
import os
import re
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from . import exercises, results

__all__ = [
    "NotebookError",
    "NotebookRun",
    "clean",
    "course_map",
    "execute",
    "main",
    "map_problems",
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
SOURCES = "mistral_4bit_sources"  # in a notebook's metadata: what its outputs were made from
WIDGET_STATE = "application/vnd.jupyter.widget-state+json"
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
) -> NotebookRun:
    """Execute the notebook at `path`, write the executed copy to `output`, and return what it recorded.

    `parameters` are injected after the cell tagged `parameters`; `timeout` is in seconds a cell; `progress` is called
    with the cell's number and the number of cells; the kernel works in `cwd` (default: the notebook's folder).
    Raises NotebookError, with the partial copy at `output` once the kernel has started, when the notebook breaks one
    of the rules above or a cell fails.
    """
    path, output = Path(path), Path(output)
    notebook = _prepare(path, dict(parameters or {}))
    run = NotebookRun(path.stem)
    at = {"cell": 0}

    def started(cell, cell_index):
        at["cell"] = cell_index
        if progress:
            progress(cell_index + 1, len(notebook.cells))

    def executed(**_):
        run.peak_memory_bytes = max(run.peak_memory_bytes, _peak(client))

    client = NotebookClient(
        notebook,
        timeout=timeout,
        kernel_name="python3",
        # the kernel's advice about its own transport is nothing for who reads the progress; errors still show
        extra_arguments=["--log-level=ERROR"],
        force_raise_errors=True,
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=True,
        on_cell_start=started,
        on_cell_executed=executed,
        resources={"metadata": {"path": str(cwd or path.parent)}},
    )
    begun = time.perf_counter()
    # what the kernel's process itself says, at its end above all, is for its death certificate, not for the progress
    said = tempfile.TemporaryFile()
    try:
        client.execute(env=_kernel_environment(), stderr=said)
    except CellTimeoutError:
        raise NotebookError(f"{_where(run, notebook, at)} did not end within {timeout:g} s.", run) from None
    except DeadKernelError:
        if getattr(client, "_async_cleanup_kernel_future", None) is not None:
            raise KeyboardInterrupt from None  # nbclient turns Ctrl-C into a dead kernel
        said.seek(0)
        last = said.read().decode(errors="replace").strip().splitlines()[-1:]
        why = "it was killed, ran out of memory, or crashed" + "".join(f" (it said: {_first_line(x)})" for x in last)
        raise NotebookError(f"The kernel died in {_where(run, notebook, at, start=False)}: {why}.", run) from None
    except CellExecutionError as error:
        if "exercise" in notebook.cells[at["cell"]].metadata.get("tags", []):
            why = "an unsolved stub must run and say that it is open"
            raise NotebookError(
                f"{_where(run, notebook, at)} is an exercise and raises {_said(error)}; {why}.", run
            ) from None
        raise NotebookError(f"{_where(run, notebook, at)} raised {_said(error)}.", run) from None
    except RuntimeError as error:
        raise NotebookError(f"{run.name}: the kernel could not be started or reached: {error}.", run) from error
    finally:
        said.close()
        run.seconds = time.perf_counter() - begun
        _write(output, nbformat.writes(notebook) + "\n")
    _collect(notebook, run)
    return run


def _prepare(path: Path, parameters: dict) -> nbformat.NotebookNode:
    """Read the notebook, hold it to the rules that need no kernel, and inject the parameters."""
    name = path.stem
    try:
        notebook = load_notebook_node(str(path))
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
    for cell in code:
        cell.outputs, cell.execution_count = [], None
        cell.metadata.pop("execution", None)
    if parameters:
        notebook = parameterize_notebook(notebook, parameters)
        for cell in notebook.cells:
            if "injected-parameters" in cell.metadata.get("tags", []):
                cell.id = "injected-parameters"
    return notebook


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


def _where(run: NotebookRun, notebook: nbformat.NotebookNode, at: dict, start: bool = True) -> str:
    return (
        f"{run.name}: cell {at['cell'] + 1} of {len(notebook.cells)}"
        if start
        else (f"cell {at['cell'] + 1} of {len(notebook.cells)} of {run.name}")
    )


def _said(error: CellExecutionError) -> str:
    text = _first_line(getattr(error, "evalue", "") or "")
    return f"{error.ename}: {text}" if text else str(error.ename)


def _first_line(error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".")[:300] if lines else type(error).__name__


def _kernel_environment() -> dict[str, str]:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, **QUIET, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def _peak(client: NotebookClient) -> int:
    """Return the peak resident bytes of the kernel's process: the kernel's own count, or what psutil knows."""
    pid = getattr(getattr(client.km, "provisioner", None), "pid", None)
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
    """Which notebook, which cell, how long: one rewritten line on a terminal, a line now and then in a log."""

    def __init__(self, stream=None) -> None:
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.lock = threading.Lock()
        self.head, self.cells, self.begun, self.said, self.stop = "", "", 0.0, 0.0, None

    def start(self, order: int, total: int, name: str) -> None:
        self.head, self.cells = f"[{order}/{total}] {name}", "starting"
        self.begun = self.said = time.monotonic()
        self.stop = threading.Event()
        self._line()
        threading.Thread(target=self._tick, args=(self.stop,), daemon=True).start()

    def cell(self, number: int, total: int) -> None:
        self.cells = f"cell {number}/{total}"

    def _tick(self, stop: threading.Event) -> None:
        while not stop.wait(0.5):
            if self.live or time.monotonic() - self.said >= 10:
                self._line()

    def _line(self) -> None:
        with self.lock:
            self.said = time.monotonic()
            text = f"{self.head}  {self.cells}, {self.said - self.begun:.0f} s"
            self.stream.write(f"\r\x1b[2K{text}" if self.live else text + "\n")
            self.stream.flush()

    def end(self, outcome: str) -> None:
        self.stop.set()
        with self.lock:
            self.stream.write(("\r\x1b[2K" if self.live else "") + f"{self.head}  {outcome}\n")
            self.stream.flush()


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
    progress, entries, begun = _Progress(), {}, time.monotonic()
    try:
        for order, name in enumerate(names, start=1):
            progress.start(order, len(names), name)
            entries[name] = entry = _run_one(folder, build, name, parameters, options, problems.get(name), progress)
            took = f"{entry['seconds']:.1f} s"
            progress.end(f"FAILED after {took}: {entry['error']}" if "error" in entry else f"done in {took}")
            _report(build, course_map(folder), entries)
    except KeyboardInterrupt:
        progress.end("stopped")
        return 130
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


def _run_one(folder, build, name, parameters, options, problem, progress) -> dict:
    """Execute one notebook into `build`; what an earlier run left there stays until this one has succeeded."""
    entry = {"date": results.today(), "model_id": parameters["MODEL_ID"], "seconds": 0.0, "peak_memory_bytes": 0}
    failed = build / f"{name}.failed.ipynb"
    try:
        if problem:
            raise NotebookError(problem)
        run = execute(folder / f"{name}.ipynb", failed, parameters, options.timeout, progress.cell)
    except NotebookError as error:
        if error.run:
            entry.update(seconds=round(error.run.seconds, 2), peak_memory_bytes=error.run.peak_memory_bytes)
        if error.run and failed.is_file():
            _write(build / f"{name}.failed.html", _html(nbformat.read(failed, as_version=4), course_map(folder)))
        return {**entry, "error": str(error)}
    executed = nbformat.read(failed, as_version=4)
    _write(build / f"{name}.html", _html(executed, course_map(folder)))
    os.replace(failed, build / f"{name}.ipynb")
    (build / f"{name}.failed.html").unlink(missing_ok=True)
    if options.write_back:
        _write(folder / f"{name}.ipynb", nbformat.writes(clean(executed)) + "\n")
    entry.update(seconds=round(run.seconds, 2), peak_memory_bytes=run.peak_memory_bytes, headline=run.headline)
    return {**entry, "exercises": run.exercises, "values": run.record}


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
