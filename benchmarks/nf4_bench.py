"""Time helpers.nf4 against bitsandbytes in the same run and compare what they compute: prints JSON.

    python -m benchmarks.nf4_bench [--device cpu|cuda] [--weights 16777216] [--repeats 15] [result.json]

On the CPU every bit must agree. On a GPU bitsandbytes' kernels may round a division differently, so that a few codes
differ: their fraction is counted, and how far from a tie between two levels those weights lie.
"""

import argparse
import ctypes
import json
import statistics
import time

import bitsandbytes.functional as bnb
import torch

from benchmarks import common
from helpers import nf4, results

LIMITS = {"cpu": {"quantize": 1.0, "dequantize": 4.0}, "cuda": {"quantize": 3.0, "dequantize": 3.0}}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TIE = 2**-22  # two units in the last place of a value near 1: what another order of rounding can move
HALF_STEP = 1 / 65535  # half a step of the table of 65,536 entries through which the CPU kernel rounds absmax


def return_freed_memory() -> None:
    """Give freed memory back to the system (glibc only), so that no call finds pages that an earlier one has paid for.

    Otherwise chance decides: a 16-bit result of 16.8 million weights is exactly as large as what glibc keeps, 32 MiB.
    With pages at hand bitsandbytes' kernel takes 1.5 ms instead of 9, and our code 14 instead of 23.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):
        pass  # another C library, with habits of its own


def timed(functions: dict, device: str, repeats: int) -> dict:
    """Milliseconds of each function, median, fastest and slowest; taken in turn so that both meet the same noise."""
    times = {name: [] for name in functions}
    for i in range(repeats + 3):
        for name, function in functions.items():
            return_freed_memory()
            if device == "cuda":
                torch.cuda.synchronize()
            begun = time.perf_counter()
            value = function()
            if device == "cuda":
                torch.cuda.synchronize()
            if i >= 3:
                times[name].append(1e3 * (time.perf_counter() - begun))
            del value
    return {
        name: {"median": statistics.median(taken), "min": min(taken), "max": max(taken)}
        for name, taken in times.items()
    }


def speed(device: str, weights: int, repeats: int) -> dict:
    rates = {}
    for name, dtype in DTYPES.items():
        values = torch.randn(weights, device=device, generator=torch.Generator(device).manual_seed(0)).to(dtype)
        values = values.view(-1, 4096)
        packed, state = bnb.quantize_4bit(values, quant_type="nf4")
        ours = nf4.quantize(values)
        pairs = {
            "quantize": {
                "ours": lambda values=values: nf4.quantize(values),
                "bitsandbytes": lambda values=values: bnb.quantize_4bit(values, quant_type="nf4"),
            },
            "dequantize": {
                "ours": lambda ours=ours: nf4.dequantize(ours),
                "bitsandbytes": lambda packed=packed, state=state: bnb.dequantize_4bit(packed, state),
            },
        }
        if device == "cuda":
            pairs["quantize"]["ours, not compiled"] = lambda values=values: eager(nf4.quantize, values)
            pairs["dequantize"]["ours, not compiled"] = lambda ours=ours: eager(nf4.dequantize, ours)
        rates[name] = {}
        for step, functions in pairs.items():
            times = timed(functions, device, repeats)
            ratio = times["ours"]["median"] / times["bitsandbytes"]["median"]
            rates[name][step] = {"ms": times, "ratio": ratio, "within_limit": ratio <= LIMITS[device][step]}
    return rates


def eager(function, argument):
    """Call without torch.compile, to see what fusing buys."""
    limit, nf4.FUSE_FROM = nf4.FUSE_FROM, float("inf")
    try:
        return function(argument)
    finally:
        nf4.FUSE_FROM = limit


def agreement(device: str, weights: int) -> dict:
    """Fractions of codes, absmax, values and second-level codes that differ from bitsandbytes, by dtype and block."""
    levels = nf4.nf4_code(device)
    midpoints = (levels[:-1] + levels[1:]) / 2
    agreement_of = {}
    for name, dtype in DTYPES.items():
        for block_size in (64, 256, 4096):
            generator = torch.Generator(device).manual_seed(1)
            values = (0.02 * torch.randn(weights, device=device, generator=generator)).to(dtype).view(-1, 4096)
            packed, state = bnb.quantize_4bit(values, blocksize=block_size, quant_type="nf4")
            ours = nf4.quantize(values, block_size)
            mine, theirs = nf4.unpack(ours.codes).int(), nf4.unpack(packed.view(-1)).int()
            different = mine != theirs
            report = {
                "codes_different": different.sum().item(),
                "fraction": different.float().mean().item(),
                "largest_step": (mine - theirs).abs().max().item(),
                "absmax_different": (ours.absmax != state.absmax).sum().item(),
                "values_different_same_codes": values_different(packed, state, ours),
            }
            if different.any():
                scaled = values.float().view(-1, block_size) / ours.absmax[:, None]
                tie = (scaled.view(-1)[different][:, None] - midpoints).abs().amin(1)
                report["farthest_from_a_tie"] = tie.max().item()
                report["all_at_ties"] = report["farthest_from_a_tie"] <= TIE
            agreement_of[f"{name}, block {block_size}"] = report
    return agreement_of


def values_different(packed, state, ours) -> int:
    """Dequantized values that differ although both sides start from bitsandbytes' codes and absmax."""
    same = nf4.NF4Tensor(packed.view(-1), state.absmax, ours.shape, ours.dtype, ours.block_size)
    return (nf4.dequantize(same) != bnb.dequantize_4bit(packed, state)).sum().item()


