"""Look the levels of NF4's codes up on a GPU: by pointer, by byte permutes, or as pairs in shared memory.

The parts of notebook 11's kernel that know what a code is. Without Triton this file still imports.
"""

import functools
import os
from types import SimpleNamespace

import torch

from .. import nf4
from ..errors import CourseError

try:
    import triton
    import triton.language as tl

    jit = triton.jit
except ImportError:  # macOS, Windows, or a PyTorch without CUDA: kernels can be read there, not run
    triton, tl = None, SimpleNamespace(constexpr=int)

    def jit(function, **given):
        return function


__all__ = ["DTYPES", "INTERPRETED", "decode", "jit", "pairs", "table", "tl", "triton"]

DTYPES = (torch.bfloat16, torch.float16)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"  # as Triton reads it when it is imported


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


def pairs(dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu") -> torch.Tensor:
    """Both levels of every byte, int32 of shape (256,) on `device`: that of its high four bits in the low half."""
    bits, byte = table(dtype)[:16], torch.arange(256)
    return (bits[byte >> 4] | bits[byte & 15] << 16).to(device)


kept_pairs, kept_table = functools.cache(pairs), functools.cache(table)

# One word holds 8 codes; an output holds two levels. `prmt` picks 4 bytes out of 8 by the low 3 bits of 4 codes, so a
# plane (low or high bytes) takes two of them, for codes 0-7 and 8-15; `lop3` chooses between these by bit 3, which a
# `prmt` in its sign mode has spread over a byte; two more put low and high bytes side by side.
LOOK_UP_HALF = """
    prmt.b32 a, $5, $6, {codes};    prmt.b32 b, $7, $8, {codes};
    prmt.b32 c, $9, $10, {codes};   prmt.b32 d, $11, $12, {codes};
    prmt.b32 m, $4, shifted, {signs};
    lop3.b32 a, m, b, a, 0xCA;      lop3.b32 c, m, d, c, 0xCA;
    prmt.b32 {first}, a, c, 0x4051; prmt.b32 {second}, a, c, 0x6273;
"""
DECODE_TEXT = (
    "{ .reg .b32 low, high, shifted, a, b, c, d, m;\n"
    "    and.b32 low, $4, 0x77777777; shr.u32 high, low, 16; shl.b32 shifted, $4, 4;"
    + LOOK_UP_HALF.format(codes="low", signs="0x9D8C", first="$0", second="$1")
    + LOOK_UP_HALF.format(codes="high", signs="0xBFAE", first="$2", second="$3")
    + "}"
)

# Triton has no shared memory of one's own, PTX has. A program holds the pairs of all bytes there, 32 copies side by
# side: shared memory lies in 32 banks that answer one lane each at a time, so a lane asks the copy in its own bank. To
# look a byte up, `prmt` takes it out (selector 0x444i: byte i, zeros above it); times 32 copies of 4 bytes, plus the
# lane's own address, it is where to look. An argument named in a comment alone, `// $1`, and a result 0 are there since
# Triton wants of all assembly that it maps elements to elements.
_PLACE = ".shared .align 128 .b8 {name}[{bytes}]; mov.u32 $0, {name}; // $1"
_LOOK_UP = (
    "{ .reg .b32 at;"
    + "".join(
        f"\n    prmt.b32 at, $4, 0, 0x444{i}; mad.lo.u32 at, at, 128, $5; ld.shared.b32 ${i}, [at];" for i in range(4)
    )
    + "\n}"
)
_texts = {
    "DECODE": DECODE_TEXT,
    "PLACE_PAIRS": _PLACE.format(name="nf4_pairs", bytes=256 * 32 * 4),
    "PLACE_SCALES": _PLACE.format(name="nf4_scales", bytes=256 * 4 * 4),
    "LOOK_UP": _LOOK_UP,
}
DECODE, PLACE_PAIRS, PLACE_SCALES, LOOK_UP = (
    tl.constexpr(text) if triton is not None else text for text in _texts.values()
)


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
def place_pairs(pairs):
    """Have a program put the pairs of all bytes into its shared memory, 32 copies; returns the address there.

    A barrier has to follow, and `settled`, before anything is looked up.
    """
    i = tl.arange(0, 2048)  # four copies with one instruction, so 8 of them for an entry
    address = tl.inline_asm_elementwise(PLACE_PAIRS, "=r,r", [tl.program_id(0)], tl.int32, is_pure=False, pack=1)
    put: tl.constexpr = "st.shared.v4.b32 [$1], {$2, $2, $2, $2}; mov.b32 $0, 0;"
    operands = [address + 16 * i, tl.load(pairs + i // 8)]
    tl.inline_asm_elementwise(put, "=r,r,r", operands, tl.int32, is_pure=False, pack=1)
    return address


@jit
def place_scales(levels):
    """The same for the 256 values that an absmax in 8 bits stands for, 4 copies, one with an instruction.

    With four it would be 256 indices, and Triton spreads the kernel's own tensors of 256 elements as it does these.
    """
    i = tl.arange(0, 1024)
    address = tl.inline_asm_elementwise(PLACE_SCALES, "=r,r", [tl.program_id(0)], tl.int32, is_pure=False, pack=1)
    put: tl.constexpr = "st.shared.f32 [$1], $2; mov.b32 $0, 0;"
    operands = [address + 4 * i, tl.load(levels + i // 4)]
    tl.inline_asm_elementwise(put, "=r,r,f", operands, tl.int32, is_pure=False, pack=1)
    return address


@jit
def settled(address):
    """An address in shared memory, behind a barrier: what reads through it cannot be moved before the barrier."""
    return tl.inline_asm_elementwise("mov.b32 $0, $1;", "=r,r", [address], tl.int32, is_pure=False, pack=1)


@jit
def look_up(word, pairs, copy, ASM: tl.constexpr):
    """Four int32, the pairs of bytes 0 to 3 of each word: from shared memory at the lane's `copy`, or from `pairs`."""
    if ASM:
        four: tl.constexpr = (tl.int32, tl.int32, tl.int32, tl.int32)
        return tl.inline_asm_elementwise(LOOK_UP, "=r,=r,=r,=r,r,r", [word, copy], four, is_pure=True, pack=1)
    else:
        return (
            tl.load(pairs + (word & 255)), tl.load(pairs + ((word >> 8) & 255)),
            tl.load(pairs + ((word >> 16) & 255)), tl.load(pairs + ((word >> 24) & 255)),
        )  # fmt: skip


@jit
def scale_at(code, levels, copy, ASM: tl.constexpr):
    """What absmax in 8 bits stands for, before its second level."""
    if ASM:
        get: tl.constexpr = "{ .reg .b32 at; mad.lo.u32 at, $1, 16, $2; ld.shared.f32 $0, [at]; }"
        return tl.inline_asm_elementwise(get, "=f,r,r", [code, copy], tl.float32, is_pure=True, pack=1)
    else:
        return tl.load(levels + code)


@jit
def _decode(words, table, pairs, out, WAY: tl.constexpr):
    i = tl.program_id(0) * 128 + tl.arange(0, 128)
    word = tl.load(words + i)
    if WAY == "pairs":
        copy = place_pairs(pairs)
        tl.debug_barrier()
        p, q, r, s = look_up(word, pairs, settled(copy) + 4 * (i % 32), True)
    else:
        p, q, r, s = levels_of(word, table, own_words(table, i % 4), WAY == "permutes")
    tl.store(out + 4 * i, p)
    tl.store(out + 4 * i + 1, q)
    tl.store(out + 4 * i + 2, r)
    tl.store(out + 4 * i + 3, s)


def decode(codes: torch.Tensor, dtype: torch.dtype = torch.bfloat16, way: str = "pairs") -> torch.Tensor:
    """Levels of packed codes (uint8, a multiple of 512 bytes), looked up in one way: shape (2 * bytes,) in `dtype`.

    `way`: "pairs" in shared memory or byte "permutes", which both need a GPU, or plain Triton by "pointer".
    """
    if way not in ("pairs", "permutes", "pointer"):
        raise CourseError(f'There is no look-up "{way}": take "pairs", "permutes" or "pointer".')
    out = torch.empty(2 * codes.numel(), dtype=dtype, device=codes.device)
    words, target = codes.view(-1).view(torch.int32), out.view(torch.int32)
    tables = kept_table(dtype, codes.device), kept_pairs(dtype, codes.device)
    _decode[(words.numel() // 128,)](words, *tables, target, "pointer" if INTERPRETED else way)
    return out
