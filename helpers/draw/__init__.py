"""Drawings of ideas, made from the values of the cells around them: `draw.bell_in_slices(16)`."""

from .adapters import (
    before_and_after,
    checkpointing,
    learned_tokens,
    lora_layer,
    small_and_large,
)
from .canvas import faults
from .constants import (
    absmax_by_hand,
    absmax_hill,
    bytes_of_a_model,
    error_against_bits,
    small_levels,
    two_storeys,
)
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
from .loading import (
    effect_of_options,
    inside_a_layer,
    schemes_and_cards,
    what_is_replaced,
)
from .rounding import (
    bit_fields,
    eight_to_codes,
    floats_on_a_ruler,
    outlier,
    weight_in_bits,
    who_shares_a_scale,
)

__all__ = [
    "absmax_by_hand",
    "absmax_hill",
    "before_and_after",
    "bell_in_slices",
    "bit_fields",
    "block_by_hand",
    "border",
    "bytes_of_a_model",
    "checkpointing",
    "contest",
    "course_map",
    "effect_of_options",
    "eight_to_codes",
    "error_against_bits",
    "faults",
    "floats_on_a_ruler",
    "inside_a_layer",
    "last_slice",
    "layers_and_bell",
    "learned_tokens",
    "levels_under_bell",
    "lora_layer",
    "on_a_ruler",
    "outlier",
    "schemes_and_cards",
    "small_and_large",
    "small_levels",
    "three_rulers",
    "two_storeys",
    "use_of_codes",
    "weight_in_bits",
    "what_is_replaced",
    "who_shares_a_scale",
]
