"""Memory by the byte: measured on a model, or predicted from its configuration alone. GB = 10^9 bytes."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil

import torch
from torch import nn

from .errors import CourseError

__all__ = ["PARTS", "SCHEMES", "MemoryBudget", "Measurement", "kv_bytes_per_token", "measure", "predict"]

SCHEMES = ("fp32", "fp16", "bf16", "int8", "fp4", "nf4", "nf4-dq")
PARTS = {
    "codes": "codes of the quantized layers",
    "absmax": "absmax, or row scales of int8",
    "second_level": "absmax of the absmax (double quantization)",
    "tables": "code tables and offsets",
    "linear": "linear layers, not quantized",
    "biases": "biases",
    "embeddings": "embeddings",
    "head": "output head",
    "norms": "norms",
    "other": "other parameters",
    "buffers": "buffers (rotary frequencies)",
    "adapters": "adapters (LoRA)",
    "gradients": "gradients",
    "kv_cache": "KV cache",
}
BLOCK = 64  # weights that share an absmax, bitsandbytes' default
SECOND_BLOCK = 256  # absmax values that share a second-level absmax
TABLE_BYTES = 16 * 4  # the 16 values of NF4 or FP4 in float32; every layer holds its own copy
MAP_BYTES = 256 * 4  # the 256 values of the second level in float32; every layer holds its own copy, too
OFFSET_BYTES = 4  # the mean that is taken from absmax before it is quantized


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes by part (the keys of `PARTS`); shows itself as a table.

    `total_bytes` is everything. `weight_bytes` is the stored weights with all their quantization constants: the total
    without buffers (a few hundred bytes), adapters, gradients and KV cache.
    """

    parts: dict[str, int]
    title: str = ""
    scheme: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def total_bytes(self) -> int:
        return sum(self.parts.values())

    @property
    def weight_bytes(self) -> int:
        apart = ("buffers", "adapters", "gradients", "kv_cache")
        return sum(size for part, size in self.parts.items() if part not in apart)

    @property
    def gb(self) -> float:
        return self.total_bytes / 1e9

    def fits(self, gb: float) -> bool:
        """Whether the total is at most `gb` (10^9 bytes each)."""
        return self.total_bytes <= gb * 1e9

    def rows(self) -> list[dict]:
        """One dict a part: part, bytes, share of the total; the total comes last."""
        total = max(self.total_bytes, 1)
        rows = [{"part": PARTS.get(p, p), "bytes": n, "share": n / total} for p, n in self.parts.items() if n]
        return [*rows, {"part": "total", "bytes": self.total_bytes, "share": 1.0}]

    def table(self) -> str:
        """The parts as a Markdown table."""
        lines = [f"| {self.title or 'part'} | bytes | share |", "|:--|--:|--:|"]
        lines += [f"| {row['part']} | {row['bytes']:,} | {row['share']:.2%} |" for row in self.rows()]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)])

    def _repr_markdown_(self) -> str:
        return self.table()

    def __str__(self) -> str:
        width = max(len(row["part"]) for row in self.rows())
        lines = [self.title] if self.title else []
        lines += [f"{row['part']:<{width}}  {row['bytes']:>16,}  {row['share']:>7.2%}" for row in self.rows()]
        return "\n".join([*lines, *self.notes])


class Measurement(MemoryBudget):
    """A `MemoryBudget` that was counted on a model, not predicted."""


def _tensors_of_state(state: object) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in vars(state).items():
        if isinstance(value, torch.Tensor):
            yield name, value


