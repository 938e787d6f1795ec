"""Measure the NF4 kernel of notebooks 11 and 15 on a GPU, beside bitsandbytes and bf16, in one run: writes JSON.

    python -m benchmarks.kernel_bench [--seconds 75] [--warm] [--turns] [result.json]

Layers of Mistral-7B's shapes, 1 to 64 rows: time, and error against float64, with outputs poisoned before. The steps
of the notebooks, as they define them. The kernel with stages left out, to see what bounds it. Decoding of the whole
model. And the checks that only a GPU can make: assembly against plain Triton, CUDA graphs, torch.compile, greedy text.
The most important comes first; what the time does not suffice for is missing. `--warm` compiles and measures nothing.
"""

import argparse
import ast
import concurrent.futures
import csv
import dataclasses
import importlib.util
import inspect
import io
import itertools
import json
import math
import multiprocessing
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

from benchmarks import common
from helpers import decoding, models, nf4, results, run
from helpers.kernels import calling, lookup, product, step, switch

SHAPES = [(14336, 4096), (4096, 14336), (4096, 4096), (1024, 4096)]
MERGED = [(28672, 4096), (6144, 4096)]  # gate and up as one; q, k and v as one
STEPS = {
    "by_pointer": [(4, 512), (2, 1024), (8, 256)],
    "by_pair": [(4, 512), (2, 1024), (8, 256)],
    "by_permute": [(8, 128), (4, 128), (4, 256)],
}
FASTEST = {"by_pointer": (2, 1024), "by_pair": (2, 1024), "by_permute": (4, 128)}  # on an H100, what is profiled
PLANS = [product.Plan(*plan) for plan in itertools.product((2, 4, 8), (2, 3, 4, 5, 6), (False, True))]
# what is replaced in the kernel's text, to leave a stage out
DECODING = [("look_up(word, pairs, copy, ASM)", "(word, word, word, word)")]
SCALES = [
    ("scale_at((four >> (8 * (t // 2))) & 255, scale_levels, copy2, ASM) * factor + mean", "t.to(tl.float32)"),
    ("scale_at((four >> (8 * (t // 2) + 16)) & 255, scale_levels, copy2, ASM) * factor + mean", "t.to(tl.float32)"),
]
LEFT_OUT = {"nothing": [], "decoding": DECODING, "scales": SCALES, "both": DECODING + SCALES}
COUNTERS = {
    "integer and logic units": "SM: Pipe Alu Cycles Active",
    "L1 and shared memory": "L1: Data Pipe Lsu Wavefronts",
    "issue of instructions": "SM: Issue Active",
    "memory": "DRAM: Cycles Active",
}
TURNS = {
    "all": "l1tex__data_pipe_lsu_wavefronts.sum",
    "shared memory": "l1tex__data_pipe_lsu_wavefronts_mem_shared.sum",
}
PROFILED = (*STEPS, "finished")
MANY = 150e6  # bytes of copies of a weight to go around, so that no cache holds them
ROWS = (1, 2, 4, 8, 16, 32, 64)
DEVICE = "cuda"


def module_of(text: str, name: str):
    """Import source text: Triton wants to read the file that a kernel is in."""
    path = Path(tempfile.mkdtemp()) / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def steps():
    """The kernels that notebooks 11 and 15 define, under their names."""
    books = (run.NOTEBOOKS / f"{name}.ipynb" for name in ("11_make_it_fast", "15_inside_the_kernel"))
    cells = [cell for book in books for cell in json.loads(book.read_text(encoding="utf-8"))["cells"]]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    functions = [
        ast.get_source_segment(source, node) and "@jit\n" + ast.get_source_segment(source, node)
        for source in sources
        for node in (ast.parse(source).body if "@jit" in source else [])
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    ]
    return module_of(
        "from helpers.kernels import jit, levels_of, own_words, tl\n\n\n" + "\n\n\n".join(functions), "notebook_steps"
    )


