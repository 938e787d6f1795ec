"""The two most likely wrong answers to each exercise of notebook 06, and a part of the hint that each must get."""

CHECK_1 = 'exercises.check("06-1", [multiply_adds, batch_16, batch_4])'
SECONDS = "seconds_of = [1.90, 0.42, 0.40, 0.41, 0.80, 0.40]\n"
CHECK_2 = 'exercises.check("06-2", tokens_per_second)'
CEILING = "def ceiling(weight_bytes, kv_bytes, context, batch, bandwidth):\n    return "

WRONG = {
    "06-1": [
        (f"multiply_adds = 8\nbatch_16 = 40\nbatch_4 = 10\n{CHECK_1}", "of one text"),
        (f"multiply_adds = 48\nbatch_16 = 10\nbatch_4 = 40\n{CHECK_1}", "interchanged"),
        (f"multiply_adds = 48\nbatch_16 = 20\nbatch_4 = 20\n{CHECK_1}", "one *byte*"),
        (f"multiply_adds = 48\nbatch_16 = 40\nbatch_4 = 80\n{CHECK_1}", "a single weight"),
        (f"multiply_adds = 24\nbatch_16 = 40\nbatch_4 = 10\n{CHECK_1}", "every one of the eight"),
    ],
    "06-2": [
        (f"{SECONDS}tokens_per_second = 4 * 33 / statistics.median(seconds_of[1:])\n{CHECK_2}", "is prefill's"),
        (f"{SECONDS}tokens_per_second = 4 * 32 / statistics.mean(seconds_of[1:])\n{CHECK_2}", "take the median"),
        (f"{SECONDS}tokens_per_second = 32 / statistics.median(seconds_of[1:])\n{CHECK_2}", "one sequence"),
        (f"{SECONDS}tokens_per_second = 4 * 32 / statistics.mean(seconds_of)\n{CHECK_2}", "warm-up"),
    ],
    "06-3": [
        (
            f'{CEILING}bandwidth / (weight_bytes + batch * context * kv_bytes)\nexercises.check("06-3", ceiling)',
            "steps per second",
        ),
        (
            f'{CEILING}batch * bandwidth / (weight_bytes + context * kv_bytes)\nexercises.check("06-3", ceiling)',
            "a cache of its own",
        ),
        (f'{CEILING}bandwidth / (weight_bytes + context * kv_bytes)\nexercises.check("06-3", ceiling)', "batch"),
    ],
    "06-4": [
        (
            'wrong = {"A": "warm-up", "B": "two programs", "C": "no waiting", "D": "two phases", "E": "no turns"}\n'
            'exercises.check("06-4", wrong)',
            "twice the work",
        ),
        (
            'wrong = {"A": "no waiting", "B": "no turns", "C": "warm-up", "D": "two phases", "E": "two programs"}\n'
            'exercises.check("06-4", wrong)',
            "changed two things",
        ),
    ],
}
