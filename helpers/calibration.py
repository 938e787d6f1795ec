"""What a layer's inputs are like, measured on text: what GPTQ and AWQ look at before they round. For notebook 13."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from . import models
from .errors import CourseError

__all__ = ["Inputs", "calibrate"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs x of one layer over some text, in float32 on the CPU.

    `products` is the mean of x xᵀ, shape (inputs, inputs): with it the mean squared error of the outputs follows for
    any change of the weights. `size` is the mean of |x|, shape (inputs,). `tokens` is how many x there were.
    """

    products: torch.Tensor
    size: torch.Tensor
    tokens: int


def calibrate(model: nn.Module, tokenizer, texts: Sequence[str]) -> dict[str, Inputs]:
    """Read texts with a model and return the `Inputs` of each of its linear layers, by name.

    Each text has to fit into the model's positions. Raises CourseError if there are none.
    """
    if not texts:
        raise CourseError("Calibration needs at least one text.")
    names = list(models.linear_layers(model))
    products, sizes, tokens = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0), 0
    for text in texts:
        seen = models.layer_inputs(model, tokenizer, text, names)
        for name, x in seen.items():
            products[name] = products[name] + x.T @ x
            sizes[name] = sizes[name] + x.abs().sum(0)
        tokens += len(x)
    return {name: Inputs(products[name] / tokens, sizes[name] / tokens, tokens) for name in names}
