"""Where people learn: the public address, Colab's setup cell, Binder, the workshop's archive and the workflows."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import nbformat
import pytest

from helpers import colab, run
from helpers.errors import CourseError
from scripts import links, workshop

ROOT = run.ROOT
TEACHING = ROOT / "notebooks" / "TEACHING.md"
NAMES = sorted(path.stem for path in run.NOTEBOOKS.glob("*.ipynb"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
REPO, TAG = "Some-One/course_4.bit", "v1.2.3"
TOKEN = "hf_" + "y" * 34


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of every file that has to do with the address."""
    (tmp_path / "notebooks").mkdir()
    for path in (ROOT / "pyproject.toml", ROOT / "README.md", TEACHING, *(ROOT / "notebooks").glob("*.ipynb")):
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    return tmp_path


def texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()}


def test_badges_and_setup_cells_hold_the_address_of_pyproject(copy):
    assert links.apply(copy) == []


def test_an_address_is_written_everywhere_and_can_be_taken_out(copy):
    before = texts(copy)
    links.settle(REPO, TAG, copy)
    assert links.where(copy) == (REPO, TAG)
    assert {path.name for path in links.apply(copy)} == {
        "README.md",
        "TEACHING.md",
        *(f"{name}.ipynb" for name in NAMES),
    }
    cells = {name: nbformat.read(copy / "notebooks" / f"{name}.ipynb", as_version=4).cells for name in NAMES}
    for name, (title, _, setup, *_) in cells.items():
        assert re.findall(r"\]\((https://[^)]+)\)", title.source)[-3:] == [
            f"https://colab.research.google.com/github/{REPO}/blob/{TAG}/notebooks/{name}.ipynb",
            "https://mybinder.org/badge_logo.svg",
            f"https://mybinder.org/v2/gh/{REPO}/{TAG}?urlpath=lab/tree/notebooks/{name}.ipynb",
        ]
        assert f'"https://github.com/{REPO}", "{TAG}"' in setup.source
        assert len([line for line in setup.source.splitlines() if line.strip()]) <= 15
    readme = (copy / "README.md").read_text("utf-8")
    assert all(f"[{name[:2]}](https://colab.research.google.com/github/{REPO}/blob/{TAG}/" in readme for name in NAMES)
    assert f"{TAG}?urlpath=lab/tree/notebooks/README.md" in readme
    site = "https://some-one.github.io/course_4.bit"
    assert f"]({site}/index.html)" in readme and "](build/site/" not in readme
    assert f"]({site}/teachers.html)" in (copy / TEACHING.relative_to(ROOT)).read_text("utf-8")
    assert f"]({site}/quantize.html)" in "".join(cell.source for cell in cells["02_build_nf4"])
    for command in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--no-cache", copy]
        style = subprocess.run(ruff, capture_output=True, text=True)
        assert style.returncode == 0, style.stdout[-2000:]
    assert links.apply(copy) == []
    links.settle("Another/one", "v2", copy)
    assert len(links.apply(copy)) == len(NAMES) + 2 and REPO not in "".join(texts(copy).values())
    links.settle("", "", copy)
    assert links.where(copy) is None and len(links.apply(copy)) == len(NAMES) + 2
    assert texts(copy) == before


@pytest.mark.parametrize(
    ("repo", "tag", "said"),
    [
        ("some-one/course", "", "both REPO and TAG"),
        ("", "v1", "both REPO and TAG"),
        ("https://github.com/some-one/course", "v1", "owner/name"),
        ('some-one/course", "x', "v1", "owner/name"),
        ("-one/course", "v1", "owner/name"),
        ("some-one/course", "--upload-pack=x", "name of a tag"),
        ("some-one/course", 'v1"\nimport os', "name of a tag"),
    ],
)
def test_what_is_no_address_is_refused(copy, repo, tag, said):
    before = texts(copy)
    with pytest.raises(SystemExit, match=said):
        links.settle(repo, tag, copy)
    assert texts(copy) == before


def test_a_notebook_without_its_line_of_badges_is_refused(copy):
    path = copy / "notebooks" / f"{NAMES[0]}.ipynb"
    path.write_text(path.read_text("utf-8").replace(links.badges(links.where(copy), NAMES[0]), "*Soon.*"), "utf-8")
    with pytest.raises(SystemExit, match="0 lines of badges"):
        links.apply(copy)


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True)


