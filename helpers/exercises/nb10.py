"""Checks of notebook 10: one verdict for several cases, what fits into 2 GB, how many questions a difference needs,
three claims to judge, and a margin before its result."""

import itertools

import torch

from . import Hint, call, exercise, matched, number, numbers


@exercise("10-1")
def check_verdict(answer) -> str:
    for count in (1, 2, 3, 4):
        for kinds in itertools.product(("true", "false", "open"), repeat=count):
            returned = call(answer, list(kinds))
            truth = "depends" if {"true", "false"} <= set(kinds) else "open" if "open" in kinds else kinds[0]
            if returned == truth:
                continue
            given = f"for {list(kinds)} it returns {returned!r}"
            if returned not in ("true", "false", "depends", "open"):
                raise Hint(f'{given}: return "true", "false", "depends" or "open".')
            if "open" not in kinds:
                raise Hint(f"{given}, but no case is open here. Do all cases agree?")
            if truth == "depends":
                raise Hint(f"{given}. Replace each open case by true, then by false: does the verdict change at all?")
            raise Hint(
                f'{given}. Suppose that the open cases turn out "true", then "false". Would it be right both times?'
            )
    return "a verdict that more measuring can only settle, never overturn."


@exercise("10-2")
def check_parameters(answer) -> str:
    value = number(answer, "parameters")
    in_4_bits = 4 + 8 / 64 + 32 / (64 * 256)
    truth = 2e9 * 8 / (0.96 * in_4_bits + 0.04 * 16)
    if abs(value / truth - 1) < 2e-3:
        return f"{value / 1e9:.2f} billion parameters. That isn't 7."
    if abs(value / 4e9 - 1) < 2e-3 or abs(value / (2e9 * 8 / (0.96 * 4 + 0.04 * 16)) - 1) < 2e-3:
        raise Hint("this counts the codes alone. With double quantization, constants add 0.127 bits per weight.")
    if abs(value / (2e9 * 8 / in_4_bits) - 1) < 2e-3:
        raise Hint("this has every parameter in 4 bits. What do the 4% in 16 bits do to the average?")
    if abs(value / (2e9 * 8 / (0.96 * 4.5 + 0.04 * 16)) - 1) < 2e-3:
        raise Hint("4.5 bits per weight is NF4 without double quantization.")
    if abs(value * 8 / truth - 1) < 2e-3:
        raise Hint("2 GB is 2·10⁹ bytes, and each byte has 8 bits.")
    if value < 100:
        raise Hint("give the number of parameters, not of billions of parameters.")
    raise Hint(
        "how many bits does a parameter take on average, if 96 of 100 are in NF4 and 4 in 16 bits? Of such parameters, "
        "how many fit into the bits of 2 GB?"
    )


@exercise("10-3")
def check_questions(answer) -> str:
    value = number(answer, "questions")
    variance, times = 0.61 * 0.39, (1.96 / 0.002) ** 2
    truth = 2 * variance * times
    if abs(value / truth - 1) < 0.01:
        return f"about {round(value, -3):,.0f} questions each, {value / 14042:.0f} times as many as MMLU has."
    if abs(value * (3 / 2) ** 2 / truth - 1) < 0.01:
        raise Hint("this shows that there is a loss. It should show that the loss is smaller than the margin.")
    if abs(value * (5 / 2) ** 2 / truth - 1) < 0.01:
        raise Hint("half a point is the margin. How much room does a loss of 0.3 points leave below it?")
    if abs(value / (truth / 2) - 1) < 0.01:
        raise Hint("this is for one score and a known value. Here both scores vary, and their variances add.")
    if abs(value / (2 * variance / 0.002**2) - 1) < 0.01:
        raise Hint("the interval reaches 1.96 standard errors to either side, not 1.")
    if abs(value * 1e4 / truth - 1) < 0.01:
        raise Hint("0.2 points are 0.002, not 0.2.")
    if abs(value / (truth / 4) - 1) < 0.01:
        raise Hint("the interval reaches 1.96 standard errors up, and as many down. Only the upper end may not cross.")
    if abs(value / (4 * variance * times) - 1) < 0.01:
        raise Hint("the variances of the two scores add once, which makes 2 p (1 - p) / n in all.")
    raise Hint(
        "where does the upper end of the interval have to lie? The variance of the difference is that of both "
        "scores together."
    )


