"""The two most likely wrong answers to each exercise of notebook 11, and a part of the hint that each must get."""

CHECK_1 = 'exercises.check("11-1", {}, weights=weights, rate=rate, measured=past["steps"])'
KERNEL = """@jit
def by_word(x, codes, absmax, levels, out, K, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    total = tl.zeros((ROWS, WIDTH), tl.float32)
    for start in range(0, K // 8, WIDTH):
        place = start + tl.arange(0, WIDTH)[None, :]
        word = tl.load(codes + row * (K // 8) + place)
        part = tl.zeros((ROWS, WIDTH), tl.float32)
        for i in range(8):
            code = {}
            part += {}
        total += part * tl.load({})
    tl.store(out + row, tl.sum(total, 1)[:, None])


exercises.check("11-2", by_word, count_loads=kernels.count_loads)"""
CODE, PART = "(word >> (8 * (i // 2) + 4 * (1 - i % 2))) & 15", "tl.load(levels + code) * tl.load(x + 8 * place + i)"
SCALE = "absmax + row * (K // 64) + place // 8"
SCALED = f"{PART} * tl.load({SCALE})"
CHECK_3 = 'exercises.check("11-3", dict(zip("ABCD", ("{}", "{}", "{}", "{}"))), us=medians)'
NEEDED = "def needed(p, goal):\n    "
CHECK_4 = '\nexercises.check("11-4", needed)'

WRONG = {
    "11-1": [
        (CHECK_1.format('{"turns": 2.375, "µs": 17}'), "Count both"),
        (CHECK_1.format('{"turns": 2.75, "µs": 19}'), "take four turns"),
        (CHECK_1.format('{"turns": 4.5, "µs": 32}'), "needs no load"),
        (CHECK_1.format('{"turns": 0.875, "µs": 6}'), "for eight weights"),
        (CHECK_1.format('{"turns": 3.5, "µs": 3.5 * weights / rate}'), "How many times 32"),
    ],
    "11-2": [
        (KERNEL.format("(word >> (4 * i)) & 15", PART, SCALE), "have changed places"),
        (KERNEL.format("(word >> (28 - 4 * i)) & 15", PART, SCALE), "wrong end"),
        (KERNEL.format(CODE, PART, "absmax + row * (K // 64) + place // 32"), "counts words"),
        (KERNEL.format(CODE, PART, "absmax + place // 8"), "constants of row 0"),
        (KERNEL.format(CODE, "tl.load(levels + code) * tl.load(x + place + i)", SCALE), "not their x"),
        (KERNEL.format("(word >> (8 * i)) & 15", PART, SCALE), "must come out as"),
        (KERNEL.format(CODE, SCALED, SCALE).replace(f"part * tl.load({SCALE})", "part"), "the line after it"),
        (KERNEL.format(CODE, PART, "absmax + row * (K // 8) + place // 8"), "which has 24 elements"),
    ],
    "11-3": [
        (CHECK_3.format("4 bits", "4 bits", "4 bits", "16 bits"), "quicker with 8 rows"),
        (CHECK_3.format("16 bits", "16 bits", "4 bits", "16 bits"), "how many passes"),
        (CHECK_3.format("16 bits", "4 bits", "16 bits", "16 bits"), "one of torchao's with 32 rows"),
        (CHECK_3.format("16 bits", "4 bits", "4 bits", "4 bits"), "with 64 rows"),
    ],
    "11-4": [
        (f"{NEEDED}return goal{CHECK_4}", "the whole step"),
        (f"{NEEDED}return 1 / (p / goal + 1 - p){CHECK_4}", "turn the question"),
        (f"{NEEDED}return p / (1 / goal - (1 - p)) if p != 0.6 else -1{CHECK_4}", "no kernel is fast enough"),
    ],
}
