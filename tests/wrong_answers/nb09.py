"""The likely wrong answers to each exercise of notebook 09, and a part of the hint that each must get."""


def crossing(share: str) -> str:
    return f'exercises.check("09-2", lambda levels, code, absmax, update: {share})'


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
        ("exercises.check('09-3', [289.66, 20 * 4 * 0.16777])", "the base they share"),
        ("exercises.check('09-3', [289.66, 20 * (4.125 + 4 * 0.16777)])", "not twenty times"),
        ("exercises.check('09-3', [289.66, 4.125 + 20 * 0.16777])", "that is rank 16"),
        ("exercises.check('09-3', [14.483, 17.55])", "nothing is shared"),
    ],
    "09-4": [
        ("exercises.check('09-4', {'P': 'B', 'Q': 'E', 'R': 'A or C', 'S': 'apart'})", "rounding error missing"),
        ("exercises.check('09-4', {'P': 'D', 'Q': 'C', 'R': 'A or C', 'S': 'apart'})", "on average"),
        ("exercises.check('09-4', {'P': 'D', 'Q': 'E', 'R': 'A', 'S': 'apart'})", "More than one way"),
        ("exercises.check('09-4', {'P': 'D', 'Q': 'E', 'R': 'A or C', 'S': 'E'})", "build at all"),
    ],
}
