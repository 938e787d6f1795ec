"""Time a model as it generates: prefill and decode apart, warmed up, synchronized, with medians and spread.

Speeds are in tokens a second over the whole batch. What a decode step must at least take follows from the bytes that it
has to move and the bandwidth of the memory that holds them.
"""

import functools
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn

from . import memory, schemes
from .decoding import StaticDecoder
from .errors import CourseError
from .memory import forecast
from .skeleton import config_of

__all__ = [
    "Generation",
    "Rate",
    "Timing",
    "bytes_per_step",
    "compare",
    "copy_bandwidth",
    "interleave",
    "job",
    "ratios",
    "read_bandwidth",
    "set_compute_dtype",
    "time_calls",
    "time_generation",
]

LEAST = 3  # repeats, however long they take
WAYS = ("growing", "static", "graph")


class Rate(NamedTuple):
    """Something a second: the median, and the quartiles below and above it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:,.4g} ({self.low:,.4g}–{self.high:,.4g})"


def compare(rate: Rate | dict, other: Rate | dict) -> Rate:
    """How many times `other` a rate is: the ratio of medians, and what is left of it if the quartiles conspire.

    `low` divides the low quartile by the other's high one, `high` the reverse: above 1 in `low` the rate is clearly the
    faster, below 1 in `high` clearly the slower. A dict has the keys median, low and high.
    """
    rate, other = (Rate(**item) if isinstance(item, dict) else item for item in (rate, other))
    return Rate(rate.median / other.median, rate.low / other.high, rate.high / other.low)


def ratios(found: dict, scheme: str, base: str) -> dict[str, Rate]:
    """How many times `base`'s decode speed a scheme has, by batch, from what notebook 06 measures and records.

    `found[scheme]["decode"][batch]` are rates; CUDA graph replays, under "graph", are taken where both have them. Empty
    when one of the two was not measured.
    """
    if scheme not in found or base not in found:
        return {}
    way = "graph" if "graph" in found[scheme] and "graph" in found[base] else "decode"
    mine, other = found[scheme][way], found[base][way]
    return {batch: compare(rate, other[batch]) for batch, rate in mine.items() if batch in other}


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated calls; `first` is the very first call, which warm-up keeps out of `seconds`."""

    seconds: tuple[float, ...]
    first: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high

    @property
    def spread(self) -> float:
        """The interquartile range as a share of the median."""
        low, high = self.quartiles
        return (high - low) / self.median

    def rate(self, amount: float) -> Rate:
        """`amount` a second: the median time gives the median rate, the slow quartile the low one."""
        low, high = self.quartiles
        return Rate(amount / self.median, amount / high, amount / low)


@dataclass(frozen=True)
class Generation:
    """What `time_generation` and `interleave` return.

    `prefill` times one pass over all prompts, `decode` all steps after it together; None where there is none. `tokens`
    are the generated ids, shape (batch, new_tokens): the first is prefill's, each step makes one more.
    """

    batch: int
    prompt_length: int
    new_tokens: int
    prefill: Timing | None
    decode: Timing | None
    tokens: torch.Tensor

    @property
    def steps(self) -> int:
        return self.new_tokens - 1

    @property
    def prefill_rate(self) -> Rate | None:
        """Prompt tokens a second."""
        return self.prefill and self.prefill.rate(self.batch * self.prompt_length)

    @property
    def decode_rate(self) -> Rate | None:
        """Generated tokens a second, over the whole batch."""
        return self.decode and self.decode.rate(self.batch * self.steps)

    @property
    def step_seconds(self) -> float | None:
        """Median seconds of one decode step."""
        return self.decode and self.decode.median / self.steps


def synchronize(device) -> None:
    """Wait until a GPU has done what was asked of it; a CPU has nothing to wait for."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def time_calls(
    function: Callable[[], object],
    repeats: int = 5,
    warmup: int = 1,
    device="cpu",
    before: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time `repeats` calls after `warmup` calls that do not count; the device is idle when the clock is read.

    `before` runs ahead of each call, untimed. Raises CourseError for fewer than one repeat or a negative warm-up.
    """
    _check_repeats(repeats, warmup)
    seconds = []
    for _ in range(warmup + repeats):
        if before is not None:
            before()
        synchronize(device)
        begun = clock()
        function()
        synchronize(device)
        seconds.append(clock() - begun)
    return Timing(tuple(seconds[warmup:]), seconds[0])


