"""Panels with knobs to turn: bits and rounding in notebook 01, what fits on a GPU in notebook 05."""

from .fitting import answer, panel, shape
from .rounding import BLOCK_SIZES, CONSTANT_BITS, bit_toggles, draw_rounding, rounding_panel

__all__ = ["BLOCK_SIZES", "CONSTANT_BITS", "answer", "bit_toggles", "draw_rounding", "panel", "rounding_panel", "shape"]
