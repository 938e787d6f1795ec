"""The likeliest wrong answers of notebook 14, and a piece of the hint that each must get."""

END = 'exercises.check("14-4", tried, plain=(files["Q4_K"].bytes, found.get("Q4_K")))'
FIT = 'exercises.check("14-2", tokens_that_fit)'
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
        ('tokens_that_fit = {"Q8_0": 691}\nexercises.check("14-2", tokens_that_fit)', "for each of 16 bits"),
        (f'tokens_that_fit = {{"16 bits": -1184, "Q8_0": 691, "Q4_K": 1691}}\n{FIT}', "4.45 GB"),
        (f'tokens_that_fit = {{"16 bits": 0, "Q8_0": 4019, "Q4_K": 5019}}\n{FIT}', "constants included"),
        (f'tokens_that_fit = {{"16 bits": 0, "Q8_0": 0, "Q4_K": 0}}\n{FIT}', "which is more than"),
        (f'tokens_that_fit = {{"16 bits": 0, "Q8_0": 700, "Q4_K": 1700}}\n{FIT}', "bytes are left"),
    ],
    "14-3": [
        (
            'faults = {"A": "rows", "B": "beginning", "C": "4 bits", "D": "cut"}\nagain = {}\n'
            'exercises.check("14-3", faults, again=again)',
            "Was that one any good",
        ),
        (
            'faults = {"A": "4 bits", "B": "template", "C": "rows", "D": "cut"}\nagain = {}\n'
            'exercises.check("14-3", faults, again=again)',
            "aren't those of Python",
        ),
        (
            'faults = {"A": "4 bits", "B": "beginning", "C": "rows", "D": "cut"}\n'
            'again = dict.fromkeys("ABCD", "export")\nexercises.check("14-3", faults, again=again)',
            "true copy of a bad model",
        ),
        (
            'faults = {"A": "4 bits", "B": "beginning", "C": "rows", "D": "cut"}\n'
            'again = {"A": "merge", "B": "export", "C": "export", "D": "export"}\n'
            'exercises.check("14-3", faults, again=again)',
            "what it was asked",
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
