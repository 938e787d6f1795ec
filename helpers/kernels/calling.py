"""Start the kernels: the fewest checks for a step of a model, all of them for whoever calls `linear`.

A product takes a GPU a few millionths of a second, and Python easily longer. So what Triton finds out about a launch is
kept and used again, and only torch.compile sees an operator of PyTorch's.
"""

import contextlib
import functools
import operator

import torch

from .. import nf4
from ..errors import CourseError
from .lookup import DTYPES, INTERPRETED, kept_pairs, tl, triton
from .product import BLOCK, FEW_ROWS, PLANS, Plan, linear_kernel
from .rows import SOME_ROWS, dequantize_kernel, rows_kernel
from .tiles import MAX_ROWS, TILE, tiles_kernel

__all__ = ["dequantize", "fused_linear", "launch", "linear", "multiply", "plan", "supports", "why_not"]

ENOUGH = 96  # programs of large tiles, of a GPU with about as many multiprocessors


def plan(rows: int, columns: int, count: int = 1) -> Plan:
    """The plan for a weight of this shape and `count` rows of x.

    Up to four rows: its own, or else as many warps as share a row's blocks evenly. For more rows, fewer warps the more
    registers a lane needs, and more of them for a weight with few outputs, whose programs are few.
    """
    blocks, eights, few = columns // BLOCK, eights_of(count), rows <= 6144
    if count <= FEW_ROWS:
        warps = next(w for w in (4, 2, 1) if blocks % (4 * w) == 0)
        return PLANS.get((rows, columns)) or Plan(warps=warps)
    most = {1: 4, 2: 8 if few and columns > 8192 else 4, 4: 4 if few else 2}[eights]
    step = 4 if wide(eights) else 2
    return Plan(next(w for w in (8, 4, 2, 1) if w <= most and blocks % (step * w) == 0), {1: 5, 2: 8}.get(eights, 4))


def wide(eights: int) -> bool:
    """Whether a step of the kernel for many rows takes four blocks a warp, not two: as it was faster on an H100."""
    return eights in (1, 4)


