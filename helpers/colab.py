"""What the setup cell of every notebook does on Colab, once it has fetched the course; no other place needs it."""

import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

from packaging.version import Version

from .errors import CourseError

__all__ = ["setup"]

ROOT = Path(__file__).resolve().parent.parent
LACKING = ("bitsandbytes", "papermill", "gguf")  # what the course needs and Colab's runtime does not have
TORCHAO = "0.16"  # peft refuses plain LoRA beside an older one (peft.import_utils), and the course has no use for any


def setup() -> None:
    """Install what Colab lacks, remove a torchao that breaks LoRA, and say in a sentence what there is.

    torch and everything else that Colab has stay as they are. A token in Colab's secrets (HF_TOKEN) is read by
    huggingface_hub, here once because it asks for leave and must do so outside a thread; it is not shown or kept.
    Raises CourseError when pip fails.
    """
    done = []
    missing = [pin for name, pin in _pins().items() if _version(name) is None]
    if missing:
        _pip("install", *missing, f"torch=={_version('torch')}")
        done.append(f"installed {' and '.join(pin.replace('==', ' ') for pin in missing)}")
    torchao = _version("torchao")
    if torchao and Version(torchao) < Version(TORCHAO):
        _pip("uninstall", "--yes", "torchao")
        done.append(f"removed torchao {torchao}, beside which peft refuses LoRA")
    importlib.invalidate_caches()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))

    from huggingface_hub import get_token

    token = "with a Hugging Face token" if get_token() else "without a Hugging Face token, which only gated models need"
    print(f"The course is ready ({'; '.join(done) or 'nothing to install'}), {token}. {gpu()}")


def _pins() -> dict[str, str]:
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    return {name: re.search(rf"^{name}==\S+", text, re.M)[0] for name in LACKING}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise CourseError(f"pip could not {arguments[0]} what the course needs: {said}")


def gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        return "There is no GPU, and none is needed; Runtime → Change runtime type → T4 GPU gives one."
    properties = torch.cuda.get_device_properties(0)
    dtype = "bfloat16" if (properties.major, properties.minor) >= (8, 0) else "float16"
    return f"The GPU is a {properties.name} with {properties.total_memory / 1e9:.1f} GB, which computes in {dtype}."
