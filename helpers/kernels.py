"""A fused NF4 matrix-vector kernel in Triton: what notebook 11 builds up to, for decoding with 1 to 8 rows.

It reads bitsandbytes' own layout (codes, 8-bit absmax and its second level), decodes in registers and multiplies on the
tensor cores, so that no 16-bit weight ever goes through memory. `use(model)` switches it in for a loaded 4-bit model;
everything else (more rows, training, saving, other types) stays bitsandbytes'. Without Triton this file still imports.
"""

import functools
import os
import sys
from types import SimpleNamespace
from typing import NamedTuple

import torch

from . import nf4
from .errors import CourseError

try:
    import triton
    import triton.language as tl

    jit = triton.jit
except ImportError:  # macOS, Windows, or a PyTorch without CUDA: kernels can be read there, not run
    triton, tl = None, SimpleNamespace(constexpr=int)

    def jit(function):
        return function


__all__ = ["MAX_ROWS", "PLANS", "Plan", "decode", "fuse", "linear", "stop", "supports", "table", "use", "why_not"]

MAX_ROWS = 8  # the tensor cores multiply by 8 columns at a time, so 8 rows of x cost what 1 does
BLOCK = 64  # weights that share an absmax
DTYPES = (torch.bfloat16, torch.float16)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # as Triton reads it when it is imported


class Plan(NamedTuple):
    """How a product is divided: rows of the weight and warps of a program, whether it loads a step ahead, registers."""

    rows: int = 16
    warps: int = 4
    ahead: bool = True
    registers: int | None = None  # at most so many a lane, so that more warps are at work


# by shape of the weight (rows, columns): the fastest on an H100 of those that benchmarks/kernel_bench.py tries
PLANS: dict[tuple[int, int], Plan] = {
    (14336, 4096): Plan(warps=4),
    (4096, 14336): Plan(warps=8),
    (4096, 4096): Plan(warps=4),
    (1024, 4096): Plan(warps=8),
}


