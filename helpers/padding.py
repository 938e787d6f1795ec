"""Rows of unequal length as one rectangle, the way a model takes them."""

from collections.abc import Sequence

import torch

__all__ = ["padded"]


def padded(
    rows: Sequence[Sequence[int]], fill: int = 0, left: bool = False, device="cpu"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask of a batch, both int64 of shape (rows, longest row).

    Padding is on the right, where causal attention never looks back from, so any `fill` will do; or on the left, for
    a text that is to be continued.
    """
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), fill)
    mask = torch.zeros(len(rows), longest, dtype=torch.int64)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(len(row))
        ids[i, place] = torch.tensor(row)
        mask[i, place] = 1
    return ids.to(device), mask.to(device)
