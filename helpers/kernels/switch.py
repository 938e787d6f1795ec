"""Let the 4-bit layers of a model multiply with our kernel, and back again."""

import contextlib
import functools

import torch

from ..errors import CourseError
from .calling import fused_linear, supports, why_not
from .lookup import DTYPES

__all__ = ["stop", "use", "using"]


@functools.cache
def layer_types():
    """bitsandbytes' 4-bit layer, and ours, which differs in `forward` alone and keeps its name."""
    import bitsandbytes as bnb

    class Linear4bit(bnb.nn.Linear4bit):
        def forward(self, x):
            state, dtype = self.weight.quant_state, self.compute_dtype or x.dtype
            rows = x.numel() // x.shape[-1]
            grad = torch.is_grad_enabled() and (x.requires_grad or self.bias is not None and self.bias.requires_grad)
            if grad or not rows or dtype not in DTYPES or x.device != self.weight.device:
                return super().forward(x)
            out = fused_linear(x.to(dtype), self.weight, state, early=True)
            if self.bias is not None:
                out = out + self.bias.to(dtype)
            return out.to(x.dtype)

    return bnb.nn.Linear4bit, Linear4bit


def use(model: torch.nn.Module) -> int:
    """Let the 4-bit layers of a loaded model decode with the kernel; returns how many do. `stop` is the way back.

    Layers that it cannot read (FP4, other block sizes, odd shapes) stay as they are. Weights are neither moved nor
    copied, so saving, training and long prompts go on as before. Raises CourseError for a model without 4-bit layers,
    or none that fits, and where the kernel cannot run.
    """
    theirs, ours = layer_types()
    layers = [module for module in model.modules() if type(module) in (theirs, ours)]
    if not layers:
        raise CourseError("This model has no 4-bit layers, so there is nothing to speed up: load it in nf4 or nf4-dq.")
    if (why := why_not(layers[0].weight.device)) is not None:
        raise CourseError(f"This model keeps bitsandbytes' kernels: {why}.")
    fit = [layer for layer in layers if supports(layer.weight.quant_state, layer.in_features)]
    if not fit:
        raise CourseError("None of the 4-bit layers is NF4 in blocks of 64 with columns that are a multiple of 256.")
    for layer in fit:
        layer.__class__ = ours
    return len(fit)


def stop(model: torch.nn.Module) -> int:
    """Give the layers that `use` switched back to bitsandbytes; returns how many there were."""
    theirs, ours = layer_types()
    layers = [module for module in model.modules() if type(module) is ours]
    for layer in layers:
        layer.__class__ = theirs
    return len(layers)


@contextlib.contextmanager
def using(model: torch.nn.Module):
    """The kernel while a block runs, for layers that it can read; those that had it before keep it."""
    theirs, ours = layer_types()
    layers = [module for module in model.modules() if type(module) is theirs and supports(module.weight.quant_state)]
    if layers and why_not(layers[0].weight.device) is not None:
        layers = []
    for layer in layers:
        layer.__class__ = ours
    try:
        yield
    finally:
        for layer in layers:
            layer.__class__ = theirs
