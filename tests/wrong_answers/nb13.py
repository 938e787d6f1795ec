"""The likeliest wrong answers of notebook 13, and a piece of the hint that each must get."""

APART = 'exercises.check("13-3", apart, scores=scores, compare=quality.paired_difference)'
PAIRS = [("Q4_K", "HQQ"), ("HQQ", "GPTQ"), ("AWQ", "GPTQ"), ("NF4", "NF4-dq")]
WRONG = {
    "13-1": [
        (
            'def output_error(error, H):\n    return error.square().sum()\n\n\nexercises.check("13-1", output_error)',
            "H hasn't come in",
        ),
        (
            "def output_error(error, H):\n    return (error @ H * error).sum(1).mean()\n\n\n"
            'exercises.check("13-1", output_error)',
            "instead of averaging",
        ),
        (
            'def output_error(error, H):\n    return (error @ H).sum()\n\n\nexercises.check("13-1", output_error)',
            "for one row",
        ),
    ],
    "13-2": [
        ('changed_and_rounded = [0.53 - 0.09, 0.4]\nexercises.check("13-2", changed_and_rounded)', "equal inputs"),
        ('changed_and_rounded = [0.53 + 0.045, 0.6]\nexercises.check("13-2", changed_and_rounded)', "smaller"),
        ('changed_and_rounded = [0.485, 0.6]\nexercises.check("13-2", changed_and_rounded)', "which level"),
    ],
    "13-3": [
        (f'apart = {{("Q4_K", "HQQ"): True}}\n{APART}', "four pairs"),
        (f"apart = dict.fromkeys({PAIRS}, True)\n{APART}", "hold zero"),
        (f"apart = dict.fromkeys({PAIRS}, False)\n{APART}", "Q4_K and HQQ: does"),
    ],
    "13-4": [
        (
            "def gptq_nf4(weight, seen, damping=0.01):\n"
            "    return nf4.dequantize(nf4.quantize(weight, 64), torch.float32).view(weight.shape)\n\n\n"
            'exercises.check("13-4", gptq_nf4, weight=weight, seen=inputs[first], plain=by_nf4_alone)',
            "NF4 by itself",
        ),
        (
            "def gptq_nf4(weight, seen, damping=0.01):\n    return weight.clone()\n\n\n"
            'exercises.check("13-4", gptq_nf4, weight=weight, seen=inputs[first], plain=by_nf4_alone)',
            "more than 16",
        ),
        (
            "def gptq_nf4(weight, seen, damping=0.01):\n    return affine(weight * 1.1)\n\n\n"
            'exercises.check("13-4", gptq_nf4, weight=weight, seen=inputs[first], plain=by_nf4_alone)',
            "isn't smaller",
        ),
    ],
}
