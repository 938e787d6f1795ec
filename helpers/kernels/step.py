"""A decode step of a Llama or Mistral model in few launches: what `decoding` captures, in 4 bits or in 16.

Layers with the same input are multiplied as one: their weights are moved behind one another in memory, and the layers
keep views of them, so that nothing is stored twice and everything else works as before. Between the products there are
three small kernels, with the roundings that transformers makes: residual and norm, attention for one token, and what
the MLP does. All of them run in Triton's interpreter, too.
"""

import torch
from torch import nn

from ..errors import CourseError
from .calling import multiply, on, processors, supports, why_not
from .lookup import DTYPES, INTERPRETED, jit, tl, triton
from .tiles import MAX_ROWS

__all__ = ["Product", "Step", "separate", "why_not_fused"]

FAMILIES = ("LlamaForCausalLM", "MistralForCausalLM")
WIDTH = 64  # positions of the cache that attention reads at a time
SPLITS = 32  # programs at most that share the cache of one head


@jit
def after_the_kernel_ahead(EARLY: tl.constexpr):
    """Wait until what the kernel ahead writes is there, and let the next one start: it will wait here, too."""
    if EARLY:
        wait: tl.constexpr = "griddepcontrol.wait; griddepcontrol.launch_dependents; mov.b32 $0, 0;"
        tl.inline_asm_elementwise(wait, "=r", [], tl.int32, is_pure=False, pack=1)


@jit
def add_norm_kernel(
    hidden, update, weight, out, eps, COLUMNS, SIZE: tl.constexpr, ADD: tl.constexpr, EARLY: tl.constexpr
):
    """hidden += update, and out = RMSNorm(hidden), a row for each program."""
    i = tl.arange(0, SIZE)
    used = i < COLUMNS
    scale = tl.load(weight + i, mask=used, other=0.0)
    after_the_kernel_ahead(EARLY)
    place = tl.program_id(0) * COLUMNS + i
    x = tl.load(hidden + place, mask=used, other=0.0)
    if ADD:
        x = (x.to(tl.float32) + tl.load(update + place, mask=used, other=0.0).to(tl.float32)).to(x.dtype)
        tl.store(hidden + place, x, mask=used)
    wide = x.to(tl.float32)
    normed = (wide * tl.rsqrt(tl.sum(wide * wide) / COLUMNS + eps)).to(x.dtype)
    tl.store(out + place, (scale.to(tl.float32) * normed.to(tl.float32)).to(x.dtype), mask=used)


@jit
def silu_times_kernel(gate_up, out, COLUMNS, SIZE: tl.constexpr, EARLY: tl.constexpr):
    """out = silu(gate) · up; the two lie behind one another in each row of gate_up."""
    after_the_kernel_ahead(EARLY)
    row, i = tl.program_id(1), tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    used = i < COLUMNS
    gate = tl.load(gate_up + 2 * row * COLUMNS + i, mask=used, other=0.0)
    up = tl.load(gate_up + (2 * row + 1) * COLUMNS + i, mask=used, other=0.0)
    wide = gate.to(tl.float32)
    gate = (wide / (1 + tl.exp(-wide))).to(gate.dtype)
    tl.store(out + row * COLUMNS + i, (gate.to(tl.float32) * up.to(tl.float32)).to(gate.dtype), mask=used)


@jit
def rotated(x, other, cos, sin):
    """x · cos + rotate_half(x) · sin, each rounded as transformers does it."""
    first = (x.to(tl.float32) * cos.to(tl.float32)).to(x.dtype)
    second = (other.to(tl.float32) * sin.to(tl.float32)).to(x.dtype)
    return (first.to(tl.float32) + second.to(tl.float32)).to(x.dtype)


@jit
def dot(a, b, INTERPRETED: tl.constexpr):
    # the interpreter multiplies bfloat16 as the integers it keeps it in
    return tl.dot(a.to(tl.float32), b.to(tl.float32)) if INTERPRETED else tl.dot(a, b)


