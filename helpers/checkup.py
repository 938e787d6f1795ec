"""What this machine has for the course and what it lacks, as a table; never shows a token, a path or a host name."""

import importlib.metadata
import platform
from pathlib import Path

import psutil
import torch
from packaging.version import Version

from . import models, results
from .errors import CourseError
from .models import hub as hub_questions
from .models.kinds import MISTRAL_7B

__all__ = ["NEEDED", "checks", "hub", "schemes"]

CPUINFO = Path("/proc/cpuinfo")  # on Linux

# The oldest versions that the course runs on; a test holds them to pyproject.toml
NEEDED = {
    "torch": "2.6",
    "transformers": "5.15",
    "bitsandbytes": "0.50.2",
    "peft": "0.20",
    "accelerate": "1.14",
    "ipywidgets": "7.7.1",
    "matplotlib": "3.10",
}
HUB_STATES = {
    "granted": ("grants Mistral-7B", ""),
    "gated": ("answers; Mistral-7B not granted", "accept the license on its hub page, then `hf auth login`"),
    "offline": ("not asked: HF_HUB_OFFLINE is set", "unset it to use the hub; the course runs without"),
    "unreachable": ("no answer", "nothing, unless you want the real Mistral-7B: then check the network"),
}


def hub(timeout: float = 3.0) -> str:
    """Whether the hub answers and grants Mistral-7B: a key of `HUB_STATES`; takes at most `timeout` seconds."""
    state, _ = hub_questions.ask(MISTRAL_7B, timeout)
    return state if state in HUB_STATES else "unreachable"


def _packages() -> list[dict]:
    rows = []
    for name, least in NEEDED.items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = None
        ok = installed is not None and Version(installed) >= Version(least)
        advice = "" if ok else f'`pip install "{name}>={least}"`, then restart the kernel'
        rows.append({"what": name, "found": installed or "missing", "ok": ok, "do": advice})
    return rows


def gpu() -> list[dict]:
    if not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        advice = "nothing: every notebook runs on the CPU" + (
            "; if there is one, check its driver with `nvidia-smi`" if built else "; this torch is built for CPUs only"
        )
        return [{"what": "GPU", "found": "none", "ok": None, "do": advice}]
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    capability = (properties.major, properties.minor)
    free = models.free_memory()
    new = capability >= (8, 0)
    enough = free >= 6e9
    return [
        {"what": "GPU", "found": properties.name, "ok": True, "do": ""},
        {
            "what": "compute capability",
            "found": f"{properties.major}.{properties.minor}",
            "ok": capability >= (7, 5),
            "do": "" if new else "float16 is the compute dtype here: bfloat16 has no hardware before 8.0",
        },
        {
            "what": "GPU memory",
            "found": f"{free / 1e9:.1f} of {properties.total_memory / 1e9:.1f} GB free",
            "ok": enough,
            "do": "" if enough else "Mistral-7B in 4 bits wants 6 GB: stop other kernels, or use Mini-Mistral",
        },
    ]


def checks(hub_state: str | None = None) -> list[dict]:
    """One dict a line of the table: what, found, ok (None: neither good nor bad), and what to do about a lack."""
    from huggingface_hub import get_token

    memory = psutil.virtual_memory().total
    python = platform.python_version()
    rows = [{"what": "Python", "found": python, "ok": Version(python) >= Version("3.11"), "do": ""}]
    if not rows[0]["ok"]:
        rows[0]["do"] = "install Python 3.11 or newer and make a new environment"
    rows += _packages() + gpu() + [_cpu()]
    rows += [
        {
            "what": "memory",
            "found": f"{memory / 1e9:.0f} GB, {models.free_memory('cpu') / 1e9:.0f} GB free",
            "ok": models.free_memory("cpu") >= 1.5e9,
            "do": "" if models.free_memory("cpu") >= 1.5e9 else "close other programs: a notebook takes up to 1.2 GB",
        },
        _disk(),
        {
            "what": "token of the hub",
            "found": "present" if get_token() else "none",
            "ok": None if not get_token() else True,
            "do": "" if get_token() else "nothing, unless you want a gated model: `hf auth login`",
        },
    ]
    if hub_state is not None:
        state, advice = HUB_STATES[hub_state]
        rows.append({"what": "hub", "found": state, "ok": True if hub_state == "granted" else None, "do": advice})
    return rows


def _cpu() -> dict:
    """Whether the CPU has instructions for bfloat16; only Linux says so in a file that everyone may read."""
    try:
        flags = set(CPUINFO.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        flags = set()
    has = flags & {"avx512_bf16", "amx_bf16", "bf16"}
    found = f"yes ({', '.join(sorted(has))})" if has else "no" if flags else "not known"
    advice = "" if has or not flags else "nothing; float32 reads long texts faster here"
    return {"what": "bfloat16 in the CPU", "found": found, "ok": True if has else None, "do": advice}


def _disk() -> dict:
    row = {"what": "disk, for the hub cache"}
    try:
        free = hub_questions.disk_free()
    except CourseError:
        advice = "the course runs without; for models of the hub point HF_HOME at a folder that you may read"
        return {**row, "found": "cannot be read", "ok": None, "do": advice}
    room = free >= 16e9
    advice = "" if room else "enough for the course; the real Mistral-7B takes 14.5 GB (HF_HOME moves the cache)"
    return {**row, "found": f"{free / 1e9:.0f} GB free", "ok": room or None, "do": advice}


def schemes(model="mistral-7b-shape", device="auto") -> list[dict]:
    """For each scheme: the bytes a model needs to be loaded, the bytes that are free, and whether it fits."""
    rows = []
    for scheme in models.SCHEMES:
        fit = models.fit(models.config(model), scheme, device)
        rows.append({"scheme": scheme, "needed": fit.needed, "free": fit.free, "fits": fit.ok})
    return rows


def lacks(rows: list[dict]) -> None:
    """Raise CourseError if something that the course cannot do without is missing or too old."""
    bad = [row for row in rows if row["ok"] is False and row["what"] in ("Python", *NEEDED)]
    if bad:
        raise CourseError("; ".join(f"{row['what']} is {row['found']}: {row['do']}" for row in bad) + ".")


def show(rows: list[dict]) -> None:
    """The table with a mark for each line: ✓ good, ✗ to be repaired, · neither."""
    marks = {True: "✓", False: "✗", None: "·"}
    shown = [{"": marks[row["ok"]], **{key: row[key] for key in ("what", "found", "do")}} for row in rows]
    results.table(shown, {"": "ok", "what": "what", "found": "found", "do": "what to do"})
