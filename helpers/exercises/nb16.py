"""Checks of notebook 16: what each of four GPUs holds, bytes that travel, which way to share, a plan that just fits."""

from . import Hint, call, exercise, matched, number


@exercise("16-1")
def check_four_gpus(answer) -> str:
    codes, constants, trained, rest, head, blocks, gpus = 16.0, 0.5, 2.0, 0.8, 0.4, 40, 4
    waiting = (codes + trained + rest) / gpus + constants
    truth = {"waiting": waiting, "at work": waiting + 2 * codes / blocks + head}
    if not isinstance(answer, dict) or set(answer) != set(truth):
        raise Hint('give a dict with "waiting" and "at work", in GB.')
    value = {name: number(answer[name], name) for name in truth}
    if abs(value["waiting"] - (codes + constants + trained + rest) / gpus) < 0.01:
        raise Hint("waiting: are the constants parameters? If they aren't, nobody cuts them.")
    if abs(value["waiting"] - waiting) > 0.01:
        raise Hint("waiting: cut all that is a parameter, or goes with one, in four; then add what stays whole.")
    if abs(value["at work"] - (waiting + codes / blocks + head)) < 0.01:
        raise Hint("at work: while one block computes, the next one is already on its way.")
    if abs(value["at work"] - (waiting + 2 * codes / blocks)) < 0.01:
        raise Hint("at work: two blocks are right; what else is whole, since the loss reads it?")
    if abs(value["at work"] - truth["at work"]) > 0.01:
        raise Hint("at work: to what waits, add the codes of two whole blocks, and the whole head.")
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
    truth = {"A": "DDP", "B": "FSDP", "C": "one card", "D": "FSDP", "E": "one card"}
    why = {
        "A": "A's model fits on one card with room to spare. What does A want, more room or more speed?",
        "B": "B's step needs 41 GB. Could a card of 24 hold a whole copy?",
        "C": "C's cards get equal work. Which one decides how soon a step ends, and could it hold a copy?",
        "D": "D's step needs 9.0 GB on one card. Is that less than a card of 8 GB has?",
        "E": "E's card is idle most of the time. What would a second one do most of the time?",
    }
    matched(answer, truth, why)
    return "speed is bought with copies, room with shards, and some cards are better left in the shop."


@exercise("16-4")
def check_plan(answer, *, forecast) -> str:
    wanted = ("model", "cards", "gb", "length")
    if not isinstance(answer, dict) or set(answer) != set(wanted):
        raise Hint(f"give a dict with {', '.join(wanted)}.")
    model, cards, gb, length = (answer[name] for name in wanted)
    cards, gb, length = int(number(cards, "cards")), number(gb, "gb"), int(number(length, "length"))
    if cards < 2 or not 1 <= gb <= 200:
        raise Hint("this is about two cards or more, each of 1 to 200 GB.")
    if length % 512 or not 512 <= length <= 8192:
        raise Hint("length: a multiple of 512, up to 8,192.")
    room = gb * 2**30 / 1e9
    try:
        here, alone = forecast(model, cards, length), forecast(model, 1, length)
    except KeyError:
        raise Hint(f"{model!r} is not in `family`: add its configuration there, or take one that is.") from None
    if here > room:
        raise Hint(f"each card would have to hold {here:.1f} GB, and has {room:.1f}.")
    if alone <= room:
        raise Hint(f"one card of these would do: it takes {alone:.1f} GB, and has {room:.1f}. What are the others for?")
    if length < 8192 and forecast(model, cards, length + 512) <= room:
        raise Hint(f"{here:.1f} GB of {room:.1f}: 512 tokens more would fit as well. What is the longest?")
    said = f"{model} on {cards} cards of {gb:g} GB, with {length:,} tokens: {here:.1f} GB of {room:.1f}"
    return f"{said}; one card would need {alone:.1f}."
