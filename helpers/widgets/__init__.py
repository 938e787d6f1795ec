"""What a reader can turn: a guess (everywhere), bits and rounding (01), what fits on a GPU (05)."""

from .fitting import answer, panel, shape
from .guessing import guess, guessed
from .rounding import BLOCK_SIZES, CONSTANT_BITS, bit_toggles, draw_rounding, rounding_panel

__all__ = [
    "BLOCK_SIZES",
    "CONSTANT_BITS",
    "answer",
    "bit_toggles",
    "draw_rounding",
    "guess",
    "guessed",
    "panel",
    "rounding_panel",
    "shape",
]
