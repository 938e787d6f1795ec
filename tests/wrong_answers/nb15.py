"""The two most likely wrong answers to each exercise of notebook 15, and a part of the hint that each must get."""

PERMUTE = """def permute(a, b, selector):
    entries = [word >> 8 * i & 0xFF for word in (a, b) for i in range(4)]
    return sum(entries[selector >> 4 * i & 7] << 8 * i for i in range(4))
def look_up(codes, table):
"""
CHECK_4 = '\nexercises.check("15-4", look_up)'
MASK = "    mask = sum(0xFF << 8 * i for i in range(4) if codes >> (4 * i + 3) & 1)\n"
HALVES = "    a, b = permute(table[0], table[1], codes), permute(table[2], table[3], codes)\n"
TURNS = "def turns(entries):\n"
CHECK_1 = '\nexercises.check("15-1", (turns, 2))'
BANKS = "    banks = [entry % 32 for entry in entries]\n"
OUTPUTS = """def outputs(levels, absmax, x, tensor_core):
    sums = torch.zeros(16, 8)
    for instruction in range(8):
        columns = first + 4 * instruction
        tile, inputs = levels[:, columns], torch.zeros(16, 8)
"""
SPLIT = """        inputs[:, 0], inputs[:, 1] = x[columns] * (columns < 64), x[columns] * (columns >= 64)
        sums += tensor_core(tile, inputs)
"""
CHECK_2 = '\nexercises.check("15-2", outputs)'
CHECK_3 = 'exercises.check("15-3", {"A": "contradicted", '

WRONG = {
    "15-1": [
        (f"{TURNS}{BANKS}    return max(banks.count(bank) for bank in banks){CHECK_1}", "answered together"),
        (f"{TURNS}    return len(set(entries)){CHECK_1}", "answer at the same time"),
        (f"{TURNS}{BANKS}    return len(set(banks)){CHECK_1}", "longest queue"),
    ],
    "15-2": [
        (
            f"{OUTPUTS}        inputs[:, 0] = x[columns]\n        sums += tensor_core(tile, inputs)\n"
            f"    return sums[:, 0] * absmax[:, 0]{CHECK_2}",
            "still in one sum",
        ),
        (
            f"{OUTPUTS}        inputs[:, 0] = x[columns]\n        scale = absmax[:, columns // 64]\n"
            f"        sums += tensor_core(tile * scale, inputs)\n    return sums[:, 0]{CHECK_2}",
            "after the loop",
        ),
        (
            f"{OUTPUTS}        for block in (0, 1):\n"
            f"            inputs[:, block] = x[columns] * (columns // 64 == block)\n"
            f"            sums[:, block] += tensor_core(tile, inputs)[:, block]\n"
            f"    return (sums[:, :2] * absmax).sum(1){CHECK_2}",
            "16 times",
        ),
        (f"{OUTPUTS}{SPLIT}    return (sums[:, :2] * absmax.flip(1)).sum(1){CHECK_2}", "the other block's absmax"),
    ],
    "15-3": [
        (f'{CHECK_3}"B": "contradicted", "C": "contradicted", "D": "not tested"}}, times=left)', "B: compare"),
        (f'{CHECK_3}"B": "shown", "C": "shown", "D": "not tested"}}, times=left)', "the other layer"),
        (f'{CHECK_3}"B": "shown", "C": "contradicted", "D": "shown"}}, times=left)', "finds levels in registers"),
    ],
    "15-4": [
        (f"{PERMUTE}    return permute(table[0], table[1], codes){CHECK_4}", "entries 0 to 7 alone"),
        (f"{PERMUTE}{HALVES}{MASK}    return a & mask | b & ~mask{CHECK_4}", "halves are swapped"),
        (f"{PERMUTE}{HALVES}    return a | b{CHECK_4}", "it has to choose a whole byte"),
    ],
}
