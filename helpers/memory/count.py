"""Count every byte of a loaded model, quantization constants included, and watch bytes come and go."""

import gc
from collections.abc import Iterator

import torch
from torch import nn

from ..skeleton import quantized_types
from . import activations
from .budget import PARTS, Measurement

__all__ = ["measure", "part_of", "quantization_tensors", "watch"]


def _tensors_of_state(state: object) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in vars(state).items():
        if isinstance(value, torch.Tensor):
            yield name, value


def quantization_tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
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


def part_of(module: nn.Module, path: str, name: str, head: nn.Module | None, quantized: tuple[type, ...]) -> str:
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


def measure(model: nn.Module, gradients: bool = True) -> Measurement:
    """Count every byte that a model's tensors hold, quantization constants included.

    Parts: see `PARTS`. A tensor reached in several ways (tied weights, `CB`, a table that layers share) counts once,
    on whatever device it lies. Adapters are a part of their own; gradients are counted where there are some, unless
    `gradients` is False. Activations, caches and the allocator's rounding are no tensors of a model.
    """
    quantized = quantized_types()
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
            count(part_of(module, path, name, head, quantized), parameter.data)
            if gradients and parameter.grad is not None:
                count("gradients", parameter.grad)
        if isinstance(module, quantized):
            for part, tensor in quantization_tensors(module):
                count(part, tensor)
        for _, buffer in module.named_buffers(recurse=False):
            count("buffers", buffer)
    return Measurement({part: size for part, size in parts.items() if size}, title="measured")


class watch:
    """Bytes that a block adds on a device: `with memory.watch() as seen: …`, then `seen.peak` and `seen.now`.

    "auto" is the GPU if there is one, else the CPU. On a GPU both are what PyTorch's allocator was asked for. On the
    CPU, whose allocator keeps no account, they are the tensors that operations made, noted as they come and go; what
    a kernel takes for itself is not seen. `curve` has the bytes of those tensors after each event, on both. Tensors
    that were there before count as nothing. Of a `model`, `ends` are the places in `curve` where its blocks have ended.
    """

    def __init__(self, device="auto", model: nn.Module | None = None):
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self._ledger, self._blocks, self._hooks = activations.Ledger(device=self.device.type), [], []
        self.ends = []
        if model is not None:
            number = model.config.get_text_config(decoder=True).num_hidden_layers
            stacks = (m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == number)
            self._blocks = next(stacks, [])

    def __enter__(self) -> "watch":
        self._hooks = [block.register_forward_hook(self._ended) for block in self._blocks]
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._start = self._asked("current")
        self._ledger.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._ledger.__exit__(*error)
        for hook in self._hooks:
            hook.remove()
        sums = torch.tensor([0, *self._ledger.deltas]).cumsum(0)
        self.curve, self.peak, self.now = sums.tolist(), int(sums.max()), int(sums[-1])
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            self.peak, self.now = (self._asked(name) - self._start for name in ("peak", "current"))

    def held_by(self, cache) -> list[int]:
        """The part of `curve` that a KV cache holds, as long as it is as the watched block left it."""
        tensors = [t for layer in getattr(cache, "layers", []) for t in (layer.keys, layer.values) if t is not None]
        owners = {self._ledger.open.get(tensor.untyped_storage()._cdata) for tensor in tensors}
        events = zip(self._ledger.deltas, self._ledger.owners, strict=True)
        kept = [size if owner in owners else 0 for size, owner in events]
        return torch.tensor([0, *kept]).cumsum(0).tolist()[: len(self.curve)]

    def _ended(self, *_) -> None:
        self.ends.append(len(self._ledger.deltas))

    def _asked(self, name: str) -> int:
        return torch.cuda.memory_stats(self.device)[f"requested_bytes.all.{name}"]
