"""Checks of notebook 03: bytes of absmax, a mean, the way back, bits per weight, the kernel's rule, three types."""

import torch

from . import Hint, call, exercise, number, numbers


@exercise("03-1")
def check_absmax_bytes(answer) -> str:
    value = number(answer, "absmax_bytes")
    weights = 6_979_321_856
    truth = weights // 64 * 4
    if value == truth:
        return f"{truth:,} bytes, {truth / (weights // 2):.1%} of what the codes take."
    if value == truth // 4:
        raise Hint("this is the number of blocks; each has a float32 of 4 bytes.")
    if value == truth * 8:
        raise Hint("this is in bits; a byte has 8.")
    if value == truth // 4 * 2:
        raise Hint("absmax is a float32, 4 bytes, not 2.")
    if value == weights * 4:
        raise Hint("there is one absmax for a block of 64 weights, not one for each weight.")
    if abs(value - truth) < 0.02 * truth:
        raise Hint("nearly: give the exact number of bytes; the weights divide by 64 without a remainder.")
    raise Hint("how many blocks are there, and how many bytes does a number of 32 bits take?")


@exercise("03-2")
def check_mean_and_largest(answer) -> str:
    mean, largest = numbers(answer, 2, "two numbers: the mean, and the largest distance from it")

    def near(one, other):
        return abs(mean - one) < 0.004 and abs(largest - other) < 0.004

    if near(0.70, 0.20):
        return "5.60 / 8 is 0.70, and 0.90 lies 0.20 from it, so (0.80 − 0.70) / 0.20 is 0.5."
    if near(0.20, 0.70):
        raise Hint("these are the right two numbers in the wrong order: the mean comes first.")
    if near(0.70, 0.90):
        raise Hint("0.90 is the largest absmax. How far is it from the mean?")
    if near(0.70, 0.15):
        raise Hint("0.55 lies 0.15 below the mean. Does another one lie farther away, on the other side?")
    if near(0.70, 0.10):
        raise Hint("that's the distance of the first one, 0.80. Which of the eight lies farthest from the mean?")
    raise Hint("add the eight, divide by 8, and look which of them lies farthest from the result.")


@exercise("03-5")
def check_kernel(answer, *, scaled: torch.Tensor, theirs: torch.Tensor) -> str:
    levels = _dynamic_map()
    returned = call(answer, scaled.clone())
    if not isinstance(returned, torch.Tensor) or returned.shape != scaled.shape:
        raise Hint(f"return one code for each of the {len(scaled):,} scaled values, in a tensor.")
    if returned.is_floating_point():
        raise Hint("return codes, which are integers from `table`, not levels or steps.")
    returned = returned.to(theirs.device)
    nearest = torch.bucketize(scaled, (levels[:-1] + levels[1:]) / 2)
    # enough values of our own for every kind of mistake to show, whatever layer the notebook gives
    more = torch.linspace(-1, 1, 200_003)
    mine = call(answer, more.clone())
    steps = torch.arange(65536) / 32767.5 - 1
    table = torch.bucketize(steps, (levels[:-1] + levels[1:]) / 2)
    exact = (more + 1) * 32767.5
    truth = table[(exact + 0.5).floor().long()]
    if torch.equal(returned.long(), theirs.long()) and torch.equal(mine.long(), truth):
        different = (nearest != theirs.long()).sum().item()
        return f"all {len(scaled):,} codes are those of bitsandbytes, even the {different} that aren't the nearest."
    if mine.max() > 255:
        raise Hint("these are steps, up to 65,535; look the code of each step up in `table`.")
    if torch.equal(mine.long(), torch.bucketize(more, (levels[:-1] + levels[1:]) / 2)):
        raise Hint("this is the nearest level itself; go through the steps: first i, then `table[i]`.")
    if torch.equal(mine.long(), table[exact.floor().long()]):
        raise Hint("this rounds down to a step; add ½ before `floor`.")
    if torch.equal(mine.long(), table[exact.round().long()]):
        raise Hint("`round` takes halves to the even neighbor; add ½ and take `floor`, as the kernel does.")
    wrong = (returned.long() != theirs.long()).sum().item() or (mine.long() != truth).sum().item()
    raise Hint(f"{wrong:,} codes differ. First the step, rounded to the nearest one; then the code of that step.")


def _dynamic_map() -> torch.Tensor:
    levels = [0.0, 1.0]
    for decade in range(7):
        edges = torch.linspace(0.1, 1, 2**decade + 1)
        centers = (10 ** (decade - 6) * (edges[:-1] + edges[1:]) / 2).tolist()
        levels += centers + [-center for center in centers]
    return torch.tensor(sorted(levels))


