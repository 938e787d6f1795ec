"""Number formats as bit fields, rounding to few bits with a scale, and the error it makes: what notebook 01 builds."""

import math
from dataclasses import dataclass

import torch

__all__ = [
    "FLOATS",
    "METHODS",
    "Errors",
    "FloatFormat",
    "Rounded",
    "bits_per_parameter",
    "dequantize",
    "errors",
    "fields",
    "fp4_levels",
    "from_fields",
    "positive_values",
    "quantize",
    "round_to",
    "round_to_levels",
]


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format: 1 sign bit, `exponent` bits, `mantissa` bits; `dtype` is PyTorch's.

    `has_infinity` is False for E4M3, which uses the largest exponent for numbers, too, and has no infinity.
    """

    name: str
    exponent: int
    mantissa: int
    dtype: torch.dtype
    has_infinity: bool = True

    @property
    def bits(self) -> int:
        return 1 + self.exponent + self.mantissa

    @property
    def bias(self) -> int:
        return 2 ** (self.exponent - 1) - 1


# Sources: IEEE 754 (fp32, fp16); Kalamkar et al., arXiv 1905.12322 (bf16); Micikevicius et al., arXiv 2209.05433 (fp8)
FLOATS = {
    format.name: format
    for format in (
        FloatFormat("fp32", 8, 23, torch.float32),
        FloatFormat("fp16", 5, 10, torch.float16),
        FloatFormat("bf16", 8, 7, torch.bfloat16),
        FloatFormat("fp8 e4m3", 4, 3, torch.float8_e4m3fn, has_infinity=False),
        FloatFormat("fp8 e5m2", 5, 2, torch.float8_e5m2),
    )
}
METHODS = ("absmax", "affine", "signed max")
_INTEGERS = {8: torch.uint8, 16: torch.int16, 32: torch.int32}


def _format(name: str) -> FloatFormat:
    if name not in FLOATS:
        raise ValueError(f"Unknown float format {name!r}: use one of {', '.join(FLOATS)}.")
    return FLOATS[name]


def fields(value: float, name: str) -> tuple[str, str, str]:
    """Return sign, exponent and mantissa of `value` rounded to the format `name`, as strings of 0 and 1."""
    form = _format(name)
    stored = torch.tensor(value, dtype=torch.float32).to(form.dtype).view(_INTEGERS[form.bits]).item()
    bits = f"{stored % 2**form.bits:0{form.bits}b}"
    return bits[0], bits[1 : 1 + form.exponent], bits[1 + form.exponent :]


def from_fields(sign: str, exponent: str, mantissa: str, name: str) -> float:
    """Return the number that bit fields stand for; infinity and NaN included. The inverse of `fields`.

    Raises ValueError for an unknown format and for fields of the wrong length.
    """
    form = _format(name)
    if (len(sign), len(exponent), len(mantissa)) != (1, form.exponent, form.mantissa):
        raise ValueError(f"{name} has 1, {form.exponent} and {form.mantissa} bits; these are fields of other lengths.")
    power, fraction = int(exponent, 2), int(mantissa, 2) / 2**form.mantissa
    factor = -1.0 if sign == "1" else 1.0
    if "0" not in exponent and form.has_infinity:
        return math.nan if fraction else factor * math.inf
    if "0" not in exponent + mantissa:
        return math.nan
    if power == 0:  # subnormal: no leading one, so that zero and the numbers around it exist
        return factor * fraction * 2.0 ** (1 - form.bias)
    return factor * (1 + fraction) * 2.0 ** (power - form.bias)


def positive_values(name: str) -> torch.Tensor:
    """Return all finite values ≥ 0 of a format of at most 16 bits, ascending, float32."""
    form = _format(name)
    if form.bits > 16:
        raise ValueError(f"{name} has 2**{form.bits} values, too many to list: use a format of at most 16 bits.")
    patterns = torch.arange(2 ** (form.bits - 1), dtype=torch.int32).to(_INTEGERS[form.bits])
    values = patterns.view(form.dtype).float()
    return values[torch.isfinite(values)]


def round_to(tensor: torch.Tensor, name: str) -> torch.Tensor:
    """Round to the nearest number of a format, ties to even, and return it in float32.

    What is too large becomes infinity; in E4M3, which has none, 448 or NaN by PyTorch's version.
    """
    return tensor.to(_format(name).dtype).float()


@dataclass(frozen=True, eq=False)
class Rounded:
    """Integer codes, one row a group, and what turns them back: code * scale + low, in float32.

    `codes` is int16 of shape (groups, size), the last group filled up with copies of the last value;
    `scale` and `low` (None but for affine) have shape (groups, 1).
    """

    codes: torch.Tensor
    scale: torch.Tensor
    low: torch.Tensor | None
    shape: torch.Size
    method: str
    bits: int


def quantize(
    tensor: torch.Tensor, bits: int = 4, block_size: int | str = 64, method: str = "absmax", constants: str = "fp16"
) -> Rounded:
    """Round a float tensor to integers of `bits` bits, each group with a scale of its own.

    `block_size` is the number of consecutive values that share a scale, or "row", or "tensor". Methods:
    "absmax", ±(2**(bits-1) - 1) at ±the largest magnitude, scale in float32; "affine", 0 at the smallest and
    2**bits - 1 at the largest value, scale and smallest value stored in `constants`; "signed max", the value of largest
    magnitude becomes -2**(bits-1), scale in `constants`. Raises ValueError for anything that these do not cover.
    """
    if not 2 <= bits <= 8:
        raise ValueError(f"{bits} bits are not supported: use 2 to 8.")
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}: use one of {', '.join(METHODS)}.")
    groups = _groups(tensor, block_size)
    top = 2 ** (bits - 1)
    low = None
    if method == "absmax":
        scale = groups.abs().amax(1, keepdim=True) / (top - 1)
        bottom, top = 1 - top, top - 1
    elif method == "affine":
        low = round_to(groups.amin(1, keepdim=True), constants)
        scale = round_to((groups.amax(1, keepdim=True) - low) / (2 * top - 1), constants)
        bottom, top = 0, 2 * top - 1
    else:
        extreme = groups.gather(1, groups.abs().argmax(1, keepdim=True))
        scale = round_to(extreme / -top, constants)
        bottom, top = -top, top - 1
    # a group without any spread has scale 0; every code of it may be 0
    steps = (groups if low is None else groups - low) / torch.where(scale == 0, 1, scale)
    codes = steps.round().clamp(bottom, top).to(torch.int16)
    return Rounded(codes, scale, low, tensor.shape, method, bits)


def dequantize(rounded: Rounded) -> torch.Tensor:
    """Return the values that codes stand for, float32, in the original shape."""
    values = rounded.codes * rounded.scale
    if rounded.low is not None:
        values = values + rounded.low
    return values.view(-1)[: math.prod(rounded.shape)].view(rounded.shape)


def round_to_levels(tensor: torch.Tensor, levels: torch.Tensor, block_size: int | str = 64) -> torch.Tensor:
    """Round to the nearest of ascending `levels` times the group's absmax (float32); returns values, float32."""
    groups = _groups(tensor, block_size)
    absmax = groups.abs().amax(1, keepdim=True)
    midpoints = ((levels[:-1] + levels[1:]) / 2).to(groups.device)
    codes = torch.bucketize(groups / torch.where(absmax == 0, 1, absmax), midpoints)
    values = levels.to(groups.device)[codes] * absmax
    return values.view(-1)[: tensor.numel()].view(tensor.shape)


