"""Levers on the cost of a QLoRA step: each one a function of a few lines, off unless asked for, and exact.

They change neither the model nor the recipe, only what is kept, moved or launched on the way to the same gradient:

- `fuse_adapters`: a frozen layer and its adapter as one product each way, without copies between them;
- `chunk_loss`: the loss and its gradient in pieces of the text, so that the logits never exist as a whole;
- `Offload`: what checkpointing keeps waits in host memory, copied while the GPU computes;
- `use_liger`: RMSNorm, rotary positions and SwiGLU as one kernel each (the package liger-kernel);
- `compile_layers`: each decoder layer compiled, one region for all of them;
- `GraphedStep`: forward and backward pass recorded once as a CUDA graph, and launched as a whole from then on;
- `OneTensor`: all adapters behind one another in one tensor, so that the optimizer takes its step with one launch.
"""

import contextlib
import functools
import math
import types
from collections.abc import Callable
from unittest import mock

import torch
from torch import nn
from torch.autograd import Function

from .errors import CourseError
from .layers import dense, quant_state, working_device

__all__ = ["GraphedStep", "Offload", "OneTensor", "chunk_loss", "compile_layers", "fuse_adapters", "use_liger"]

IGNORED = -100  # the label of a token that is not learned
ROWS = 1024  # positions whose logits exist at one time
WARM_UP = 3  # steps before a graph is recorded: kernels are compiled and chosen in the first ones
SHAPES = 4  # shapes of batches that are recorded, each with memory of its own
PROBE = 8  # tokens on which a lever is tried before it is pulled
ALIKE = 0.02  # 16 bits round by less; another formula is further off
LEAST_BYTES = 1 << 20  # smaller tensors are not worth a copy to the host
STATE_BLOCK = 256  # numbers of an optimizer's state in 8 bits that share a scale


def _weight(layer: nn.Module, dtype: torch.dtype) -> torch.Tensor:
    """`layers.dense`, made by one kernel instead of three where ours can: the same bits."""
    state = quant_state(layer)
    if state is not None and layer.weight.is_cuda and state.dtype == dtype:
        from .kernels import calling  # Triton is imported where there is a GPU for it

        if dtype in calling.DTYPES and calling.supports(state) and calling.why_not(layer.weight.device) is None:
            return calling.dequantize(layer.weight.data, calling.constants_of(state), state.shape, dtype)
    return dense(layer, dtype)


class _Adapter(Function):
    """x, A, B → (x, s·x·Aᵀ·Bᵀ). Keeps x and x·Aᵀ; on the way back it adds its share to x's gradient in place."""

    @staticmethod
    def forward(ctx, x, A, B, scale):
        inner = x @ A.to(x.dtype).T
        ctx.save_for_backward(x, inner, A, B)
        ctx.scale = scale
        return x.view_as(x), (inner * scale) @ B.to(x.dtype).T

    @staticmethod
    def backward(ctx, dx, dy):
        x, inner, A, B = ctx.saved_tensors
        flat = dy.reshape(-1, dy.shape[-1])
        dinner = flat @ (B * ctx.scale).to(dy.dtype)
        dB = ctx.scale * (flat.T @ inner.reshape(-1, inner.shape[-1]))
        dA = dinner.T @ x.reshape(-1, x.shape[-1])
        dx.view(-1, dx.shape[-1]).addmm_(dinner, A.to(dx.dtype))  # nobody else holds this gradient: see `_Frozen`
        return dx, dA.to(A.dtype), dB.to(B.dtype), None


class _Frozen(Function):
    """x, y → y + x·Wᵀ (+ bias) for a frozen layer, y overwritten. Keeps nothing: the gradient dequantizes W again.

    Since nothing is kept, checkpointing stops before this product where a layer ends in it, instead of repeating it.
    """

    @staticmethod
    def forward(ctx, x, y, layer):
        ctx.layer, ctx.dtype = layer, x.dtype
        ctx.mark_dirty(y)
        y.view(-1, y.shape[-1]).addmm_(x.reshape(-1, x.shape[-1]), _weight(layer, x.dtype).T)
        return y if layer.bias is None else y.add_(layer.bias)

    @staticmethod
    def backward(ctx, dy):
        return dy.to(ctx.dtype) @ _weight(ctx.layer, ctx.dtype), dy, None


