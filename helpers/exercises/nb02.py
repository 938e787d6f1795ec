"""Checks of notebook 02: the offset, a 3-bit relative of NF4, unpacking, the error of a layer's output."""

import torch

from . import Hint, call, exercise, number


@exercise("02-1")
def check_offset(answer) -> str:
    offset = number(answer, "offset")
    truth = 1 - (1 / 32 + 1 / 30) / 2

    def near(value):
        return abs(offset - value) < 2e-7

    if near(truth):
        return f"1 − ½(1/32 + 1/30) = {truth:.8f}; bitsandbytes writes 0.9677083."
    if near(1 - truth):
        raise Hint("this is the probability that stays outside; the offset is where the levels end, just below 1.")
    if near(1 - (1 / 32 + 1 / 30)):  # the mean of 1/16 and 1/15, too
        raise Hint(
            "twice too much is left outside: take the mean of 1/32 and 1/30, which are halves of the last slices."
        )
    if near(1 - 1 / 32) or near(1 - 1 / 30) or near(1 - 1 / 31):
        raise Hint("take the mean of the two probabilities 1/32 and 1/30, not one of them or 1/31.")
    raise Hint("the offset is 1 minus the mean of 1/32 and 1/30.")


@exercise("02-2")
def check_nf3(answer) -> str:
    returned = call(answer)
    if not isinstance(returned, torch.Tensor) or returned.dim() != 1:
        raise Hint("return a one-dimensional tensor.")
    if len(returned) != 8:
        raise Hint(f"3 bits stand for 8 levels, and these are {len(returned)}: 4 positive, zero once, 3 negative.")
    returned = returned.double()
    if not torch.isfinite(returned).all():
        raise Hint("a level is infinite or NaN: the quantile of 0 or of 1 is; start at the offset.")
    if not (returned.diff() > 0).all():
        raise Hint("the levels should ascend: sort them.")
    if abs(returned[-1] - 1) > 1e-6:
        raise Hint("the largest level should be 1: divide by it.")

    def levels(offset):
        up = torch.special.ndtri(torch.linspace(offset, 0.5, 5, dtype=torch.float64)[:-1])
        down = -torch.special.ndtri(torch.linspace(offset, 0.5, 4, dtype=torch.float64)[:-1])
        both = torch.cat([down, torch.zeros(1, dtype=torch.float64), up]).sort().values
        return both / both.max()

    def near(other):
        return torch.allclose(returned, other, atol=1e-5)

    truth = levels(1 - (1 / 16 + 1 / 14) / 2)
    if near(truth):
        return "eight levels by the same recipe: " + ", ".join(f"{level:.3f}" for level in truth) + "."
    if near(levels(0.9677083)):
        raise Hint("this is the offset of 16 and 15 levels; with 8 and 7 it is 1 − ½(1/16 + 1/14).")
    if near(-truth.flip(0)):
        raise Hint("the longer side, with 4 levels, is the positive one.")
    if (returned > 0).sum() != 4 or (returned == 0).sum() != 1:
        raise Hint("there should be 4 positive levels, exactly one zero and 3 negative ones.")
    raise Hint(
        "4 equal steps of probability from the offset 1 − ½(1/16 + 1/14) to ½ on the positive side, 3 on the other."
    )


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
    for tokens, features, outputs in ((7, 32, 20), (16, 16, 16)):
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
        raise Hint(f"for a test it should be {truth:.4f}: ‖x·w_roundedᵀ − x·wᵀ‖ / ‖x·wᵀ‖.")
    return "the error where it counts: after the multiplication."
