"""Checks of notebook 11: loads with more rows, the loop of a kernel, a choice of kernel, Amdahl's law."""

import math

from . import Hint, call, exercise, matched, number


@exercise("11-1")
def check_loads(answer) -> str:
    if not isinstance(answer, dict):
        call(lambda: answer)  # still open, if it is the dots
        raise Hint('a dictionary is wanted here: {"A": …, "B": …, "C": …, "D": …}.')
    truth = {"A": 2.25, "B": 2.5, "C": 3.0, "D": 2.0}
    why = {
        "A": "with 4 rows, an x serves four weights. What do the other three kinds make together?",
        "B": "a wider window takes more bytes at a time, and fewer times. What changes per weight?",
        "C": "with 1 row, an x serves one weight only.",
        "D": "with very many rows, x costs next to nothing. Which loads are left?",
    }
    for name, right in truth.items():
        if name not in answer:
            raise Hint(f"{name} is missing.")
        found = number(answer[name], f"the number of loads in {name}")
        if abs(found - 2.5 * 2 / {"A": 4, "B": 2, "C": 1, "D": math.inf}[name]) < 0.01 and name != "B":
            raise Hint(f"{name}: only one of the four kinds gets fewer with more rows. Whose numbers do rows share?")
        if abs(found - right) > 0.02:
            raise Hint(f"{name}: {why[name]}")
    return "more rows save loads of x and no others. 2 loads per weight stay, and on the recorded GPU that's too many."


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
            f"the sums are right, but absmax is loaded {each['absmax']:.2f} times per weight. Take it out of the "
            "inner loop: the line after it multiplies all eight at once."
        )
    return (
        f"right, with {total:.2f} loads per weight, and {each['levels']:.0f} of them is for the level. It's the loop "
        "of the second kernel, which finds its levels in another way. Its time on a GPU comes next."
    )


@exercise("11-3")
def check_choice(answer) -> str:
    truth = {"A": "4 bits", "B": "16 bits", "C": "no difference", "D": "4 bits"}
    why = {
        "A": "A: which of the two points at 1 row lies lower?",
        "B": "B: with 8 rows, is bitsandbytes' line below that of bf16, or above?",
        "C": "C: look for the place where the two lines cross.",
        "D": "D: speed isn't everything. What can a model that doesn't fit do?",
    }
    matched(answer, truth, why)
    return "the same 4 bits are faster, slower or alike: it depends on the kernel and on how many texts you run."


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
