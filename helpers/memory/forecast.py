"""Forecast what a model takes at every stage of its life, from its configuration alone: nothing is allocated."""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import torch
from torch import nn

from .. import quiet, schemes
from ..adapters import prepare
from ..errors import CourseError
from ..recipe import IN_SHARDS, Recipe
from ..skeleton import config_of, quantize_on_meta, quantized_types, skeleton
from . import activations
from .budget import PARTS, MemoryBudget
from .count import part_of

__all__ = [
    "BLOCK",
    "CUDA_CONTEXT",
    "GPU_SIZES",
    "MAP_BYTES",
    "OFFSET_BYTES",
    "OPTIMIZER_BLOCK",
    "PAGED_FROM",
    "REMEMBERED",
    "SECOND_BLOCK",
    "SHARDED",
    "SMALL_STATE",
    "STAGES",
    "T4",
    "TABLE_BYTES",
    "WORKSPACE",
    "card_bytes",
    "fitting",
    "kv_bytes",
    "kv_bytes_per_token",
    "largest_layer",
    "predict",
]

STAGES = ("load", "prefill", "train")
GPU_SIZES = (6, 8, 12, 16, 24, 40, 80)  # GiB, as cards are sold
T4 = 14.7  # GiB that a T4 has left of its 16: the rest checks the others for errors
CUDA_CONTEXT = (
    500_000_000  # kernels and driver; 0.3 to 0.6 GB by GPU and version, measured by benchmarks/forecast_check.py
)
WORKSPACE = 33_562_624  # what PyTorch gives cuBLAS on a Hopper GPU at the first product; 8.5 MB on older ones
BLOCK = 64  # weights that share an absmax, bitsandbytes' default
SECOND_BLOCK = 256  # absmax values that share a second-level absmax
TABLE_BYTES = 16 * 4  # the 16 values of NF4 or FP4 in float32; every layer holds its own copy
MAP_BYTES = 256 * 4  # the 256 values of the second level in float32; every layer holds its own copy, too
OFFSET_BYTES = 4  # the mean that is taken from absmax before it is quantized
SHARDED = {"codes", "linear", "biases", "embeddings", "head", "norms", "other"}  # by FSDP: what is a parameter,
SHARDED |= {"adapters", "gradients", "optimizer", "optimizer_paged"}  # and what goes with it
OPTIMIZER_BLOCK = 256  # values of an 8-bit state that share a float32 absmax
SMALL_STATE = 4096  # bitsandbytes keeps the states of smaller tensors in float32 (`min_8bit_size`)
PAGED_FROM = 100_000  # and does not page states of fewer numbers (`get_state_buffer` in optim/optimizer.py)


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


