"""The two most likely wrong answers to each exercise of notebook 04, and a part of the hint that each must get."""

CHECK_1 = 'exercises.check("04-1", is_replaced, model=in_16_bits, quantized=quantized)'
CHECK_3 = 'exercises.check("04-3", one_weight)'
ONE_WEIGHT = "def one_weight(codes, absmax, levels, columns, row, column):\n    i = row * columns + column\n"

WRONG = {
    "04-2": [
        (
            'config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",\n'
            "                            bnb_4bit_use_double_quant=True)\n"
            'exercises.check("04-2", [config, 0])',
            "still computed in float32",
        ),
        (
            'config = BitsAndBytesConfig(bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,\n'
            "                            bnb_4bit_compute_dtype=torch.bfloat16)\n"
            'exercises.check("04-2", [config, 0])',
            "nothing is quantized yet",
        ),
        (
            'config = models.bnb_config("nf4", torch.bfloat16)\nexercises.check("04-2", [config, 0])',
            "absmax stays in 32 bits",
        ),
        (
            'config = models.bnb_config("nf4-dq", torch.bfloat16)\nexercises.check("04-2", [config, 4096 * 14336 / 2])',
            "codes alone",
        ),
        (
            'config = models.bnb_config("nf4-dq", torch.bfloat16)\n'
            'exercises.check("04-2", [config, 4096 * 14336 * 4.5 / 8])',
            "one byte now",
        ),
    ],
    "04-1": [
        (
            f"def is_replaced(name, module, head):\n    return isinstance(module, torch.nn.Linear)\n{CHECK_1}",
            "is the output head",
        ),
        (
            "def is_replaced(name, module, head):\n"
            f"    return isinstance(module, torch.nn.Linear) and 'lm_head' not in name\n{CHECK_1}",
            "whatever its name is",
        ),
        (
            "def is_replaced(name, module, head):\n"
            f"    return getattr(module, 'weight', None) is not None and module is not head\n{CHECK_1}",
            "is an embedding",
        ),
    ],
    "04-3": [
        (
            f"{ONE_WEIGHT}    code = codes[i // 2] & 15 if i % 2 == 0 else codes[i // 2] >> 4\n"
            f"    return levels[int(code)] * absmax[i // 64]\n{CHECK_3}",
            "swapped",
        ),
        (
            f"{ONE_WEIGHT}    code = codes[i // 2] >> 4 if i % 2 == 0 else codes[i // 2] & 15\n"
            f"    return levels[int(code)] * absmax[row]\n{CHECK_3}",
            "not to a row",
        ),
        (
            f"{ONE_WEIGHT}    return levels[int(codes[i // 2])] * absmax[i // 64]\n{CHECK_3}",
            "Two codes lie in one byte",
        ),
    ],
    "04-4": [
        (
            'to_change = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}\n'
            'exercises.check("04-4", to_change)',
            "makes it slower",
        ),
        (
            'to_change = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}\n'
            'exercises.check("04-4", to_change)',
            "and right",
        ),
        (
            'to_change = {"quant_type": "nf4", "bnb_4bit_use_double_quant": True}\n'
            'to_change["bnb_4bit_compute_dtype"] = torch.float16\n'
            'exercises.check("04-4", to_change)',
            "no option that we have met",
        ),
        (
            'to_change = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}\n'
            'to_change["bnb_4bit_compute_dtype"] = torch.bfloat16\nexercises.check("04-4", to_change)',
            "only emulates",
        ),
        (
            'to_change = {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": True}\n'
            'to_change["bnb_4bit_compute_dtype"] = torch.float16\nexercises.check("04-4", to_change)',
            "not all of their values",
        ),
    ],
}
