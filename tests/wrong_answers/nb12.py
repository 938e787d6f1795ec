"""The likely wrong answers to each exercise of notebook 12, and a part of the hint that each must get."""

FAIR = """def fair(runs, choosing, one, other):
    def mean(recipe, rate, wanted):
        same = [run for run in runs if (run["recipe"], run["rate"]) == (recipe, rate)]
        shares = [run["exact_match"] for run in same if wanted(run["seed"])]
        return sum(shares) / len(shares)

    def chose(seed):
        return seed in choosing

    def others(seed):
        return seed not in choosing

    def every(seed):
        return True

    def judged(recipe):
        rates = {run["rate"] for run in runs if run["recipe"] == recipe}
        best = max(rates, key=lambda rate: mean(recipe, rate, CHOOSES))
        return mean(recipe, best, JUDGES)

    return judged(one) - judged(other)


exercises.check("12-4", fair)"""


def unfair(chooses: str, judges: str) -> str:
    return FAIR.replace("CHOOSES", chooses).replace("JUDGES", judges)


def fused(body: str) -> str:
    return f'def fused(x, W, A, B, s):\n{body}\n\n\nexercises.check("12-1", fused, operations=finetune.operations)'


def peaks(now: float, pieces: float, offloading: float, both: float, saves=(0, 4)) -> str:
    given = f'{{"now": {now}, "pieces": {pieces}, "offloading": {offloading}, "both": {both}}}'
    given += f'\nsaves = {{"pieces": {saves[0]}, "offloading": {saves[1]}}}'
    return f'peaks = {given}\nexercises.check("12-2", [peaks, saves], rehearse=rehearse, standard=standard)'


def helps(a: str, b: str, c: str, d: str, e: str, f: str) -> str:
    given = ", ".join(f'"{letter}": "{word}"' for letter, word in zip("ABCDEF", (a, b, c, d, e, f), strict=True))
    return f'helps = {{{given}}}\nexercises.check("12-3", helps)'


WRONG = {
    "12-1": [
        (fused("    return x @ W + s * (x @ A @ B)"), "4 operations have large results"),
        (fused("    return x @ W + (s * (x @ A)) @ B"), "3 operations have large results"),
        (fused("    return torch.addmm(x @ W, x @ A, B)"), "s is missing"),
        (fused("    W.addmm_(A, B, alpha=s)\n    return x @ W"), "changes what it was given"),
        (fused("    return (s * (x @ A)) @ B"), "x @ W is missing"),
        (fused("    return x"), "of the shape"),
    ],
    "12-2": [
        (peaks(13, 9.5, 9, 6.5), "still the highest"),
        (peaks(14.5, 10.5, 9, 6.5), "no block is at work"),
        (peaks(13, 10.5, 6.5, 6.5), "still there, all at once"),
        (peaks(13, 10.5, 9, 5.5), "both: neither"),
        (peaks(13, 10.5, 9, 6.5, (2.8, 4)), "highest point of the standard"),
        (peaks(13, 10.5, 9, 6.5, (0, 2)), "what do the teeth stand on"),
        (peaks(13, 10.5, 9, 6.5, (0, 4.3)), "the whole hill"),
    ],
    "12-4": [
        (unfair("every", "every"), "May it judge"),
        (unfair("chose", "chose"), "May it judge"),
        (unfair("every", "others"), "may choose the rate"),
        (unfair("others", "others"), "may choose the rate"),
        (unfair("chose", "others").replace("judged(one) - judged(other)", "judged(other) - judged(one)"), "the sign"),
        (unfair("chose", "others").replace("judged(one) - judged(other)", "judged(one)"), "first find"),
        (
            "def fair(runs, choosing, one, other):\n"
            "    best = [max(r['exact_match'] for r in runs if r['recipe'] == name) for name in (one, other)]\n"
            '    return best[0] - best[1]\n\n\nexercises.check("12-4", fair)',
            "luckiest",
        ),
        (
            unfair("chose", "others").replace(
                "best = max(rates, key=lambda rate: mean(recipe, rate, chose))", "best = 0.001"
            ),
            "at one rate",
        ),
    ],
    "12-3": [
        (
            helps("loss in pieces", "CUDA graph", "offloading", "packing", "no checkpointing", "offloading"),
            "that nobody needs",
        ),
        (
            helps("packing", "fused adapters", "offloading", "loss in pieces", "no checkpointing", "offloading"),
            "waiting for",
        ),
        (
            helps("packing", "CUDA graph", "loss in pieces", "loss in pieces", "no checkpointing", "offloading"),
            "each of many blocks",
        ),
        (
            helps("packing", "CUDA graph", "offloading", "loss in pieces", "CUDA graph", "offloading"),
            "most of the forward pass twice",
        ),
        (
            helps("packing", "CUDA graph", "offloading", "loss in pieces", "no checkpointing", "loss in pieces"),
            "on a hill",
        ),
    ],
}
