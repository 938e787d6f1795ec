"""The two most likely wrong answers to each exercise of notebook 05, and a part of the hint that each must get."""

WRONG = {
    "05-1": [
        (
            "weights = 2 * measured.parts['codes']\n"
            "bits_per_weight = 8 * measured.parts['codes'] / weights\n"
            'exercises.check("05-1", bits_per_weight, parts=measured.parts, weights=weights)',
            "codes alone",
        ),
        (
            "weights = 2 * measured.parts['codes']\n"
            "bits_per_weight = 8 * measured.total_bytes / weights\n"
            'exercises.check("05-1", bits_per_weight, parts=measured.parts, weights=weights)',
            "not quantized",
        ),
    ],
    "05-2": [
        (
            "def kv_bytes(config, bytes_per_number=2):\n"
            "    return config.num_hidden_layers * config.num_key_value_heads * config.head_dim * bytes_per_number\n"
            'exercises.check("05-2", kv_bytes, config=config)',
            "both keys and values",
        ),
        (
            "def kv_bytes(config, bytes_per_number=2):\n"
            "    heads = config.num_attention_heads\n"
            "    return 2 * config.num_hidden_layers * heads * config.head_dim * bytes_per_number\n"
            'exercises.check("05-2", kv_bytes, config=config)',
            "only the key/value heads",
        ),
    ],
    "05-3": [
        (
            "tokens_each = int((5.94e9 - seven['nf4-dq']) // per_token)\n"
            "exercises.check('05-3', tokens_each, weight_bytes=seven['nf4-dq'], per_token=per_token)",
            "4 of them",
        ),
        (
            "tokens_each = int((6.44e9 - seven['nf4-dq']) // (4 * per_token))\n"
            "exercises.check('05-3', tokens_each, weight_bytes=seven['nf4-dq'], per_token=per_token)",
            "0.5 GB",
        ),
    ],
    "05-4": [
        (
            'helps = {"A": "checkpointing", "B": "fewer at once", "C": "shorter pieces", "D": "double quantization"}\n'
            'exercises.check("05-4", helps)',
            "makes weights smaller",
        ),
        (
            'helps = {"A": "double quantization", "B": "shorter pieces", "C": "fewer at once", "D": "checkpointing"}\n'
            'exercises.check("05-4", helps)',
            "what grows with each word",
        ),
    ],
}
