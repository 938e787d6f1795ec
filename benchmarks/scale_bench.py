"""QLoRA on several GPUs of one machine: a 70B that no card holds, and Mistral-7B's shapes against one GPU. Prints JSON.

    python -m benchmarks.scale_bench [--gpus 2] [--only "70b;7b;gradients"] [result.json]

- 70b: Llama-2-70B's shapes in shards, 1 × 512 tokens a GPU with every process held to a 24 GiB card, and 1 × 2048
  without that limit; both again with shards that wait on the host, the first on 8 GiB; the adapter is saved, and read
  back into the shards;
- 7b: one process with one sequence (speed) and with as many as all GPUs together have (loss), DDP, FSDP; 1 × 2048
  tokens a GPU, where the host decides, and 4 and 8 × 2048, where GPUs do;
- gradients: of the first step on Mini-Mistral's questions, of DDP and FSDP against one process with the batch of all.

Everything starts through the shipped configurations in helpers/configs. Seconds are those of whole steps, bytes the
allocator's.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

from benchmarks import common
from benchmarks.finetune_bench import collate
from helpers import finetune, memory, models, results, sharding
from helpers.memory.forecast import CUDA_CONTEXT

ROOT = Path(__file__).resolve().parent.parent
CARD, SMALL_CARD = 24 * 2**30, 8 * 2**30  # bytes of cards that are sold with 24 and 8 GB
COMMON = {"learning_rate": 2e-4, "fused": True, "chunked": True, "optimizer": "adamw_torch_fused"}


class Watch(TrainerCallback):
    """Starts the count of the peak when the model has been handed out to the GPUs, and keeps the first gradients."""

    def __init__(self, gradients: Path | None):
        self.resident, self.gradients = 0, gradients

    def on_train_begin(self, args, state, control, **given):
        self.resident = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()

    def on_pre_optimizer_step(self, args, state, control, model=None, **given):
        if self.gradients is None or state.global_step:
            return
        whole = {}
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                gradient = parameter.grad
                gradient = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
                whole[name.removeprefix("module.")] = gradient.float().cpu()
        if sharding.rank() == 0:
            save_file(whole, self.gradients)


def worker(out: Path, asked: dict) -> None:
    """One process of a run: trains and writes what it saw to `out`, and the adapter beside it."""
    begun = time.perf_counter()
    sharded = sharding.wanted()
    sharding.start()
    if asked.get("card"):
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, (asked["card"] - CUDA_CONTEXT) / total))
    recipe = finetune.Recipe(**asked["recipe"])
    choice = models.resolve(asked["model"])
    tokenizer = models.tokenizer(choice)
    if sharded:
        model = sharding.build(choice, recipe)
    else:
        model = finetune.add_adapters(models.load(choice)[0], recipe)
    torch.cuda.empty_cache()
    made = time.perf_counter() - begun
    finetune.make_chat_ready(tokenizer)
    count = recipe.batch * sharding.world() * recipe.steps
    if choice.kind == "mini":
        pairs, _ = finetune.questions(count, 0, recipe.seed, True)
        rows, given = [finetune.encode(tokenizer, pair, recipe.length) for pair in pairs], None
    else:
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(10, 32000, (count, recipe.length), generator=generator).tolist()
        rows, given = [{"input_ids": row, "labels": row} for row in ids], collate
    seen = Watch(out / "gradients.safetensors" if asked.get("gradients") else None)
    trainer = finetune.trainer(model, tokenizer, rows, recipe, out, [clock := common.Clock(), seen])
    trainer.data_collator = given or trainer.data_collator
    if asked.get("profile"):
        trainer.add_callback(Profile(out))
    trainer.train()
    counted = clock.seconds[3:] or clock.seconds
    report = {"world_size": sharding.world(), "resident_bytes": seen.resident, "seconds_to_make": made}
    report |= {"peak_bytes": torch.cuda.max_memory_allocated(), "reserved_bytes": torch.cuda.max_memory_reserved()}
    report["host_bytes"] = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tokens = recipe.batch * sharding.world() * recipe.length
    report |= {"seconds": counted, "tokens_a_second": tokens / statistics.median(counted)}
    report["losses"] = finetune.losses(trainer)
    trainer.save_model(str(out / "adapter"))
    if sharded:
        report["same_after_reloading"] = reloaded(trainer.model, out / "adapter")
    common.write(out / f"{sharding.rank()}.json", report)


class Profile(TrainerCallback):
    """Profiles one step, late, in the first process: where the host's and the GPU's time goes."""

    def __init__(self, out: Path):
        self.out, self.profiler = out, None

    def on_step_begin(self, args, state, control, **given):
        if state.global_step == 2 and sharding.rank() == 0:
            kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
            self.profiler = torch.profiler.profile(activities=kinds)
            self.profiler.__enter__()

    def on_step_end(self, args, state, control, **given):
        if self.profiler is not None:
            torch.cuda.synchronize()
            self.profiler.__exit__(None, None, None)
            found, self.profiler = self.profiler.key_averages(), None
            for key in ("self_cpu_time_total", "self_device_time_total"):
                (self.out / f"{key}.txt").write_text(found.table(sort_by=key, row_limit=40, max_name_column_width=70))


def reloaded(model, folder: Path) -> bool:
    """Whether an adapter that was saved comes back into shards that were emptied, bit for bit."""
    torch.distributed.barrier()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    before = [parameter.to_local().clone() for parameter in trained]
    with torch.no_grad():
        for parameter in trained:
            parameter.to_local().zero_()
    sharding.spread(model, folder)
    return all(torch.equal(old, new.to_local()) for old, new in zip(before, trained, strict=True))


def launched(config: str, processes: int, out: Path, asked: dict) -> dict:
    """Start a run and return what its processes wrote."""
    out.mkdir()
    start = ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "helpers" / "configs" / f"{config}.yaml")]
    start += ["--num_processes", str(processes)]
    start += ["--fsdp_offload_params", "true"] if asked.get("on_host") else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, *(start if config else []), __file__, "--worker", str(out), "--asked", json.dumps(asked)]
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    reports = [json.loads(file.read_text()) for file in sorted(out.glob("[0-9]*.json"))]
    if len(reports) != processes:
        lines = [line for line in done.stderr.splitlines() if "Error" in line or "error:" in line]
        return {"failed": (lines or done.stderr.splitlines())[:5], "stderr": done.stderr[-6000:]}
    assert all(report["world_size"] == processes for report in reports)
    row = {**reports[0], "recipe": asked["recipe"], "model": asked["model"], "wall": time.perf_counter() - begun}
    for name in ("peak_bytes", "resident_bytes", "reserved_bytes", "host_bytes"):
        row[name] = [report[name] for report in reports]
    if config == "fsdp":
        row["same_after_reloading"] = all(report["same_after_reloading"] for report in reports)
    several = {{"fsdp": "shards", "ddp": "replicas"}[config]: processes} if config else {}
    several |= {"on_host": True} if asked.get("on_host") else {}
    recipe = finetune.Recipe(**asked["recipe"])
    forecast = memory.predict(models.config(asked["model"]), recipe=recipe, **several)
    return row | {"forecast_bytes": forecast.allocator_bytes, "forecast_parts": dict(forecast.parts)}


def distance(one: Path, other: Path) -> dict:
    """How far gradients lie apart: all of them as one vector, and the worst tensor, each by the length of the first."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys() and len(first) > 0
    apart = {name: (first[name] - second[name]).norm() for name in first}
    whole = torch.stack(list(apart.values())).norm() / torch.stack([t.norm() for t in first.values()]).norm()
    worst = max(apart, key=lambda name: apart[name] / first[name].norm().clamp(min=1e-12))
    return {
        "apart": whole.item(),
        "worst": (apart[worst] / first[worst].norm()).item(),
        "of": worst,
        "tensors": len(apart),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", help="file to write the JSON to")
    parser.add_argument("--gpus", type=int, default=torch.cuda.device_count())
    parser.add_argument("--only", default="70b;7b;gradients")
    parser.add_argument("--profile", type=Path, help="folder for profiles of a step of DDP and FSDP")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--asked", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker, options.asked)
    if options.gpus < 2:
        parser.error("this compares several GPUs with one, and fewer than two were found.")
    gpus, only = options.gpus, options.only.split(";")
    short = COMMON | {"steps": 8, "batch": 1, "length": 512}
    large = {"model": "llama-70b-shape"}
    on_host = large | {"on_host": True}
    middle = {"model": "mistral-7b-shape", "recipe": COMMON | {"batch": 1, "length": 2048, "liger": True}}

    def batch(number: int) -> dict:
        return middle | {"recipe": middle["recipe"] | {"batch": number, "steps": 10 if number == 1 else 8}}

    small = {"model": "mini", "recipe": COMMON | {"steps": 1, "batch": 8, "length": 128}, "gradients": True}
    runs = {
        "70B, 24 GiB each": ("fsdp", gpus, large | {"recipe": short, "card": CARD}),
        "70B": ("fsdp", gpus, large | {"recipe": short | {"length": 2048}}),
        "70B, on the host, 8 GiB each": ("fsdp", gpus, on_host | {"recipe": short, "card": SMALL_CARD}),
        "70B, on the host": ("fsdp", gpus, on_host | {"recipe": short | {"length": 2048}}),
        "one GPU": ("", 1, batch(1)),
        "DDP": ("ddp", gpus, batch(1)),
        "FSDP": ("fsdp", gpus, batch(1)),
        "one GPU, the batch of all": ("", 1, batch(gpus)),
        "one GPU, 4 × 2048": ("", 1, batch(4)),
        "DDP, 4 × 2048": ("ddp", gpus, batch(4)),
        "FSDP, 4 × 2048": ("fsdp", gpus, batch(4)),
        "one GPU, 8 × 2048": ("", 1, batch(8)),
        "FSDP, 8 × 2048": ("fsdp", gpus, batch(8)),
        "mini, one": ("", 1, small | {"recipe": small["recipe"] | {"batch": 8 * gpus}}),
        "mini, DDP": ("ddp", gpus, small),
        "mini, FSDP": ("fsdp", gpus, small),
    }
    part = {"llama-70b-shape": "70b", "mistral-7b-shape": "7b", "mini": "gradients"}
    runs = {name: run for name, run in runs.items() if part[run[2]["model"]] in only or name in only}
    report = {"environment": results.environment(), "gpus": gpus, "length": 2048, "runs": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, (config, processes, asked) in runs.items():
            asked = {**asked, "profile": bool(options.profile and name in ("DDP", "FSDP"))}
            row = report["runs"][name] = launched(config, processes, Path(folder) / name, asked)
            shown = row.get("failed") or (
                f"{max(row['peak_bytes']) / 1e9:.2f} GB (forecast {row['forecast_bytes'] / 1e9:.2f}), "
                f"{row['tokens_a_second']:,.0f} tokens/s, made in {row['seconds_to_make']:.0f} s"
            )
            print(f"{name}: {shown} {row.get('losses', [])[:3]}", flush=True)
            for text in (Path(folder) / name).glob("*.txt") if options.profile else ():
                options.profile.mkdir(exist_ok=True)
                (options.profile / f"{name}_{text.name}").write_text(text.read_text())
            common.write(options.output, report)
        first = Path(folder) / "mini, one" / "gradients.safetensors"
        for name in ("DDP", "FSDP"):
            other = Path(folder) / f"mini, {name}" / "gradients.safetensors"
            if first.is_file() and other.is_file():
                report.setdefault("gradients", {})[name] = distance(first, other)
                print(name, report["gradients"][name], flush=True)
    report["recipe"] = asdict(finetune.Recipe(**batch(1)["recipe"]))
    common.write(options.output, report)


if __name__ == "__main__":
    main()
