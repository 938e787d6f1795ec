"""The likely wrong answers to each exercise of notebook 09, and a part of the hint that each must get."""


def crossing(share: str) -> str:
    return f'exercises.check("09-2", lambda levels, code, absmax, update: {share})'


def halved(predicted: str, border: str = "2", whole: str = "100") -> str:
    measured = f"[{whole} * (values > {border}).mean() for values in ratios.values()]"
    return f'exercises.check("09-3", [{predicted}, {measured}], ratios=ratios)'


def lost(**wrong: str) -> str:
    return f'exercises.check("09-4", {dict(P="D", Q="A or C", R="B", S="E", T="float16") | wrong})'


WRONG = {
    "09-1": [
        ("exercises.check('09-1', [8, 13, 7], absmax=0.5)", "multiplied by the absmax"),
        ("exercises.check('09-1', [9, 14, 7], absmax=0.5)", "look at update 2 again"),
        ("exercises.check('09-1', [9, 13, 6], absmax=0.5)", "look at update 3 again"),
        ("exercises.check('09-1', [0.0698, 0.3113, -0.02], absmax=0.5)", "whole numbers from 0 to 15"),
    ],
    "09-2": [
        (
            crossing("min(1, abs(update) / ((levels[code + 1] - levels[code - 1]) * absmax))"),
            "from neighbor to neighbor",
        ),
        (crossing("min(1, abs(update) / ((levels[code + 1] - levels[code]) * absmax))"), "depends on both"),
        (crossing("min(1, abs(update) / ((levels[code + 1] - levels[code - 1]) / 2))"), "units of the block's absmax"),
        (crossing("min(1, update / ((levels[code + 1] - levels[code - 1]) / 2 * absmax))"), "isn't negative"),
        (crossing("abs(update) / ((levels[code + 1] - levels[code - 1]) / 2 * absmax)"), "more than all of them"),
    ],
    "09-3": [
        (halved("[0.04, 4.2]", "1"), "shares of the picture"),
        (halved("[0.04, 4.2]", "0.5"), "twice as long"),
        (halved("[0.04, 4.2]", "2", "1"), "give percent"),
        (halved("[0.04, 4.2]", "3"), "halve each ratio"),
        (halved("[0.42, 4.2]"), "predicted, from the levels: fewer"),
        (halved("[0.04, 0.4]"), "predicted, from the originals: more"),
        (halved("[0.04, 8.3]"), "predicted, from the originals: fewer"),
    ],
    "09-4": [
        (lost(P="B"), "90 times this update"),
        (lost(Q="E"), "updates snap back"),
        (lost(R="A"), "hardly a rest"),
        (lost(S="C"), "most of the update"),
        (lost(T="the original"), "in common"),
        (lost(T="train again"), "none of the words"),
    ],
}
