"""What a layer's inputs are like, measured on text: what GPTQ and AWQ look at before they round. For notebook 13."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from .errors import CourseError
from .layers import linear_layers
from .padding import padded

__all__ = ["Inputs", "layer_inputs"]


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs x of one layer over some text, in float32 on the CPU.

    `products` is the mean of x xᵀ, shape (inputs, inputs): with it the mean squared error of the outputs follows for
    any change of the weights. `size` is the mean of |x|, shape (inputs,). `tokens` is how many x there were.
    """

    products: torch.Tensor
    size: torch.Tensor
    tokens: int


@torch.inference_mode()
def layer_inputs(model: nn.Module, tokenizer, texts: Sequence[str], batch: int = 16) -> dict[str, Inputs]:
    """Read texts with a model and return the `Inputs` of each of its linear layers, by name.

    Padding is left out. Texts are cut at the model's number of positions. Raises CourseError if there are none.
    """
    if not texts:
        raise CourseError("Calibration needs at least one text.")
    longest = min(getattr(model.config, "max_position_embeddings", 2048), 2048)
    encoded = sorted((tokenizer(text).input_ids[:longest] for text in texts), key=len)
    sums: dict[str, list] = {}
    kept = None

    def look(name):
        def hook(_, given):
            x = given[0][kept].float()
            found = sums.setdefault(name, [0.0, 0.0, 0])
            found[0] += (x.T @ x).cpu()
            found[1] += x.abs().sum(0).cpu()
            found[2] += len(x)

        return hook

    hooks = [layer.register_forward_pre_hook(look(name)) for name, layer in linear_layers(model).items()]
    try:
        for begin in range(0, len(encoded), batch):
            ids, mask = padded(encoded[begin : begin + batch], device=model.device)
            kept = mask.bool()
            model(input_ids=ids, attention_mask=mask, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: Inputs(products / tokens, size / tokens, tokens) for name, (products, size, tokens) in sums.items()}