def fp4_levels() -> torch.Tensor:
    """Return the 15 different levels of bitsandbytes' FP4 (2 exponent bits, 1 mantissa bit), scaled to 1, ascending.

    Its smallest is 1/192 and not 1/12 as the bit pattern would give. Source: `get_4bit_type` in bitsandbytes.
    """
    half = torch.tensor([0.0625, 2, 3, 4, 6, 8, 12]) / 12
    return torch.cat([-half.flip(0), torch.zeros(1), half])


def bits_per_parameter(bits: float, block_size: int, constant_bits: int = 32) -> float:
    """Return bits a parameter: its code and its share of the constants, of which a block has `constant_bits` bits."""
    return bits + constant_bits / block_size


@dataclass(frozen=True)
class Errors:
    """How far rounded values are off: `mean` of |error|, `relative_mse` (to the mean square), `snr` in decibels."""

    mean: float
    relative_mse: float
    snr: float


def errors(original: torch.Tensor, restored: torch.Tensor) -> Errors:
    """Compare two tensors of one shape, in float64. `snr` is 10 log10 of signal power over error power."""
    if original.shape != restored.shape:
        raise ValueError(f"Shapes differ: {tuple(original.shape)} and {tuple(restored.shape)}.")
    original = original.double()
    difference = restored.double() - original
    relative = (difference.square().mean() / original.square().mean()).item()
    snr = -10 * math.log10(relative) if relative else math.inf
    return Errors(difference.abs().mean().item(), relative, snr)


def _groups(tensor: torch.Tensor, block_size: int | str) -> torch.Tensor:
    """The tensor's values as float32 in one row for each scale; the last row is filled up with its last value."""
    if not tensor.is_floating_point():
        raise ValueError(f"Only float tensors can be quantized, and this one is {tensor.dtype}: convert it first.")
    if tensor.numel() == 0:
        raise ValueError("An empty tensor cannot be quantized: it has no values.")
    values = tensor.detach().float()
    if not torch.isfinite(values).all():
        raise ValueError("The tensor holds NaN or infinity (in float32): repair it first.")
    if block_size == "tensor":
        return values.reshape(1, -1)
    if block_size == "row":
        return values.reshape(-1, values.shape[-1] if values.dim() else 1)
    if not isinstance(block_size, int) or isinstance(block_size, bool) or block_size < 1:
        raise ValueError(f'Block size {block_size!r} is not supported: use a positive number, "row" or "tensor".')
    flat = values.reshape(-1)
    missing = -len(flat) % block_size
    return torch.cat([flat, flat[-1:].expand(missing)]).view(-1, block_size)
