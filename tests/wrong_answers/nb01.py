"""The two most likely wrong answers to each exercise of notebook 01, and a part of the hint that each must get."""

WRONG = {
    "01-1": [
        (
            'def gigabytes(parameters, bits):\n    return parameters * bits / 1e9\nexercises.check("01-1", gigabytes)',
            "gigabits",
        ),
        (
            "def gigabytes(parameters, bits):\n    return parameters * bits / 8 / 2**30\n"
            'exercises.check("01-1", gigabytes)',
            "GiB",
        ),
    ],
    "01-2": [
        ('first_gap = 9\nexercises.check("01-2", first_gap)', "leading one"),
        ('first_gap = 16\nexercises.check("01-2", first_gap)', "which fits"),
    ],
    "01-3": [
        ('usable_codes = 127\nexercises.check("01-3", usable_codes)', "zero is a code"),
        ('usable_codes = 255\nexercises.check("01-3", usable_codes)', "never gives"),
    ],
    "01-4": [
        (
            "def block_round(x, bits, block_size):\n"
            "    codes, scale = absmax_quantize(x, bits)\n"
            "    return codes * scale\n"
            'exercises.check("01-4", block_round)',
            "blocks are not used",
        ),
        (
            "def block_round(x, bits, block_size):\n"
            "    codes, scale = absmax_quantize(x.reshape(-1, block_size), bits)\n"
            "    return codes * scale\n"
            'exercises.check("01-4", block_round)',
            "shape of x again",
        ),
    ],
}
