"""Checks of notebook 05: Mistral-7B by hand, the KV cache, what double quantization buys, and what helps whom."""

import math
from types import SimpleNamespace

from . import Hint, call, exercise, matched, number


@exercise("05-1")
def check_by_hand(answer, *, config, predicted: float, counted: int | None) -> str:
    if not isinstance(answer, dict) or set(answer) != {"codes", "constants", "16 bits"}:
        raise Hint('give a dict with the names "codes", "constants" and "16 bits".')
    found = {part: number(value, part) for part, value in answer.items()}
    hidden, inner, blocks = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    queries, keys = config.num_attention_heads * config.head_dim, config.num_key_value_heads * config.head_dim
    block = 2 * hidden * queries + 2 * hidden * keys + 3 * hidden * inner
    weights, table = blocks * block, config.vocab_size * hidden

    def near(part, value):
        return abs(found[part] - value) < 0.01 * value

    if not near("codes", weights / 2):
        if near("codes", block / 2):
            raise Hint("these are the codes of one transformer block; the model has more of them.")
        if near("codes", blocks * (4 * hidden * queries + 3 * hidden * inner) / 2):
            raise Hint("k and v are smaller than q and o: look at how wide they are in the picture.")
        if near("codes", weights):
            raise Hint("the number of weights is right; now bytes, with two codes in each.")
        raise Hint("codes: add up the weights of the seven matrices first. Which sides has each of them?")
    if not near("constants", weights / 64 * (1 + 4 / 256)):
        if near("constants", weights / 64 * 4):
            raise Hint("that's an absmax in 32 bits; double quantization stores it in one byte.")
        raise Hint("constants: how many blocks of 64 weights are there, and how many bytes has each?")
    if not near("16 bits", 4 * table):
        if near("16 bits", 2 * table):
            raise Hint("16 bits: that's half. Is the output head in it, and has each number 2 bytes?")
        raise Hint("16 bits: two tables, and in each a row of hidden_size numbers for every token of the vocabulary.")
    total = sum(found.values())
    seen = f", and a GPU counted {counted / 1e9:.4f}" if counted else ""
    return (
        f"{total / 1e9:.4f} GB by hand. The forecast says {predicted:.4f} GB{seen}. Norms and tables, which you "
        f"left out, take less than a thousandth."
    )


@exercise("05-2")
def check_cache(answer, *, config, tokens: int, measured: int) -> str:
    other = SimpleNamespace(num_hidden_layers=5, num_attention_heads=12, num_key_value_heads=3, head_dim=16)
    for sizes in (config, other):
        layers, kv, head = sizes.num_hidden_layers, sizes.num_key_value_heads, sizes.head_dim
        for count in (1, 7):
            value = number(call(answer, sizes, count), "what kv_bytes returns")
            truth = 4 * layers * kv * head * count
            if value == truth:
                continue
            if value * 4 == truth:
                raise Hint("a quarter of it: there are keys and values, and each number has 2 bytes.")
            if value * 2 == truth:
                raise Hint("half of it: both keys and values are kept, and each number has 2 bytes.")
            if value * kv == truth * sizes.num_attention_heads:
                raise Hint("only the key/value heads are kept, not one for every attention head.")
            if value * layers == truth:
                raise Hint("this is one block; every block has its own cache.")
            if value * count == truth:
                raise Hint("this is right for one token; what do several take?")
            raise Hint(f"with {layers} blocks, {kv} key/value heads of {head} numbers and {count} tokens: {truth:,}.")
    mine = number(call(answer, config, tokens))
    return f"your function says {mine:,.0f} bytes for {tokens} tokens, and {measured:,} were measured."


@exercise("05-3")
def check_fits(answer, *, weight_bytes: dict, per_token: int) -> str:
    if not isinstance(answer, dict) or set(answer) != {"nf4-dq", "nf4"}:
        raise Hint('give a dict with a number for "nf4-dq" and one for "nf4".')
    truths = {}
    for scheme in ("nf4-dq", "nf4"):
        tokens, weights = number(answer[scheme], scheme), weight_bytes[scheme]

        def room(card, fixed, people=4, weights=weights):
            return (card - fixed - weights) / (people * per_token)

        truth = truths[scheme] = int(room(6.44e9, 0.9e9))
        if tokens in (truth, int(room(6 * 2**30, 0.9e9))):
            continue
        if abs(tokens - truth) <= 1:
            raise Hint("round down to a whole number: the last token must still fit.")
        if abs(tokens - room(6.44e9, 0.9e9, 1)) < 5:
            raise Hint("this is for all people together; there are 4 of them.")
        if abs(tokens - room(6.44e9, 0)) < 2 or abs(tokens - room(6.44e9, 0.4e9)) < 2:
            raise Hint("0.5 GB are gone before the first weight: the CUDA context.")
        if abs(tokens - room(6.44e9, 0.5e9)) < 2:
            raise Hint("you have filled the card to the last byte: leave the 0.4 GB free.")
        if abs(tokens - room(6e9, 0.9e9)) < 2:
            raise Hint("the card has 6.44 GB: what is sold as 6 GB are GiB.")
        if abs(tokens - room(6.44e9, 0.9e9, weights=0)) < 2:
            raise Hint("the weights take their share first: subtract `weight_bytes`.")
        raise Hint(f"{scheme}: which bytes are fixed, and how many does one more token of each person take?")
    more = truths["nf4-dq"] - truths["nf4"]
    return f"{truths['nf4-dq']:,} and {truths['nf4']:,}: double quantization buys {more:,} more tokens for each person."


@exercise("05-4")
def check_remedies(answer, *, table: list[dict]) -> str:
    truth = {"A": "double quantization", "B": "fewer people", "C": "shorter pieces", "D": "checkpointing"}
    why = {
        "A": "A has nothing but weights. Which of the five makes them smaller?",
        "B": "B is short of little, and one part grew with each word of each person.",
        "C": "C is one person, whose cache has to be there. What else is large, and comes and goes?",
        "D": "D has one short text. Look at the largest part after the weights: what makes it smaller?",
    }
    if not isinstance(answer, dict) or set(answer) != {*truth, "people", "pieces"}:
        raise Hint('give a dict with a word for each letter, and numbers for "people" and "pieces".')
    matched({letter: answer[letter] for letter in truth}, truth, why, ("smaller adapters",))
    b, c = table[1:3]
    room = {row["who"][0]: float(row["there"]) - float(row["weights"]) for row in (b, c)}
    most = room["B"] / (float(b["KV cache"]) / 30)
    fewest = float(c["activations"]) / (room["C"] - float(c["KV cache"]))
    people, pieces = number(answer["people"], "people"), number(answer["pieces"], "pieces")
    if people != int(most):
        if abs(people - most) <= 1:
            raise Hint("people: a whole number, rounded down, for the last one has to fit, too.")
        raise Hint("people: what do weights leave of B's room, and how much of the cache is one person's?")
    if pieces != math.ceil(fewest):
        if abs(pieces - fewest) < 1:
            raise Hint("pieces: a whole number, rounded up, for a longer piece wouldn't fit.")
        raise Hint(
            "pieces: what do weights and the whole cache leave of C's room, and how often is that in activations?"
        )
    return (
        f"{people:.0f} people fit, and {pieces:.0f} pieces are enough. Weights, cache, activations, and what training "
        "keeps: each has a remedy of its own."
    )
