"""Checks of notebook 06: labels and padding, tokens a second from a clock, the ceiling that memory sets."""

import statistics

import torch

from . import Hint, call, exercise, number


@exercise("06-1")
def check_labels(answer) -> str:
    end = 2
    ids = torch.tensor([[1, 40, 41, 42, end], [1, 50, end, end, end], [1, 60, 61, end, end]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]])
    before = ids.clone()
    returned = call(answer, ids, mask)
    if not isinstance(returned, torch.Tensor) or returned.shape != ids.shape:
        raise Hint(f"return a tensor of the shape of `ids`, {tuple(ids.shape)} here.")
    truth = torch.where(mask == 1, before, -100)
    if torch.equal(returned, truth):
        if not torch.equal(ids, before):
            raise Hint("the labels are right, but `ids` was changed too, and the model still has to read it.")
        return "padding is left out, and each text keeps its one real end token."
    if (returned[(before == end) & (mask == 1)] == -100).any() and (
        returned[before != end] == before[before != end]
    ).any():
        raise Hint("real end tokens are gone, too: here they have the same id as padding. Ask the mask.")
    if torch.equal(returned, before):
        raise Hint("padding is still trained on.")
    if torch.equal(returned, before * mask):
        raise Hint("0 is a token like any other; what the loss ignores is −100.")
    if torch.equal(returned, torch.where(mask == 1, -100, before)):
        raise Hint("this keeps padding and drops the text: `mask` is 1 for real tokens.")
    raise Hint("where `mask` is 0 there should be −100, and everywhere else the id.")


@exercise("06-2")
def check_tokens_per_second(answer) -> str:
    found = number(answer, "tokens_per_second")
    seconds, batch, steps = [1.90, 0.42, 0.40, 0.41, 0.80, 0.40], 4, 32
    median, mean = statistics.median(seconds[1:]), statistics.mean(seconds[1:])

    def near(value):
        return abs(found - value) < 1e-3 * value

    if near(batch * steps / median):
        return f"{batch * steps / median:.0f} tokens a second; the mean, moved by one disturbed run, would say " + (
            f"{batch * steps / mean:.0f}."
        )
    if near(batch * (steps + 1) / median):
        raise Hint("the first of the 33 tokens is prefill's: decode made 32.")
    if near(steps / median) or near((steps + 1) / median):
        raise Hint("this is one sequence; the batch has 4.")
    if any(near(batch * n / mean) for n in (steps, steps + 1)):
        raise Hint("this is the mean, which one disturbed run has moved; take the median.")
    if any(near(batch * n / f(seconds)) for n in (steps, steps + 1) for f in (statistics.mean, statistics.median)):
        raise Hint("the first run was the warm-up and does not count.")
    if any(near(batch * n / min(seconds)) for n in (steps, steps + 1)):
        raise Hint("this is the fastest run; take the median of all that count.")
    if near(median / (batch * steps)) or near(median / steps):
        raise Hint("this is seconds a token; turn it over.")
    raise Hint("tokens of one run: 4 sequences of 32 steps. Divide by the median of the five runs that count.")


@exercise("06-3")
def check_ceiling(answer) -> str:
    cases = [(4.0e9, 131_072, 2048, 1, 1e12), (14.2e9, 131_072, 512, 16, 4e12), (4.0e9, 131_072, 8192, 64, 3e11)]
    for weights, kv, context, batch, bandwidth in cases:
        found = number(call(answer, weights, kv, context, batch, bandwidth), "what ceiling returns")
        cache = context * kv

        def near(value, found=found):
            return abs(found - value) < 1e-6 * value

        if near(batch * bandwidth / (weights + batch * cache)):
            continue
        if near(bandwidth / (weights + batch * cache)):
            raise Hint("these are steps a second; each step makes one token for each sequence of the batch.")
        if near(batch * bandwidth / (weights + cache)):
            raise Hint("each sequence has a cache of its own: `batch` times `context` tokens are read.")
        if near(bandwidth / (weights + cache)):
            raise Hint("each sequence of the batch reads a cache and makes a token; the weights are read once a step.")
        if near(batch * bandwidth / weights):
            raise Hint("the KV cache is read in each step, too.")
        if near(batch * bandwidth / (batch * weights + batch * cache)):
            raise Hint("the weights are read once a step, for the whole batch.")
        if near((weights + batch * cache) / bandwidth) or near((weights + batch * cache) / bandwidth / batch):
            raise Hint("this is a time; tokens a second are tokens divided by time.")
        raise Hint("bytes of a step: weights, and batch · context · kv_bytes. Tokens of a step: batch.")
    weights, kv, context, batch, bandwidth = cases[2]
    share = batch * context * kv / (weights + batch * context * kv)
    return (
        f"4 GB of weights at 1 TB/s: at most {1e12 / (4.0e9 + 2048 * 131_072):.0f} tokens a second for one sequence. "
        f"With {batch} sequences of {context:,} tokens the caches are {share:.0%} of what is read."
    )
