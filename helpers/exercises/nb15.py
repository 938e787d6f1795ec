"""Checks of notebook 15: queues at banks, a look-up by byte permutes, who holds a weight and when, stages left out."""

import random

from . import Hint, call, exercise, matched, number, numbers


@exercise("15-1")
def check_turns(answer) -> str:
    draw = random.Random(0)
    cases = [[5, 37, 69, 5, 8], [0] * 32, list(range(32)), [32 * i for i in range(8)] * 4]
    cases += [[draw.randrange(256) for _ in range(32)] for _ in range(20)]

    def by_bank(entries):
        banks = [entry % 32 for entry in entries]
        return max(banks.count(bank) for bank in banks)

    found = [number(call(answer, list(entries)), "what turns returns") for entries in cases]
    truth = [by_bank(set(entries)) for entries in cases]
    if found == truth:
        return f"{truth[0]} turns for 5, 37, 69, 5 and 8, and one where all ask for the same entry."
    if found == [by_bank(entries) for entries in cases]:
        raise Hint("lanes that ask for the *same* entry are answered together: count each entry once.")
    if found == [len(set(entries)) for entries in cases]:
        raise Hint("different banks answer at the same time; only entries in one bank wait for each other.")
    if found == [len({entry % 32 for entry in entries}) for entries in cases]:
        raise Hint("these are the banks that are asked; how long is the longest queue at one of them?")
    raise Hint("sort the different entries by their bank, `entry % 32`; the fullest bank decides.")


@exercise("15-2")
def check_look_up(answer) -> str:
    draw = random.Random(0)
    lower_only = upper_only = swapped = reverse = True
    wrong = False
    for _ in range(40):
        entries = [draw.randrange(256) for _ in range(16)]
        codes = [draw.randrange(16) for _ in range(4)]
        table = [sum(entries[4 * i + j] << 8 * j for j in range(4)) for i in range(4)]
        packed = sum(code << 4 * i for i, code in enumerate(codes))
        value = number(call(answer, packed, list(table)), "what look_up returns")

        def word(which):
            return sum(entry << 8 * i for i, entry in enumerate(which))

        right = [entries[code] for code in codes]
        if value < 0:
            raise Hint("a word is not negative: `~` of a Python integer is; combine it with `&` last.")
        wrong |= value != word(right)
        lower_only &= value == word([entries[code & 7] for code in codes])
        upper_only &= value == word([entries[8 + (code & 7)] for code in codes])
        reverse &= value == word(right[::-1])
        swapped &= value == word([entries[code ^ 8] for code in codes])
    if not wrong:
        return "right, for all four codes. Permutes do it without taking a code out of its word: does yours?"
    if lower_only:
        raise Hint("this reads entries 0 to 7 alone: the fourth bit of each code is not used yet.")
    if upper_only:
        raise Hint("this reads entries 8 to 15 alone: the fourth bit of each code is not used yet.")
    if swapped:
        raise Hint("the two halves are swapped: a fourth bit of 1 means entries 8 to 15.")
    if reverse:
        raise Hint("the bytes come in the opposite order: the first code belongs in the lowest byte.")
    raise Hint(
        "a permute reads two of the table's words: how do you reach the other two? And which result is right for a "
        "code, its fourth bit, of value 8, tells: it has to choose a whole byte."
    )


@exercise("15-3")
def check_holder(answer) -> str:
    places = [(row, column) for row in range(16) for column in range(128)]
    wanted = "two numbers: the lane and the instruction"
    found = {place: numbers(call(answer, *place), 2, wanted) for place in places}

    def lanes_are(formula):
        return all(lane == formula(*place) for place, (lane, _) in found.items())

    def turns_are(formula):
        return all(turn == formula(*place) for place, (_, turn) in found.items())

    right_lanes = lanes_are(lambda row, column: 4 * (row % 8) + column // 32)
    if right_lanes and turns_are(lambda row, column: column % 32 // 4):
        return "row 11, column 73 is in lane 14, and instruction 2 takes it. Each weight has its turn once."
    if lanes_are(lambda row, column: 4 * row + column // 32):
        raise Hint("there are 32 lanes, 0 to 31; after eight rows they begin again.")
    if lanes_are(lambda row, column: 4 * (row % 8) + column // 4):
        raise Hint("in memory, a lane has 32 columns side by side; only four of them at a time are in the tile.")
    if lanes_are(lambda row, column: row % 8 + 8 * (column // 32)):
        raise Hint("the lanes of one row follow one another: row 0 has lanes 0, 1, 2 and 3.")
    if right_lanes and turns_are(lambda row, column: column // 4):
        raise Hint("the lane is right. But instructions go from 0 to 7: each lane counts from its own first column.")
    if right_lanes and turns_are(lambda row, column: column // 16):
        raise Hint(
            "the lane is right. But an instruction's 16 columns are not neighbors: it takes four of each lane's."
        )
    if right_lanes:
        raise Hint("the lane is right. Of its 32 columns, an instruction takes four: which four are the first?")
    wrong = next(p for p, (lane, _) in found.items() if lane != 4 * (p[0] % 8) + p[1] // 32)
    raise Hint(f"look at row {wrong[0]}, column {wrong[1]}: your function says lane {found[wrong][0]:g}.")


@exercise("15-4")
def check_stages(answer) -> str:
    truth = {"A": "look-up", "B": "both", "C": "something else", "D": "absmax"}
    why = {
        "A": "A: which single stage, left out, makes it as fast as without both?",
        "B": "B: alone, neither helps, and both together do. Can the two run at the same time?",
        "C": "C: what changes when both are left out?",
        "D": "D: one stage alone brings most of the gain: which?",
    }
    matched(answer, truth, why)
    return "a stage that can be left out for nothing may still hide behind another one, as in B."
