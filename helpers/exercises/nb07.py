"""Checks of notebook 07: perplexity of two texts, KL of two models, an unpaired interval, and six reports."""

import math

import numpy as np

from . import Hint, call, exercise, matched, number, numbers


@exercise("07-1")
def check_two_texts(answer) -> str:
    a, b, both = numbers(answer, 3, "three numbers: the perplexity of A, of B, and of both together")
    truth = 2 ** (8 / 5)
    for name, value, mean, tokens in (("A", a, math.log(2), 4), ("B", b, math.log(16), 1)):
        if abs(value - mean) < 0.01:
            raise Hint(f"for {name} this is the loss in nats; perplexity is e to it.")
        if tokens > 1 and abs(value - math.exp(tokens * mean)) < 0.1:
            raise Hint(f"for {name} these are all nats together; take the mean over its tokens before e.")
        if abs(value - math.exp(mean)) > 0.01 * math.exp(mean):
            raise Hint(f"for {name}: which number of equally likely tokens gives each one that probability?")
    if abs(both - 9) < 0.01:
        raise Hint("this is the mean of two perplexities: each text counts the same, and each token should.")
    if abs(both - 2**2.5) < 0.02:
        raise Hint("this takes the mean of the texts' losses: a text of one token counts as much as one of four.")
    if abs(both - 8 / 5 * math.log(2)) < 0.01:
        raise Hint("this is the loss of both together; perplexity is e to it.")
    if abs(both - truth) > 0.02:
        raise Hint("add up the nats of all five tokens, divide by five, and take e to that.")
    return f"{truth:.2f} for both. The mean of 2 and 16 would be 9: one odd token would weigh as much as four."


@exercise("07-2")
def check_two_models(answer) -> str:
    before, x, y = (0.5, 0.25, 0.25), (0.25, 0.5, 0.25), (0.5, 0.05, 0.45)

    def kl(p, q) -> float:
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))

    found = numbers(answer, 2, "two numbers: the KL of X and that of Y")
    for name, value, after in zip("XY", found, (x, y), strict=True):
        truth = kl(before, after)
        if abs(value - truth) < 0.004:
            continue
        for wrong, hint in (
            (kl(after, before), "the 16-bit model's probabilities are the weights and stand on top, p / q."),
            (truth / math.log(2), "this is in bits; use the natural logarithm for nats."),
            (sum(math.log(a / b) for a, b in zip(before, after, strict=True)), "each logarithm is weighted with p."),
            (sum(abs(a * math.log(a / b)) for a, b in zip(before, after, strict=True)), "keep the minus signs."),
            (-truth, "the sum of all terms can't be negative: it's p / q, not q / p."),
        ):
            if abs(value - wrong) < 0.004:
                raise Hint(f"for {name}: {hint}")
        raise Hint(f"for {name}: three terms, p · log(p / q), one for each token. Where p = q the term is 0.")
    return "Y has moved further than X, although its first choice is still the same. A quiz would only see X."


@exercise("07-3")
def check_separate_interval(answer, *, reads) -> str:
    function, predicted = answer
    predicted = number(predicted, "your prediction: how many times as wide as the paired interval")
    wanted = [("nf4", "nf4-dq"), ("nf4", "fp4"), ("4-bit rounding", "fp4")]
    pairs = [(one, two) for one, two in wanted if one in reads and two in reads] or [tuple(reads)[:2]]
    said = []
    for one, two in pairs:
        before, after = reads[one], reads[two]
        low, high = numbers(call(function, before, after), 2, "two numbers, the low and the high end")
        least, most = _look(before, after, low, high, f"from {one} to {two}")
        times = (high - low) / (most - least)
        said.append(f"{one} to {two}: {low:+.2%} to {high:+.2%}, with the same texts {least:+.2%} to {most:+.2%}")
    return f"{'; '.join(said)}. For {one} and {two} that's {times:.1f} times as wide; you predicted {predicted:g}."


def _look(before, after, low: float, high: float, pair: str) -> np.ndarray:
    """Return the paired interval; raise a Hint unless the unpaired one is from low to high, or nearly so."""
    rng, n = np.random.default_rng(7), len(before.tokens)
    mine, yours = (rng.multinomial(n, np.full(n, 1 / n), size=10_000) for _ in range(2))
    one, two, tokens = before.nats, after.nats, before.tokens

    def ends(values) -> np.ndarray:
        return np.quantile(values, (0.025, 0.975))

    rise = yours @ two / (yours @ tokens) - mine @ one / (mine @ tokens)
    truth, found = ends(np.expm1(rise)), np.array([low, high])

    def near(other) -> bool:
        return bool(np.abs(found - other).max() <= 0.05 * (other[1] - other[0]) + 1e-9)

    paired = ends(np.expm1(mine @ (two - one) / (mine @ tokens)))
    if near(truth):
        return paired
    if low > high:
        raise Hint(f"{pair}: the lower end comes first.")
    if near(100 * truth):
        raise Hint(f"{pair}: give fractions, not percent.")
    if near(ends(np.expm1(-rise))):
        raise Hint(f"{pair}: this is the other way round. How much does `two` cost more than `one`?")
    if near(paired):
        raise Hint(f"{pair}: this is the paired interval. Here each model draws texts of its own.")
    if near(ends(np.expm1((yours @ two - mine @ one) / (mine @ tokens)))):
        raise Hint(f"{pair}: the two draws differ in length. Divide each model's nats by the tokens of its own draw.")
    if near(ends(np.expm1((yours @ (two / tokens) - mine @ (one / tokens)) / n))):
        raise Hint(f"{pair}: here each text counts the same, and each token should: add up nats and tokens first.")
    raise Hint(f"{pair}: not yet. For each model: draw texts, add up their nats and their tokens, and take the loss.")


@exercise("07-4")
def check_reports(answer) -> str:
    truth = {"A": "worse", "B": "worse", "C": "cannot tell", "D": "better", "E": "cannot tell", "F": "cannot tell"}
    why = {
        "A": "A: don't go by the scores. Count where `a_16` has r and `a_4` has w, and the reverse; then compute p.",
        "B": "B: only the 96 changed answers count, not all 2,000. Compute p for 60 and 36.",
        "C": "C has the same net loss as B, but more changed answers. Compute p for 120 and 96.",
        "D": "D: KL is far from zero, but doesn't say for better or for worse. Do the answers? Compute p for 4, 14.",
        "E": "E: the same texts, so the two can be compared. But on which side of zero is the interval?",
        "F": "F: two separate exams, so nothing is paired. A difference's standard error is √2 times a score's.",
    }
    matched(answer, truth, why)
    return "a count of changed answers, an interval, or whether the questions were the same: ask for what's missing."