def left_out(changes: list[tuple[str, str]], name: str):
    """The kernel with pieces of its text replaced."""
    text = "\n\n".join(
        inspect.getsource(part.fn) for part in (product.times_word, product.times_pair, product.linear_kernel)
    )
    for old, new in changes:
        assert old in text, f"{old} is not in the kernel any more"
        text = text.replace(old, new)
    names = "inputs_of, jit, look_up, place_pairs, place_scales, product, scale_at, settled, tl, weights"
    header = f"import functools\n\nfrom helpers.kernels.product import {names}\n\n\n"
    return module_of(header + text, f"left_out_{name}").linear_kernel


@dataclasses.dataclass
class Layer:
    """A weight in 16 bits, NF4 and NF4 with double quantization; several copies, all with the same values."""

    shape: tuple[int, int]
    copies: int | None = None

    def __post_init__(self):
        import bitsandbytes.functional as bnb

        rows, columns = self.shape
        generator = torch.Generator(DEVICE).manual_seed(rows + columns)
        weight = (0.02 * torch.randn(rows, columns, device=DEVICE, generator=generator)).to(torch.bfloat16)
        codes, self.state = bnb.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
        self.plain_state = bnb.quantize_4bit(weight, quant_type="nf4")[1]
        self.plain = [weight.clone() for _ in range(self.copies or max(2, round(MANY / weight.nbytes)))]
        self.codes = [codes.clone() for _ in range(self.copies or max(2, round(MANY / codes.nbytes)))]
        self.x = torch.randn(max(ROWS), columns, device=DEVICE, generator=generator).to(torch.bfloat16)
        second = self.state.state2
        self.constants = (self.state.absmax, second.code, second.absmax, self.state.offset)
        absmax = second.code[self.state.absmax.int()].double()
        absmax = absmax * second.absmax.double().repeat_interleave(256)[: len(absmax)] + self.state.offset.double()
        levels = nf4.nf4_code(DEVICE).double()[nf4.unpack(codes.view(-1)).int()]
        self.exact = (levels.view(-1, 64) * absmax[:, None]).view(self.shape)  # of double quantization

    def error(self, out: torch.Tensor, x: torch.Tensor) -> float:
        """‖out − exact‖ / ‖exact‖ against float64; NaN if the kernel left anything unwritten."""
        exact = x.double() @ self.exact.T
        return ((out.double() - exact).norm() / exact.norm()).item()

    def calls(self, rows: int) -> dict:
        """By scheme, functions that multiply `rows` rows, one for each copy of the weight."""
        import bitsandbytes as bnb

        x = self.x[:rows]
        return {
            "bf16": [lambda w=w: torch.nn.functional.linear(x, w) for w in self.plain],
            "nf4": [lambda c=c: bnb.matmul_4bit(x, c.t(), quant_state=self.plain_state) for c in self.codes],
            "nf4-dq": [lambda c=c: bnb.matmul_4bit(x, c.t(), quant_state=self.state) for c in self.codes],
            "kernel": [lambda c=c: calling.fused_linear(x, c, self.state, early=True) for c in self.codes],
        }

    def launches(self, plan, kernel=None, rows: int = 1):
        x, out = self.x[:rows], torch.full((rows, self.shape[0]), float("nan"), device=DEVICE, dtype=self.x.dtype)
        return out, [lambda c=c: calling.launch(x, c, self.constants, out, plan, kernel=kernel) for c in self.codes]


