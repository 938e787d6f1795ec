"""Checks of notebook 13: the error of an output, a weight that makes up for another, pairs told apart, GPTQ on NF4."""

import torch

from . import Hint, call, exercise, number


@exercise("13-1")
def check_output_error(answer) -> str:
    draw = torch.Generator().manual_seed(0)
    x, error = torch.randn(50, 6, generator=draw), torch.randn(3, 6, generator=draw)
    truth = (x @ error.T).square().sum(1).mean().item()
    given = number(call(answer, error, x.T @ x / len(x)), "what output_error returns")
    if abs(given - truth) < 1e-4 * truth:
        return "with it, ways to round can be compared without running the model."
    if abs(given - error.square().sum().item()) < 1e-4 * truth:
        raise Hint("this is the error of the weights: H hasn't come in yet.")
    if abs(3 * given - truth) < 1e-4 * truth:
        raise Hint("add up the rows' errors instead of averaging them.")
    raise Hint("for one row it is error @ H @ error. `error @ H` does the first product for all rows at once.")


@exercise("13-2")
def check_made_up(answer) -> str:
    changed, rounded = (
        number(value, name) for value, name in zip(answer, ("the changed weight", "the rounded one"), strict=True)
    )
    if abs(changed - 0.44) < 1e-6:
        raise Hint("that would be right for equal inputs. Here the fraction is 0.5.")
    if abs(changed - 0.575) < 1e-6:
        raise Hint("the first weight became too large, so the second has to become smaller.")
    if abs(changed - 0.485) > 1e-6:
        raise Hint("e is 0.4 − 0.31. Multiply it by minus the fraction, and add that to 0.53.")
    if abs(rounded - 0.4) > 1e-6:
        raise Hint("which level is nearest to the changed weight?")
    return "half related, so it makes up for half of the error. Rounded by itself it would have become 0.6."


@exercise("13-3")
def check_told_apart(answer, *, scores, compare) -> str:
    pairs = (("Q4_K", "HQQ"), ("HQQ", "GPTQ"), ("AWQ", "GPTQ"), ("NF4", "NF4-dq"))
    if not isinstance(answer, dict) or set(answer) != set(pairs):
        raise Hint("keep the dict's four pairs, and put True or False behind each.")
    differences = {pair: compare(*(scores[name] for name in pair)) for pair in pairs}
    for pair, found in differences.items():
        if bool(answer[pair]) != found.significant:
            raise Hint(
                f"{' and '.join(pair)}: does the interval from `.low` to `.high` of *their* difference hold zero? The "
                "picture's intervals are of something else."
            )
    return f"{sum(found.significant for found in differences.values())} of the four pairs are told apart."


@exercise("13-4")
def check_gptq_nf4(answer, *, weight, seen, plain) -> str:
    given = call(answer, weight, seen)
    if not isinstance(given, torch.Tensor) or given.shape != weight.shape:
        raise Hint("return a tensor of the weight's shape.")

    def lost(rounded):
        error = rounded - weight
        return (error @ seen.products * error).sum().item()

    if torch.equal(given, plain):
        raise Hint("this is NF4 by itself: no column has passed its error on.")
    if any(len(block.unique()) > 16 for block in given.reshape(-1, 64)[:100]):
        raise Hint("a block holds more than 16 different values: round each column to NF4's levels times its absmax.")
    if lost(given) >= lost(plain):
        raise Hint(
            "the error of the output isn't smaller than NF4's: does the error reach later columns with the right sign?"
        )
    return f"the error of the output falls by {1 - lost(given) / lost(plain):.0%} against NF4 rounded by itself."
