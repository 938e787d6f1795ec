"""Bytes of a model by part: what a forecast and a count both give, as a table and as a picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .. import results
from . import activations

__all__ = ["GROUPS", "Measurement", "MemoryBudget", "PARTS", "WEIGHT_PARTS"]

PARTS = {
    "codes": "codes of the quantized layers",
    "absmax": "absmax, or row scales of int8",
    "second_level": "absmax of the absmax (double quantization)",
    "tables": "code tables and offsets",
    "linear": "linear layers, not quantized",
    "biases": "biases",
    "embeddings": "embeddings",
    "head": "output head",
    "norms": "norms",
    "other": "other parameters",
    "buffers": "buffers (rotary frequencies)",
    "adapters": "adapters (LoRA)",
    "gradients": "gradients",
    "kv_cache": "KV cache",
    "optimizer": "optimizer states",
    "optimizer_paged": "optimizer states, paged (may leave the GPU)",
    "activations": "activations",
    "logits": "logits and their gradient",
    "dequantized": "dequantized weights, for a moment",
    "buckets": "gradients on their way to other GPUs",
    "unsharded": "layers gathered from other GPUs, for a moment",
    "workspace": "workspace of the matrix library",
    "context": "CUDA context (not PyTorch's)",
}
WEIGHT_PARTS = tuple(PARTS)[: tuple(PARTS).index("buffers")]
GROUPS = {
    "codes": ("codes",),
    "quantization constants": ("absmax", "second_level", "tables"),
    "linear layers, not quantized": ("linear", "biases", "other"),
    "embeddings, head, norms": ("embeddings", "head", "norms", "buffers"),
    "adapters, gradients, optimizer": ("adapters", "gradients", "buckets", "optimizer", "optimizer_paged"),
    "KV cache": ("kv_cache",),
    "activations": ("activations", "dequantized", "unsharded"),
    "logits": ("logits",),
    "context and workspace": ("workspace", "context"),
}


LIKE = {  # groups that have the color of a part of another name
    "quantization constants": "constants",
    "linear layers, not quantized": "16 bits",
    "embeddings, head, norms": "embeddings",
    "adapters, gradients, optimizer": "adapters",
    "context and workspace": "the rest",
}


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes by part (the keys of `PARTS`); shows itself as a table, or drawn by `figure`.

    `total_bytes` is everything. `weight_bytes` is the stored weights with all their quantization constants: the total
    without buffers (a few hundred bytes), adapters, gradients and KV cache. `allocator_bytes` is what PyTorch's
    allocator is asked for: the total without the CUDA context and without paged optimizer states. `timeline` is the
    rehearsal of the step, if there was one.
    """

    parts: dict[str, int]
    title: str = ""
    scheme: str = ""
    notes: list[str] = field(default_factory=list)
    timeline: activations.Timeline | None = field(default=None, repr=False)
    asked: dict = field(default_factory=dict, repr=False, compare=False)  # what `predict` was asked, for `fitting`

    @property
    def total_bytes(self) -> int:
        return sum(self.parts.values())

    @property
    def weight_bytes(self) -> int:
        return sum(size for part, size in self.parts.items() if part in WEIGHT_PARTS)

    @property
    def allocator_bytes(self) -> int:
        return self.total_bytes - self.parts.get("context", 0) - self.parts.get("optimizer_paged", 0)

    @property
    def gb(self) -> float:
        return self.total_bytes / 1e9

    def fits(self, gb: float) -> bool:
        """Whether the total is at most `gb` (10^9 bytes each)."""
        return self.total_bytes <= gb * 1e9

    def rows(self) -> list[dict]:
        """One dict a part: part, bytes, share of the total; the total comes last."""
        total = max(self.total_bytes, 1)
        rows = [{"part": PARTS.get(p, p), "bytes": n, "share": n / total} for p, n in self.parts.items() if n]
        return [*rows, {"part": "total", "bytes": self.total_bytes, "share": 1.0}]

    def table(self) -> str:
        """The parts as a Markdown table."""
        rows = [{**row, "share": f"{row['share']:.2%}"} for row in self.rows()]
        heads = {"part": self.title or "part", "bytes": "bytes", "share": "share"}
        return "\n".join([results.markdown_table(rows, heads), *(f"\n{note}" for note in self.notes)])

    def figure(self, others: "Sequence[MemoryBudget]" = ()):
        """A stacked bar of this budget, and one for each of `others` below it; for `plots.show`."""
        from .. import plots  # matplotlib only for those who draw

        budgets = [self, *others]
        unit, name = (1e9, "GB") if max(b.total_bytes for b in budgets) >= 1e9 else (1e6, "MB")
        groups = {}
        for group, parts in GROUPS.items():
            sizes = [sum(budget.parts.get(part, 0) for part in parts) / unit for budget in budgets]
            if max(sizes) > 0:
                groups[group] = sizes
        top = max(groups, key=lambda group: groups[group][0])
        share = groups[top][0] * unit / self.total_bytes
        title = f"{self.total_bytes / unit:.2f} {name}, {share:.0%} of it {top}"
        colors = {group: plots.PART_COLORS[LIKE.get(group, group)] for group in GROUPS}
        return plots.stacked_bars(
            [b.title for b in budgets], groups, title=title, xlabel=name, text="{:.2f}", colors=colors
        )

    def _repr_markdown_(self) -> str:
        return self.table()

    def __str__(self) -> str:
        width = max(len(row["part"]) for row in self.rows())
        lines = [self.title] if self.title else []
        lines += [f"{row['part']:<{width}}  {row['bytes']:>16,}  {row['share']:>7.2%}" for row in self.rows()]
        return "\n".join([*lines, *self.notes])


class Measurement(MemoryBudget):
    """A `MemoryBudget` that was counted on a model, not predicted."""
