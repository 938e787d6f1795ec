"""What holds for every test: no network, no display, and a kernel's environment like the tests' own."""

import os
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
NO_NETWORK = TESTS / "no_network"

# Before anything else: the guard for this process and, through PYTHONPATH, for every kernel that it starts.
# HF_HUB_OFFLINE stays unset on purpose, so that the course's code meets a network that is gone, not a setting.
sys.path[:0] = [str(ROOT), str(TESTS), str(NO_NETWORK)]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(NO_NETWORK), os.environ.get("PYTHONPATH")]))
os.environ["MPLBACKEND"] = "agg"
os.environ["MISTRAL_4BIT_PROGRESS"] = ""  # not the learner's file
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in the runner's kernels
for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
    os.environ.pop(variable, None)
sys.modules.pop("sitecustomize", None)
import sitecustomize  # noqa: E402

assert Path(sitecustomize.__file__).parent == NO_NETWORK


@pytest.fixture
def displayed(monkeypatch) -> list[dict]:
    """Return the list into which `results`, `plots` and `exercises` display: one dict `data`, `metadata` a display."""
    from helpers import exercises, plots, results

    shown = []

    def display(data, metadata=None, raw=False):
        assert raw
        shown.append({"data": data, "metadata": metadata or {}})

    for module in (exercises, plots, results):
        monkeypatch.setattr(module, "display", display)
    return shown
