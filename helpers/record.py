"""Record what needs a GPU, for everyone who has none: `python -m helpers.record` writes notebooks/recorded/<gpu>.json.

Runs every notebook with the 7B's shapes and keeps its record; then the checks: the memory forecast against the
allocator, helpers.nf4 against the CUDA kernels, the levers of a QLoRA step, the kernel of notebook 11, and, where there
are several GPUs, what they gain. `--only 05,06` or `--only forecast` makes a part anew, `--only sweep` needs no GPU.
`--model-id smollm2` runs the notebooks with another model, on a CPU, too, and writes <machine>-smollm2.json.
"""

import argparse
import itertools
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from . import files, results, run
from .errors import CourseError

CHECKS = {
    "forecast": ["-m", "benchmarks.forecast_check", "--out"],
    "nf4": ["-m", "benchmarks.nf4_bench"],
    "levers": ["-m", "benchmarks.finetune_bench"],
    "exact": ["-m", "benchmarks.finetune_bench", "--only", "exact", "--processes", "1"],
    "kernels": ["-m", "benchmarks.kernel_bench"],
    "turns": ["-m", "benchmarks.kernel_bench", "--turns"],
    "fast": ["-m", "benchmarks.fast_bench"],
    "decoding": ["-m", "benchmarks.decode_bench"],
    "scale": ["-m", "benchmarks.scale_bench"],
    "sweep": ["-m", "benchmarks.finetune_sweep"],
}
SEVERAL = {"scale"}  # wants two GPUs or more
ANYWHERE = {"sweep"}  # wants none
# fewer repeats and tokens, so that a recording takes minutes; all else as the notebooks have it
PARAMETERS = {
    "06_generate_and_time": {
        "PROMPT_LENGTHS": [32, 2048],
        "NEW_TOKENS": 5,
        "ANSWER_TOKENS": 8,
        "REPEATS": 3,
        "SECONDS_EACH": 0.1,
    },
    "08_finetune_with_qlora": {"MAX_STEPS": 6, "HELD_OUT": 12},
}
TWICE = {"06_generate_and_time", "kernels"}  # in two processes: how far they differ is part of the result
COMMAND = "python -m helpers.record"
SHAPES = "mistral-7b-shape"


def name_of(gpu: str) -> str:
    """A file name for a GPU: "NVIDIA H200" → "h200"."""
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"^(nvidia|amd|tesla) ", "", gpu.lower())).strip("-")


def file_of(environment: dict) -> str:
    """The name of a machine's recording: its GPU, with their number if there are several, or "cpu"."""
    gpus = environment["gpu"]
    if not gpus:
        return "cpu"
    name = name_of(gpus[0]["name"])
    return f"{name}-x{len(gpus)}" if len(gpus) > 1 else name


def possible(environment: dict) -> set[str]:
    """The checks that this machine can make."""
    gpus = len(environment["gpu"])
    least = {check: 0 if check in ANYWHERE else 2 if check in SEVERAL else 1 for check in CHECKS}
    return {check for check in CHECKS if gpus >= least[check]}


def merged(old: dict, values: dict, environment: dict, date: str, model_id: str = SHAPES) -> dict:
    """A recording with `values` put in; each part keeps the date of its own run.

    Raises CourseError if the old one is of other hardware or versions: parts of two machines make no run.
    """
    kept = {key: environment[key] for key in ("hardware", "driver", "python", "system", "versions")}
    provenance = old.get("provenance", {})
    for key in kept:
        if provenance and provenance.get(key) != kept[key]:
            raise CourseError(
                f"The recording at hand has another {key} ({provenance.get(key)}): record everything anew with --fresh."
            )
    dates = {**provenance.get("dates", {}), **dict.fromkeys(values, date)}
    provenance = {**kept, "date": max(dates.values(), default=date), "command": COMMAND, "dates": dates}
    if model_id != SHAPES:
        provenance |= {"model_id": model_id, "command": f"{COMMAND} --model-id {model_id}"}
    return {"provenance": provenance, "values": {**old.get("values", {}), **values}}


