"""What holds for every test: no network, no display, and a kernel's environment like the tests' own."""

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

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
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # workers share the cores; equal counts also make equal sums, bit for bit
for variable in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
    os.environ.pop(variable, None)
sys.modules.pop("sitecustomize", None)
import sitecustomize  # noqa: E402

assert Path(sitecustomize.__file__).parent == NO_NETWORK

from helpers import results  # noqa: E402  and with it the filters that keep bitsandbytes from saying what is no news

if not results.environment()["gpu"]:
    os.environ["TRITON_INTERPRET"] = "1"  # Triton reads it when it is imported; notebook 11 sets it, too


PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def browser():
    reason = "Playwright is not installed: make test does that"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    with playwright.sync_playwright() as started:
        own = started.chromium.executable_path
        program = next(filter(None, map(shutil.which, PROGRAMS)), own if Path(own).exists() else None)
        if program is None:
            pytest.skip("no Chromium or Chrome on this machine: install one to run the notebooks in a browser")
        browser = started.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


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


@pytest.fixture(scope="session")
def executed(tmp_path_factory):
    """Return a function: a notebook's name → its one execution of this session, by whichever worker asks first.

    It runs with Mini-Mistral, at full size but for `SMALL`, with answers to the exercises put in. What comes
    back has the `record`, `headline`, all `cells`, the files that were `left` in its folder, and at `kept` the path of
    the executed copy without answers, as a reader would have it.
    """
    import answers
    import nbformat
    from expectations import SMALL
    from filelock import FileLock

    from helpers import run

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def execute(name: str, folder: Path) -> dict:
        notebook = nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4)
        source, here = folder / "source" / f"{name}.ipynb", folder / "here"
        source.parent.mkdir(parents=True)
        here.mkdir()
        nbformat.write(answers.with_answers(notebook, answers.wrong_answers(name)), source)
        parameters = {"MODEL_ID": "mini", **SMALL.get(name, {})}
        try:
            done = run.execute(source, folder / f"{name}.ipynb", parameters, cwd=here)
        except run.NotebookError as error:
            return {"error": str(error)}
        kept = run.clean(answers.without_answers(nbformat.read(folder / f"{name}.ipynb", as_version=4)))
        (folder / "kept").mkdir()
        nbformat.write(kept, folder / "kept" / f"{name}.ipynb")
        keep = run.ROOT / "build" / "tested"
        keep.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "kept" / f"{name}.ipynb", keep)
        left = sorted(path.name for path in here.iterdir())
        return {"record": done.record, "headline": done.headline, "seconds": done.seconds, "left": left}

    def get(name: str) -> SimpleNamespace:
        folder = shared / "executed" / name
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not (folder / "result.json").exists():
                (folder / "result.json").write_text(json.dumps(execute(name, folder)), encoding="utf-8")
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if "error" in result:
            pytest.fail(result["error"])
        cells = nbformat.read(folder / f"{name}.ipynb", as_version=4).cells
        return SimpleNamespace(**result, cells=cells, kept=folder / "kept" / f"{name}.ipynb")

    return get


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With several workers: a file stays together, as its fixtures do, but each notebook is for itself."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            return test.partition("[")[2] or test if file.endswith("test_notebooks.py") else file

    return Scheduling(config, log)


def pytest_collection_modifyitems(items) -> None:
    """The notebooks first, the longest before the others, so that no worker is left alone with one at the end."""

    def longest_first(item) -> tuple:
        if item.path.stem != "test_notebooks":
            return (1, 0)
        number = item.callspec.params["name"][:2] if hasattr(item, "callspec") else ""
        return (0, LONGEST.index(number) if number in LONGEST else len(LONGEST))

    items.sort(key=longest_first)


LONGEST = ("08", "07", "09", "12", "06", "10")  # the notebooks that take more than half a minute
