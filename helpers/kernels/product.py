"""A fused NF4 matrix-vector kernel in Triton: what notebook 11 builds up to, for 1 to 4 rows.

It reads bitsandbytes' own layout (codes, 8-bit absmax and its second level), looks levels up in shared memory and
multiplies on the tensor cores, so that no 16-bit weight ever goes through the GPU's memory. `calling.py` starts it, and
`rows.py` has its sibling for more rows. Without Triton this file still imports.
"""

import functools
from typing import NamedTuple

from .lookup import jit, look_up, place_pairs, place_scales, scale_at, settled, tl

__all__ = ["BLOCK", "FEW_ROWS", "PLANS", "Plan", "linear_kernel"]

FEW_ROWS = 4  # half of the tensor cores' slots
BLOCK = 64  # weights that share an absmax


class Plan(NamedTuple):
    """How a product is divided: warps of a program, programs for each multiprocessor, whether they start early."""

    warps: int = 4  # they share the columns: 4 blocks each in a step
    programs: int = 4  # each makes tiles of 16 outputs, one after the other
    early: bool = True  # before the kernel ahead of it has ended (from capability 9.0 on)


# by shape of the weight (rows, columns): the fastest on an H100 of those that benchmarks/kernel_bench.py tries
PLANS: dict[tuple[int, int], Plan] = {
    (14336, 4096): Plan(warps=4, programs=4),
    (4096, 14336): Plan(warps=8, programs=4, early=False),
    (4096, 4096): Plan(warps=4, programs=2),
    (1024, 4096): Plan(warps=4, programs=2),
    (28672, 4096): Plan(warps=4, programs=4),
    (6144, 4096): Plan(warps=4, programs=5),
}


@jit
def weights(p, q, WARPS: tl.constexpr, dtype: tl.constexpr):
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
def inputs_of(x, WARPS: tl.constexpr):
    """Eight inputs a lane as two tiles [WARPS, 16, 8], those that meet the levels of `weights`."""
    first, second = tl.split(tl.permute(tl.reshape(x, (WARPS, 8, 4, 2, 4)), (0, 2, 4, 1, 3)))
    return tl.reshape(first, (WARPS, 16, 8)), tl.reshape(second, (WARPS, 16, 8))


@jit
def product(a, b, INTERPRETED: tl.constexpr):
    # the interpreter multiplies bfloat16 as the integers it keeps it in
    return tl.dot(a.to(tl.float32), b.to(tl.float32)) if INTERPRETED else tl.dot(a, b)


@jit
def times_word(word, x, used, pairs, copy, WARPS: tl.constexpr, ASM: tl.constexpr, INTERPRETED: tl.constexpr):
    """The sums [WARPS, 16, 8] of one word, 8 codes, of each lane and row times the eight inputs that x points to.

    Two products: p and q are the word's first four codes, r and s its last.
    """
    x = tl.load(x, mask=used, other=0.0)
    a, b = inputs_of(x, WARPS)
    p, q, r, s = look_up(word, pairs, copy, ASM)
    part = product(weights(p, q, WARPS, x.dtype), a, INTERPRETED)
    return part + product(weights(r, s, WARPS, x.dtype), b, INTERPRETED)


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
    WARPS: tl.constexpr, DOUBLE: tl.constexpr, MERGED: tl.constexpr, EARLY: tl.constexpr,
    ASM: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    """Tiles of 16 outputs for up to 4 rows of x. A step takes two pairs of blocks of 64 weights a warp.

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
            first, second = next_first, next_second
            if DOUBLE:
                four, factor = next_four, next_factor
        place = out + fours * (16 * TILES) + 16 * tile + tl.arange(0, 16)[:, None]
        # over the two blocks of the pair, then over the warps
        sums = tl.sum(tl.sum(tl.reshape(total, (WARPS, 16, 2, 4)), 2), 0).to(out.dtype.element_ty)
        tl.store(place, sums, mask=fours < M)
