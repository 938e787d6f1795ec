"""The likely wrong answers to each exercise of notebook 16, and a part of the hint that each must get."""


def held(waiting: float, at_work: float) -> str:
    return f'held = {{"waiting": {waiting}, "at work": {at_work}}}\nexercises.check("16-1", held)'


def travel(ddp: str, fsdp: str) -> str:
    return (
        "def bytes_that_travel(frozen, trained, gpus, way):\n"
        "    share = (gpus - 1) / gpus\n"
        f'    return {ddp} if way == "DDP" else {fsdp}\n\n\n'
        'exercises.check("16-2", bytes_that_travel)'
    )


def ways(a: str, b: str, c: str, d: str, e: str) -> str:
    given = ", ".join(f'"{letter}": "{word}"' for letter, word in zip("ABCDE", (a, b, c, d, e), strict=True))
    return f'ways = {{{given}}}\nexercises.check("16-3", ways)'


def plan(model: str, cards: int, gb: int, length: int) -> str:
    given = f'{{"model": "{model}", "cards": {cards}, "gb": {gb}, "length": {length}}}'
    return f'plan = {given}\nexercises.check("16-4", plan, forecast=gb_of)'


RIGHT = "2 * share * trained"
WRONG = {
    "16-1": [
        (held(4.825, 6.025), "are the constants parameters"),
        (held(4.8, 6.0), "cut all that is a parameter"),
        (held(5.2, 6.0), "the next one is already on its way"),
        (held(5.2, 7.0), "two whole blocks, and the whole head"),
        (held(5.2, 5.2), "two whole blocks"),
    ],
    "16-2": [
        (travel("2 * share * (frozen + trained)", "0"), "no gradient"),
        (travel("trained", "0"), "for one number of GPUs only"),
        (travel("share * trained", "0"), "two trips"),
        (travel(RIGHT, "share * (frozen + 2 * trained)"), "once more for the backward pass"),
        (travel(RIGHT, "2 * share * (frozen + trained)"), "both gathers are there"),
        (travel(RIGHT, "2 * frozen + 3 * trained"), "its own shard"),
    ],
    "16-3": [
        (ways("FSDP", "FSDP", "one card", "FSDP", "one card"), "more room or more speed"),
        (ways("DDP", "DDP", "one card", "FSDP", "one card"), "a whole copy"),
        (ways("DDP", "FSDP", "DDP", "FSDP", "one card"), "Which one decides"),
        (ways("DDP", "FSDP", "one card", "DDP", "one card"), "less than a card of 8 GB"),
        (ways("DDP", "FSDP", "one card", "FSDP", "DDP"), "most of the time"),
    ],
    "16-4": [
        (plan("70B", 2, 16, 512), "would have to hold"),
        (plan("13B", 2, 24, 512), "one card of these would do"),
        (plan("13B", 2, 8, 512), "512 tokens more would fit"),
        (plan("3B", 2, 8, 512), "is not in `family`"),
    ],
}
