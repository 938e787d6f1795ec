"""Checks of notebook 06: multiply-adds by hand, tokens per second from a clock, what memory makes possible, reports."""

import statistics

from . import Hint, call, exercise, matched, number, numbers


@exercise("06-1")
def check_by_hand(answer) -> str:
    adds, batch_16, batch_4 = numbers(answer, 3, "three numbers")
    if adds == 8:
        raise Hint("these are the multiply-adds of one text; the batch has six.")
    if adds == 4 * 6 or adds == 2 * 6:
        raise Hint("every one of the eight weights is used for every text.")
    if adds != 8 * 6:
        raise Hint("count them for one text first: each weight is multiplied once and added. Then there are six texts.")
    if (batch_16, batch_4) == (10, 40):
        raise Hint("the two batches are interchanged: the more bytes a weight has, the longer it takes to read.")
    if batch_16 == 20 or batch_4 == 20:
        raise Hint("20 multiply-adds go with one *byte*; a weight has another number of bytes.")
    if (batch_16, batch_4) == (20 / 2, 20 / 0.5) or batch_4 == 80 or batch_16 == 320:
        raise Hint(
            "take a single weight: how long does it take to read, counted in multiply-adds? Each text needs one."
        )
    if batch_16 != 40:
        raise Hint(
            "in 16 bits: reading one weight takes as long as how many multiply-adds? Each text needs one of them."
        )
    if batch_4 != 10:
        raise Hint("in 4 bits there is a quarter of the bytes to read, so fewer texts are enough.")
    return "in 16 bits memory is the limit up to a batch of 40, and in 4 bits only up to 10."


@exercise("06-2")
def check_tokens_per_second(answer) -> str:
    found = number(answer, "tokens_per_second")
    seconds, batch, steps = [1.90, 0.42, 0.40, 0.41, 0.80, 0.40], 4, 32
    median, mean = statistics.median(seconds[1:]), statistics.mean(seconds[1:])

    def near(value):
        return abs(found - value) < 1e-3 * value

    if near(batch * steps / median):
        return f"{batch * steps / median:.0f} tokens per second; the mean, moved by one disturbed run, would say " + (
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
        raise Hint("this is seconds per token; turn it over.")
    raise Hint("tokens of one run: 4 sequences of 32 steps. Divide by the median of the five runs that count.")


@exercise("06-3")
def check_ceiling(answers) -> str:
    answer, predicted = answers
    cases = [(4.0e9, 131_072, 2048, 1, 1e12), (14.2e9, 131_072, 512, 16, 4e12), (4.0e9, 131_072, 8192, 64, 3e11)]
    for weights, kv, context, batch, bandwidth in cases:
        found = number(call(answer, weights, kv, context, batch, bandwidth), "what ceiling returns")
        cache = context * kv

        def near(value, found=found):
            return abs(found - value) < 1e-6 * value

        if near(batch * bandwidth / (weights + batch * cache)):
            continue
        if near(bandwidth / (weights + batch * cache)):
            raise Hint("these are steps per second; each step makes one token for each sequence of the batch.")
        if near(batch * bandwidth / (weights + cache)):
            raise Hint("each sequence has a cache of its own: `batch` times `context` tokens are read.")
        if near(bandwidth / (weights + cache)):
            raise Hint("each sequence of the batch reads a cache and makes a token; the weights are read once a step.")
        if near(batch * bandwidth / weights):
            raise Hint("the KV cache is read in each step as well.")
        if near(batch * bandwidth / (batch * weights + batch * cache)):
            raise Hint("the weights are read once a step, for the whole batch.")
        if near((weights + batch * cache) / bandwidth) or near((weights + batch * cache) / bandwidth / batch):
            raise Hint("this is a time; tokens per second are tokens divided by time.")
        raise Hint("bytes of a step: weights, and batch · context · kv_bytes. Tokens of a step: batch.")
    found = number(predicted, "predicted")
    cache, codes, weights = 64 * 34 * 131_072, 3.9e9, 14.2e9

    def like(moved):
        truth = (weights + cache) / (moved + cache)
        return abs(found - truth) < 0.03 * truth

    if like(codes + 2 * weights):
        return f"{found:.2f}: 4 bits that go through memory cost more than 16. The verdict has what was measured."
    if like(codes):
        raise Hint("this is the ceiling if the weights are multiplied from their codes. Here they go through memory.")
    if like(codes + weights):
        raise Hint("the 16-bit weights pass memory twice: they are written, and then read.")
    if like(2 * weights):
        raise Hint("the codes have to be read, too, before they can be written out as weights.")
    if 1 / 0.47 < found < 1 / 0.42:
        raise Hint("turn it over: tokens in 4 bits, divided by tokens in 16.")
    raise Hint("use `ceiling` twice, with a batch of 64. In 4 bits, what does a step read, write, and read again?")


@exercise("06-4")
def check_reports(answer) -> str:
    truth = {"A": "no waiting", "B": "two programs", "C": "nothing", "D": "two phases", "E": "no turns"}
    why = {
        "A": "A's time is the same for twice the work. What takes as long to order, however long it takes to do?",
        "B": "B changed two things at once. Which of them might have made the difference?",
        "C": "Check C against the rules of this notebook, one by one. Is one broken, or is it just bad news?",
        "D": "D read 20,000 tokens and wrote ten. What was mixed up?",
        "E": "E's backup disturbed one of the two formats and not the other. How could both have been disturbed alike?",
    }
    matched(answer, truth, why, others=("warm-up",))
    return "four fast ways to a wrong number, and one number that is right and unwelcome."
