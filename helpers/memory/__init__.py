"""Predict and measure the bytes that a model takes, part by part: for notebook 05."""

from ..schemes import SCHEMES
from ..skeleton import skeleton
from .budget import PARTS, Measurement, MemoryBudget
from .count import measure, watch
from .forecast import GPU_SIZES, STAGES, T4, card_bytes, fitting, kv_bytes_per_token, largest_layer, predict

__all__ = [
    "SCHEMES",
    "skeleton",
    "GPU_SIZES",
    "Measurement",
    "MemoryBudget",
    "PARTS",
    "STAGES",
    "T4",
    "card_bytes",
    "fitting",
    "kv_bytes_per_token",
    "largest_layer",
    "measure",
    "predict",
    "watch",
]
