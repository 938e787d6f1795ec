"""The likely wrong answers to each exercise of notebook 07, and a part of the hint that each must get."""

TRUTH = {"A": "worse", "B": "worse", "C": "cannot tell", "D": "better", "E": "cannot tell", "F": "cannot tell"}


def shows(**wrong):
    return f'exercises.check("07-4", {TRUTH | wrong})'


def draws(one: str, two: str, change: str) -> str:
    """A bootstrap in which model one gets the texts `one` and model two the texts `two`."""
    return (
        "def paired_interval(one, two):\n"
        "    rng, found, n = np.random.default_rng(1), [], len(one.tokens)\n"
        "    for _ in range(5000):\n"
        "        i, j = rng.integers(0, n, n), rng.integers(0, n, n)\n"
        f"        extra = two.nats[{two}] - one.nats[{one}]\n"
        f"        found.append({change})\n"
        "    return np.quantile(found, (0.025, 0.975))\n"
        "reads = {name: scores[0] for name, scores in found.items()}\n"
        "exercises.check('07-3', [paired_interval, True], reads=reads)"
    )


WRONG = {
    "07-1": [
        ("exercises.check('07-1', [2, 16, 9])", "each text counts the same"),
        ("exercises.check('07-1', [2, 16, 2**2.5])", "one token counts as much"),
        ("exercises.check('07-1', [math.log(2), math.log(16), 3.03])", "perplexity is e to it"),
    ],
    "07-2": [
        (
            "swapped = 0.5 * math.log(2) + 0.25 * math.log(0.5)\n"
            "y = 0.05 * math.log(0.2) + 0.45 * math.log(1.8)\n"
            "exercises.check('07-2', [swapped, y])",
            "for Y: the 16-bit model's probabilities",
        ),
        ("exercises.check('07-2', [0.25, 0.37])", "in bits"),
    ],
    "07-3": [
        (draws("i", "i", "extra.mean()"), "nats per text"),
        (draws("i", "j", "math.expm1(extra.sum() / one.tokens[i].sum())"), "the same texts"),
        (draws("i", "i", "math.expm1((extra / one.tokens[i]).mean())"), "each text counts the same"),
        (draws("i", "i", "math.expm1(-extra.sum() / one.tokens[i].sum())"), "other way round"),
        (draws("i", "i", "100 * math.expm1(extra.sum() / one.tokens[i].sum())"), "not percent"),
        ("exercises.check('07-3', [quality.paired_difference, 'yes'], reads=reads)", "True"),
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
