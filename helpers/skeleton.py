"""Build a model on the meta device, where tensors have a shape and a type but no memory."""

import copy

import torch
from torch import nn

from . import quiet
from .errors import CourseError

__all__ = ["config_of", "quantized_types", "skeleton"]


def quantized_types() -> tuple[type, ...]:
    try:
        import bitsandbytes as bnb
    except ImportError as error:
        raise CourseError("The package bitsandbytes is missing: `pip install bitsandbytes`.") from error
    return bnb.nn.Linear4bit, bnb.nn.Linear8bitLt


def config_of(model) -> object:
    """A copy of the configuration of a model, or of a configuration, without a quantization of its own."""
    config = copy.deepcopy(getattr(model, "config", model))
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return config


def skeleton(config, dtype: torch.dtype, quantization=None):
    """Build (model on the meta device, quantizer or None) as `from_pretrained` does before it reads weights.

    `quantization` is a `BitsAndBytesConfig`: the layers that transformers replaces are replaced. Raises CourseError
    for a configuration that is not one of a decoder language model.
    """
    from transformers import AutoModelForCausalLM
    from transformers.quantizers import AutoHfQuantizer

    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    except (ValueError, AttributeError, TypeError) as error:
        raise CourseError(
            f"No decoder language model can be built from a {type(config).__name__}: "
            "give the config of a text model that transformers' AutoModelForCausalLM knows."
        ) from error
    if quantization is None:
        return model, None
    quantizer = AutoHfQuantizer.from_config(quantization, pre_quantized=False)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # the new layers take their dtype from it, as in from_pretrained
    try:
        with quiet.libraries():  # `predict` has a note of its own where no layer is replaced
            quantizer.preprocess_model(model=model, dtype=dtype, device_map={"": "cpu"})
    finally:
        torch.set_default_dtype(before)
    return model, quantizer


def quantize_on_meta(model: nn.Module, scheme: str) -> None:
    """Give the quantized layers of a model on the meta device codes and constants of the right shapes, in place."""
    import bitsandbytes as bnb

    def empty(*shape, dtype=torch.float32):
        return torch.empty(*shape, dtype=dtype, device="meta")

    for module in model.modules():
        if isinstance(module, bnb.nn.Linear8bitLt):
            codes = empty(module.out_features, module.in_features, dtype=torch.int8)
            module.weight = bnb.nn.Int8Params(codes, requires_grad=False, has_fp16_weights=False)
            module.state.CB, module.state.SCB = codes, empty(module.out_features)
            module.state.threshold = 0.0  # outliers depend on values
            module.init_8bit_state = lambda: None
        if isinstance(module, bnb.nn.Linear4bit):
            shape = torch.Size((module.out_features, module.in_features))
            blocks = -(-shape.numel() // 64)
            double = scheme.endswith("-dq")
            second = bnb.functional.QuantState(
                absmax=empty(-(-blocks // 256)), code=empty(256), blocksize=256, dtype=torch.float32
            )
            state = bnb.functional.QuantState(
                absmax=empty(blocks, dtype=torch.uint8 if double else torch.float32),
                shape=shape,
                code=empty(16),
                blocksize=64,
                quant_type=scheme.removesuffix("-dq"),
                dtype=module.weight.dtype,
                offset=empty(()) if double else None,
                state2=second if double else None,
            )
            codes = empty((shape.numel() + 1) // 2, 1, dtype=torch.uint8)
            module.weight = bnb.nn.Params4bit(
                codes, requires_grad=False, quant_state=state, quant_type=state.quant_type, bnb_quantized=True
            )
