"""Checks of notebook 16: what each of four GPUs holds, bytes that travel, which way to share, the longest text."""

from . import Hint, call, exercise, matched, number


@exercise("16-1")
def check_four_gpus(answer) -> str:
    codes, constants, trained, rest, head, blocks, gpus = 16.0, 0.5, 2.0, 0.8, 0.4, 40, 4
    waiting = (codes + trained + rest) / gpus + constants
    truth = {"waiting": waiting, "at work": waiting + 3 * codes / blocks + head}
    if not isinstance(answer, dict) or set(answer) != set(truth):
        raise Hint('give a dict with "waiting" and "at work", in GB.')
    value = {name: number(answer[name], name) for name in truth}
    if abs(value["waiting"] - (codes + constants + trained + rest) / gpus) < 0.01:
        raise Hint("waiting: are the constants parameters? If they aren't, nobody cuts them.")
    if abs(value["waiting"] - waiting) > 0.01:
        raise Hint("waiting: cut all that is a parameter, or goes with one, in four; then add what stays whole.")
    for whole in (1, 2):
        if abs(value["at work"] - (waiting + whole * codes / blocks + head)) < 0.01:
            raise Hint(
                "at work: one block computes. Which others are there in the forward pass, one of them let go late?"
            )
    if abs(value["at work"] - (waiting + 3 * codes / blocks)) < 0.01:
        raise Hint("at work: the blocks are right; what else is whole, since the loss reads it?")
    if abs(value["at work"] - truth["at work"]) > 0.01:
        raise Hint("at work: to what waits, add the codes of the blocks that are whole, and what else is.")
    return (
        f"{waiting:g} GB wait on each GPU, and {truth['at work']:g} are there while it works. One GPU would need 19.3."
    )


CASES = [(gpus, *given) for gpus in (2, 4, 8) for given in ((48e9, 0.8e9), (0.0, 16.0), (3.2e9, 0.16e9))]


def _close(value: float, truth: float) -> bool:
    return abs(value - truth) <= 1e-6 * max(abs(truth), 1)


@exercise("16-2")
def check_bytes_that_travel(answer) -> str:
    for gpus, frozen, trained in CASES:
        share = (gpus - 1) / gpus
        value = number(call(answer, frozen, trained, gpus, "DDP"), "what it returns for DDP")
        if _close(value, 2 * share * trained):
            continue
        if frozen and _close(value, 2 * share * (frozen + trained)):
            raise Hint("DDP: frozen weights have no gradient. What is there to send?")
        if _close(value, share * trained):
            raise Hint("DDP: the parts are summed, and then the sums go back to everyone: two trips.")
        if _close(value, trained) or _close(value, 2 * trained):
            raise Hint("DDP: right for one number of GPUs only. Of n equal parts, which does a GPU receive?")
        raise Hint("DDP: each GPU receives what the others have of its part, and then all other sums.")
    for gpus, frozen, trained in CASES:
        share = (gpus - 1) / gpus
        value = number(call(answer, frozen, trained, gpus, "FSDP"), "what it returns for FSDP")
        if _close(value, share * (2 * (frozen + trained) + trained)):
            continue
        if _close(value, share * (frozen + trained + trained)):
            raise Hint("FSDP: a block is let go after the forward pass, so it comes once more for the backward pass.")
        if _close(value, share * 2 * (frozen + trained)):
            raise Hint("FSDP: both gathers are there; the gradients of what is trained travel, too.")
        if _close(value, 2 * (frozen + trained) + trained):
            raise Hint("FSDP: a GPU need not receive its own shard.")
        raise Hint("FSDP: two gathers of everything, one trip of the gradients, and never one's own part.")
    return "right for 2, 4 and 8 GPUs. The more there are, the more each receives: with FSDP nearly all of it, twice."


@exercise("16-3")
def check_ways(answer) -> str:
    truth = {"A": "FSDP", "B": "FSDP, host", "C": "one card", "D": "DDP", "E": "one card"}
    why = {
        "A": "A has 40 GB of codes. What is a quarter of them, and where would there be room for all of them together?",
        "B": "B's shards are too large for the cards, if only just. Where else is there room for about 40 GB?",
        "C": "C's cards get equal work. Which one decides how soon a step ends, and could it hold a copy?",
        "D": "D's step reads two texts, and there are two cards. What would one card hold if it read one text?",
        "E": "What does E's card do most of the time, with one short text? And what would a second one do?",
    }
    matched(answer, truth, why)
    return "speed is bought with copies, room with shards, and some cards are better left in the shop."


@exercise("16-4")
def check_plan(answer, *, fits) -> str:
    wanted = ("model", "gb", "longest on two", "longest on four")
    if not isinstance(answer, dict) or set(answer) != set(wanted):
        raise Hint(f"give a dict with {', '.join(wanted)}.")
    model, gb, two, four = (answer[name] for name in wanted)
    gb, longest = number(gb, "gb"), {2: number(two, "longest on two"), 4: number(four, "longest on four")}
    if not 1 <= gb <= 200:
        raise Hint("gb: the size that a card is sold as, from 1 to 200.")
    if any(length % 512 or not 512 <= length <= 8192 for length in longest.values()):
        raise Hint("the lengths: multiples of 512, up to 8,192.")
    try:
        alone = fits(model, 1, gb, 512)
    except KeyError:
        raise Hint(f"{model!r} is not in `family`: add its configuration there, or take one that is.") from None
    if alone:
        raise Hint("one card of these is enough for a text of 512 tokens. What are the others for?")
    if not fits(model, 2, gb, 512):
        raise Hint(
            "two cards of these aren't enough for 512 tokens with 2 GB to spare. Take larger ones, or a smaller model."
        )
    for cards, length in longest.items():
        if not fits(model, cards, gb, int(length)):
            raise Hint(f"{length:,.0f} tokens are too many for {cards} cards: ask `fits`.")
        if length < 8192 and fits(model, cards, gb, int(length) + 512):
            raise Hint(f"{length:,.0f} tokens on {cards} cards: 512 more would fit as well. What is the longest?")
    said = f"{model} on cards of {gb:g} GB: {longest[2]:,.0f} tokens on two, {longest[4]:,.0f} on four"
    return f"{said}, {longest[4] / longest[2]:.1f} times as many."
