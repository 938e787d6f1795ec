"""QLoRA on several GPUs of one machine against one of them, Mistral-7B's shapes: prints JSON.

    python -m benchmarks.scale_bench [--gpus 2] [result.json]

DDP and FSDP-QLoRA start through the shipped configurations in helpers/configs, 1 × 2048 tokens a GPU; beside them one
process with one sequence (speed) and one with as many as all GPUs together have (loss). Seconds are those of whole
steps, bytes the allocator's. From FSDP the adapter is saved, and reloaded on one GPU.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import TrainerCallback

from benchmarks import common
from benchmarks.finetune_bench import collate
from helpers import finetune, models, results

ROOT = Path(__file__).resolve().parent.parent
STEPS, COUNTED, LENGTH = 8, 5, 2048


class Reset(TrainerCallback):
    """Starts the count of the peak when the model has been handed out to the GPUs."""

    resident = 0

    def on_train_begin(self, args, state, control, **given):
        self.resident = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()


def worker(out: Path, batch: int) -> None:
    """One process of a run: trains and writes what it saw to `out`, and the adapter beside it."""
    rank, world = (int(os.environ.get(name, default)) for name, default in (("RANK", 0), ("WORLD_SIZE", 1)))
    torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"
    recipe = finetune.Recipe(steps=STEPS, batch=batch, length=LENGTH, learning_rate=2e-4)
    model, tokenizer = models.load("mistral-7b-shape", "nf4-dq", sharded=sharded)
    finetune.make_chat_ready(tokenizer)
    torch.cuda.empty_cache()
    model = finetune.add_adapters(model, recipe)
    count = batch * world * STEPS
    ids = torch.randint(10, 32000, (count, LENGTH), generator=torch.Generator().manual_seed(0)).tolist()
    trainer = finetune.trainer(
        model,
        tokenizer,
        [{"input_ids": row, "labels": row} for row in ids],
        recipe,
        out,
        [clock := common.Clock(), seen := Reset()],
    )
    trainer.data_collator = collate
    trainer.train()
    counted = clock.seconds[-COUNTED:]
    report = {"world_size": world, "resident_bytes": seen.resident, "peak_bytes": torch.cuda.max_memory_allocated()}
    report |= {"seconds": counted, "tokens_a_second": batch * world * LENGTH / statistics.median(counted)}
    report["losses"] = finetune.losses(trainer)
    common.write(out / f"{rank}.json", report)
    trainer.save_model(str(out / "adapter"))


def launched(config: str, processes: int, batch: int, out: Path) -> dict:
    """Start a run and return what its processes wrote."""
    out.mkdir()
    arguments = [__file__, "--worker", str(out), "--batch", str(batch)]
    start = ["-m", "accelerate.commands.launch", "--config_file", str(ROOT / "helpers" / "configs" / f"{config}.yaml")]
    start += ["--num_processes", str(processes)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, *(start if processes > 1 else []), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    reports = [json.loads(file.read_text()) for file in sorted(out.glob("[0-9]*.json"))]
    if len(reports) != processes:
        lines = [line for line in done.stderr.splitlines() if "Error" in line or "error:" in line]
        return {"failed": (lines or done.stderr.splitlines())[:5]}
    assert all(report["world_size"] == processes for report in reports)
    return {
        **reports[0],
        "peak_bytes": [r["peak_bytes"] for r in reports],
        "resident_bytes": [r["resident_bytes"] for r in reports],
    }


def reloaded(folder: Path) -> dict:
    """Whether a saved adapter is whole: its tensors, and that a fresh model takes it and gives finite logits."""
    from safetensors.torch import load_file

    state = load_file(folder / "adapter_model.safetensors")
    model, _ = models.load("mistral-7b-shape", "nf4-dq")
    ids = torch.randint(10, 32000, (1, 64), generator=torch.Generator().manual_seed(0)).cuda()
    with torch.inference_mode():
        before = model(ids).logits
        model = finetune.load_adapter(model, folder)
        after = model(ids).logits
    inside = {name: tensor for name, tensor in model.state_dict().items() if "lora_" in name}
    same = all(torch.equal(inside[n.replace(".weight", ".default.weight")].cpu(), t) for n, t in state.items())
    moved = ((after - before).norm() / before.norm()).item()
    trained = sum(t.abs().sum().item() > 0 for n, t in state.items() if "lora_B" in n)
    return {"tensors": len(state), "trained": trained, "same_after_reloading": same, "logits_moved_by": moved}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", help="file to write the JSON to")
    parser.add_argument("--gpus", type=int, default=torch.cuda.device_count())
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker, options.batch)
    if options.gpus < 2:
        parser.error("this compares several GPUs with one, and fewer than two were found.")
    report = {"environment": results.environment(), "gpus": options.gpus, "length": LENGTH, "runs": {}}
    with tempfile.TemporaryDirectory() as folder:
        for name, config, processes, batch in (
            ("one GPU", "", 1, 1),
            ("one GPU, the batch of all", "", 1, options.gpus),
            ("DDP", "ddp", options.gpus, 1),
            ("FSDP", "fsdp", options.gpus, 1),
        ):
            row = report["runs"][name] = launched(config, processes, batch, Path(folder) / name)
            shown = (
                row.get("failed") or f"{max(row['peak_bytes']) / 1e9:.2f} GB, {row['tokens_a_second']:,.0f} tokens/s"
            )
            print(f"{name}: {shown} {row.get('losses', [])[:3]}", flush=True)
            common.write(options.output, report)
        saved = Path(folder) / "FSDP"
        if (saved / "adapter" / "adapter_model.safetensors").is_file():
            report["adapter_from_fsdp"] = reloaded(saved / "adapter")
    common.write(options.output, report)
    print(json.dumps(report.get("adapter_from_fsdp")))


if __name__ == "__main__":
    main()
