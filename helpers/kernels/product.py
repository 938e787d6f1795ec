"""A fused NF4 matrix-vector kernel in Triton: what notebook 11 builds up to, for decoding with 1 to 8 rows.

It reads bitsandbytes' own layout (codes, 8-bit absmax and its second level), looks levels up in shared memory and
multiplies on the tensor cores, so that no 16-bit weight ever goes through the GPU's memory. `use(model)` switches it in
for a loaded 4-bit model; everything else (more rows, training, saving, other types) stays bitsandbytes'. Without Triton
this file still imports.
"""

import contextlib
import functools
from typing import NamedTuple

import torch

from ..errors import CourseError
from .lookup import (
    DTYPES,
    INTERPRETED,
    jit,
    kept_pairs,
    look_up,
    place_pairs,
    place_scales,
    scale_at,
    settled,
    tl,
    triton,
)

__all__ = ["DTYPES", "INTERPRETED", "fused_linear", "launch", "linear", "multiply", "plan", "supports", "why_not"]

MAX_ROWS = 8  # two products of four rows each
BLOCK = 64  # weights that share an absmax


class Plan(NamedTuple):
    """How a product is divided: warps of a program, programs for each multiprocessor, whether they start early."""

    warps: int = 4  # they share the columns: 4 blocks each in a step
    programs: int = 4  # each makes tiles of 16 outputs, one after the other
    early: bool = True  # before the kernel ahead of it has ended (from capability 9.0 on)


# by shape of the weight (rows, columns): the fastest on an H100 of those that benchmarks/kernel_bench.py tries
PLANS: dict[tuple[int, int], Plan] = {
    (14336, 4096): Plan(warps=4, programs=4),
    (4096, 14336): Plan(warps=8, programs=3, early=False),
    (4096, 4096): Plan(warps=4, programs=2),
    (1024, 4096): Plan(warps=8, programs=4),
}


