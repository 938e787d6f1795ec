"""Find, check and load a model in any scheme: Mini-Mistral, Mistral-7B's shapes, or a real checkpoint."""

from ..errors import CourseError
from ..layers import linear_layers
from ..schemes import SCHEMES, bnb_config, compute_dtype
from .choose import Fit, config, fit, free_memory, resolve
from .kinds import Choice, mini_path
from .loading import load, tokenizer
from .shapes import SHAPES, llama_70b_config, mistral_7b_config, shape_model
from .weights import layer_inputs, linear_weights, sample

__all__ = [
    "CourseError",
    "SCHEMES",
    "SHAPES",
    "bnb_config",
    "compute_dtype",
    "layer_inputs",
    "linear_layers",
    "linear_weights",
    "Choice",
    "Fit",
    "config",
    "mini_path",
    "fit",
    "free_memory",
    "load",
    "llama_70b_config",
    "mistral_7b_config",
    "resolve",
    "sample",
    "shape_model",
    "tokenizer",
]
