"""Checks of notebook 01: codes by hand, bits one can afford, the first gap of FP8, idle codes, rounding in blocks."""

import torch

from . import Hint, call, exercise, number, numbers


@exercise("01-1")
def check_three_codes(answer) -> str:
    codes = numbers(answer, 3, "three codes, one for each weight")
    if codes == [3, -1, 0]:
        return "the step is 0.3, and 0.1, a third of a step, becomes zero."
    if codes == [3, -1, 1]:
        raise Hint("0.1 is a third of a step from zero: to which whole number is it nearer?")
    if codes == [7, -2, 1]:
        raise Hint("these are 4-bit codes. With 3 bits the largest code is 3.")
    if codes == [4, -1, 0]:
        raise Hint("with 3 bits the codes run from −3 to 3, so the largest weight gets 3.")
    if any(abs(code - round(code)) > 1e-9 for code in codes):
        raise Hint("codes are whole numbers: round to the nearest one.")
    raise Hint("one step is the largest weight divided by the largest code. How many steps is each weight from zero?")


@exercise("01-2")
def check_affordable_bits(answer) -> str:
    bits = number(answer, "affordable_bits")
    exact = 5e9 * 8 / 7_241_732_096
    if bits == 5:
        return f"{exact:.2f} bits per weight would fit, so 5 whole ones do."
    if bits == 6:
        raise Hint("that is either rounded up, or 1 GB was not kept free.")
    if abs(bits - exact) < 0.05:
        raise Hint("that's the exact figure. How many *whole* bits fit?")
    if bits == 0:
        raise Hint("that is how many bytes fit. A byte has 8 bits.")
    raise Hint("5 GB are 5 · 10⁹ bytes of 8 bits each; share them among the weights, and round down.")


@exercise("01-3")
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


@exercise("01-4")
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


@exercise("01-5")
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
        raise Hint("make every block a row, quantize the rows, go back to weights, and then back to the shape of x.")
    return "each block has its own scale; this is how every 4-bit format begins."


@exercise("01-6")
def check_signed_max(answer) -> str:
    for block in ([0.31, -0.80, 0.02, 0.50], [0.9, -0.31, 0.02, -0.88], [-0.2, 0.7, 0.1, -0.69]):
        x = torch.tensor(block)
        found = call(answer, x.clone())
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise Hint("return two things, the codes and the scale.")
        codes, scale = (torch.as_tensor(part, dtype=torch.float32) for part in found)
        if codes.shape != x.shape or scale.numel() != 1:
            raise Hint(f"{len(x)} weights have {len(x)} codes and one scale.")
        far = x[x.abs().argmax()].item()
        said = f"for {[f'{value:g}' for value in block]}".replace("'", "").replace("-", "−")
        if abs(scale.item() - far / -8) > 1e-6:
            if abs(scale.item() - abs(far) / 7) < 1e-6:
                raise Hint("this is absmax's scale. Here the weight farthest from zero becomes −8.")
            if abs(abs(scale.item()) - abs(far) / 8) < 1e-6:
                raise Hint(f"{said} the sign of the scale is wrong: the weight farthest from zero has to become −8.")
            raise Hint(f"{said} the scale is {far:g} / −8.".replace("-", "−"))
        if not torch.equal(codes, codes.round()):
            raise Hint("codes are whole numbers: round them.")
        if codes.max() > 7:
            raise Hint(f"{said} one code is {codes.max():g}. With 4 bits they run from −8 to 7: cut them off there.")
        if not torch.equal(codes, (x / (far / -8)).round().clamp(-8, 7)):
            raise Hint(f"{said} the codes are wrong: divide by the scale, round, and cut off at −8 and 7.")
    return "all 16 codes are in use. With blocks of 32 and a scale of 16 bits, this is llama.cpp's Q4_0."
