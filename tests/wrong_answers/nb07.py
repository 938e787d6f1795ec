"""The likely wrong answers to each exercise of notebook 07, and a part of the hint that each must get."""

TRUTH = {"A": "worse", "B": "worse", "C": "cannot tell", "D": "better", "E": "cannot tell", "F": "cannot tell"}


def shows(**wrong):
    return f'exercises.check("07-4", {TRUTH | wrong})'


WRONG = {
    "07-1": [
        ("exercises.check('07-1', [2, 16, 9])", "each text counts the same"),
        ("exercises.check('07-1', [2, 16, 2**2.5])", "one token counts as much"),
        ("exercises.check('07-1', [math.log(2), math.log(16), 3.03])", "perplexity is e to it"),
    ],
    "07-2": [
        (
            "def p_value(lost, won):\n"
            "    n, few = lost + won, min(lost, won)\n"
            "    return sum(math.comb(n, k) for k in range(few + 1)) / 2**n\n"
            'exercises.check("07-2", p_value)',
            "one side",
        ),
        (
            "def p_value(lost, won):\n"
            "    return 2 * math.comb(lost + won, won) / 2 ** (lost + won)\n"
            'exercises.check("07-2", p_value)',
            "more uneven counts, too",
        ),
        (
            "def p_value(lost, won):\n"
            "    n, few = lost + won, min(lost, won)\n"
            "    return 2 * sum(math.comb(n, k) for k in range(few + 1)) / 2**n\n"
            'exercises.check("07-2", p_value)',
            "count the middle twice",
        ),
    ],
    "07-3": [
        (
            "swapped = 0.5 * math.log(2) + 0.25 * math.log(0.5)\n"
            "y = 0.05 * math.log(0.2) + 0.45 * math.log(1.8)\n"
            "exercises.check('07-3', [swapped, y])",
            "for Y: the 16-bit model's probabilities",
        ),
        ("exercises.check('07-3', [0.25, 0.37])", "in bits"),
    ],
    "07-4": [
        (shows(A="cannot tell"), "Count where"),
        (shows(B="cannot tell"), "Compute p for 60"),
        (shows(C="worse"), "Compute p for 120"),
        (shows(D="worse"), "for better or for worse"),
        (shows(D="cannot tell"), "Compute p for 4, 14"),
        (shows(E="worse"), "which side of zero"),
        (shows(F="worse"), "two separate exams"),
    ],
}
