"""Checks of notebook 03: bytes of absmax, levels of the dynamic map, the kernel's rule, bits a weight."""

import torch

from . import Hint, call, exercise, number


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
        raise Hint("nearly: give the exact number of bytes; the weights divide by 64 without a rest.")
    raise Hint("divide the weights by 64 and multiply by the 4 bytes of a float32.")


@exercise("03-2")
def check_levels(answer) -> str:
    value = number(answer, "how_many")
    if value == 48:
        return "32 between 0.01 and 0.1, and 16 between 0.001 and 0.01: each decade down has half as many."
    if value == 96:
        raise Hint("these are both signs; count the positive ones.")
    if value in (32, 16):
        raise Hint("this is one decade; from 0.001 to 0.1 there are two.")
    if value in (112, 111, 113):
        raise Hint("the decade from 0.1 to 1 does not belong to it.")
    raise Hint("in decade i of the construction there are 2**i positive levels; i = 6 is 0.1 to 1.")


@exercise("03-3")
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
        return f"all {len(scaled):,} codes are bitsandbytes', also the {different} that are not the nearest."
    if mine.max() > 255:
        raise Hint("these are steps, up to 65,535; look the code of each step up in `table`.")
    if torch.equal(mine.long(), torch.bucketize(more, (levels[:-1] + levels[1:]) / 2)):
        raise Hint("this is the nearest level itself; go through the steps: first i, then `table[i]`.")
    if torch.equal(mine.long(), table[exact.floor().long()]):
        raise Hint("this rounds down to a step; add ½ before `floor`.")
    if torch.equal(mine.long(), table[exact.round().long()]):
        raise Hint("`round` takes halves to the even neighbor; add ½ and take `floor`, as the kernel does.")
    wrong = (returned.long() != theirs.long()).sum().item() or (mine.long() != truth).sum().item()
    raise Hint(f"{wrong:,} codes differ; i = floor((s + 1) · 32767.5 + 0.5), then `table[i]`.")


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
        raise Hint(f"for blocks of {block} and {second} it should be {truth:.4f}.")
    return (
        f"{4 + 8 / 64 + 32 / (64 * 256):.4f} at 64 and 256, against 4.5: {32 / 64 - 8 / 64 - 32 / (64 * 256):.3f} less."
    )
