"""Hold the forecasts of helpers.memory to what a GPU's allocator says, over architectures of ten families.

    python -m benchmarks.forecast_check [--out forecast.json] [--layers 4] [--only gemma]

Random weights, published layer sizes, few layers (Mistral-7B has all of its 32). For each: bytes of the weights in
nf4-dq and bf16, the peak of a prefill, and that of two QLoRA steps by Trainer with and without checkpointing. Bytes are
those *requested* from the allocator; its rounding to blocks is no part of them, and cuBLAS's workspace, which a process
takes once a thread, is measured apart, as is the CUDA context. Bounds: weights 0.5%, training 10%.
Without a GPU, `--dry` runs the same code on small sizes and measures nothing.
"""

import argparse
import gc
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import torch
import transformers

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # so that `python benchmarks/forecast_check.py` works, too

from benchmarks import common
from helpers import memory, models, results  # noqa: E402

warnings.filterwarnings("ignore")
BOUNDS = {"weights": 0.005, "prefill": 0.10, "train": 0.10}


def made(kind: str, layers: int, **sizes):
    return getattr(transformers, f"{kind}Config")(num_hidden_layers=layers, **sizes)


def architectures(layers: int) -> dict:
    """Configurations with the published sizes of one layer, by name; sources: config.json of each on the hub."""
    return {
        "mistral-7b: all 32 layers": models.mistral_7b_config(),
        "llama-3.2-1b: tied, grouped heads": made(
            "Llama", layers, vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_attention_heads=32,
            num_key_value_heads=8, head_dim=64, tie_word_embeddings=True),
        "qwen2-1.5b: biases, tied, vocabulary 151,936": made(
            "Qwen2", layers, vocab_size=151936, hidden_size=1536, intermediate_size=8960, num_attention_heads=12,
            num_key_value_heads=2, tie_word_embeddings=True),
        "gemma-2b: vocabulary 256,000, one key/value head": made(
            "Gemma", layers, vocab_size=256000, hidden_size=2048, intermediate_size=16384, num_attention_heads=8,
            num_key_value_heads=1, head_dim=256),
        "phi-2: biases, parallel, all heads": made(
            "Phi", layers, vocab_size=51200, hidden_size=2560, intermediate_size=10240, num_attention_heads=32),
        "pythia-1.4b: GPT-NeoX, biases": made(
            "GPTNeoX", layers, vocab_size=50304, hidden_size=2048, intermediate_size=8192, num_attention_heads=16),
        "gpt2-xl: Conv1D, tied, learned positions": transformers.GPT2Config(
            n_layer=layers, n_embd=1600, n_head=25, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0),
        "opt-1.3b: ReLU, learned positions, tied": made(
            "OPT", layers, hidden_size=2048, ffn_dim=8192, num_attention_heads=32, word_embed_proj_dim=2048,
            vocab_size=50272, dropout=0.0),
        "falcon-7b: one key/value head, parallel": made(
            "Falcon", layers, vocab_size=65024, hidden_size=4544, num_attention_heads=71, multi_query=True,
            parallel_attn=True, new_decoder_architecture=False, bias=False, alibi=False),
        "stablelm-3b: layer norms, partial rotary": made(
            "StableLm", layers, vocab_size=50304, hidden_size=2560, intermediate_size=6912, num_attention_heads=32,
            num_key_value_heads=32),
        "gemma-3-1b: sliding and full layers, vocabulary 262,144": transformers.Gemma3TextConfig(
            num_hidden_layers=2 * layers, hidden_size=1152, intermediate_size=6912, num_attention_heads=4,
            num_key_value_heads=1, head_dim=256, vocab_size=262144, sliding_window=512),
    }  # fmt: skip


def shrunk(config):
    """The same family with small sizes, for a dry run on the CPU."""
    text = config.get_text_config(decoder=True)
    for name in ("intermediate_size", "ffn_dim"):
        if getattr(text, name, None):
            setattr(text, name, 256)
    heads = text.num_attention_heads
    text.hidden_size = 64 * heads if heads < 32 else 8 * heads
    if hasattr(text, "word_embed_proj_dim"):
        text.word_embed_proj_dim = text.hidden_size
    text.vocab_size = 1024
    return config


class Meter:
    """Requested bytes since it was made: now, and the peak."""

    def __init__(self):
        self.on = torch.cuda.is_available()
        gc.collect()
        if self.on:
            torch.cuda.empty_cache()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self.start = self._stat("current")

    def _stat(self, name: str) -> int:
        return torch.cuda.memory_stats().get(f"requested_bytes.all.{name}", 0) if self.on else 0

    def now(self) -> int:
        return self._stat("current") - self.start

    def peak(self) -> int:
        return self._stat("peak") - self.start


def weights(config, scheme: str, measure: bool = True) -> tuple[int, int]:
    forecast = memory.predict(config, scheme).total_bytes
    if not measure:
        return forecast, 0
    meter = Meter()
    model = models.shape_model(config, scheme, "bfloat16")
    measured = meter.now()
    del model
    return forecast, measured


def prefill(config, scheme: str, batch: int, length: int, measure: bool = True) -> tuple[int, int]:
    forecast = memory.predict(config, scheme, context=length, batch=batch, stage="prefill", cuda=False).allocator_bytes
    if not measure:
        return forecast, 0
    model = models.shape_model(config, scheme, "bfloat16")
    held = Meter()
    ids = torch.randint(3, 1000, (batch, length), device=model.device)
    with torch.no_grad():
        model(ids, use_cache=True, logits_to_keep=1)
    return forecast, memory.predict(config, scheme).total_bytes + held.peak()


