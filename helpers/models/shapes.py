"""Models of known shapes: Mistral-7B's configuration, and any configuration filled with random weights."""

import torch
from torch import nn

from .. import memory
from ..schemes import bnb_config, check, device_of, rest_dtype

__all__ = ["mistral_7b_config", "shape_model"]


def mistral_7b_config():
    """Mistral-7B-v0.1's configuration, written out so that nothing has to be downloaded.

    Source: config.json of mistralai/Mistral-7B-v0.1 on the Hugging Face hub. `MistralConfig()` alone differs in
    `max_position_embeddings` and `rms_norm_eps`; the number of parameters is the same.
    """
    from transformers import MistralConfig

    return MistralConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        hidden_act="silu",
        max_position_embeddings=32768,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        sliding_window=4096,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        dtype="bfloat16",
    )


def shape_model(
    model_config, scheme: str = "nf4-dq", compute_dtype="auto", device="auto", seed: int = 0, sharded: bool = False
):
    """A model of a configuration's exact shapes with random weights, made and quantized layer by layer on the device.

    Every matrix is drawn from N(0, 0.02), norms are one and biases zero; the draw depends on `seed` and the kind of
    device, not on the scheme. Never holds more than one layer beside what stays, so that it needs little more memory
    than the finished model. The modules are the ones `from_pretrained` makes (same types, same bytes).
    """
    check(scheme)
    device = device_of(device)
    dtype = rest_dtype(scheme, compute_dtype, device)
    model, quantizer = memory.skeleton(model_config, dtype, bnb_config(scheme, compute_dtype, device, sharded))
    generator = torch.Generator(device).manual_seed(seed)
    done = {}  # a weight that two modules share is drawn once
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in done:
                done[parameter] = _filled(module, name, parameter, device, generator)
            setattr(module, name, done[parameter])
        if any(buffer.is_meta for buffer in module.buffers(recurse=False)):
            _fill_buffers(module, model_config, device)
    model.tie_weights()
    if quantizer is not None:
        model.hf_quantizer = quantizer
        quantizer.postprocess_model(model)
    return model.eval()


@torch.no_grad()
def _filled(module: nn.Module, name: str, parameter: nn.Parameter, device: torch.device, generator) -> nn.Parameter:
    """The parameter with random values on `device`, quantized there if its module is a quantized one."""
    import bitsandbytes as bnb

    values = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
    if values.dim() < 2:
        values.fill_(0.0 if name == "bias" else 1.0)
    else:
        for part in values.view(-1).split(2**24):  # in pieces: no second full-size float32 copy
            part.copy_(torch.randn(part.shape, generator=generator, device=device).mul_(0.02))
    if name == "weight" and isinstance(module, bnb.nn.Linear4bit):
        settings = {k: v for k, v in parameter.__dict__.items() if k not in ("data", "requires_grad")}
        return bnb.nn.Params4bit(values, requires_grad=False, **settings).to(device)
    if name == "weight" and isinstance(module, bnb.nn.Linear8bitLt):
        # `Int8Params.to` quantizes only what comes from the CPU; this is its computation without that detour
        codes, scales, _ = bnb.functional.int8_vectorwise_quant(values.to(torch.float16))
        return bnb.nn.Int8Params(codes, requires_grad=False, has_fp16_weights=False, CB=codes, SCB=scales)
    return nn.Parameter(values, requires_grad=parameter.requires_grad)


def _fill_buffers(module: nn.Module, model_config, device: torch.device) -> None:
    """Compute what a module keeps beside its weights (rotary frequencies) by building that module once more.

    A module that is not built from the configuration alone, such as Gemma's scaled embedding, gets ones.
    """
    try:
        fresh = dict(type(module)(model_config).named_buffers(recurse=False))
    except TypeError:
        fresh = {name: torch.ones_like(b, device="cpu") for name, b in module.named_buffers(recurse=False)}
    for name, buffer in fresh.items():
        module.register_buffer(name, buffer.to(device), persistent=name not in module._non_persistent_buffers_set)
