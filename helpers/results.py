"""What a notebook hands on: recorded results, the environment they hold for, tables and sentences with numbers."""

import contextlib
import datetime
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

from IPython.display import display

from .errors import CourseError

__all__ = [
    "MIME",
    "Recording",
    "cores",
    "environment",
    "free_memory",
    "markdown_table",
    "plain",
    "read_recording",
    "recorded",
    "record",
    "show",
    "table",
]

MIME = "application/vnd.mistral-4bit+json"
RECORDED = Path(__file__).resolve().parent.parent / "notebooks" / "recorded"
PACKAGES = ("torch", "transformers", "bitsandbytes", "peft", "accelerate", "tokenizers", "safetensors", "numpy")


def record(values: dict) -> None:
    """Display the notebook's results as one JSON bundle of type `MIME`; a reader sees its headline.

    `values` maps names to JSON values and must hold `"notebook"`, the file name without its extension. NumPy and
    torch scalars count as numbers. Raises ValueError for anything that JSON cannot hold, NaN and infinity included.
    """
    if not isinstance(values, dict) or not isinstance(values.get("notebook"), str) or not values["notebook"]:
        raise ValueError('results.record needs a dict with the key "notebook": the file name without ".ipynb".')
    rest = {name: plain(value, str(name)) for name, value in values.items() if name != "notebook"}
    text = f"For the course's own tests: {rest.get('headline', ', '.join(rest))}."
    display({MIME: {"notebook": values["notebook"], "values": rest}, "text/plain": text}, raw=True)


