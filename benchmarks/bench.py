"""Time and memory against the budgets: `make bench`. Ends with status 1 when one is exceeded.

Each notebook runs in a kernel of its own with Mini-Mistral, as `make run` does. Budgets are for two cores.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from helpers import results, run

SECONDS, MEMORY_GB, IMPORT_SECONDS, FIRST_RESULT_SECONDS = 60.0, 1.2, 0.2, 20.0
SECONDS_OF = {"07": 120.0, "08": 240.0}
# helpers.nf4 against bitsandbytes on 16.8 million weights, on the CPU: how many times its time
RATIOS = {"quantize": 1.0, "dequantize": 4.0}


def import_time(repeats: int = 5) -> float:
    """Return the median seconds that `import helpers` adds to a fresh interpreter."""
    code = "import time; t = time.perf_counter(); import helpers; print(time.perf_counter() - t)"
    command = [sys.executable, "-c", code]
    times = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(repeats)]
    return statistics.median(times)


def first_result_time(name: str) -> float:
    """Return the seconds from the start of the command to the end of its first notebook."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "helpers.run", "--only", name, "--build", folder]
        subprocess.run(command, capture_output=True, check=True)
        return time.perf_counter() - begun


def nf4_ratios(repeats: int = 7) -> dict[str, float]:
    """Return how many times bitsandbytes' time helpers.nf4 takes: two threads, medians of interleaved runs."""
    import torch
    from bitsandbytes import functional

    from helpers import nf4

    torch.set_num_threads(min(2, os.cpu_count() or 1))
    weights = torch.randn(4096, 4096, generator=torch.Generator().manual_seed(0))
    ours, (codes, state) = nf4.quantize(weights), functional.quantize_4bit(weights, quant_type="nf4")
    jobs = {
        "quantize": (lambda: nf4.quantize(weights), lambda: functional.quantize_4bit(weights, quant_type="nf4")),
        "dequantize": (lambda: nf4.dequantize(ours), lambda: functional.dequantize_4bit(codes, state)),
    }
    ratios = {}
    for name, pair in jobs.items():
        times = ([], [])
        for _ in range(repeats):
            for job, taken in zip(pair, times, strict=True):
                begun = time.perf_counter()
                job()
                taken.append(time.perf_counter() - begun)
        ratios[name] = statistics.median(times[0][1:]) / statistics.median(times[1][1:])
    return ratios


def main() -> int:
    """Measure, print a table, and return 1 if anything is over its budget or did not run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="notebooks by number, such as 05 or 04,05")
    only = parser.parse_args().only
    rows, failed = [], []

    def row(what: str, measured: float, budget: float, unit: str) -> None:
        over = measured > budget
        rows.append((what, f"{measured:.2f} {unit}", f"{budget:g} {unit}", "OVER" if over else "ok"))
        failed.extend([what] * over)
        print("  ".join(rows[-1]), flush=True)

    names = run.select(run.course_map(), only)
    if not only:
        row("import helpers", import_time(), IMPORT_SECONDS, "s")
        row(f"first result of make run ({names[0]})", first_result_time(names[0]), FIRST_RESULT_SECONDS, "s")
        for name, ratio in nf4_ratios().items():
            row(f"helpers.nf4.{name} / bitsandbytes", ratio, RATIOS[name], "×")
    with tempfile.TemporaryDirectory() as folder:
        for done in run.each(run.jobs(names, Path(folder))):
            if done.error:
                print(done.error)
                failed.append(done.name)
                continue
            row(f"{done.name}, time", done.seconds, SECONDS_OF.get(done.name[:2], SECONDS), "s")
            row(f"{done.name}, peak memory", done.peak_memory_bytes / 1e9, MEMORY_GB, "GB")
    environment = results.environment()
    versions = ", ".join(f"{package} {version}" for package, version in environment["versions"].items())
    print(f"\n{environment['hardware']}, {environment['memory_gb']} GB; Python {environment['python']}; {versions}\n")
    widths = [max(len(cells[i]) for cells in rows) for i in range(4)] if rows else []
    for cells in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    print(f"\nOver budget or failed: {', '.join(failed)}" if failed else "\nAll within budget.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
