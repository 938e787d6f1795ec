"""The two most likely wrong answers to each exercise of notebook 05, and a part of the hint that each must get."""

CHECK_1 = "exercises.check('05-1', by_hand, config=mistral, predicted=budget.gb, counted=counted_7b)"
CHECK_2 = 'exercises.check("05-2", kv_bytes, config=config, tokens=NEW_TOKENS, measured=decode.now)'
GIVEN_3 = (
    "weight_bytes = {scheme: memory.predict(mistral, scheme).weight_bytes for scheme in ('nf4-dq', 'nf4')}\n"
    "per_token = memory.kv_bytes_per_token(mistral)\n"
)
CHECK_3 = "exercises.check('05-3', tokens_each, weight_bytes=weight_bytes, per_token=per_token)"

WRONG = {
    "05-1": [
        (
            "weights = 32 * (4 * 4096 * 4096 + 3 * 4096 * 14336)\n"
            'by_hand = {"codes": weights / 2, "constants": weights / 64, "16 bits": 2 * 2 * 32000 * 4096}\n' + CHECK_1,
            "k and v are smaller",
        ),
        (
            "weights = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)\n"
            'by_hand = {"codes": weights / 2, "constants": 4 * weights / 64, "16 bits": 4 * 32000 * 4096}\n' + CHECK_1,
            "absmax in 32 bits",
        ),
    ],
    "05-2": [
        (
            "def kv_bytes(config, tokens):\n"
            "    return 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * tokens\n"
            + CHECK_2,
            "both keys and values",
        ),
        (
            "def kv_bytes(config, tokens):\n"
            "    heads = config.num_attention_heads\n"
            "    return 2 * 2 * config.num_hidden_layers * heads * config.head_dim * tokens\n" + CHECK_2,
            "only the key/value heads",
        ),
    ],
    "05-3": [
        (
            GIVEN_3
            + "tokens_each = {s: int((5.54e9 - weight_bytes[s]) // per_token) for s in weight_bytes}\n"
            + CHECK_3,
            "4 of them",
        ),
        (
            GIVEN_3
            + "tokens_each = {s: int((6.44e9 - weight_bytes[s]) // (4 * per_token)) for s in weight_bytes}\n"
            + CHECK_3,
            "0.5 GB",
        ),
    ],
    "05-4": [
        (
            "helps = dict(A='double quantization', B='fewer people', C='shorter pieces', D='smaller adapters')\n"
            + "exercises.check('05-4', {**helps, 'people': 24, 'pieces': 3}, table=table)",
            "one short text",
        ),
        (
            "helps = dict(A='double quantization', B='fewer people', C='shorter pieces', D='checkpointing')\n"
            + "exercises.check('05-4', {**helps, 'people': 24, 'pieces': 2}, table=table)",
            "rounded up",
        ),
    ],
}
