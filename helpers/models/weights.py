"""A model's linear weights in 16 bits, without loading the model, and the inputs they meet: for notebooks 01 to 03."""

import copy

import torch
from safetensors import safe_open

from ..errors import CourseError
from ..layers import linear_layers
from ..skeleton import skeleton
from . import hub
from .choose import config, resolve
from .shapes import shape_model

__all__ = ["layer_inputs", "linear_weights", "sample"]


def linear_weights(model_id="auto", most_bytes: float = 0.5e9) -> dict[str, torch.Tensor]:
    """Return weights of the layers that quantization replaces, by name, on the CPU in the checkpoint's dtype.

    They come in the model's order, as many as fit into `most_bytes` and at least one: all layers of Mini-Mistral,
    one decoder layer of a 7B model. For "mistral-7b-shape" that layer is made of random values, as the whole model is.
    Raises CourseError where `models.resolve` does, and for a checkpoint whose weights are quantized already.
    """
    choice = resolve(model_id)
    model_config = config(choice)
    if getattr(model_config, "quantization_config", None) is not None:
        raise CourseError(f"The weights of {choice.model_id} are quantized already: choose a 16-bit checkpoint.")
    if choice.kind == "shape":
        model_config = copy.deepcopy(model_config)
        model_config.num_hidden_layers = 1
        layers = linear_layers(shape_model(model_config, "bf16"))
        return _until(most_bytes, ((name, layer.weight.detach()) for name, layer in layers.items()))
    folder = choice.folder or hub.cached(choice.model_id) or hub.download(choice)
    shell, _ = skeleton(model_config, torch.bfloat16)
    names = [f"{name}.weight" for name in linear_layers(shell)]
    return _until(most_bytes, _stored(hub.weight_files(folder), names))


def sample(weights: dict[str, torch.Tensor], most: int = 2**24, block_size: int = 64) -> torch.Tensor:
    """Return all weights in one row, or, of more than `most`, whole blocks at even distances, `most` at the most.

    Weights after the last whole block of a tensor are left out of such a sample.
    """
    total = sum(weight.numel() for weight in weights.values())
    if total <= most:
        return torch.cat([weight.flatten() for weight in weights.values()])
    every = -(-total // most)
    whole = (weight.flatten()[: weight.numel() // block_size * block_size] for weight in weights.values())
    return torch.cat([blocks.view(-1, block_size) for blocks in whole])[::every].flatten()


def _stored(files, names):
    """Yield (layer, weight) in the order of `names`, reading one tensor at a time."""
    place = {}
    for file in files:
        with safe_open(file, framework="pt") as stored:
            place |= dict.fromkeys(stored.keys(), file)
    for name in names:
        if name in place:
            with safe_open(place[name], framework="pt") as stored:
                yield name.removesuffix(".weight"), stored.get_tensor(name)


def _until(most_bytes: float, named_weights) -> dict[str, torch.Tensor]:
    weights, total = {}, 0
    for name, weight in named_weights:
        if weights and total + weight.nbytes > most_bytes:
            break
        weights[name] = weight.cpu()
        total += weight.nbytes
    if not weights:
        raise CourseError("The checkpoint stores no linear weights under the names of its model: choose another one.")
    return weights


def layer_inputs(model, tokenizer, text: str, names) -> dict[str, torch.Tensor]:
    """Return what layers of a loaded model receive while it reads `text`, by name: float32, CPU, one row a token."""
    caught, hooks = {}, []
    for name in names:

        def catch(module, args, name=name):
            caught[name] = args[0].detach().flatten(0, -2).float().cpu()

        hooks.append(model.get_submodule(name).register_forward_pre_hook(catch))
    try:
        with torch.inference_mode():
            model(tokenizer(text, return_tensors="pt").input_ids.to(model.device))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: caught[name].clone() for name in names}
