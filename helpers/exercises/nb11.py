"""Checks of notebook 11: the least time of a product, a budget of operations, a claim to judge, Amdahl's law."""

from . import Hint, call, exercise, matched, number


@exercise("11-1")
def check_least_time(answer) -> str:
    found = number(answer, "the time in microseconds")
    weights, bits, bandwidth = 14336 * 4096, 4.127, 3e12
    truth = 1e6 * weights * bits / 8 / bandwidth

    def near(value):
        return abs(found - value) < 0.012 * abs(value)

    if near(truth):
        return f"{truth:.1f} µs. In bf16 the same layer takes at least {1e6 * weights * 2 / bandwidth:.1f} µs."
    if near(1e6 * weights * 4 / 8 / bandwidth):
        raise Hint("these are the codes alone; with its constants a weight takes 4.127 bits.")
    if near(8 * truth):
        raise Hint("these are bits; the bandwidth is in bytes per second, and a byte has 8 bits.")
    if near(1e6 * weights * 2 / bandwidth):
        raise Hint("this is bf16, with 2 bytes per weight.")
    if near(truth / 1e6) or near(truth / 1e3):
        raise Hint("give it in microseconds, of which a second has a million.")
    raise Hint("first the number of weights, then their bytes, then bytes divided by 3e12, then times a million.")


@exercise("11-2")
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
            raise Hint("these are operations per byte; a byte holds two weights, and absmax takes some bytes as well.")
        if near(weights / (rate * seconds)):
            raise Hint("turn it over: operations per weight, not weights per operation.")
        if near(rate / weights):
            raise Hint("this is for a whole second; the bytes are read in less.")
        raise Hint(
            "multiply the operations per second by the seconds in which the bytes are read, then divide by the weights."
        )
    return "right. With more operations than that, bytes no longer set the pace."


@exercise("11-3")
def check_claim(answer) -> str:
    truth = {"A": "yes", "B": "yes", "C": "no", "D": "yes", "E": "yes", "F": "no"}
    why = {
        "A": "A: look at the figure above: the order changes with the number of rows.",
        "B": "B: another GPU has another bandwidth, and other limits for the work: both sides of the comparison move.",
        "C": "C: fine-tuning changes the values of weights. Does a kernel take longer for other values?",
        "D": "D: in the table of four layers, is the smallest one as near to its least time as the largest?",
        "E": "E: what a step does besides products becomes no faster by a new product.",
        "F": "F: how good the answers are matters, but does a kernel run faster for a better model of the same size?",
    }
    matched(answer, truth, why)
    return "speed depends on shapes, rows, the GPU and the rest of the step, and not on what the weights say."


@exercise("11-4")
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
            raise Hint("the rest becomes faster as well, by `r`.")
        if abs(value - s * r) < 1e-9:
            raise Hint("each factor applies to its own part alone.")
        raise Hint("the old time is 1: `p` of it for products. Work out both new times and add them.")
    return f"products that cost nothing would make a step with p = 70% {1 / 0.3:.1f}× as fast, and no faster."