def plan(rows: int, columns: int) -> Plan:
    """The plan for a weight of this shape; without one of its own, as many warps as share a row's blocks evenly."""
    warps = next(w for w in (4, 2, 1) if columns // BLOCK % (4 * w) == 0)
    return PLANS.get((rows, columns)) or Plan(warps=warps)


@jit
def _weights(p, q, WARPS: tl.constexpr, dtype: tl.constexpr):
    """Two pairs of levels a lane and row as tiles of a product, [WARPS, 16, 16].

    This is the order in which the instruction's lanes hold them, so the compiler moves nothing: it would take shared
    memory and barriers, which the loop's compiled code does not have.
    """
    both = tl.join(p, q)
    first = both.to(tl.int16).to(dtype, bitcast=True)
    second = (both >> 16).to(tl.int16).to(dtype, bitcast=True)
    both = tl.reshape(tl.join(first, second), (2, WARPS, 8, 4, 4))
    return tl.reshape(tl.permute(both, (1, 0, 2, 3, 4)), (WARPS, 16, 16))


@jit
def _inputs(x, WARPS: tl.constexpr):
    """Eight inputs a lane as two tiles [WARPS, 16, 8], those that meet the levels of `_weights`."""
    first, second = tl.split(tl.permute(tl.reshape(x, (WARPS, 8, 4, 2, 4)), (0, 2, 4, 1, 3)))
    return tl.reshape(first, (WARPS, 16, 8)), tl.reshape(second, (WARPS, 16, 8))


@jit
def _product(a, b, INTERPRETED: tl.constexpr):
    # the interpreter multiplies bfloat16 as the integers it keeps it in
    return tl.dot(a.to(tl.float32), b.to(tl.float32)) if INTERPRETED else tl.dot(a, b)


@jit
def times_word(word, x, used, pairs, copy, WARPS: tl.constexpr, ASM: tl.constexpr, INTERPRETED: tl.constexpr):
    """The sums [WARPS, 16, 8] of one word, 8 codes, of each lane and row times the eight inputs that x points to.

    Two products: p and q are the word's first four codes, r and s its last.
    """
    x = tl.load(x, mask=used, other=0.0)
    a, b = _inputs(x, WARPS)
    p, q, r, s = look_up(word, pairs, copy, ASM)
    part = _product(_weights(p, q, WARPS, x.dtype), a, INTERPRETED)
    return part + _product(_weights(r, s, WARPS, x.dtype), b, INTERPRETED)


@jit
def times_pair(words, scale, x, used, pairs, copy, WARPS: tl.constexpr, ASM: tl.constexpr, INTERPRETED: tl.constexpr):
    """The sums of a pair of blocks, four words of each lane and row, times the scale of its block.

    Shape [WARPS, 16, 4, 2]: the last two are t and slots 2 t and 2 t + 1 of the instruction's eight.
    """
    even, odd = tl.split(tl.reshape(words, (64 * WARPS, 2, 2)))  # words 0 and 2, 1 and 3
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    part = times_word(first, x, used, pairs, copy, WARPS, ASM, INTERPRETED)
    part += times_word(second, x + 8, used, pairs, copy, WARPS, ASM, INTERPRETED)
    part += times_word(third, x + 16, used, pairs, copy, WARPS, ASM, INTERPRETED)
    part += times_word(fourth, x + 24, used, pairs, copy, WARPS, ASM, INTERPRETED)
    scale = tl.permute(tl.reshape(scale, (2, WARPS, 8, 4)), (1, 0, 2, 3))
    return tl.reshape(part, (WARPS, 16, 4, 2)) * tl.reshape(scale, (WARPS, 16, 4, 1))


@functools.partial(jit, do_not_specialize=["TILES", "PROGRAMS", "SECOND", "THIRD"])
def linear_kernel(
    x, codes, absmax, scale_levels, absmax2, offset, pairs, out, M, TILES, BLOCKS, PROGRAMS, SECOND, THIRD,
    WARPS: tl.constexpr, FOURS: tl.constexpr, DOUBLE: tl.constexpr, MERGED: tl.constexpr, EARLY: tl.constexpr,
    ASM: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    """Tiles of 16 outputs for up to 4 * FOURS rows of x. A step takes two pairs of blocks of 64 weights a warp.

    Lane 4 n + t of a warp loads four words, 32 codes, of rows n and n + 8: half a block, the first of the pair for
    t < 2. The tensor cores want from the lane just what it has loaded. They have 8 slots for rows of x, of which four
    hold them for the first block of the pair, and zeros for the second; the other four the other way round. They leave
    the lane with slots 2 t and 2 t + 1, so with sums of the very block whose scale it has. Codes and 8-bit absmax are
    loaded a step ahead, across tiles, too. A MERGED weight is up to three, one behind the other, of which each has an
    offset of its own; the tiles from SECOND and from THIRD on are the second's and the third's.
    """
    lanes = tl.arange(0, 64 * WARPS)  # lane, warp, half of the rows: the lane counts fastest
    t, n, warp = lanes % 4, lanes // 4 % 8, lanes // 32 % WARPS
    row = n + lanes // (32 * WARPS) * 8
    words = codes + ((row * (8 * BLOCKS) + 32 * warp + 4 * t)[:, None] + tl.arange(0, 4)[None, :])
    blocks = row * BLOCKS + 4 * warp
    size = tl.full((), 16, tl.int64) * BLOCKS  # of a tile, in blocks; a large weight has more codes than int32 counts
    start = tl.program_id(0) * size
    first, second = tl.load(words + 8 * start), tl.load(words + 8 * start + 16)  # two pairs of blocks
    if DOUBLE:
        four = tl.load((absmax + blocks + start).to(tl.pointer_type(tl.int32)))  # absmax of both pairs, in 8 bits
        factor, mean = tl.load(absmax2 + ((blocks + start) >> 8)), tl.load(offset)  # one absmax2 for 256 blocks
    copy, copy2 = 0, 0
    if ASM:
        table, table2 = place_pairs(pairs), 0
        if DOUBLE:
            table2 = place_scales(scale_levels)
        tl.debug_barrier()
        copy, copy2 = settled(table) + 4 * (lanes % 32), settled(table2) + 4 * (n % 4)

    lanes = tl.arange(0, 32 * WARPS)  # of x: lane 4 slot + u holds the inputs of the columns that lane u has codes of
    u, slot, own = lanes % 4, lanes // 4 % 8, lanes // 32
    m = slot % 4  # the row of x
    inputs = x + ((m * (64 * BLOCKS) + 256 * own + 32 * u)[:, None] + tl.arange(0, 8)[None, :])
    mine, fours = slot // 4 == u // 2, tl.arange(0, 4)[None, :]  # what is not mine is zero
    # All up to here touches weights alone, so it may run while the kernel that writes x is at work. The next kernel
    # may start at once: it waits here for this one, too.
    if EARLY:
        wait: tl.constexpr = "griddepcontrol.wait; griddepcontrol.launch_dependents; mov.b32 $0, 0;"
        tl.inline_asm_elementwise(wait, "=r", [], tl.int32, is_pure=False, pack=1)
    for tile in tl.range(tl.program_id(0), TILES, PROGRAMS, num_stages=1):
        total = tl.zeros((WARPS, 16, 4, 2), tl.float32)
        if FOURS == 2:
            more = tl.zeros((WARPS, 16, 4, 2), tl.float32)
        if DOUBLE and MERGED:
            mean = tl.load(offset + ((tile >= SECOND).to(tl.int32) + (tile >= THIRD).to(tl.int32)))
        start, after = tile * size, tl.minimum(tile + PROGRAMS, TILES - 1) * size  # after the last: any, it goes unused
        for k in tl.range(0, BLOCKS, 4 * WARPS, num_stages=1):
            follows = tl.where(k + 4 * WARPS < BLOCKS, start + k + 4 * WARPS, after)
            next_first, next_second = tl.load(words + 8 * follows), tl.load(words + 8 * follows + 16)
            if DOUBLE:
                next_four = tl.load((absmax + blocks + follows).to(tl.pointer_type(tl.int32)))
                next_factor = tl.load(absmax2 + ((blocks + follows) >> 8))
                scale = scale_at((four >> (8 * (t // 2))) & 255, scale_levels, copy2, ASM) * factor + mean
                scale2 = scale_at((four >> (8 * (t // 2) + 16)) & 255, scale_levels, copy2, ASM) * factor + mean
            else:
                scale = tl.load(absmax + blocks + start + k + t // 2)
                scale2 = tl.load(absmax + blocks + start + k + t // 2 + 2)
            at, used = inputs + 64 * k, (mine & (m < M))[:, None]
            total += times_pair(first, scale, at, used, pairs, copy, WARPS, ASM, INTERPRETED)
            total += times_pair(second, scale2, at + 128, used, pairs, copy, WARPS, ASM, INTERPRETED)
            if FOURS == 2:
                at, used = at + 256 * BLOCKS, (mine & (m + 4 < M))[:, None]
                more += times_pair(first, scale, at, used, pairs, copy, WARPS, ASM, INTERPRETED)
                more += times_pair(second, scale2, at + 128, used, pairs, copy, WARPS, ASM, INTERPRETED)
            first, second = next_first, next_second
            if DOUBLE:
                four, factor = next_four, next_factor
        place = out + fours * (16 * TILES) + 16 * tile + tl.arange(0, 16)[:, None]
        # over the two blocks of the pair, then over the warps
        sums = tl.sum(tl.sum(tl.reshape(total, (WARPS, 16, 2, 4)), 2), 0).to(out.dtype.element_ty)
        tl.store(place, sums, mask=fours < M)
        if FOURS == 2:
            sums = tl.sum(tl.sum(tl.reshape(more, (WARPS, 16, 2, 4)), 2), 0).to(out.dtype.element_ty)
            tl.store(place + 64 * TILES, sums, mask=fours + 4 < M)


@torch.library.custom_op("mistral_4bit::linear", mutates_args=())
def linear_op(
    x: torch.Tensor,
    codes: torch.Tensor,
    absmax: torch.Tensor,
    scale_levels: torch.Tensor | None,
    absmax2: torch.Tensor | None,
    offset: torch.Tensor | None,
    rows: int,
    asm: bool = True,
    early: bool = False,
) -> torch.Tensor:
    """What torch.compile sees of the product: `multiply`, as one operator."""
    return multiply(x, codes, (absmax, scale_levels, absmax2, offset), rows, asm, early)


@linear_op.register_fake
def _(x, codes, absmax, scale_levels, absmax2, offset, rows, asm=True, early=False):
    return x.new_empty((*x.shape[:-1], rows))


def multiply(x, codes, constants, rows: int, asm=True, early=False, bounds=()) -> torch.Tensor:
    """x (…, columns) times a weight (rows, columns), unchecked: shape (…, rows).

    `constants` are absmax and, with double quantization, its levels, its second absmax and offset; else None for these
    three. `bounds` are the rows where the second and the third of merged weights begin.
    """
    x, chosen = x.contiguous(), plan(rows, x.shape[-1])
    if constants[0].data_ptr() % 4:  # the kernel reads four at a time, and a view may begin anywhere
        constants = (constants[0].clone(), *constants[1:])
    out = torch.empty((*x.shape[:-1], rows), dtype=x.dtype, device=x.device)
    if chosen.early and not early:
        chosen = chosen._replace(early=False)
    launch(x, codes, constants, out, chosen, asm, bounds=bounds)
    return out


started: dict[tuple, object] = {}  # compiled kernels that can be launched again, by all that they were compiled for


def launch(x, codes, constants, out, plan: Plan, asm: bool = True, kernel=None, bounds=()):
    """Start the kernel, or a variant of it, on contiguous tensors, unchecked; `constants` and `bounds` as above.

    Triton finds out with each launch which of its compiled kernels fits the arguments, and that takes the host longer
    than the GPU takes for the product. So what it found is kept, and called again with addresses instead of tensors,
    as long as all addresses are multiples of 16, for which it was compiled.
    """
    columns, rows = x.shape[-1], out.shape[-1]
    count, double = x.numel() // columns, constants[3] is not None
    tensors = (x, codes, *(constants if double else constants[:1] * 4), kept_pairs(x.dtype, x.device), out)
    addresses = [tensor.data_ptr() for tensor in tensors]
    aligned = not (addresses[0] | addresses[1] | addresses[2] | addresses[4] | addresses[7]) & 15
    key = (kernel, x.dtype, x.device, count, rows, columns, plan, double, asm, bounds)
    again = started.get(key) if aligned else None
    if again is not None and x.device.index == torch.cuda.current_device():
        run, sizes = again
        run(*addresses, *sizes)
        return
    processors, capability = _processors(x.device)
    early = plan.early and capability >= (9, 0)
    programs = min(rows // 16, plan.programs * processors)
    bounds = [bound // 16 for bound in bounds] + [rows // 16] * (2 - len(bounds))
    sizes = (count, rows // 16, columns // BLOCK, programs, *bounds)
    choices = {
        "WARPS": plan.warps, "FOURS": 1 + (count > 4), "DOUBLE": double, "MERGED": key[-1] != (), "EARLY": early,
        "ASM": asm and not INTERPRETED, "INTERPRETED": INTERPRETED,
    }  # fmt: skip
    tensors = (x, codes.view(-1).view(torch.int32), *tensors[2:])
    with _device(x.device):
        compiled = (kernel or linear_kernel)[(programs,)](
            *tensors, *sizes, **choices, num_warps=plan.warps, **({"launch_pdl": True} if early else {})
        )
    if aligned and compiled is not None:  # the interpreter compiles nothing
        started[key] = compiled[(programs, 1, 1)], (*sizes, *choices.values())


def _device(device: torch.device):
    """Triton launches on the current GPU, which need not be that of the tensors."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


@functools.cache
def _processors(device: torch.device) -> tuple[int, tuple[int, int]]:
    """Multiprocessors of a GPU and its capability; where the kernel is interpreted, few, so that tiles are shared."""
    if device.type != "cuda":
        return 1, (0, 0)
    return torch.cuda.get_device_properties(device).multi_processor_count, torch.cuda.get_device_capability(device)


def why_not(device: torch.device | str) -> str | None:
    """Why the kernel cannot run on a device, or None if it can."""
    device = torch.device(device)
    if triton is None:
        return "Triton, in which the kernel is written, is not installed (it comes with PyTorch for CUDA)"
    if tuple(map(int, triton.__version__.split(".")[:2])) < (3, 5):  # which multiplies by 8 columns
        return f"the kernel needs Triton 3.5, which comes with PyTorch 2.9, and this is Triton {triton.__version__}"
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
    return fused_linear(x, codes, state, asm)


def fused_linear(x, codes, state, asm=True, early=False):
    """`early` is for weights that were there before the kernel ahead was launched: a layer's, not a fresh tensor's."""
    second = (state.state2.code, state.state2.absmax, state.offset) if state.nested else (None, None, None)
    if torch.compiler.is_compiling():
        return torch.ops.mistral_4bit.linear(x, codes, state.absmax, *second, state.shape[0], asm, early)
    return multiply(x, codes, (state.absmax, *second), state.shape[0], asm, early)