def timed(calls: list, repeats: int = 21) -> dict:
    """Microseconds a call, median and quartiles over replays of a CUDA graph that makes all calls in turn."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for call in calls[:2]:
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [call() for call in calls]
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    times, until = [], time.perf_counter() + 0.03
    while time.perf_counter() < until:  # a GPU that had nothing to do has a lower clock
        graph.replay()
        torch.cuda.synchronize()
    for _ in range(repeats):
        begun.record()
        graph.replay()
        ended.record()
        ended.synchronize()
        times.append(1e3 * begun.elapsed_time(ended) / len(calls))
    del kept
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    return {"median": statistics.median(times), "low": low, "high": high}


def step_calls(module, name: str, layer: Layer, rows: int, width: int):
    """The output and the launches of one of the notebook's steps; their absmax is float32."""
    tables = {
        "by_pointer": nf4.nf4_code(),
        "by_pair": lookup.pairs(),
        "by_permute": lookup.table(),
    }
    look, (n, k) = tables[name].to(DEVICE), layer.shape
    absmax, out = layer.plain_state.absmax, torch.full((n,), float("nan"), device=DEVICE, dtype=torch.bfloat16)
    more = {"ASM": True} if name == "by_permute" else {}
    kernel = getattr(module, name)

    def call(codes):
        codes = codes.view(-1).view(torch.int32) if name == "by_permute" else codes
        kernel[(n // rows,)](
            layer.x, codes, absmax, look, out, k, ROWS=rows, WIDTH=width, **more, num_warps=4, num_stages=1
        )

    return out, [lambda c=c: call(c) for c in layer.codes]


class Bench:
    def __init__(self, output: str | None, seconds: float):
        self.output, self.begun, self.seconds = output, time.perf_counter(), seconds
        self.found = {"environment": results.environment(), "failed": {}, "at": {}}

    def left(self) -> float:
        return self.seconds - (time.perf_counter() - self.begun)

    def part(self, name: str, function, *given, needs: float = 2.0) -> None:
        """Run one part and write all results; one that fails is noted, one without time left is not begun."""
        if self.left() < needs:
            self.found["failed"][name] = f"not begun: {self.left():.0f} s left"
        else:
            try:
                function(*given)
            except Exception:
                self.found["failed"][name] = traceback.format_exc()[-1500:]
        self.found["at"][name] = round(time.perf_counter() - self.begun, 1)
        self.write()

    def write(self) -> None:
        common.write(self.output, results.plain(_finite(self.found), "kernels"))

    def all(self) -> None:
        self.layers = {}
        self.part("bandwidth", self.bandwidth)
        for shape in SHAPES + MERGED:
            self.part(f"plans {shape}", self.plans, shape)
        for shape in MERGED:
            del self.layers[shape]
        for rows in ROWS[:1]:
            self.part(f"rows {rows}", self.rows, rows)
        self.part("steps", self.steps)
        self.part("left out", self.left_out)
        self.part("counters", self.counters, needs=60)
        self.part("checks", self.checks)
        for rows in ROWS[1:]:
            self.part(f"rows {rows}", self.rows, rows)
        self.layers.clear()
        common.forget()
        for way in ("plain", "fused"):
            self.part(f"decode, 16 bits, {way}", self.decode, "bf16", way, needs=8)
            self.part(f"decode, 4 bits, {way}", self.decode, "nf4-dq", way, needs=10)
        self.part("greedy", self.greedy, needs=3)

    def profile(self) -> None:
        """Times of the notebooks' steps, and what the profiler says of them and of the kernel."""
        self.layers = {SHAPES[0]: Layer(SHAPES[0])}
        for name in ("bandwidth", "steps", "turns", "counters"):
            self.part(name, getattr(self, name))

    def bandwidth(self) -> None:
        source = torch.randint(0, 255, (2**30,), dtype=torch.uint8, device=DEVICE)
        target = torch.empty_like(source)
        words = source.view(torch.int32)
        self.found["bytes_per_second"] = {
            "copied": 2e6 * 2**30 / timed([lambda: target.copy_(source)] * 4)["median"],
            "read": 1e6 * 2**30 / timed([lambda: torch.amax(words)] * 4)["median"],
        }
        properties = torch.cuda.get_device_properties(DEVICE)
        self.found["device"] = {"processors": properties.multi_processor_count, "clock_mhz": _clock()}

    def plans(self, shape) -> None:
        """Try all plans for one row, and leave the fastest in `product.PLANS` for what follows."""
        layer = self.layers[shape] = Layer(shape)
        tried = []
        for plan in PLANS:
            if shape[1] // 64 % (4 * plan.warps) or self.left() < 10:
                continue
            try:
                out, calls = layer.launches(plan)
                calls[0]()
                error = layer.error(out, layer.x[:1])
                if error < 0.01:
                    tried.append({**plan._asdict(), "us": timed(calls, 7)["median"], "error": error})
                else:
                    self.found["failed"][f"plan {shape} {plan}"] = f"error {error}"
            except Exception as problem:
                self.found["failed"][f"plan {shape} {plan}"] = str(problem)[-300:]
        tried.sort(key=lambda row: row["us"])
        best = product.Plan(**{name: tried[0][name] for name in product.Plan._fields})
        product.PLANS[shape] = best
        self.found.setdefault("merged" if shape in MERGED else "shapes", {})[name_of(shape)] = {
            "plan": best._asdict(),
            "tried": tried,
            "bytes": {
                "bf16": layer.plain[0].nbytes,
                "nf4": layer.codes[0].nbytes + layer.plain_state.absmax.nbytes,
                "nf4-dq": layer.codes[0].nbytes + sum(c.nbytes for c in layer.constants[::2]),
            },
            "us": {"bf16": timed(layer.calls(1)["bf16"])} if shape in MERGED else {},
            "error": {},
        }

    def rows(self, rows: int) -> None:
        """Time and error of the schemes for some number of rows, each shape in turn."""
        for shape, layer in self.layers.items():
            entry = self.found["shapes"][name_of(shape)]
            for scheme, calls in layer.calls(rows).items():
                entry["us"].setdefault(scheme, {})[str(rows)] = timed(calls)
            entry["us"].setdefault("kernel again", {})[str(rows)] = timed(layer.calls(rows)["kernel"])
            x = layer.x[:rows]
            errors = {scheme: layer.error(layer.calls(rows)[scheme][0](), x) for scheme in ("nf4-dq", "kernel")}
            entry["error"][str(rows)] = errors

    def steps(self) -> None:
        layer, module = self.layers[SHAPES[0]], steps()
        for name, sizes in STEPS.items():
            tried = []
            for rows, width in sizes:
                out, calls = step_calls(module, name, layer, rows, width)
                calls[0]()
                tried.append(
                    timed(calls, 11) | {"rows": rows, "width": width, "error": layer.error(out[None], layer.x[:1])}
                )
            self.found.setdefault("steps", {})[name] = min(tried, key=lambda row: row["median"])

    def left_out(self) -> None:
        for shape in SHAPES[:2]:
            plan, times = product.PLANS[shape], {}
            for name, changes in LEFT_OUT.items():
                kernel = left_out(changes, name) if changes else None
                times[name] = timed(self.layers[shape].launches(plan, kernel)[1])
            times["early start"] = timed(self.layers[shape].launches(plan._replace(early=False))[1])
            self.found.setdefault("left_out", {})[name_of(shape)] = times

    def counters(self) -> None:
        """How busy the units are, by NVIDIA's profiler `ncu` if it is there: %, the launch of the kernel counted in."""
        if profiled := self.profiled("--set", "full", "--print-details", "all"):
            parts = re.split(r"\n  \w+ \(\d+, \d+, \d+\)x", profiled)[1:]
            for name, part in zip(PROFILED, parts, strict=True):
                seen = {unit: re.search(rf"{label} +% +([\d.]+)", part) for unit, label in COUNTERS.items()}
                self.found.setdefault("counters", {})[name] = {unit: float(match[1]) for unit, match in seen.items()}

    def turns(self) -> None:
        """Turns of the unit of cache and shared memory for 32 weights, counted by `ncu`: all, and of shared memory."""
        if profiled := self.profiled("--csv", "--page", "raw", "--metrics", ",".join(TURNS.values())):
            text = profiled[profiled.index('"ID"') :]
            rows = [row for row in csv.DictReader(io.StringIO(text)) if row["ID"]]  # the first row holds units
            per = math.prod(SHAPES[0]) / 32
            for name, row in zip(PROFILED, rows, strict=True):
                counts = {kind: float(row[metric].replace(",", "")) / per for kind, metric in TURNS.items()}
                self.found.setdefault("turns", {})[name] = counts

    def profiled(self, *what: str) -> str:
        """What `ncu` prints of one launch of each of `PROFILED`, on the largest shape; nothing where there is none."""
        if not (ncu := shutil.which("ncu")):
            return ""
        plan = json.dumps(product.PLANS[SHAPES[0]])
        kernels = "regex:" + "|".join(STEPS) + "|linear_kernel"
        command = [ncu, *what, "-k", kernels, sys.executable, "-m", "benchmarks.kernel_bench", "--counted", plan]
        return subprocess.run(command, cwd=run.ROOT, capture_output=True, text=True, timeout=90).stdout

    def checks(self) -> None:
        """What the tests cannot hold without a GPU; all by the plan that a shape without one of its own gets."""
        import bitsandbytes as bnb

        codes = torch.randint(0, 256, (2**20,), dtype=torch.uint8, device=DEVICE)
        checks, errors, tuned = {}, {}, dict(product.PLANS)
        self.found["checks"], self.found["errors"] = checks, errors
        for dtype in lookup.DTYPES:
            levels = nf4.nf4_code(DEVICE).to(dtype)[nf4.unpack(codes).int()]
            name = str(dtype).removeprefix("torch.")
            permuted, paired = lookup.decode(codes, dtype, "permutes"), lookup.decode(codes, dtype, "pairs")
            checks[f"{name}: assembly decodes as plain Triton"] = all(
                torch.equal(looked_up, lookup.decode(codes, dtype, "pointer")) for looked_up in (permuted, paired)
            )
            checks[f"{name}: decodes the levels"] = torch.equal(permuted, levels) and torch.equal(paired, levels)
        product.PLANS.clear()
        for (shape, layer), rows, dtype in itertools.product(self.layers.items(), (1, 3, 8, 33), lookup.DTYPES):
            x = torch.randn(rows, shape[1], device=DEVICE).to(dtype)
            name = f"{name_of(shape)}, {rows} rows, {str(dtype).removeprefix('torch.')}"
            out = calling.linear(x, layer.codes[0], layer.state)
            plain = calling.linear(x, layer.codes[0], layer.state, asm=False)
            theirs = bnb.matmul_4bit(x, layer.codes[0].t(), quant_state=layer.state)
            errors[name] = {"kernel": layer.error(out, x), "nf4-dq": layer.error(theirs, x)}
            checks[f"{name}: same bits as plain Triton"] = torch.equal(out, plain)
            checks[f"{name}: error no larger than bitsandbytes'"] = errors[name]["kernel"] <= errors[name]["nf4-dq"]
        product.PLANS.update(tuned)
        layer = self.layers[SHAPES[2]]
        alone = calling.linear(layer.x[:1], layer.codes[0], layer.state)
        traced = torch.compile(
            lambda x: calling.fused_linear(x, layer.codes[0], layer.state) + 1, fullgraph=True, backend="aot_eager"
        )
        checks["torch.compile: one graph, the same result"] = torch.equal(traced(layer.x[:1]), alone + 1)

    @torch.inference_mode()
    def greedy(self, new_tokens: int = 256) -> None:
        """Mini-Mistral's greedy text with bitsandbytes' kernels and with ours; how far their logits are apart."""
        model, tokenizer = models.load("mini", "nf4-dq", torch.bfloat16, DEVICE)
        ids = tokenizer("The capital of Norway is", return_tensors="pt").input_ids.to(DEVICE)
        theirs = written(model, ids, new_tokens)
        logits = by_eights(model, theirs)
        switched = switch.use(model)
        ours = written(model, ids, new_tokens)
        apart = (by_eights(model, theirs) - logits).abs().amax(1)[ids.shape[1] - 1 :]
        switch.stop(model)
        top = logits.topk(2).values[ids.shape[1] - 1 :]
        gap = top[:, 0] - top[:, 1]
        different = (ours != theirs)[0, ids.shape[1] :].nonzero()
        first = int(different[0]) if len(different) else None
        self.found["greedy"] = {
            "tokens": new_tokens,
            "layers": switched,
            "first_different": first,
            "gap_there": None if first is None else float(gap[first]),
            "first_gap_below_error": next(
                (i for i, (g, a) in enumerate(zip(gap, apart, strict=True)) if g < 2 * a), None
            ),
            "error": {"largest": float(apart.max()), "median": float(apart.median())},
            "gap": {"smallest": float(gap.min()), "median": float(gap.median())},
        }

    def decode(self, scheme: str, way: str) -> None:
        """Whole-model decoding at batch 1 from a CUDA graph; the small operations as they are, or fused."""
        model = models.load("mistral-7b-shape", scheme, device=DEVICE)[0]
        for name in ("bf16",) if scheme == "bf16" else ("nf4-dq", "kernel"):
            if name == "kernel":
                switch.use(model)
            for batch in (1,) if way == "plain" else (1, 8) if name == "nf4-dq" else (1, 4, 8, 16, 32, 64):
                key = way if batch == 1 else f"{way}, batch {batch}"
                row = stepping(model, batch, batch == 1, fused=way == "fused", kernel=name == "kernel")
                self.found.setdefault("decode", {}).setdefault(name, {})[key] = row
                self.write()
        del model
        common.forget()


def written(model, ids: torch.Tensor, new_tokens: int) -> torch.Tensor:
    """The ids with the greedy tokens that follow, replayed from a CUDA graph: shape (1, length + new_tokens)."""
    decoder = decoding.StaticDecoder(model, ids, new_tokens)
    decoder.capture()
    decoder.prefill()
    for _ in range(new_tokens - 1):
        decoder.replay()
    return decoder.tokens[:, : ids.shape[1] + new_tokens].clone()


def by_eights(model, ids: torch.Tensor) -> torch.Tensor:
    """Logits after every token but the last, read 8 tokens at a time, as many as the kernel takes."""
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    parts = [model(part, past_key_values=cache, use_cache=True).logits[0] for part in ids[:, :-1].split(8, 1)]
    return torch.cat(parts).float()


def stepping(model, batch=1, profiled=True, steps: int = 40, repeats: int = 5, fused=False, kernel=True) -> dict:
    """Milliseconds of a decode step after 64 tokens in a static cache of 512, and where its time goes.

    With `fused` all but the products are the kernels of `helpers.kernels.step`, and so are the products with `kernel`;
    without it, they are those of the layers.
    """
    prompt = torch.randint(3, 32000, (batch, 64), generator=torch.Generator().manual_seed(0)).to(DEVICE)
    decoder = decoding.StaticDecoder(model, prompt, 448)
    decoder.prefill()
    if fused:
        decoder.fused_step = step.Step(model, decoder.cache, batch, kernel)
    decoder.capture()
    times = []
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(repeats):
        decoder.prefill()
        begun.record()
        for _ in range(steps):
            decoder.replay()
        ended.record()
        ended.synchronize()
        times.append(begun.elapsed_time(ended) / steps)
    low, _, high = statistics.quantiles(times, n=4, method="inclusive")
    median = statistics.median(times)
    row = {"ms": {"median": median, "low": low, "high": high}, "tokens_per_second": 1e3 * batch / median}
    if profiled:
        row |= profile(decoder)
    return row


def profile(decoder, steps: int = 3) -> dict:
    """Microseconds of a step by kind of kernel, the number of kernels, and the longest by name."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    with record(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(steps):
            decoder.replay()
        torch.cuda.synchronize()
    rows = [(e.key, e.count / steps, e.self_device_time_total / steps) for e in seen.key_averages()]
    rows = sorted((row for row in rows if row[2] > 0), key=lambda row: -row[2])
    kinds = {"products": 0.0, "attention": 0.0, "the rest": 0.0}
    for name, _, us in rows:
        kinds[kind_of(name)] += us
    longest = [{"kernel": name[:80], "count": count, "us": us} for name, count, us in rows[:20]]
    return {"us": kinds, "kernels": sum(count for _, count, _ in rows), "longest": longest}


def kind_of(kernel: str) -> str:
    name = kernel.lower()
    if any(part in name for part in ("fmha", "flash", "attention", "softmax", "attend")):
        return "attention"
    products = ("linear_kernel", "4bit", "gemm", "gemv", "nvjet", "cutlass", "splitk", "dot_kernel")
    return "products" if any(part in name for part in products) else "the rest"


def name_of(shape: tuple[int, int]) -> str:
    return f"{shape[0]}×{shape[1]}"


def _clock() -> int | None:
    query = ["nvidia-smi", "--query-gpu=clocks.max.sm", "--format=csv,noheader,nounits"]
    try:
        return int(subprocess.run(query, capture_output=True, text=True, timeout=10).stdout.split()[0])
    except (OSError, ValueError, IndexError, subprocess.SubprocessError):
        return None


def _finite(value):
    """JSON has no NaN: a missing number says the same."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value != value else value


def compile_one(job) -> str | None:
    """In a process of its own: compile one variant by running it once on a small layer."""
    try:
        kind, arguments, rows, columns = job
        layer = Layer((rows, columns), copies=1)
        if kind == "plan":
            for count in (1,):
                layer.launches(arguments, rows=count)[1][0]()
        elif kind == "left out":
            name, plan = arguments
            layer.launches(plan, left_out(LEFT_OUT[name], name))[1][0]()
        elif kind == "plain":
            for count, dtype in itertools.product((1, 3, 8, 33), lookup.DTYPES):
                x = layer.x[:count].to(dtype)
                for asm in (True, False):
                    calling.linear(x, layer.codes[0], layer.state, asm)
        else:
            module = steps()
            step_calls(module, kind, layer, *arguments)[1][0]()
        torch.cuda.synchronize()
    except Exception:
        return f"{job}: {traceback.format_exc()[-600:]}"


def warm(seconds: float) -> None:
    """Compile all that the measurement will run, in parallel, so that its time goes into measuring."""
    begun = time.perf_counter()
    jobs = [("plan", plan, 64, 4096) for plan in PLANS if plan.programs == 2]  # the others run the same code
    jobs += [("plain", None, 64, 4096)]
    jobs += [(name, size, 64, 4096) for name, sizes in STEPS.items() for size in sizes]
    stages = [name for name, changes in LEFT_OUT.items() if changes]
    jobs += [("left out", (name, plan), 64, 4096) for plan in PLANS for name in stages if plan.programs == 2]
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(12, context) as pool:
        waiting = [pool.submit(compile_one, job) for job in jobs]
        config = models.mistral_7b_config()
        config.num_hidden_layers = 1
        for scheme in ("nf4-dq", "bf16"):
            model = models.shape_model(config, scheme, device=DEVICE)
            for batch, fused in itertools.product((1, 8, 16, 32, 64), (False, True)):
                try:
                    print(scheme, batch, stepping(model, batch, False, 2, 2, fused)["ms"], flush=True)
                except Exception:
                    print(traceback.format_exc()[-900:], flush=True)
        print(f"small models: {time.perf_counter() - begun:.0f} s", flush=True)
        done, late = concurrent.futures.wait(waiting, max(1.0, seconds - (time.perf_counter() - begun)))
        pool.shutdown(wait=False, cancel_futures=True)
        print(*sorted({str(job.result()) for job in done} - {"None"}), sep="\n", flush=True)
    print(f"{len(done)} variants compiled, {len(late)} not: {time.perf_counter() - begun:.0f} s", flush=True)


def counted(plan) -> None:
    """What `Bench.profiled` runs under the profiler: one launch of each step of the notebooks, one of the kernel."""
    layer, module = Layer(SHAPES[0], copies=2), steps()
    for name in STEPS:
        step_calls(module, name, layer, *FASTEST[name])[1][0]()
    layer.launches(plan)[1][1]()
    torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", help="file to write the JSON to")
    parser.add_argument("--seconds", type=float, default=300, help="begin nothing after this time")
    parser.add_argument("--warm", action="store_true", help="compile what the measurement needs, and stop")
    parser.add_argument("--turns", action="store_true", help="only what NVIDIA's profiler `ncu` counts")
    parser.add_argument("--counted", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if (why := calling.why_not(DEVICE if torch.cuda.is_available() else "cpu")) is not None:
        parser.error(f"nothing to measure here: {why}.")
    if arguments.counted:
        return counted(product.Plan(*arguments.counted))
    if arguments.warm:
        warm(arguments.seconds)
        return
    bench = Bench(arguments.output, arguments.seconds)
    if arguments.turns:
        if not shutil.which("ncu"):
            parser.error("nothing to count with here: NVIDIA's profiler `ncu` is not on the path.")
        bench.profile()
    else:
        bench.all()
    print(json.dumps({name: bench.found.get(name) for name in ("checks", "failed", "at")}, indent=1))


if __name__ == "__main__":
    main()
