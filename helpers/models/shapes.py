"""Models of known shapes: Mistral-7B's configuration, and any configuration filled with random weights."""

import copy

import torch
from torch import nn

from .. import memory
from ..schemes import bnb_config, check, device_of, rest_dtype

__all__ = ["SHAPES", "llama_70b_config", "mistral_7b_config", "shape_model"]


# what both families share, as in their files on the hub
COMMON = {
    "vocab_size": 32000,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "dtype": "bfloat16",
}


def mistral_7b_config():
    """Mistral-7B-v0.1's configuration, written out so that nothing has to be downloaded.

    Source: config.json of mistralai/Mistral-7B-v0.1 on the Hugging Face hub. `MistralConfig()` alone differs in
    `max_position_embeddings` and `rms_norm_eps`; the number of parameters is the same.
    """
    from transformers import MistralConfig

    sizes = {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32}
    return MistralConfig(**copy.deepcopy(COMMON), **sizes, max_position_embeddings=32768, sliding_window=4096)


def llama_70b_config():
    """Llama-2-70B's configuration, written out as well. Source: config.json of meta-llama/Llama-2-70b-hf on the hub."""
    from transformers import LlamaConfig

    sizes = {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64}
    return LlamaConfig(**copy.deepcopy(COMMON), **sizes, max_position_embeddings=4096)


SHAPES = {"mistral-7b-shape": mistral_7b_config, "llama-70b-shape": llama_70b_config}


def shape_model(model_config, scheme: str = "nf4-dq", compute_dtype="auto", device="auto", seed: int = 0):
    """A model of a configuration's exact shapes with random weights, made and quantized layer by layer on the device.

    Every matrix is drawn from N(0, 0.02), norms are one and biases zero; the draw depends on `seed` and the kind of
    device, not on the scheme. Never holds more than one layer beside what stays, so that it needs little more memory
    than the finished model. The modules are the ones `from_pretrained` makes (same types, same bytes).
    """
    check(scheme)
    device = device_of(device)
    dtype = rest_dtype(scheme, compute_dtype, device)
    model, quantizer = memory.skeleton(model_config, dtype, bnb_config(scheme, compute_dtype, device))
    generator = torch.Generator(device).manual_seed(seed)
    done = {}  # a weight that two modules share is drawn once
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter not in done:
                done[parameter] = finished(module, name, parameter, random_values(name, parameter, device, generator))
            setattr(module, name, done[parameter])
        fill_buffers(module, model_config, device)
    model.tie_weights()
    if quantizer is not None:
        model.hf_quantizer = quantizer
        quantizer.postprocess_model(model)
    return model.eval()


@torch.no_grad()
def random_values(name: str, parameter: nn.Parameter, device: torch.device, generator) -> torch.Tensor:
    """Values of a parameter's shape and dtype on `device`: matrices from N(0, 0.02), norms one, biases zero."""
    values = torch.empty(parameter.shape, dtype=parameter.dtype, device=device)
    if values.dim() < 2:
        return values.fill_(0.0 if name == "bias" else 1.0)
    for part in values.view(-1).split(2**24):  # in pieces: no second full-size float32 copy
        part.copy_(torch.randn(part.shape, generator=generator, device=device).mul_(0.02))
    return values


@torch.no_grad()
def finished(module: nn.Module, name: str, parameter: nn.Parameter, values: torch.Tensor) -> nn.Parameter:
    """The parameter with `values`, quantized on their device if its module is a quantized one."""
    import bitsandbytes as bnb

    if name == "weight" and isinstance(module, bnb.nn.Linear4bit):
        settings = {k: v for k, v in parameter.__dict__.items() if k not in ("data", "requires_grad")}
        return bnb.nn.Params4bit(values, requires_grad=False, **settings).to(values.device)
    if name == "weight" and isinstance(module, bnb.nn.Linear8bitLt):
        # `Int8Params.to` quantizes only what comes from the CPU; this is its computation without that detour
        codes, scales, _ = bnb.functional.int8_vectorwise_quant(values.to(torch.float16))
        return bnb.nn.Int8Params(codes, requires_grad=False, has_fp16_weights=False, CB=codes, SCB=scales)
    return nn.Parameter(values, requires_grad=parameter.requires_grad)


def fill_buffers(module: nn.Module, model_config, device: torch.device) -> None:
    """Compute what a module keeps beside its weights (rotary frequencies) by building that module once more.

    A module that is not built from the configuration alone, such as Gemma's scaled embedding, gets ones.
    """
    if not any(buffer.is_meta for buffer in module.buffers(recurse=False)):
        return
    try:
        fresh = dict(type(module)(model_config).named_buffers(recurse=False))
    except TypeError:
        fresh = {name: torch.ones_like(b, device="cpu") for name, b in module.named_buffers(recurse=False)}
    for name, buffer in fresh.items():
        module.register_buffer(name, buffer.to(device), persistent=name not in module._non_persistent_buffers_set)
