"""The likely wrong answers to each exercise of notebook 07, and a part of the hint that each must get."""

TRUTH = {"A": "worse", "B": "worse", "C": "cannot tell", "D": "better", "E": "cannot tell", "F": "cannot tell"}


def shows(**wrong):
    return f'exercises.check("07-4", {TRUTH | wrong})'


def draws(two: str, change: str) -> str:
    """A bootstrap in which model one gets the texts i, and model two the texts `two`."""
    return (
        "def separate_interval(one, two):\n"
        "    rng, found, n = np.random.default_rng(1), [], len(one.tokens)\n"
        "    for _ in range(5000):\n"
        "        i, j = rng.integers(0, n, n), rng.integers(0, n, n)\n"
        f"        j = {two}\n"
        "        a, b = one.nats[i].sum() / one.tokens[i].sum(), two.nats[j].sum() / two.tokens[j].sum()\n"
        f"        found.append({change})\n"
        "    return np.quantile(found, (0.025, 0.975))\n"
        "reads = {name: scores[0] for name, scores in found.items()}\n"
        "exercises.check('07-3', [separate_interval, 3], reads=reads)"
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
        (draws("i", "math.expm1(b - a)"), "draws texts of its own"),
        (draws("j", "math.expm1((two.nats[j].sum() - one.nats[i].sum()) / one.tokens[i].sum())"), "its own draw"),
        (draws("j", "math.expm1(a - b)"), "other way round"),
        (draws("j", "100 * math.expm1(b - a)"), "not percent"),
        (
            draws("j", "math.expm1((two.nats[j] / two.tokens[j]).mean() - (one.nats[i] / one.tokens[i]).mean())"),
            "each text counts the same",
        ),
        ("exercises.check('07-3', [quality.paired_difference, 'yes'], reads=reads)", "how many times as wide"),
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