def train(
    config, scheme: str, batch: int, length: int, checkpointing: bool, upcast: bool, measure: bool = True
) -> tuple[int, int]:
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    settings = {"checkpointing": checkpointing, "upcast": upcast, "optimizer": "paged_adamw_8bit", "cuda": False}
    forecast = memory.predict(config, scheme, context=length, batch=batch, stage="train", **settings).allocator_bytes
    if not measure:
        return forecast, 0
    meter = Meter()
    model = models.shape_model(config, scheme, "bfloat16")
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = scheme != "int8", scheme == "int8"
    if upcast:
        prepare_model_for_kbit_training(model, False)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM"))
    ids = torch.randint(3, 1000, (2 * batch, length))
    data = [{"input_ids": row, "labels": row} for row in ids]
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder, use_cpu=not torch.cuda.is_available(), max_steps=2,
            per_device_train_batch_size=batch, bf16=True, report_to=[], save_strategy="no",
            logging_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
            optim="paged_adamw_8bit" if torch.cuda.is_available() else "adamw_torch",
        )  # fmt: skip
        transformers.Trainer(model, arguments, train_dataset=data).train()
    peak = meter.peak()
    for parameter in model.parameters():  # whoever still holds the model holds no memory
        parameter.data, parameter.grad = torch.empty(0), None
    return forecast, peak


def process() -> dict:
    """Bytes that a process holds once: CUDA context, and cuBLAS's workspaces of the two threads of a training step."""
    torch.ones(1, device="cuda")
    free, total = torch.cuda.mem_get_info()
    context = total - free - torch.cuda.memory_reserved()
    meter = Meter()
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(64, 64, device="cuda", dtype=dtype, requires_grad=True)
        (a @ a).sum().backward()
    del a
    return {"context_bytes": context, "workspace_bytes": meter.now()}


def cases(name: str, config, whole: bool):
    """(what, function, arguments) of one architecture."""
    yield "weights nf4-dq", weights, (config, "nf4-dq")
    if whole:
        yield "weights nf4", weights, (config, "nf4")
        yield "prefill nf4-dq 1 × 2048", prefill, (config, "nf4-dq", 1, 2048)
        for batch, length, checkpointing, upcast in (
            (1, 512, False, True),
            (1, 512, True, True),
            (4, 2048, True, True),
        ):
            yield _called(batch, length, checkpointing, upcast), train, (
                config, "nf4-dq", batch, length, checkpointing, upcast)  # fmt: skip
        yield _called(4, 2048, True, False), train, (config, "nf4-dq", 4, 2048, True, False)
        return
    yield "weights bf16", weights, (config, "bf16")
    yield "prefill nf4-dq 2 × 1024", prefill, (config, "nf4-dq", 2, 1024)
    yield _called(2, 512, True, True), train, (config, "nf4-dq", 2, 512, True, True)
    yield _called(4, 1024, False, True), train, (config, "nf4-dq", 4, 1024, False, True)
    if name.startswith("llama"):
        yield "weights int8", weights, (config, "int8")
        yield "train int8 2 × 512, checkpointing, upcast", train, (config, "int8", 2, 512, True, True)
        yield _called(2, 512, False, False), train, (config, "nf4-dq", 2, 512, False, False)


def _called(batch: int, length: int, checkpointing: bool, upcast: bool) -> str:
    return f"train nf4-dq {batch} × {length}" + ", checkpointing" * checkpointing + ", upcast" * upcast


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--only", default="", help="names that contain this")
    parser.add_argument("--dry", action="store_true", help="small sizes on the CPU, nothing is measured")
    arguments = parser.parse_args()
    if not torch.cuda.is_available() and not arguments.dry:
        sys.exit("This needs a CUDA GPU, whose allocator it asks; --dry tries the code without one.")
    transformers.utils.logging.set_verbosity_error()
    rows, start = [], time.perf_counter()
    once = process() if torch.cuda.is_available() else {}
    print(once)
    chosen = architectures(arguments.layers)
    for name, config in chosen.items():
        if arguments.only not in name:
            continue
        whole = name.startswith("mistral-7b")
        if arguments.dry:
            config = shrunk(config)
            if whole:
                config.num_hidden_layers = 4
        for what, function, given in cases(name, config, whole):
            row = {"architecture": name, "case": what}
            began = time.perf_counter()
            try:
                row["predicted"], row["measured"] = function(*given)
                if torch.cuda.is_available():
                    row["error"] = row["predicted"] / row["measured"] - 1
                    row["within"] = abs(row["error"]) <= BOUNDS[what.split()[0]]
            except Exception as error:  # the other cases still count
                row["failed"] = f"{type(error).__name__}: {error}"[:400]
                if arguments.dry:
                    traceback.print_exc()
            gc.collect()
            row["seconds"] = round(time.perf_counter() - began, 2)
            rows.append(row)
            shown = row.get("failed") or f"{row['predicted']:>15,} {row['measured']:>15,} {row.get('error', 0):+8.2%}"
            print(f"{name.split(':')[0]:<15} {what:<45} {shown}  {row['seconds']} s", flush=True)
    failed = [row for row in rows if row.get("failed") or row.get("within") is False]
    print(f"{len(rows) - len(failed)} of {len(rows)} within bounds, {time.perf_counter() - start:.0f} s")
    provenance = results.environment() | {"date": results.today(), "command": "python -m benchmarks.forecast_check"}
    common.write(arguments.out, {"provenance": provenance, **once, "bounds": BOUNDS, "rows": rows})


if __name__ == "__main__":
    main()