def _quantization_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """(part, tensor) of all that a quantized layer keeps outside its parameters and buffers."""
    state = getattr(module.weight, "quant_state", None)
    if state is not None:  # 4 bits
        second = getattr(state, "state2", None)  # gone after the CPU's repacking
        for name, tensor in _tensors_of_state(state):
            yield ("absmax" if name == "absmax" else "tables"), tensor
        if second is not None:
            for name, tensor in _tensors_of_state(second):
                yield ("second_level" if name == "absmax" else "tables"), tensor
    for holder in (module.weight, getattr(module, "state", None)):  # 8 bits: before and after the first forward
        if isinstance(getattr(holder, "SCB", None), torch.Tensor):
            yield "absmax", holder.SCB
        if isinstance(getattr(holder, "CB", None), torch.Tensor):
            yield "codes", holder.CB
    if hasattr(module, "state"):
        for name, tensor in _tensors_of_state(module.state):
            if name not in ("SCB", "CB"):
                yield "other", tensor


def _part(module: nn.Module, path: str, name: str, head: nn.Module | None, quantized: tuple[type, ...]) -> str:
    """The part that a parameter belongs to, by its module and its path in the model."""
    if "lora_" in path or ".modules_to_save." in f"{path}.":
        return "adapters"
    if module is head and name == "weight":
        return "head"
    if isinstance(module, nn.Embedding):
        return "embeddings"
    if "norm" in type(module).__name__.lower():
        return "norms"
    if name == "bias":
        return "biases"
    if isinstance(module, quantized):
        return "codes"
    if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
        return "linear"
    return "other"


def _quantized_types() -> tuple[type, ...]:
    try:
        import bitsandbytes as bnb
    except ImportError as error:
        raise CourseError("The package bitsandbytes is missing: `pip install bitsandbytes`.") from error
    return bnb.nn.Linear4bit, bnb.nn.Linear8bitLt


def measure(model: nn.Module, gradients: bool = True) -> Measurement:
    """Count every byte that a model's tensors hold, quantization constants included.

    Parts: see `PARTS`. A tensor reached on several ways (tied weights, `CB`, a table that layers share) counts once,
    on whatever device it lies. Adapters are a part of their own; gradients are counted where there are some, unless
    `gradients` is False. Activations, caches and the allocator's rounding are no tensors of a model.
    """
    quantized = _quantized_types()
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    parts = dict.fromkeys(PARTS, 0)
    seen = {}

    def count(part: str, tensor: torch.Tensor) -> None:
        tensor = tensor.detach()
        place = (tensor.device, tensor.data_ptr()) if tensor.data_ptr() else id(tensor)
        size = tensor.numel() * tensor.element_size()
        if size > seen.get(place, 0):  # bytes of the tensor, not its storage: mapped files share one storage
            parts[part] += size - seen.get(place, 0)
            seen[place] = size

    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            count(_part(module, path, name, head, quantized), parameter.data)
            if gradients and parameter.grad is not None:
                count("gradients", parameter.grad)
        if isinstance(module, quantized):
            for part, tensor in _quantization_tensors(module):
                count(part, tensor)
        for _, buffer in module.named_buffers(recurse=False):
            count("buffers", buffer)
    return Measurement({part: size for part, size in parts.items() if size}, title="measured")


def _config_of(model) -> object:
    """A copy of the configuration of a model, a configuration or an id, without a quantization of its own."""
    if isinstance(model, str):
        from .models import config  # here, not above: `models` imports this module

        model = config(model)
    found = copy.deepcopy(getattr(model, "config", model))
    if hasattr(found, "quantization_config"):
        del found.quantization_config
    return found


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
        quantizer.preprocess_model(model=model, dtype=dtype, device_map={"": "cpu"})
    finally:
        torch.set_default_dtype(before)
    return model, quantizer


def _bnb_config(scheme: str):
    """What decides which layers are replaced; `models.bnb_config` has every field."""
    from transformers import BitsAndBytesConfig

    if scheme in ("fp32", "fp16", "bf16"):
        return None
    return BitsAndBytesConfig(load_in_8bit=True) if scheme == "int8" else BitsAndBytesConfig(load_in_4bit=True)