def _fused(module: nn.Module, x: torch.Tensor, *args, **kwargs) -> torch.Tensor:
    """What peft's LoRA layer computes, for its one active adapter."""
    if args or kwargs or module.disable_adapters or module.merged:
        return type(module).forward(module, x, *args, **kwargs)
    (name,) = module.active_adapters
    if torch.is_autocast_enabled(x.device.type):
        x = x.to(torch.get_autocast_dtype(x.device.type))
    x, y = _Adapter.apply(x, module.lora_A[name].weight, module.lora_B[name].weight, module.scaling[name])
    return _Frozen.apply(x, y, module.base_layer)


def fuse_adapters(model: nn.Module) -> int:
    """Let every LoRA layer of a peft model compute itself in two products; return how many do. No weight is moved.

    Raises CourseError for what two products cannot say: dropout, several active adapters, or LoRA's variants.
    """
    from peft.tuners.lora import LoraLayer

    layers = [m for m in model.modules() if isinstance(m, LoraLayer) and isinstance(m.base_layer, nn.Linear)]
    for layer in layers:
        names = layer.active_adapters
        plain = len(names) == 1 and not layer.lora_variant and not layer.lora_bias[names[0]]
        if not plain or not isinstance(layer.lora_dropout[names[0]], nn.Identity):
            raise CourseError("Only plain LoRA without dropout can be fused: set dropout to 0, or leave fused off.")
        layer.forward = functools.partial(_fused, layer)
    if not layers:
        raise CourseError("This model has no LoRA layers to fuse: add adapters first.")
    return len(layers)


class ChunkedLoss(Function):
    """Mean cross-entropy of frozen-head logits, and its gradient for the hidden states, `rows` positions at a time.

    Some families multiply their logits by `scale`, and some bend them towards ±`cap`: cap · tanh(z / cap).
    """

    @staticmethod
    def forward(ctx, hidden, head, labels, count, rows, scale=1.0, cap=None):
        gradient = torch.empty_like(hidden)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        for h, target, g in zip(hidden.split(rows), labels.split(rows), gradient.split(rows), strict=True):
            logits = _bent((h @ head.T).float(), scale, cap)
            # by how much a logit follows the product of which it comes
            slope = scale if cap is None else (logits / cap).square_().neg_().add_(1).mul_(scale)
            learned = (target != IGNORED).float()
            place = target.clamp(min=0)[:, None]
            norm = logits.logsumexp(-1, keepdim=True)
            total += ((norm - logits.gather(1, place))[:, 0] * learned).sum()
            logits.sub_(norm).exp_()  # now probabilities, whose difference to the label is the gradient
            logits.scatter_add_(1, place, torch.full_like(norm, -1.0))
            logits.mul_(learned[:, None] / count)
            if cap is not None or scale != 1.0:
                logits.mul_(slope)
            g.copy_(logits.to(head.dtype) @ head)
        ctx.save_for_backward(gradient)
        return total / count

    @staticmethod
    def backward(ctx, d):
        (gradient,) = ctx.saved_tensors
        return gradient.mul_(d), None, None, None, None, None, None


def _bent(logits: torch.Tensor, scale: float, cap: float | None) -> torch.Tensor:
    """Logits as a family makes them of the head's product, in place."""
    if scale != 1.0:
        logits.mul_(scale)
    return logits if cap is None else logits.div_(cap).tanh_().mul_(cap)


def _scale_and_cap(config) -> tuple[float, float | None]:
    """What a family does to its logits, by the names in transformers' configurations: Granite, Cohere, Gemma 2."""
    config = config.get_text_config(decoder=True)
    scale = 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
    multiplied = getattr(config, "logit_scale", None)
    scale *= multiplied if isinstance(multiplied, (int, float)) and multiplied else 1.0
    return scale, getattr(config, "final_logit_softcapping", None)


