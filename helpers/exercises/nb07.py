"""Checks of notebook 07: perplexity of many texts, the most answers that may change, KL divergence."""

import math

import torch

from . import Hint, call, exercise, number


@exercise("07-1")
def check_of_all(answer) -> str:
    nats, tokens = [12.0, 90.0, 3.5], [30, 40, 1]
    value = number(call(answer, nats, tokens), "what of_all returns")
    loss = sum(nats) / sum(tokens)
    if abs(value - math.exp(loss)) < 1e-6:
        return f"{value:.2f} here; the mean of the three texts' own perplexities would be {_mean(nats, tokens):.1f}."
    if abs(value - loss) < 1e-6:
        raise Hint("this is the loss, in nats a token; perplexity is e to it.")
    if abs(value - _mean(nats, tokens)) < 1e-6:
        raise Hint("this is the mean of the texts' perplexities: each text counts the same, and each token should.")
    if abs(value - math.exp(sum(n / t for n, t in zip(nats, tokens, strict=True)) / 3)) < 1e-6:
        raise Hint("this takes the mean of the texts' losses: a text of one token counts as much as one of forty.")
    if abs(value - 2**loss) < 1e-6:
        raise Hint("nats belong to e, not to 2.")
    raise Hint("add up all nats, divide by all tokens, and take e to that.")


def _mean(nats, tokens) -> float:
    return sum(math.exp(n / t) for n, t in zip(nats, tokens, strict=True)) / len(nats)


@exercise("07-2")
def check_most_changed(answer) -> str:
    value = number(answer, "most_changed")
    truth = math.floor((42 / 1.96) ** 2) // 2 * 2
    if value == truth:
        return f"{truth} answers, {truth / 14_042:.1%} of MMLU; with two more the loss may be luck."
    if value == truth + 1:
        raise Hint("b − c is even, so b + c is even, too: this many cannot occur.")
    if value == truth + 2:
        raise Hint("with that many z is just below 1.96: round down.")
    if abs(value - 42 / 1.96) < 1:
        raise Hint("this is the square root of b + c; square it.")
    if abs(value - 42 * 1.96) < 1 or abs(value - (42 * 1.96) ** 2) < 2:
        raise Hint("z falls as b + c grows: 42 is divided by 1.96.")
    if abs(value - truth) < 1:
        raise Hint("a whole number of questions is wanted.")
    raise Hint("b − c is 42; set 42 / sqrt(b + c) to 1.96 and solve for b + c.")


@exercise("07-3")
def check_divergence(answer) -> str:
    generator = torch.Generator().manual_seed(0)
    logits = [3 * torch.randn(7, 11, generator=generator) for _ in range(2)]
    p, q = (x.log_softmax(-1) for x in logits)
    truth = (p.exp() * (p - q)).sum(-1)
    found = number(call(answer, *logits), "what divergence returns")

    def near(value) -> bool:
        return abs(found - float(value)) < 1e-4 * abs(float(truth.mean()))

    if near(truth.mean()):
        turned = (q.exp() * (q - p)).sum(-1).mean()
        return f"{found:.3f} nats a token on the check's logits; the other way round it would be {turned:.3f}."
    if near((q.exp() * (q - p)).sum(-1).mean()):
        raise Hint("p and q have changed places: the weights are the reference's probabilities.")
    if near(truth.sum()):
        raise Hint("this is the sum over the tokens; the mean is wanted.")
    if near((p.exp() * (p - q)).mean()):
        raise Hint("sum over the vocabulary, and take the mean over the tokens alone.")
    if near(truth.mean() / math.log(2)):
        raise Hint("this is in bits; nats are wanted, with the natural logarithm.")
    if near((p.exp() * (logits[0] - logits[1])).sum(-1).mean()):
        raise Hint("logits are not logarithms of probabilities yet: log_softmax makes them sum to one.")
    if near(-(p.exp() * q).sum(-1).mean()):
        raise Hint("this is the cross-entropy; subtract what the reference itself is unsure of, its entropy.")
    raise Hint("log_softmax over the vocabulary for both, then sum p (log p − log q), then the mean over the tokens.")
