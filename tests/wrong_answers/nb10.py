"""The most likely wrong answers to each exercise of notebook 10, and a part of the hint that each must get."""

CHECK = {
    1: 'exercises.check("10-1", parameters)',
    2: 'exercises.check("10-2", verdict)',
    3: 'exercises.check("10-3", questions)',
    4: 'exercises.check("10-4", [found, verdicts])',
}
FOUND = 'found = {"A": 36.36, "B": [28.3, 1.09], "C": 0.14}\n'
VERDICTS = 'verdicts = {"A": "true", "B": "depends", "C": "open"}\n'


def rule(*lines: str) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"def verdict(ranges, least=1.8):\n{body}\n\n\n{CHECK[2]}"


WRONG = {
    "10-1": [
        (f"parameters = 2e9 * 2\n{CHECK[1]}", "codes alone"),
        (f"parameters = 2e9 / nf4.bits_per_parameter(64, True)\n{CHECK[1]}", "each byte has 8 bits"),
        (f"parameters = 2e9 * 8 / 4.5\n{CHECK[1]}", "without double quantization"),
    ],
    "10-2": [
        (
            rule(
                "middle = sum(low + high for low, high in ranges) / len(ranges) / 2",
                'return "true" if middle > least else "false"',
            ),
            "One range is reached and one is not",
        ),
        (
            rule(
                "if any(low <= least < high for low, high in ranges):",
                '    return "open"',
                "reached = [low > least for low, high in ranges]",
                'return "true" if all(reached) else "depends" if any(reached) else "false"',
            ),
            "open is only for when none is",
        ),
        (
            rule(
                "reached = [high > least for low, high in ranges]",
                'return "true" if all(reached) else "depends" if any(reached) else "false"',
            ),
            "lies across 1.8",
        ),
        (
            rule(
                "reached = [low > 1.8 and high <= 3 for low, high in ranges]",
                'return "true" if all(reached) else "depends" if any(reached) else "false"',
            ),
            "there is no upper limit",
        ),
        (
            rule(
                "reached = [low > 1.8 for low, high in ranges]",
                "across = [low <= 1.8 < high for low, high in ranges]",
                'return "true" if all(reached) else "depends" if any(reached) else "open" if any(across) else "false"',
            ),
            "another number than 1.8",
        ),
    ],
    "10-3": [
        (f"questions = 0.61 * 0.39 * (1.96 / 0.004) ** 2\n{CHECK[3]}", "their variances add"),
        (f"questions = 2 * 0.61 * 0.39 * (1.96 / 0.4) ** 2\n{CHECK[3]}", "not 0.4"),
        (f"questions = 2 * 0.61 * 0.39 / 0.004**2\n{CHECK[3]}", "1.96"),
    ],
    "10-4": [
        (f"{FOUND}{VERDICTS.replace('true', 'false')}{CHECK[4]}", "the margin for figures"),
        (f"{FOUND}{VERDICTS.replace('depends', 'true')}{CHECK[4]}", "in both cases, in neither, or in one"),
        (f"{FOUND}{VERDICTS.replace('open', 'false')}{CHECK[4]}", "include zero"),
        (f"{FOUND.replace('36.36', '39.55')}{VERDICTS}{CHECK[4]}", "without double quantization"),
        (f"{FOUND.replace('28.3', '1.09')}{VERDICTS}{CHECK[4]}", "one scale for the tensor"),
        (f"{FOUND.replace('0.14', '0.0014')}{VERDICTS}{CHECK[4]}", "0.710 and 0.714"),
    ],
}
