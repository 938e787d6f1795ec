"""What may become the kernel of `helpers/kernels.py`: written from the compiled code of that one, not yet timed.

Two things were to be seen there. The compiler moves loads that are made a step ahead down to the end of the step, where
nothing hides them any more; and the sums of four blocks, which wait for their scales, take so many registers that few
warps are at work. Here a barrier keeps the loads where they are written, and the blocks of a step share one product:
with few rows of x most of the tensor cores' 8 columns are idle, so each block gets columns of its own, in which x
meets zeros outside the block. What a lane then finds in its registers belongs to the block whose scale it has loaded.
`benchmarks/kernel_bench.py` times it beside the kernel.
"""

from typing import NamedTuple

import torch

from helpers.kernels import INTERPRETED, _product, _table, jit, levels_of, own_words, tl


class Plan(NamedTuple):
    """Blocks of 64 weights that a warp takes in a step (1, 2 or 4), warps, and whether L2 is asked for all at first."""

    blocks: int = 2
    warps: int = 4
    fetch: bool = False


PLANS = [Plan(blocks, warps, fetch) for blocks in (1, 2, 4) for warps in (4, 8, 16) for fetch in (False, True)]


@jit
def _weights(p, q, WARPS: tl.constexpr, BLOCKS: tl.constexpr, dtype: tl.constexpr):
    """Two words of levels a lane as tiles of a product, [WARPS, 16, 16 BLOCKS]; the lanes hold them already."""
    both = tl.join(p, q)
    first = both.to(tl.int16).to(dtype, bitcast=True)
    second = (both >> 16).to(tl.int16).to(dtype, bitcast=True)
    both = tl.reshape(tl.join(first, second), (2, BLOCKS, WARPS, 8, 4, 4))
    return tl.reshape(tl.permute(both, (2, 0, 3, 1, 4, 5)), (WARPS, 16, 16 * BLOCKS))


@jit
def _inputs(x, WARPS: tl.constexpr, BLOCKS: tl.constexpr):
    """Eight inputs a lane as two tiles [WARPS, 16 BLOCKS, 8], those that meet the levels of `_weights`."""
    x = tl.permute(tl.reshape(x, (BLOCKS, WARPS, 8, 4, 2, 4)), (1, 0, 3, 5, 2, 4))
    first, second = tl.split(x)
    return tl.reshape(first, (WARPS, 16 * BLOCKS, 8)), tl.reshape(second, (WARPS, 16 * BLOCKS, 8))


@jit
def _fetch(pointers):
    """Have the L2 cache fetch what is pointed to, and go on: this takes no registers."""
    ask: tl.constexpr = "prefetch.global.L2 [$1]; mov.b32 $0, 0;"
    tl.inline_asm_elementwise(ask, "=r,l", [pointers.to(tl.int64)], dtype=tl.int32, is_pure=False, pack=1)


