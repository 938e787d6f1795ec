"""Checks of notebook 12: a layer with two large results, peaks by hand, levers for six, a fair comparison."""

import functools
import itertools
import random
from dataclasses import replace

import torch

from . import Hint, call, exercise, matched, number


@exercise("12-1")
def check_fused(answer, *, operations) -> str:
    def given(rows, width):
        chance = torch.Generator().manual_seed(rows)
        shapes = ((rows, width), (width, 2 * width), (width, 16), (16, 2 * width))
        return [torch.randn(shape, generator=chance, dtype=torch.float64) for shape in shapes]

    for (x, W, A, B), s in ((given(64, 128), 0.5), (given(48, 96), 2.0)):
        before = [tensor.clone() for tensor in (x, W, A, B)]
        found = []
        noted = operations(lambda given=before, s=s, found=found: found.append(call(answer, *given, s)))
        value, update = found[0], s * (x @ A @ B)
        truth = x @ W + update
        if not all(torch.equal(*pair) for pair in zip(before, (x, W, A, B), strict=True)):
            raise Hint("your function changes what it was given: only a result of your own may be overwritten.")
        if not torch.is_tensor(value) or value.shape != truth.shape:
            raise Hint("the result should be a tensor of the shape of `x @ W`.")
        if not torch.allclose(value, truth):
            for wrong, why in (
                (x @ W + update / s, "the scale s is missing"),
                (update, "the product x @ W is missing"),
            ):
                if torch.allclose(value, wrong):
                    raise Hint(f"{why}.")
            raise Hint("the result differs from that of `plain`.")
        large = sum(numbers >= x.numel() for _, numbers in noted)
        if large > 2:
            raise Hint(
                f"the result is right, but {large} operations have large results: scale where there are few numbers, "
                "and look for an operation of torch that multiplies two matrices and adds to a third."
            )
    return "two large results, where `plain` has four."


NEAR = 0.5  # GB: a prediction that was read off a curve


@exercise("12-2")
def check_peaks(answer, *, rehearse, standard) -> str:
    by_hand, predicted = answer
    stays, kept, logits, block = 5.0, 40 * 0.1, 4.0, 1.5
    truth = {
        "now": stays + kept + max(logits, block),
        "pieces": stays + kept + max(logits / 8, block),
        "offloading": stays + max(logits, block),
        "both": stays + max(logits / 8, block),
    }
    if not isinstance(by_hand, dict) or set(by_hand) != set(truth):
        raise Hint(f"give peaks as a dict with {', '.join(truth)}.")
    value = {name: number(by_hand[name], name) for name in truth}
    if abs(value["now"] - (stays + kept + logits + block)) < 0.05:
        raise Hint("while the logits are there, no block is at work: they are two moments.")
    if abs(value["pieces"] - (stays + kept + logits / 8)) < 0.05:
        raise Hint("pieces: that is how high the logits reach now. Is it still the highest moment?")
    if abs(value["offloading"] - (stays + block)) < 0.05:
        raise Hint("offloading: the logits are still there, all at once.")
    why = {
        "now": "what is there when the logits are: all that stays, and the inputs of all 40 blocks.",
        "pieces": "compare two moments, that of the logits and that of the first block computed again.",
        "offloading": "the 4 GB of inputs are gone; which moment is the highest now?",
        "both": "neither the inputs nor all logits are there; which moment is the highest now?",
    }
    for name, gb in truth.items():
        if abs(value[name] - gb) > 0.2:  # whoever counts an input or two that are just being copied is right as well
            raise Hint(f"{name}: {why[name]}")
    ways = {"pieces": {"chunked": True}, "offloading": {"offload": True}}
    if not isinstance(predicted, dict) or set(predicted) != set(ways):
        raise Hint(f"give saves as a dict with {', '.join(ways)}.")
    before = rehearse(standard).allocator_bytes
    saved = {name: (before - rehearse(replace(standard, **way)).allocator_bytes) / 1e9 for name, way in ways.items()}
    why = {
        "pieces": "find the highest point of the standard recipe's curve. What is there at that moment?",
        "offloading": "what do the teeth stand on at the turn, and how high is it?",
    }
    if number(predicted["offloading"], "offloading") > saved["offloading"] + NEAR:
        why["offloading"] = (
            "that's about the whole hill. But without it, where's the new peak, and what has come since?"
        )
    for name, gb in saved.items():
        if abs(number(predicted[name], name) - gb) > NEAR:
            raise Hint(f"saves, {name}: {why[name]}")
    return (
        f"rehearsed on the standard recipe, the loss in pieces alone saves {abs(saved['pieces']):.1f} GB, and "
        f"offloading alone {saved['offloading']:.1f}. You predicted {predicted['pieces']:g} and "
        f"{predicted['offloading']:g}."
    )