def second_level(device: str, weights: int) -> dict:
    """Differences in double quantization: offset, map and second absmax, and the fraction of 8-bit codes."""
    values = 0.02 * torch.randn(weights, device=device, generator=torch.Generator(device).manual_seed(2))
    absmax = bnb.quantize_4bit(values, quant_type="nf4")[1].absmax
    state = bnb.quantize_4bit(values, quant_type="nf4", compress_statistics=True)[1]
    ours = nf4.double_quantize(absmax)
    different = ours.codes != state.absmax
    levels = nf4.dynamic_map(device)
    midpoints = (levels[:-1] + levels[1:]) / 2
    centered = torch.nn.functional.pad(absmax - ours.offset, (0, -len(absmax) % 256)).view(-1, 256)
    scaled = (centered / ours.absmax[:, None]).view(-1)[: len(absmax)]
    report = {
        "blocks": len(absmax),
        "offset_equal": torch.equal(ours.offset, state.offset),
        "map_equal": torch.equal(levels, state.state2.code),
        "second_absmax_equal": torch.equal(ours.absmax, state.state2.absmax),
        "codes_different": different.sum().item(),
        "fraction": different.float().mean().item(),
        "largest_step": (ours.codes.int() - state.absmax.int()).abs().max().item(),
    }
    if different.any():
        report["farthest_from_a_tie"] = (scaled[different][:, None] - midpoints).abs().amin(1).max().item()
        report["all_at_ties"] = report["farthest_from_a_tie"] <= (TIE if device == "cuda" else HALF_STEP)
    return report


def small_gpu_tensors_equal_the_cpu() -> bool:
    """Whether our codes, absmax and values are the same bits on GPU and CPU, compiled and not."""
    for shape in ((4096, 2048), (2049, 2048), (1000,), (3, 5, 7)):
        for dtype in DTYPES.values():
            values = torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)
            here, on_gpu = nf4.quantize(values), nf4.quantize(values.cuda())
            if not (torch.equal(here.codes, on_gpu.codes.cpu()) and torch.equal(here.absmax, on_gpu.absmax.cpu())):
                return False
            if not torch.equal(nf4.dequantize(here), nf4.dequantize(on_gpu).cpu()):
                return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", help="file to write the JSON to, besides printing it")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--weights", type=int, default=16_777_216, help="a multiple of 4096")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    arguments = parser.parse_args()
    if arguments.weights < 4096 or arguments.weights % 4096:
        parser.error(f"--weights is {arguments.weights}: use a positive multiple of 4096.")
    if arguments.device == "cuda" and not torch.cuda.is_available():
        parser.error("no CUDA GPU was found: use --device cpu.")
    torch.set_num_threads(arguments.threads)
    device, weights = arguments.device, arguments.weights
    report = {
        "device": device,
        "weights": weights,
        "threads": arguments.threads,
        "limits": LIMITS[device],
        "environment": results.environment(),
        "speed": speed(device, weights, arguments.repeats),
        "agreement": agreement(device, weights),
        "double_quantization": second_level(device, weights),
    }
    if device == "cuda":
        report["gpu_equals_cpu"] = small_gpu_tensors_equal_the_cpu()
        report["compiled"] = sorted(f.__name__ for f, compiled in nf4.COMPILED.items() if compiled is not f)
    print(json.dumps(report, indent=2))
    common.write(arguments.output, report)


if __name__ == "__main__":
    main()