def test_the_setup_cell_fetches_its_tag_and_shows_no_token(tmp_path):
    """In a process of its own, with a stand-in for google.colab, and git told where the address is."""
    published = tmp_path / "published"
    (published / "helpers").mkdir(parents=True)
    for name in ("requirements.txt", *(f"helpers/{name}.py" for name in ("__init__", "colab", "errors"))):
        shutil.copy(ROOT / name, published / name)
    git(published, "init", "--quiet")
    git(published, "add", ".")
    git(published, "commit", "--quiet", "--message", "The tag")
    git(published, "tag", TAG)
    (published / "helpers" / "colab.py").write_text("raise SystemExit('not the tag')", "utf-8")
    git(published, "commit", "--quiet", "--all", "--message", "Later")
    content = tmp_path / "content"
    content.mkdir()
    script = f"""
import os, sys, types
sys.modules["google.colab"] = types.ModuleType("google.colab")
cell = {links.setup_cell((REPO, TAG))!r}
exec(cell)
exec(cell)
import helpers
assert helpers.__file__.startswith(os.getcwd()), helpers.__file__
assert os.environ["PYTHONPATH"].startswith(os.path.join(os.getcwd(), "mistral-4bit-course"))
"""
    environment = os.environ | {
        "HF_TOKEN": TOKEN,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{published.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{REPO}",
    }
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=content, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("The course is ready (nothing to install), with a Hugging Face token.") == 2
    assert TOKEN not in done.stdout + done.stderr
    assert [path.name for path in content.iterdir()] == ["mistral-4bit-course"]


@pytest.fixture
def runtime(monkeypatch):
    """Stand in for Colab's environment: `has` maps names to versions, `calls` collects pip's arguments."""
    place = types.SimpleNamespace(has={"torch": "2.11.0+cu128", "torchao": "0.10.0"}, calls=[], status=0)

    def pip(command, **_):
        place.calls.append(command[command.index("--quiet") + 1 :])
        return types.SimpleNamespace(returncode=place.status, stderr="WARNING: first\nERROR: no space left\n")

    monkeypatch.setattr(colab, "_version", place.has.get)
    monkeypatch.setattr(colab.subprocess, "run", pip)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    return place


def test_setup_installs_what_is_lacking_and_leaves_torch_alone(runtime, capsys):
    colab.setup()
    pins = dict(
        re.findall(r"^(bitsandbytes|papermill|gguf)==(\S+)", (ROOT / "requirements.txt").read_text("utf-8"), re.M)
    )
    lacking = [f"{name}=={version}" for name, version in pins.items()]
    assert runtime.calls == [["install", *lacking, "torch==2.11.0+cu128"], ["uninstall", "--yes", "torchao"]]
    said = capsys.readouterr().out
    assert f"installed {' and '.join(pin.replace('==', ' ') for pin in lacking)}" in said
    assert "removed torchao 0.10.0" in said and said.count("\n") == 1


def test_setup_leaves_what_is_there(runtime, capsys):
    runtime.has |= {"bitsandbytes": "0.50.2", "papermill": "2.7.0", "gguf": "0.19.0", "torchao": "0.16.0"}
    colab.setup()
    assert runtime.calls == [] and "nothing to install" in capsys.readouterr().out


def test_setup_says_what_pip_said(runtime):
    runtime.status = 1
    with pytest.raises(CourseError, match="could not install what the course needs: ERROR: no space left$"):
        colab.setup()


def test_setup_names_the_gpu_and_its_dtype(monkeypatch):
    import torch

    for name, capability, dtype in (("Tesla T4", (7, 5), "float16"), ("NVIDIA L4", (8, 9), "bfloat16")):
        card = types.SimpleNamespace(name=name, major=capability[0], minor=capability[1], total_memory=15_835_660_288)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, card=card: card)
        assert colab.gpu() == f"The GPU is a {name} with 15.8 GB, which computes in {dtype}."


def test_peft_refuses_a_torchao_older_than_the_one_that_setup_leaves():
    source = Path(importlib.metadata.distribution("peft").locate_file("peft/import_utils.py")).read_text("utf-8")
    assert re.findall(r'TORCHAO_MINIMUM_VERSION = [\w.]+\("([\d.]+)"\)', source) == [f"{colab.TORCHAO}.0"]


def test_colab_versions_come_with_their_source_and_leave_torch_out():
    text = (ROOT / "scripts" / "colab.txt").read_text("utf-8")
    assert re.search(r"^# .*googlecolab/backend-info.*\d{4}-\d\d-\d\d", text)
    names = re.findall(r"^([\w.-]+)==[\d.]+$", text, re.M)
    assert {"transformers", "peft", "ipywidgets", "ipykernel", "torchao"} <= set(names) and "torch" not in names
    assert len(names) == len([line for line in text.splitlines() if not line.startswith("#")])


def test_binder_starts_on_a_supported_python_and_renders_the_map():
    assert re.fullmatch(r"python-3\.1[123]\n", (ROOT / "binder" / "runtime.txt").read_text("utf-8"))
    overrides = json.loads((ROOT / "binder" / "overrides.json").read_text("utf-8"))
    assert overrides["@jupyterlab/docmanager-extension:plugin"]["defaultViewers"] == {"markdown": "Markdown Preview"}
    assert os.access(ROOT / "binder" / "postBuild", os.X_OK) or os.name == "nt"


def test_the_archive_takes_the_pins_of_its_platform():
    names = {
        (target, python): {pin.split("==")[0] for pin in workshop.pins(target, python)}
        for target in workshop.PLATFORMS
        for python in ("3.11", "3.12")
    }
    assert {key for key, found in names.items() if "appnope" in found} == {key for key in names if "mac" in key[0]}
    assert {key for key, found in names.items() if "pywinpty" in found} == {key for key in names if "win" in key[0]}
    assert {key for key, found in names.items() if "aiohttp" in found} == {key for key in names if key[1] == "3.12"}
    torch = {pin for target in workshop.PLATFORMS for pin in workshop.pins(target, "3.11") if pin.startswith("torch==")}
    assert len(torch) == 2 and max(torch) == f"{min(torch)}+cpu"
    assert "torch==2.13.0" in workshop.pins("windows-x86_64", "3.11")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_fit_the_schema_and_call_what_there_is(path):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    text = path.read_text("utf-8")
    goals = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.M)[1].split()
    assert set(re.findall(r"run: make (\w+)", text)) <= set(goals)
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in re.findall(r"uses: (\S+)", text))
    assert "permissions:" in text and "timeout-minutes:" in text
    # what a person types in reaches a shell through the environment alone
    assert not re.search(r"run:.*\$\{\{ *(inputs|github\.event)", text)


def test_there_are_workflows():
    assert [path.stem for path in WORKFLOWS] == ["pages", "publish", "test", "weekly"]
