"""The linear layers of a model: which ones quantization replaces, and the weight that each multiplies by."""

import copy
import functools

import torch
from torch import nn

from .errors import CourseError

__all__ = ["decode_by_whole_tensor", "dense", "linear_layers", "quant_state", "refuse_transposed", "working_device"]

TRANSPOSED = ("gpt2", "openai", "decision_transformer", "imagegpt")  # folders of transformers.models with Conv1D


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that quantization replaces, by name: every `nn.Linear`, `Linear4bit`, `Linear8bitLt` but the head."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head and ".lora_" not in name
    }


def refuse_transposed(model: nn.Module) -> nn.Module:
    """Return the model, or raise CourseError for a family whose layers hold their weights the other way round.

    GPT-2 and its like have `Conv1D` where others have `nn.Linear`. transformers quantizes them and turns them over,
    and neither of both turns back: what is rounded or merged in their place would change nothing, or not load again.
    """
    if type(model).__module__.rpartition(".")[0].rpartition(".")[2] in TRANSPOSED:
        raise CourseError(
            f"The layers of a {type(model).__name__} are Conv1D, whose weights lie the other way round: it can be "
            "loaded, measured and trained in 4 bits, but not rounded or merged here."
        )
    return model


def decode_by_whole_tensor(model: nn.Module | None = None) -> None:
    """Have bitsandbytes decode 4 bits on a CPU as it encoded them: in blocks of the whole tensor, not of each row.

    Its CPU kernel begins a new block with each row, although the encoder does not, so that where rows end inside a
    block (288 columns, blocks of 64) every weight behind the first row got another block's constant, without a word. A
    tensor without rows has no such place: given as one, and shaped afterwards, all values are right. That goes for
    `functional.dequantize_4bit` from then on, and for the products of `model`'s layers, which do not go through it.
    Seen in bitsandbytes/backends/cpu/ops.py, 0.50.2.
    """
    from bitsandbytes import functional

    decode = functional.dequantize_4bit
    if not hasattr(decode, "by_whole_tensor"):

        @functools.wraps(decode)
        def by_whole_tensor(A, quant_state=None, *args, **kwargs):
            if args or kwargs or not _rows_end_inside_a_block(A, quant_state):
                return decode(A, quant_state, *args, **kwargs)
            flat = copy.copy(quant_state)
            flat.shape = torch.Size([quant_state.shape.numel()])
            whole = decode(A.reshape(-1, 1), flat).reshape(quant_state.shape)
            return whole.t() if A.shape[0] == 1 else whole  # codes in one row stand for a transposed weight

        by_whole_tensor.by_whole_tensor = True
        functional.dequantize_4bit = by_whole_tensor
    for layer in model.modules() if model else ():
        weight = getattr(layer, "weight", None)
        if isinstance(layer, nn.Linear) and _rows_end_inside_a_block(weight, getattr(weight, "quant_state", None)):
            layer.forward = functools.partial(_product, layer)


def _rows_end_inside_a_block(codes, state) -> bool:
    return state is not None and codes.device.type == "cpu" and state.shape[-1] % state.blocksize != 0


def _product(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a 4-bit layer computes, with the weight that `dense` gives."""
    y = _Product.apply(x.to(layer.compute_dtype or x.dtype), layer)
    return (y if layer.bias is None else y + layer.bias.to(y.dtype)).to(x.dtype)


class _Product(torch.autograd.Function):
    """x → x·Wᵀ for a frozen layer; nothing is kept, W is dequantized again for the gradient."""

    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer = layer
        return x @ dense(layer, x.dtype).T

    @staticmethod
    def backward(ctx, dy):
        return dy @ dense(ctx.layer, dy.dtype), None


def quant_state(layer: nn.Module):
    """bitsandbytes' state of a 4-bit layer, or None: at its weight, or at the layer where weights are in shards."""
    state = getattr(layer.weight, "quant_state", None)
    return getattr(layer, "quant_state", None) if state is None else state


def working_device(model: nn.Module) -> torch.device:
    """Where a model computes: where its parameters are, or the GPU for which its shards wait on the host."""
    first = next(model.parameters())
    mesh = getattr(first, "device_mesh", None)
    return first.device if mesh is None else torch.device(mesh.device_type)


@torch.no_grad()
def dense(layer: nn.Module, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """The weight that a linear layer multiplies by, shape (outputs, inputs), dequantized if it is in 4 bits."""
    weight = layer.weight
    if (state := quant_state(layer)) is not None:
        from bitsandbytes import functional

        decode_by_whole_tensor()
        weight = functional.dequantize_4bit(weight.data, state)
    return weight.detach().to(dtype)