@jit
def attend_kernel(
    qkv, cos, sin, keys, values, position, padding, sums, tops, totals, arrived, out, LENGTH, CHUNK, scaling,
    KV: tl.constexpr, GROUP: tl.constexpr, D: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr,
    SPLITS: tl.constexpr, EARLY: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    """Rotate q and k, put k and v into the cache, and attend: one token of each row, for a head of k and v.

    The GROUP heads of q that share it are the rows of a product, up to ROWS of them, unused. SPLITS programs share the
    positions, CHUNK each; the last to arrive adds up what all have found. Positions before `padding` are not seen.
    """
    row, kv, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    d, g = tl.arange(0, D), tl.arange(0, ROWS)
    opposite, sign = (d + D // 2) % D, tl.where(d < D // 2, -1.0, 1.0)
    after_the_kernel_ahead(EARLY)
    now, skipped = tl.load(position), tl.load(padding + row)
    c, s = tl.load(cos + (now - skipped) * D + d), tl.load(sin + (now - skipped) * D + d)
    line = qkv + row * ((GROUP + 2) * KV * D)
    heads, used = line + ((kv * GROUP + g) * D)[:, None], (g < GROUP)[:, None]
    q = tl.load(heads + d[None, :], mask=used, other=0.0)
    other = tl.load(heads + opposite[None, :], mask=used, other=0.0) * sign[None, :]
    q = rotated(q, other, c[None, :], s[None, :])
    at_k = line + (GROUP * KV + kv) * D
    k = rotated(tl.load(at_k + d), tl.load(at_k + opposite) * sign, c, s)
    v = tl.load(at_k + KV * D + d)
    base = (row * KV + kv).to(tl.int64) * LENGTH * D

    top = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)
    found = tl.zeros((ROWS, D), tl.float32)
    first = split * CHUNK
    for start in range(first, tl.minimum(first + CHUNK, now + 1), WIDTH):
        place = start + tl.arange(0, WIDTH)
        there, new = (place < now)[:, None], (place == now)[:, None]
        at = base + place[:, None] * D + d[None, :]
        k_tile = tl.where(new, k[None, :], tl.load(keys + at, mask=there, other=0.0))
        v_tile = tl.where(new, v[None, :], tl.load(values + at, mask=there, other=0.0))
        scores = dot(q, tl.trans(k_tile), INTERPRETED) * scaling
        scores = tl.where(((place <= now) & (place >= skipped))[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        finite = tl.where(higher == float("-inf"), 0.0, higher)  # all of it may be padding
        weights, fade = tl.exp(scores - finite[:, None]), tl.exp(top - finite)
        total = total * fade + tl.sum(weights, 1)
        found = found * fade[:, None] + dot(weights.to(v.dtype), v_tile, INTERPRETED)
        top = higher
    if (first <= now) & (now < first + CHUNK):
        tl.store(keys + base + now * D + d, k)
        tl.store(values + base + now * D + d, v)

    to = out + (row * KV * GROUP + kv * GROUP + g)[:, None] * D + d[None, :]
    if SPLITS == 1:
        tl.store(to, (found / total[:, None]).to(v.dtype), mask=used)
    else:
        group = row * KV + kv
        mine = (group * SPLITS + split) * ROWS + g
        tl.store(tops + mine, top)
        tl.store(totals + mine, total)
        tl.store(sums + mine[:, None] * D + d[None, :], found)
        tl.debug_barrier()  # all warps have stored, before one of them says so
        if tl.atomic_add(arrived + group, 1, sem="acq_rel") == SPLITS - 1:
            tl.store(arrived + group, 0)
            highest = tl.full((ROWS,), float("-inf"), tl.float32)
            for part in range(SPLITS):
                theirs = (group * SPLITS + part) * ROWS + g
                highest = tl.maximum(highest, tl.load(tops + theirs, cache_modifier=".cg"))
            total = tl.zeros((ROWS,), tl.float32)
            found = tl.zeros((ROWS, D), tl.float32)
            for part in range(SPLITS):
                theirs = (group * SPLITS + part) * ROWS + g
                fade = tl.exp(tl.load(tops + theirs, cache_modifier=".cg") - highest)
                total += tl.load(totals + theirs, cache_modifier=".cg") * fade
                found += tl.load(sums + theirs[:, None] * D + d[None, :], cache_modifier=".cg") * fade[:, None]
            tl.store(to, (found / total[:, None]).to(v.dtype), mask=used)


def behind_one_another(tensors: list[torch.Tensor]) -> torch.Tensor:
    """The tensors' values in one storage, flat, of which they become views; those that are so already stay."""
    first, total = tensors[0], sum(tensor.numel() for tensor in tensors)
    at, together = first.data_ptr(), True
    for tensor in tensors:
        together &= tensor.data_ptr() == at and tensor.is_contiguous()
        together &= tensor.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        at += tensor.nbytes
    if together:
        whole = torch.empty(0, dtype=first.dtype, device=first.device)
        return whole.set_(first.untyped_storage(), first.storage_offset(), (total,))
    whole = torch.cat([tensor.reshape(-1) for tensor in tensors])
    start = 0
    for tensor in tensors:
        tensor.data = whole[start : start + tensor.numel()].view(tensor.shape)
        start += tensor.numel()
    return whole


class Product:
    """A linear layer, or up to three with the same input as one: x (rows, columns) to (rows, outputs of all).

    `way` is "kernel" for NF4 that our kernel reads, "16 bits" for plain layers, and "apart" for what cannot be merged:
    then each layer is called by itself.
    """

    def __init__(self, layers: list[nn.Module], batch: int, kernel: bool = True):
        self.layers, self.way = layers, "apart"
        states = [getattr(layer.weight, "quant_state", None) for layer in layers]
        if any(layer.bias is not None for layer in layers):
            return
        if all(type(layer) is nn.Linear for layer in layers) and len({layer.weight.dtype for layer in layers}) == 1:
            self.way = "16 bits"
            whole = behind_one_another([layer.weight for layer in layers])
            self.weight = whole.view(-1, layers[0].in_features)
            return
        if (
            not kernel
            or batch > MAX_ROWS
            or not all(map(supports, states))
            or why_not(layers[0].weight.device) is not None
        ):
            return
        doubles = {state.nested for state in states}
        sizes = [state.absmax.numel() for state in states]
        if len(doubles) > 1 or any(size % 256 for size in sizes[:-1]) or len(layers) > 3:
            return  # 256 blocks share a second absmax, so a weight has to begin with one
        self.way, rows = "kernel", [state.shape[0] for state in states]
        self.rows, self.bounds = sum(rows), tuple(sum(rows[:i]) for i in range(1, len(rows)))
        self.codes = behind_one_another([layer.weight for layer in layers])
        absmax = behind_one_another([state.absmax for state in states])
        self.constants = (absmax, None, None, None)
        if doubles == {True}:
            absmax2 = behind_one_another([state.state2.absmax for state in states])
            offsets = torch.stack([state.offset.reshape(()) for state in states])
            self.constants = (absmax, states[0].state2.code, absmax2, offsets)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if self.way == "kernel":
            return multiply(x, self.codes, self.constants, self.rows, early=True, bounds=self.bounds)
        if self.way == "16 bits":
            return nn.functional.linear(x, self.weight)
        return torch.cat([layer(x) for layer in self.layers], -1) if len(self.layers) > 1 else self.layers[0](x)


def why_not_fused(model: nn.Module) -> str | None:
    """Why a model's steps cannot be fused, or None if they can."""
    if type(model).__name__ not in FAMILIES:
        return f"{type(model).__name__} is not a plain Llama or Mistral model"
    config, parameter = model.config, model.get_input_embeddings().weight
    if (why := why_not(parameter.device)) is not None:
        return why
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if size not in (32, 64, 128, 256):
        return f"its heads have {size} numbers, and attention takes 32, 64, 128 or 256"
    if config.num_attention_heads // config.num_key_value_heads > 16:
        return "more than 16 heads share their keys"
    if config.hidden_act != "silu":
        return f"its MLP has {config.hidden_act}, not silu"
    if (config.rope_parameters or {}).get("rope_type", "default") in ("dynamic", "longrope"):
        return "its positions are stretched while it runs"
    norms = [module.weight for module in model.modules() if type(module).__name__.endswith("RMSNorm")]
    if parameter.dtype not in DTYPES or any(weight.dtype != parameter.dtype for weight in norms):
        return "it is not in bfloat16 or float16 throughout"
    if len({parameter.device for parameter in model.parameters()}) > 1:
        return "it lies on several devices"
    layers = [module for layer in model.model.layers for module in (*layer.self_attn.children(), *layer.mlp.children())]
    for module in layers:
        if getattr(module, "bias", None) is not None:
            return "its layers have biases"
        if hasattr(module, "base_layer"):
            return "it has an adapter, which is not merged"
        if type(module).__name__ in ("Linear8bitLt",):
            return "LLM.int8 looks at its inputs from Python"
    return None


class Step:
    """A decode step of `batch` rows: called with the newest ids, it returns logits and fills the cache.

    `cache` is a transformers StaticCache that a prompt has been read into. Without `kernel`, 4-bit layers multiply by
    themselves, as bitsandbytes does. Raises CourseError for a model that
    `why_not_fused` gives a reason for.
    """

    def __init__(self, model: nn.Module, cache, batch: int = 1, kernel: bool = True):
        if (why := why_not_fused(model)) is not None:
            raise CourseError(f"The steps of this model cannot be fused: {why}.")
        # not the model itself: who keeps a step for a model must not keep the model with it
        self.cache, self.config, self.body = cache, model.config, model.model
        body = self.body
        self.batch, self.device, self.dtype = batch, body.norm.weight.device, body.norm.weight.dtype
        attention = body.layers[0].self_attn
        self.size, self.scaling = attention.head_dim, attention.scaling
        self.kv, self.group = self.config.num_key_value_heads, attention.num_key_value_groups
        self.products = [
            (
                Product([layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj], batch, kernel),
                Product([layer.self_attn.o_proj], batch, kernel),
                Product([layer.mlp.gate_proj, layer.mlp.up_proj], batch, kernel),
                Product([layer.mlp.down_proj], batch, kernel),
            )
            for layer in body.layers
        ]
        self.head = Product([model.lm_head], batch)
        self.length = cache.layers[0].keys.shape[2]
        places = torch.arange(self.length, device=self.device)[None]
        cos, sin = body.rotary_emb(body.norm.weight, places)
        self.cos, self.sin = cos[0].contiguous(), sin[0].contiguous()
        chunks = -(-self.length // WIDTH)
        self.splits = min(chunks, SPLITS)
        self.chunk = -(-chunks // self.splits) * WIDTH
        shape = (batch * self.kv, self.splits, max(16, self.group))
        self.sums = torch.empty(*shape, self.size, device=self.device)
        self.tops, self.totals = (torch.empty(shape, device=self.device) for _ in range(2))
        self.arrived = torch.zeros(batch * self.kv, dtype=torch.int32, device=self.device)
        early = processors(self.device)[1] >= (9, 0)
        self.early = {"EARLY": early, **({"launch_pdl": True} if early else {})}

    def add_norm(self, hidden: torch.Tensor, update: torch.Tensor | None, norm: nn.Module) -> torch.Tensor:
        """Add `update` to `hidden` in place, and return the norm of it; both (batch, hidden size)."""
        out, columns = torch.empty_like(hidden), hidden.shape[1]
        add_norm_kernel[(self.batch,)](
            hidden, hidden if update is None else update, norm.weight, out, norm.variance_epsilon, columns,
            SIZE=triton.next_power_of_2(columns), ADD=update is not None, num_warps=8, **self.early,
        )  # fmt: skip
        return out

    def attend(self, qkv: torch.Tensor, layer: int, position: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        """Attention of one token a row: qkv (batch, all heads · size) to (batch, heads of q · size)."""
        keys, values = self.cache.layers[layer].keys, self.cache.layers[layer].values
        out = torch.empty(self.batch, self.kv * self.group * self.size, dtype=qkv.dtype, device=qkv.device)
        attend_kernel[(self.batch, self.kv, self.splits)](
            qkv, self.cos, self.sin, keys, values, position, padding, self.sums, self.tops, self.totals, self.arrived,
            out, self.length, self.chunk, self.scaling, KV=self.kv, GROUP=self.group, D=self.size,
            ROWS=max(16, self.group), WIDTH=WIDTH, SPLITS=self.splits, INTERPRETED=INTERPRETED, num_warps=4,
            **self.early,
        )  # fmt: skip
        return out

    def silu_times(self, gate_up: torch.Tensor) -> torch.Tensor:
        """silu(gate) · up, of (batch, 2 · intermediate size)."""
        columns = gate_up.shape[1] // 2
        out = torch.empty(self.batch, columns, dtype=gate_up.dtype, device=gate_up.device)
        grid = (triton.cdiv(columns, 512), self.batch)
        silu_times_kernel[grid](gate_up, out, columns, SIZE=512, num_warps=4, **self.early)
        return out

    def __call__(self, ids: torch.Tensor, position: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        """Logits (batch, vocabulary) after `ids` (batch, 1), which stand at `position` (1,) of the cache.

        `padding` (batch,) is how many positions at the left of each row are none of its text.
        """
        body = self.body
        with on(self.device):
            hidden, update = body.embed_tokens(ids[:, 0]), None
            for i, (layer, (qkv, o, gate_up, down)) in enumerate(zip(body.layers, self.products, strict=True)):
                normed = self.add_norm(hidden, update, layer.input_layernorm)
                update = o(self.attend(qkv(normed), i, position, padding))
                normed = self.add_norm(hidden, update, layer.post_attention_layernorm)
                update = down(self.silu_times(gate_up(normed)))
            return self.head(self.add_norm(hidden, update, body.norm))


def separate(model: nn.Module) -> int:
    """Give weights that a `Step` has put behind one another a storage of their own again; returns how many."""
    moved = 0
    tensors = []
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        tensors.append(parameter)
        if state is not None:
            tensors += [state.absmax, *([state.state2.absmax] if state.nested else [])]
    for tensor in tensors:
        if tensor.untyped_storage().nbytes() != tensor.nbytes:
            tensor.data, moved = tensor.detach().clone(), moved + 1
    return moved
