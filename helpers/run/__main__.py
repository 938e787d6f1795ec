"""Execute the course: `python -m helpers.run`."""

import argparse
import ast
import os
import sys
import time
from pathlib import Path

import nbformat

from .. import files, results
from .batch import Job, at_once, each
from .course import NOTEBOOKS, course_map, map_problems, select
from .engine import CELL_TIMEOUT, Watch
from .outcome import NotebookError, NotebookRun
from .outputs import clean
from .pages import page, relative, report, summary
from .progress import Progress

__all__ = ["main"]


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
    progress, entries, begun = Progress(names), {}, time.monotonic()

    def ended(run: NotebookRun) -> None:
        entries[run.name] = entry = _entry(folder, build, run, parameters, options)
        took = f"{entry['seconds']:.1f} s"
        progress.end(run.name, f"FAILED after {took}: {entry['error']}" if run.error else f"done in {took}")
        report(build, course_map(folder), {name: entries[name] for name in names if name in entries})

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
        progress.stop()
        return 130
    finally:
        progress.close()
    entries = {name: entries[name] for name in names}
    failed = [name for name, entry in entries.items() if "error" in entry]
    print("\n" + summary(entries))
    print(
        f"\n{len(entries) - len(failed)} of {len(entries)} notebooks ran, in {time.monotonic() - begun:.0f} s. ", end=""
    )
    print(f"Open {relative(build / 'index.html')}; the figures are in {relative(build / 'results.json')}.")
    for name in failed:
        print(f"FAILED {entries[name]['error']}", file=sys.stderr)
    return 1 if failed else 0


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
            html = page(nbformat.read(failed, as_version=4), course_map(folder))
            files.write(build / f"{run.name}.failed.html", html)
        return {**entry, "error": run.error}
    executed = nbformat.read(failed, as_version=4)
    files.write(build / f"{run.name}.html", page(executed, course_map(folder)))
    os.replace(failed, build / f"{run.name}.ipynb")
    (build / f"{run.name}.failed.html").unlink(missing_ok=True)
    if options.write_back:
        files.write(folder / f"{run.name}.ipynb", nbformat.writes(clean(executed)) + "\n")
    return {**entry, "headline": run.headline, "exercises": run.exercises, "values": run.record}


if __name__ == "__main__":
    sys.exit(main())
