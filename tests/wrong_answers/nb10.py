"""The most likely wrong answers to each exercise of notebook 10, and a part of the hint that each must get."""

CHECK = {
    1: 'exercises.check("10-1", verdict)',
    2: 'exercises.check("10-2", parameters)',
    3: 'exercises.check("10-3", questions)',
    4: 'exercises.check("10-4", [found, verdicts])',
    5: 'exercises.check("10-5", margin, sealed=here["quality"])',
}
FOUND = 'found = {"A": 36.36, "B": [28.3, 1.09], "C": 0.14}\n'
VERDICTS = 'verdicts = {"A": "true", "B": "depends", "C": "open"}\n'


def rule(*lines: str) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"def verdict(kinds):\n{body}\n\n\n{CHECK[1]}"


WRONG = {
    "10-1": [
        (rule('return "open" if "open" in kinds else "depends" if len(set(kinds)) > 1 else kinds[0]'), "change at all"),
        (rule('return "depends" if len(set(kinds)) > 1 else kinds[0]'), "right both times"),
        (
            rule(
                'known = [kind for kind in kinds if kind != "open"] or ["open"]',
                'return "depends" if len(set(known)) > 1 else known[0]',
            ),
            "right both times",
        ),
        (rule('return "true" if "true" in kinds else "open" if "open" in kinds else "false"'), "no case is open"),
        (rule("return True"), 'return "true", "false"'),
    ],
    "10-2": [
        (f"parameters = 2e9 * 2\n{CHECK[2]}", "codes alone"),
        (f"parameters = 2e9 * 8 / nf4.bits_per_parameter(64, True)\n{CHECK[2]}", "every parameter in 4 bits"),
        (f"parameters = 2e9 / (0.96 * nf4.bits_per_parameter(64, True) + 0.64)\n{CHECK[2]}", "each byte has 8 bits"),
        (f"parameters = 2e9 * 8 / (0.96 * 4.5 + 0.64)\n{CHECK[2]}", "without double quantization"),
        (f"parameters = 2e9 * 8 / 5\n{CHECK[2]}", "on average"),
    ],
    "10-3": [
        (f"questions = 0.61 * 0.39 * (1.96 / 0.002) ** 2\n{CHECK[3]}", "their variances add"),
        (f"questions = 2 * 0.61 * 0.39 * (1.96 / 0.2) ** 2\n{CHECK[3]}", "not 0.2"),
        (f"questions = 2 * 0.61 * 0.39 / 0.002**2\n{CHECK[3]}", "1.96"),
        (f"questions = 2 * 0.61 * 0.39 * (1.96 / 0.003) ** 2\n{CHECK[3]}", "smaller than the margin"),
        (f"questions = 2 * 0.61 * 0.39 * (1.96 / 0.005) ** 2\n{CHECK[3]}", "How much room"),
        (f"questions = 2 * 0.61 * 0.39 * (1.96 / 0.004) ** 2\n{CHECK[3]}", "Only the upper end"),
    ],
    "10-4": [
        (f"{FOUND}{VERDICTS.replace('true', 'false')}{CHECK[4]}", "the margin for figures"),
        (f"{FOUND}{VERDICTS.replace('depends', 'true')}{CHECK[4]}", "in both cases, in neither, or in one"),
        (f"{FOUND}{VERDICTS.replace('open', 'false')}{CHECK[4]}", "include zero"),
        (f"{FOUND.replace('36.36', '39.55')}{VERDICTS}{CHECK[4]}", "without double quantization"),
        (f"{FOUND.replace('28.3', '1.09')}{VERDICTS}{CHECK[4]}", "one scale for the tensor"),
        (f"{FOUND.replace('0.14', '0.0014')}{VERDICTS}{CHECK[4]}", "0.710 and 0.714"),
    ],
    "10-5": [
        (f"margin = 0\n{CHECK[5]}", "hardly any result"),
        (f"margin = -0.01\n{CHECK[5]}", "not even notice"),
        (f"margin = 1\n{CHECK[5]}", "0.01 is 1%"),
        (f"margin = 0.001\n{CHECK[5]}", "even if FP4 lost nothing"),
        (f"margin = 0.06\n{CHECK[5]}", "could not call the same loss false"),
    ],
}
