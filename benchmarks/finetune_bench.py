"""Memory and speed of a QLoRA step on Mistral-7B's shapes, lever by lever, on a GPU: prints JSON.

    python -m benchmarks.finetune_bench [--only "standard,graph"] [--shapes 4x2048,1x512] [result.json]

Random weights and random tokens: memory and speed do not depend on them. Every row goes through `Trainer`, optimizer
and clipping of gradients included; seconds are those of whole steps, the GPU idle at both ends, after the first ones.
Bytes are the allocator's, without the CUDA context. The presets for small GPUs run with the allocator capped.

Every row is measured in `--processes` processes, one after the other for all rows, so that what a row's speed differs
by from process to process is seen. Whether a lever is exact is another question, which random tokens cannot answer:
"exact" trains Mini-Mistral with each, and compares gradients to float32's at the same weights, and losses. Unsloth
(Apache-2.0), where it is installed, takes the same steps by its own loop.
"""

import argparse
import contextlib
import importlib.metadata
import multiprocessing
import statistics
import tempfile
import time
from dataclasses import replace

import torch
from transformers import TrainerCallback

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
    "+ adapters as one tensor": {"one_tensor": True},
}
BESIDE = {  # at 1 × 2048
    "all but offloading": {change: value for step in LADDER.values() for change, value in step.items()}
    | {"offload": False},
    "regional compile": {"chunked": True, "compiled": True},
}
CAPS = {"6gb": 6e9, "t4": 15e9, "24gb": 24e9, "80gb": 80e9}
UNSLOTH = "Unsloth"
IN_FLOAT32 = "in float32"  # the plain recipe, to which all gradients are compared
LEARNED = 40  # steps of "exact"
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


def exact(recipe: finetune.Recipe) -> dict:
    """On Mini-Mistral: the gradient of a step that has been warmed up, at weights that all rows share; losses of a run.

    The gradient is that of the fifth step at a learning rate of nearly zero, when a graph has long been recorded.
    """
    found = {}
    for part, changes in (("gradient", {"steps": 5, "learning_rate": 1e-30}), ("losses", {"steps": LEARNED})):
        model, tokenizer = models.load("mini", "nf4-dq", recipe.compute_dtype)
        model = finetune.add_adapters(model, replace(recipe, **changes))
        generator = torch.Generator().manual_seed(1)
        for name, parameter in model.named_parameters():
            if part == "gradient" and "lora_B" in name:
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
        pairs, _ = finetune.questions(8 * recipe.batch * LEARNED)
        data = [finetune.encode(tokenizer, pair, recipe.length) for pair in pairs]
        with tempfile.TemporaryDirectory() as folder:
            caught = Gradients()
            trainer = finetune.trainer(model, tokenizer, data, replace(recipe, **changes), folder, [caught])
            trainer.train()
        found[part] = caught.last if part == "gradient" else finetune.losses(trainer)
    return found


