"""The two most likely wrong answers to each exercise of notebook 02, and a part of the hint that each must get."""

WRONG = {
    "02-1": [
        ('offset = 1 - (1 / 32 + 1 / 30)\nexercises.check("02-1", offset)', "twice too much"),
        ('offset = 1 - 1 / 32\nexercises.check("02-1", offset)', "not one of them"),
    ],
    "02-2": [
        (
            "def nf3_levels():\n"
            "    up = torch.special.ndtri(torch.linspace(0.9677083, 0.5, 5)[:-1])\n"
            "    down = -torch.special.ndtri(torch.linspace(0.9677083, 0.5, 4)[:-1])\n"
            "    both = torch.cat([down, torch.zeros(1), up]).sort().values\n"
            "    return both / both.max()\n"
            'exercises.check("02-2", nf3_levels)',
            "offset of 16 and 15",
        ),
        (
            "def nf3_levels():\n"
            "    up = torch.special.ndtri(torch.linspace(1 - (1 / 16 + 1 / 14) / 2, 0.5, 5))\n"
            "    down = -torch.special.ndtri(torch.linspace(1 - (1 / 16 + 1 / 14) / 2, 0.5, 4))\n"
            "    both = torch.cat([down, torch.zeros(1), up]).sort().values\n"
            "    return both / both.max()\n"
            'exercises.check("02-2", nf3_levels)',
            "8 levels, and these are 10",
        ),
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
}
