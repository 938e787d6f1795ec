"""The kernel for 33 to 64 rows: tiles of 128 outputs, since so many rows of x cost more to read than the weights.

`rows.py` makes 16 outputs at a time and reads x for each 16 again. Here a program makes 128, looks their levels up, and
leaves the rest to Hopper's wide product (`wgmma`), whose first operand may lie in registers.
"""

import functools

from .lookup import jit, look_up, place_pairs, place_scales, scale_at, settled, tl
from .product import product

__all__ = ["MAX_ROWS", "TILE", "tiles_kernel"]

MAX_ROWS = 64  # of x
TILE = 128  # outputs of a program


@jit
def levels_of_tile(word, pairs, copy, dtype: tl.constexpr, ASM: tl.constexpr):
    """The levels of words of eight codes, (N, K / 8) to (N, K)."""
    p, q, r, s = look_up(word, pairs, copy, ASM)
    both = tl.join(tl.join(p, r), tl.join(q, s))  # bytes 0 and 2, 1 and 3: in the order of the columns
    first, second = both.to(tl.int16).to(dtype, bitcast=True), (both >> 16).to(tl.int16).to(dtype, bitcast=True)
    return tl.reshape(tl.join(first, second), (word.shape[0], word.shape[1] * 8))


@jit
def lane_of(like):
    """The lane that holds each element of a tensor, of the tensor's shape."""
    lane: tl.constexpr = "mov.u32 $0, %laneid; // $1"
    return tl.inline_asm_elementwise(lane, "=r,r", [like], tl.int32, is_pure=True, pack=1)


@functools.partial(jit, do_not_specialize=["M", "N", "EACH", "SECOND", "THIRD"])
def tiles_kernel(
    x, codes, absmax, scale_levels, absmax2, offset, pairs, out, M, N, BLOCKS, EACH, SECOND, THIRD,
    TILE: tl.constexpr, ROWS: tl.constexpr, DOUBLE: tl.constexpr, MERGED: tl.constexpr, ASM: tl.constexpr,
    INTERPRETED: tl.constexpr,
):  # fmt: skip
    """One tile of outputs, for a part of the columns: EACH times 4 blocks of 64.

    A weight with few outputs has few tiles. Then several programs share its columns: out is (programs, M, N) in
    float32, and their sums are added later. Codes and x are on their way two steps ahead (`num_stages`), absmax and
    its factor one step.
    """
    n = tl.program_id(0) * TILE + tl.arange(0, TILE)
    at = tl.minimum(n, N - 1)  # the last tile may reach beyond the weight
    m = tl.arange(0, ROWS)
    used = (m < M)[None, :]
    copy, copy2 = 0, 0
    if ASM:
        table, table2 = place_pairs(pairs), 0
        if DOUBLE:
            table2 = place_scales(scale_levels)
        tl.debug_barrier()
        copy = settled(table) + 4 * lane_of(tl.zeros((TILE, 8), tl.int32))
        copy2 = settled(table2) + 4 * (lane_of(tl.zeros((TILE,), tl.int32)) % 4)
    begin = tl.program_id(1) * EACH
    words = codes + (at * (8 * BLOCKS))[:, None] + tl.arange(0, 8)[None, :]
    inputs = x + (m * (64 * BLOCKS))[None, :] + tl.arange(0, 64)[:, None]
    first = at * BLOCKS
    if DOUBLE:
        mean = tl.load(offset)
        if MERGED:
            mean = tl.load(offset + ((n >= SECOND).to(tl.int32) + (n >= THIRD).to(tl.int32)))
        four = (absmax + first).to(tl.pointer_type(tl.int32))  # absmax in 8 bits, of four blocks
        scales, factor = tl.load(four + begin), tl.load(absmax2 + ((first + 4 * begin) >> 8))
    total = tl.zeros((TILE, ROWS), tl.float32)
    for k in tl.range(begin, begin + EACH, num_stages=3):
        if DOUBLE:
            follows = tl.minimum(k + 1, begin + EACH - 1)
            next_scales, next_factor = tl.load(four + follows), tl.load(absmax2 + ((first + 4 * follows) >> 8))
        for i in tl.static_range(4):
            word = tl.load(words + 32 * k + 8 * i)
            given = tl.load(inputs + 256 * k + 64 * i, mask=used, other=0.0)
            value = levels_of_tile(word, pairs, copy, x.dtype.element_ty, ASM)
            if DOUBLE:
                scale = scale_at((scales >> (8 * i)) & 255, scale_levels, copy2, ASM) * factor + mean
            else:
                scale = tl.load(absmax + first + 4 * k + i)
            total += product(value, given, INTERPRETED) * scale[:, None]
        if DOUBLE:
            scales, factor = next_scales, next_factor
    part = out + tl.program_id(1).to(tl.int64) * M * N
    tl.store(part + (m * N)[None, :] + n[:, None], total.to(out.dtype.element_ty), mask=used & (n < N)[:, None])
