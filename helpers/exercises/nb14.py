"""Checks of notebook 14: rows side by side, what fits into 4 GiB, what ails a file, where eight bits are worth it."""

import torch

from . import Hint, call, exercise, matched, number


@exercise("14-1")
def check_rows(answer) -> str:
    for size in (8, 4, 32):
        rows = torch.arange(size * 3.0).view(size, 3)
        given = call(answer, rows)
        if not isinstance(given, torch.Tensor) or given.shape != rows.shape:
            raise Hint("return a tensor of the same shape: rows are moved, and none is lost.")
        order = (given[:, 0] / 3).long().tolist()
        truth = [i // 2 + size // 2 * (i % 2) for i in range(size)]
        if order == truth and torch.equal(given, rows[truth]):
            continue
        if order == list(range(size)):
            raise Hint("nothing has moved yet.")
        if order == sorted(range(size), key=lambda i: (i % 2, i)):
            raise Hint("this is the way back: it puts neighbors half a head apart.")
        raise Hint(f"for {size} rows the order begins with {truth[:4]}, and yours with {order[:4]}.")
    return "the exporter does this for each head of q and k."


@exercise("14-2")
def check_fit(answer) -> str:
    linear, rest, free, per_token = 6_979_321_856, 2 * 32_000 * 4096, 4 * 2**30, 131_072
    bits = {"16 bits": 16, "Q8_0": 8.5, "Q4_K": 4.5}
    if not isinstance(answer, dict) or set(answer) != set(bits):
        raise Hint(f"give a number of tokens for each of {', '.join(bits)}.")
    for name, of_rest in bits.items():
        given, left = number(answer[name], f"tokens with {name}"), free - (linear * 4.5 + rest * of_rest) / 8
        if abs(given - max(0, left / per_token)) <= 1:
            continue
        if given < 0 or (left < 0 and abs(given) > 1):
            raise Hint(f"with {name} the file alone takes {(free - left) / 1e9:.2f} GB. How much are 4 GiB in GB?")
        if abs(given - (left + linear * 0.5 / 8) / per_token) <= 1:
            raise Hint("the linear layers take 4.5 bits, constants included.")
        if abs(given - (4e9 - free + left) / per_token) <= 1 or (left < 4 * 2**30 - 4e9 and given == 0):
            raise Hint("4 GiB are 4 · 2³⁰ bytes, which is more than 4 · 10⁹.")
        raise Hint(
            f"with {name}, {left:,.0f} bytes are left: bits / 8 for each part of the file, subtracted from 4 · 2³⁰. A "
            "token takes 131,072."
        )
    return "4% of the weights decide whether the model can be used at all."


@exercise("14-3")
def check_faults(answer, *, again) -> str:
    truth = {"A": "4 bits", "B": "beginning", "C": "rows", "D": "cut"}
    why = {
        "A": "A's file agrees with the model that it was written from. Was that one any good?",
        "B": "B's ids aren't those of Python.",
        "C": "C gets the right ids and predicts something else: its numbers aren't in their places.",
        "D": "D has the right numbers and answers well. Look at the texts.",
    }
    matched(answer, truth, why, ("template", "end"))
    cure = {
        "A": "A's file is a true copy of a bad model, so another export doesn't help.",
        "B": "B's file is the same as the good one: what is wrong is what it was asked.",
        "C": "C was written from a good model, and came out wrong.",
        "D": "D holds a wrong name for the way to cut text. Where does that name come from?",
    }
    matched(again, {"A": "merge", "B": "ask", "C": "export", "D": "export"}, cure)
    return "four patients, and no 4-bit file made any of them ill."


@exercise("14-4")
def check_finer(answer, *, plain) -> str:
    kinds = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    size, read = plain
    if read is None:
        raise Hint("llama.cpp cannot be run here, so nothing can be measured: see the note at the top.")
    if not isinstance(answer, dict) or set(answer) != set(kinds):
        raise Hint(f"give a dict with all seven kinds: {', '.join(kinds)}.")
    gains = {}
    for kind, pair in answer.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise Hint(f"{kind} needs two numbers: the bytes of its file and its perplexity.")
        made, value = number(pair[0], f"bytes of {kind}"), number(pair[1], f"perplexity of {kind}")
        if made <= size:
            raise Hint(f"the file with {kind} in 8 bits can't be smaller than plain Q4_K, {size:,} bytes.")
        if not 0.8 * read[0].value < value < 1.2 * read[0].value:
            raise Hint(
                f"the perplexity with {kind} is far from plain Q4_K's, {read[0].value:.4f}: of the same answers?"
            )
        gains[kind] = 1e6 * (read[0].value - value) / read[0].value / (made - size)
    best = max(gains, key=gains.get)
    return (
        f"{best} gives the most: {gains[best]:.2%} lower perplexity per MB. Of seven kinds, "
        f"{sum(gain > 0 for gain in gains.values())} help at all on these answers."
    )
