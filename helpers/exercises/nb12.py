"""Checks of notebook 12: bytes of logits, the share of padding, the longest text for a T4, which lever for whom."""

from . import Hint, call, exercise, matched, number


@exercise("12-1")
def check_logits(answer) -> str:
    whole, piece = (number(value, name) for value, name in zip(answer, ("all_gb", "piece_gb"), strict=True))
    truth, part = 4 * 2048 * 128_256 * 12 / 1e9, 1024 * 128_256 * 12 / 1e9
    if abs(whole - truth) < 0.01 * truth:
        if abs(piece - part) < 0.01 * part:
            return f"{truth:.2f} GB whole, {part:.2f} GB in pieces: {truth / part:.0f} times less."
        raise Hint("piece_gb is the same product for 1,024 tokens.")
    if abs(whole / truth - 1e9) < 1e7:
        raise Hint("this is in bytes; a GB is 10⁹ of them.")
    if abs(piece - part * 32_000 / 128_256) < 0.01 * part:  # of the whole it is a quarter, as of one text of four
        raise Hint("these are Mistral's logits; Llama 3 has 128,256 words.")
    if abs(whole - truth / 3) < 0.01 * truth:
        raise Hint("this is one copy; at the peak there are three.")
    if abs(whole - truth / 2) < 0.01 * truth:
        raise Hint("a number in float32 has 4 bytes.")
    if abs(whole - truth / 4) < 0.01 * truth:
        raise Hint("a batch has four texts.")
    raise Hint("multiply tokens, vocabulary, bytes per number and copies, and divide by 1e9.")


@exercise("12-2")
def check_padding(answer, *, lengths: list[int]) -> str:
    def share(sizes, batch):
        groups = [sizes[i : i + batch] for i in range(0, len(sizes), batch)]
        return 1 - sum(sizes) / sum(max(group) * len(group) for group in groups)

    for sizes, batch in (([10, 10, 5, 5], 2), ([10, 5, 10, 5], 2), ([8, 4, 2], 2), (lengths, 8)):
        value, truth = number(call(answer, sizes, batch), "what padding_share returns"), share(sizes, batch)
        if abs(value - truth) < 1e-9:
            continue
        if abs(value - (1 - truth)) < 1e-9:
            raise Hint("this is the share that is not padding.")
        if abs(value - (1 - sum(sizes) / (max(sizes) * len(sizes)))) < 1e-9:
            raise Hint("each batch is padded to its own longest turn, not to the longest of all.")
        if abs(value - (1 / (1 - truth) - 1)) < 1e-9:
            raise Hint("divide by the computed tokens, padding included.")
        raise Hint(
            f"for lengths {sizes[:4]} … in batches of {batch} it is {truth:.3f}: take turns in this order and divide "
            "all padding by all tokens."
        )
    return f"{share(lengths, 8):.0%} of what batches of 8 compute here is padding, {share(lengths, 32):.0%} with 32."


T4_GB = 15.3  # a T4's 15.8, less half a GB for the CUDA context


@exercise("12-3")
def check_longest(answer, *, forecast) -> str:
    longest = number(answer, "longest")
    if longest % 512:
        raise Hint("only multiples of 512 are asked for.")
    if not 512 <= longest <= 8192:
        raise Hint("try lengths from 512 to 8,192.")
    here = forecast(int(longest))
    if here > T4_GB:
        raise Hint(f"that takes {here:.2f} GB, more than the {T4_GB} that are there.")
    if longest < 8192 and forecast(int(longest) + 512) <= T4_GB:
        raise Hint(f"that takes {here:.2f} GB, and 512 tokens more would fit as well.")
    return f"{longest:,.0f} tokens by 8, forecast at {here:.2f} GB."


@exercise("12-4")
def check_levers(answer) -> str:
    truth = {"A": "packing", "B": "CUDA graph", "C": "offloading", "D": "loss in pieces"}
    why = {
        "A": "A's card has room. What does it compute that nobody needs?",
        "B": "B's GPU has little to do, so giving it less to do won't help. What is it waiting for?",
        "C": "C's peak comes from what is kept, one state for each of many blocks. Where could that wait?",
        "D": "D's peak is a spike between the two passes, and its vocabulary is huge. What exists just then?",
    }
    matched(answer, truth, why)
    return "padding, waiting, what is kept, and logits: first find out which of them you pay for."
