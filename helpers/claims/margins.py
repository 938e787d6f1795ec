"""The margins of notebook 10, which no measurement moves, and how an interval is held against one."""

import math

__all__ = ["ADDED", "BEHIND", "MARGINS", "NEGLIGIBLE", "ROOM", "TOLERANCE", "equivalence", "needed"]

TOLERANCE = 0.1  # of any figure that the guide gives
NEGLIGIBLE = 0.005  # a rise of perplexity, or a loss of a share of right answers
ADDED = 0.01  # what other rounding may add to the error that quantization makes
ROOM = 10  # times that the largest input of a layer should fit into float16's range
BEHIND = 0.05  # of exact answers that a recipe may be behind another one

MARGINS = [  # the same for all claims of a kind
    {
        "kind of claim": "a figure: GB (10⁹ bytes), %, bits, “2–3×”; “slightly”",
        "margin": f"{TOLERANCE:.0%}",
        "because": "GB: who leaves the usual tenth of a card free is not misled; the rest: the same, by convention",
    },
    {
        "kind of claim": "“negligible”, “minimal”",
        "margin": f"{NEGLIGIBLE:.1%} of perplexity; {100 * NEGLIGIBLE:.1f} points of a quiz",
        "because": "the guide itself calls 0.3 points of MMLU minimal; for perplexity, the same by convention",
    },
    {
        "kind of claim": "“precise”: other rounding",
        "margin": f"{ADDED:.0%} more error than quantization's; inputs fit {ROOM} times",
        "because": "perplexity and a quiz would hardly see it; other texts bring larger inputs",
    },
    {
        "kind of claim": "a recipe for fine-tuning",
        "margin": f"{100 * BEHIND:.0f} points of exact answers behind adapters on all layers",
        "because": "one more wrong answer in twenty is a loss that one would notice",
    },
    {
        "kind of claim": "“better than”, “recommended”",
        "margin": "none: the sign of the difference, with its interval where there is one",
        "because": "the guide says which is better, and not by how much",
    },
]


def equivalence(low: float, high: float, margin: float) -> str:
    """ "true" if a whole interval of a damage lies below the margin, "false" if it lies above, else "open".

    That an interval includes zero says nothing by itself: with few questions every interval does.
    """
    if high < margin:
        return "true"
    return "false" if low > margin else "open"


def needed(value: float, low: float, high: float, margin: float, n: int) -> int | None:
    """About how many questions would decide, if the value stayed: intervals shrink with the root of their number."""
    gap, half = abs(margin - value), (high - low) / 2
    return math.ceil(n * (half / gap) ** 2) if gap and half else None
