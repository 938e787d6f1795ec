"""Checks of notebook 11: the turns of a planned kernel, the loop of a kernel, a choice of kernel, Amdahl's law."""

import math

from . import Hint, call, exercise, matched, number


@exercise("11-1")
def check_turns(answer, *, weights, rate, measured) -> str:
    if not isinstance(answer, dict) or not {"turns", "µs"} <= set(answer):
        call(lambda: answer)  # still open, if it is the dots
        raise Hint('a dictionary is wanted here: {"turns": …, "µs": …}.')
    turns, us = (number(answer[key], f"the number of {key}") for key in ("turns", "µs"))
    codes = absmax = 4 / 32  # 32 weights are four times eight
    x, moves = 4 * 32 / 4 / 32, 4 * 9 * 2 / 32  # four turns for 32 loads, of which one serves 4 rows; written and read
    truth = codes + absmax + x + moves
    if abs(turns - truth) > 0.101:
        wrong = {
            truth - moves / 2: "moves: a number that moves is written, and then read. Count both.",
            truth - moves: "what about the numbers that move?",
            truth - 3 * x / 4: "x: 32 of these loads take four turns. Your count has one turn for them.",
            truth + 3 * x: "x: a program has 4 rows. How many weights does an x serve?",
            truth + 1: "levels: what lies in registers needs no load.",
            truth / 4: "that's for eight weights. How many turns are it for 32?",
            truth - 8 / 32: "moves: the sum of eight weights moves, too.",
        }
        for value, hint in wrong.items():
            if abs(turns - value) < 0.03:
                raise Hint(hint)
        raise Hint("turns: take codes, absmax, x and moves one by one. How many of each for 32 weights, and then / 32?")
    least = truth * weights / 32 / rate
    if abs(us - least) > 1.05:
        if abs(us - 32 * least) < 32:
            raise Hint("µs: your turns are for 32 weights. How many times 32 does the layer have?")
        raise Hint("µs: go through the line by hand above once more, with your number of turns.")
    first, second = (measured[kernel]["median"] for kernel in ("by_pointer", "by_permute"))
    return (
        f"its turns take {least:.0f} µs. We measured {second:.0f}, where the first kernel took {first:.0f}. The plan "
        f"does away with all loads of levels and saves {1 - second / first:.0%} of the time: the moves are left."
    )


