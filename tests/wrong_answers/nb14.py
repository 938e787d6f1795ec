"""The likeliest wrong answers of notebook 14, and a piece of the hint that each must get."""

END = 'exercises.check("14-4", tried, plain=(files["Q4_K"].bytes, found.get("Q4_K")))'
WRONG = {
    "14-1": [
        ('def side_by_side(rows):\n    return rows\n\n\nexercises.check("14-1", side_by_side)', "nothing has moved"),
        (
            "def side_by_side(rows):\n    return torch.cat([rows[::2], rows[1::2]])\n\n\n"
            'exercises.check("14-1", side_by_side)',
            "the way back",
        ),
        (
            'def side_by_side(rows):\n    return rows[: len(rows) // 2]\n\n\nexercises.check("14-1", side_by_side)',
            "none is lost",
        ),
    ],
    "14-2": [
        ('file_gb = 6_979_321_856 * 4.5 / 8 / 1e9\nexercises.check("14-2", file_gb)', "come on top"),
        (
            'file_gb = (6_979_321_856 * 4 / 8 + 2 * 32_000 * 4096 * 2) / 1e9\nexercises.check("14-2", file_gb)',
            "constants included",
        ),
        (
            'file_gb = (6_979_321_856 * 4.5 / 8 + 2 * 32_000 * 4096) / 1e9\nexercises.check("14-2", file_gb)',
            "16 bits are 2 bytes",
        ),
    ],
    "14-3": [
        (
            'causes = {"A": "template", "B": "rotation", "C": "end", "D": "4 bits"}\nexercises.check("14-3", causes)',
            "after the answer",
        ),
        (
            'causes = {"A": "end", "B": "4 bits", "C": "template", "D": "rotation"}\nexercises.check("14-3", causes)',
            "positions",
        ),
        (
            'causes = {"A": "end", "B": "rotation", "C": "4 bits", "D": "4 bits"}\nexercises.check("14-3", causes)',
            "how it is asked",
        ),
    ],
    "14-4": [
        (f'tried = {{"v_proj": (4_900_000, 1.7)}}\n{END}', "all seven kinds"),
        (
            'kinds = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]\n'
            f"tried = dict.fromkeys(kinds, (1000, 1.7))\n{END}",
            "can't be smaller",
        ),
        (
            'kinds = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]\n'
            f"tried = dict.fromkeys(kinds, (5_000_000, 99.0))\n{END}",
            "far from plain",
        ),
    ],
}
