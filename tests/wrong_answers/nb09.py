"""The likely wrong answers to each exercise of notebook 09, and a part of the hint that each must get."""


def crossing(share: str) -> str:
    return f'exercises.check("09-2", lambda levels, code, absmax, update: {share})'


def gentler(rest_d: str, rest_e: str = "4.555", r: str = "E", s: str = "apart") -> str:
    return f"exercises.check('09-4', [{rest_d}, {rest_e}, {{'R': '{r}', 'S': '{s}'}}])"


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
        (gentler("3.1"), "in lengths of the update"),
        (gentler("3.1 / 3"), "a shorter unit"),
        (gentler("9.3", "7.5"), "as many weights cross"),
        (gentler("9.3", "2.5"), "as long as before"),
        (gentler("9.3", "1.44"), "root of a sum of squares"),
        (gentler("9.3", "4.33"), "is no rest"),
        (gentler("9.3", "4.796"), "whose first rest was 2.65"),
        (gentler("9.3", "4.6", "D"), "how long is the rest"),
        (gentler("9.3", "4.6", "E", "E"), "build at all"),
    ],
}
