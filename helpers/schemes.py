"""The seven schemes: what bitsandbytes is told of each, and the dtype of all that is not quantized."""

import torch

from .errors import CourseError

__all__ = ["PLAIN", "SCHEMES", "bnb_config", "check", "compute_dtype", "device_of", "emulated", "rest_dtype"]

SCHEMES = ("fp32", "fp16", "bf16", "int8", "fp4", "nf4", "nf4-dq")
PLAIN = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def check(scheme: str) -> None:
    if scheme not in SCHEMES:
        raise CourseError(f"Unknown scheme {scheme!r}: choose one of {', '.join(SCHEMES)}.")


def device_of(device="auto") -> torch.device:
    """`auto` is the current CUDA GPU if there is one, else the CPU."""
    if device == "auto":
        device = f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(device)
    except (RuntimeError, TypeError):
        raise CourseError(f'Unknown device {device!r}: use "auto", "cpu" or "cuda".') from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise CourseError(f'No CUDA GPU was found for device "{device}": use device="cpu" or "auto".')
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    return device


def compute_dtype(name="auto", device="auto") -> torch.dtype:
    """The dtype that matrices are multiplied in.

    "auto" is bfloat16 on the CPU and on GPUs of capability 8.0 or more, else float16.
    `torch.cuda.is_bf16_supported()` is not asked: it is True on a T4, which only emulates bfloat16.
    """
    if name == "auto":
        device = device_of(device)
        old_gpu = device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0)
        return torch.float16 if old_gpu else torch.bfloat16
    dtype = name if isinstance(name, torch.dtype) else getattr(torch, str(name).removeprefix("torch."), None)
    if dtype not in (torch.bfloat16, torch.float16, torch.float32):
        raise CourseError(f'Unknown compute dtype {name!r}: use "auto", "bfloat16", "float16" or "float32".')
    return dtype


def emulated(dtype: torch.dtype, device="auto") -> str | None:
    """A sentence where a GPU computes in bfloat16 without the hardware for it, as a T4 does; else None."""
    device = device_of(device)
    if dtype != torch.bfloat16 or device.type != "cuda":
        return None
    capability = torch.cuda.get_device_capability(device)
    if capability >= (8, 0):
        return None
    shown = ".".join(map(str, capability))
    return (
        f"This GPU (capability {shown}) only emulates bfloat16, many times slower: take fp16, or float16 to compute in."
    )


def bnb_config(scheme: str, dtype="auto", device="auto", sharded: bool = False):
    """transformers' `BitsAndBytesConfig` of a scheme, or None for fp32, fp16 and bf16.

    Every field is set: the defaults are fp4, no double quantization and float32 compute. `sharded` keeps the codes as
    numbers of the compute dtype instead of bytes, the same bits, which is how FSDP has been tried with them.
    """
    from transformers import BitsAndBytesConfig

    check(scheme)
    if scheme == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    if scheme in ("fp4", "nf4", "nf4-dq"):
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=scheme.removesuffix("-dq"),
            bnb_4bit_use_double_quant=scheme.endswith("-dq"),
            bnb_4bit_compute_dtype=compute_dtype(dtype, device),
            bnb_4bit_quant_storage=compute_dtype(dtype, device) if sharded else torch.uint8,
        )
    return None


def rest_dtype(scheme: str, dtype, device) -> torch.dtype:
    """The dtype of all that is not quantized."""
    return PLAIN[scheme] if scheme in PLAIN else compute_dtype(dtype, device)
