"""Checks of notebook 09: updates that are lost or cross, what twenty adapters take, a gentler training."""

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
def check_customers(answer) -> str:
    merged, adapters = (number(value, name) for value, name in zip(answer, ("merged_gb", "adapters_gb"), strict=True))
    if abs(merged - 20 * 14.483) > 0.01 * 20 * 14.483:
        raise Hint("merged_gb: twenty models of 14.483 GB each, nothing is shared.")
    each = 4 * 41_943_040 * 4 / 1e9  # rank 64 has four times as many numbers as rank 16
    truth = 4.125 + 20 * each
    if abs(adapters - truth) > 0.01 * truth:
        if abs(adapters - 20 * each) < 0.01 * truth:
            raise Hint("adapters_gb: the base they share is on the disk, too.")
        if abs(adapters - 20 * (4.125 + each)) < 0.01 * 20 * truth:
            raise Hint("adapters_gb: the base is there once, not twenty times.")
        if abs(adapters - (4.125 + 5 * each)) < 0.01 * truth:
            raise Hint("adapters_gb: that is rank 16. How do the shapes of A and B change with the rank?")
        raise Hint("adapters_gb: one base, and twenty adapters. Rank 16 takes 0.168 GB; what does rank 64 take?")
    return f"{merged:.0f} GB against {adapters:.1f} GB, {merged / adapters:.0f} times as much."


@exercise("09-4")
def check_gentler(answer) -> str:
    rest_d, rest_e = (number(value, name) for value, name in zip(answer[:2], ("rest_d", "rest_e"), strict=True))
    if abs(rest_d - 9.3) > 0.15:
        if abs(rest_d - 3.1) < 0.1:
            raise Hint("rest_d: the error itself stays as it is, but it is given in lengths of the update.")
        if abs(rest_d - 3.1 / 3) < 0.1:
            raise Hint("rest_d: a shorter unit makes the number larger.")
        raise Hint("rest_d: it is the rounding error of the base. Does that depend on the update, and does its unit?")
    if abs(rest_e - (3 * (1 + 2.5**2) - 1) ** 0.5) > 0.1:
        if abs(rest_e - 2.5 * 3**0.5) < 0.05:
            raise Hint(
                "rest_e: nearly. The square of the whole change triples. What part of it has arrived, and is no rest?"
            )
        if abs(rest_e - 23**0.5) < 0.05:
            raise Hint("rest_e: that is for the eight weights, whose first rest was 2.65. Here the first is 2.5.")
        if abs(rest_e - 7.5) < 0.1:
            raise Hint("rest_e: that holds if as many weights cross as before. Do they?")
        if abs(rest_e - 2.5) < 0.1:
            raise Hint("rest_e: fewer weights cross, but the steps of those that do are as long as before.")
        raise Hint("rest_e: how many cross, and how far does each move? A length is the root of a sum of squares.")
    matched(
        answer[2],
        {"R": "E", "S": "apart"},
        {
            "R": "R: which share arrived, and how long is the rest beside it? Divide by `meant @ meant`, then compare.",
            "S": "S: which of the five can she build at all, and which of those fit? Or may she leave them unmerged?",
        },
        others=("A", "B", "C", "D"),
    )
    return "the gentler the training, the longer both rests compared with it, and that of D grows faster."