def predict(
    model,
    scheme: str = "nf4-dq",
    *,
    context: int = 0,
    batch: int = 1,
    compute_dtype="auto",
    stage: str = "load",
    recipe: Recipe | None = None,
    adapters: bool = True,
    shards: int = 1,
    replicas: int = 1,
    on_host: bool = False,
    cuda: bool = True,
    **changes,
) -> MemoryBudget:
    """Forecast the bytes a model needs in a scheme, from its configuration alone: nothing is loaded or downloaded.

    `model` is a transformers configuration, a model, or an id as `models.resolve` takes it (of a hub id config.json
    is fetched). Weights are exact, part by part, code tables and offsets included. `context` tokens by `batch`
    sequences are the work; `stage` says which:

    - "load": the model, and the KV cache of the context if there is one;
    - "prefill": the peak of reading `context` tokens into the cache;
    - "train": the peak of a training step on `batch` × `context` tokens, as Trainer takes it in mixed precision.

    A training step is described by a `recipe`, the `Recipe` that takes it: its batch, length and compute dtype then
    hold, and `stage` need not be given. `changes` are fields of a recipe by name, such as `checkpointing=False`.
    Without a recipe it is the standard one: adapters of rank 16 on all linear layers, all that is not quantized put
    into float32 by peft's `prepare_model_for_kbit_training`, and paged 8-bit AdamW. `adapters=False` trains all weights
    of an unquantized scheme. With `shards` of more than 1 it is what each of so many GPUs holds under FSDP, which makes
    the model layer by layer (`helpers.sharding`), and if they wait `on_host`, in the computer's memory, what is left on
    the GPU; with `replicas` what each holds under DDP: a whole model, and buffers in which gradients travel.

    Activations come from a rehearsal on the meta device; see `helpers.memory.activations` for what is kept and why.
    The two later stages add the matrix library's workspace and, as a line of its own that no allocator counts, the
    CUDA context; `cuda=False` leaves both out. `compute_dtype` ("auto" is 16 bits) is that of all that int8 and 4 bits
    leave unquantized.
    Raises CourseError for an unknown scheme, stage or optimizer, a negative length, or a model without a decoder.
    """
    quantized = scheme not in schemes.PLAIN
    if recipe:
        stage, batch, context, compute_dtype = "train", recipe.batch, recipe.length, recipe.compute_dtype
    recipe = replace(recipe or Recipe(upcast=quantized), **_as_text(changes))
    _check(scheme, context, batch, stage, adapters)
    if shards < 1 or shards > 1 and stage != "train":
        raise CourseError(f'shards={shards} for "{stage}": a model is sharded over 1 GPU or more, and in training.')
    if on_host and shards < 2:
        raise CourseError("on_host=True without shards: it is shards that can wait in the computer's memory.")
    if shards > 1 and recipe.optimizer == "auto":
        recipe = replace(recipe, optimizer=IN_SHARDS)
    config = config_of(model)
    asked = {"model": config, "scheme": scheme, "context": context, "batch": batch, "compute_dtype": compute_dtype}
    asked |= {"stage": stage, "recipe": recipe, "adapters": adapters, "shards": shards, "on_host": on_host}
    asked["cuda"] = cuda
    dtype = schemes.rest_dtype(scheme, compute_dtype, "cpu")
    parts, notes, trained = _at_rest(config, dtype, asked)
    timeline = None
    if stage == "load":
        parts["kv_cache"] = batch * kv_bytes(config, context, dtype) if context else 0
    else:
        timeline = _rehearsed(config, dtype, asked)
        peak = _peak(config, dtype, asked, _layer_bytes(parts, config))
        # the optimizer's step comes after the backward pass, when activations are gone and gradients are whole
        parts |= peak if sum(peak.values()) >= trained else {"gradients": trained}
        if shards > 1:
            parts = _sharded(parts, config, shards, on_host)
        if replicas > 1:
            parts["buckets"] = trained
        if cuda:
            # the thread that runs the backward pass has a cuBLAS handle, and so a workspace, of its own
            parts |= {"workspace": 2 * WORKSPACE if stage == "train" else WORKSPACE, "context": CUDA_CONTEXT}
    title = f"predicted, {scheme}" if stage == "load" else f"{scheme}, {stage}, {batch} × {context:,}"
    parts = {part: parts[part] for part in PARTS if parts.get(part)}
    return MemoryBudget(parts, title=title, scheme=scheme, notes=notes, timeline=timeline, asked=asked)


def _as_text(changes: dict) -> dict:
    """Changes of a recipe with the target modules as a recipe has them: a list of names becomes one text."""
    targets = changes.get("target_modules")
    return changes | {"target_modules": ",".join(targets)} if isinstance(targets, list | tuple) else changes


def _check(scheme: str, context: int, batch: int, stage: str, adapters: bool) -> None:
    schemes.check(scheme)
    if context < 0 or batch < 1:
        raise CourseError(
            f"context={context}, batch={batch}: context counts tokens from 0 up, batch sequences from 1 up."
        )
    if stage not in STAGES:
        raise CourseError(f"Unknown stage {stage!r}: choose one of {', '.join(STAGES)}.")
    if stage != "load" and context < 2:
        raise CourseError(f'context={context}: the stage "{stage}" needs a length of at least 2 tokens.')
    if stage == "train" and not adapters and scheme not in schemes.PLAIN:
        raise CourseError(f"adapters=False trains all weights, and {scheme} codes cannot be trained: train adapters.")


def _at_rest(config, dtype: torch.dtype, asked: dict) -> tuple[dict[str, int], list[str], int]:
    """What does not depend on batch and length: bytes by part, notes, and the bytes of what is trained."""
    key = _question(config, dtype, asked)
    if key not in AT_REST:
        shell, _ = skeleton(config, dtype, schemes.bnb_config(asked["scheme"]))
        parts, trained = _weight_parts(shell, asked["scheme"]), 0
        notes = _notes(shell, parts, asked["scheme"])
        if asked["stage"] == "train":
            shell = _prepared(shell, asked)
            parts |= _weight_parts(shell, asked["scheme"]) | _optimizer(shell, asked["recipe"].optimizer)
            trained = sum(p.numel() * p.element_size() for p in shell.parameters() if p.requires_grad)
        AT_REST[key] = parts, notes, trained
    parts, notes, trained = AT_REST[key]
    return dict(parts), list(notes), trained


