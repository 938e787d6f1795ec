"""Merge an adapter into its base and see what of it arrives, code by code: for notebook 09."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from . import models, nf4, quiet
from .adapters import adapted_layers
from .errors import CourseError
from .layers import dense, refuse_transposed
from .models.loading import same_on_every_cpu
from .padding import padded

__all__ = ["Arrival", "answer_logs", "arrival", "at_outputs", "dense", "dequantized", "reach", "requantized"]


def dequantized(model: nn.Module) -> nn.Module:
    """Turn the 4-bit layers of a model into 16-bit ones with the values that they stood for, in place; returns it.

    The dtype is the one that the layers were quantized from. It is transformers' `dequantize`, without its notice.
    """
    refuse_transposed(model)
    with quiet.libraries():
        return model.dequantize()


@torch.no_grad()
def requantized(model: nn.Module, scheme: str = "nf4-dq") -> nn.Module:
    """Quantize a 16-bit model's linear layers where they are, in place; returns it. `scheme` is a 4-bit one.

    Codes and constants are those that saving the model and loading it in that scheme would give.
    """
    import bitsandbytes as bnb

    settings = models.bnb_config(scheme, device=model.device)
    if not getattr(settings, "load_in_4bit", False):
        raise CourseError(f"{scheme} is no 4-bit scheme: use nf4-dq, nf4 or fp4.")
    compress, kind = settings.bnb_4bit_use_double_quant, settings.bnb_4bit_quant_type
    for name, layer in models.linear_layers(refuse_transposed(model)).items():
        if not layer.weight.is_floating_point():
            raise CourseError(f"{name} is quantized already: give a model in 16 bits.")
        with torch.device("meta"):
            new = bnb.nn.Linear4bit(
                layer.in_features,
                layer.out_features,
                bias=layer.bias is not None,
                compute_dtype=settings.bnb_4bit_compute_dtype,
                compress_statistics=compress,
                quant_type=kind,
            )
        new.weight = bnb.nn.Params4bit(
            layer.weight.data, requires_grad=False, compress_statistics=compress, quant_type=kind, module=new
        ).to(layer.weight.device)
        new.bias = layer.bias
        model.set_submodule(name, new)
    same_on_every_cpu(model)
    return model.eval()


@torch.inference_mode()
def answer_logs(model: nn.Module, rows: Sequence[dict], batch: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """What a model thinks wherever an answer's next token is due: (log-probabilities, the right tokens), on the CPU.

    `rows` as made by `finetune.encode`; only labels that are learned count. Log-probabilities are float32, shape
    (tokens, vocabulary), tokens in the order of rows.
    """
    logs, targets = [], []
    model.eval()
    for begin in range(0, len(rows), batch):
        part = rows[begin : begin + batch]
        ids, mask = padded([row["input_ids"] for row in part], device=model.device)
        labels, _ = padded([row["labels"] for row in part], -100, device=model.device)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
        due = labels[:, 1:] != -100
        logs.append(logits[due].float().log_softmax(-1).cpu())
        targets.append(labels[:, 1:][due].cpu())
    return torch.cat(logs), torch.cat(targets)


@dataclass(frozen=True)
class Arrival:
    """How much of an adapter's update a merged model holds, over all its layers.

    `codes` is the share of 4-bit codes that differ from the base's, None for a model in 16 bits. `share` is the part of
    the update that arrived: the change of the weights, projected on the update. `noise` is the rest of the change, in
    lengths of the update. `update` is the update's length in lengths of the weights. `layers` has update and share of
    each layer by itself.
    """

    codes: float | None
    share: float
    noise: float
    update: float
    layers: dict[str, tuple[float, float]] = field(repr=False)


@torch.no_grad()
def arrival(adapted: nn.Module, merged: nn.Module) -> Arrival:
    """Compare a merged model with the adapter on its 4-bit base, weight by weight; see `Arrival`."""
    from bitsandbytes.nn import Linear4bit

    sums, differing, codes, layers = torch.zeros(4, dtype=torch.float64), 0, 0, {}
    for name, pair in adapted_layers(adapted).items():
        update = pair.get_delta_weight("default").float()
        before, layer = dense(pair.base_layer), merged.get_submodule(name)
        moved = dense(layer) - before
        products = (moved * update, update.square(), moved.square(), before.square())
        along, length, change, size = (product.sum(dtype=torch.float64).item() for product in products)
        sums += torch.tensor([along, length, change, size], dtype=torch.float64)
        layers[name] = (length / size) ** 0.5, along / length if length else 0.0
        if isinstance(layer, Linear4bit):
            one, two = pair.base_layer.weight.data.view(-1), layer.weight.data.view(-1)
            differing += ((one >> 4 != two >> 4).sum() + ((one & 15) != (two & 15)).sum()).item()
            codes += 2 * one.numel()
    along, length, change, size = sums.tolist()
    if not length:
        raise CourseError("The adapter's update is zero, so nothing could arrive: train it first.")
    share = along / length
    noise = max(0.0, change / length - share**2) ** 0.5
    return Arrival(differing / codes if codes else None, share, noise, (length / size) ** 0.5, layers)


@torch.inference_mode()
def at_outputs(adapted: nn.Module, merged: nn.Module, rows: Sequence[dict]) -> tuple[float, float]:
    """Like `arrival`, but in what the layers put out: (share of the update's part, rest in lengths of that part).

    The inputs of a layer are those that it gets in `adapted` on `rows`, as made by `finetune.encode`.
    """
    ids, mask = padded([row["input_ids"] for row in rows], device=adapted.device)
    sums, hooks = torch.zeros(3, dtype=torch.float64), []

    def hook(name, pair):
        def measure(_, inputs, __):
            x = inputs[0][mask.bool()].float()
            meant = x @ pair.get_delta_weight("default").float().T
            real = x @ (dense(merged.get_submodule(name)) - dense(pair.base_layer)).float().T
            products = (real * meant, meant.square(), real.square())
            sums.add_(torch.tensor([part.sum(dtype=torch.float64).item() for part in products], dtype=torch.float64))

        return pair.register_forward_hook(measure)

    try:
        hooks += [hook(name, pair) for name, pair in adapted_layers(adapted).items()]
        adapted(input_ids=ids, attention_mask=mask, use_cache=False)
    finally:
        for one in hooks:
            one.remove()
    along, length, change = sums.tolist()
    if not length:
        raise CourseError("The adapter adds nothing to any output, so nothing could arrive: train it first.")
    share = along / length
    return share, max(0.0, change / length - share**2) ** 0.5


@torch.no_grad()
def reach(on_level: torch.Tensor, weights: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
    """Each weight's update, divided by its distance to the border that it points to: beyond 1 the NF4 code changes.

    All are blocks of 64, shape (blocks, 64), float32. `on_level` are dequantized weights, whose codes are meant and
    whose largest value in a block is its absmax; `weights` is where the update starts: they themselves, or the values
    that they were rounded from. Returns shape (blocks * 64,). An outermost code has nothing to change to outwards: 0.
    """
    levels = nf4.nf4_code(on_level.device)
    middles, endless = (levels[1:] + levels[:-1]) / 2, torch.full((1,), torch.inf, device=levels.device)
    absmax = on_level.abs().amax(1, keepdim=True).clamp(min=1e-12)
    code = torch.bucketize(on_level / absmax, middles)
    above = torch.cat([middles, endless])[code] - weights / absmax
    below = weights / absmax - torch.cat([-endless, middles])[code]
    # on the edge, or past it where absmax was rounded as well, any update is long enough
    way = torch.where(update > 0, above, below).clamp(min=1e-6)
    return ((update / absmax).abs() / way).reshape(-1)
