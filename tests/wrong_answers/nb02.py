"""The two most likely wrong answers to each exercise of notebook 02, and a part of the hint that each must get."""

WRONG = {
    "02-1": [
        (
            'negative = -quantile(torch.linspace(0.5, 1 - 1 / 30, 8))[1:]\nexercises.check("02-1", negative)',
            "the same offset",
        ),
        (
            'negative = -quantile(torch.linspace(0.5, offset, 9))[1:]\nexercises.check("02-1", negative)',
            "7 levels, and here are 8",
        ),
        ('negative = quantile(torch.linspace(0.5, offset, 8))[1:]\nexercises.check("02-1", negative)', "turn the sign"),
        ('negative = -quantile(torch.linspace(0.5, 1.0, 8))[1:]\nexercises.check("02-1", negative)', "never ends"),
        ('negative = -quantile(torch.linspace(0.5, offset, 8))\nexercises.check("02-1", negative)', "zero is among"),
    ],
    "02-2": [
        ('two_weights = [0.225, 0.064]\nexercises.check("02-2", two_weights)', "wrong order"),
        ('two_weights = [0.1609, 0.5626]\nexercises.check("02-2", two_weights)', "These are the levels".lower()),
        ('two_weights = [9, 13]\nexercises.check("02-2", two_weights)', "are the codes"),
        ('two_weights = [0.0318, 0.1763]\nexercises.check("02-2", two_weights)', "counted from 0"),
    ],
    "02-3": [
        (
            "def unpack(packed):\n"
            "    return torch.stack([packed & 15, packed >> 4], dim=1).flatten()\n"
            'exercises.check("02-3", unpack)',
            "high four bits",
        ),
        (
            'def unpack(packed):\n    return torch.cat([packed >> 4, packed & 15])\nexercises.check("02-3", unpack)',
            "alternate",
        ),
    ],
    "02-4": [
        (
            "def output_error(x, w, w_rounded):\n"
            "    return ((w_rounded - w).norm() / w.norm()).item()\n"
            'exercises.check("02-4", output_error)',
            "error of the weights",
        ),
        (
            "def output_error(x, w, w_rounded):\n"
            "    return ((x @ w_rounded.T - x @ w.T) ** 2).sum() / ((x @ w.T) ** 2).sum()\n"
            'exercises.check("02-4", output_error)',
            "take the root",
        ),
    ],
    "02-5": [
        ('best_offset = 0.9677083\nexercises.check("02-5", best_offset)', "NF4's own offset. Try"),
        ('best_offset = 0.985\nexercises.check("02-5", best_offset)', "other direction"),
        ('best_offset = 0.90\nexercises.check("02-5", best_offset)', "even better one"),
    ],
}
