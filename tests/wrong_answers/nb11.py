"""The two most likely wrong answers to each exercise of notebook 11, and a part of the hint that each must get."""

LEAST = "microseconds = "
CHECK_1 = '\nexercises.check("11-1", microseconds)'
BUDGET = "def budget(processors, clock, weights, bytes, bandwidth):\n    return "
CHECK_2 = '\nexercises.check("11-2", budget)'
CHECK_3 = 'exercises.check("11-3", {"A": "yes", "B": "yes", '
FASTER = "def faster(p, s, r):\n    return "
CHECK_4 = '\nexercises.check("11-4", faster)'

WRONG = {
    "11-1": [
        (f"{LEAST}1e6 * 14336 * 4096 / 2 / 3e12{CHECK_1}", "codes alone"),
        (f"{LEAST}1e6 * 14336 * 4096 * 4.127 / 3e12{CHECK_1}", "a byte has 8 bits"),
        (f"{LEAST}14336 * 4096 * 4.127 / 8 / 3e12{CHECK_1}", "in microseconds"),
    ],
    "11-2": [
        (f"{BUDGET}processors * clock * bytes / bandwidth / weights{CHECK_2}", "64 operations in a cycle"),
        (f"{BUDGET}processors * 64 * clock * bytes / bandwidth{CHECK_2}", "divide by the number of weights"),
        (f"{BUDGET}processors * 64 * clock / weights{CHECK_2}", "whole second"),
    ],
    "11-3": [
        (f'{CHECK_3}"C": "yes", "D": "yes", "E": "yes", "F": "no"}})', "other values"),
        (f'{CHECK_3}"C": "no", "D": "yes", "E": "no", "F": "no"}})', "besides products"),
        (f'{CHECK_3}"C": "no", "D": "yes", "E": "yes", "F": "yes"}})', "better model"),
    ],
    "11-4": [
        (f"{FASTER}p * s + (1 - p) * r{CHECK_4}", "add the *times*"),
        (f"{FASTER}p / s + (1 - p) / r{CHECK_4}", "this is the new time"),
        (f"{FASTER}1 / (p / s + 1 - p){CHECK_4}", "the rest becomes faster"),
    ],
}
