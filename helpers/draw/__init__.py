"""Drawings of ideas, made from the values of the cells around them: `draw.bell_in_slices(16)`."""

from .canvas import faults
from .course import course_map
from .levels import (
    bell_in_slices,
    block_by_hand,
    border,
    contest,
    last_slice,
    layers_and_bell,
    levels_under_bell,
    on_a_ruler,
    three_rulers,
    use_of_codes,
)

__all__ = [
    "bell_in_slices",
    "block_by_hand",
    "border",
    "contest",
    "course_map",
    "faults",
    "last_slice",
    "layers_and_bell",
    "levels_under_bell",
    "on_a_ruler",
    "three_rulers",
    "use_of_codes",
]
