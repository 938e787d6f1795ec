"""An NF4 kernel for decoding, in Triton, the switch that puts it into a model, and a whole step: for notebook 11."""

from .calling import linear, supports, why_not
from .counting import count_loads
from .lookup import DTYPES, INTERPRETED, LOOK_UP_HALF, decode, jit, levels_of, own_words, pairs, table, tl
from .step import separate
from .switch import stop, use

__all__ = [
    "DTYPES",
    "INTERPRETED",
    "LOOK_UP_HALF",
    "count_loads",
    "decode",
    "jit",
    "levels_of",
    "linear",
    "own_words",
    "pairs",
    "separate",
    "stop",
    "supports",
    "table",
    "tl",
    "use",
    "why_not",
]