class Gradients(TrainerCallback):
    """Keeps the gradient of the last step as one vector on the CPU."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **given):
        trained = [p.grad.detach().flatten().float().cpu() for p in model.parameters() if p.grad is not None]
        self.last = torch.cat(trained)


def unsloth(batch: int, length: int, folder: str) -> dict:
    """Unsloth's peak bytes and tokens a second, with the settings of its own notebooks, on the model in `folder`."""
    import bitsandbytes as bnb
    from unsloth import FastLanguageModel  # first: it replaces parts of transformers

    model, _ = FastLanguageModel.from_pretrained(
        folder, max_seq_length=length, dtype=torch.bfloat16, load_in_4bit=True, local_files_only=True
    )
    resident = torch.cuda.memory_allocated()
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = FastLanguageModel.get_peft_model(
        model, r=16, lora_alpha=16, lora_dropout=0, bias="none", target_modules=names,
        use_gradient_checkpointing="unsloth", random_state=0,
    )  # fmt: skip
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = bnb.optim.PagedAdamW8bit(trained, lr=2e-4)
    generator = torch.Generator().manual_seed(0)
    seconds, losses = [], []
    model.train()
    torch.cuda.reset_peak_memory_stats()
    for _ in range(STEPS):
        ids = torch.randint(10, 32000, (batch, length), generator=generator).cuda()
        torch.cuda.synchronize()
        begun = time.perf_counter()
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begun)
        losses.append(loss.item())
    peaks = {"peak_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.max_memory_reserved()}
    speed = {"seconds": seconds[-COUNTED:], "tokens_a_second": batch * length / statistics.median(seconds[-COUNTED:])}
    return {"resident_bytes": resident, **peaks, "losses": losses, **speed, "first_seconds": seconds[0]}


def save_for_unsloth(folder: str) -> None:
    """Our model in 4 bits, as a checkpoint on the disk."""
    model, tokenizer = models.load("mistral-7b-shape", "nf4-dq")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


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


def ready(with_unsloth: bool = False) -> None:
    """Import what a worker will need, while others measure."""
    if with_unsloth:  # before all that it replaces
        with contextlib.suppress(ImportError):
            import unsloth  # noqa: F401
        return
    import peft  # noqa: F401

    with contextlib.suppress(ImportError):
        import liger_kernel.transformers  # noqa: F401


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", help="file to write the JSON to")
    parser.add_argument("--only", default="", help="rows whose name contains one of these, separated by commas")
    parser.add_argument("--shapes", default="", help="batch x length, separated by commas")
    parser.add_argument("--processes", type=int, default=2, help="times that each row is measured, by processes anew")
    parser.add_argument("--profile", action="store_true", help="milliseconds by kernel, too")
    parser.add_argument("--seconds", type=float, default=1e9, help="begin nothing new after this time")
    options = parser.parse_args()
    environment = results.environment()
    if not environment["gpu"]:
        parser.error("no CUDA GPU was found: this measures what only a GPU can show.")
    begun, total = time.perf_counter(), environment["gpu"][0]["memory_gb"] * 1e9
    shapes = [tuple(map(int, text.split("x"))) for text in options.shapes.split(",") if text] or list(SHAPES)
    with tempfile.TemporaryDirectory() as folder:
        jobs = _jobs(shapes, total, options.profile, folder)
        wanted = [part.strip() for part in options.only.split(",") if part.strip()]
        jobs = [job for job in jobs if not wanted or any(part in f"{job[0]} {job[1]}" for part in wanted)]
        report = {"environment": environment, "rank": 16, "steps": STEPS, "counted": COUNTED}
        report |= {"rows": [], "presets": [], "exact": [], "processes": 0, "unsloth": _version_of("unsloth")}
        if any(name == UNSLOTH for _, name, *_ in jobs):
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(save_for_unsloth, (folder,))
        for _ in range(options.processes):
            _once(jobs, report, options, begun)
            report["processes"] += 1
            common.write(options.output, report)


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _jobs(shapes: list[tuple[int, int]], total: float, profile: bool, folder: str) -> list[tuple]:
    """What to measure: (part of the report, name, what the row says, function, its arguments)."""
    jobs = []
    for batch, length in shapes:
        said = {"batch": batch, "length": length}
        for name, changes in recipes().items():
            recipe = finetune.Recipe(steps=STEPS, batch=batch, length=length, learning_rate=2e-4, **changes)
            jobs.append(("rows", name, said, measure, (recipe, profile)))
        if _version_of("unsloth"):
            jobs.append(("rows", UNSLOTH, said, unsloth, (batch, length, folder)))
    for name, changes in BESIDE.items():
        recipe = finetune.Recipe(steps=STEPS, batch=1, length=2048, learning_rate=2e-4, **changes)
        jobs.append(("rows", name, {"batch": 1, "length": 2048}, measure, (recipe, profile)))
    for name, cap in CAPS.items():
        recipe = finetune.preset(name, steps=3)
        said = {"batch": recipe.batch, "length": recipe.length, "cap_bytes": cap}
        jobs.append(("presets", name, said, measure, (recipe, False, min(cap, total))))
    for name, changes in {IN_FLOAT32: {"compute_dtype": "float32"}, **recipes()}.items():
        recipe = finetune.Recipe(batch=16, length=256, learning_rate=2e-3, packing=True, **changes)
        jobs.append(("exact", name, {"batch": 16, "length": 256}, exact, (recipe,)))
    return jobs


def _once(jobs: list[tuple], report: dict, options: argparse.Namespace, begun: float) -> None:
    """Measure every row once, each in a process of its own, so that what one keeps is not the next one's."""
    # all import at once, then they measure one by one
    spawn = multiprocessing.get_context("spawn")
    first = not report["processes"]
    jobs = [job for job in jobs if first or job[0] == "rows"]  # bytes and gradients do not differ by process
    pools = [spawn.Pool(1, initializer=ready, initargs=(name == UNSLOTH,)) for _, name, *_ in jobs]
    reference = before = None
    for pool, (kind, name, said, function, arguments) in zip(pools, jobs, strict=True):
        if time.perf_counter() - begun < options.seconds:
            try:
                row = pool.apply(function, arguments)
            except Exception as error:  # a row that fails says so and leaves the others alone
                row = {"failed": f"{type(error).__name__}: {error}"[:600]}
            if kind == "exact" and "gradient" in row:
                gradient = row.pop("gradient")
                if name == IN_FLOAT32:
                    reference = before = gradient
                if reference is not None:
                    row["gradient_gap"] = ((gradient - reference).norm() / reference.norm()).item()
                    row["gradient_moved"] = ((gradient - before).norm() / before.norm()).item()  # from the rung before
                before = gradient
            _note(report[kind], {"recipe": name, **said, **row})
            print(f"{name:<22} {said}: {_short(row)}", flush=True)
        pool.terminate()
        common.write(options.output, report)


def _note(rows: list[dict], row: dict) -> None:
    """Add a row, or what another process measured to the row that is there."""
    keys = ("recipe", "batch", "length")
    for other in rows:
        if [other[key] for key in keys] == [row[key] for key in keys] and "seconds" in other and "seconds" in row:
            other["by_process"].append(row["tokens_a_second"])
            other["seconds"] += row["seconds"]
            other["peak_bytes"] = max(other["peak_bytes"], row["peak_bytes"])
            other["tokens_a_second"] = statistics.median(other["by_process"])
            return
    if "tokens_a_second" in row:
        row["by_process"] = [row["tokens_a_second"]]
    rows.append(row)


def _short(row: dict) -> str:
    if "failed" in row:
        return row["failed"]
    losses = f"loss {row['losses'][0]:.3f} → {row['losses'][-1]:.3f}"
    if "peak_bytes" in row:
        return f"{row['peak_bytes'] / 1e9:6.2f} GB, {row['tokens_a_second']:,.0f} tokens/s, {losses}"
    return f"gradient off by {row.get('gradient_gap')}, {losses}"


if __name__ == "__main__":
    main()
