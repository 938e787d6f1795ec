"""The kernel's sibling for 5 to 32 rows, and one that writes a weight's values to memory, for more.

Where a prompt has hundreds of rows the product itself takes longest, and cuBLAS makes it best: then the weight's values
are made once, bit for bit those of bitsandbytes, by one kernel instead of three.
"""

import functools

from .lookup import jit, look_up, place_pairs, place_scales, scale_at, settled, tl, triton
from .product import product, weights

__all__ = ["SOME_ROWS", "dequantize_kernel", "rows_kernel"]

SOME_ROWS = 32  # of x; for more, its tiles are too small: x is read again for each

# The 16 levels lie in shared memory, 32 copies side by side, so that each lane asks its own bank. From a word of 8
# codes, the scale of their block and the address of the levels, this makes four words of two values each.
_HALF = """
    bfe.u32 at, $4, {high}, 4; mad.lo.u32 at, at, 128, own; ld.shared.f32 a, [at]; mul.rn.f32 a, a, $6;
    bfe.u32 at, $4, {low}, 4;  mad.lo.u32 at, at, 128, own; ld.shared.f32 b, [at]; mul.rn.f32 b, b, $6;
    cvt.rn.{type}x2.f32 ${i}, b, a;"""


def _text(name: str) -> str:
    body = "".join(_HALF.format(high=8 * i + 4, low=8 * i, i=i, type=name) for i in range(4))
    return "{ .reg .b32 at, own; .reg .f32 a, b; mov.u32 own, %laneid; mad.lo.u32 own, own, 4, $5;" + body + "\n}"


_texts = {
    "PLACE_LEVELS": ".shared .align 128 .b8 nf4_levels[2048]; mov.u32 $0, nf4_levels; // $1",
    "VALUES_BF16": _text("bf16"),
    "VALUES_FP16": _text("f16"),
}
PLACE_LEVELS, VALUES_BF16, VALUES_FP16 = (
    tl.constexpr(text) if triton is not None else text for text in _texts.values()
)


