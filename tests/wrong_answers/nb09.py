"""The likely wrong answers to each exercise of notebook 09, and a part of the hint that each must get."""

WRONG = {
    "09-1": [
        (
            'def merged_weight(W, A, B, alpha, r):\n    return W + B @ A\nexercises.check("09-1", merged_weight)',
            "the scale is missing",
        ),
        (
            "def merged_weight(W, A, B, alpha, r):\n"
            "    return alpha / r * B @ A\n"
            'exercises.check("09-1", merged_weight)',
            "the update alone",
        ),
        (
            "def merged_weight(W, A, B, alpha, r):\n"
            "    return W + alpha / r * A @ B\n"
            'exercises.check("09-1", merged_weight)',
            "B comes first",
        ),
    ],
    "09-2": [
        (
            "def least_update(levels, code, absmax):\n"
            "    return (levels[code + 1] - levels[code]) * absmax\n"
            'exercises.check("09-2", least_update)',
            "the middle of the gap",
        ),
        (
            "def least_update(levels, code, absmax):\n"
            "    return (levels[code] - levels[code - 1]) / 2 * absmax\n"
            'exercises.check("09-2", least_update)',
            "the gap below",
        ),
        (
            "def least_update(levels, code, absmax):\n"
            "    return (levels[code + 1] - levels[code]) / 2\n"
            'exercises.check("09-2", least_update)',
            "units of the block's absmax",
        ),
    ],
    "09-3": [
        ("exercises.check('09-3', [289.66, 20 * 41_943_040 * 4 / 1e9])", "the base they share"),
        ("exercises.check('09-3', [289.66, 20 * (4.125 + 41_943_040 * 4 / 1e9)])", "not twenty times"),
        ("exercises.check('09-3', [14.483, 7.48])", "nothing is shared"),
    ],
}
