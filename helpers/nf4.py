"""NF4 in blocks and double quantization, as bitsandbytes stores them: the code that notebooks 02 and 03 build.

Equal to bitsandbytes' CPU kernels bit for bit: the table, codes, absmax and dequantized values. Only about
0.2% of the 8-bit codes of double quantization differ, because its kernel rounds through a table (`double_quantize`).
"""

import functools
import math
from dataclasses import dataclass

import torch
from torch.nn import functional

__all__ = [
    "BLOCK_SIZES",
    "DoubleQuantized",
    "NF4Tensor",
    "bits_per_parameter",
    "dequantize",
    "double_dequantize",
    "double_quantize",
    "dynamic_map",
    "nf4_code",
    "pack",
    "quantize",
    "unpack",
]

BLOCK_SIZES = (32, 64, 128, 256, 512, 1024, 2048, 4096)
TINY = 1e-38  # stands in for the absmax of a block of zeros, so that nothing is divided by zero
CHUNK = 2**20  # weights taken at a time on a CPU, so that intermediate values stay in its cache
FUSE_FROM = 2**22  # weights from which compiling for a GPU pays


@dataclass(frozen=True, eq=False)
class DoubleQuantized:
    """absmax in 8 bits: `codes` (uint8, one a block), `absmax` (float32, one every `block_size` codes), `offset`."""

    codes: torch.Tensor
    absmax: torch.Tensor
    offset: torch.Tensor
    block_size: int = 256

    @property
    def nbytes(self) -> int:
        return self.codes.nbytes + self.absmax.nbytes + self.offset.nbytes


@dataclass(frozen=True, eq=False)
class NF4Tensor:
    """A tensor in NF4: `codes` (uint8, two weights a byte, the first in the high four bits), `absmax`, one a block."""

    codes: torch.Tensor
    absmax: torch.Tensor | DoubleQuantized
    shape: torch.Size
    dtype: torch.dtype
    block_size: int

    @property
    def nbytes(self) -> int:
        """Bytes of codes and constants; the 16 levels and the dynamic map are the same for all and not counted."""
        return self.codes.nbytes + self.absmax.nbytes

    @property
    def bits_per_parameter(self) -> float:
        return 8 * self.nbytes / math.prod(self.shape)


