"""Checks of notebook 05: bits per weight, the KV cache, what fits, and what helps whom."""

from types import SimpleNamespace

from . import Hint, call, exercise, matched, number


@exercise("05-1")
def check_bits(answer, *, parts: dict, weights: int) -> str:
    bits = number(answer, "bits_per_weight")
    constants = {part: 8 * parts.get(part, 0) / weights for part in ("absmax", "second_level", "tables")}
    codes = 8 * parts["codes"] / weights
    truth = codes + sum(constants.values())

    def near(value):
        return abs(bits - value) < 0.002 * value

    if near(truth):
        return (
            f"{truth:.3f} bits: {codes:.0f} for the code, {constants['absmax']:.3f} for absmax, "
            f"{constants['second_level']:.4f} for the second level, {constants['tables']:.4f} for tables."
        )
    if near(truth / 8):
        raise Hint("this is in bytes per weight; a byte has 8 bits.")
    if near(codes):
        raise Hint("these are the codes alone; add absmax, second level and tables.")
    if near(truth - constants["tables"]):
        raise Hint("the code tables and offsets are missing: they are bytes of this model, too.")
    if near(8 * sum(parts.values()) / weights):
        raise Hint("embeddings, head and norms are not quantized: leave them out.")
    raise Hint("add the bytes of the four parts that belong to quantized layers, times 8, divided by `weights`.")


@exercise("05-2")
def check_cache(answer, *, config) -> str:
    other = SimpleNamespace(num_hidden_layers=5, num_attention_heads=12, num_key_value_heads=3, head_dim=16)
    for sizes in (config, other):
        layers, kv, head = sizes.num_hidden_layers, sizes.num_key_value_heads, sizes.head_dim
        for width in (2, 4):
            value = number(call(answer, sizes, width), "what kv_bytes returns")
            truth = 2 * layers * kv * head * width
            if value == truth:
                continue
            if value * 2 == truth:
                raise Hint("half of it: both keys and values are kept.")
            if value * kv == truth * sizes.num_attention_heads:
                raise Hint("only the key/value heads are kept, not one for every attention head.")
            if value * layers == truth:
                raise Hint("this is one layer; every layer has its own cache.")
            if value * width == truth or value * width == 2 * truth:
                raise Hint("these are numbers, not bytes: use `bytes_per_number`.")
            raise Hint(f"with {layers} layers, {kv} key/value heads of size {head} and {width} bytes it is {truth:,}.")
    mine = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 2
    return f"{mine:,} bytes a token for this model, and the formula holds for another one, too."


@exercise("05-3")
def check_fits(answer, *, weight_bytes: int, per_token: int) -> str:
    tokens = number(answer, "tokens_each")
    free = 6.44e9 - 0.5e9 - weight_bytes
    truth = int(free // (4 * per_token))
    if tokens in (truth, truth + 1) and tokens != truth:
        raise Hint("round down: the last token must still fit.")
    if tokens == truth:
        return f"{truth:,} tokens each; {4 * truth:,} in all fill the {free / 1e9:.2f} GB that the weights leave."
    if abs(tokens - truth) < 1:
        raise Hint("a whole number is wanted: round down.")
    if abs(tokens - 4 * truth) < 5:
        raise Hint("this is for all sequences together; there are 4 of them.")
    if abs(tokens - (6.44e9 - weight_bytes) / (4 * per_token)) < 2:
        raise Hint("0.5 GB are gone before the first weight: context and workspace.")
    if abs(tokens - (6e9 - 0.5e9 - weight_bytes) / (4 * per_token)) < 2:
        raise Hint("the card has 6.44 GB: what is sold as 6 GB are GiB.")
    if abs(tokens - 5.94e9 / (4 * per_token)) < 2:
        raise Hint("the weights take their share first: subtract `weight_bytes`.")
    raise Hint("free bytes are 6.44e9 − 0.5e9 − weight_bytes; divide them by 4 sequences and by `per_token`.")


@exercise("05-4")
def check_remedies(answer) -> str:
    truth = {"A": "double quantization", "B": "fewer at once", "C": "shorter pieces", "D": "checkpointing"}
    why = {
        "A": "A fails while loading, so it is about the weights alone. Which of the four makes weights smaller?",
        "B": "B has short prompts, and what grows with each word and each person is the cache.",
        "C": "C fails before the first word, in one long pass, and the cache isn't the problem.",
        "D": "D has no trouble until it trains: something is kept for the backward pass.",
    }
    matched(answer, truth, why)
    return "weights, caches, activations and what training keeps: each has a remedy of its own."
