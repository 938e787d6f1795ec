"""The likely wrong answers to each exercise of notebook 08, and a part of the hint that each must get."""

WRONG = {
    "08-1": [
        (
            "def lora_output(x, frozen, A, B, alpha, r):\n"
            "    return frozen(x) + x @ A.T @ B.T\n"
            'exercises.check("08-1", lora_output)',
            "volume knob",
        ),
        (
            "def lora_output(x, frozen, A, B, alpha, r):\n"
            "    return frozen(x) + alpha / r * x @ B @ A\n"
            'exercises.check("08-1", lora_output)',
            "mat1 and mat2",
        ),
    ],
    "08-2": [
        (
            "def lora_parameters(shapes, r):\n"
            "    return sum(r * rows * columns for rows, columns in shapes)\n"
            'exercises.check("08-2", lora_parameters, trained=trained, config=config, rank=RANK)',
            "the frozen matrix",
        ),
        (
            "def lora_parameters(shapes, r):\n"
            "    return sum(r * columns for rows, columns in shapes)\n"
            'exercises.check("08-2", lora_parameters, trained=trained, config=config, rank=RANK)',
            "one of the two matrices",
        ),
    ],
    "08-3": [
        (
            "def labels_of(ids, prompt, length):\n"
            "    end = tokenizer.eos_token_id\n"
            "    return [-100 if i < prompt or token == end else token for i, token in enumerate(ids)]\n"
            'exercises.check("08-3", labels_of, end=tokenizer.eos_token_id)',
            "never learn to stop",
        ),
        (
            "def labels_of(ids, prompt, length):\n"
            "    return [-100] * prompt + ids[prompt:]\n"
            'exercises.check("08-3", labels_of, end=tokenizer.eos_token_id)',
            "padding behind the end token is learned",
        ),
    ],
    "08-4": [
        (
            "exercises.check('08-4', [12, 12 * 7_241_732_096 / 1e9], parameters=7_241_732_096)",
            "two numbers for each parameter",
        ),
        (
            "exercises.check('08-4', [16, 16 * 7_241_732_096 / 2**30], parameters=7_241_732_096)",
            "GiB",
        ),
    ],
}