@exercise("11-2")
def check_kernel(answer, *, count_loads) -> str:
    import torch

    code = getattr(getattr(answer, "fn", answer), "__code__", None)
    if code is None:
        raise Hint(f"a kernel is wanted here, and this is of type {type(answer).__name__}.")
    if ... in code.co_consts:
        call(lambda: ...)  # still open
    generator, (n, k) = torch.Generator().manual_seed(3), (6, 256)
    words = torch.randint(-(2**31), 2**31, (n * k // 8,), generator=generator).to(torch.int32)
    x, levels, absmax = (torch.randn(size, generator=generator) for size in (k, 16, n * k // 64))
    out = torch.full((n,), float("nan"))
    try:
        loads = count_loads(answer, n // 2, x, words, absmax, levels, out, k, ROWS=2, WIDTH=16)
    except Exception as error:
        raise Hint(f"your kernel raised {type(error).__name__}: {str(error).rstrip('.')}.") from None
    own = torch.arange(n)[:, None] * (k // 64)  # where a row's constants begin
    blocks, shifts = torch.arange(k // 8) // 8, [8 * (i // 2) + 4 * (1 - i % 2) for i in range(8)]

    def gives(shifts=shifts, which=own + blocks, at=None):
        weights = torch.stack([levels[((words >> shift) & 15).long()] for shift in shifts], 1).view(n, -1, 8)
        inputs = x.view(-1, 8) if at is None else x[at]
        sums = (weights.double() * inputs.double()).sum(2)
        return torch.allclose(out.double(), (sums * absmax[which].double()).sum(1), rtol=1e-4, atol=1e-4)

    in_order = [4 * i for i in range(8)]
    if gives(in_order):
        raise Hint("in each byte the codes have changed places: its first code is in the *high* four bits.")
    if gives([28 - shift for shift in in_order]):
        raise Hint("the bytes are read from the wrong end: the first byte has the *lowest* 8 bits of the word.")
    if gives(which=own + torch.arange(k // 8) // 32):
        raise Hint("`place` no longer counts bytes. It counts words, and how many of them make a block of 64?")
    if gives(which=blocks.expand(n, -1)):
        raise Hint("every row has taken the constants of row 0: where do those of `row` begin?")
    steps = torch.arange(8)
    if gives(at=(torch.arange(k // 8)[:, None] + steps)) or gives(at=(2 * torch.arange(k // 8)[:, None] + steps)):
        raise Hint("the codes are right, but not their x: a word has eight weights, so where do its x begin?")
    if not gives():
        raise Hint(
            "the sums are wrong. Take the word of our block of eight, 176 + 125 · 256 + 104 · 256² + 42 · 256³: its "
            "codes must come out as 11, 0, 7, 13, 6, 8, 2, 10."
        )
    each = {name: number / (n * k) for name, number in loads.items()}
    total = sum(each.values())
    if each["absmax"] > 0.2:
        raise Hint(
            f"the sums are right, but absmax is fetched {each['absmax']:.2f} times per weight. Take it out of the "
            "inner loop: the line after it multiplies all eight at once."
        )
    return (
        f"right, with {total:.2f} fetches per weight, and {each['levels']:.0f} of them is for the level. The kernel of "
        "exercise 1 saves that one, too."
    )


def quickest(us, texts: int, room: int) -> float:
    """The least time for so many texts, in passes of any measured number of rows for which there is room."""
    return min(math.ceil(texts / rows) * time for rows, time in us.items() if rows <= room)


@exercise("11-3")
def check_choice(answer, *, us) -> str:
    plans = {
        "A": ("bitsandbytes", 8, 8, 8),
        "B": ("bitsandbytes", 8, 4, 8),
        "C": ("torchao", 32, 8, 32),
        "D": ("torchao", 64, 16, 64),
    }
    why = {
        "A": "A: one pass each way. Which of the two is quicker with 8 rows?",
        "B": "B: in 16 bits, how many passes, with how many rows each?",
        "C": "C: in 16 bits it takes four passes. Are they quicker than one of torchao's with 32 rows?",
        "D": "D: in 16 bits it takes four passes. Are they quicker than one of torchao's with 64 rows, or two with 32?",
    }
    truth = {}
    for name, (kernel, texts, in_16, in_4) in plans.items():
        faster = quickest(us[kernel], texts, in_4) < quickest(us["bf16"], texts, in_16)
        truth[name] = "4 bits" if faster else "16 bits"
    matched(answer, truth, why)
    return (
        "a slower kernel can still win, by the memory that it leaves for more texts. It depends on how many you have."
    )


@exercise("11-4")
def check_needed(answer) -> str:
    for p, goal in ((0.8, 2), (0.8, 3), (0.5, 1.5), (0.9, 4), (0.8, 5), (0.6, 4)):
        value = number(call(answer, p, goal), "what needed returns")
        left = 1 / goal - (1 - p)
        truth = p / left if left > 1e-9 else math.inf
        if value == truth or abs(value - truth) < 1e-9 or value > 1e9 and truth == math.inf:
            continue
        if truth == math.inf:
            raise Hint(
                f"with p = {p} and goal = {goal}, the rest alone takes as long as the whole step may, or longer: no "
                "kernel is fast enough, and math.inf says so."
            )
        if abs(value - goal) < 1e-9:
            raise Hint("that would do if products were the whole step; the rest stays as it is.")
        if abs(value - goal / p) < 1e-9:
            raise Hint("speeds don't add up like this. Call the old step 1: how long may the new one be, and the rest?")
        if abs(value - 1 / (p / goal + 1 - p)) < 1e-9:
            raise Hint("this is what the step gains from products that are `goal` times as fast: turn the question.")
        if abs(value - left / p) < 1e-9:
            raise Hint("this is the products' new time, as a share of their old; how many times as fast is that?")
        raise Hint("call the old step 1. How long may the new one be? Take the rest off: so much is left for products.")
    return "with p = 80%, a step 3 times as fast needs products 6 times as fast, and 5 times is out of reach."
