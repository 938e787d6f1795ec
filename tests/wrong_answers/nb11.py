"""The two most likely wrong answers to each exercise of notebook 11, and a part of the hint that each must get."""

BUDGET = "def budget(processors, clock, weights, bytes, bandwidth):\n    return "
CHECK_1 = '\nexercises.check("11-1", budget)'
PERMUTE = """def permute(a, b, selector):
    entries = [word >> 8 * i & 0xFF for word in (a, b) for i in range(4)]
    return sum(entries[selector >> 4 * i & 7] << 8 * i for i in range(4))
def look_up(codes, table):
"""
CHECK_2 = '\nexercises.check("11-2", look_up)'
FASTER = "def faster(p, s, r):\n    return "
CHECK_3 = '\nexercises.check("11-3", faster)'
MASK = "    mask = sum(0xFF << 8 * i for i in range(4) if codes >> (4 * i + 3) & 1)\n"
HALVES = "    a, b = permute(table[0], table[1], codes), permute(table[2], table[3], codes)\n"

WRONG = {
    "11-1": [
        (f"{BUDGET}processors * clock * bytes / bandwidth / weights{CHECK_1}", "64 operations in a cycle"),
        (f"{BUDGET}processors * 64 * clock * bytes / bandwidth{CHECK_1}", "divide by the number of weights"),
        (f"{BUDGET}processors * 64 * clock / weights{CHECK_1}", "whole second"),
    ],
    "11-2": [
        (f"{PERMUTE}    return permute(table[0], table[1], codes){CHECK_2}", "entries 0 to 7 alone"),
        (f"{PERMUTE}{HALVES}{MASK}    return a & mask | b & ~mask{CHECK_2}", "halves are swapped"),
        (f"{PERMUTE}{HALVES}    return a | b{CHECK_2}", "take each byte from the one"),
    ],
    "11-3": [
        (f"{FASTER}p * s + (1 - p) * r{CHECK_3}", "add the *times*"),
        (f"{FASTER}p / s + (1 - p) / r{CHECK_3}", "this is the new time"),
        (f"{FASTER}1 / (p / s + 1 - p){CHECK_3}", "the rest becomes faster"),
    ],
}