@exercise("03-4")
def check_bits(answer) -> str:
    for block, second in ((64, 256), (32, 256), (128, 64)):
        found = number(call(answer, block, second), "what bits_per_weight returns")
        truth = 4 + 8 / block + 32 / (block * second)

        def near(value, found=found):
            return abs(found - value) < 1e-9 * value

        if near(truth):
            continue
        if near(4 + 32 / block):
            raise Hint("this is without double quantization: absmax has 8 bits now.")
        if near(4 + 8 / block):
            raise Hint("the second absmax is missing: 32 bits for each `second_block_size` blocks.")
        if near(4 + 8 / block + 32 / second):
            raise Hint("the second absmax belongs to `second_block_size` blocks of `block_size` weights each.")
        if near(truth - 4):
            raise Hint("these are the constants alone; add the 4 bits of the code.")
        if near(4 + 8 / 64 + 32 / (64 * 256)):
            raise Hint("use the arguments `block_size` and `second_block_size`, not 64 and 256.")
        raise Hint("count once more: 4 bits of code, 8 bits that a block shares, 32 bits that many blocks share.")
    return (
        f"{4 + 8 / 64 + 32 / (64 * 256):.4f} at 64 and 256, against 4.5: {32 / 64 - 8 / 64 - 32 / (64 * 256):.3f} less."
    )


@exercise("03-3")
def check_way_back(answer) -> str:
    levels = _dynamic_map()
    for values, block in ((300, 128), (512, 256), (70, 64)):
        generator = torch.Generator().manual_seed(values)
        codes = torch.randint(256, (values,), generator=generator).to(torch.uint8)
        second = 0.1 + torch.rand(-(-values // block), generator=generator)
        offset = torch.tensor(0.7)
        found = call(answer, codes, second, offset, levels, block)
        if not isinstance(found, torch.Tensor):
            raise Hint("return a tensor with one absmax for each code.")
        if found.numel() != values:
            raise Hint(
                f"there are {values} codes, and this returns {found.numel()} values: the last block may be short."
            )
        scales = second.repeat_interleave(block)[:values]
        looked_up = levels[codes.int()]

        def near(other, found=found):
            return torch.allclose(found.double().flatten(), other.double(), atol=1e-6)

        if near(looked_up * scales + offset):
            continue
        if near(looked_up * scales):
            raise Hint("the offset is missing: the mean was subtracted at the beginning.")
        if near((looked_up + offset) * scales):
            raise Hint("the offset is added at the end, after multiplying, since it was subtracted before dividing.")
        if near(looked_up + offset) or near(looked_up):
            raise Hint("a level has to be multiplied by the second absmax of its block.")
        if near(codes.double() * scales + offset):
            raise Hint("a code is only a level's place in the list: look up `levels` first.")
        raise Hint("three steps: the level of each code, times the scale of its block, plus the offset.")
    return "level, times scale, plus offset: that's what every 4-bit layer does first when it is used."


@exercise("03-6")
def check_rounding_error(answer, *, scaled: torch.Tensor) -> str:
    small = torch.arange(127, dtype=torch.uint8).view(torch.float8_e4m3fn).float() / 448
    types = {"the dynamic type": _dynamic_map(), "FP8 E4M3": torch.cat([-small[1:].flip(0), small])}
    types["INT8"] = torch.arange(-127, 128) / 127
    values = scaled.float().cpu()
    found = {}
    for name, levels in types.items():
        found[name] = number(call(answer, values.clone(), levels.clone()), "what rounding_error returns")
        off = levels[torch.bucketize(values, (levels[:-1] + levels[1:]) / 2)] - values
        truth = off.square().mean().item()

        def near(other, error=found[name]):
            return abs(error - other) < 1e-3 * other

        if near(truth):
            continue
        if near(off.abs().mean().item()):
            raise Hint("this is the mean of the absolute error; square it first.")
        if near(off.square().sum().item()):
            raise Hint("this is the sum of the squared errors; take the mean.")
        if near(truth**0.5):
            raise Hint("this is the root of the mean squared error; leave it squared.")
        if near((levels[torch.bucketize(values, levels).clamp(max=len(levels) - 1)] - values).square().mean().item()):
            raise Hint("this takes the next level above; the borders lie half-way *between* levels.")
        raise Hint("round each value to the nearest level, subtract, square, and take the mean.")
    best = min(found, key=found.get)
    told = ", ".join(f"{name} {1e6 * error:.1f}" for name, error in found.items())
    return f"in millionths: {told}. So {best} fits these absmax best."