def _others(weights: torch.Tensor, group: int) -> float:
    """Squared error of all but the first weight, rounded to −7 … 7 with one scale for each group."""
    groups = weights.reshape(-1, group)
    scale = groups.abs().amax(1, keepdim=True) / 7
    return (((groups / scale).round() * scale - groups).flatten()[1:]).square().sum().item()


@exercise("10-4")
def check_wild(answer) -> str:
    found, verdicts = answer
    if not isinstance(found, dict) or set(found) != {"A", "B", "C"}:
        raise Hint('`found` is a dict with "A", "B" and "C".')
    gigabytes, errors = number(found["A"], "A"), number(found["C"], "C")
    growth = numbers(found["B"], 2, "B")
    inner = 80 * (2 * 8192 * 8192 + 2 * 1024 * 8192 + 3 * 28672 * 8192)  # q, o; k, v; gate, up, down
    rest = 2 * (2 * 32_000 * 8192 + 161 * 8192)  # embeddings, head and norms, in 16 bits
    truth = (inner * (4 + 8 / 64 + 32 / (64 * 256)) / 8 + rest) / 1e9
    if abs(gigabytes / truth - 1) > 0.01:
        if abs(gigabytes / 39.55 - 1) < 0.01:
            raise Hint("A: this is NF4 without double quantization.")
        if abs(gigabytes / truth * 1.073741824 - 1) < 0.01:
            raise Hint("A: this is in GiB. A GB is 10⁹ bytes.")
        if gigabytes > 1e3:
            raise Hint("A: this is in bytes; give GB.")
        raise Hint('A: forecast the weights, `memory.predict(llama_70b, "nf4-dq").weight_bytes / 1e9`.')
    layer = torch.randn(256, 256, generator=torch.Generator().manual_seed(0))
    outlier = layer.clone()
    outlier[0, 0] = 50
    wanted = [_others(outlier, group) / _others(layer, group) for group in (layer.numel(), 64)]
    for given, true, name in zip(growth, wanted, ("one scale for the tensor", "blocks of 64"), strict=True):
        if abs(given / true - 1) > 0.1:
            raise Hint(
                f"B, {name}: divide the squared error of the other weights with the outlier by theirs without it. "
                "The outlier itself, at [0, 0], doesn't count, and both times the scale is the same kind."
            )
    if abs(abs(errors) / 0.1397 - 1) > 0.05:
        if abs(abs(errors) / 0.1974 - 1) < 0.05:
            raise Hint("C: both scores vary, so both variances count.")
        raise Hint("C: the scores are shares, 0.710 and 0.714, of 500 questions each.")
    matched(
        verdicts,
        {"A": "true", "B": "depends", "C": "open"},
        {
            "A": f"A: how many percent is 35 off {gigabytes:.1f}? Compare that with the margin for figures.",
            "B": "B: is the layer ruined in both cases, in neither, or in one of them?",
            "C": "C: “better than” needs an interval with one sign. Does this one, about 2 standard errors to either "
            "side, include zero?",
        },
        ("false",),
    )
    return "one that holds after all, one that lacks a condition, and one that nobody can know yet."


@exercise("10-5")
def check_margin(answer, *, sealed) -> str:
    margin = number(answer, "margin")
    if margin <= 0:
        raise Hint("with this margin hardly any result could count as true. Which loss would you not even notice?")
    if margin > 0.5:
        raise Hint("give a share: 0.01 is 1%, and 1 would be a perplexity twice as high.")
    if sealed is None:
        return "it is fixed. But a model of random weights knows nothing, so there is no result to open."
    _, least, most = sealed["nf4-dq over 16 bits"]  # which was seen, and is about as wide as FP4's interval
    half = (most - least) / 2
    if margin <= half:
        raise Hint(
            f"an interval from these texts reaches about {half:.2%} to either side. With a margin of {margin:.2%}, the "
            "claim would stay open even if FP4 lost nothing at all."
        )
    if margin >= least > half:
        raise Hint(
            f"NF4 itself loses between {least:.1%} and {most:.1%}, which we called not negligible. With this "
            "margin you could not call the same loss false."
        )
    value, low, high = sealed["fp4 over nf4"]
    kind = "true" if high < margin else "false" if low > margin else "open"
    return (
        f"it is fixed at {margin:.3g}, so here is the result: with FP4, perplexity is {value:.2%} higher than with NF4 "
        f"({low:.2%} to {high:.2%}). The claim is {kind}. From {max(high, 0):.1%} on, a margin would make it true. "
        "If you now feel like changing yours, that is why it comes first."
    )