def nf4_code(device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the 16 levels of NF4, ascending, float32 of shape (16,) on `device`: 7 negative ones, 0, 8 positive ones.

    Made from quantiles of the normal distribution as in bitsandbytes' `create_normal_map`, to which it is equal bit
    for bit. That needs its rounding, too: 0.9677083 stands for 1 - (1/32 + 1/30)/2, and probabilities are float32.
    """
    offset = 0.9677083
    positive = torch.special.ndtri(torch.linspace(offset, 0.5, 9)[:-1].double())
    negative = -torch.special.ndtri(torch.linspace(offset, 0.5, 8)[:-1].double())
    levels = torch.cat([negative, torch.zeros(1), positive]).sort().values.float()
    return (levels / levels.max()).to(device)


def dynamic_map(device: torch.device | str = "cpu") -> torch.Tensor:
    """Return the 256 levels of the dynamic 8-bit type, ascending, float32 of shape (256,) on `device`.

    In decade i of seven, from 1e-7..1e-6 up to 0.1..1, lie 2**i levels of each sign, at the centers of equal steps;
    0 and 1 complete the table. Source: Dettmers, arXiv 1511.04561; `create_dynamic_map` in bitsandbytes.
    """
    levels = [0.0, 1.0]
    for i in range(7):
        edges = torch.linspace(0.1, 1, 2**i + 1)
        centers = (10 ** (i - 6) * (edges[:-1] + edges[1:]) / 2).tolist()
        levels += centers + [-center for center in centers]
    return torch.tensor(sorted(levels), device=device)


def quantize(tensor: torch.Tensor, block_size: int = 64, double_quant: bool = False) -> NF4Tensor:
    """Quantize a float tensor of any shape to NF4 in blocks of `block_size` values, as bitsandbytes' CPU kernel does.

    All arithmetic is float32 whatever the input. `double_quant` stores absmax in 8 bits. Raises ValueError for an
    empty or integer tensor, NaN, infinity (of float32) and block sizes outside `BLOCK_SIZES`.
    Source: QLoRA, arXiv 2305.14314, section 3; `quantize_4bit` in bitsandbytes' `backends/default/ops.py`.
    """
    if block_size not in BLOCK_SIZES:
        raise ValueError(f"Block size {block_size} is not supported: use one of {', '.join(map(str, BLOCK_SIZES))}.")
    values = _flat(tensor)
    full = len(values) - len(values) % block_size
    blocks = values[:full].view(-1, block_size)
    absmax = _absmax(blocks)
    inverse, midpoints = 1.0 / absmax.clamp(min=TINY), _midpoints(values.device)
    codes = torch.empty(math.ceil(len(values) / 2), dtype=torch.uint8, device=values.device)
    for start, stop in _chunks(full, values.device):
        part = slice(start // block_size, stop // block_size)
        codes[start // 2 : stop // 2] = _run(_quantize_blocks, blocks[part], inverse[part], midpoints)
    if full < len(values):
        # the incomplete block is divided by its absmax, not multiplied by the inverse: the last bit can differ
        rest = values[full:].float()
        largest = rest.abs().max().clamp(min=TINY)
        absmax = torch.cat([absmax, largest.view(1)])
        codes[full // 2 :] = pack(_nearest(rest / largest, midpoints))
    _require_finite(absmax)
    constants = double_quantize(absmax) if double_quant else absmax
    return NF4Tensor(codes, constants, tensor.shape, tensor.dtype, block_size)


def dequantize(quantized: NF4Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return level times absmax for every weight, in the original shape; float32 products, rounded once to `dtype`.

    `dtype` is the quantized tensor's own unless given.
    """
    absmax = quantized.absmax
    if isinstance(absmax, DoubleQuantized):
        absmax = double_dequantize(absmax)
    codes, block_size = quantized.codes, quantized.block_size
    number = math.prod(quantized.shape)
    out = torch.empty(number, dtype=dtype or quantized.dtype, device=codes.device)
    full = number - number % block_size
    for start, stop in _chunks(full, codes.device):
        scales = absmax[start // block_size : stop // block_size]
        out[start:stop] = _run(_dequantize_blocks, codes[start // 2 : stop // 2], scales, _pairs(codes.device))
    if full < number:
        levels = nf4_code(codes.device)[unpack(codes[full // 2 :])[: number - full].int()]
        out[full:] = levels * absmax[-1]
    return out.view(quantized.shape)


def pack(codes: torch.Tensor) -> torch.Tensor:
    """Put two 4-bit codes (0 to 15) into each byte, the first in the high half; an odd last one gets 7 (zero)."""
    codes = codes.reshape(-1).to(torch.uint8)
    if len(codes) % 2:
        codes = functional.pad(codes, (0, 1), value=7)
    return codes[::2] << 4 | codes[1::2]


def unpack(packed: torch.Tensor) -> torch.Tensor:
    """Return the 4-bit codes of `pack`, two a byte, as uint8 of shape (2 * bytes,)."""
    return torch.stack([packed >> 4, packed & 15], dim=-1).view(-1)


def double_quantize(absmax: torch.Tensor, block_size: int = 256) -> DoubleQuantized:
    """Quantize absmax to 8 bits: subtract its mean, take blocks of 256, and the nearest level of the dynamic map.

    Offset, second-level absmax and map equal bitsandbytes' bit for bit. Its CPU kernel rounds each scaled value to one
    of 65,536 steps before it looks for the nearest level, and so takes another level for about 0.2% of codes.
    Raises ValueError as `quantize` does. Source: arXiv 2305.14314, section 3 (which says FP8 where the code has this
    map); `quantize_blockwise` in bitsandbytes.
    """
    if block_size < 1:
        raise ValueError(f"Block size {block_size} is not supported: use a positive one; bitsandbytes uses 256.")
    values = _flat(absmax).float()
    _require_finite(values)
    offset = values.mean()
    padded = functional.pad(values - offset, (0, -len(values) % block_size))
    blocks = padded.view(-1, block_size)
    second_absmax = _absmax(blocks)
    levels = dynamic_map(values.device)
    scaled = blocks * (1.0 / second_absmax.clamp(min=TINY))[:, None]
    codes = torch.bucketize(scaled.view(-1), (levels[:-1] + levels[1:]) / 2, out_int32=True)
    return DoubleQuantized(codes[: len(values)].to(torch.uint8), second_absmax, offset, block_size)


def double_dequantize(constants: DoubleQuantized) -> torch.Tensor:
    """Return absmax again, float32, one a block of weights: level times second-level absmax, plus the mean."""
    levels = dynamic_map(constants.codes.device)[constants.codes.int()]
    scales = constants.absmax.repeat_interleave(constants.block_size)[: len(levels)]
    return levels * scales + constants.offset


def bits_per_parameter(block_size: int = 64, double_quant: bool = False, second_block_size: int = 256) -> float:
    """Return the bits that a weight costs with its share of the constants: 4.5 by default, 4.127 with `double_quant`.

    Counts 4 for the code, a float32 absmax a block, or an 8-bit one and a float32 every `second_block_size` blocks.
    """
    constants = 8 + 32 / second_block_size if double_quant else 32
    return 4 + constants / block_size


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's values in one dimension, in float32, float16 or bfloat16; refuses what has no floats in it."""
    if not tensor.is_floating_point():
        raise ValueError(f"Only float tensors can be quantized, and this one is {tensor.dtype}: convert it first.")
    if tensor.numel() == 0:
        raise ValueError("An empty tensor cannot be quantized: it has no values.")
    values = tensor.detach().reshape(-1)
    return values if values.dtype in (torch.float32, torch.float16, torch.bfloat16) else values.float()


def _require_finite(absmax: torch.Tensor) -> None:
    # absmax alone tells: NaN and infinity both survive a maximum, and there is 1 absmax to 64 weights
    if not torch.isfinite(absmax).all():
        raise ValueError(
            "The tensor holds NaN or infinity (in float32), which no level can stand for: repair it first."
        )


def _chunks(number: int, device: torch.device):
    """Yield start and stop of the pieces in which a CPU takes `number` weights; a GPU takes them all at once."""
    step = CHUNK if device.type == "cpu" else max(number, 1)
    for start in range(0, number, step):
        yield start, min(start + step, number)


def _absmax(blocks: torch.Tensor) -> torch.Tensor:
    low, high = torch.aminmax(blocks, dim=1)
    return torch.maximum(high, -low).float()


@functools.cache
def _midpoints(device: torch.device) -> torch.Tensor:
    levels = nf4_code(device)
    return (levels[:-1] + levels[1:]) / 2


def _nearest(scaled: torch.Tensor, midpoints: torch.Tensor) -> torch.Tensor:
    """Count the midpoints below each value: that is the index of the nearest level, the lower one for a tie."""
    codes = torch.zeros(scaled.shape, dtype=torch.uint8, device=scaled.device)
    for midpoint in midpoints:  # 15 plain comparisons take a third of the time of torch.bucketize
        codes += scaled > midpoint
    return codes


def _quantize_blocks(blocks: torch.Tensor, inverse: torch.Tensor, midpoints: torch.Tensor) -> torch.Tensor:
    return pack(_nearest(blocks.float() * inverse[:, None], midpoints))


@functools.cache
def _pairs(device: torch.device) -> torch.Tensor:
    """The two levels of every possible byte, float32 of shape (256, 2)."""
    return nf4_code(device)[unpack(torch.arange(256, dtype=torch.uint8, device=device)).int()].view(256, 2)


def _dequantize_blocks(codes: torch.Tensor, absmax: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    levels = functional.embedding(codes.int(), pairs)
    return levels.view(len(absmax), -1).mul_(absmax[:, None]).view(-1)


COMPILED: dict = {}


def _run(function, *tensors):
    """Call `function`; for large tensors on a GPU, fused into one pass over memory by torch.compile if that works."""
    if not tensors[0].is_cuda or tensors[0].numel() < FUSE_FROM:
        return function(*tensors)
    if function not in COMPILED:
        COMPILED[function] = torch.compile(function, dynamic=True)
    try:
        return COMPILED[function](*tensors)
    except Exception:  # no Triton or C compiler: the same result in several passes; other errors come up again there
        COMPILED[function] = function
        return function(*tensors)
