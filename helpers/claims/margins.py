"""The margins of notebook 10, which no measurement moves, and how intervals are held against them."""

import math

__all__ = ["ADDED", "BEHIND", "FOLLOWED", "MARGINS", "NEGLIGIBLE", "ROOM", "TOLERANCE", "inside", "needed", "settled"]

TOLERANCE = 0.1  # of any figure that the guide gives
NEGLIGIBLE = 0.005  # a rise of perplexity, or a loss of a share of right answers
ADDED = 0.01  # what other rounding may add to the error that quantization makes
ROOM = 10  # times that the largest input of a layer should fit into float16's range
BEHIND = 0.05  # of exact answers that a recipe may be behind another one

MARGINS = [  # the same for all claims of a kind
    {
        "kind of claim": "a figure, such as GB, bits, “~75%” or “2–3×”",
        "counts as true": f"if what we find is at most {TOLERANCE:.0%} away from the figure; of a speed, more is fine",
        "why this much": "A single rule for all figures keeps us from choosing the margin that suits a result.",
    },
    {
        "kind of claim": "a “negligible” loss",
        "counts as true": f"if perplexity rises by less than {NEGLIGIBLE:.1%}, and a quiz loses less than "
        f"{100 * NEGLIGIBLE:.1f} points",
        "why this much": "The guide calls its loss of 0.3 points, from 16 bits to 4, minimal. We round up in its "
        "favor. Of perplexity it says nothing, so there 0.5% is our own choice.",
    },
    {
        "kind of claim": "“minimal impact” of double quantization",
        "counts as true": f"if perplexity rises by less than {NEGLIGIBLE:.1%}",
        "why this much": "It causes a part of what 4 bits lose, so it may not lose more than they may. Our quiz could "
        "hardly show so small a loss.",
    },
    {
        "kind of claim": "“reduced”, “simplified”, “slightly slower”",
        "counts as true": f"if it changes by {TOLERANCE:.0%} or more; for “slightly”, by less",
        "why this much": "It is the same tenth as for a figure.",
    },
    {
        "kind of claim": "“precise”, of rounding other than to 4 bits",
        "counts as true": f"if it adds less than {ADDED:.0%} to the error that 4 bits make, and the inputs would fit "
        f"if they were {ROOM} times as large",
        "why this much": "Perplexity and a quiz would hardly show it. And other texts can bring larger inputs.",
    },
    {
        "kind of claim": "a recipe for fine-tuning",
        "counts as true": f"if it is less than {100 * BEHIND:.0f} points of exact answers behind all layers",
        "why this much": "You would notice one more wrong answer in twenty.",
    },
    {
        "kind of claim": "“better than” or “recommended”",
        "counts as true": "if the difference has the right sign, and so has its whole interval where there is one",
        "why this much": "The guide says which of two is better, but not by how much.",
    },
]


FOLLOWED = {  # of the claims that notebook 10 follows: what is measured, compared with what, and what counts as true
    "saves": (
        "bytes of all weights, in two cases: Mistral-7B, and the model here",
        "16 bits",
        f"{75 * (1 - TOLERANCE):.1f}% to {75 * (1 + TOLERANCE):.1f}% is saved",
    ),
    "fp16": (
        "what float16 adds to the error of a layer, and how large the layer's inputs are",
        "the error of rounding to 4 bits, and the largest number in float16",
        f"float16 adds less than {ADDED:.0%}; and inputs {ROOM} times as large would fit, as other texts may have",
    ),
    "faster": (
        "tokens per second while a model writes, one text and eight at once",
        "16 bits, and FP32",
        f"at least {2 * (1 - TOLERANCE):.1f}×",
    ),
    "loss": (
        "perplexity, and right answers in a quiz",
        "16 bits",
        f"perplexity rises by less than {NEGLIGIBLE:.1%}, and the quiz loses less than {100 * NEGLIGIBLE:.1f} points",
    ),
    "dq-loss": ("perplexity", "NF4 without double quantization", f"it rises by less than {NEGLIGIBLE:.1%}"),
    "mmlu": ("scores on MMLU's questions", "each other", "*we can't ask these questions*"),
    "2gb": ("memory of the smallest training step, by forecast", "2 GB", f"at most {2 * (1 + TOLERANCE):.1f} GB"),
    "targets": (
        "exact answers after training",
        "adapters on all linear layers, of the same rank or with as many parameters",
        f"less than {100 * BEHIND:.0f} points behind",
    ),
}


def inside(low: float, high: float, margin: float) -> str:
    """ "true" if a whole interval of a damage lies below the margin, "false" if it lies above, else "open".

    It asks about a damage only, from one side: a gain is inside, however large.

    That an interval includes zero says nothing by itself: with few questions every interval does.
    """
    if high < margin:
        return "true"
    return "false" if low > margin else "open"


def settled(kinds: list[str]) -> str:
    """One verdict on several cases, which no further measurement of the open ones can overturn.

    A case that is open may turn out true or false. With one true and one false case, a claim "depends" anyhow.
    """
    if "true" in kinds and "false" in kinds:
        return "depends"
    return "open" if "open" in kinds else kinds[0]


def needed(value: float, low: float, high: float, margin: float, n: int) -> int | None:
    """About how many questions would decide, if the value stayed: intervals shrink with the root of their number."""
    gap, half = abs(margin - value), (high - low) / 2
    return math.ceil(n * (half / gap) ** 2) if gap and half else None
