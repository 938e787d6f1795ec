"""Rehearse a forward pass or a training step without memory: the real code on the meta device, every tensor noted.

The model of activations is PyTorch itself: transformers, peft and bitsandbytes run their own forward and backward
pass on tensors that have a shape and a type but no storage. A ledger notes the bytes of each tensor when it appears
and when Python or autograd lets go of it; what a GPU would hold at any moment is the running sum. For a decoder layer
in bfloat16, with h the hidden size, f that of the feed-forward part and n tokens, it finds what autograd must keep:

- RMSNorm computes in float32: its input in float32 (4·n·h) and the normed states, in 16 bits;
- attention by SDPA keeps q, k, v and its output, and one float32 a token and head; no n × n matrix;
- a gated feed-forward part keeps gate, activated gate, up and their product: four times 2·n·f;
- each LoRA pair keeps its input (shared by q, k, v if nothing cast it) and the n × r between A and B;
- a frozen 4-bit weight keeps nothing: backward dequantizes it again, a temporary of 2 bytes a weight;
- with gradient checkpointing only the layer's input stays, and one layer at a time is computed again;
- logits: n × vocabulary in 16 bits, in float32 for the loss, their logarithms, and one float32 gradient.

Decoder layers are alike, so only the first two, one in the middle and the last are run, and the middle is repeated.
What a kernel takes and returns inside one operation is not seen by a ledger; `_hidden` adds the large ones.
"""

import contextlib
import copy
import gc
import inspect
import weakref
from dataclasses import dataclass
from unittest import mock

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from .. import levers, quiet
from ..errors import CourseError

__all__ = ["Ledger", "Timeline", "rehearse"]

FUSED_ROWS = 32  # up to so many rows every GPU multiplies 4-bit weights without dequantizing them first
KINDS = ("activations", "logits", "dequantized", "gradients", "kv_cache")
# What autocast runs in 16 bits, and what in float32 (PyTorch's documentation, "CUDA Op-Specific Behavior")
LOWERED = {"linear", "matmul", "__matmul__", "mm", "bmm", "addmm", "baddbmm", "einsum", "conv1d"}
RAISED = {"pow", "__pow__", "rsqrt", "exp", "log", "softmax", "log_softmax", "layer_norm", "cumsum", "norm", "prod"}


@dataclass(frozen=True)
class Timeline:
    """Bytes allocated (+) and freed (−) in order, the kind of tensor of each, and where the backward pass begins."""

    deltas: tuple[int, ...]
    kinds: tuple[str, ...]
    backward: int | None = None

    def live(self) -> torch.Tensor:
        """Bytes held after each event, weights not included, shape (events,)."""
        return torch.tensor(self.deltas, dtype=torch.int64).cumsum(0)

    @property
    def peak(self) -> int:
        return max(0, int(self.live().max())) if self.deltas else 0

    def at_peak(self, gradients: float = 1.0, forward: int = 0) -> dict[str, int]:
        """Bytes by kind at the moment of the peak.

        In shards that is another moment: then only the part `gradients` of those counts, and `forward` bytes are held
        besides until the backward pass begins. If the peak is there, they are "unsharded" in what is returned.
        """
        if not self.deltas:
            return {}
        counted = torch.tensor([gradients if kind == "gradients" else 1.0 for kind in self.kinds], dtype=torch.float64)
        live = (torch.tensor(self.deltas, dtype=torch.float64) * counted).cumsum(0)
        turn = len(live) if self.backward is None else self.backward
        live[:turn] += forward
        last = int(live.argmax())
        held = dict.fromkeys(KINDS, 0)
        for delta, kind in zip(self.deltas[: last + 1], self.kinds, strict=False):
            held[kind] += delta
        held["unsharded"] = forward if last < turn else 0
        return {kind: size for kind, size in held.items() if size}


