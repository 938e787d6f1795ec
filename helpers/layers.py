"""The linear layers of a model: which ones quantization replaces, and the weight that each multiplies by."""

import torch
from torch import nn

__all__ = ["dense", "linear_layers"]


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that quantization replaces, by name: every `nn.Linear`, `Linear4bit`, `Linear8bitLt` but the head."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and ".lora_" not in name
    }


@torch.no_grad()
def dense(layer: nn.Module, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The weight that a linear layer multiplies by, shape (outputs, inputs), dequantized if it is in 4 bits."""
    weight = layer.weight
    if (state := getattr(weight, "quant_state", None)) is not None:
        from bitsandbytes.functional import dequantize_4bit

        weight = dequantize_4bit(weight.data, state)
    return weight.detach().to(dtype)
