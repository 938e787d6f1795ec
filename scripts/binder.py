"""Hold the course to Binder: `make binder` has repo2docker read it, and every notebook's memory measured.

repo2docker says how it would build the image, without Docker. mybinder.org grants a session 1 GB and ends it at 2 GB:
a kernel's peak, with what JupyterLab's server takes, must stay below. The weekly workflow runs the image in 2 GB.
"""

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helpers import files, run  # noqa: E402

REPO2DOCKER = "jupyter-repo2docker==2026.4.0"
GRANTED, LIMIT = 1.0e9, 2.0e9  # bytes
SERVER = 0.1e9  # bytes: the server's peak was 98 MB
STEPS = ['pip install --no-cache-dir -r "binder/requirements.txt"', "RUN ./binder/postBuild", "python=3.12"]


def recipe(build: Path) -> str:
    """Return what repo2docker says about this repository: its log and the Dockerfile that it would build."""
    venv = build / "repo2docker"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "install", REPO2DOCKER], check=True)
    command = [venv / "bin" / "jupyter-repo2docker", "--no-build", "--debug", ROOT]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"repo2docker refuses the repository:\n{done.stderr[-2000:]}")
    text = done.stdout + done.stderr
    lacking = [step for step in STEPS if step not in text]
    if lacking:
        raise SystemExit(f"repo2docker's recipe lacks {', '.join(lacking)}.")
    return text


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make binder", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="notebooks by number, such as 05 or 04,05")
    options = parser.parse_args(arguments)
    try:
        names = run.select(run.course_map(), options.only)
    except run.NotebookError as error:
        raise SystemExit(str(error)) from None
    build = ROOT / "build" / "binder"
    files.claim(build, ["recipe.txt", *(f"{name}.ipynb" for name in names)])
    (build / "recipe.txt").write_text(recipe(build), encoding="utf-8")
    print(f"{REPO2DOCKER} accepts the repository: build/binder/recipe.txt", flush=True)
    failed = []
    for done in run.each(run.jobs(names, build)):
        if done.error:
            failed.append(done.name)
            print(f"{done.name:28} FAILED: {done.error}", flush=True)
            continue
        peak = done.peak_memory_bytes + SERVER
        fits = "within the 1 GB granted" if peak <= GRANTED else "below the limit" if peak <= LIMIT else "TOO MUCH"
        failed += [done.name] if peak > LIMIT else []
        print(f"{done.name:28} {done.seconds:5.0f} s  {peak / 1e9:.2f} GB with the server: {fits}", flush=True)
    print(f"failed: {', '.join(failed) or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