def chunk_loss(model: nn.Module, rows: int = ROWS) -> None:
    """Let a causal language model, or a peft model around one, compute its loss without holding all logits.

    With labels the model's output then has a loss and no logits; without them nothing changes. As in transformers the
    sum runs over labels other than -100, divided by their number or by `num_items_in_batch`. Raises CourseError if the
    output head is trained, since its gradient is not computed, and for a model whose own logits or loss are not what
    the pieces give, which is tried on a few tokens.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = base.get_output_embeddings()
    if head is None or head.weight.requires_grad or getattr(head, "bias", None) is not None:
        raise CourseError("The loss can be computed in pieces only behind a frozen output head without bias.")
    whole, decoder = base.forward, base.base_model
    scale, cap = _scale_and_cap(base.config)

    def forward(self, *args, labels=None, num_items_in_batch=None, **kwargs):
        from transformers.modeling_outputs import CausalLMOutputWithPast

        if labels is None:
            return whole(*args, **kwargs)
        states = decoder(*args, **kwargs).last_hidden_state
        hidden = states[:, :-1].reshape(-1, states.shape[-1]).to(head.weight.dtype)
        target = labels[:, 1:].reshape(-1)
        count = (target != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch
        return CausalLMOutputWithPast(loss=ChunkedLoss.apply(hidden, head.weight, target, count, rows, scale, cap))

    if not head.weight.is_meta:
        _try_pieces(
            base, whole, types.MethodType(forward, base), lambda x: _bent((x @ head.weight.T).float(), scale, cap)
        )
    base.forward = types.MethodType(forward, base)


@torch.no_grad()
def _try_pieces(base: nn.Module, whole: Callable, forward: Callable, logits_of: Callable) -> None:
    """Raise CourseError unless the pieces give the logits and the loss of the model itself, on a few tokens."""
    ids = torch.arange(1, 1 + PROBE, device=base.device)[None] % base.config.get_text_config(decoder=True).vocab_size
    was_training = base.training
    base.eval()
    try:
        own = whole(input_ids=ids, labels=ids)
        loss = forward(input_ids=ids, labels=ids).loss
        states = base.base_model(input_ids=ids).last_hidden_state
        logits = logits_of(states.to(base.get_output_embeddings().weight.dtype))
        theirs = own.logits.float()
        off = [abs(loss / own.loss - 1).item(), ((logits - theirs).norm() / theirs.norm()).item()]
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, TypeError, AttributeError):
        off = [math.inf]
    finally:
        base.train(was_training)
    if not all(distance < ALIKE for distance in off):
        raise CourseError(
            f"The loss of a {type(base).__name__} is not what its head's logits alone give, so that pieces of it would "
            "be another loss: leave chunked off."
        )


class Offload(torch.autograd.graph.saved_tensors_hooks):
    """A context for the forward pass: large tensors that it keeps for the backward pass wait in pinned host memory.

    Copies run on a stream of their own. On the way out a tensor's memory is given up one layer later, when its copy is
    done; on the way back the next one is fetched while the current layer computes. Host buffers are kept from step to
    step. Inside checkpointed layers checkpointing's own rule holds, so what moves is their inputs. Needs a CUDA GPU.
    """

    def __init__(self):
        if not torch.cuda.is_available():
            raise CourseError("Offloading moves activations from a GPU's memory to the host's: on a CPU leave it off.")
        self.stream, self.host = torch.cuda.Stream(), []
        self.leaving, self.kept, self.coming, self.count = [], {}, {}, 0
        super().__init__(self.pack, self.unpack)

    def __enter__(self):
        self.leaving, self.kept, self.coming, self.count = [], {}, {}, 0
        return super().__enter__()

    def __exit__(self, *error):
        self.kept = dict(self.leaving[-1:])  # the last one is wanted at once
        for _, (_, event) in self.leaving:
            torch.cuda.current_stream().wait_event(event)
        self.leaving = []
        return super().__exit__(*error)

    def finish(self) -> None:
        """After the backward pass: wait for what is still on its way, and let go of what nobody asked for."""
        torch.cuda.current_stream().wait_stream(self.stream)
        self.kept, self.coming = {}, {}

    def pack(self, tensor: torch.Tensor):
        large = tensor.is_cuda and tensor.nbytes >= LEAST_BYTES and tensor.is_floating_point()
        if not large or isinstance(tensor, nn.Parameter) or not tensor.is_contiguous():
            return tensor
        index, self.count = self.count, self.count + 1
        if len(self.host) <= index or self.host[index].shape != tensor.shape or self.host[index].dtype != tensor.dtype:
            self.host[index:] = [torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)]
        compute = torch.cuda.current_stream()
        self.stream.wait_stream(compute)
        with torch.cuda.stream(self.stream):
            self.host[index].copy_(tensor, non_blocking=True)
        if self.leaving:  # two on the way at most: the one before may go now
            compute.wait_event(self.leaving.pop(0)[1][1])
        self.leaving.append((index, (tensor.detach(), self.stream.record_event())))
        return index

    def fetch(self, index: int) -> None:
        if index < 0 or index in self.coming:
            return
        if index in self.kept:
            self.coming[index] = self.kept.pop(index)
            return
        home = torch.empty(self.host[index].shape, dtype=self.host[index].dtype, device="cuda")
        self.stream.wait_stream(torch.cuda.current_stream())  # that memory may still be in use
        with torch.cuda.stream(self.stream):
            home.copy_(self.host[index], non_blocking=True)
        self.coming[index] = home, self.stream.record_event()

    def unpack(self, packed):
        if isinstance(packed, torch.Tensor):
            return packed
        self.fetch(packed)
        tensor, event = self.coming.pop(packed)
        torch.cuda.current_stream().wait_event(event)
        self.fetch(packed - 1)
        return tensor


def use_liger(model: nn.Module) -> None:
    """Replace RMSNorm, rotary positions and SwiGLU of a Mistral model by Liger's kernels (Linux and a GPU).

    The loss is left to `chunk_loss`, which does not ask the GPU for a number and so can be recorded. Source: Hsu et
    al., "Liger Kernel", arXiv 2410.10989.
    """
    try:
        from liger_kernel.transformers import apply_liger_kernel_to_mistral
    except ImportError:
        raise CourseError(
            'The package liger-kernel is not installed: `pip install -e ".[liger]"`, or leave liger off.'
        ) from None
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    if base.config.model_type != "mistral" or working_device(base).type != "cuda":
        raise CourseError("Liger's kernels are used here for Mistral models on a CUDA GPU: leave liger off.")
    apply_liger_kernel_to_mistral(cross_entropy=False, fused_linear_cross_entropy=False, model=base)


def compile_layers(model: nn.Module) -> None:
    """Compile every decoder layer's forward pass; the first is compiled, the others find its code in the cache."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    for layer in base.base_model.layers:
        layer.forward = torch.compile(layer.forward, dynamic=False)