RATES, CHOOSING = (0.0005, 0.001, 0.002), (1, 4, 6)


def _runs(chance: random.Random) -> list[dict]:
    """Runs of two recipes, each with its own best rate and with luck; the choosing seeds are lucky at another rate."""
    made, spots = [], dict(zip("AB", chance.sample(range(len(RATES)), 2), strict=True))
    for recipe, rate, seed in itertools.product("AB", RATES, range(8)):
        share = 0.7 - 0.1 * abs(RATES.index(rate) - spots[recipe]) + chance.uniform(-0.1, 0.1)
        if seed in CHOOSING:  # what these find best isn't what the others do
            share = 0.95 * share + 0.3 * (RATES.index(rate) == (spots[recipe] + 1) % len(RATES))
        made.append({"recipe": recipe, "rate": rate, "seed": seed, "exact_match": share})
    chance.shuffle(made)
    return made


def _mean(runs: list[dict], recipe: str, rate: float, seeds) -> float:
    shares = [r["exact_match"] for r in runs if (r["recipe"], r["rate"]) == (recipe, rate) and r["seed"] in seeds]
    return sum(shares) / len(shares)


def _gap(runs: list[dict], chooses, judges) -> float:
    """A less B, each at the rate that some seeds choose, in the mean of the seeds that judge."""

    def judged(recipe):
        best = max(RATES, key=lambda rate: _mean(runs, recipe, rate, chooses))
        return _mean(runs, recipe, best, judges)

    return judged("A") - judged("B")


@exercise("12-4")
def check_fair(answer) -> str:
    every, judging = range(8), [seed for seed in range(8) if seed not in CHOOSING]
    for luck in range(2):
        runs = _runs(random.Random(luck))
        gap = functools.partial(_gap, runs)
        value = number(call(answer, [dict(run) for run in runs], list(CHOOSING), "A", "B"), "what `fair` returns")
        truth = gap(CHOOSING, judging)
        luckiest = [max(run["exact_match"] for run in runs if run["recipe"] == recipe) for recipe in "AB"]
        wrong = [
            (-truth, "the sign is the other way round: more than 0 means that `one` is better."),
            (luckiest[0] - luckiest[1], "you compare the luckiest run of each recipe. What about their other seeds?"),
        ]
        wrong += [
            (_mean(runs, "A", rate, seeds) - _mean(runs, "B", rate, seeds), "you compare both recipes at one rate.")
            for rate in RATES
            for seeds in (every, judging, CHOOSING)
        ]
        wrong += [
            (gap(chooses, judges), "a seed that has chosen a rate was lucky with it. May it judge, too?")
            for chooses in (CHOOSING, every)
            for judges in (CHOOSING, every)
        ]
        wrong += [(gap(chooses, judging), "which seeds may choose the rate?") for chooses in (every, judging)]
        if abs(value - truth) > 1e-9:
            why = next((said for other, said in wrong if abs(value - other) < 1e-9), None)
            raise Hint(why or "first find each recipe's best rate, as a mean of some seeds. Then ask other seeds.")
    return "each recipe at the rate that some seeds found best, judged by seeds that had no say in it."


@exercise("12-3")
def check_levers(answer) -> str:
    truth = {
        "A": "packing",
        "B": "CUDA graph",
        "C": "offloading",
        "D": "loss in pieces",
        "E": "no checkpointing",
        "F": "offloading",
    }
    why = {
        "A": "A's card is full, and its GPU works hard. What does it compute that nobody needs?",
        "B": "B's GPU computes twice as much in the same time. What was it waiting for before?",
        "C": "C's peak comes from what is kept, one state for each of many blocks. Where could that wait?",
        "D": "D's peak is a spike between the two passes, and its vocabulary is huge. What exists just then?",
        "E": "E has memory to spare, and its GPU does most of the forward pass twice. For what?",
        "F": "F's teeth stand on a hill. What is the hill made of?",
    }
    matched(answer, truth, why, ("fused adapters",))
    return "padding, waiting, what is kept, logits, work done twice: first find out which of them you pay for."
