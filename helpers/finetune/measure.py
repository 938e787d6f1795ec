"""What a step takes and keeps, and a hash that proves that the base did not change."""

import gc
import hashlib
import statistics
import tempfile
import time
from collections.abc import Sequence

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import TrainerCallback

from .. import models
from ..adapters import add_adapters
from ..memory.count import quantization_tensors
from ..recipe import Recipe
from ..skeleton import quantized_types
from .data import Question, encode, make_chat_ready
from .training import losses, trainer

__all__ = ["base_hash", "cost", "operations", "optimizer_bytes", "saved_activations", "traffic"]


class _Clock(TrainerCallback):
    """Seconds of each step, the GPU idle at both ends."""

    def __init__(self):
        self.marks = []

    def on_step_begin(self, args, state, control, **given):
        _wait()
        self.begun = time.perf_counter()

    def on_step_end(self, args, state, control, **given):
        _wait()
        self.marks.append(time.perf_counter() - self.begun)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def cost(choice, recipe: Recipe, pairs: Sequence[Question]) -> dict:
    """What a few steps of a recipe take on a freshly loaded model, and the losses they give.

    Returns `seconds` (median of a step, the first left out) and their `span` (least, most), `turns` and `tokens` a step
    (padding counted), `kept` bytes for the backward pass, `peak` bytes of the allocator (None on a CPU; what was there
    before is not counted), and `losses`.
    """
    cuda = torch.cuda.is_available()
    gc.collect()  # a `Trainer` and its model refer to each other, and so stay until somebody looks
    before = torch.cuda.memory_allocated() if cuda else 0
    model, tokenizer = models.load(choice, "nf4-dq", recipe.compute_dtype)
    make_chat_ready(tokenizer)
    model = add_adapters(model, recipe)
    data = [encode(tokenizer, pair, recipe.length) for pair in pairs]
    with tempfile.TemporaryDirectory() as folder:
        run = trainer(model, tokenizer, data, recipe, folder, [clock := _Clock()])
        batch = run._prepare_inputs(next(iter(run.get_train_dataloader())))
        kept = None if cuda else saved_activations(model.train(), batch)
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        run.train()
    turns = len(data) / len(run.train_dataset) * recipe.batch
    counted = clock.marks[1:] or clock.marks
    costs = {"seconds": statistics.median(counted), "span": [min(counted), max(counted)], "turns": turns, "kept": kept}
    costs["tokens"] = batch["input_ids"].numel()
    costs["peak"] = torch.cuda.max_memory_allocated() - before if cuda else None
    return costs | {"losses": losses(run)}


def base_hash(model: nn.Module) -> str:
    """SHA-256 of every byte of the base: names, weights, codes and quantization constants, without adapters."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        if "lora_" in name:
            continue
        name = name.removeprefix("base_model.model.").replace(".base_layer", "")  # as it was before peft wrapped it
        tensors = [(n, p) for n, p in module.named_parameters(recurse=False)]
        if isinstance(module, quantized_types()):
            tensors += list(quantization_tensors(module))
        for part, tensor in tensors:
            digest.update(f"{name}.{part}".encode())
            digest.update(tensor.detach().reshape(-1).view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()


def saved_activations(model: nn.Module, rows: dict[str, torch.Tensor]) -> int:
    """Bytes that a forward pass keeps for the backward pass, each storage once, weights not counted.

    `rows` are the model's arguments with labels. With gradient checkpointing it is what stays between the two passes;
    one layer's activations, made again during the backward pass, come on top.
    """
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # the tensor itself knows its graph, and so the graph would keep itself alive

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model(**rows).loss
    del loss
    gc.collect()  # what Python's own cycles still hold
    return sum(kept.values())


def optimizer_bytes(optimizer) -> int:
    """Bytes of an optimizer's state: for AdamW in float32 two numbers of 4 bytes for each trained parameter."""
    inner = getattr(optimizer, "optimizer", optimizer)
    tensors = [t for state in inner.state.values() for t in state.values() if isinstance(t, torch.Tensor)]
    return sum(t.numel() * t.element_size() for t in tensors if t.dim())


class _Operations(TorchDispatchMode):
    """Notes every operation that computes something: name, how many numbers its first result has, bytes in and out."""

    def __init__(self):
        super().__init__()
        self.found: list[tuple[str, int, int, int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        given = {x.untyped_storage().data_ptr() for x in tensors}
        result = func(*args, **(kwargs or {}))
        first, name = tree_leaves(result)[0], func.name().split("::")[1].split(".")[0]
        if isinstance(first, torch.Tensor):
            same = first.untyped_storage().data_ptr() in given  # in place, if its name says so, or only a view
            if name.endswith("_") or not same:
                self.found.append((name, first.numel(), sum(map(_carried, tensors)), _carried(first)))
        return result


def operations(function) -> list[tuple[str, int]]:
    """The operations that PyTorch starts for `function()`: name, and numbers of the result. Views start none."""
    return [(name, numbers) for name, numbers, _, _ in traffic(function)]


def traffic(function) -> list[tuple[str, int, int, int]]:
    """`operations`, and of each also the bytes of the tensors that it reads and of the result that it writes."""
    with _Operations() as noted:
        function()
    return noted.found


def _carried(tensor: torch.Tensor) -> int:
    """Bytes of a tensor; one that repeats its numbers has no more than its storage."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())
