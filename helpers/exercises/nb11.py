"""Checks of notebook 11: a budget of operations, a look-up by byte permutes, Amdahl's law."""

import random

from . import Hint, call, exercise, number


@exercise("11-1")
def check_budget(answer) -> str:
    # an H100 and an H200 with the bytes of one layer in NF4 with double quantization, and a small GPU with others
    cases = [(132, 1.755e9, 58_720_256, 30_294_016, 3.0e12), (40, 1.2e9, 4_194_304, 2_359_296, 3.2e11)]
    for processors, clock, weights, size, bandwidth in cases:
        found = number(call(answer, processors, clock, weights, size, bandwidth), "what budget returns")
        seconds, rate = size / bandwidth, processors * 64 * clock

        def near(value, found=found):
            return abs(found - value) < 1e-6 * abs(value)

        if near(rate * seconds / weights):
            continue
        if near(processors * clock * seconds / weights):
            raise Hint("each multiprocessor does 64 operations in a cycle, not one.")
        if near(64 * clock * seconds / weights):
            raise Hint("this is one multiprocessor; the GPU has `processors` of them.")
        if near(rate * seconds):
            raise Hint("these are all operations; divide by the number of weights.")
        if near(rate * seconds / size):
            raise Hint("these are operations for a byte; a byte holds two weights, and absmax takes some bytes, too.")
        if near(weights / (rate * seconds)):
            raise Hint("turn it over: operations for a weight, not weights for an operation.")
        if near(rate / weights):
            raise Hint("this is for a whole second; the bytes are read in less.")
        raise Hint("operations a second, times the seconds in which the bytes are read, divided by the weights.")
    processors, clock, weights, size, bandwidth = cases[0]
    allowed = processors * 64 * clock * size / bandwidth / weights
    return f"{allowed:.1f} operations for a weight, on a GPU that reads 3 TB/s. More of them, and bytes do not decide."


@exercise("11-2")
def check_look_up(answer) -> str:
    draw = random.Random(0)
    lower_only = upper_only = swapped = reverse = True
    wrong = False
    for _ in range(40):
        entries = [draw.randrange(256) for _ in range(16)]
        codes = [draw.randrange(16) for _ in range(4)]
        table = [sum(entries[4 * i + j] << 8 * j for j in range(4)) for i in range(4)]
        packed = sum(code << 4 * i for i, code in enumerate(codes))
        value = number(call(answer, packed, list(table)), "what look_up returns")

        def word(which):
            return sum(entry << 8 * i for i, entry in enumerate(which))

        right = [entries[code] for code in codes]
        if value < 0:
            raise Hint("a word is not negative: `~` of a Python integer is; combine it with `&` last.")
        wrong |= value != word(right)
        lower_only &= value == word([entries[code & 7] for code in codes])
        upper_only &= value == word([entries[8 + (code & 7)] for code in codes])
        reverse &= value == word(right[::-1])
        swapped &= value == word([entries[code ^ 8] for code in codes])
    if not wrong:
        return "right, for all four codes. Permutes do it without taking a code out of its word: does yours?"
    if lower_only:
        raise Hint("this reads entries 0 to 7 alone: the fourth bit of each code is not used yet.")
    if upper_only:
        raise Hint("this reads entries 8 to 15 alone: the fourth bit of each code is not used yet.")
    if swapped:
        raise Hint("the two halves are swapped: a fourth bit of 1 means entries 8 to 15.")
    if reverse:
        raise Hint("the bytes come in the opposite order: the first code belongs into the lowest byte.")
    raise Hint(
        "look up in entries 0 to 7 and in 8 to 15, four codes at once, then take each byte from the one that its "
        "code's fourth bit, of value 8, names."
    )


@exercise("11-3")
def check_faster(answer) -> str:
    for p, s, r in ((0.7, 2.5, 1.0), (0.8, 4.0, 2.0), (0.5, 10.0, 3.0)):
        value = number(call(answer, p, s, r), "what faster returns")
        if abs(value - 1 / (p / s + (1 - p) / r)) < 1e-9:
            continue
        if abs(value - (p * s + (1 - p) * r)) < 1e-9:
            raise Hint("speeds do not average like this: add the *times* of the two parts, and turn over the sum.")
        if abs(value - (p / s + (1 - p) / r)) < 1e-9:
            raise Hint("this is the new time, the old one being 1; how many times as fast is that?")
        if abs(value - 1 / (p / s + (1 - p))) < 1e-9:
            raise Hint("the rest becomes faster, too, by `r`.")
        if abs(value - s * r) < 1e-9:
            raise Hint("each factor applies to its own part alone.")
        raise Hint("the old time is 1: `p` of it for products. Work out both new times and add them.")
    return f"products that cost nothing would make a step with p = 70% {1 / 0.3:.1f}× as fast, and no faster."
