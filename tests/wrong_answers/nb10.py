"""The two most likely wrong answers to each exercise of notebook 10, and a part of the hint that each must get."""

CHECK = {
    1: 'exercises.check("10-1", parameters)',
    2: 'exercises.check("10-2", verdict)',
    3: 'exercises.check("10-3", questions)',
}

WRONG = {
    "10-1": [
        (f"parameters = 2e9 * 2\n{CHECK[1]}", "codes alone"),
        (f"parameters = 2e9 / nf4.bits_per_parameter(64, True)\n{CHECK[1]}", "bytes of 8 bits"),
        (f"parameters = 2e9 * 8 / 4.5\n{CHECK[1]}", "without double quantization"),
    ],
    "10-2": [
        (
            f'def verdict(ratios):\n    return "true" if sum(ratios) / len(ratios) >= 2 else "false"\n\n\n{CHECK[2]}',
            "depends on the case",
        ),
        (
            "def verdict(ratios):\n    fast = [ratio > 2 for ratio in ratios]\n"
            f'    return "true" if all(fast) else "depends" if any(fast) else "false"\n\n\n{CHECK[2]}',
            "at least 2",
        ),
        (
            "def verdict(ratios):\n    fast = [2 <= ratio <= 3 for ratio in ratios]\n"
            f'    return "true" if all(fast) else "depends" if any(fast) else "false"\n\n\n{CHECK[2]}',
            "only the lower bound counts",
        ),
    ],
    "10-3": [
        (f"questions = 0.61 * 0.39 * (1.96 / 0.004) ** 2\n{CHECK[3]}", "their variances add"),
        (f"questions = 2 * 0.61 * 0.39 * (1.96 / 0.4) ** 2\n{CHECK[3]}", "not 0.4"),
        (f"questions = 2 * 0.61 * 0.39 / 0.004**2\n{CHECK[3]}", "1.96"),
    ],
}