class Ledger(TorchDispatchMode):
    """Notes every new storage on a device ("meta" for a rehearsal), and its end."""

    def __init__(self, vocabulary: int = 0, device: str = "meta"):
        super().__init__()
        self.vocabulary, self.device = vocabulary, device
        self.deltas, self.owners, self.kinds = [], [], []  # kinds: by owner
        self.open, self.before = {}, self.new("activations")

    def note(self, size: int, owner: int) -> None:
        self.deltas.append(size)
        self.owners.append(owner)

    def enter(self, storage, owner: int) -> None:
        if storage._cdata not in self.open:
            self.open[storage._cdata] = owner
            weakref.finalize(storage, self.closed, storage._cdata, storage.nbytes(), owner)

    def closed(self, key: int, size: int, owner: int) -> None:
        self.open.pop(key, None)
        self.note(-size, owner)

    def new(self, kind: str) -> int:
        self.kinds.append(kind)
        return len(self.kinds) - 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            return args[0].dtype == torch.bool  # masks ask whether all is true: it is, for text without padding
        for tensor in self._here((args, kwargs)):
            # it was there before: not counted, but noted when it goes, as a bias that bitsandbytes replaces
            self.enter(tensor.untyped_storage(), self.before)
        result = func(*args, **(kwargs or {}))
        if self.device == "meta" and (extra := _hidden(func, args)):
            owner = self.new("dequantized")
            self.note(extra, owner)
            self.note(-extra, owner)
        for tensor in self._here(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.open:
                owner = self.new(self._kind(func, tensor))
                self.note(storage.nbytes(), owner)
                self.enter(storage, owner)
        return result

    def _here(self, tree) -> list[torch.Tensor]:
        return [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor) and x.device.type == self.device]

    def _kind(self, func, tensor: torch.Tensor) -> str:
        if "dequantize" in func.name():
            return "dequantized"
        wide = tensor.dim() > 1 and tensor.shape[-1] == self.vocabulary
        return "logits" if wide and tensor.is_floating_point() else "activations"

    def name(self, tensors, kind: str) -> None:
        """Give the tensors that are still open a kind, afterwards."""
        for tensor in tensors:
            self.kinds[self.open[tensor.untyped_storage()._cdata]] = kind


