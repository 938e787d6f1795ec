"""The two most likely wrong answers to each exercise of notebook 03, and a part of the hint that each must get."""

CHECK_5 = 'exercises.check("03-5", kernel_codes, scaled=all_scaled, theirs=theirs)'

WRONG = {
    "03-1": [
        ('absmax_bytes = 6_979_321_856 / 64\nexercises.check("03-1", absmax_bytes)', "number of blocks"),
        ('absmax_bytes = 6_979_321_856 / 64 * 32\nexercises.check("03-1", absmax_bytes)', "in bits"),
    ],
    "03-2": [
        ('mean_and_largest = [0.7, 0.9]\nexercises.check("03-2", mean_and_largest)', "How far is it from the mean"),
        ('mean_and_largest = [0.7, 0.15]\nexercises.check("03-2", mean_and_largest)', "on the other side"),
    ],
    "03-5": [
        (f"def kernel_codes(scaled):\n    return table[((scaled + 1) * 32767.5).long()]\n{CHECK_5}", "add ½"),
        (
            f"def kernel_codes(scaled):\n    return torch.bucketize(scaled, midpoints)\n{CHECK_5}",
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
    "03-3": [
        (
            "def way_back(codes, second, offset, levels, block_size=256):\n"
            "    return levels[codes.int()] * second.repeat_interleave(block_size)[: len(codes)]\n"
            'exercises.check("03-3", way_back)',
            "offset is missing",
        ),
        (
            "def way_back(codes, second, offset, levels, block_size=256):\n"
            "    return (levels[codes.int()] + offset) * second.repeat_interleave(block_size)[: len(codes)]\n"
            'exercises.check("03-3", way_back)',
            "after multiplying",
        ),
    ],
    "03-6": [
        (
            "def rounding_error(scaled, levels):\n"
            "    codes = torch.bucketize(scaled, (levels[:-1] + levels[1:]) / 2)\n"
            "    return (levels[codes] - scaled).abs().mean().item()\n"
            'exercises.check("03-6", rounding_error, scaled=all_scaled)',
            "absolute error",
        ),
        (
            "def rounding_error(scaled, levels):\n"
            "    codes = torch.bucketize(scaled, levels).clamp(max=len(levels) - 1)\n"
            "    return (levels[codes] - scaled).square().mean().item()\n"
            'exercises.check("03-6", rounding_error, scaled=all_scaled)',
            "next level above",
        ),
    ],
}
