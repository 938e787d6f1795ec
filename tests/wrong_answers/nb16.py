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


def plan(model: str, gb: int, two: int, four: int) -> str:
    given = f'{{"model": "{model}", "gb": {gb}, "longest on two": {two}, "longest on four": {four}}}'
    return f'plan = {given}\nexercises.check("16-4", plan, fits=fits)'


RIGHT = "2 * share * trained"
WRONG = {
    "16-1": [
        (held(4.825, 6.025), "are the constants parameters"),
        (held(4.8, 6.0), "cut all that is a parameter"),
        (held(5.2, 6.0), "one of them let go late"),
        (held(5.2, 6.4), "one of them let go late"),
        (held(5.2, 7.0), "what else is"),
        (held(5.2, 5.2), "the blocks that are whole"),
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
        (ways("FSDP, host", "FSDP, host", "one card", "DDP", "one card"), "a quarter of them"),
        (ways("FSDP", "FSDP", "one card", "DDP", "one card"), "Where else"),
        (ways("FSDP", "FSDP, host", "DDP", "DDP", "one card"), "Which one decides"),
        (ways("FSDP", "FSDP, host", "one card", "FSDP", "one card"), "if it read one text"),
        (ways("FSDP", "FSDP, host", "one card", "DDP", "DDP"), "most of the time"),
    ],
    "16-4": [
        (plan("70B", 16, 512, 512), "aren't enough"),
        (plan("13B", 24, 512, 512), "one card of these is enough"),
        (plan("13B", 8, 512, 512), "512 more would fit"),
        (plan("13B", 8, 8192, 8192), "too many for 2 cards"),
        (plan("3B", 8, 512, 512), "is not in `family`"),
    ],
}
