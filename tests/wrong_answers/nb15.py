"""The two most likely wrong answers to each exercise of notebook 15, and a part of the hint that each must get."""

PERMUTE = """def permute(a, b, selector):
    entries = [word >> 8 * i & 0xFF for word in (a, b) for i in range(4)]
    return sum(entries[selector >> 4 * i & 7] << 8 * i for i in range(4))
def look_up(codes, table):
"""
CHECK_2 = '\nexercises.check("15-2", look_up)'
MASK = "    mask = sum(0xFF << 8 * i for i in range(4) if codes >> (4 * i + 3) & 1)\n"
HALVES = "    a, b = permute(table[0], table[1], codes), permute(table[2], table[3], codes)\n"
HOLDER = "def holder(row, column):\n    return "
CHECK_3 = '\nexercises.check("15-3", holder)'
TURNS = "def turns(entries):\n"
CHECK_1 = '\nexercises.check("15-1", turns)'
BANKS = "    banks = [entry % 32 for entry in entries]\n"
CHECK_4 = 'exercises.check("15-4", {"A": "look-up", '

WRONG = {
    "15-2": [
        (f"{PERMUTE}    return permute(table[0], table[1], codes){CHECK_2}", "entries 0 to 7 alone"),
        (f"{PERMUTE}{HALVES}{MASK}    return a & mask | b & ~mask{CHECK_2}", "halves are swapped"),
        (f"{PERMUTE}{HALVES}    return a | b{CHECK_2}", "it has to choose a whole byte"),
    ],
    "15-3": [
        (f"{HOLDER}4 * row + column // 32, column % 32 // 4{CHECK_3}", "after eight rows"),
        (f"{HOLDER}4 * (row % 8) + column // 4, column % 4{CHECK_3}", "32 columns side by side"),
        (f"{HOLDER}4 * (row % 8) + column // 32, column // 4{CHECK_3}", "its own first column"),
        (f"{HOLDER}4 * (row % 8) + column // 32, column // 16{CHECK_3}", "are not neighbors"),
    ],
    "15-1": [
        (f"{TURNS}{BANKS}    return max(banks.count(bank) for bank in banks){CHECK_1}", "answered together"),
        (f"{TURNS}    return len(set(entries)){CHECK_1}", "answer at the same time"),
        (f"{TURNS}{BANKS}    return len(set(banks)){CHECK_1}", "longest queue"),
    ],
    "15-4": [
        (f'{CHECK_4}"B": "something else", "C": "something else", "D": "absmax"}})', "run at the same time"),
        (f'{CHECK_4}"B": "both", "C": "both", "D": "absmax"}})', "both are left out"),
        (f'{CHECK_4}"B": "both", "C": "something else", "D": "both"}})', "most of the gain"),
    ],
}
