"""Checks of notebook 09: updates that are lost or cross, half of an update, merges that lost their notes."""

from . import Hint, call, exercise, matched, number, numbers

# NF4's levels, from −1 to 1: the check of 09-1 works with a pencil's precision
LEVELS = (-1, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0, 0.0796, 0.1609, 0.2461, 0.3379, 0.4407, 0.5626)
LEVELS += (0.723, 1)


@exercise("09-1")
def check_three_updates(answer, *, absmax) -> str:
    given = numbers(answer, 3, "three codes")
    start, updates, truth = (8, 13, 7), (0.03, 0.03, -0.02), []
    for code, update in zip(start, updates, strict=True):
        end = LEVELS[code] * absmax + update
        truth.append(min(range(16), key=lambda k, end=end: abs(LEVELS[k] * absmax - end)))
    if given == truth:
        return "the same 0.03 crosses at code 8, where levels are close together, and is lost at code 13."
    if given == list(start):
        raise Hint("one of the three crosses. Are your levels multiplied by the absmax of this block?")
    if any(code not in range(16) for code in given):
        raise Hint("give codes, whole numbers from 0 to 15.")
    place = next(i for i in range(3) if given[i] != truth[i])
    raise Hint(
        f"look at update {place + 1} again. The weight moves on only if its update is longer than half of the gap "
        "to the next level in that direction."
    )


@exercise("09-2")
def check_crossing(answer) -> str:
    levels = [-1.0, -0.6, -0.25, 0.0, 0.2, 0.5, 1.0]
    for code, absmax, update in ((3, 1.0, 0.05), (3, 0.04, -0.002), (4, 2.0, 0.1), (1, 0.5, 0.3), (5, 1.0, -0.02)):
        found = number(call(answer, list(levels), code, absmax, update), "what crossing returns")
        room, gap = (levels[code + 1] - levels[code - 1]) / 2 * absmax, (levels[code + 1] - levels[code]) * absmax
        truth = min(1.0, abs(update) / room)
        if abs(found - truth) < 1e-9:
            continue
        if found < 0:
            raise Hint("a share isn't negative: an update that leads down crosses the lower border.")
        if found > 1:
            raise Hint("more than all of them can't cross: what if the update is longer than the room?")
        if abs(found - abs(update) / room / 2) < 1e-9:
            raise Hint("this takes the room from neighbor to neighbor. The borders are half-way to each of them.")
        if abs(found - abs(update) / room * absmax) < 1e-9:
            raise Hint("levels are in units of the block's absmax, and updates aren't.")
        if abs(found - abs(update) / gap) < 1e-9:
            raise Hint("the two neighbors aren't equally far away, and the room between the borders depends on both.")
        raise Hint(
            f"for levels {levels}, code {code}, absmax {absmax} and an update of {update} it is {truth:.3f}. How wide "
            "is the room between the two borders, and which part of it lies close enough to one of them?"
        )
    return "the share grows evenly with the update. From the level itself, it would be none, and then all."


@exercise("09-3")
def check_half_the_update(answer, *, ratios) -> str:
    predicted, measured = answer
    before = [100 * float((values > 1).mean()) for values in ratios.values()]
    truth = [100 * float((values > 2).mean()) for values in ratios.values()]  # half the update, half the ratio
    double = [100 * float((values > 0.5).mean()) for values in ratios.values()]
    predicted = numbers(predicted, 2, "two numbers as predicted")
    found = numbers(measured, len(truth), f"{len(truth)} measured")

    def close(values):
        return all(abs(a - b) < 1e-3 for a, b in zip(found, values, strict=True))

    if not close(truth):
        if close(before):
            raise Hint("measured: those are the shares of the picture. What happens to each ratio?")
        if close(double):
            raise Hint("measured: these updates are twice as long. Is a ratio larger or smaller, with half the update?")
        if close([value / 100 for value in truth]):
            raise Hint("measured: give percent, from 0 to 100.")
        raise Hint("measured: halve each ratio, and count those above 1, as a share of all, in percent.")
    for name, guess, old, new in zip(("levels", "originals"), predicted, before, truth, strict=False):
        if abs(guess - new) <= max(old / 4, 0.05):
            continue
        if name == "levels" and guess > new:
            raise Hint(
                "predicted, from the levels: fewer. There the border is equally far for all weights of a level. Where "
                "in the upper panel does the shaded part begin, if each ratio is halved?"
            )
        raise Hint(
            f"predicted, from the {name}: {'fewer' if guess > new else 'more'}. What did exercise 2 say about a "
            "shorter update, if weights lie evenly before the border?"
        )
    kept = [new / old if old else 0.0 for old, new in zip(before, truth, strict=True)]
    told = f"from the levels, {kept[0]:.0%} of those that crossed still do"
    return told + (f", and from the originals {kept[1]:.0%}." if len(kept) > 1 else ".")


@exercise("09-4")
def check_lost_notes(answer) -> str:
    matched(
        answer,
        {"P": "D", "Q": "A or C", "R": "B", "S": "E", "T": "float16"},
        {
            "P": "P: its rest is the longest by far. Which error, about 9% of the weights, is 90 times this update?",
            "Q": "Q: next to nothing arrived. From where do updates snap back?",
            "R": "R: it has 16 bits and hardly a rest. Which 16-bit merge starts where the adapter was trained?",
            "S": "S: it has 4 bits, and most of the update arrived. Which merge in 4 bits does that?",
            "T": "T: P and R start from different weights, and in both 65% arrived. So what have they in common?",
        },
        others=("A", "C", "the original", "4 bits"),
    )
    return "16 bits have levels, too, and where a model is stored matters as much as where its merge starts."