def plan(rows: int, columns: int) -> Plan:
    """The plan for a weight of this shape; without one of its own, as many warps as share a row's blocks evenly."""
    warps = next(w for w in (8, 4, 2, 1) if columns // BLOCK % (4 * w) == 0)
    return PLANS.get((rows, columns)) or Plan(warps=warps)


def table(dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu") -> torch.Tensor:
    """The 16 levels for both ways to look them up, int32 of shape (48,) on `device`.

    Entries 0 to 15 are the bits of the levels in `dtype`. Then follow the same bytes in another order, for byte
    permutes: four words with the low bytes of all levels, four with the high ones. They come four times, a copy for
    every fourth lane: what is the same for all lanes is put into registers that a byte permute cannot read.
    """
    bits = nf4.nf4_code().to(dtype).view(torch.int16).int() & 0xFFFF
    places = 256 ** torch.arange(4)
    words = torch.cat([(plane.view(4, 4) * places).sum(1) for plane in (bits & 255, bits >> 8)])
    words = torch.where(words < 2**31, words, words - 2**32).int()
    return torch.cat([bits, words.repeat(4)]).to(device)


_table = functools.cache(table)

# One word holds 8 codes; an output holds two levels. `prmt` picks 4 bytes out of 8 by the low 3 bits of 4 codes, so a
# plane (low or high bytes) takes two of them, for codes 0-7 and 8-15; `lop3` chooses between these by bit 3, which a
# `prmt` in its sign mode has spread over a byte; two more put low and high bytes side by side.
_HALF = """
    prmt.b32 a, $5, $6, {codes};    prmt.b32 b, $7, $8, {codes};
    prmt.b32 c, $9, $10, {codes};   prmt.b32 d, $11, $12, {codes};
    prmt.b32 m, $4, shifted, {signs};
    lop3.b32 a, m, b, a, 0xCA;      lop3.b32 c, m, d, c, 0xCA;
    prmt.b32 {first}, a, c, 0x4051; prmt.b32 {second}, a, c, 0x6273;
"""
_DECODE = (
    "{ .reg .b32 low, high, shifted, a, b, c, d, m;\n"
    "    and.b32 low, $4, 0x77777777; shr.u32 high, low, 16; shl.b32 shifted, $4, 4;"
    + _HALF.format(codes="low", signs="0x9D8C", first="$0", second="$1")
    + _HALF.format(codes="high", signs="0xBFAE", first="$2", second="$3")
    + "}"
)
DECODE = tl.constexpr(_DECODE) if triton is not None else _DECODE


@jit
def own_words(levels, t):
    """The eight words for byte permutes, from the copy of lane `t` of four."""
    copy = levels + 16 + 8 * t
    return (
        tl.load(copy), tl.load(copy + 1), tl.load(copy + 2), tl.load(copy + 3),
        tl.load(copy + 4), tl.load(copy + 5), tl.load(copy + 6), tl.load(copy + 7),
    )  # fmt: skip


@jit
def pair_at(word, levels, place: tl.constexpr):
    """The two levels of the byte at bit `place`: that of its high four bits in the low half."""
    first = tl.load(levels + ((word >> (place + 4)) & 15))
    second = tl.load(levels + ((word >> place) & 15))
    return first | (second << 16)


@jit
def levels_of(word, levels, words, ASM: tl.constexpr):
    """Four int32, two levels each, for the eight codes in each word: by permutes of `words`, or by pointer."""
    if ASM:
        return tl.inline_asm_elementwise(
            DECODE,
            "=r,=r,=r,=r,r,r,r,r,r,r,r,r,r",
            [word, words[0], words[1], words[2], words[3], words[4], words[5], words[6], words[7]],
            dtype=(tl.int32, tl.int32, tl.int32, tl.int32),
            is_pure=True,
            pack=1,
        )
    else:
        return pair_at(word, levels, 0), pair_at(word, levels, 8), pair_at(word, levels, 16), pair_at(word, levels, 24)


@jit
def _decode(words, levels, out, ASM: tl.constexpr):
    i = tl.program_id(0) * 128 + tl.arange(0, 128)
    p, q, r, s = levels_of(tl.load(words + i), levels, own_words(levels, i % 4), ASM)
    tl.store(out + 4 * i, p)
    tl.store(out + 4 * i + 1, q)
    tl.store(out + 4 * i + 2, r)
    tl.store(out + 4 * i + 3, s)


@jit
def _weights(p, q, WARPS: tl.constexpr, ROWS: tl.constexpr, dtype: tl.constexpr):
    """Two words of levels a lane as tiles of a product, [blocks, ROWS, 16]; the lanes hold them already."""
    both = tl.join(p, q)
    first = both.to(tl.int16).to(dtype, bitcast=True)
    second = (both >> 16).to(tl.int16).to(dtype, bitcast=True)
    both = tl.reshape(tl.join(first, second), (ROWS // 8, 4, WARPS, 8, 4, 4))
    return tl.reshape(tl.permute(both, (1, 2, 0, 3, 4, 5)), (4 * WARPS, ROWS, 16))


@jit
def _inputs(x, WARPS: tl.constexpr):
    """Eight inputs a lane as two tiles [blocks, 16, 8], those that meet the levels of `_weights`."""
    x = tl.permute(tl.reshape(x, (4, WARPS, 8, 4, 2, 4)), (0, 1, 3, 5, 2, 4))
    first, second = tl.split(x)
    return tl.reshape(first, (4 * WARPS, 16, 8)), tl.reshape(second, (4 * WARPS, 16, 8))


@jit
def _product(a, b, INTERPRETED: tl.constexpr):
    # the interpreter multiplies bfloat16 as the integers it keeps it in
    return tl.dot(a.to(tl.float32), b.to(tl.float32)) if INTERPRETED else tl.dot(a, b)


@jit
def _linear(
    x, codes, absmax, scale_levels, absmax2, offset, levels, out, M, N, K, ROWS: tl.constexpr, WARPS: tl.constexpr,
    AHEAD: tl.constexpr, DOUBLE: tl.constexpr, ASM: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    """ROWS outputs for up to 8 rows of x. A step takes 4 blocks of 64 weights a warp, from each of the ROWS rows.

    Lane 4 n + t of a warp loads two words, 16 codes, of each of its blocks and rows: exactly those that the tensor
    cores want from it, so that nothing has to move between lanes.
    """
    lanes = tl.arange(0, 16 * ROWS * WARPS)  # lane, warp, block of the warp, row: the lane counts fastest
    t, n, warp = lanes % 4, lanes // 4 % 8, lanes // 32 % WARPS
    block = 4 * warp + lanes // (32 * WARPS) % 4
    row = tl.program_id(0) * ROWS + n + lanes // (128 * WARPS) * 8
    words = row.to(tl.int64) * (K // 8) + 8 * block + 2 * t
    words = codes + (words[:, None] + tl.arange(0, 2)[None, :])
    permuted = own_words(levels, t)

    lanes = tl.arange(0, 128 * WARPS)
    t, n, warp = lanes % 4, lanes // 4 % 8, lanes // 32 % WARPS
    inputs = n * K + 64 * (4 * warp + lanes // (32 * WARPS)) + 16 * t
    inputs = x + (inputs[:, None] + tl.arange(0, 8)[None, :])
    used = (n < M)[:, None]

    lanes = tl.arange(0, 4 * ROWS * WARPS)  # a lane fetches the scale of one of the 4 blocks, for all that need it
    t, n, warp = lanes % 4, lanes // 4 % 8, lanes // 32 % WARPS
    row = tl.program_id(0) * ROWS + n + lanes // (32 * WARPS) * 8
    scales = tl.max_contiguous(row * (K // 64) + 4 * warp + t, 1)
    if DOUBLE:
        mean = tl.load(offset)
    total = tl.zeros((4 * WARPS, ROWS, 8), tl.float32)
    if AHEAD:
        waiting = tl.load(words)
    for k in tl.range(0, K // 64, 4 * WARPS, num_stages=1):
        if AHEAD:
            word0, word1 = tl.split(waiting)
            waiting = tl.load(words + 8 * tl.minimum(k + 4 * WARPS, K // 64 - 4 * WARPS))
        else:
            word0, word1 = tl.split(tl.load(words + 8 * k))
        x0 = tl.load(inputs + 64 * k, mask=used, other=0.0)
        x1 = tl.load(inputs + 64 * k + 8, mask=used, other=0.0)
        scale = tl.load(absmax + scales + k)
        if DOUBLE:
            scale = tl.load(scale_levels + scale.to(tl.int32)) * tl.load(absmax2 + ((scales + k) >> 8)) + mean
        scale = tl.permute(tl.reshape(scale, (ROWS // 8, WARPS, 8, 4)), (3, 1, 0, 2))
        p, q, r, s = levels_of(word0, levels, permuted, ASM)
        a, b = _inputs(x0, WARPS)
        part = _product(_weights(p, q, WARPS, ROWS, x.dtype.element_ty), a, INTERPRETED)
        part += _product(_weights(r, s, WARPS, ROWS, x.dtype.element_ty), b, INTERPRETED)
        p, q, r, s = levels_of(word1, levels, permuted, ASM)
        a, b = _inputs(x1, WARPS)
        part += _product(_weights(p, q, WARPS, ROWS, x.dtype.element_ty), a, INTERPRETED)
        part += _product(_weights(r, s, WARPS, ROWS, x.dtype.element_ty), b, INTERPRETED)
        total += part * tl.reshape(scale, (4 * WARPS, ROWS, 1))
    sums = tl.sum(total, 0).to(out.dtype.element_ty)
    m, n = tl.arange(0, 8)[None, :], tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    tl.store(out + m * N + n, sums, mask=m < M)


def decode(codes: torch.Tensor, dtype: torch.dtype = torch.bfloat16, asm: bool = True) -> torch.Tensor:
    """Levels of packed codes (uint8, a multiple of 512 bytes), by the kernel's look-up: shape (2 * bytes,) in `dtype`.

    `asm` takes the byte permutes, which need a GPU; without it the equivalent in plain Triton.
    """
    out = torch.empty(2 * codes.numel(), dtype=dtype, device=codes.device)
    words, target = codes.view(-1).view(torch.int32), out.view(torch.int32)
    _decode[(words.numel() // 128,)](words, _table(dtype, codes.device), target, asm and not INTERPRETED)
    return out


@torch.library.custom_op("mistral_4bit::linear", mutates_args=())
def _op(
    x: torch.Tensor,
    codes: torch.Tensor,
    absmax: torch.Tensor,
    scale_levels: torch.Tensor | None,
    absmax2: torch.Tensor | None,
    offset: torch.Tensor | None,
    rows: int,
    asm: bool = True,
) -> torch.Tensor:
    columns = x.shape[-1]
    x = x.contiguous()
    out = torch.empty((*x.shape[:-1], rows), dtype=x.dtype, device=x.device)
    launch(x, codes, (absmax, scale_levels, absmax2, offset), out, plan(rows, columns), asm)
    return out


@_op.register_fake
def _(x, codes, absmax, scale_levels, absmax2, offset, rows, asm=True):
    return x.new_empty((*x.shape[:-1], rows))


def launch(x, codes, constants, out, plan: Plan, asm: bool = True, kernel=None):
    """Start the kernel (or a variant of it) on contiguous tensors; `constants` as in `_op`. Nothing is checked here."""
    columns, rows = x.shape[-1], out.shape[-1]
    double = constants[3] is not None
    limit = {"maxnreg": plan.registers} if plan.registers and not INTERPRETED else {}
    (kernel or _linear)[(rows // plan.rows,)](
        x, codes.view(-1).view(torch.int32), *(constants if double else constants[:1] * 4), _table(x.dtype, x.device),
        out, x.numel() // columns, rows, columns, ROWS=plan.rows, WARPS=plan.warps, AHEAD=plan.ahead, DOUBLE=double,
        ASM=asm and not INTERPRETED, INTERPRETED=INTERPRETED, num_warps=plan.warps, **limit,
    )  # fmt: skip


def why_not(device: torch.device | str) -> str | None:
    """Why the kernel cannot run on a device, or None if it can."""
    device = torch.device(device)
    if triton is None:
        return "Triton, in which the kernel is written, is not installed (it comes with PyTorch for CUDA)"
    if INTERPRETED:
        return None
    if device.type != "cuda" or torch.version.cuda is None:
        return f"the kernel runs on NVIDIA GPUs, and the weights are on {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < (8, 0):
        return f"the kernel needs a GPU of capability 8.0, and this one has {capability[0]}.{capability[1]}"
    return None


def supports(state, columns: int | None = None) -> bool:
    """Whether the kernel can read a weight of this bitsandbytes quantization state: NF4, blocks of 64, whole tiles."""
    if state is None or state.quant_type != "nf4" or state.blocksize != BLOCK or len(state.shape) != 2:
        return False
    if getattr(state, "packing_format_for_cpu", False):
        return False
    if state.nested and (state.state2.blocksize != 256 or state.state2.code.numel() != 256):
        return False
    rows, inputs = state.shape
    return rows % 16 == 0 and inputs % (4 * BLOCK) == 0 and columns in (None, inputs)


def linear(x: torch.Tensor, codes: torch.Tensor, state, asm: bool = True) -> torch.Tensor:
    """x (…, columns) times an NF4 weight (rows, columns) of bitsandbytes: shape (…, rows), in x's dtype.

    1 to 8 rows of x in bfloat16 or float16. Sums are float32; the levels are rounded to x's dtype once. Raises
    CourseError for what the kernel does not compute; layers that `use` switched fall back to bitsandbytes instead.
    """
    if (why := why_not(x.device)) is not None:
        raise CourseError(f"This product cannot be fused: {why}.")
    if not supports(state, x.shape[-1]):
        raise CourseError(
            "This weight cannot be read by the kernel: it takes NF4 in blocks of 64, with rows a multiple of 16 and "
            "columns a multiple of 256 that fit x."
        )
    if x.dtype not in DTYPES or not 1 <= x.numel() // x.shape[-1] <= MAX_ROWS:
        raise CourseError(
            f"The kernel takes 1 to {MAX_ROWS} rows of bfloat16 or float16, and x is {tuple(x.shape)} of {x.dtype}."
        )
    if codes.device != x.device:
        raise CourseError(f"x is on {x.device} and the weight on {codes.device}: move one to the other.")
    return _fused(x, codes, state, asm)


def _fused(x, codes, state, asm=True):
    second = (state.state2.code, state.state2.absmax, state.offset) if state.nested else (None, None, None)
    return torch.ops.mistral_4bit.linear(x, codes, state.absmax, *second, state.shape[0], asm)


@functools.cache
def _layer_types():
    """bitsandbytes' 4-bit layer, and ours, which differs in `forward` alone and keeps its name."""
    import bitsandbytes as bnb

    class Linear4bit(bnb.nn.Linear4bit):
        def forward(self, x):
            state, dtype = self.weight.quant_state, self.compute_dtype or x.dtype
            rows = x.numel() // x.shape[-1]
            grad = torch.is_grad_enabled() and (x.requires_grad or self.bias is not None and self.bias.requires_grad)
            if grad or not 1 <= rows <= MAX_ROWS or dtype not in DTYPES or x.device != self.weight.device:
                return super().forward(x)
            out = _fused(x.to(dtype), self.weight, state)
            if self.bias is not None:
                out = out + self.bias.to(dtype)
            return out.to(x.dtype)

    return bnb.nn.Linear4bit, Linear4bit


def use(model: torch.nn.Module) -> int:
    """Let the 4-bit layers of a loaded model decode with the kernel; returns how many do. `stop` is the way back.

    Layers that it cannot read (FP4, other block sizes, odd shapes) stay as they are. Weights are neither moved nor
    copied, so saving, training and long prompts go on as before. Raises CourseError for a model without 4-bit layers,
    or none that fits, and where the kernel cannot run.
    """
    theirs, ours = _layer_types()
    layers = [module for module in model.modules() if type(module) in (theirs, ours)]
    if not layers:
        raise CourseError("This model has no 4-bit layers, so there is nothing to speed up: load it in nf4 or nf4-dq.")
    if (why := why_not(layers[0].weight.device)) is not None:
        raise CourseError(f"This model keeps bitsandbytes' kernels: {why}.")
    fit = [layer for layer in layers if supports(layer.weight.quant_state, layer.in_features)]
    if not fit:
        raise CourseError("None of the 4-bit layers is NF4 in blocks of 64 with columns that are a multiple of 256.")
    for layer in fit:
        layer.__class__ = ours
    return len(fit)


def stop(model: torch.nn.Module) -> int:
    """Give the layers that `use` switched back to bitsandbytes; returns how many there were."""
    theirs, ours = _layer_types()
    layers = [module for module in model.modules() if type(module) is ours]
    for layer in layers:
        layer.__class__ = theirs
    return len(layers)


def fuse(model: torch.nn.Module) -> int:
    """Let torch.compile fuse the small operations between the products; returns how many modules it takes.

    Those are the norms, what the MLP does between its products, and the rotary embedding, of a model of whatever
    scheme: at this speed they take as long as the products. The first step of each batch is slow, while it compiles.
    """
    parts = [m for m in model.modules() if type(m).__name__.endswith(("RMSNorm", "MLP"))]
    for module in parts:
        module.compile(dynamic=False)
    for name in {type(module).__module__ for module in parts}:
        source = sys.modules[name]
        if hasattr(source, "apply_rotary_pos_emb") and not hasattr(source, "_plain_rotary"):
            source._plain_rotary = source.apply_rotary_pos_emb
            source.apply_rotary_pos_emb = torch.compile(source._plain_rotary, dynamic=False)
    return len(parts)