@jit
def _linear(
    x, codes, absmax, scale_levels, absmax2, offset, levels, out, M, N, K, WARPS: tl.constexpr, BLOCKS: tl.constexpr,
    FETCH: tl.constexpr, DOUBLE: tl.constexpr, ASM: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    """16 outputs for up to 8 / BLOCKS rows of x. A step takes BLOCKS blocks of 64 weights a warp, from each of 16 rows.

    Lane 4 n + t of a warp loads two words, 16 codes, of each of its blocks in rows n and n + 8: those that the tensor
    cores want from it. They leave it with columns 2 t and 2 t + 1 of these rows, which are block t BLOCKS / 4's.
    """
    lanes = tl.arange(0, 64 * BLOCKS * WARPS)  # lane, warp, block of the warp, row: the lane counts fastest
    t, n, warp = lanes % 4, lanes // 4 % 8, lanes // 32 % WARPS
    block = BLOCKS * warp + lanes // (32 * WARPS) % BLOCKS
    row = tl.program_id(0) * 16 + n + lanes // (32 * BLOCKS * WARPS) * 8
    words = row.to(tl.int64) * (K // 8) + 8 * block + 2 * t
    words = codes + (words[:, None] + tl.arange(0, 2)[None, :])
    permuted = own_words(levels, t)

    lanes = tl.arange(0, 32 * BLOCKS * WARPS)
    t, n, warp, block = lanes % 4, lanes // 4 % 8, lanes // 32 % WARPS, lanes // (32 * WARPS)
    m = n % (8 // BLOCKS)
    inputs = x + ((m * K + 64 * (BLOCKS * warp + block) + 16 * t)[:, None] + tl.arange(0, 8)[None, :])
    used = ((m < M) & (block == n // (8 // BLOCKS)))[:, None]

    lanes = tl.arange(0, 64 * WARPS)
    t, n, warp = lanes % 4, lanes // 4 % 8, lanes // 32 % WARPS
    row = tl.program_id(0) * 16 + n + lanes // (32 * WARPS) * 8
    scales = row * (K // 64) + BLOCKS * warp + t * BLOCKS // 4
    if FETCH and ASM:
        for k in range(0, K // 64, BLOCKS * WARPS):
            _fetch(codes + 8 * (scales.to(tl.int64) + k))
            _fetch(absmax + scales + k)
    if DOUBLE:
        mean = tl.load(offset)
    total = tl.zeros((WARPS, 16, 4, 2), tl.float32)
    ahead = tl.load(words)
    for k in tl.range(0, K // 64, BLOCKS * WARPS, num_stages=1):
        word0, word1 = tl.split(ahead)
        ahead = tl.load(words + 8 * tl.minimum(k + BLOCKS * WARPS, K // 64 - BLOCKS * WARPS))
        scale = tl.load(absmax + scales + k)
        if DOUBLE:
            second = tl.load(absmax2 + ((scales + k) >> 8))
        tl.debug_barrier()  # or the compiler loads the words ahead just before it needs them
        x0 = tl.load(inputs + 64 * k, mask=used, other=0.0)
        x1 = tl.load(inputs + 64 * k + 8, mask=used, other=0.0)
        if DOUBLE:
            scale = tl.load(scale_levels + scale.to(tl.int32)) * second + mean
        scale = tl.permute(tl.reshape(scale, (2, WARPS, 8, 4)), (1, 0, 2, 3))
        p, q, r, s = levels_of(word0, levels, permuted, ASM)
        a, b = _inputs(x0, WARPS, BLOCKS)
        part = _product(_weights(p, q, WARPS, BLOCKS, x.dtype.element_ty), a, INTERPRETED)
        part += _product(_weights(r, s, WARPS, BLOCKS, x.dtype.element_ty), b, INTERPRETED)
        p, q, r, s = levels_of(word1, levels, permuted, ASM)
        a, b = _inputs(x1, WARPS, BLOCKS)
        part += _product(_weights(p, q, WARPS, BLOCKS, x.dtype.element_ty), a, INTERPRETED)
        part += _product(_weights(r, s, WARPS, BLOCKS, x.dtype.element_ty), b, INTERPRETED)
        total += tl.reshape(part, (WARPS, 16, 4, 2)) * tl.reshape(scale, (WARPS, 16, 4, 1))
    sums = tl.sum(tl.reshape(tl.sum(total, 0), (16, BLOCKS, 8 // BLOCKS)), 1).to(out.dtype.element_ty)
    m, n = tl.arange(0, 8 // BLOCKS)[None, :], tl.program_id(0) * 16 + tl.arange(0, 16)[:, None]
    tl.store(out + m * N + n, sums, mask=m < M)


def launch(x: torch.Tensor, codes: torch.Tensor, constants: tuple, out: torch.Tensor, plan: Plan, asm: bool = True):
    """As `helpers.kernels.launch`; more rows of x than a plan's blocks leave columns for get fewer blocks."""
    columns, rows = x.shape[-1], out.shape[-1]
    count, double = x.numel() // columns, constants[3] is not None
    blocks = next(blocks for blocks in (plan.blocks, 2, 1) if blocks <= plan.blocks and count * blocks <= 8)
    _linear[(rows // 16,)](
        x, codes.view(-1).view(torch.int32), *(constants if double else constants[:1] * 4), _table(x.dtype, x.device),
        out, count, rows, columns, WARPS=plan.warps, BLOCKS=blocks, FETCH=plan.fetch, DOUBLE=double,
        ASM=asm and not INTERPRETED, INTERPRETED=INTERPRETED, num_warps=plan.warps,
    )  # fmt: skip
