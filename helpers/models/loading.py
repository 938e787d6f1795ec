"""Load a model in any scheme, quietly, or say in one sentence why not."""

import warnings
from pathlib import Path

import torch
from torch import nn

from .. import quiet
from ..errors import CourseError, first_line
from ..layers import decode_by_whole_tensor
from ..schemes import PLAIN, SCHEMES, bnb_config, check, device_of, emulated, rest_dtype
from ..skeleton import quantized_types
from . import hub
from .choose import config, fit, require_memory, resolve, saved_scheme
from .kinds import INSTEAD, mini_path
from .shapes import shape_model

__all__ = ["load", "same_on_every_cpu", "tokenizer"]


def _check_weights(folder: Path, model_id: str) -> None:
    """Read the headers of all weights files, so that a damaged one is found before memory is spent."""
    from safetensors import SafetensorError, safe_open

    files = hub.weight_files(folder)
    if not files:
        raise CourseError(f"{model_id} has no complete safetensors weights: download or save it again, {INSTEAD}.")
    for file in files:
        try:
            with safe_open(file, framework="pt") as weights:
                weights.keys()
        except (SafetensorError, OSError) as error:
            raise CourseError(
                f"The weights file {file.name} of {model_id} is damaged: delete it and download or save it again, "
                f"{INSTEAD}."
            ) from error


def load(model_id="auto", scheme: str = "nf4-dq", compute_dtype="auto", device="auto"):
    """Load a model in a scheme and return (model in evaluation mode, tokenizer); quiet but for what matters.

    `model_id` as in `resolve` (or its `Choice`); `scheme` is one of fp32 fp16 bf16 int8 fp4 nf4 nf4-dq.
    `compute_dtype` is that of quantized layers' products and of all that is not quantized; the first three schemes
    are their own. The forecast is compared with free memory first. Safetensors only; no remote code. For random
    weights the tokenizer is Mini-Mistral's: its ids are valid, the text it makes is noise.
    Raises CourseError with one sentence that says what to do.
    """
    check(scheme)
    device = device_of(device)
    if slow := emulated(rest_dtype(scheme, compute_dtype, device), device):
        print(slow)
    choice = resolve(model_id, scheme)
    if model_id == "auto":
        print(f"auto chose {choice.model_id}: {choice.reason}.")
    model_config = config(choice)
    saved = saved_scheme(model_config)
    if saved not in (None, scheme):
        if saved in SCHEMES:
            raise CourseError(
                f'{choice.model_id} was saved in {saved} and cannot be loaded in {scheme}: ask for "{saved}".'
            )
        raise CourseError(
            f"{choice.model_id} was quantized by {saved}, which the course does not load: take the 16-bit model that "
            f"it was made from, {INSTEAD}."
        )
    require_memory(choice.model_id, model_config, scheme, device)
    try:
        if choice.kind == "shape":
            folder = mini_path()
            model = shape_model(model_config, scheme, compute_dtype, device)
        else:
            folder = choice.folder or hub.cached(choice.model_id) or hub.download(choice)
            _check_weights(folder, choice.model_id)
            quantization = {} if saved else {"quantization_config": bnb_config(scheme, compute_dtype, device)}
            model = _from_folder(folder, choice.model_id, scheme, compute_dtype, device, quantization)
    except torch.OutOfMemoryError as error:
        raise CourseError(
            f"{choice.model_id} in {scheme} ran out of GPU memory while loading ({fit(model_config, scheme, device)}): "
            "restart other kernels or choose a smaller scheme."
        ) from error
    same_on_every_cpu(model)
    _check_share(model, choice.model_id, scheme)
    if saved:
        _compute_in(model, rest_dtype(scheme, compute_dtype, device))
    if model.generation_config.pad_token_id is None:  # what `generate` does by itself, with a notice at every call
        end = model.generation_config.eos_token_id
        model.generation_config.pad_token_id = end[0] if isinstance(end, list) else end
    return model, tokenizer(choice, folder)


