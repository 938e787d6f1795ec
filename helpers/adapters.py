"""Put LoRA adapters on a model, new ones or saved ones, after a look at whether they belong there."""

import re
from pathlib import Path

import torch
from torch import nn

from . import levers
from .errors import CourseError, first_line
from .recipe import Recipe

__all__ = ["adapted_layers", "add_adapters", "load_adapter", "prepare"]


def add_adapters(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Freeze the quantized model, add LoRA to the recipe's layers, pull its levers, and return the peft model.

    Adapters are float32 (float16 ones break the gradient scaler, bfloat16 ones lose small updates). Unlike peft's
    `prepare_model_for_kbit_training` this leaves embeddings and head in 16 bits, unless `upcast` asks for it.
    """
    torch.manual_seed(recipe.seed)  # A is drawn at random: without a seed, runs and ranks would differ
    adapted = prepare(model, recipe)
    if recipe.compiled:
        levers.compile_layers(adapted)
    return adapted


def prepare(model: nn.Module, recipe: Recipe, adapters: bool = True, on_meta: bool = False) -> nn.Module:
    """Make a model what a training step holds: upcast, checkpointing, adapters, and the levers that change memory.

    With `on_meta` nothing is allocated, for a forecast. Raises CourseError if LoRA finds none of the target modules.
    """
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if recipe.upcast:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    if recipe.checkpointing:
        # without re-entrance, or frozen layers below the first adapter would stop the gradient
        enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
        # a graph cannot keep the state of random numbers, and without dropout none are drawn
        enable({"use_reentrant": False, **({"preserve_rng_state": False} if recipe.graph else {})})
        model.config.use_cache = False  # nothing is generated during training
    if adapters:
        if isinstance(recipe.targets, list) and (unknown := _unknown(model, recipe.targets)):
            raise CourseError(
                f"LoRA finds no layer {unknown[0]} in this model (target_modules={recipe.target_modules!r})."
            )
        lora = LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules=recipe.targets,
            task_type="CAUSAL_LM",
        )
        try:
            model = get_peft_model(model, lora, low_cpu_mem_usage=on_meta)
        except ValueError as error:
            raise CourseError(f"LoRA finds no layer for target_modules={recipe.target_modules!r}.") from error
        for name, parameter in model.named_parameters() if on_meta else ():
            if "lora_" in name:
                parameter.data = parameter.data.float()  # peft does so itself where there are numbers to convert
    if recipe.liger and not on_meta:  # its kernels want a GPU, and a forecast does not know them
        levers.use_liger(model)
    if recipe.fused and adapters:
        levers.fuse_adapters(model)
    if recipe.chunked:
        levers.chunk_loss(model)
    return model


def _unknown(model: nn.Module, targets: list[str]) -> list[str]:
    """Targets that are the end of no module's name: peft passes over them if another one is."""
    names = [name for name, _ in model.named_modules()]
    return [target for target in targets if not any(n == target or n.endswith(f".{target}") for n in names)]


def load_adapter(model: nn.Module, folder: str | Path) -> nn.Module:
    """Put a saved adapter on a freshly loaded base, after a look at whether it belongs there.

    peft passes over layers that the model or the adapter lacks, with a warning at most. Raises CourseError for a folder
    without an adapter, a damaged file, and an adapter for another model: other layers, or layers of another size.
    """
    from peft import PeftModel
    from safetensors import SafetensorError, safe_open

    file = Path(folder) / "adapter_model.safetensors"
    if not file.is_file() or not (Path(folder) / "adapter_config.json").is_file():
        raise CourseError(f"The folder {folder} holds no adapter in safetensors: give the one that `save` wrote to.")
    try:
        with safe_open(file, "pt") as tensors:
            shapes = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        raise CourseError(f"The file {file.name} in {folder} is damaged: save or download the adapter again.") from None
    for name, shape in shapes.items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        if match is None:
            continue
        try:  # peft names experts, whose weights are one tensor, by what it wraps them in, once for each of two tensors
            layer = model.get_submodule(match[1].removesuffix(".base_layer"))
        except AttributeError:
            raise CourseError(
                f"The adapter in {Path(folder).name} is for another model: this one has no layer {match[1]}."
            ) from None
        if not isinstance(layer, nn.Linear):  # experts, or GPT-2's Conv1D: peft compares the sizes
            continue
        size = layer.in_features if match[2] == "A" else layer.out_features
        side, has = ("inputs", shape[1]) if match[2] == "A" else ("outputs", shape[0])
        if has != size:
            raise CourseError(
                f"The adapter in {Path(folder).name} is for another model: it expects {has:,} {side} of {match[1]}, "
                f"which has {size:,}."
            )
    try:
        adapted = PeftModel.from_pretrained(model, folder).eval()
    except (RuntimeError, ValueError) as error:
        raise CourseError(f"The adapter in {Path(folder).name} is for another model: {first_line(error)}.") from error
    held = {f"base_model.model.{name}" for name in adapted_layers(adapted)}
    if lacking := sorted(held - {name.rpartition(".lora_")[0] for name in shapes}):
        raise CourseError(
            f"The adapter in {Path(folder).name} is for another model: it has nothing for {len(lacking)} layers of "
            f"this one (first {lacking[0].removeprefix('base_model.model.')})."
        )
    return adapted


def adapted_layers(adapted: nn.Module) -> dict[str, nn.Module]:
    """peft's layers by the name that the frozen layer has in the plain model."""
    named = adapted.base_model.model.named_modules()
    return {name: module for name, module in named if hasattr(module, "lora_A") and hasattr(module, "base_layer")}
