"""How much of a notebook's work a machine can do: measured once, in tokens, for models that are slow on a CPU.

With Mini-Mistral, and on a GPU, nothing is cut. Elsewhere a short calibration says how many tokens a second the model
reads, and each notebook asks how many of its texts, questions or steps that allows. What was cut is said and recorded.
"""

import functools
import math

import torch

from . import models, results, speed

__all__ = ["Pace", "of"]

PROBE = 96  # tokens of the passes that are timed
SLOWER = 4  # a training step with checkpointing takes about as long as four forward passes


class Pace:
    """Tokens a second that a model reads here, and what had to be cut; `rate` is infinite where nothing is."""

    def __init__(self, rate: float = math.inf):
        self.rate = rate
        self.cuts: dict[str, dict[str, int]] = {}

    def cut(self, what: str, wanted: int, tokens: float, seconds: float, least: int = 8) -> int:
        """How many of `wanted` things of so many `tokens` each can be read in so many `seconds`, at least `least`.

        A fewer number is noted under the name `what`, for `said` and for the record.
        """
        can = wanted if math.isinf(self.rate) else max(least, int(seconds * self.rate / tokens))
        if can >= wanted:
            return wanted
        self.cuts[what] = {"wanted": wanted, "done": can}
        return can

    def steps(self, what: str, wanted: int, tokens: float, seconds: float, least: int = 10) -> int:
        """The same for training steps of so many tokens."""
        return self.cut(what, wanted, SLOWER * tokens, seconds, least)

    def sizes(self, what: str, wanted: list[int], tokens: int = 1, seconds: float = 1.0) -> list[int]:
        """Those of several sizes, each of so many `tokens`, whose one pass takes no longer than `seconds`."""
        done = [size for size in wanted if size * tokens <= max(seconds * self.rate, wanted[0] * tokens)]
        if len(done) < len(wanted):
            self.cuts[what] = {"wanted": wanted[-1], "done": done[-1]}
        return done

    def said(self) -> None:
        """Show one sentence on what was cut, if anything was."""
        if self.cuts:
            cuts = ", ".join(f"{cut['done']:,} of {cut['wanted']:,} {what}" for what, cut in self.cuts.items())
            results.show(f"*Cut to what this machine does in a few minutes, at {self.rate:,.0f} tokens/s: {cuts}.*")


def of(choice) -> Pace:
    """The pace of a chosen model on this machine; nothing is measured for Mini-Mistral and where there is a GPU."""
    if choice.kind == "mini" or torch.cuda.is_available():
        return Pace()
    return Pace(_rate(choice))


@functools.cache
def _rate(choice) -> float:
    """Tokens a second of a forward pass in nf4-dq, from the median of three."""
    model, _ = models.load(choice, "nf4-dq")
    ids = torch.randint(model.config.vocab_size, (1, PROBE), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        timed = speed.time_calls(lambda: model(ids, use_cache=False), 3, 1)
    return PROBE / timed.median