def eights_of(count: int) -> int:
    """How many times eight rows of x a kernel is compiled for: 1, 2 or 4."""
    return 1 << (-(-count // 8) - 1).bit_length()


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
    x = x.contiguous()
    if x.numel() > MAX_ROWS * x.shape[-1]:
        return torch.nn.functional.linear(x, dequantize(codes, constants, (rows, x.shape[-1]), x.dtype, asm))
    count = x.numel() // x.shape[-1]
    if constants[0].data_ptr() % 4:  # the kernels read four at a time, and a view may begin anywhere
        constants = (constants[0].clone(), *constants[1:])
    if count > SOME_ROWS:
        return multiply_tiles(x, codes, constants, rows, asm, bounds)
    chosen = plan(rows, x.shape[-1], count)
    out = torch.empty((*x.shape[:-1], rows), dtype=x.dtype, device=x.device)
    if chosen.early and not early:
        chosen = chosen._replace(early=False)
    launch(x, codes, constants, out, chosen, asm, bounds=bounds)
    return out


def multiply_tiles(x, codes, constants, rows: int, asm=True, bounds=()) -> torch.Tensor:
    """`multiply` for up to 64 rows of x by large tiles; where these are few, several programs share the columns."""
    columns, double = x.shape[-1], constants[3] is not None
    count, tiles, steps = x.numel() // columns, -(-rows // TILE), columns // (4 * BLOCK)
    shared = [parts for parts in (1, 2, 4, 8) if steps % parts == 0]
    parts = next((parts for parts in shared if tiles * parts >= ENOUGH), shared[-1])
    out = torch.empty((parts, count, rows), dtype=torch.float32 if parts > 1 else x.dtype, device=x.device)
    tensors = (x, codes, *(constants if double else constants[:1] * 4), kept_pairs(x.dtype, x.device), out)

    def how():
        sizes = (count, rows, columns // BLOCK, steps // parts, *bounds, *[rows] * (2 - len(bounds)))
        choices = {
            "TILE": TILE, "ROWS": MAX_ROWS, "DOUBLE": double, "MERGED": bounds != (),
            "ASM": asm and not INTERPRETED, "INTERPRETED": INTERPRETED,
        }  # fmt: skip
        return tiles_kernel, (tiles, parts), (x, words(codes), *tensors[2:]), sizes, choices, {"num_warps": 8}

    start((tiles_kernel, x.dtype, x.device, count, rows, columns, double, asm, bounds), tensors, how)
    return (out.sum(0).to(x.dtype) if parts > 1 else out).view(*x.shape[:-1], rows)


started: dict[tuple, tuple] = {}  # compiled kernels that can be launched again, and their numbers, by a caller's key


def start(key: tuple, tensors: tuple, how) -> None:
    """Start a kernel on tensors of one device; `how` says with what: kernel, grid, tensors, numbers, choices, options.

    Triton finds out with each launch which of its compiled kernels fits the arguments, and that takes the host longer
    than the GPU takes for a product. So what it found is kept under `key`, and called again with addresses instead of
    tensors, as long as all are multiples of 16, for which it was compiled.
    """
    device = tensors[0].device
    addresses = [tensor.data_ptr() for tensor in tensors]
    aligned = not functools.reduce(operator.or_, addresses) & 15
    again = started.get(key) if aligned else None
    if again is not None and device.index == torch.cuda.current_device():
        run, numbers = again
        run(*addresses, *numbers)
        return
    kernel, grid, given, sizes, choices, options = how()
    with on(device):
        compiled = kernel[grid](*given, *sizes, **choices, **options)
    if aligned and compiled is not None:  # the interpreter compiles nothing
        started[key] = compiled[(*grid, 1)], (*sizes, *choices.values())


def words(codes: torch.Tensor) -> torch.Tensor:
    """Codes, two in a byte, as words of eight."""
    return codes.view(-1).view(torch.int32)


def launch(x, codes, constants, out, plan: Plan, asm: bool = True, kernel=None, bounds=()):
    """Start the kernel for so many rows, up to 32, or a variant of it, on contiguous tensors, unchecked.

    `constants` and `bounds` are those of `multiply`.
    """
    columns, rows = x.shape[-1], out.shape[-1]
    count, double = x.numel() // columns, constants[3] is not None
    tensors = (x, codes, *(constants if double else constants[:1] * 4), kept_pairs(x.dtype, x.device), out)
    kernel = kernel or (linear_kernel if count <= FEW_ROWS else rows_kernel)

    def how():
        count_of, capability = processors(x.device)
        early = plan.early and capability >= (9, 0)
        programs = min(rows // 16, plan.programs * count_of)
        ends = [bound // 16 for bound in bounds] + [rows // 16] * (2 - len(bounds))
        eights = eights_of(count)
        many = {"EIGHTS": eights, "WIDE": wide(eights)} if kernel is rows_kernel else {}
        choices = {
            "WARPS": plan.warps, **many, "DOUBLE": double,
            "MERGED": bounds != (), "EARLY": early, "ASM": asm and not INTERPRETED, "INTERPRETED": INTERPRETED,
        }  # fmt: skip
        sizes = (count, rows // 16, columns // BLOCK, programs, *ends)
        options = {"num_warps": plan.warps} | ({"launch_pdl": True} if early else {})
        return kernel, (programs, 1), (x, words(codes), *tensors[2:]), sizes, choices, options

    start((kernel, x.dtype, x.device, count, rows, columns, plan, double, asm, bounds), tensors, how)


def on(device: torch.device):
    """Triton launches on the current GPU, which need not be that of the tensors."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()


@functools.cache
def processors(device: torch.device) -> tuple[int, tuple[int, int]]:
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


def dequantize(codes: torch.Tensor, constants, shape, dtype: torch.dtype, asm: bool = True) -> torch.Tensor:
    """The values of a weight, bit for bit bitsandbytes': `shape`, in bfloat16 or float16; `constants` as above."""
    out = torch.empty(shape, dtype=dtype, device=codes.device)
    double, blocks = constants[3] is not None, out.numel() // BLOCK
    tensors = (codes, *(constants if double else constants[:1] * 4), _levels(codes.device), out)

    def how():
        kind = tl.bfloat16 if dtype == torch.bfloat16 else tl.float16
        choices = {"dtype": kind, "SIZE": 64, "DOUBLE": double, "ASM": asm and not INTERPRETED}
        grid = (triton.cdiv(blocks, choices["SIZE"]), 1)
        return dequantize_kernel, grid, (words(codes), *tensors[1:]), (blocks,), choices, {"num_warps": 4}

    start((dequantize_kernel, dtype, codes.device, blocks, double, asm), tensors, how)
    return out


_levels = functools.cache(nf4.nf4_code)


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

    1 to 64 rows of x in bfloat16 or float16. Sums are float32; the levels are rounded to x's dtype once. Raises
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


def constants_of(state) -> tuple[torch.Tensor | None, ...]:
    """Absmax of a quantization state and, with double quantization, its levels, its second absmax and its offset."""
    return (state.absmax, *((state.state2.code, state.state2.absmax, state.offset) if state.nested else (None,) * 3))


def fused_linear(x, codes, state, asm=True, early=False):
    """`linear` without its checks; for more than 64 rows the weight is dequantized, and cuBLAS multiplies.

    `early` is for weights that were there before the kernel ahead was launched: a layer's, not a fresh tensor's.
    """
    constants = constants_of(state)
    if torch.compiler.is_compiling():
        return torch.ops.mistral_4bit.linear(x, codes, *constants, state.shape[0], asm, early)
    return multiply(x, codes, constants, state.shape[0], asm, early)