def _weight_parts(shell: nn.Module, scheme: str) -> dict[str, int]:
    """Bytes by part of a model on the meta device, each tensor once."""
    quantized = quantized_types()
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
                parts[part_of(module, path, name, head, quantized)] += tensor.numel() * tensor.element_size()
        parts["buffers"] += sum(b.numel() * b.element_size() for _, b in module.named_buffers(recurse=False))
    return parts


def _notes(shell: nn.Module, parts: dict[str, int], scheme: str) -> list[str]:
    """What a reader of the budget should know: layers that a quantized scheme leaves as they are."""
    if schemes.bnb_config(scheme) is None:
        return []
    notes = []
    stacked = [p for name, p in shell.named_parameters() if p.dim() == 3 and "expert" in name.lower()]
    if stacked:
        size = sum(p.numel() * p.element_size() for p in stacked)
        notes.append(
            f"The experts of this mixture model are {len(stacked)} stacked parameters, not Linear layers: bitsandbytes "
            f"leaves these {size / 1e9:.2f} GB in {8 * stacked[0].element_size()} bits, whatever the scheme."
        )
    if not parts["codes"]:
        notes.append(
            f"No layer is quantized: transformers replaces exactly nn.Linear and Conv1D, and the {parts['linear']:,} "
            "bytes of this model's linear layers belong to a class of their own."
        )
    return notes


def _optimizer(shell: nn.Module, kind: str) -> dict[str, int]:
    """Bytes of the optimizer's states: two for each trained number, in float32 or in 8 bits with a float32 absmax.

    Source: bitsandbytes/optim/optimizer.py and torch.optim.AdamW. Paged states lie in CUDA managed memory, which the
    driver may move to the host; they are not PyTorch's.
    """
    kind = "paged_adamw_8bit" if kind == "auto" else kind
    parts = {"optimizer": 0, "optimizer_paged": 0}
    for parameter in shell.parameters():
        if not parameter.requires_grad or kind == "sgd":
            continue
        n = parameter.numel()
        eight = kind.endswith("8bit") and n >= SMALL_STATE
        paged = kind.startswith("paged") and n >= PAGED_FROM
        parts["optimizer_paged" if paged else "optimizer"] += 2 * n * (1 if eight else 4)
        parts["optimizer"] += 2 * 4 * ceil(n / OPTIMIZER_BLOCK) if eight else 0
    return parts


def _sharded(parts: dict[str, int], config, shards: int, on_host: bool) -> dict[str, int]:
    """Bytes by part on each of `shards` GPUs under FSDP with full sharding.

    Parameters, gradients and optimizer states are divided; quantization constants are no parameters, so each GPU has
    all of them. Whole at the peak are the output head, which the loss reads, and two layers: one computes, one is on
    its way. In the forward pass it is three, since what a layer came in is kept until the next one is there (`at_peak`
    has put it to the peak, if it is there). Embeddings are given back before, unless they are the head. Shards that
    wait on the host take nothing here. Source: torch/distributed/fsdp/_fully_shard/_fsdp_param_group.py.
    """
    divided = {part: _own(part, size, shards, on_host) for part, size in parts.items()}
    outside = parts.get("head") or parts.get("embeddings", 0)
    return divided | {"unsharded": outside + 2 * _layer_bytes(parts, config) + parts.get("unsharded", 0)}


def _layer_bytes(parts: dict[str, int], config) -> int:
    """Bytes of one decoder layer's parameters: what travels when shards are gathered."""
    layers = sum(parts.get(part, 0) for part in ("codes", "linear", "biases", "norms", "adapters"))
    return ceil(layers / config.get_text_config(decoder=True).num_hidden_layers)


def _own(part: str, size: int, shards: int, on_host: bool) -> int:
    """What one GPU of `shards` holds of a part of so many bytes."""
    if part not in SHARDED:
        return size
    return 0 if on_host else ceil(size / shards)


def _prepared(shell: nn.Module, asked: dict) -> nn.Module:
    """The model as it is trained: upcast, with adapters and checkpointing; still on the meta device."""
    recipe, quantized = asked["recipe"], asked["scheme"] not in schemes.PLAIN
    shell.is_loaded_in_4bit = shell.is_loaded_in_8bit = quantized  # peft looks here which LoRA layers to take
    with quiet.libraries():
        return prepare(shell, recipe, asked["adapters"], on_meta=True).train()


