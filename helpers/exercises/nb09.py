"""Checks of notebook 09: a merged weight, the smallest update that changes a code, what twenty adapters take."""

import torch

from . import Hint, call, exercise, number


@exercise("09-1")
def check_merged(answer) -> str:
    generator = torch.Generator().manual_seed(0)
    for rows, columns, r, alpha in ((5, 7, 2, 4), (6, 6, 3, 3), (6, 6, 2, 1)):
        W, A, B = (torch.randn(*shape, generator=generator) for shape in ((rows, columns), (r, columns), (rows, r)))
        try:
            returned = call(answer, W, A, B, alpha, r)
        except Hint as hint:
            if "shapes" not in str(hint):
                raise
            raise Hint(f"{hint} B has a row for each row of W, A a column for each column: B comes first.") from None
        truth = W + alpha / r * B @ A
        if not isinstance(returned, torch.Tensor) or returned.shape != truth.shape:
            raise Hint(f"a tensor of W's shape, {rows} × {columns}, is wanted.")
        update = returned - W
        if torch.allclose(update, truth - W, atol=1e-4):
            continue
        if torch.allclose(returned, truth - W, atol=1e-4):
            raise Hint("this is the update alone; it has to be added to W.")
        if torch.allclose(update, B @ A, atol=1e-4):
            raise Hint("the scale is missing: the update is multiplied by alpha / r.")
        if torch.allclose(update, alpha * B @ A, atol=1e-4) or torch.allclose(update, r / alpha * B @ A, atol=1e-4):
            raise Hint("the scale is alpha / r: a larger rank does not make a larger update.")
        raise Hint(f"for alpha={alpha} and r={r} the update should be alpha / r times B A, and it is not.")
    return "equal to W + (α/r) B A for every shape, rank and alpha that was tried."


@exercise("09-2")
def check_least_update(answer) -> str:
    levels = [-1.0, -0.6, -0.25, 0.0, 0.2, 0.5, 1.0]
    for code, absmax in ((3, 1.0), (3, 0.04), (4, 2.0), (1, 0.5), (5, 1.0)):
        value = number(call(answer, list(levels), code, absmax), "what least_update returns")
        gap, below = levels[code + 1] - levels[code], levels[code] - levels[code - 1]
        truth = gap / 2 * absmax
        if abs(value - truth) < 1e-9:
            continue
        if abs(value - gap * absmax) < 1e-9:
            raise Hint("this is the way to the next level; rounding goes there from the middle of the gap on.")
        if abs(value - gap / 2) < 1e-9:
            raise Hint("levels are in units of the block's absmax: multiply by it.")
        if abs(value - below / 2 * absmax) < 1e-9:
            raise Hint("this is the gap below; the next level above is levels[code + 1].")
        if abs(value + truth) < 1e-9:
            raise Hint("a positive number is wanted.")
        raise Hint(f"for levels {levels}, code {code} and absmax {absmax} it is {truth:g}.")
    return "half a gap, times absmax; every shorter update leaves no trace in the code."


@exercise("09-3")
def check_customers(answer) -> str:
    merged, adapters = (number(value, name) for value, name in zip(answer, ("merged_gb", "adapters_gb"), strict=True))
    if abs(merged - 20 * 14.483) > 0.01 * 20 * 14.483:
        raise Hint("merged_gb: twenty models of 14.483 GB each, nothing is shared.")
    each = 41_943_040 * 4 / 1e9
    truth = 4.125 + 20 * each
    if abs(adapters - truth) > 0.01 * truth:
        if abs(adapters - 20 * each) < 0.01 * truth:
            raise Hint("adapters_gb: the base they share is on the disk, too.")
        if abs(adapters - 20 * (4.125 + each)) < 0.01 * 20 * truth:
            raise Hint("adapters_gb: the base is there once, not twenty times.")
        if abs(adapters - (4.125 + 10 * each)) < 0.01 * truth:
            raise Hint("adapters_gb: a float32 number has 4 bytes.")
        raise Hint("adapters_gb: one base, and twenty times 41,943,040 numbers of 4 bytes; a GB is 10⁹ bytes.")
    return f"{merged:.0f} GB against {adapters:.1f} GB, {merged / adapters:.0f} times as much."
