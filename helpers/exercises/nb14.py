"""Checks of notebook 14: rows side by side, the size of a file, what ails a model, where eight bits are worth it."""

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
def check_file(answer) -> str:
    given = number(answer, "file_gb")
    linear, rest = 6_979_321_856, 2 * 32_000 * 4096
    truth = (linear * 4.5 / 8 + rest * 2) / 1e9
    if abs(given - truth) < 0.01:
        return f"{truth:.2f} GB, a little more than bitsandbytes' NF4 with double quantization, which has 4.13 bits."
    if abs(given - linear * 4.5 / 8e9) < 0.01:
        raise Hint("these are the linear layers alone: embeddings and head come on top, with 2 bytes each.")
    if abs(given - (linear * 4 / 8 + rest * 2) / 1e9) < 0.01:
        raise Hint("4.5 bits, constants included.")
    if abs(given - (linear * 4.5 / 8 + rest) / 1e9) < 0.01 or abs(given - (linear * 4.5 + rest * 16) / 1e9) < 0.1:
        raise Hint("16 bits are 2 bytes, and the answer is in bytes, not bits.")
    raise Hint("bits / 8 for the linear layers, 2 bytes for each of the others, divided by 1e9.")


@exercise("14-3")
def check_causes(answer) -> str:
    truth = {"A": "end", "B": "rotation", "C": "template", "D": "4 bits"}
    why = {
        "A": "A answers correctly: what is missing comes after the answer.",
        "B": "B is worse with long prompts, in F16, too: something that has to do with positions.",
        "C": "C is fluent, so the weights are right. What is different from Python is how it is asked.",
        "D": "D has lost it in Python, too, so nothing that comes later is to blame.",
    }
    matched(answer, truth, why, ("cut",))
    return "four faces, four causes, and the quantization was none of them."


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