def _question(config, dtype: torch.dtype, asked: dict) -> str:
    """All that the rehearsal of a step depends on, but its batch and length, as one text."""
    rest = {"steps": 1, "batch": 1, "length": 8, "learning_rate": 1.0, "alpha": 1, "seed": 0}  # says nothing of memory
    settings = {key: value for key, value in asked.items() if key not in ("model", "context", "batch", "cuda")}
    settings["recipe"] = replace(asked["recipe"], **rest)
    attention = getattr(config, "_attn_implementation", None)  # not among what a configuration writes down
    return f"{config.to_json_string()} {attention} {dtype} {sorted(settings.items())!r}"


def _step(config, dtype: torch.dtype, asked: dict) -> str:
    """`_question` for the timeline of a step, which neither the optimizer nor other GPUs change."""
    alone = {"recipe": replace(asked["recipe"], optimizer="auto"), "shards": 1, "on_host": False}
    return _question(config, dtype, asked | alone)


def _rehearsed(config, dtype: torch.dtype, asked: dict) -> activations.Timeline:
    """The timeline of one prefill or training step; the last few are remembered."""
    key = _step(config, dtype, asked), asked["batch"], asked["context"]
    if key not in TIMELINES:
        if len(TIMELINES) >= REMEMBERED:
            TIMELINES.pop(next(iter(TIMELINES)))
        TIMELINES[key] = _rehearse(config, dtype, asked)
    return TIMELINES[key]


def _peak(config, dtype: torch.dtype, asked: dict, layer: int, step: str = "") -> dict[str, int]:
    """Bytes by part at the peak of a step; in shards with a `layer` of so many bytes more in the forward pass.

    `step` is `_step` of what is asked, for a caller that has it.
    """
    key = step or _step(config, dtype, asked), asked["batch"], asked["context"], asked["shards"], asked["on_host"]
    if key not in PEAKS:
        several = {"gradients": 0 if asked["on_host"] else 1 / asked["shards"], "forward": layer}
        PEAKS[key] = _rehearsed(config, dtype, asked).at_peak(**several if asked["shards"] > 1 else {})
    return PEAKS[key]


REMEMBERED = 16  # timelines; one of a large model takes about a megabyte
AT_REST: dict[str, tuple[dict[str, int], list[str], int]] = {}
TIMELINES: dict[tuple[str, int, int], activations.Timeline] = {}
PEAKS: dict[tuple, dict[str, int]] = {}  # of all that were ever made: bytes by part


def _rehearse(config, dtype: torch.dtype, asked: dict) -> activations.Timeline:
    """Rehearse a step with few layers and unroll it to all of them."""
    short, train, scheme = activations.shortened(config), asked["stage"] == "train", asked["scheme"]
    shell, _ = skeleton(short, dtype, schemes.bnb_config(scheme, dtype, "cpu"))
    quantize_on_meta(shell, scheme)
    if train:
        shell = _prepared(shell, asked)
    lower = torch.float16 if dtype == torch.float16 else torch.bfloat16
    autocast = lower if train and asked["compute_dtype"] != "float32" else None
    layers = config.get_text_config(decoder=True).num_hidden_layers
    batch, length = asked["batch"], asked["context"]
    how = {"layers": layers, "train": train, "autocast": autocast, "offload": train and asked["recipe"].offload}
    return activations.rehearse(shell.train(train), batch, length, **how)


def _totals(budget: MemoryBudget):
    """A function (batch, length) → total bytes, for the model and stage of a budget; rehearsals are remembered."""
    asked = budget.asked
    config, dtype = asked["model"], schemes.rest_dtype(asked["scheme"], asked["compute_dtype"], "cpu")
    grows = {"gradients", "kv_cache", "activations", "logits", "dequantized"}
    fixed = sum(size for part, size in budget.parts.items() if part not in grows)
    if asked["stage"] == "load":
        return lambda batch, length: fixed + batch * kv_bytes(config, length, dtype)
    step, layer = _step(config, dtype, asked), _layer_bytes(_at_rest(config, dtype, asked)[0], config)
    fixed -= _peak(config, dtype, asked, layer, step).get("unsharded", 0)

    def total(batch: int, length: int) -> int:
        peak = _peak(config, dtype, {**asked, "batch": batch, "context": length}, layer, step)
        return fixed + sum(_own(part, size, asked["shards"], asked["on_host"]) for part, size in peak.items())

    return total