class OneTensor:
    """All that a model trains behind one another in one tensor, `parameter`, of which the model's are views.

    An optimizer that is given `parameter` alone takes its step with one launch, where it takes one for each adapter
    otherwise, and the norm of the gradient is one sum. The numbers are the same: an optimizer in 8 bits scales blocks
    of 256 numbers together, which is why no tensor's size may leave a rest.
    """

    def __init__(self, model: nn.Module):
        self.trained = [p for p in model.parameters() if p.requires_grad]
        if not self.trained or len({(p.dtype, p.device) for p in self.trained}) > 1:
            raise CourseError("One tensor takes parameters of one dtype on one device: leave one_tensor off.")
        if any(p.numel() % STATE_BLOCK for p in self.trained):
            raise CourseError(
                f"One tensor takes adapters whose sizes are multiples of {STATE_BLOCK}, so that the optimizer's blocks "
                "stay the same: choose a rank that is a multiple of 16, or leave one_tensor off."
            )
        self.parameter = nn.Parameter(torch.cat([p.detach().reshape(-1) for p in self.trained]))
        self.gradient, self.views, begin = torch.zeros_like(self.parameter), [], 0
        for p in self.trained:
            end = begin + p.numel()
            p.data = self.parameter.data[begin:end].view_as(p)
            self.views.append(self.gradient[begin:end].view_as(p))
            begin = end

    def begin(self) -> None:
        """Before a step: gradients are zero, and what the backward pass adds to them lands in the one tensor."""
        self.gradient.zero_()
        self.parameter.grad = self.gradient
        for p, view in zip(self.trained, self.views, strict=True):
            p.grad = view


