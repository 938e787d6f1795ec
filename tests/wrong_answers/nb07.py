"""The likely wrong answers to each exercise of notebook 07, and a part of the hint that each must get."""

WRONG = {
    "07-1": [
        (
            "def of_all(nats, tokens):\n"
            "    return np.mean([math.exp(n / t) for n, t in zip(nats, tokens)])\n"
            'exercises.check("07-1", of_all)',
            "each text counts the same",
        ),
        (
            "def of_all(nats, tokens):\n    return sum(nats) / sum(tokens)\nexercises.check('07-1', of_all)",
            "this is the loss",
        ),
    ],
    "07-2": [
        ("exercises.check('07-2', 460)", "round down"),
        ("exercises.check('07-2', 42 / 1.96)", "square it"),
    ],
    "07-3": [
        (
            "def divergence(p_logits, q_logits):\n"
            "    p, q = p_logits.log_softmax(-1), q_logits.log_softmax(-1)\n"
            "    return (q.exp() * (q - p)).sum(-1).mean()\n"
            'exercises.check("07-3", divergence)',
            "changed places",
        ),
        (
            "def divergence(p_logits, q_logits):\n"
            "    p = p_logits.softmax(-1)\n"
            "    return (p * (p_logits - q_logits)).sum(-1).mean()\n"
            'exercises.check("07-3", divergence)',
            "log_softmax",
        ),
    ],
}
