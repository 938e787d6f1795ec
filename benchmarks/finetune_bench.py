"""Memory and speed of a QLoRA step on Mistral-7B's shapes, lever by lever, on a GPU: prints JSON.

    python -m benchmarks.finetune_bench [--only "standard,graph"] [--shapes 4x2048,1x512] [result.json]

Random weights and random tokens: memory and speed do not depend on them. Every row goes through `Trainer`, optimizer
and clipping of gradients included; seconds are those of whole steps, the GPU idle at both ends, after the first ones.
Bytes are the allocator's, without the CUDA context. The presets for small GPUs run with the allocator capped.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import asdict, replace

import torch
from transformers import TrainerCallback

from helpers import finetune, models, results

STEPS, COUNTED = 10, 5  # the others warm up: kernels are compiled, a graph is recorded
SHAPES = {"4 × 2048": (4, 2048), "1 × 2048": (1, 2048), "1 × 512": (1, 512)}
PLAIN = {"checkpointing": True}
LADDER = {
    "standard recipe": {"upcast": True},
    "no float32 upcast": {},
    "+ loss in pieces": {"chunked": True},
    "+ fused adapters": {"chunked": True, "fused": True},
    "+ Liger kernels": {"chunked": True, "fused": True, "liger": True},
    "+ offloading": {"chunked": True, "fused": True, "liger": True, "offload": True},
    "+ CUDA graph": {"chunked": True, "fused": True, "liger": True, "offload": True, "graph": True},
}
BESIDE = {
    "regional compile": {"chunked": True, "compiled": True},
    "all but offloading": {"chunked": True, "fused": True, "liger": True, "graph": True},
    "no checkpointing": {"chunked": True, "fused": True, "checkpointing": False},
}
CAPS = {"6gb": 6e9, "t4": 15e9, "24gb": 24e9, "80gb": 80e9}
CONTEXT = 0.5e9  # left to the CUDA context, which the allocator does not count


class Clock(TrainerCallback):
    """Seconds of every step, the GPU idle when the clock is read."""

    def __init__(self):
        self.marks = []

    def on_step_begin(self, args, state, control, **given):
        if not self.marks:
            torch.cuda.synchronize()
            self.marks.append(time.perf_counter())

    def on_step_end(self, args, state, control, **given):
        torch.cuda.synchronize()
        self.marks.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return [after - before for before, after in zip(self.marks, self.marks[1:], strict=False)]


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([row[name] for row in rows]) for name in ("input_ids", "labels")}


def measure(recipe: finetune.Recipe, profile: bool = False, cap: float | None = None) -> dict:
    """Peak bytes and tokens a second of a recipe, in a process of its own: what one keeps is not the next one's."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_measure, (recipe, profile, cap))


def _measure(recipe: finetune.Recipe, profile: bool, cap: float | None) -> dict:
    if cap:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (cap - CONTEXT) / total))
    model, tokenizer = models.load("mistral-7b-shape", "nf4-dq", recipe.compute_dtype)
    finetune.make_chat_ready(tokenizer)
    resident = torch.cuda.memory_allocated()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(10, 32000, (recipe.batch * recipe.steps, recipe.length), generator=generator).tolist()
    data = [{"input_ids": row, "labels": row} for row in ids]
    model = finetune.add_adapters(model, recipe)
    with tempfile.TemporaryDirectory() as folder:
        made = finetune.trainer(model, tokenizer, data, recipe, folder, [clock := Clock()])
        made.data_collator = collate
        torch.cuda.reset_peak_memory_stats()
        made.train()
        found = {
            "resident_bytes": resident,
            "peak_bytes": torch.cuda.max_memory_allocated(),
            "reserved_bytes": torch.cuda.max_memory_reserved(),
            "losses": finetune.losses(made),
        }
        if profile:
            found["kernels"] = kernels(made, data, recipe)
    counted = clock.seconds[-COUNTED:]
    tokens = recipe.batch * recipe.length
    found |= {"seconds": counted, "tokens_a_second": tokens / statistics.median(counted)}
    return found | {"first_seconds": clock.seconds[0]}


def kernels(made, data: list[dict], recipe: finetune.Recipe) -> dict[str, float]:
    """Milliseconds of the GPU in one step by kernel, the largest first."""
    batch = made._prepare_inputs(collate(data[: recipe.batch]))
    count = torch.tensor(batch["labels"].numel(), device="cuda")
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as seen:
        made.training_step(made.model_wrapped, batch, count)
        torch.cuda.synchronize()
    rows = sorted(seen.key_averages(), key=lambda row: -row.device_time_total)
    return {f"{row.key[:90]} × {row.count}": row.device_time_total / 1e3 for row in rows[:30]}


def presets() -> dict:
    """The recipes for small GPUs, each with the allocator capped to its GPU's size."""
    total = results.environment()["gpu"][0]["memory_gb"] * 1e9
    found = {}
    for name, cap in CAPS.items():
        row = found[name] = {"cap_bytes": cap, **asdict(recipe := finetune.preset(name, steps=5))}
        try:
            row |= measure(recipe, cap=cap) if cap < total else {"failed": "this GPU is smaller"}
        except Exception as error:
            row["failed"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", help="file to write the JSON to")
    parser.add_argument("--only", default="", help="rows whose name contains one of these, separated by commas")
    parser.add_argument("--shapes", default="", help="batch x length, separated by commas")
    parser.add_argument("--profile", action="store_true", help="milliseconds by kernel, too")
    parser.add_argument("--no-presets", dest="presets", action="store_false")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin nothing new after this time")
    given = parser.parse_args()
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # a process that has touched the GPU cannot fork
    if not torch.cuda.is_available():
        parser.error("no CUDA GPU was found: this measures what only a GPU can show.")
    begun = time.perf_counter()
    wanted = [name.strip() for name in given.only.split(",") if name.strip()]
    shapes = [tuple(map(int, text.split("x"))) for text in given.shapes.split(",") if text] or list(SHAPES.values())
    report = {"environment": results.environment(), "rank": 16, "steps": STEPS, "counted": COUNTED, "rows": []}

    def write():
        if given.output:
            with open(given.output, "w", encoding="utf-8") as file:
                file.write(json.dumps(report, indent=1) + "\n")

    for name, changes in {**LADDER, **BESIDE}.items():
        if wanted and not any(part in name for part in wanted):
            continue
        for batch, length in shapes:
            if time.perf_counter() - begun > given.seconds:
                continue
            recipe = replace(
                finetune.Recipe(steps=STEPS, batch=batch, length=length, learning_rate=2e-4), **PLAIN, **changes
            )
            row = {"recipe": name, "batch": batch, "length": length}
            try:
                row |= measure(recipe, given.profile)
                print(
                    f"{name:<22} {batch} × {length}: {row['peak_bytes'] / 1e9:6.2f} GB "
                    f"(reserved {row['reserved_bytes'] / 1e9:.2f}), {row['tokens_a_second']:,.0f} tokens/s, "
                    f"loss {row['losses'][0]:.3f} → {row['losses'][-1]:.3f}",
                    flush=True,
                )
            except Exception as error:  # a row that fails says so and leaves the others alone
                row["failed"] = f"{type(error).__name__}: {error}"[:600]
                print(f"{name:<22} {batch} × {length}: {row['failed']}", flush=True)
            report["rows"].append(row)
            write()
    if given.presets:
        report["presets"] = presets()
        for name, row in report["presets"].items():
            print(
                name, row.get("failed") or f"{row['peak_bytes'] / 1e9:.2f} GB, {row['tokens_a_second']:,.0f} tokens/s"
            )
    write()


if __name__ == "__main__":
    main()
