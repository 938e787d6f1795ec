"""Checks of notebook 01: gigabytes, the first gap of FP8, idle codes, rounding in blocks."""

import torch

from . import Hint, call, exercise, number


@exercise("01-1")
def check_gigabytes(answer) -> str:
    for parameters, bits in ((7_241_732_096, 16), (1_000_000, 4), (13e9, 32)):
        found = number(call(answer, parameters, bits), "what gigabytes returns")
        truth = parameters * bits / 8 / 1e9

        def near(value, found=found):
            return abs(found - value) <= 1e-6 * value

        if near(truth):
            continue
        if near(parameters * bits / 1e9):
            raise Hint("these are gigabits; a byte has 8 bits.")
        if near(parameters * bits / 8 / 2**30):
            raise Hint("these are GiB (2³⁰ bytes); a GB is 10⁹ bytes here.")
        if near(parameters * bits / 8):
            raise Hint("these are bytes; divide by 1e9.")
        raise Hint(f"{parameters:,.0f} numbers of {bits} bits take {truth:.4g} GB: parameters × bits / 8 / 1e9.")
    return f"Mistral-7B in 16 bits: {7_241_732_096 * 2 / 1e9:.2f} GB."


@exercise("01-2")
def check_first_gap(answer) -> str:
    value = number(answer, "first_gap")
    if value == 17:
        return "16 fits, 17 does not: 3 mantissa bits and the leading one make 4 digits in base 2."
    if value == 16:
        raise Hint("16 is a power of two, which fits; look at the next one.")
    if value == 9:
        raise Hint("9 is 1.001 in base 2 times 8: three mantissa bits are enough. Count the leading one, too.")
    if value in (449, 448):
        raise Hint("this is about the largest value; whole numbers are skipped long before.")
    if value == 2049 or value == 257:
        raise Hint("this is the first gap of another format; FP8 E4M3 has 3 mantissa bits.")
    raise Hint('try them: `formats.round_to(torch.tensor(float(n)), "fp8 e4m3")` for n = 1, 2, 3 …')


@exercise("01-3")
def check_usable_codes(answer) -> str:
    value = number(answer, "usable_codes")
    if value == 128:
        return "0 to 127: half of the codes are idle, as if there were 7 bits."
    if value == 127:
        raise Hint("zero is a code, too.")
    if value in (255, 256):
        raise Hint("negative codes stand for negative values, which a ReLU never gives.")
    if value in (8, 7):
        raise Hint("this would be 4 bits; the question is about 8.")
    raise Hint("count the codes from 0 to 127.")


@exercise("01-4")
def check_block_round(answer) -> str:
    for shape, bits, block in (((4, 96), 4, 32), ((3, 64), 3, 16), ((256,), 8, 64)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(block)) * torch.linspace(0.5, 4, shape[-1])
        found = call(answer, x.clone(), bits, block)
        if not isinstance(found, torch.Tensor):
            raise Hint("return the rounded values as one tensor; `absmax_quantize` gives codes and scales.")
        if found.shape != x.shape:
            raise Hint(
                f"for x of shape {tuple(shape)} this returns {tuple(found.shape)}: give it the shape of x again."
            )
        top = 2 ** (bits - 1) - 1

        def rounded(groups, top=top, x=x):
            scale = groups.abs().amax(-1, keepdim=True) / top
            return ((groups / scale).round().clamp(-top, top) * scale).reshape(x.shape)

        def near(other, found=found):
            return torch.allclose(found.float(), other, atol=1e-5)

        if near(rounded(x.reshape(-1, block))):
            continue
        if near(rounded(x)) or near(rounded(x.reshape(1, -1))):
            raise Hint("the blocks are not used: reshape to rows of `block_size` values first.")
        if torch.equal(found, found.round()):
            raise Hint("these are codes; multiply by the scale to get values.")
        if x.numel() != block * block and near(rounded(x.reshape(block, -1))):
            raise Hint("this makes `block_size` rows; make rows *of* `block_size` values: reshape(-1, block_size).")
        raise Hint("reshape to (-1, block_size), quantize, multiply codes by scale, and take the shape of x.")
    return "each block has its own scale; this is how every 4-bit format begins."