def _largest(total, limit_bytes: float, first: int, limit: int) -> int:
    """The largest number up to `limit` whose `total` is within `limit_bytes`; 0 if that of `first` is not.

    Tries numbers four times as large each and draws a line between the last two. A peak is the largest of several
    straight lines, so it lies on or below that line, and the answer is on the safe side.
    """
    if total(first) > limit_bytes:
        return 0
    low = first
    while (high := min(4 * low, limit)) > low and total(high) <= limit_bytes:
        low = high
    if high == low:
        return low
    return low + int((high - low) * (limit_bytes - total(low)) / (total(high) - total(low)))


def largest_layer(model, scheme: str = "nf4-dq", compute_dtype="auto") -> int:
    """Bytes of the largest quantized weight in 16 bits, which lies beside its codes for a moment while loading."""
    shell, _ = skeleton(config_of(model), schemes.rest_dtype(scheme, compute_dtype, "cpu"), schemes.bnb_config(scheme))
    weights = [m.weight for m in shell.modules() if isinstance(m, quantized_types())]
    return max((weight.numel() * 2 for weight in weights), default=0)


def kv_bytes(config, tokens: int, dtype: torch.dtype) -> int:
    """Bytes of one sequence's keys and values; a layer with a sliding window keeps at most the window."""
    numbers = _cached_numbers(json.dumps(config_of(config).to_dict(), default=str, sort_keys=True), config)
    return dtype.itemsize * sum(size * min(tokens, window or tokens) for size, window in numbers)


_CACHES: dict[str, list[tuple[int, int | None]]] = {}  # by configuration


def _cached_numbers(key: str, config) -> list[tuple[int, int | None]]:
    """(numbers that a token adds to the cache, window or None) of each layer, from the cache that the model makes.

    One token is read on the meta device: whether heads share keys and values, and whether what is kept are keys and
    values at all, differs between families, and so do the names in their configurations.
    """
    if key not in _CACHES:
        model, _ = skeleton(config_of(config), torch.bfloat16)
        with torch.no_grad(), quiet.libraries():
            ids = torch.zeros(1, 1, dtype=torch.long, device="meta")
            cache = getattr(model.eval()(input_ids=ids, use_cache=True), "past_key_values", None)
        if not all(hasattr(layer, "keys") for layer in getattr(cache, "layers", [None])):
            raise CourseError(
                f"A {type(model).__name__} keeps no keys and values for each token, so that its cache cannot be "
                "forecast: ask for its weights alone, without a context."
            )
        windows = (getattr(layer, "sliding_window", None) for layer in cache.layers)
        sizes = (layer.keys.numel() + layer.values.numel() for layer in cache.layers)
        _CACHES[key] = list(zip(sizes, windows, strict=True))
    return _CACHES[key]


def kv_bytes_per_token(model, scheme: str = "nf4-dq", compute_dtype="auto") -> int:
    """Bytes that every further token of one sequence adds to the KV cache, before any sliding window is full.

    In Mistral and most others 2 (keys and values) × layers × key/value heads × head size × bytes of the dtype. Weights
    in 4 bits do not change it: the cache is kept in the compute dtype.
    """
    return kv_bytes(config_of(model), 1, schemes.rest_dtype(scheme, compute_dtype, "cpu"))


def card_bytes(gib: float) -> float:
    """Bytes of a card that is sold with so many GB: they are GiB (2³⁰ bytes), 7.4% more than 10⁹ bytes each."""
    return gib * 2**30


def fitting(budget: MemoryBudget, sizes: Sequence[float] = GPU_SIZES) -> list[dict]:
    """Does it fit? One dict a card's size, in the GB that it is sold with (`card_bytes`).

    It says whether, and the largest batch and length that would: `largest_batch` is at the length that was forecast,
    `longest` at batch 1 (tokens); 0 if not even one fits, None without a length. A length ends at what the model was
    made for, a batch at 1,024.
    """
    rows = [
        {"gpu_gb": gb, "fits": budget.total_bytes <= card_bytes(gb), "largest_batch": None, "longest": None}
        for gb in sizes
    ]
    if not (length := budget.asked.get("context")):
        return rows
    total = _totals(budget)
    limit = getattr(budget.asked["model"].get_text_config(decoder=True), "max_position_embeddings", None) or 2**17
    for row in rows:
        room = card_bytes(row["gpu_gb"])
        row["largest_batch"] = _largest(lambda n: total(n, length), room, 1, 1024)
        row["longest"] = _largest(lambda n: total(1, n), room, min(64, limit), limit)
    return rows
