"""Memory by the byte: measured on a model, or predicted from its configuration alone. GB = 10^9 bytes."""

import copy
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import ceil

import torch
from torch import nn

from . import levers, quiet, rehearsal, schemes
from .errors import CourseError
from .schemes import SCHEMES

__all__ = ["GPU_SIZES", "OPTIMIZERS", "PARTS", "SCHEMES", "STAGES", "MemoryBudget", "Measurement"]
__all__ += ["kv_bytes_per_token", "largest_layer", "measure", "predict", "watch"]

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
    "optimizer": "optimizer states",
    "optimizer_paged": "optimizer states, paged (may leave the GPU)",
    "activations": "activations",
    "logits": "logits and their gradient",
    "dequantized": "dequantized weights, for a moment",
    "unsharded": "layers gathered from other GPUs, for a moment",
    "workspace": "workspace of the matrix library",
    "context": "CUDA context (not PyTorch's)",
}
STAGES = ("load", "prefill", "train")
GPU_SIZES = (6, 8, 12, 15, 16, 24, 40, 80)  # GB
CUDA_CONTEXT = (
    500_000_000  # kernels and driver; 0.3 to 0.6 GB by GPU and version, measured by benchmarks/forecast_check.py
)
WORKSPACE = 33_562_624  # what PyTorch gives cuBLAS on a Hopper GPU at the first product; 8.5 MB on older ones
WEIGHT_PARTS = tuple(PARTS)[: tuple(PARTS).index("buffers")]
BLOCK = 64  # weights that share an absmax, bitsandbytes' default
SECOND_BLOCK = 256  # absmax values that share a second-level absmax
TABLE_BYTES = 16 * 4  # the 16 values of NF4 or FP4 in float32; every layer holds its own copy
MAP_BYTES = 256 * 4  # the 256 values of the second level in float32; every layer holds its own copy, too
OFFSET_BYTES = 4  # the mean that is taken from absmax before it is quantized
GROUPS = {
    "codes": ("codes",),
    "quantization constants": ("absmax", "second_level", "tables"),
    "linear layers, not quantized": ("linear", "biases", "other"),
    "embeddings, head, norms": ("embeddings", "head", "norms", "buffers"),
    "adapters, gradients, optimizer": ("adapters", "gradients", "optimizer", "optimizer_paged"),
    "KV cache": ("kv_cache",),
    "activations": ("activations", "dequantized", "unsharded"),
    "logits": ("logits",),
    "context and workspace": ("workspace", "context"),
}
SHARDED = {"codes", "linear", "biases", "embeddings", "head", "norms", "other"}  # by FSDP: what is a parameter,
SHARDED |= {"adapters", "gradients", "optimizer", "optimizer_paged"}  # and what goes with it
OPTIMIZERS = ("adamw", "adamw_8bit", "paged_adamw", "paged_adamw_8bit", "sgd")
OPTIMIZER_BLOCK = 256  # values of an 8-bit state that share a float32 absmax
SMALL_STATE = 4096  # bitsandbytes keeps the states of smaller tensors in float32 (`min_8bit_size`)
PAGED_FROM = 100_000  # and does not page states of fewer numbers (`get_state_buffer` in optim/optimizer.py)


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes by part (the keys of `PARTS`); shows itself as a table, or drawn by `figure`.

    `total_bytes` is everything. `weight_bytes` is the stored weights with all their quantization constants: the total
    without buffers (a few hundred bytes), adapters, gradients and KV cache. `allocator_bytes` is what PyTorch's
    allocator is asked for: the total without the CUDA context and without paged optimizer states. `timeline` is the
    rehearsal of the step, if there was one.
    """

    parts: dict[str, int]
    title: str = ""
    scheme: str = ""
    notes: list[str] = field(default_factory=list)
    timeline: rehearsal.Timeline | None = field(default=None, repr=False)
    asked: dict = field(default_factory=dict, repr=False, compare=False)  # what `predict` was asked, for `fitting`

    @property
    def total_bytes(self) -> int:
        return sum(self.parts.values())

    @property
    def weight_bytes(self) -> int:
        return sum(size for part, size in self.parts.items() if part in WEIGHT_PARTS)

    @property
    def allocator_bytes(self) -> int:
        return self.total_bytes - self.parts.get("context", 0) - self.parts.get("optimizer_paged", 0)

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

    def figure(self, others: "Sequence[MemoryBudget]" = ()):
        """A stacked bar of this budget, and one for each of `others` below it; for `plots.show`."""
        from . import plots  # matplotlib only for who draws

        budgets = [self, *others]
        unit, name = (1e9, "GB") if max(b.total_bytes for b in budgets) >= 1e9 else (1e6, "MB")
        groups = {}
        for group, parts in GROUPS.items():
            sizes = [sum(budget.parts.get(part, 0) for part in parts) / unit for budget in budgets]
            if max(sizes) > 0:
                groups[group] = sizes
        top = max(groups, key=lambda group: groups[group][0])
        share = groups[top][0] * unit / self.total_bytes
        title = f"{self.total_bytes / unit:.2f} {name}, {share:.0%} of it {top}"
        return plots.stacked_bars([b.title for b in budgets], groups, title=title, xlabel=name, text="{:.2f}")

    def fitting(self, sizes: Sequence[float] = GPU_SIZES) -> list[dict]:
        """Does it fit? One dict a GPU size in GB: whether, and the largest batch and length that would.

        `largest_batch` is at the length that was forecast, `longest` at batch 1 (tokens); 0 if not even one fits, None
        without a length. A length ends at what the model was made for, a batch at 1,024.
        """
        rows = [{"gpu_gb": gb, "fits": self.fits(gb), "largest_batch": None, "longest": None} for gb in sizes]
        if not (length := self.asked.get("context")):
            return rows
        total = _totals(self)
        limit = getattr(self.asked["model"].get_text_config(decoder=True), "max_position_embeddings", None) or 2**17
        for row in rows:
            room = 1e9 * row["gpu_gb"]
            row["largest_batch"] = _largest(lambda n: total(n, length), room, 1, 1024)
            row["longest"] = _largest(lambda n: total(1, n), room, min(64, limit), limit)
        return rows

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


class watch:
    """Bytes that a block adds on a device: `with memory.watch() as seen: …`, then `seen.peak` and `seen.now`.

    "auto" is the GPU if there is one, else the CPU. On a GPU both are what PyTorch's allocator was asked for. On the
    CPU, whose allocator keeps no account, they are the tensors that operations made, noted as they come and go; what
    a kernel takes for itself is not seen. `curve` has the bytes of those tensors after each event, on both. Tensors
    that were there before count as nothing.
    """

    def __init__(self, device="auto"):
        self.device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        self._ledger = rehearsal.Ledger(device=self.device.type)

    def __enter__(self) -> "watch":
        if self.device.type == "cuda":
            gc.collect()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._start = self._asked("current")
        self._ledger.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._ledger.__exit__(*error)
        sums = torch.tensor([0, *self._ledger.deltas]).cumsum(0)
        self.curve, self.peak, self.now = sums.tolist(), int(sums.max()), int(sums[-1])
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            self.peak, self.now = (self._asked(name) - self._start for name in ("peak", "current"))

    def _asked(self, name: str) -> int:
        return torch.cuda.memory_stats(self.device)[f"requested_bytes.all.{name}"]


def _config_of(model) -> object:
    """A copy of the configuration of a model, or of a configuration, without a quantization of its own."""
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
        with quiet.libraries():  # `predict` has a note of its own where no layer is replaced
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


def predict(
    model,
    scheme: str = "nf4-dq",
    *,
    context: int = 0,
    batch: int = 1,
    compute_dtype="auto",
    stage: str = "load",
    rank: int | None = 16,
    target_modules="all-linear",
    adapter_dtype: str = "float32",
    dropout: float = 0.0,
    checkpointing: bool = True,
    upcast: bool | None = None,
    optimizer: str = "paged_adamw_8bit",
    fused: bool = False,
    chunked: bool = False,
    offload: bool = False,
    shards: int = 1,
    cuda: bool = True,
) -> MemoryBudget:
    """Forecast the bytes a model needs in a scheme, from its configuration alone: nothing is loaded or downloaded.

    `model` is a transformers configuration, a model, or an id as `models.resolve` takes it (of a hub id config.json
    is fetched). Weights are exact, part by part, code tables and offsets included. `context` tokens by `batch`
    sequences are the work; `stage` says which:

    - "load": the model, and the KV cache of the context if there is one;
    - "prefill": the peak of reading `context` tokens into the cache;
    - "train": the peak of a training step on `batch` × `context` tokens, as Trainer does it in mixed precision, with
      LoRA of `rank` on `target_modules` (as peft takes them; None trains all weights of an unquantized scheme), its
      `dropout`,
      gradient `checkpointing` or not, and an `optimizer` of `OPTIMIZERS`. `upcast` is peft's
      `prepare_model_for_kbit_training`, which puts all that is not quantized into float32 (None: for quantized ones);
      `fused`, `chunked` and `offload` are the levers of `helpers.levers`. With `shards` of more than 1 it is what each
      of so many GPUs holds under FSDP, whose loading peak is that of one GPU: every process loads the whole model.

    Activations come from a rehearsal on the meta device; see `helpers.rehearsal` for what is kept and why. The two
    later stages add the matrix library's workspace and, as a line of its own that no allocator counts, the CUDA
    context; `cuda=False` leaves both out.
    `compute_dtype` ("auto" is 16 bits) is that of all that int8 and 4 bits leave unquantized.
    Raises CourseError for an unknown scheme, stage or optimizer, a negative length, or a model without a decoder.
    """
    _check(scheme, context, batch, stage, rank, optimizer)
    if shards < 1 or shards > 1 and stage != "train":
        raise CourseError(f'shards={shards} for "{stage}": a model is sharded over 1 GPU or more, and in training.')
    config = _config_of(model)
    dtype = _dtype(scheme, compute_dtype)
    shell, _ = skeleton(config, dtype, _bnb_config(scheme))
    parts = _weight_parts(shell, scheme)
    notes = _notes(shell, parts, scheme)
    asked = {"model": config, "scheme": scheme, "context": context, "batch": batch, "compute_dtype": compute_dtype}
    asked |= {"stage": stage, "rank": rank, "target_modules": target_modules, "adapter_dtype": adapter_dtype}
    asked |= {
        "dropout": dropout,
        "checkpointing": checkpointing,
        "upcast": upcast,
        "optimizer": optimizer,
        "fused": fused,
        "chunked": chunked,
        "offload": offload,
        "shards": shards,
        "cuda": cuda,
    }
    timeline = None
    if stage == "load":
        parts["kv_cache"] = batch * _kv_bytes(config, context, dtype) if context else 0
    else:
        train = stage == "train"
        if train:
            shell = _prepared(shell, asked)
            parts |= _weight_parts(shell, scheme) | _optimizer(shell, optimizer)
        timeline = _rehearsed(config, dtype, asked)
        peak = timeline.at_peak()
        if train:  # the step itself comes after the backward pass, when activations are gone
            trained = [p for p in shell.parameters() if p.requires_grad]
            after = sum(p.numel() * p.element_size() for p in trained)
            peak = peak if sum(peak.values()) >= after else {"gradients": after}
        parts |= peak
        if shards > 1:
            parts = _sharded(parts, shell, shards)
        if cuda:
            # the thread that runs the backward pass has a cuBLAS handle, and so a workspace, of its own
            parts |= {"workspace": WORKSPACE * (1 + train), "context": CUDA_CONTEXT}
    title = f"predicted, {scheme}" if stage == "load" else f"{scheme}, {stage}, {batch} × {context:,}"
    found = {part: parts[part] for part in PARTS if parts.get(part)}
    return MemoryBudget(found, title=title, scheme=scheme, notes=notes, timeline=timeline, asked=asked)


def _check(scheme: str, context: int, batch: int, stage: str, rank: int | None, optimizer: str) -> None:
    if scheme not in SCHEMES:
        raise CourseError(f"Unknown scheme {scheme!r}: choose one of {', '.join(SCHEMES)}.")
    if context < 0 or batch < 1:
        raise CourseError(
            f"context={context}, batch={batch}: context counts tokens from 0 up, batch sequences from 1 up."
        )
    if stage not in STAGES:
        raise CourseError(f"Unknown stage {stage!r}: choose one of {', '.join(STAGES)}.")
    if stage != "load" and context < 2:
        raise CourseError(f'context={context}: the stage "{stage}" needs a length of at least 2 tokens.')
    if optimizer not in OPTIMIZERS:
        raise CourseError(f"Unknown optimizer {optimizer!r}: choose one of {', '.join(OPTIMIZERS)}.")
    if stage == "train" and rank is None and scheme not in ("fp32", "fp16", "bf16"):
        raise CourseError(f"rank=None trains all weights, and {scheme} codes cannot be trained: give a LoRA rank.")
    if rank is not None and rank < 1:
        raise CourseError(f"rank={rank}: the rank of LoRA counts from 1 up; None trains all weights.")


def _weight_parts(shell: nn.Module, scheme: str) -> dict[str, int]:
    """Bytes by part of a model on the meta device, each tensor once."""
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
    return parts


def _notes(shell: nn.Module, parts: dict[str, int], scheme: str) -> list[str]:
    """What a reader of the budget should know: layers that a quantized scheme leaves as they are."""
    if _bnb_config(scheme) is None:
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


def _sharded(parts: dict[str, int], shell: nn.Module, shards: int) -> dict[str, int]:
    """Bytes by part on each of `shards` GPUs under FSDP with full sharding.

    Parameters, gradients and optimizer states are divided; quantization constants are no parameters, so each GPU has
    all of them. Whole at one time are what lies outside the layers, and two layers: one computes, one is on its way.
    """
    found = {part: ceil(size / shards) if part in SHARDED else size for part, size in parts.items()}
    number = shell.config.get_text_config(decoder=True).num_hidden_layers
    outside = sum(parts.get(part, 0) for part in ("embeddings", "head"))
    layers = sum(parts.get(part, 0) for part in ("codes", "linear", "biases", "norms", "adapters"))
    return found | {"unsharded": outside + 2 * ceil(layers / number)}


def _prepared(shell: nn.Module, asked: dict) -> nn.Module:
    """The model as it is trained: upcast, with adapters and checkpointing; still on the meta device."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    quantized = _bnb_config(asked["scheme"]) is not None
    with quiet.libraries():
        if quantized if asked["upcast"] is None else asked["upcast"]:
            prepare_model_for_kbit_training(shell, False)
        if asked["checkpointing"]:
            shell.gradient_checkpointing_enable({"use_reentrant": False})
        if asked["rank"] is None:
            return shell.train()
        shell.is_loaded_in_4bit = shell.is_loaded_in_8bit = quantized  # peft looks here which LoRA layers to take
        kind = {"r": asked["rank"], "target_modules": asked["target_modules"], "lora_dropout": asked["dropout"]}
        try:
            shell = get_peft_model(shell, LoraConfig(**kind, task_type="CAUSAL_LM"), low_cpu_mem_usage=True)
        except ValueError as error:
            raise CourseError(f"LoRA finds no layer for target_modules={asked['target_modules']!r}.") from error
    for name, parameter in shell.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(_dtype("int8", asked["adapter_dtype"]))
    if asked["fused"]:
        levers.fuse_adapters(shell)
    if asked["chunked"]:
        levers.chunk_loss(shell)
    return shell.train()


