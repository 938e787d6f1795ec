"""An NF4 kernel for decoding, in Triton, and the switch that puts it into a model: for notebook 11."""

from .product import (
    DTYPES,
    INTERPRETED,
    LOOK_UP_HALF,
    decode,
    jit,
    levels_of,
    linear,
    own_words,
    pairs,
    supports,
    table,
    tl,
    why_not,
)
from .switch import fuse, stop, use

__all__ = [
    "DTYPES",
    "INTERPRETED",
    "LOOK_UP_HALF",
    "decode",
    "fuse",
    "jit",
    "levels_of",
    "linear",
    "own_words",
    "pairs",
    "stop",
    "supports",
    "table",
    "tl",
    "use",
    "why_not",
]
