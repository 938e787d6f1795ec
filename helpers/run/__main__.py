"""Execute the course: `python -m helpers.run`."""

import argparse
import ast
import os
import signal
import sys
import time
from pathlib import Path

import nbformat

from .. import files, results
from ..errors import CourseError
from .batch import Job, at_once, each
from .course import NOTEBOOKS, course_map, map_problems, select
from .engine import CELL_TIMEOUT, Watch
from .outcome import NotebookError, NotebookRun
from .outputs import clean
from .pages import page, relative, report, summary
from .progress import Progress
from .rules import first_line

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the course; return 0, or 1 when a notebook failed and 2 when the request makes no sense."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    options = _options(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("\nStopped: what ran to its end before is kept.", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a log that knows no arrow, as on Windows, shows a question mark
            stream.reconfigure(errors="replace")
    folder, build = options.notebooks, options.build
    parameters = {"MODEL_ID": options.model_id, **dict(options.parameter)}
    if Path(str(parameters["MODEL_ID"])).is_dir():  # seen from here; the kernels work in another folder
        parameters["MODEL_ID"] = str(Path(parameters["MODEL_ID"]).absolute())
    try:
        problems = map_problems(folder)
        names = select(list(dict.fromkeys([*course_map(folder), *problems])), options.only)
        written = [f"{name}{kind}" for name in names for kind in (".ipynb", ".html", ".failed.ipynb", ".failed.html")]
        files.claim(build, [*written, "index.html", "results.json"])
    except (NotebookError, CourseError) as error:
        print(error, file=sys.stderr)
        return 2
    progress, entries, begun = Progress(names), {}, time.monotonic()

    def ended(run: NotebookRun) -> None:
        entries[run.name] = entry = _entry(folder, build, run, parameters, options)
        took = f"{entry['seconds']:.1f} s"
        progress.end(run.name, f"FAILED after {took}: {entry['error']}" if run.error else f"done in {took}")
        report(build, folder, {name: entries[name] for name in names if name in entries})

    try:
        for name in names:
            if name in problems:
                ended(NotebookRun(name, error=problems[name]))
        jobs = [_job(folder, build, name, parameters) for name in names if name not in problems]
        count = 1 if options.write_back else at_once(options.model_id)
        for run in each(jobs, count, options.timeout, progress.cell):
            with Watch.machine.place():  # making a page is work, too: not beside a cell that measures time
                ended(run)
    except KeyboardInterrupt:
        progress.say_stopped()
        raise
    finally:
        progress.close()
    entries = {name: entries[name] for name in names}
    failed = [name for name, entry in entries.items() if "error" in entry]
    warned = [entry["warning"] for entry in entries.values() if "warning" in entry]
    print("\n" + summary(entries))
    print(
        f"\n{len(entries) - len(failed)} of {len(entries)} notebooks ran, in {time.monotonic() - begun:.0f} s. ", end=""
    )
    print(f"Open {relative(build / 'index.html')}; the figures are in {relative(build / 'results.json')}.")
    for said in [*(f"FAILED {entries[name]['error']}" for name in failed), *warned]:
        print(said, file=sys.stderr)
    return 1 if failed or warned else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m helpers.run", description="Execute the course's notebooks.")
    parser.add_argument("--model-id", default="mini", help="mini (default), mistral-7b-shape, auto, or any id")
    parser.add_argument("--only", default="", help="notebooks by number or name, such as 05 or 04,05")
    parser.add_argument("--timeout", type=float, default=CELL_TIMEOUT, help="seconds a cell may take (default: 600)")
    parser.add_argument("--write-back", action="store_true", help="also write clean outputs into the notebooks")
    parser.add_argument("-p", "--parameter", action="append", default=[], type=_pair, metavar="NAME=VALUE")
    parser.add_argument("--build", type=Path, default=Path("build"), help="where the executed copies go")
    parser.add_argument("--notebooks", type=Path, default=NOTEBOOKS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.model_id = options.model_id or "mini"
    return options


def _pair(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


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
            entry |= _page(failed, build / f"{run.name}.failed.html", folder, run.name, entry)
        return {**entry, "error": run.error}
    entry |= _page(failed, build / f"{run.name}.html", folder, run.name, entry)
    os.replace(failed, build / f"{run.name}.ipynb")
    files.remove(build / f"{run.name}.failed.html")
    if options.write_back:
        entry |= _write_back(build / f"{run.name}.ipynb", folder / f"{run.name}.ipynb")
    return {**entry, "headline": run.headline, "exercises": run.exercises, "values": run.record}


def _page(executed: Path, file: Path, folder: Path, name: str, entry: dict) -> dict[str, str]:
    """Write a notebook's page; a warning, if it cannot be made, and the run goes on without it."""
    try:
        mark = f"{entry['model_id']}, {entry['date']}, {entry['seconds']:.0f} s"
        files.write(file, page(nbformat.read(executed, as_version=4), folder, name, mark))
    except Exception as error:  # of the exporter and its templates, which are not ours
        files.remove(file)  # the one before would show another run
        return {"warning": f"{file.name} could not be made: {first_line(f'{type(error).__name__}: {error}')}"}
    return {}


def _write_back(executed: Path, source: Path) -> dict[str, str]:
    """Write clean outputs into the source; a warning, if somebody has changed that while it ran."""
    outputs = clean(nbformat.read(executed, as_version=4))
    now = nbformat.read(source, as_version=4)
    if [(cell.id, cell.source) for cell in outputs.cells] != [(cell.id, cell.source) for cell in now.cells]:
        return {"warning": f"{source.name} was changed while it ran, so its outputs were not written into it."}
    files.write(source, nbformat.writes(outputs) + "\n")
    return {}


if __name__ == "__main__":
    sys.exit(main())
