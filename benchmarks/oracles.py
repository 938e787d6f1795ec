"""Record what other people's code makes of small matrices: the oracles of notebook 13, for tests/test_contest.py.

hqq, llmcompressor and what they need change how transformers and peft behave, so they are never installed beside the
course, but in a folder apart, and this is run once when they change:

    pip install --no-deps --target FOLDER hqq==0.2.8.post1 llmcompressor==0.14.0.1 \\
        compressed-tensors==0.20.0 loguru termcolor
    python benchmarks/oracles.py FOLDER

The matrices are not stored: tests make them again, by the seeds below.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

TARGET = Path(__file__).resolve().parent.parent / "tests" / "recorded" / "rounding.json"
ROWS, COLUMNS, BLOCK = 6, 256, 64


def matrix() -> torch.Tensor:
    """A weight with a few large values, as layers have, shape (6, 256)."""
    draw = torch.Generator().manual_seed(1)
    weight = torch.randn(ROWS, COLUMNS, generator=draw) * 0.05
    weight[::2, ::37] *= 4
    return weight


def products() -> torch.Tensor:
    """The mean of x xᵀ over inputs that depend on each other, shape (256, 256)."""
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(2000, COLUMNS, generator=draw) @ torch.randn(COLUMNS, COLUMNS, generator=draw) / 16
    return x.T @ x / len(x)


def constants(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and whole zero of each block of 64, shape (rows, blocks), zero counted from 0 to 15."""
    blocks = weight.view(ROWS, -1, BLOCK)
    low, high = blocks.amin(2), blocks.amax(2)
    scale = (high - low) / 15
    return scale, (-low / scale).round().clamp(0, 15)


def by_hqq() -> list[list[float]]:
    """The weight as hqq restores it: 20 rounds of its solver, from the same start as ours."""
    from hqq.core.optimize import optimize_weights_proximal_legacy

    blocks = matrix().view(-1, BLOCK)
    low, high = blocks.amin(1, keepdim=True), blocks.amax(1, keepdim=True)
    scale = 15 / (high - low)
    options = {"lp_norm": 0.7, "beta": 1e1, "kappa": 1.01, "iters": 20, "early_stop": False}
    codes, scale, zero = optimize_weights_proximal_legacy(
        blocks, scale, -low * scale, [0, 15], axis=1, device="cpu", opt_params=options
    )
    return ((codes.float() - zero) / scale).view(ROWS, COLUMNS).tolist()


def by_llmcompressor() -> list[list[float]]:
    """The weight as llmcompressor's GPTQ rounds it, with the constants of `constants`."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationStrategy
    from llmcompressor.modifiers.gptq.gptq_quantize import quantize_weight

    weight = matrix()
    scale, zero = constants(weight)
    settings = QuantizationArgs(
        num_bits=4, symmetric=False, strategy=QuantizationStrategy.GROUP, group_size=BLOCK, actorder=None
    )
    zero = zero - 8  # it counts from −8 to 7
    rounded, *_ = quantize_weight(weight[None], products()[None], scale[None], zero[None], None, settings)
    return rounded[0].tolist()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", help="where the packages were installed")
    sys.path.append(arguments.parse_args().folder)
    found = {"hqq 0.2.8.post1": by_hqq(), "llmcompressor 0.14.0.1": by_llmcompressor()}
    TARGET.parent.mkdir(exist_ok=True)
    rounded = {name: [[round(value, 9) for value in row] for row in rows] for name, rows in found.items()}
    TARGET.write_text(json.dumps(rounded) + "\n", encoding="utf-8")
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