def earlier(out: Path) -> dict:
    """The recording in a file, or nothing if there is none; CourseError for a file that is no recording."""
    try:
        old = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
        if not out.exists() or {"provenance", "values"} <= set(old):
            return old
    except (OSError, ValueError, TypeError):
        pass
    raise CourseError(f"{out} is there and is no recording of the course: it is left as it is; name another file.")


def checked(name: str) -> run.NotebookRun:
    """What one of `CHECKS` writes, as the `record` of a run; its last line is the `error` when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "out.json"
        done = subprocess.run(
            [sys.executable, *CHECKS[name], str(file)], cwd=run.ROOT, text=True, stderr=subprocess.PIPE
        )
        if not file.is_file():
            last = (done.stderr.strip().splitlines() or ["no output"])[-1]
            return run.NotebookRun(name, error=f"The check {name} failed: {last}.")
        return run.NotebookRun(name, record=json.loads(file.read_text(encoding="utf-8")))


def main(arguments: list[str] | None = None) -> int:
    """Record; return 0, or 1 if a notebook or check failed (the others are kept)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help=f"notebooks by number, or {', '.join(CHECKS)}; all without it")
    parser.add_argument("--out", type=Path, help="file (default: notebooks/recorded/<machine>.json)")
    parser.add_argument("--model-id", default=SHAPES, help='another model, such as "smollm2": its notebooks, no checks')
    parser.add_argument("--build", type=Path, default=run.ROOT / "build" / "recorded", help="for the executed copies")
    parser.add_argument("--fresh", action="store_true", help="forget what was recorded before")
    options = parser.parse_args(arguments)
    environment = results.environment()
    wanted = [part for part in re.split(r"[ ,]+", options.only) if part]
    other = options.model_id != SHAPES
    can = set() if other else possible(environment)
    if not other and not environment["gpu"] and not (wanted and can >= set(wanted)):
        print("No NVIDIA GPU was found, and this records what only a GPU can show.", file=sys.stderr)
        return 2
    if lacking := [part for part in wanted if part in CHECKS and part not in can]:
        print(f"{', '.join(lacking)} compares several GPUs with one, and one was found.", file=sys.stderr)
        return 2
    out = options.out or results.RECORDED / f"{file_of(environment)}{f'-{options.model_id}' if other else ''}.json"
    old = earlier(out)
    old = {} if options.fresh else old
    notebooks = [part for part in wanted if part not in CHECKS]
    values, failed = {}, []
    names = run.select(run.course_map(), ",".join(notebooks)) if notebooks or not wanted else []
    files.claim(options.build, [f"{name}.ipynb" for name in names])
    checks = [check for check in CHECKS if check in (wanted or can)]
    if not other:  # its notebooks run as they are, and once
        names, checks = ([name for name in part for _ in range(1 + (name in TWICE))] for part in (names, checks))
    given = {} if other else PARAMETERS
    jobs = [job for name in names for job in run.jobs([name], options.build, options.model_id, given.get(name))]
    for done in itertools.chain(run.each(jobs), map(checked, checks)):
        if done.error:
            failed.append(done.name)
            print(f"FAILED {done.error}", file=sys.stderr, flush=True)
        elif done.name in values:
            values[done.name]["again"] = done.record
            print(f"{done.name}: recorded again", flush=True)
        elif done.name in CHECKS:
            values[done.name] = done.record
            print(f"{done.name}: recorded", flush=True)
        else:
            values[done.name] = {**done.record, "seconds_of_run": round(done.seconds, 1)}
            print(f"{done.name}: {done.seconds:.0f} s, {done.headline}", flush=True)
        recording = merged(old, values, environment, results.today(), options.model_id)
        files.write(out, json.dumps(recording, indent=1, ensure_ascii=False) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CourseError, run.NotebookError) as error:
        sys.exit(str(error))