class GraphedStep:
    """Forward and backward pass of a training step: after a few of a shape, recorded and replayed as a CUDA graph.

    Call it with the model's arguments as tensors: it returns the loss and leaves gradients in `.grad`. A replay is one
    launch instead of thousands, on the same memory, so that a batch must have a shape seen before: fill it by packing.
    """

    def __init__(self, model: nn.Module, offload: Offload | None = None, one: OneTensor | None = None):
        if not torch.cuda.is_available():
            raise CourseError("CUDA graphs need a CUDA GPU: leave graph off.")
        self.model, self.offload, self.one, self.recorded, self.seen = model, offload, one, {}, {}
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.stream = torch.cuda.Stream()  # one for all: the matrix library takes a workspace on each

    def _run(self, inputs: dict) -> torch.Tensor:
        if self.one:
            self.one.begin()
        with self.offload or contextlib.nullcontext():
            loss = self.model(**inputs).loss
        loss.backward()
        if self.offload:
            self.offload.finish()
        return loss.detach()

    def __call__(self, inputs: dict) -> torch.Tensor:
        shape = tuple((name, tuple(tensor.shape)) for name, tensor in sorted(inputs.items()))
        self.seen[shape] = self.seen.get(shape, 0) + 1
        if shape not in self.recorded:
            if self.seen[shape] <= WARM_UP:
                return self._warm(inputs)
            if len(self.recorded) == SHAPES:
                raise CourseError(f"More than {SHAPES} shapes of batches: pack the examples, so that all are alike.")
            self.recorded[shape] = self._checked(inputs)
        return self._replay(self.recorded[shape], inputs)

    def _replay(self, recorded: tuple, inputs: dict) -> torch.Tensor:
        graph, places, loss, gradients = recorded
        for name, tensor in inputs.items():
            places[name].copy_(tensor)
        graph.replay()
        for parameter, gradient in zip(self.trained, gradients, strict=True):
            parameter.grad = gradient
        if self.one:  # whose gradient the graph has filled, whoever let go of it meanwhile
            self.one.parameter.grad = self.one.gradient
        return loss.clone()

    def _checked(self, inputs: dict) -> tuple:
        """Record a step, and compare its first replay with the same step launched one by one.

        A graph holds what was launched once: a model that chooses by its numbers (experts, frequencies by length) has
        no such thing. Raises CourseError for a step that cannot be recorded or gives other gradients.
        """
        expected = self._warm(inputs)
        size = self._size_of_gradients()
        try:
            recorded = self._record(inputs)
        except (RuntimeError, TypeError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise CourseError("This model's step cannot be recorded as a CUDA graph: leave graph off.") from error
        loss = self._replay(recorded, inputs)
        off = [abs(loss / expected - 1).item(), abs(self._size_of_gradients() / size - 1).item()]
        if not all(distance < ALIKE for distance in off):
            raise CourseError(
                "The recorded step of this model gives other gradients than the same step: leave graph off."
            )
        return recorded

    def _size_of_gradients(self) -> torch.Tensor:
        return torch.stack([p.grad.norm() for p in self.trained if p.grad is not None]).norm()

    def _warm(self, inputs: dict) -> torch.Tensor:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            loss = self._run(inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return loss

    def _record(self, inputs: dict):
        from transformers import masking_utils

        places = {name: tensor.clone() for name, tensor in inputs.items()}
        for parameter in self.trained:
            parameter.grad = None
        torch.cuda.synchronize()
        torch.cuda.empty_cache()  # the graph has memory of its own: give back what the steps before it took
        graph = torch.cuda.CUDAGraph()
        # while it records, transformers cannot look at numbers, and so builds a mask that fused attention does without;
        # a row with several turns brings its own
        plain = mock.patch.multiple(
            masking_utils, is_tracing=lambda *_: False, find_packed_sequence_indices=lambda positions: None
        )
        with plain, torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
            loss = self._run(places)
        return graph, places, loss, [p.grad for p in self.trained]
