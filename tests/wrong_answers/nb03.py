"""The two most likely wrong answers to each exercise of notebook 03, and a part of the hint that each must get."""

CHECK_3 = (
    "scaled = (absmax - offset) * (1 / second).repeat_interleave(256)[: len(absmax)]\n"
    'exercises.check("03-3", kernel_codes, scaled=scaled, theirs=state.absmax)'
)

WRONG = {
    "03-1": [
        ('absmax_bytes = 6_979_321_856 / 64\nexercises.check("03-1", absmax_bytes)', "number of blocks"),
        ('absmax_bytes = 6_979_321_856 / 64 * 32\nexercises.check("03-1", absmax_bytes)', "in bits"),
    ],
    "03-2": [
        (
            'how_many = ((levels.abs() > 0.001) & (levels.abs() < 0.1)).sum()\nexercises.check("03-2", how_many)',
            "signs",
        ),
        ('how_many = 32\nexercises.check("03-2", how_many)', "one decade"),
    ],
    "03-3": [
        (f"def kernel_codes(scaled):\n    return table[((scaled + 1) * 32767.5).long()]\n{CHECK_3}", "add ½"),
        (
            f"def kernel_codes(scaled):\n    return torch.bucketize(scaled, midpoints)\n{CHECK_3}",
            "nearest level itself",
        ),
    ],
    "03-4": [
        (
            "def bits_per_weight(block_size=64, second_block_size=256):\n"
            "    return 4 + 8 / block_size + 32 / second_block_size\n"
            'exercises.check("03-4", bits_per_weight)',
            "weights each",
        ),
        (
            "def bits_per_weight(block_size=64, second_block_size=256):\n"
            "    return 4 + 8 / block_size\n"
            'exercises.check("03-4", bits_per_weight)',
            "second absmax is missing",
        ),
    ],
}
