"""Checks of notebook 07: perplexity of two texts, a p-value, KL of two models, and what six reports show."""

import math

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
def check_p_value(answer) -> str:
    def ways(n: int, k: int) -> int:
        return sum(math.comb(n, i) for i in range(k + 1))

    for lost, won in ((7, 1), (3, 0), (2, 9), (150, 108), (5, 5), (0, 0)):
        n, few = lost + won, min(lost, won)
        truth, found = min(1.0, 2 * ways(n, few) / 2**n), number(call(answer, lost, won), "what p_value returns")
        if abs(found - truth) < 1e-9:
            continue
        if abs(found - ways(n, few) / 2**n) < 1e-9 and lost != won:
            raise Hint("this counts one side of the bars; just as uneven the other way counts, too.")
        if abs(found - math.comb(n, few) / 2**n) < 1e-9 or abs(found - 2 * math.comb(n, few) / 2**n) < 1e-9:
            raise Hint("this counts exactly as uneven; more uneven counts, too: add up the bars to the edge.")
        if found > 1:
            raise Hint(f"with {lost} lost and {won} won you count the middle twice: a probability is at most 1.")
        if abs(found - (1 - truth)) < 1e-9:
            raise Hint("these are the gray bars; the marked ones are wanted.")
        if won > lost and abs(found - min(1.0, 2 * ways(n, max(lost, won)) / 2**n)) < 1e-9:
            raise Hint(f"with {lost} lost and {won} won count from the smaller of the two.")
        raise Hint(f"with {lost} lost and {won} won the marked bars are {truth * 2**n:,.0f} of {2**n:,} ways.")
    return "18 of 256 for 7 and 1, and the same rule for any two counts. This is McNemar's exact test."


@exercise("07-3")
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


@exercise("07-4")
def check_reports(answer) -> str:
    truth = {"A": "worse", "B": "worse", "C": "cannot tell", "D": "better", "E": "cannot tell", "F": "cannot tell"}
    why = {
        "A": "A: don't go by the scores. Count where `a_16` has r and `a_4` has w, and the reverse; then compute p.",
        "B": "B: only the 96 changed answers count, not all 2,000. Compute p for 60 and 36.",
        "C": "C has the same net loss as B, but more changed answers. Compute p for 120 and 96.",
        "D": "D: KL is far from zero, but doesn't say for better or for worse. Do the answers? Compute p for 4, 14.",
        "E": "E: same texts and windows, so the two can be compared. But on which side of zero is the interval?",
        "F": "F: two separate exams, so nothing is paired. A difference's standard error is √2 times a score's.",
    }
    matched(answer, truth, why)
    return "a count of changed answers, an interval, or whether the questions were the same: ask for what's missing."
