"""The two most likely wrong answers to each exercise of notebook 01, and a part of the hint that each must get."""

WRONG = {
    "01-1": [
        ('three_codes = [3, -1, 1]\nexercises.check("01-1", three_codes)', "a third of a step"),
        ('three_codes = [7, -2, 1]\nexercises.check("01-1", three_codes)', "4-bit codes"),
        ('three_codes = [4, -1, 0]\nexercises.check("01-1", three_codes)', "from −3 to 3"),
    ],
    "01-2": [
        ('affordable_bits = 6\nexercises.check("01-2", affordable_bits)', "rounded up"),
        ('affordable_bits = 5e9 * 8 / parameters\nexercises.check("01-2", affordable_bits)', "*whole* bits"),
    ],
    "01-3": [
        ('first_gap = 9\nexercises.check("01-3", first_gap)', "leading one"),
        ('first_gap = 16\nexercises.check("01-3", first_gap)', "which fits"),
    ],
    "01-4": [
        ('usable_codes = 127\nexercises.check("01-4", usable_codes)', "zero is a code"),
        ('usable_codes = 255\nexercises.check("01-4", usable_codes)', "never gives"),
    ],
    "01-5": [
        (
            "def block_round(x, bits, block_size):\n"
            "    codes, scale = absmax_quantize(x, bits)\n"
            "    return codes * scale\n"
            'exercises.check("01-5", block_round)',
            "blocks are not used",
        ),
        (
            "def block_round(x, bits, block_size):\n"
            "    codes, scale = absmax_quantize(x.reshape(-1, block_size), bits)\n"
            "    return codes * scale\n"
            'exercises.check("01-5", block_round)',
            "shape of x again",
        ),
    ],
    "01-6": [
        (
            "def signed_max(x):\n"
            "    scale = x.abs().max() / -8\n"
            "    return (x / scale).round().clamp(-8, 7), scale\n"
            'exercises.check("01-6", signed_max)',
            "sign of the scale",
        ),
        (
            "def signed_max(x):\n"
            "    scale = x[x.abs().argmax()] / -8\n"
            "    return (x / scale).round(), scale\n"
            'exercises.check("01-6", signed_max)',
            "one code is 8",
        ),
        (
            "def signed_max(x):\n"
            "    scale = x.abs().max() / 7\n"
            "    return (x / scale).round(), scale\n"
            'exercises.check("01-6", signed_max)',
            "absmax's scale",
        ),
    ],
}
