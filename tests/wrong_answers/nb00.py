"""The two most likely wrong answers to each exercise of notebook 00, and a part of the hint that each must get."""

WRONG = {
    "00-1": [
        ('becomes = -0.80 / 7\nexercises.check("00-1", becomes)', "next value nearer"),
        ('becomes = 2 * 0.80 / 7\nexercises.check("00-1", becomes)', "sign is lost"),
        ('becomes = -2\nexercises.check("00-1", becomes)', "how many steps"),
    ],
    "00-2": [
        (
            "def fitting(needed, free_gb):\n"
            "    return [scheme for scheme, gb in needed.items() if gb < free_gb]\n"
            'exercises.check("00-2", fitting, needed=needed)',
            "still fits",
        ),
        (
            "def fitting(needed, free_gb):\n"
            "    return [gb for gb in needed.values() if gb <= free_gb]\n"
            'exercises.check("00-2", fitting, needed=needed)',
            "return the names",
        ),
    ],
    "00-3": [
        (
            'exercises.check("00-3", [needed["fp16"] + 3 * text_gb, 24], needed=needed, text=text_gb)',
            "the half GB is still in it",
        ),
        (
            'exercises.check("00-3", [needed["fp16"] - 0.5 + text_gb, 24], needed=needed, text=text_gb)',
            "one text at a time",
        ),
        ('exercises.check("00-3", [20.8, 80], needed=needed, text=text_gb)', "stay empty"),
        ('exercises.check("00-3", [20.8, 16], needed=needed, text=text_gb)', "the smallest"),
    ],
    "00-4": [
        (
            "def compute_dtype(capability):\n"
            "    return 'bfloat16' if capability is None or capability >= (7, 5) else 'float16'\n"
            'exercises.check("00-4", compute_dtype, gpus=gpus)',
            "only emulates",
        ),
        (
            "def compute_dtype(capability):\n"
            "    return 'bfloat16' if capability is None or '{}.{}'.format(*capability) >= '8.0' else 'float16'\n"
            'exercises.check("00-4", compute_dtype, gpus=gpus)',
            "not text",
        ),
        (
            "def compute_dtype(capability):\n"
            "    return 'bfloat16' if capability is not None and capability >= (8, 0) else 'float16'\n"
            'exercises.check("00-4", compute_dtype, gpus=gpus)',
            "the CPU computes",
        ),
    ],
    "00-5": [
        (
            'def repaired():\n    return models.load("minni", scheme="nf4-double")\nexercises.check("00-5", repaired)',
            "Unknown scheme",
        ),
        (
            'def repaired():\n    return models.load("mini", scheme="nf4")\nexercises.check("00-5", repaired)',
            "a scheme of its own",
        ),
    ],
}
