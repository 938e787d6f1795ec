"""Carry a kernel out one program after the other, in plain PyTorch, and count what it loads: where no Triton runs, too.

It knows the words of Triton that the kernels of notebook 11 are written in, and no more.
"""

import types
from collections import Counter
from typing import NamedTuple

import torch

__all__ = ["count_loads"]


class Pointer(NamedTuple):
    """The address of elements of one tensor, known by the name of the kernel's parameter."""

    name: str
    elements: torch.Tensor
    offset: torch.Tensor | int = 0

    def __add__(self, more):
        return self._replace(offset=self.offset + more)

    __radd__ = __add__

    def places(self) -> torch.Tensor:
        places = torch.as_tensor(self.offset)
        if places.numel() and not 0 <= places.min() <= places.max() < self.elements.numel():
            raise IndexError(
                f"an address reaches place {max(places.max().item(), -places.min().item())} of `{self.name}`, "
                f"which has {self.elements.numel()} elements"
            )
        return places


def language(program: int, loaded: Counter) -> types.SimpleNamespace:
    """What the name `tl` means while one program is carried out."""

    def load(pointer):
        places = pointer.places()
        loaded[pointer.name] += places.numel()
        return pointer.elements[places]

    def store(pointer, value):
        places, value = torch.broadcast_tensors(pointer.places(), torch.as_tensor(value))
        pointer.elements[places] = value.to(pointer.elements.dtype)

    return types.SimpleNamespace(
        program_id=lambda axis: program,
        arange=torch.arange,
        zeros=lambda shape, dtype: torch.zeros(shape, dtype=dtype),
        sum=lambda value, axis=None: value.sum() if axis is None else value.sum(axis),
        load=load,
        store=store,
        constexpr=int,
        **{name: getattr(torch, name) for name in ("int32", "int64", "float16", "bfloat16", "float32")},
    )


def count_loads(kernel, programs: int, *given, **constants) -> dict[str, int]:
    """Carry out `programs` programs of a kernel on tensors of the CPU; how many elements they load, by parameter.

    What the kernel stores is in the tensors that it was given, as after a launch.
    """
    function = getattr(kernel, "fn", kernel)  # as it was before Triton's `jit`
    names, loaded = function.__code__.co_varnames, Counter()
    given = [Pointer(n, g.view(-1)) if torch.is_tensor(g) else g for n, g in zip(names, given, strict=False)]
    for program in range(programs):
        known = {**function.__globals__, "tl": language(program, loaded)}
        types.FunctionType(function.__code__, known, closure=function.__closure__)(*given, **constants)
    return {g.name: loaded[g.name] for g in given if isinstance(g, Pointer) and loaded[g.name]}