@jit
def place_levels(levels):
    """Have a program put the 16 levels into its shared memory, 32 copies; returns the address, behind a barrier."""
    i = tl.arange(0, 512)
    address = tl.inline_asm_elementwise(PLACE_LEVELS, "=r,r", [tl.program_id(0)], tl.int32, is_pure=False, pack=1)
    put: tl.constexpr = "st.shared.f32 [$1], $2; mov.b32 $0, 0;"
    operands = [address + 4 * i, tl.load(levels + i // 32)]
    tl.inline_asm_elementwise(put, "=r,r,f", operands, tl.int32, is_pure=False, pack=1)
    tl.debug_barrier()
    return settled(address)


@jit
def scale_of(absmax, scale_levels, absmax2, offset, block, DOUBLE: tl.constexpr, ASM: tl.constexpr):
    """The absmax of blocks, product and sum rounded one after the other, as bitsandbytes does it."""
    if DOUBLE:
        level = tl.load(scale_levels + tl.load(absmax + block).to(tl.int32))
        factor, mean = tl.load(absmax2 + block // 256), tl.load(offset)
        if ASM:
            text: tl.constexpr = "{ .reg .f32 t; mul.rn.f32 t, $1, $2; add.rn.f32 $0, t, $3; }"
            return tl.inline_asm_elementwise(text, "=f,f,f,f", [level, factor, mean], tl.float32, is_pure=True, pack=1)
        else:
            return level * factor + mean
    else:
        return tl.load(absmax + block)


@jit
def values_of(word, scale, levels, place, dtype: tl.constexpr, ASM: tl.constexpr):
    """The values of words of eight codes, (N, K / 8) to (N, K); scale has the shape of the words."""
    N: tl.constexpr = word.shape[0]
    K: tl.constexpr = word.shape[1] * 8
    if ASM:
        text: tl.constexpr = VALUES_BF16 if dtype == tl.bfloat16 else VALUES_FP16
        four: tl.constexpr = (tl.int32, tl.int32, tl.int32, tl.int32)
        p, q, r, s = tl.inline_asm_elementwise(
            text, "=&r,=&r,=&r,=&r,r,r,f", [word, place, scale], dtype=four, is_pure=True, pack=1
        )
        both = tl.join(tl.join(p, r), tl.join(q, s))  # bytes 0 and 2, 1 and 3: in the order of the columns
        first, second = both.to(tl.int16).to(dtype, bitcast=True), (both >> 16).to(tl.int16).to(dtype, bitcast=True)
        return tl.reshape(tl.join(first, second), (N, K))
    else:
        i = tl.arange(0, 8)[None, None, :]
        place = 8 * (i // 2) + 4 * (1 - i % 2)  # the high four bits of a byte come first
        code = (word[:, :, None] >> place) & 15
        return tl.reshape((tl.load(levels + code) * scale[:, :, None]).to(dtype), (N, K))


@jit
def times_eights(
    word, x, used, pairs, copy, WARPS: tl.constexpr, EIGHTS: tl.constexpr, ASM: tl.constexpr, INTERPRETED: tl.constexpr
):
    """The sums [WARPS, 16, 8 EIGHTS] of one word, 8 codes, of each lane and row times eight inputs, those at x."""
    given = tl.load(x, mask=used, other=0.0)
    given = tl.permute(tl.reshape(given, (EIGHTS, WARPS, 8, 4, 2, 4)), (1, 3, 5, 0, 2, 4))
    first, second = tl.split(given)
    a, b = tl.reshape(first, (WARPS, 16, 8 * EIGHTS)), tl.reshape(second, (WARPS, 16, 8 * EIGHTS))
    p, q, r, s = look_up(word, pairs, copy, ASM)
    part = product(weights(p, q, WARPS, x.dtype.element_ty), a, INTERPRETED)
    return part + product(weights(r, s, WARPS, x.dtype.element_ty), b, INTERPRETED)


@jit
def times_block(
    words,
    scale,
    x,
    used,
    pairs,
    copy,
    WARPS: tl.constexpr,
    EIGHTS: tl.constexpr,
    ASM: tl.constexpr,
    INTERPRETED: tl.constexpr,
):
    """The sums of a block of 64, two words of each lane and row, times the block's scale: [WARPS, 16, EIGHTS, 4, 2]."""
    first, second = tl.split(words)
    part = times_eights(first, x, used, pairs, copy, WARPS, EIGHTS, ASM, INTERPRETED)
    part += times_eights(second, x + 8, used, pairs, copy, WARPS, EIGHTS, ASM, INTERPRETED)
    scale = tl.permute(tl.reshape(scale, (2, WARPS, 8, 4)), (1, 0, 2, 3))
    return tl.reshape(part, (WARPS, 16, EIGHTS, 4, 2)) * tl.reshape(scale, (WARPS, 16, 1, 4, 1))


@functools.partial(jit, do_not_specialize=["M", "TILES", "PROGRAMS", "SECOND", "THIRD"])
def rows_kernel(
    x, codes, absmax, scale_levels, absmax2, offset, pairs, out, M, TILES, BLOCKS, PROGRAMS, SECOND, THIRD,
    WARPS: tl.constexpr, EIGHTS: tl.constexpr, WIDE: tl.constexpr, DOUBLE: tl.constexpr, MERGED: tl.constexpr,
    EARLY: tl.constexpr, ASM: tl.constexpr, INTERPRETED: tl.constexpr,
):  # fmt: skip
    """Tiles of 16 outputs for up to 8 * EIGHTS rows of x; `product.linear_kernel` with other lanes.

    There a lane loads half a block at once, so lanes of two blocks meet in an instruction of the tensor cores, and half
    of its 8 slots for rows of x must hold zeros. Here a lane loads a quarter of a block, in half as wide pieces, and
    all slots hold rows. A step takes two blocks a warp, or four if it is WIDE.
    """
    STEP: tl.constexpr = 4 if WIDE else 2
    lanes = tl.arange(0, 64 * WARPS)  # lane, warp, half of the rows: the lane counts fastest
    t, n, warp = lanes % 4, lanes // 4 % 8, lanes // 32 % WARPS
    row = n + lanes // (32 * WARPS) * 8
    words = codes + ((row * (8 * BLOCKS) + 8 * STEP * warp + 2 * t)[:, None] + tl.arange(0, 2)[None, :])
    blocks = row * BLOCKS + STEP * warp
    size = tl.full((), 16, tl.int64) * BLOCKS
    start = tl.program_id(0) * size
    first, second, third, fourth = tl.load(words + 8 * start), tl.load(words + 8 * start + 8), 0, 0
    if WIDE:
        third, fourth = tl.load(words + 8 * start + 16), tl.load(words + 8 * start + 24)
    if DOUBLE:
        mean = tl.load(offset)
        factor = tl.load(absmax2 + ((blocks + start) >> 8))
        if WIDE:  # absmax in 8 bits: four or two with one load
            scales = tl.load((absmax + blocks + start).to(tl.pointer_type(tl.int32)))
        else:
            scales = tl.load((absmax + blocks + start).to(tl.pointer_type(tl.int16))).to(tl.int32)
    copy, copy2 = 0, 0
    if ASM:
        table, table2 = place_pairs(pairs), 0
        if DOUBLE:
            table2 = place_scales(scale_levels)
        tl.debug_barrier()
        copy, copy2 = settled(table) + 4 * (lanes % 32), settled(table2) + 4 * (n % 4)

    lanes = tl.arange(0, 32 * WARPS * EIGHTS)  # of x: lane, warp, eight rows
    u, slot, own = lanes % 4, lanes // 4 % 8, lanes // 32 % WARPS
    m = slot + 8 * (lanes // (32 * WARPS))
    inputs = x + ((m * (64 * BLOCKS) + 64 * STEP * own + 16 * u)[:, None] + tl.arange(0, 8)[None, :])
    used = (m < M)[:, None]
    if EARLY:
        wait: tl.constexpr = "griddepcontrol.wait; griddepcontrol.launch_dependents; mov.b32 $0, 0;"
        tl.inline_asm_elementwise(wait, "=r", [], tl.int32, is_pure=False, pack=1)
    for tile in tl.range(tl.program_id(0), TILES, PROGRAMS, num_stages=1):
        total = tl.zeros((WARPS, 16, EIGHTS, 4, 2), tl.float32)
        if DOUBLE and MERGED:
            mean = tl.load(offset + ((tile >= SECOND).to(tl.int32) + (tile >= THIRD).to(tl.int32)))
        start, after = tile * size, tl.minimum(tile + PROGRAMS, TILES - 1) * size
        for k in tl.range(0, BLOCKS, STEP * WARPS, num_stages=1):
            follows = tl.where(k + STEP * WARPS < BLOCKS, start + k + STEP * WARPS, after)
            next_first, next_second = tl.load(words + 8 * follows), tl.load(words + 8 * follows + 8)
            if WIDE:
                next_third, next_fourth = tl.load(words + 8 * follows + 16), tl.load(words + 8 * follows + 24)
            if DOUBLE:
                next_factor = tl.load(absmax2 + ((blocks + follows) >> 8))
                if WIDE:
                    next_scales = tl.load((absmax + blocks + follows).to(tl.pointer_type(tl.int32)))
                else:
                    next_scales = tl.load((absmax + blocks + follows).to(tl.pointer_type(tl.int16))).to(tl.int32)
                scale = scale_at(scales & 255, scale_levels, copy2, ASM) * factor + mean
                scale2 = scale_at((scales >> 8) & 255, scale_levels, copy2, ASM) * factor + mean
            else:
                at_absmax = absmax + blocks + start + k
                scale, scale2 = tl.load(at_absmax), tl.load(at_absmax + 1)
            at = inputs + 64 * k
            total += times_block(first, scale, at, used, pairs, copy, WARPS, EIGHTS, ASM, INTERPRETED)
            total += times_block(second, scale2, at + 64, used, pairs, copy, WARPS, EIGHTS, ASM, INTERPRETED)
            if WIDE:
                if DOUBLE:
                    scale = scale_at((scales >> 16) & 255, scale_levels, copy2, ASM) * factor + mean
                    scale2 = scale_at((scales >> 24) & 255, scale_levels, copy2, ASM) * factor + mean
                else:
                    scale, scale2 = tl.load(at_absmax + 2), tl.load(at_absmax + 3)
                total += times_block(third, scale, at + 128, used, pairs, copy, WARPS, EIGHTS, ASM, INTERPRETED)
                total += times_block(fourth, scale2, at + 192, used, pairs, copy, WARPS, EIGHTS, ASM, INTERPRETED)
                third, fourth = next_third, next_fourth
            first, second = next_first, next_second
            if DOUBLE:
                scales, factor = next_scales, next_factor
        sums = tl.sum(tl.reshape(total, (WARPS, 16, 8 * EIGHTS)), 0).to(out.dtype.element_ty)
        slots = tl.arange(0, 8 * EIGHTS)[None, :]
        tl.store(out + slots * (16 * TILES) + 16 * tile + tl.arange(0, 16)[:, None], sums, mask=slots < M)


@jit
def dequantize_kernel(
    codes, absmax, scale_levels, absmax2, offset, levels, out, BLOCKS, dtype: tl.constexpr, SIZE: tl.constexpr,
    DOUBLE: tl.constexpr, ASM: tl.constexpr,
):  # fmt: skip
    """The values of SIZE blocks of 64."""
    place = 0
    if ASM:
        place = place_levels(levels)
    block = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    there = (block < BLOCKS)[:, None]
    word = tl.load(codes + block[:, None] * 8 + tl.arange(0, 8)[None, :], mask=there, other=0)
    scale = scale_of(absmax, scale_levels, absmax2, offset, tl.minimum(block, BLOCKS - 1), DOUBLE, ASM)
    scale = tl.broadcast_to(scale[:, None], (SIZE, 8))
    value = values_of(word, scale, levels, place, dtype, ASM)
    tl.store(out + block[:, None] * 64 + tl.arange(0, 64)[None, :], value, mask=there)
