"""Load what was saved in a process of its own, and bring back its logits: for notebook 09."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from . import models
from .adapters import load_adapter
from .errors import CourseError

__all__ = ["reloaded"]


def reloaded(ids: torch.Tensor, which: dict[str, dict]) -> dict[str, torch.Tensor]:
    """Load models in a new process, one after the other, and return each one's logits on `ids`, on the CPU.

    `which` maps a name to `model_id` and `scheme`, as `models.load` takes them, and, for an adapter, its folder as
    `adapter`. `ids` has shape (batch, tokens). Raises CourseError with what the other process complained of.
    """
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "logits.safetensors"
        which = {name: {key: _from_here(value) for key, value in saved.items()} for name, saved in which.items()}
        request = {"ids": ids.tolist(), "which": which, "out": str(file)}
        done = subprocess.run(
            [sys.executable, "-m", "helpers.reload"],
            input=json.dumps(request, default=str),
            capture_output=True,
            text=True,
            cwd=Path(__file__).resolve().parent.parent,
        )
        if done.returncode:
            said = done.stderr.strip().splitlines() or ["it ended without a word"]
            raise CourseError(f"The new process could not load what was saved: {said[-1]}")
        return load_file(file)


def _from_here(value):
    """A folder as the new process, which works elsewhere, has to name it."""
    return str(Path(value).absolute()) if isinstance(value, str | Path) and Path(value).is_dir() else value


def main() -> None:
    """Answer `reloaded`: read what to load from standard input, write the logits to a file."""
    from safetensors.torch import save_file

    request = json.load(sys.stdin)
    logits = {}
    for name, saved in request["which"].items():
        model, _ = models.load(saved["model_id"], saved["scheme"])
        if saved.get("adapter"):
            model = load_adapter(model, saved["adapter"])
        with torch.inference_mode():
            logits[name] = model(torch.tensor(request["ids"], device=model.device)).logits.cpu().contiguous()
        model = None
    save_file(logits, request["out"])


if __name__ == "__main__":
    try:
        main()
    except CourseError as error:
        sys.exit(str(error))