def job(
    model: nn.Module,
    batch: int = 1,
    prompt_length: int = 64,
    new_tokens: int = 32,
    way: str = "growing",
    prompt: torch.Tensor | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[[], Generation]:
    """Prepare greedy generation, to be timed as often as the function that comes back is called.

    `way` is "growing" for the usual cache, prefill and decode timed apart; "static" for a cache of fixed size; and
    "graph" for the same, replayed from a CUDA graph. The latter two time decode alone and run the same kernels, so that
    their difference is what launching from Python costs. `prompt` is a tensor of ids, shape (batch, prompt_length), and
    sets both; without it the ids are random, since speed does not depend on what they say. The end token is not heeded:
    every run makes `new_tokens`. Only the logits that are needed, those of the last position, are computed.
    Raises CourseError for another way, sizes below 1 (two new tokens for a static cache), more tokens than the model
    has positions for, and where a graph cannot be recorded.
    """
    if way not in WAYS:
        raise CourseError(f"Unknown way {way!r} to generate: choose one of {', '.join(WAYS)}.")
    if way != "growing" and new_tokens == 1:
        raise CourseError("new_tokens=1: the first token is prefill's, so decoding needs at least 2.")
    prompt = prompt_of(model, batch, prompt_length, new_tokens, prompt)
    if way == "growing":
        return functools.partial(_generate, model, prompt, new_tokens, clock)
    decoder = StaticDecoder(model, prompt, new_tokens)
    if way == "graph":
        decoder.capture()
    return functools.partial(_decode, decoder, new_tokens, clock)


@torch.inference_mode()
def _generate(model: nn.Module, prompt: torch.Tensor, new_tokens: int, clock) -> Generation:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    synchronize(model.device)
    begun = clock()
    tokens = [_next(model, prompt, cache)]
    synchronize(model.device)
    prefilled = clock()
    for _ in range(new_tokens - 1):
        tokens.append(_next(model, tokens[-1], cache))
    synchronize(model.device)
    prefill, decode = prefilled - begun, clock() - prefilled
    times = [Timing((seconds,), seconds) for seconds in (prefill, decode)]
    return Generation(
        *prompt.shape, new_tokens, times[0], times[1] if new_tokens > 1 else None, torch.cat(tokens, 1).cpu()
    )


def _decode(decoder: StaticDecoder, new_tokens: int, clock) -> Generation:
    step, start = decoder.replay if decoder.graph else decoder.step, decoder.prompt.shape[1]

    def steps():
        for _ in range(new_tokens - 1):
            step()

    timing = time_calls(steps, 1, 0, decoder.prompt.device, before=decoder.prefill, clock=clock)
    tokens = decoder.tokens[:, start : start + new_tokens].cpu()
    return Generation(*decoder.prompt.shape, new_tokens, None, timing, tokens)


def interleave(
    jobs: dict[str, Callable[[], Generation]], repeats: int = 5, warmup: int = 1, enough: float | None = None
) -> dict[str, Generation]:
    """Run jobs by turns, `repeats` rounds after `warmup` rounds, and return each one's times together.

    What slows a machine down for a while then slows all of them, and shows as spread instead of as a difference. With
    `enough` seconds a job the remaining rounds are left out, after three at the earliest.
    """
    _check_repeats(repeats, warmup)
    runs = {name: [] for name in jobs}
    for done in range(1, warmup + repeats + 1):
        for name, run in jobs.items():
            runs[name].append(run())
        counted = [
            part.first
            for timings in runs.values()
            for run in timings[warmup:]
            for part in (run.prefill, run.decode)
            if part
        ]
        if enough is not None and done - warmup >= LEAST and sum(counted) >= enough * len(jobs):
            break
    return {name: _together(timings, warmup) for name, timings in runs.items()}


def _together(runs: list[Generation], warmup: int) -> Generation:
    def merged(phase):
        seconds = [getattr(run, phase).first for run in runs if getattr(run, phase)]
        return Timing(tuple(seconds[warmup:]), seconds[0]) if seconds else None

    return replace(runs[-1], prefill=merged("prefill"), decode=merged("decode"))


def time_generation(
    model: nn.Module,
    batch: int = 1,
    prompt_length: int = 64,
    new_tokens: int = 32,
    repeats: int = 5,
    warmup: int = 1,
    way: str = "growing",
    prompt: torch.Tensor | None = None,
    enough: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Generation:
    """Time greedy generation, prefill and decode apart: `job` and `interleave` for one model, with their errors."""
    _check_repeats(repeats, warmup)
    one = job(model, batch, prompt_length, new_tokens, way, prompt, clock)
    return interleave({"": one}, repeats, warmup, enough)[""]


def _next(model: nn.Module, ids: torch.Tensor, cache) -> torch.Tensor:
    """The likeliest next token of each row, shape (batch, 1)."""
    logits = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
    return logits[:, -1].argmax(dim=-1, keepdim=True)


def _beyond_caches(device: torch.device) -> int:
    """Bytes that no cache holds: 1 GB on a GPU, 128 MB on a CPU."""
    return 10**9 if device.type == "cuda" else 128 * 10**6


def copy_bandwidth(
    device="cpu",
    size: int | None = None,
    repeats: int = 5,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Rate:
    """Bytes a second that a device's memory moves when it copies `size` bytes: each is read once and written once.

    The default, 1 GB on a GPU and 128 MB on a CPU, is meant to exceed caches. Raises CourseError for a size below 1.
    """
    device = torch.device(device)
    size = _beyond_caches(device) if size is None else size
    if size < 1:
        raise CourseError(f"size={size}: give the number of bytes to copy, from 1 up.")
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return time_calls(lambda: target.copy_(source), repeats, warmup, device, clock=clock).rate(2 * size)


def read_bandwidth(
    device="cpu",
    size: int | None = None,
    repeats: int = 5,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Rate:
    """Bytes a second that a device reads from memory, which is what a decode step does with its weights.

    They are added up, in numbers of 4 bytes. Where adding is slower than copying, as on a CPU with few cores, the rate
    of `copy_bandwidth` is taken: a floor under a time must not rest on what is slow for another reason.
    """
    device = torch.device(device)
    size = _beyond_caches(device) if size is None else size
    copied = copy_bandwidth(device, size, repeats, warmup, clock)
    source = torch.ones(max(1, size // 4), device=device)
    read = time_calls(source.sum, repeats, warmup, device, clock=clock).rate(source.nbytes)
    return max(read, copied)


def bytes_per_step(model, batch: int = 1, context: int = 0, scheme: str = "nf4-dq") -> dict[str, int]:
    """Bytes that one decode step has to move at least, by part; their sum over the bandwidth is the least time.

    `model` is a loaded model, whose bytes are measured, or what `memory.predict` takes, in `scheme`. `context` tokens
    are in the cache of each of `batch` sequences. Every weight is read once, whatever the batch; of the embeddings one
    row a sequence; keys and values of the context are read and those of the new token written. Activations, which
    stay in caches, are left out. Raises CourseError for a batch below 1 or a negative context.
    """
    if batch < 1 or context < 0:
        raise CourseError(
            f"batch={batch}, context={context}: a batch has 1 sequence or more, a context 0 tokens or more."
        )
    if isinstance(model, nn.Module):
        parts, config, dtype = memory.measure(model, gradients=False).parts, model.config, model.dtype
    else:
        parts, config = memory.predict(model, scheme).parts, config_of(model)
        dtype = schemes.rest_dtype(scheme, "auto", "cpu")
    parts = {part: size for part, size in parts.items() if part not in ("gradients", "kv_cache")}
    config = config.get_text_config(decoder=True)
    table = parts.pop("embeddings", 0)
    if "head" not in parts:  # tied: the head is the table, and reads all of it
        parts["head"] = table
    parts["embedding_rows"] = batch * table // config.vocab_size
    parts["kv_read"] = batch * forecast.kv_bytes(config, context, dtype)
    parts["kv_written"] = batch * forecast.kv_bytes(config, 1, dtype)
    return {part: size for part, size in parts.items() if size}


def set_compute_dtype(model: nn.Module, dtype: torch.dtype) -> int:
    """Let every 4-bit layer of a loaded model multiply in `dtype`; returns how many layers that are.

    The compute dtype is no property of the stored weights, so nothing is loaded again. Raises CourseError for a dtype
    that is not bfloat16, float16 or float32, and for a model without 4-bit layers.
    """
    if dtype not in (torch.bfloat16, torch.float16, torch.float32):
        raise CourseError(f"Unknown compute dtype {dtype}: use torch.bfloat16, torch.float16 or torch.float32.")
    layers = [module for module in model.modules() if type(module).__name__ == "Linear4bit"]
    if not layers:
        raise CourseError("This model has no 4-bit layers, so there is no compute dtype to set: load it in nf4 or fp4.")
    for layer in layers:
        layer.compute_dtype, layer.compute_type_is_set = dtype, True
    return len(layers)


def _check_repeats(repeats: int, warmup: int) -> None:
    if repeats < 1 or warmup < 0:
        raise CourseError(
            f"repeats={repeats}, warmup={warmup}: time at least 1 call, after 0 or more that do not count."
        )


def prompt_of(model: nn.Module, batch: int, length: int, new_tokens: int, prompt: torch.Tensor | None) -> torch.Tensor:
    """The given ids on the model's device, or random ones of shape (batch, length); checks all sizes."""
    if prompt is not None:
        if prompt.dim() != 2 or prompt.is_floating_point():
            raise CourseError("prompt holds token ids as integers, in shape (batch, length).")
        batch, length = prompt.shape
    if batch < 1 or length < 1 or new_tokens < 1:
        raise CourseError(f"batch={batch}, prompt_length={length}, new_tokens={new_tokens}: each of them is 1 or more.")
    config = model.config.get_text_config(decoder=True)
    positions = getattr(config, "max_position_embeddings", None)
    if positions and length + new_tokens > positions:
        raise CourseError(
            f"{length} prompt tokens and {new_tokens} new ones are more than the model's {positions} positions: "
            "use a shorter prompt or fewer new tokens."
        )
    if prompt is None:
        prompt = torch.randint(config.vocab_size, (batch, length), generator=torch.Generator().manual_seed(0))
    return prompt.to(model.device)