def _quantized_layer(module: nn.Module, scheme: str) -> dict[str, int]:
    """Bytes of one quantized layer's weight and constants."""
    n = module.in_features * module.out_features
    if scheme == "int8":
        return {"codes": n, "absmax": 4 * module.out_features}
    blocks = ceil(n / BLOCK)
    if scheme != "nf4-dq":
        return {"codes": ceil(n / 2), "absmax": 4 * blocks, "tables": TABLE_BYTES}
    second = 4 * ceil(blocks / SECOND_BLOCK)
    return {
        "codes": ceil(n / 2),
        "absmax": blocks,
        "second_level": second,
        "tables": TABLE_BYTES + MAP_BYTES + OFFSET_BYTES,
    }


def predict(model, scheme: str = "nf4-dq", *, context: int = 0, batch: int = 1, compute_dtype="auto") -> MemoryBudget:
    """Forecast the bytes a model holds in a scheme, from its configuration alone: nothing is loaded or downloaded.

    `model` is a transformers configuration, a model, or an id as `models.resolve` takes it (of a hub id config.json
    is fetched). Weights are exact, part by part, code tables and offsets included. `context` tokens by `batch`
    sequences add the KV cache that `generate` fills.
    `compute_dtype` ("auto" is 16 bits) is that of all that int8 and 4 bits leave unquantized.
    Raises CourseError for an unknown scheme, a negative length, or a configuration without a decoder.
    """
    if scheme not in SCHEMES:
        raise CourseError(f"Unknown scheme {scheme!r}: choose one of {', '.join(SCHEMES)}.")
    if context < 0 or batch < 1:
        raise CourseError(
            f"context={context}, batch={batch}: context counts tokens from 0 up, batch sequences from 1 up."
        )
    config = _config_of(model)
    dtype = _dtype(scheme, compute_dtype)
    shell, _ = skeleton(config, dtype, _bnb_config(scheme))
    quantized = _quantized_types()
    head = shell.get_output_embeddings()
    parts = dict.fromkeys(PARTS, 0)
    seen = set()
    for path, module in shell.named_modules():
        for name, tensor in module.named_parameters(recurse=False):
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if isinstance(module, quantized) and name == "weight":
                for part, size in _quantized_layer(module, scheme).items():
                    parts[part] += size
            else:
                parts[_part(module, path, name, head, quantized)] += tensor.numel() * tensor.element_size()
        parts["buffers"] += sum(b.numel() * b.element_size() for _, b in module.named_buffers(recurse=False))
    if context:
        parts["kv_cache"] = batch * _kv_bytes(config, context, dtype)
    return MemoryBudget({p: n for p, n in parts.items() if n}, title=f"predicted, {scheme}", scheme=scheme)


def _dtype(scheme: str, compute_dtype="auto") -> torch.dtype:
    """The dtype of what stays unquantized in a scheme."""
    plain = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
    if scheme in plain:
        return plain[scheme]
    if compute_dtype == "auto":
        return torch.bfloat16
    dtype = compute_dtype if isinstance(compute_dtype, torch.dtype) else getattr(torch, str(compute_dtype), None)
    if dtype not in (torch.bfloat16, torch.float16, torch.float32):
        raise CourseError(f'Unknown compute dtype {compute_dtype!r}: use "auto", "bfloat16", "float16" or "float32".')
    return dtype


def _kv_bytes(config, tokens: int, dtype: torch.dtype) -> int:
    """Bytes of one sequence's keys and values; a layer with a sliding window keeps at most the window."""
    config = config.get_text_config(decoder=True)
    layers = config.num_hidden_layers
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"] * layers
    kept = sum(min(tokens, window) if window and "sliding" in kind else tokens for kind in kinds)
    return 2 * kept * kv_heads * head_dim * dtype.itemsize


def kv_bytes_per_token(model, scheme: str = "nf4-dq", compute_dtype="auto") -> int:
    """Bytes that every further token of one sequence adds to the KV cache, before any sliding window is full.

    2 (keys and values) × layers × key/value heads × head size × bytes of the dtype. Weights in 4 bits do not change
    it: the cache is kept in the compute dtype.
    """
    return _kv_bytes(_config_of(model), 1, _dtype(scheme, compute_dtype))
