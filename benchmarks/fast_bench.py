"""How fast 4 bits are where people use them, on one GPU: writes JSON.

    python -m benchmarks.fast_bench [--only calls,ring] [result.json]

What a call costs the host; products of 1 to 64 rows in a ring of rivals (those that are installed: torchao, GemLite);
a prompt of 2,048 tokens; and text from end to end, by `model.generate` and by `decoding.generate`, each in several
processes of its own, since waiting for the host differs from one to the next.
"""

import argparse
import functools
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

from benchmarks import common
from benchmarks.kernel_bench import SHAPES, Layer, name_of, timed
from helpers import decoding, kernels, models, results, run
from helpers.kernels import calling, switch

DEVICE = "cuda"
ROWS = (1, 2, 4, 8, 16, 32, 64)
PROMPT = "The capital of Norway is"
PROCESSES = 3


def calls() -> dict:
    """Microseconds until a call has returned, while the GPU works them off: median of rounds of 300, taken in turns."""
    import bitsandbytes as bnb

    layer = Layer((1024, 4096), copies=1)
    x, codes, weight = layer.x[:1].contiguous(), layer.codes[0], layer.plain[0]

    def model() -> torch.nn.Module:
        linear = bnb.nn.Linear4bit(4096, 1024, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
        linear.weight = bnb.nn.Params4bit(codes, requires_grad=False, quant_state=layer.state, bnb_quantized=True)
        return torch.nn.Sequential(linear.to(DEVICE))

    theirs, ours = model(), model()
    switch.use(ours)
    ways = {
        "bf16 product": lambda: torch.nn.functional.linear(x, weight),
        "bitsandbytes product": lambda: bnb.matmul_4bit(x, codes.t(), quant_state=layer.state),
        "kernel product": lambda: kernels.linear(x, codes, layer.state),
        "bitsandbytes layer": lambda: theirs(x),
        "kernel layer": lambda: ours(x),
    }
    rounds = {name: [] for name in ways}
    with torch.inference_mode():
        for _ in range(16):  # the first warms up
            for name, call in ways.items():
                torch.cuda.synchronize()
                begun = time.perf_counter()
                for _ in range(300):
                    call()
                rounds[name].append(1e6 * (time.perf_counter() - begun) / 300)
    found = {}
    for name, seen in rounds.items():
        low, median, high = statistics.quantiles(seen[1:], n=4, method="inclusive")
        found[name] = {"median": median, "low": low, "high": high}
    return found


def rivals(layer: Layer) -> dict:
    """By name, a function of x for each copy of the layer, and the bytes of one copy."""
    import bitsandbytes as bnb

    bytes_4bit = layer.codes[0].nbytes + sum(constant.nbytes for constant in layer.constants[::2])
    found = {
        "bf16": ([lambda x, w=w: torch.nn.functional.linear(x, w) for w in layer.plain], layer.plain[0].nbytes),
        "nf4-dq": (
            [lambda x, c=c: bnb.matmul_4bit(x, c.t(), quant_state=layer.state) for c in layer.codes],
            bytes_4bit,
        ),
        "kernel": (
            [lambda x, c=c: calling.fused_linear(x, c, layer.state, early=True) for c in layer.codes],
            bytes_4bit,
        ),
    }
    rows, columns = layer.shape
    copies = max(2, len(layer.codes) // 2)
    if importlib.util.find_spec("torchao"):
        from torchao.quantization import Int4WeightOnlyConfig, quantize_

        modules = []
        for _ in range(copies):
            module = torch.nn.Linear(columns, rows, bias=False, device=DEVICE, dtype=torch.bfloat16)
            module.weight.data.copy_(layer.plain[0])
            quantize_(module, Int4WeightOnlyConfig(group_size=64, int4_packing_format="tile_packed_to_4d"))
            modules.append(module)
        found["torchao int4"] = (modules, rows * columns // 2 + rows * columns // 64 * 4)
    if importlib.util.find_spec("gemlite"):
        from gemlite import DType, GemLiteLinear

        groups = layer.plain[0].float().view(-1, 64)
        low, high = groups.amin(1, keepdim=True), groups.amax(1, keepdim=True)
        scale = ((high - low) / 15).clamp(min=1e-8)
        codes = (groups / scale - low / scale).round().clamp(0, 15).to(torch.uint8).view(rows, columns)
        modules = []
        for _ in range(copies):
            module = GemLiteLinear(
                4,
                group_size=64,
                in_features=columns,
                out_features=rows,
                input_dtype=DType.BF16,
                output_dtype=DType.BF16,
            )
            parts = (scale.view(rows, -1).bfloat16(), (-low / scale).view(rows, -1).bfloat16())
            module.pack(codes.clone(), *parts, None)
            modules.append(module)
        found["gemlite int4"] = (modules, rows * columns // 2 + rows * columns // 64 * 4)
    return found


def ring(put) -> None:
    """Microseconds of a product by rows, of distinct weights in turn; errors against float64 of 16-bit weights."""
    found = {}
    for shape in SHAPES[:3]:
        layer = Layer(shape)
        exact = layer.x[:8].double() @ layer.plain[0].double().T
        for name, (functions, size) in rivals(layer).items():
            row = found.setdefault(name_of(shape), {})[name] = {"bytes": size, "us": {}}
            try:
                error = (functions[0](layer.x[:8]).double() - exact).norm() / exact.norm()
                row["error"] = error.item()  # of the format and of the product together
                for rows in ROWS if name != "gemlite int4" else (1, 16, 64):
                    x = layer.x[:rows].contiguous()
                    row["us"][str(rows)] = timed([lambda f=f, x=x: f(x) for f in functions], 11)
            except Exception:
                row["failed"] = traceback.format_exc()[-600:]
            put("ring", found)
        del layer
        common.forget()


def reading(put) -> None:
    """Prompt tokens a second, 2,048 at once, in the whole model: as one calls it, and replayed from a CUDA graph.

    The first waits for the host where that is slower than the GPU; the second is the GPU alone.
    """
    found = {}
    ids = torch.randint(10, 31000, (1, 2048), generator=torch.Generator().manual_seed(0)).to(DEVICE)
    for scheme in ("bf16", "nf4-dq"):
        model = models.load("mistral-7b-shape", scheme, device=DEVICE)[0]
        for name in ("bf16",) if scheme == "bf16" else ("nf4-dq", "kernel", "nf4-dq again"):
            if name == "kernel":
                switch.use(model)
            elif scheme != "bf16":
                switch.stop(model)
            with torch.inference_mode():
                call = functools.partial(model, ids, use_cache=False, logits_to_keep=1)
                times = []
                for _ in range(9):
                    torch.cuda.synchronize()
                    begun = time.perf_counter()
                    call()
                    torch.cuda.synchronize()
                    times.append(2048 / (time.perf_counter() - begun))
                microseconds = timed([call], 7)
            low, median, high = statistics.quantiles(times[2:], n=4, method="inclusive")
            found[name] = {"median": median, "low": low, "high": high}
            found[name]["replayed"] = {
                "median": 2048e6 / microseconds["median"],
                "low": 2048e6 / microseconds["high"],
                "high": 2048e6 / microseconds["low"],
            }
            put("prompt", found)
        del model, call
        common.forget()


WAYS = {  # by scheme: name, new tokens, what to generate with
    "nf4-dq": {
        "nf4-dq, generate": (64, {}),
        "kernel, generate": (64, {}),
        "nf4-dq, generate again": (64, {}),
        "nf4-dq, fast": (256, {"batch": 1}),
        "nf4-dq, fast, sampled": (256, {"batch": 1, "temperature": 0.8, "top_p": 0.9}),
        "nf4-dq, fast, batch 8": (256, {"batch": 8}),
        "nf4-dq, fast, batch 32": (256, {"batch": 32}),
    },
    "bf16": {
        "bf16, generate": (64, {}),
        "bf16, fast": (256, {"batch": 1}),
        "bf16, fast, batch 8": (256, {"batch": 8}),
        "bf16, fast, batch 32": (256, {"batch": 32}),
        "bf16, generate, static and compiled": (256, {"cache_implementation": "static"}),
    },
}


def written(scheme: str, skipped: str, file: str) -> None:
    """In a process of its own: tokens a second from end to end, each way to generate; the first call apart."""
    model, tokenizer = models.load("mistral-7b-shape", scheme, device=DEVICE)
    model.generation_config.eos_token_id = None
    inputs = tokenizer(PROMPT, return_tensors="pt").to(DEVICE)
    found = {}
    for name, (new_tokens, given) in WAYS[scheme].items():
        if skipped and skipped in name:
            continue
        fast, batch = "fast" in name, given.get("batch", 1)
        given = {key: value for key, value in given.items() if key != "batch"}
        if name == "kernel, generate":
            switch.use(model)
        elif scheme != "bf16":
            switch.stop(model)
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            if fast:
                decoding.generate(model, tokenizer, [PROMPT] * batch if batch > 1 else PROMPT, new_tokens, **given)
            else:
                plain = {"max_new_tokens": new_tokens, "do_sample": False, "pad_token_id": 0}
                model.generate(**inputs, **plain, **given)
            torch.cuda.synchronize()
            times.append(time.perf_counter() - begun)
        rate = batch * new_tokens / min(times[1:])
        found[name] = {"tokens_per_second": rate, "first_seconds": times[0]}
        common.write(file, found)


def texts(put, seconds_left) -> None:
    found = {}
    for process in range(PROCESSES):
        for scheme in WAYS:
            if seconds_left() < 70:
                continue
            with tempfile.TemporaryDirectory() as folder:
                file, skipped = Path(folder) / "out.json", "compiled" if process else ""
                command = [sys.executable, "-m", "benchmarks.fast_bench", "--text", scheme, skipped, str(file)]
                told = subprocess.run(command, cwd=run.ROOT, capture_output=True, text=True)
                if told.returncode:
                    found.setdefault("failed", {})[f"{scheme} {process}"] = told.stderr[-600:]
                if file.exists():
                    for name, row in json.loads(file.read_text(encoding="utf-8")).items():
                        found.setdefault(name, []).append(row)
            put("text", found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", help="file to write the JSON to")
    parser.add_argument("--only", default="calls,ring,prompt,text", help="parts, with commas")
    parser.add_argument("--seconds", type=float, default=500, help="begin nothing after this time")
    parser.add_argument("--text", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if (why := calling.why_not(DEVICE if torch.cuda.is_available() else "cpu")) is not None:
        parser.error(f"nothing to measure here: {why}.")
    if options.text:
        written(*options.text, options.output)
        return
    begun, report = time.perf_counter(), {"environment": results.environment()}

    def put(name, found):
        report[name] = found
        common.write(options.output, results.plain(report, "fast"))

    wanted = options.only.split(",")
    if "calls" in wanted:
        put("calls", calls())
    if "prompt" in wanted:
        reading(put)
    if "ring" in wanted:
        ring(put)
    if "text" in wanted:
        texts(put, lambda: options.seconds - (time.perf_counter() - begun))
    print(json.dumps(report, indent=1, default=str))


if __name__ == "__main__":
    main()