def _check_share(model: nn.Module, model_id: str, scheme: str) -> None:
    """Refuse a model of which no layer was quantized, and say of how much else than embeddings and head none was.

    transformers replaces `nn.Linear` and GPT-2's `Conv1D` and nothing else: Falcon has a class of its own, and in
    mixtures of experts the experts' weights are one tensor of three dimensions.
    """
    kinds = quantized_types()
    quantized = sum(m.in_features * m.out_features for m in model.modules() if isinstance(m, kinds))
    if scheme in PLAIN:
        return
    if not quantized:
        raise CourseError(
            f"No layer of a {type(model).__name__} is of a kind that is quantized, so that {model_id} in {scheme} "
            'would be the same 16 bits: load it in "bf16", or choose another model.'
        )
    ends = {
        id(p) for end in (model.get_input_embeddings(), model.get_output_embeddings()) if end for p in end.parameters()
    }
    others = [m for m in model.modules() if not isinstance(m, kinds)]
    left = {id(p): p.numel() for m in others for p in m.parameters(recurse=False) if id(p) not in ends}
    share = sum(left.values()) / (sum(left.values()) + quantized)
    if share > 0.1:
        print(
            f"{model_id} in {scheme}: {share:.0%} of its inner weights stay in 16 bits, since they are no linear "
            "layers (experts, mostly)."
        )


def _compute_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Have a model that was saved in 4 bits compute in `dtype`: from_pretrained keeps to the one it was saved with."""
    for layer in model.modules():
        if hasattr(layer, "compute_type_is_set"):
            layer.compute_dtype, layer.compute_type_is_set = dtype, True
    for parameter in model.parameters():
        if parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype)


def same_on_every_cpu(model: nn.Module) -> None:
    """Keep 4-bit layers as they were loaded, on every CPU, and have them decoded as they were encoded.

    On CPUs with AVX512-BF16 bitsandbytes' first evaluation forward repacks each layer in place, for a faster product.
    Double quantization is undone by it, logits move by about 1%, and training afterwards gets no gradient through the
    layer, since that product knows no backward (`Linear4bit.forward` in bitsandbytes/nn/modules.py, 0.50.2).
    """
    decode_by_whole_tensor(model)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def _from_folder(folder: Path, model_id: str, scheme: str, dtype, device: torch.device, quantization: dict):
    from transformers import AutoModelForCausalLM

    try:
        with quiet.loading():
            model, info = AutoModelForCausalLM.from_pretrained(
                folder,
                **quantization,
                dtype=rest_dtype(scheme, dtype, device),
                device_map={"": device},
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except ImportError as error:
        raise CourseError(f"A package is missing or too old for {scheme} ({first_line(error)}).") from error
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, OSError, KeyError) as error:
        why = "their shapes are not those of config.json" if "mismatched_sizes" in str(error) else first_line(error)
        raise CourseError(
            f"The weights of {model_id} could not be loaded ({why}): download or save the model again, {INSTEAD}."
        ) from error
    if info.get("missing_keys"):
        raise CourseError(
            f"The weights file of {model_id} lacks {len(info['missing_keys'])} tensors of the model "
            f"(first {sorted(info['missing_keys'])[0]}): download or save the model again, {INSTEAD}."
        )
    if unused := sorted(info.get("unexpected_keys") or []):
        warnings.warn(
            f"{model_id}: {len(unused)} stored tensors are not part of this model ({unused[0]} …).", stacklevel=3
        )
    return model


def tokenizer(choice, folder: Path | None = None):
    """The tokenizer of a model, from `folder` or where its files lie; for random weights it is Mini-Mistral's."""
    from transformers import AutoTokenizer

    if folder is None:
        folder = mini_path() if choice.kind == "shape" else choice.folder or hub.cached(choice.model_id)
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise CourseError(
            f"The tokenizer of {choice.model_id} could not be loaded ({first_line(error)}): save it beside the model, "
            f"{INSTEAD}."
        ) from error