def _hidden(func, args) -> int:
    """Bytes of the large temporaries inside one operation of bitsandbytes (0.50.2, backends/cuda/ops.py)."""
    name = func.name()
    if name == "bitsandbytes::gemm_4bit":  # many rows: the weight is dequantized, then multiplied
        rows, weights = args[0].numel() // args[0].shape[-1], args[2][0] * args[2][1]
        return weights * args[0].element_size() + 4 * (weights // 64) if rows > FUSED_ROWS else 0
    if name.startswith("bitsandbytes::int8_scaled_mm"):  # products of int8 are summed in int32
        return args[0].numel() // args[0].shape[-1] * args[1].shape[0] * 4
    return 0


class _Attention(torch.autograd.Function):
    """The memory of a fused attention kernel (FlashAttention): what it saves, returns and takes for a while."""

    @staticmethod
    def forward(ctx, query, key, value, mask):
        batch, heads, length, _ = query.shape
        if mask is not None and mask.dtype == torch.bool:
            mask = mask.to(query.dtype)  # the kernel that takes masks adds them
        if mask is None and value.shape[-1] == query.shape[-1]:
            out = torch.empty_like(query)  # FlashAttention: in the order of the query's numbers
        else:
            out = query.new_empty(batch, length, heads, value.shape[-1]).transpose(1, 2)
        ctx.save_for_backward(query, key, value, out, mask, query.new_empty(batch, heads, length, dtype=torch.float32))
        return out

    @staticmethod
    def backward(ctx, grad):
        query, key, value, *_ = ctx.saved_tensors
        sums = torch.empty_like(query, dtype=torch.float32)  # dq is summed in float32
        grouped = key.shape[1] != query.shape[1]
        wide = [torch.empty_like(query), torch.empty_like(query)] if grouped else []  # dk, dv of every head
        grads = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        del sums, wide
        return *grads, None


class _Rules(TorchFunctionMode):
    """Autocast for the meta device, which has none of its own, and fused attention."""

    def __init__(self, dtype: torch.dtype | None):
        super().__init__()
        self.dtype, self.cache = dtype, {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        attention = name == "scaled_dot_product_attention"
        if self.dtype and (attention or name in LOWERED):
            args, kwargs = tree_map(lambda x: self.cast(x, self.dtype), (args, kwargs))
        elif self.dtype and name in RAISED and not kwargs.get("dtype"):
            args, kwargs = tree_map(lambda x: self.cast(x, torch.float32), (args, kwargs))
        if name == "dropout" and kwargs.get("p", args[1] if len(args) > 1 else 0.5) > 0 and args[0].requires_grad:
            return torch.native_dropout(args[0], 0.5, True)[0]  # as on a GPU: keeps one byte a number
        if attention:
            query, key, value = args[:3]
            if query.shape[1] == key.shape[1] or kwargs.get("enable_gqa"):
                return _Attention.apply(query, key, value, kwargs.get("attn_mask"))
            # no fused kernel takes one key/value head for all query heads (Falcon): all scores, in float32
            kind = {"is_causal": kwargs.get("is_causal", False), "scale": kwargs.get("scale")}
            return torch.ops.aten._scaled_dot_product_attention_math(
                query, key, value, kwargs.get("attn_mask"), **kind
            )[0]
        return func(*args, **kwargs)

    def cast(self, x, dtype: torch.dtype):
        if not isinstance(x, torch.Tensor) or not x.is_floating_point() or x.dtype == dtype:
            return x
        if self.cache is None or not (x.is_leaf and x.requires_grad and dtype == self.dtype):
            return x.to(dtype)
        if x not in self.cache:  # autocast keeps the 16-bit copy of a trained weight until the forward pass ends
            self.cache[x] = x.to(dtype)
        return self.cache[x]


class _Elsewhere(torch.autograd.graph.saved_tensors_hooks):
    """`levers.Offload` without a GPU: what is saved ends one layer later, and begins again when it is wanted."""

    def __init__(self):
        self.shapes, self.last, self.coming = [], None, {}
        super().__init__(self.pack, self.unpack)

    def pack(self, tensor):
        if tensor.nbytes < levers.LEAST_BYTES or not tensor.is_floating_point() or isinstance(tensor, nn.Parameter):
            return tensor
        self.shapes.append((tensor.shape, tensor.dtype))
        self.last = tensor.detach()
        return len(self.shapes) - 1

    def fetch(self, index: int) -> None:
        if index >= 0 and index not in self.coming:
            shape, dtype = self.shapes[index]
            here = self.last if index == len(self.shapes) - 1 else None
            self.coming[index] = torch.empty(shape, dtype=dtype, device="meta") if here is None else here
            self.last = None

    def unpack(self, packed):
        if isinstance(packed, torch.Tensor):
            return packed
        self.fetch(packed)
        tensor = self.coming.pop(packed)
        self.fetch(packed - 1)
        return tensor


def rehearse(
    model: nn.Module, batch: int, length: int, *, layers: int, train: bool, autocast=None, offload: bool = False
) -> Timeline:
    """Run a model that lies on the meta device once and return the timeline of the same model with `layers` layers.

    `train`: forward pass with labels, the float32 copy of the logits that accelerate makes, backward pass. Otherwise
    a prefill that fills the KV cache and computes the logits of the last token, as `generate` does. `autocast` is a
    dtype or None; `offload` as `levers.Offload` does it. Raises CourseError for a model whose forward pass asks for
    values, which the meta device has not.
    """
    config = model.config.get_text_config(decoder=True)
    ids = torch.zeros(batch, length, dtype=torch.long, device="meta")
    ledger, rules = Ledger(config.vocab_size), _Rules(autocast)
    marks, hooks = _mark_the_middle(model, ledger, period(config))
    collecting = gc.isenabled()
    gc.disable()  # or tensors in reference cycles would end at random moments
    try:
        # peft asks whether autocast is on, and checkpointing which device's autocast it has to restore
        lowered = autocast or torch.bfloat16
        on = mock.patch.multiple(
            torch, is_autocast_enabled=lambda *_: autocast is not None, get_autocast_dtype=lambda *_: lowered
        )
        device = mock.patch.object(torch.utils.checkpoint.DefaultDeviceType, "get_device_type", lambda: "cpu")
        with quiet.libraries(), on, device, ledger, rules:
            (_train if train else _prefill)(model, ids, ledger, rules, marks, offload)
    except (RuntimeError, NotImplementedError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise CourseError(
            f"The activations of a {type(config).__name__} cannot be forecast, since its forward pass does not run on "
            'shapes alone: forecast its weights, with stage="load".'
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
        if collecting:
            gc.enable()
    return _unrolled(ledger, marks, (layers - config.num_hidden_layers) // period(config))


def _prefill(model, ids, ledger, rules, marks, offload) -> None:
    last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    with torch.no_grad():
        output = model(input_ids=ids, use_cache=True, **last)
    layers = getattr(output.past_key_values, "layers", [])
    ledger.name([t for layer in layers for t in (layer.keys, layer.values) if t is not None], "kv_cache")
    marks["end"] = len(ledger.deltas)  # before this function's own names go


def _train(model, ids, ledger, rules, marks, offload) -> None:
    with _Elsewhere() if offload else contextlib.nullcontext():
        output = model(input_ids=ids, labels=ids, use_cache=False)
    rules.cache = None
    copy, loss = output.logits, output.loss
    if copy is not None:
        copy = copy.float()  # accelerate's wrapper hands the outputs on in float32
    del output, copy
    marks["turn"] = len(ledger.deltas)
    start = (torch.ones_like(loss),)
    # `loss.backward()`, but with `rules` in force, which checkpointing needs when it computes a layer again
    torch.autograd.graph._engine_run_backward(
        (loss,), start, False, False, (), allow_unreachable=True, accumulate_grad=True
    )
    ledger.name([p.grad for p in model.parameters() if p.grad is not None], "gradients")
    marks["end"] = len(ledger.deltas)


def period(config) -> int:
    """After how many layers a decoder's kinds of layers (full or sliding attention) repeat; 1 if all are alike."""
    kinds = getattr(config.get_text_config(decoder=True), "layer_types", None) or []
    n = len(kinds)
    return next((p for p in range(1, n) if all(kinds[i] == kinds[i % p] for i in range(n))), 1)


def shortened(config):
    """A copy of a configuration with as few layers as a rehearsal needs: two, the middle, and the last; or the same."""
    every = period(config)
    short = copy.deepcopy(config)
    text = short.get_text_config(decoder=True)
    keep = 4 * every + text.num_hidden_layers % every
    if keep >= text.num_hidden_layers:
        return short
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:keep]
    text.num_hidden_layers = keep
    return short


def _mark_the_middle(model: nn.Module, ledger: Ledger, every: int) -> tuple[dict, list]:
    """Hooks that note where the layers from 2·`every` to 3·`every` begin, on the way forward and on the way back.

    Not those before: what is offloaded goes one layer later, and the first layer's input stays, for the model holds it.
    """
    marks = {}
    number = model.config.get_text_config(decoder=True).num_hidden_layers
    stacks = (m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == number)
    layers = next(stacks, [])
    if len(layers) < 4 * every:
        return marks, []

    def here(name):
        marks.setdefault(name, len(ledger.deltas))  # only the first time: checkpointing runs a layer once more

    def entering(name):
        return lambda *_: here(name)

    def leaving(name):
        def hook(module, args, output):
            states = output[0] if isinstance(output, tuple) else output
            if states.requires_grad:
                states.register_hook(lambda grad: here(name))

        return hook

    hooks = [layers[2 * every].register_forward_pre_hook(entering("forward from"))]
    hooks += [layers[3 * every].register_forward_pre_hook(entering("forward to"))]
    hooks += [layers[3 * every - 1].register_forward_hook(leaving("backward from"))]
    hooks += [layers[2 * every - 1].register_forward_hook(leaving("backward to"))]
    return marks, hooks


def _unrolled(ledger: Ledger, marks: dict, times: int) -> Timeline:
    """The timeline with the events of the middle layers repeated `times` times more, forward and backward."""
    deltas, turn = ledger.deltas[: marks["end"]], marks.get("turn")
    kinds = [ledger.kinds[owner] for owner in ledger.owners[: marks["end"]]]
    for way in ("backward", "forward"):  # from behind, so that earlier marks stay right
        if times > 0 and f"{way} to" in marks:
            start, stop = marks[f"{way} from"], marks[f"{way} to"]
            deltas[stop:stop] = deltas[start:stop] * times
            kinds[stop:stop] = kinds[start:stop] * times
            if turn is not None and way == "forward":
                turn += times * (stop - start)
    return Timeline(tuple(deltas), tuple(kinds), turn)
