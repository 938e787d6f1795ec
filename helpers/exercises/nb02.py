"""Checks of notebook 02: the levels of one side, a byte by hand, unpacking, a layer's error, a better offset."""

import torch

from . import Hint, call, exercise, number, numbers


@exercise("02-1")
def check_other_side(answer) -> str:
    if not isinstance(answer, torch.Tensor) or answer.dim() != 1:
        raise Hint("give a one-dimensional tensor with the 7 negative levels.")
    levels = answer.double().sort(descending=True).values
    if not torch.isfinite(levels).all():
        raise Hint("one of these is infinite: the walk went all the way to probability 1, where the bell never ends.")

    def side(steps, outside):
        return -torch.special.ndtri(torch.linspace(0.5, 1 - outside, steps + 1, dtype=torch.float64))

    def near(other):
        return len(levels) == len(other) and torch.allclose(levels, other, atol=1e-5)

    outside = (1 / 32 + 1 / 30) / 2
    truth = side(7, outside)[1:]
    if near(truth):
        return "seven levels, from " + f"{truth[0]:.2f}σ to {truth[-1]:.2f}σ".replace("-", "−") + ", with wider gaps."
    if near(side(7, outside)):
        raise Hint("zero is among these. It is added once, for both sides, so leave it out with `[1:]`.")
    if near(-truth.flip(0)):
        raise Hint("the size of these is right, but they are positive: turn the sign.")
    if len(levels) != 7:
        raise Hint(f"the other side has 7 levels, and here are {len(levels)}: take 7 steps from 0.5.")
    if near(side(7, 1 / 32)[1:]) or near(side(7, 1 / 30)[1:]):
        raise Hint("both sides end at the same offset, the average of the two ways to cut: use `offset`.")
    raise Hint("take 7 equal steps of probability from 0.5 to the offset, look up their quantiles, and turn the sign.")


@exercise("02-2")
def check_byte(answer) -> str:
    first, second = numbers(answer, 2, "two numbers, because a byte holds two weights")
    up = torch.special.ndtri(torch.linspace(0.9677083, 0.5, 9)[:-1].double()).flip(0)
    levels = dict(enumerate((up / up[-1]).tolist(), start=8))  # codes 8 to 15, the positive levels

    def near(one, other, tolerance=6e-3):
        return abs(first - one) < tolerance and abs(second - other) < tolerance

    right = levels[9] * 0.4, levels[13] * 0.4
    if near(*right):
        return f"157 is 1001 1101: codes 9 and 13, so {right[0]:.3f} and {right[1]:.3f}."
    if near(*right[::-1]):
        raise Hint("these are the two weights in the wrong order: the first one is in the left half of the byte.")
    if near(levels[9], levels[13], 5e-3):
        raise Hint("these are the levels. A weight is its level times the absmax of its block.")
    if near(9, 13) or near(9 * 0.4, 13 * 0.4):
        raise Hint("9 and 13 are the codes. Look up the level that each of them stands for.")
    if near(levels[8] * 0.4, levels[12] * 0.4):
        raise Hint("codes are counted from 0: the first level in the list has code 0.")
    raise Hint("write 157 with 8 bits and cut it in the middle: the two halves, read as numbers, are the codes.")


@exercise("02-3")
def check_unpack(answer) -> str:
    for number_of_bytes in (1, 4, 257):
        generator = torch.Generator().manual_seed(number_of_bytes)
        codes = torch.randint(16, (2 * number_of_bytes,), generator=generator).to(torch.uint8)
        codes[:2] = torch.tensor([1, 2])
        returned = call(answer, codes[::2] << 4 | codes[1::2])
        if not isinstance(returned, torch.Tensor):
            raise Hint("return a tensor.")
        if returned.numel() != len(codes):
            raise Hint(f"{number_of_bytes} bytes hold {len(codes)} codes, and this returns {returned.numel()}.")
        if returned.dim() != 1:
            raise Hint("all codes should be in one dimension: flatten the result.")
        if torch.equal(returned.int(), codes.int()):
            continue
        pairs = codes.int().view(-1, 2)
        if torch.equal(returned.int(), pairs.flip(1).flatten()):
            raise Hint("within each byte the order is turned: the first code is in the high four bits.")
        if torch.equal(returned.int(), pairs.T.flatten()):
            raise Hint("all first codes come before all second ones; they should alternate: stack along dim=1.")
        if returned.max() > 15:
            raise Hint("a code is above 15: shift the high half down by 4 and mask the low half with 15.")
        raise Hint("the high half is `packed >> 4`, the low half `packed & 15`; put each pair side by side.")
    return "every code comes back in its place."


@exercise("02-4")
def check_output_error(answer) -> str:
    generator = torch.Generator().manual_seed(0)
    for tokens, features, outputs in ((16, 16, 16), (7, 32, 20)):
        x = torch.randn(tokens, features, generator=generator) * torch.linspace(0.1, 3, features)
        w = torch.randn(outputs, features, generator=generator)
        rounded = w + 0.1 * torch.randn(outputs, features, generator=generator)
        found = number(call(answer, x, w, rounded), "what output_error returns")
        y, wrong = x @ w.T, x @ rounded.T
        truth = ((wrong - y).norm() / y.norm()).item()

        def near(value, found=found):
            return abs(found - float(value)) < 1e-4 * abs(float(value))

        if near(truth):
            continue
        if near(truth**2):
            raise Hint("this is the ratio of squares; take the root.")
        if near((rounded - w).norm() / w.norm()):
            raise Hint("this is the error of the weights; multiply with the inputs first.")
        if near((wrong - y).norm() / wrong.norm()):
            raise Hint("divide by the norm of the right output, the one of `w`.")
        if near((wrong - y).norm()):
            raise Hint("this is the absolute error; divide by the norm of the right output.")
        if tokens == outputs == features and near((x @ (rounded - w)).norm() / (x @ w).norm()):
            raise Hint("each row of `w` is an output feature: multiply with `w.T`.")
        raise Hint("take the norm of `x @ w_rounded.T - x @ w.T`, and divide it by the norm of `x @ w.T`.")
    return "the error where it counts: after the multiplication."


@exercise("02-5")
def check_best_offset(answer) -> str:
    offset = number(answer, "the offset")
    if not 0.5 < offset < 1:
        raise Hint("the offset is a probability between 0.5, where the walk begins, and 1, where the bell never ends.")
    values = torch.randn(4096, 64, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    absmax = values.abs().amax(1, keepdim=True)

    def lost(end):
        up = torch.special.ndtri(torch.linspace(end, 0.5, 9, dtype=torch.float64)[:-1])
        down = -torch.special.ndtri(torch.linspace(end, 0.5, 8, dtype=torch.float64)[:-1])
        levels = torch.cat([down, torch.zeros(1, dtype=torch.float64), up]).sort().values
        levels = levels / levels.max()
        rounded = levels[torch.bucketize(values / absmax, (levels[:-1] + levels[1:]) / 2)] * absmax
        return ((rounded - values).square().mean() / values.square().mean()).item()

    found, own, best = lost(offset), lost(0.9677083), min(lost(0.92 + k / 200) for k in range(8))
    if found < 1.01 * best:
        return f"on other random values the error falls by {1 - found / own:.1%}, so less crowded levels are better."
    if abs(offset - 0.9677083) < 1e-4:
        raise Hint("this is NF4's own offset. Try some smaller and some larger ones, and compare the *squared* errors.")
    if offset > 0.9677083:
        raise Hint("the error is larger than with NF4's own offset: try the other direction.")
    raise Hint("this is better than NF4's own offset, but there is an even better one. Try more, in smaller steps.")