def plain(value, where: str):
    """Return `value` as plain JSON types; `where` names it in errors."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if not isinstance(value, (int, float, list, tuple, dict)) and hasattr(value, "item"):
        if getattr(value, "size", 1) == 1 or getattr(value, "ndim", 0) == 0:
            value = value.item()  # a NumPy or torch scalar
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f'results.record: "{where}" is {value}; record finite numbers only.')
        return float(value)
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f'results.record: "{where}" has the key {key!r}; keys must be strings.')
        return {key: plain(item, f"{where}.{key}") for key, item in value.items()}
    raise ValueError(
        f'results.record: "{where}" is of type {type(value).__name__}; record numbers, text, lists or dicts.'
    )


def environment() -> dict:
    """Return the hardware, driver and package versions that results hold for; no dates, paths or host names.

    Keys: `hardware` (one line), `cpu`, `cores`, `memory_gb` (GB = 1e9 bytes), `gpu` (list of dicts `name`,
    `memory_gb`, `capability`; empty without one), `driver`, `python`, `system`, `versions`.
    """
    gpus, driver = _nvidia()
    cpu, count, memory = _cpu_name(), cores(), _memory_bytes()
    hardware = " + ".join(gpu["name"] for gpu in gpus) or f"{cpu}, {count} cores"
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "hardware": hardware,
        "cpu": cpu,
        "cores": count,
        "memory_gb": round(memory / 1e9, 1) if memory else None,
        "gpu": gpus,
        "driver": driver,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
    }


def _nvidia() -> tuple[list[dict], str | None]:
    # nvidia-smi and not torch: the runner needs this too, and importing torch costs it seconds
    query = ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap,driver_version", "--format=csv,noheader,nounits"]
    try:
        lines = (
            subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout.strip().splitlines()
        )
    except (OSError, subprocess.SubprocessError):
        return [], None
    rows = [[field.strip() for field in line.split(",")] for line in lines if line.count(",") == 3]
    gpus = [
        {"name": name, "memory_gb": round(float(mib) * 2**20 / 1e9, 1) if mib.isdigit() else None, "capability": cap}
        for name, mib, cap, _ in rows
    ]
    return gpus, rows[0][3] if rows else None


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def free_memory() -> int:
    """Return the bytes of RAM that this process may still take: the machine's, or what a container leaves."""
    import psutil

    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):  # a container's own limit, which psutil does not see
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        free = min(free, limit - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    return free


def _memory_bytes() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    return psutil.virtual_memory().total


@dataclass(frozen=True)
class Recording:
    """A run made elsewhere: its `values`, and the `provenance` (hardware, versions, date, command) they hold for."""

    name: str
    values: dict
    provenance: dict

    def __str__(self) -> str:
        versions = self.provenance.get("versions", {})
        shown = ", ".join(f"{name} {versions[name]}" for name in PACKAGES[:4] if name in versions)
        parts = [self.provenance.get("hardware"), shown, self.provenance.get("date")]
        return f"Recorded run “{self.name}”: " + "; ".join(str(part) for part in parts if part) + "."


def read_recording(
    name: str | None = None, part: str | None = None, quiet: bool = False, model_id: str | None = None
) -> Recording:
    """Read `notebooks/recorded/<name>.json` and, unless `quiet`, show one line on where its values come from.

    Without a name it is the recording in which `part`, a notebook or check, was run last: of Mistral-7B's shapes, or of
    the model `model_id`. Raises CourseError when there is no such recording, or when it does not say its hardware,
    versions, date and command.
    """
    if name is None:
        runs = [run for path in sorted(RECORDED.glob("*.json")) if part in (run := _read(path.stem)).values]
        runs = [run for run in runs if run.provenance.get("model_id") == model_id]
        if not runs:
            raise CourseError(f"No recorded run holds “{part}”: on a GPU, `python -m helpers.record` records it.")
        run = max(runs, key=lambda run: run.provenance.get("dates", {}).get(part, run.provenance["date"]))
    else:
        run = _read(name)
        if part is not None and part not in run.values:
            raise CourseError(f"The recorded run “{name}” does not hold “{part}”: it has {', '.join(run.values)}.")
    if part is not None:
        run.provenance["date"] = run.provenance.get("dates", {}).get(part, run.provenance["date"])
    if not quiet:
        show(f"*{run}*", plain=str(run))
    return run


def recorded(part: str, model_id: str | None = None, name: str | None = None) -> dict:
    """The values that `read_recording` finds for `part`, to compare with; if none, {} and a line that says why."""
    try:
        return read_recording(name, part, model_id=model_id).values[part]
    except CourseError as error:
        show(f"*Nothing to compare with: {error}*")
        return {}


def _read(name: str) -> Recording:
    path = RECORDED / f"{name}.json"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in RECORDED.glob("*.json"))) or "none yet"
        raise CourseError(f"There is no recorded run “{name}”; recorded runs in notebooks/recorded: {names}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        values, provenance = content["values"], content["provenance"]
        lacking = [key for key in ("hardware", "versions", "date", "command") if not provenance.get(key)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CourseError(f"The recorded run “{name}” cannot be read ({error}); restore its file.") from None
    if lacking:
        raise CourseError(f"The recorded run “{name}” does not say its {', '.join(lacking)}; record it again.")
    return Recording(name, values, provenance)


def show(markdown: str, plain: str | None = None) -> None:
    """Display `markdown`, for prose with numbers in it; `plain` is what a terminal sees (default: the same text)."""
    display({"text/markdown": markdown, "text/plain": markdown if plain is None else plain}, raw=True)


def table(rows: list[dict], columns: list[str] | dict[str, str] | None = None, caption: str | None = None) -> None:
    """Display a list of dicts as a Markdown table, numbers to the right.

    `columns` picks and orders the keys; as a dict it also gives their headings. A missing or None cell shows “–”.
    Integers get thousands separators, floats four significant digits; format a cell yourself by passing a string.
    """
    text = markdown_table(rows, columns)
    show(f"**{caption}**\n\n{text}" if caption else text)


def markdown_table(rows: list[dict], columns: list[str] | dict[str, str] | None = None) -> str:
    """Return the Markdown of `table`, for a file or a text with more in it."""
    rows = list(rows)
    if columns is None:
        columns = list(dict.fromkeys(key for row in rows for key in row))
    heads = columns if isinstance(columns, dict) else {key: str(key) for key in columns}
    cells = [[_cell(row.get(key)) for key in heads] for row in rows]
    right = [bool(rows) and all(_numeric(row.get(key)) for row in rows) for key in heads]
    head = [_escape(text) for text in heads.values()]
    widths = [max([3, len(text), *(len(line[i]) for line in cells)]) for i, text in enumerate(head)]

    def line(texts):
        padded = (
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(texts, widths, right, strict=True)
        )
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * (width - 1) + (":" if to_right else "-") for width, to_right in zip(widths, right, strict=True)]
    return "\n".join([line(head), line(rule), *(line(texts) for texts in cells)])


def _cell(value) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if math.isfinite(value) and abs(value) >= 1e4 else f"{value:.4g}"
    return _escape(str(value))


def _numeric(value) -> bool:
    if isinstance(value, str):  # "4.13 GB", "−3.2%", "1.2×": text that starts with a number is aligned as one
        return len(value) <= 40 and value.lstrip("+-−~≈±< ")[:1].isdigit()  # longer is prose that begins with a figure
    return value is None or not isinstance(value, bool) and isinstance(_item(value), (int, float))


def _item(value):
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 0) == 0 else value


def _escape(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")


def today() -> str:
    """Return today's date in UTC as YYYY-MM-DD, for provenance; never put it into a notebook's output."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
