"""Run every notebook on Colab's versions, its setup cell included: `make colab`.

An environment with what scripts/colab.txt lists stands for Colab's runtime, a module `google.colab` for its shell, and
a clone of the last commit, with an address and a tag, for the published course: git is told to fetch it from there.
"""

import argparse
import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helpers import files, run  # noqa: E402

REPO, TAG = "example/mistral-4bit-course", "colab-check"
TOKEN = "hf_" + "x" * 34  # must show up in no output
VERSIONS = ROOT / "scripts" / "colab.txt"
GOOGLE = {
    "__init__.py": "",
    "errors.py": "class Error(Exception): pass\n",
    "userdata.py": f"""from .errors import Error
class SecretNotFoundError(Error): pass
class NotebookAccessError(Error): pass
def get(name): return {{"HF_TOKEN": "{TOKEN}"}}[name]
""",
    "_shell.py": """from ipykernel.zmqshell import ZMQInteractiveShell
class Shell(ZMQInteractiveShell): pass
""",
    "_kernel.py": """from ipykernel.ipkernel import IPythonKernel
from ._shell import Shell
class Kernel(IPythonKernel): shell_class = Shell
""",
}


def environment(build: Path, python: str) -> Path:
    """Make an environment below `build`, or bring it back to its first state, and return its interpreter."""
    asked = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True)
    folder = build / f"python{asked.stdout.decode().strip()}"
    interpreter = folder / "bin" / "python"
    if not interpreter.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    pip = [interpreter, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "uninstall", "--yes", "bitsandbytes", "papermill"], check=True, capture_output=True)
    torch = f"torch=={version('torch').partition('+')[0]}"
    subprocess.run([*pip, "install", "--requirement", VERSIONS, torch], check=True)
    return interpreter


def versions(interpreter: Path) -> dict[str, str]:
    """Return name → version of everything installed, names as in pip's lists."""
    listed = subprocess.run(
        [interpreter, "-m", "pip", "list", "--format=json"], check=True, capture_output=True, text=True
    )
    return {entry["name"].lower().replace("_", "-"): entry["version"] for entry in json.loads(listed.stdout)}


def publish(folder: Path) -> None:
    """Clone the last commit into `folder` and give it an address and a tag."""
    git = ["git", "-C", folder, "-c", "user.name=check", "-c", "user.email=check@example.org"]
    files.remove(folder)
    subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
    links = [sys.executable, "scripts/links.py", "--repo", REPO, "--tag", TAG]
    subprocess.run(links, check=True, cwd=folder)
    subprocess.run([*git, "commit", "--quiet", "--all", "--message", "Published"], check=True)
    subprocess.run([*git, "tag", TAG], check=True)


def kernel(build: Path, interpreter: Path, origin: Path) -> None:
    """Let kernels of this process be Colab's: its Python, its shell, and nothing of this repository on the path."""
    google = build / "site" / "google" / "colab"
    google.mkdir(parents=True, exist_ok=True)
    for name, text in GOOGLE.items():
        (google / name).write_text(text, encoding="utf-8")
    spec = {
        "argv": [str(interpreter), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        + ["--IPKernelApp.kernel_class=google.colab._kernel.Kernel"],
        "display_name": "Python 3",
        "language": "python",
        "env": {
            "PYTHONPATH": str(build / "site"),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"url.{origin.as_uri()}.insteadOf",
            "GIT_CONFIG_VALUE_0": f"https://github.com/{REPO}",
        },
    }
    folder = build / "jupyter" / "kernels" / "python3"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kernel.json").write_text(json.dumps(spec, indent=1), encoding="utf-8")
    os.environ["JUPYTER_PATH"] = str(build / "jupyter")


def looked_at(text: str) -> tuple[str, str]:
    """Return what the setup cell of an executed notebook said, and what is wrong with the notebook, if anything is."""
    cells = nbformat.reads(text, as_version=4).cells
    setup = "".join(out.get("text", "") for out in cells[2].outputs).strip()
    warned = [out.text for cell in cells for out in cell.get("outputs", []) if out.get("name") == "stderr"]
    if warned:
        return setup, f"stray output of a library: {warned[0][:300]}"
    told = "with a Hugging Face token" in setup
    return setup, "" if told and TOKEN not in text else "the token was shown, or not found"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make colab", description=__doc__.splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="Colab's is 3.13")
    parser.add_argument("--only", default="", help="notebooks by number, such as 05 or 04,05")
    options = parser.parse_args(arguments)
    try:
        names = run.select(run.course_map(), options.only)
    except run.NotebookError as error:
        raise SystemExit(str(error)) from None
    build = ROOT / "build" / "colab"
    files.claim(build)
    files.remove(build / "content")
    interpreter = environment(build, options.python)
    before = versions(interpreter)
    publish(build / "origin")
    kernel(build, interpreter, build / "origin")
    failed = []
    jobs = []
    for name in names:
        content = build / "content" / name  # as empty as Colab's own folder
        content.mkdir(parents=True)
        source = build / "origin" / "notebooks" / f"{name}.ipynb"
        jobs.append(run.Job(source, build / source.name, {"MODEL_ID": "mini"}, content))
    for done in run.each(jobs):
        text = (build / f"{done.name}.ipynb").read_text(encoding="utf-8") if not done.error else ""
        setup, wrong = looked_at(text) if text else ("", done.error)
        if wrong:
            failed.append(done.name)
            print(f"{done.name:28} FAILED: {wrong}", flush=True)
        else:
            print(f"{done.name:28} {done.seconds:5.0f} s  {done.peak_memory_bytes / 1e9:.2f} GB  {setup}", flush=True)
    after = versions(interpreter)
    changes = {key: (before.get(key), after.get(key)) for key in {*before, *after} if before.get(key) != after.get(key)}
    print("what the setup cell changed:", ", ".join(f"{key} {a} → {b}" for key, (a, b) in sorted(changes.items())))
    moved = [key for key, (old, _) in changes.items() if old and key != "torchao"]
    if moved or "torchao" in after or not {"bitsandbytes", "papermill"} <= set(after):
        failed.append("the setup cell")
        print(f"FAILED: it must add bitsandbytes and papermill, remove torchao and move nothing: {moved}")
    print(f"{interpreter.parent.parent.name}; failed: {', '.join(failed) or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