def _question(config, dtype: torch.dtype, asked: dict) -> str:
    """All that the rehearsal of a step depends on, but its batch and length, as one text."""
    settings = sorted((key, value) for key, value in asked.items() if key not in ("model", "context", "batch"))
    attention = getattr(config, "_attn_implementation", None)  # not among what a configuration writes down
    return f"{config.to_json_string()} {attention} {dtype} {settings!r}"


def _rehearsed(config, dtype: torch.dtype, asked: dict) -> rehearsal.Timeline:
    """The timeline of one prefill or training step; the last few are remembered."""
    key = _question(config, dtype, asked), asked["batch"], asked["context"]
    if key not in _TIMELINES:
        if len(_TIMELINES) >= REMEMBERED:
            _TIMELINES.pop(next(iter(_TIMELINES)))
        _TIMELINES[key] = _rehearse(config, dtype, asked)
        _PEAKS[key] = _TIMELINES[key].peak
    return _TIMELINES[key]


REMEMBERED = 16  # timelines; one of a large model takes about a megabyte
_TIMELINES: dict[tuple[str, int, int], rehearsal.Timeline] = {}
_PEAKS: dict[tuple[str, int, int], int] = {}  # of all that were ever made: a number each


def _rehearse(config, dtype: torch.dtype, asked: dict) -> rehearsal.Timeline:
    """Rehearse a step with few layers and unroll it to all of them."""
    short, train, scheme = rehearsal.shortened(config), asked["stage"] == "train", asked["scheme"]
    shell, _ = skeleton(short, dtype, schemes.bnb_config(scheme, dtype, "cpu"))
    rehearsal.quantize_on_meta(shell, scheme)
    if train:
        shell = _prepared(shell, asked)
    lower = torch.float16 if dtype == torch.float16 else torch.bfloat16
    autocast = lower if train and asked["compute_dtype"] != "float32" else None
    layers = config.get_text_config(decoder=True).num_hidden_layers
    batch, length = asked["batch"], asked["context"]
    how = {"layers": layers, "train": train, "autocast": autocast, "offload": asked["offload"]}
    return rehearsal.rehearse(shell.train(train), batch, length, **how)


def _totals(budget: MemoryBudget):
    """A function (batch, length) → total bytes, for the model and stage of a budget; rehearsals are remembered."""
    asked = budget.asked
    config, dtype = asked["model"], _dtype(asked["scheme"], asked["compute_dtype"])
    grows = {"gradients", "kv_cache", "activations", "logits", "dequantized"}
    fixed = sum(size for part, size in budget.parts.items() if part not in grows)
    question = None if asked["stage"] == "load" else _question(config, dtype, asked)

    def total(batch: int, length: int) -> int:
        if question is None:
            return fixed + batch * _kv_bytes(config, length, dtype)
        if (question, batch, length) not in _PEAKS:
            _rehearsed(config, dtype, {**asked, "batch": batch, "context": length})
        return fixed + _PEAKS[question, batch, length]

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
    shell, _ = skeleton(_config_of(model), _dtype(scheme, compute_dtype), _bnb_config(scheme))
    found = [m.weight for m in shell.modules() if isinstance(m, _quantized_types())]
    return max((weight.numel() * 2 for weight in found), default=0)


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
