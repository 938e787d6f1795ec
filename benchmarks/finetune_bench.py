"""Memory and speed of a QLoRA step on Mistral-7B's shapes, lever by lever, on a GPU: prints JSON.

    python -m benchmarks.finetune_bench [--only "standard,graph"] [--shapes 4x2048,1x512] [result.json]

Random weights and random tokens: memory and speed do not depend on them. Every row goes through `Trainer`, optimizer
and clipping of gradients included; seconds are those of whole steps, the GPU idle at both ends, after the first ones.
Bytes are the allocator's, without the CUDA context. The presets for small GPUs run with the allocator capped.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import tempfile
import time

import torch

from benchmarks import common
from helpers import finetune, models, results

STEPS, COUNTED = 8, 4  # the others warm up: kernels are compiled, a graph is recorded
SHAPES = ((4, 2048), (1, 2048), (1, 512))
LADDER = {
    "standard recipe": {"upcast": True},
    "no float32 upcast": {"upcast": False},
    "+ loss in pieces": {"chunked": True},
    "+ fused adapters": {"fused": True},
    "+ Liger kernels": {"liger": True},
    "+ offloading": {"offload": True},
    "+ CUDA graph": {"graph": True},
    "+ optimizer not paged": {"optimizer": "adamw_8bit"},
}
BESIDE = {  # at 1 × 2048
    "all but offloading": {change: value for step in LADDER.values() for change, value in step.items()}
    | {"offload": False},
    "regional compile": {"chunked": True, "compiled": True},
}
CAPS = {"6gb": 6e9, "t4": 15e9, "24gb": 24e9, "80gb": 80e9}
CONTEXT = 0.5e9  # left to the CUDA context, which the allocator does not count


def recipes() -> dict[str, dict]:
    """What each row changes in the plain recipe: the rungs of the ladder, each with all before it."""
    rungs, changes = {}, {}
    for name, change in LADDER.items():
        changes = {**changes, **change}
        rungs[name] = changes
    return rungs


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor([row[name] for row in rows]) for name in ("input_ids", "labels")}


def measure(recipe: finetune.Recipe, profile: bool = False, cap: float | None = None) -> dict:
    """Peak bytes and tokens a second of a recipe, in a process that has done nothing else."""
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
        trainer = finetune.trainer(model, tokenizer, data, recipe, folder, [clock := common.Clock()])
        trainer.data_collator = collate
        torch.cuda.reset_peak_memory_stats()
        trainer.train()
        found = {
            "resident_bytes": resident,
            "peak_bytes": torch.cuda.max_memory_allocated(),
            "reserved_bytes": torch.cuda.max_memory_reserved(),
            "losses": finetune.losses(trainer),
        }
        if profile:
            found["kernels"] = kernels(trainer, data, recipe)
    counted = clock.seconds[1:][-COUNTED:]
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


def ready() -> None:
    """Import what a worker will need, while others measure."""
    import peft  # noqa: F401

    with contextlib.suppress(ImportError):
        import liger_kernel.transformers  # noqa: F401


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", help="file to write the JSON to")
    parser.add_argument("--only", default="", help="rows whose name contains one of these, separated by commas")
    parser.add_argument("--shapes", default="", help="batch x length, separated by commas")
    parser.add_argument("--profile", action="store_true", help="milliseconds by kernel, too")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin nothing new after this time")
    options = parser.parse_args()
    environment = results.environment()
    if not environment["gpu"]:
        parser.error("no CUDA GPU was found: this measures what only a GPU can show.")
    begun, total = time.perf_counter(), environment["gpu"][0]["memory_gb"] * 1e9
    shapes = [tuple(map(int, text.split("x"))) for text in options.shapes.split(",") if text] or list(SHAPES)
    jobs = []
    for batch, length in shapes:
        for name, changes in recipes().items():
            recipe = finetune.Recipe(steps=STEPS, batch=batch, length=length, learning_rate=2e-4, **changes)
            jobs.append(("rows", name, recipe, None))
    jobs += [("presets", name, finetune.preset(name, steps=3), min(cap, total)) for name, cap in CAPS.items()]
    for name, changes in BESIDE.items():
        recipe = finetune.Recipe(steps=STEPS, batch=1, length=2048, learning_rate=2e-4, **changes)
        jobs.append(("rows", name, recipe, None))
    wanted = [part.strip() for part in options.only.split(",") if part.strip()]
    jobs = [job for job in jobs if not wanted or any(part in f"{job[0]} {job[1]}" for part in wanted)]
    # a process for each, so that what one keeps is not the next one's; all import at once, then they measure one by one
    spawn = multiprocessing.get_context("spawn")
    pools = [spawn.Pool(1, initializer=ready) for _ in jobs]
    report = {"environment": environment, "rank": 16, "steps": STEPS, "counted": COUNTED, "rows": [], "presets": []}
    for pool, (kind, name, recipe, cap) in zip(pools, jobs, strict=True):
        row = {"recipe": name, "batch": recipe.batch, "length": recipe.length, "cap_bytes": cap}
        if time.perf_counter() - begun < options.seconds:
            try:
                row |= pool.apply(measure, (recipe, options.profile, cap))
            except Exception as error:  # a row that fails says so and leaves the others alone
                row["failed"] = f"{type(error).__name__}: {error}"[:600]
            said = row.get("failed") or (
                f"{row['peak_bytes'] / 1e9:6.2f} GB (reserved {row['reserved_bytes'] / 1e9:.2f}), "
                f"{row['tokens_a_second']:,.0f} tokens/s, loss {row['losses'][0]:.3f} → {row['losses'][-1]:.3f}"
            )
            print(f"{name:<22} {recipe.batch} × {recipe.length}: {said}", flush=True)
            report[kind].append(row)
        pool.terminate()
        common.write(options.output, report)


if __name__ == "__main__":
    main()
