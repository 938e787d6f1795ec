"""The two most likely wrong answers to each exercise of notebook 06, and a part of the hint that each must get."""

SECONDS = "seconds = [1.90, 0.42, 0.40, 0.41, 0.80, 0.40]\n"
CHECK_2 = 'exercises.check("06-2", tokens_per_second)'
CEILING = "def ceiling(weight_bytes, kv_bytes, context, batch, bandwidth):\n    return "

WRONG = {
    "06-1": [
        (
            "def labels(ids, mask):\n    return ids.masked_fill(ids == tokenizer.eos_token_id, -100)\n"
            'exercises.check("06-1", labels)',
            "real end tokens are gone",
        ),
        (
            'def labels(ids, mask):\n    return ids.masked_fill(ids == ids[-1], -100)\nexercises.check("06-1", labels)',
            "real end tokens are gone",
        ),
        ('def labels(ids, mask):\n    return ids * mask\nexercises.check("06-1", labels)', "0 is a token"),
        (
            'def labels(ids, mask):\n    ids[mask == 0] = -100\n    return ids\nexercises.check("06-1", labels)',
            "`ids` was changed too",
        ),
    ],
    "06-2": [
        (f"{SECONDS}tokens_per_second = 4 * 33 / statistics.median(seconds[1:])\n{CHECK_2}", "is prefill's"),
        (f"{SECONDS}tokens_per_second = 4 * 32 / statistics.mean(seconds[1:])\n{CHECK_2}", "take the median"),
        (f"{SECONDS}tokens_per_second = 32 / statistics.median(seconds[1:])\n{CHECK_2}", "one sequence"),
        (f"{SECONDS}tokens_per_second = 4 * 32 / statistics.mean(seconds)\n{CHECK_2}", "warm-up"),
    ],
    "06-3": [
        (
            f'{CEILING}bandwidth / (weight_bytes + batch * context * kv_bytes)\nexercises.check("06-3", ceiling)',
            "steps a second",
        ),
        (
            f'{CEILING}batch * bandwidth / (weight_bytes + context * kv_bytes)\nexercises.check("06-3", ceiling)',
            "a cache of its own",
        ),
        (f'{CEILING}bandwidth / (weight_bytes + context * kv_bytes)\nexercises.check("06-3", ceiling)', "batch"),
    ],
}
