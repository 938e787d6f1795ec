"""What quantization costs in quality: perplexity, multiple choice, divergence, and how sure of a difference one can be.

All of it is shown in full in notebook 07. `perplexity` is held to transformers' own loss by test, `multiple_choice` to
lm-eval's `loglikelihood`.
"""

import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from . import formats, models
from .errors import CourseError
from .layers import refuse_transposed
from .padding import padded

__all__ = [
    "Difference",
    "Divergence",
    "MultipleChoice",
    "Perplexity",
    "divergence",
    "holm",
    "interval",
    "mcnemar",
    "mean_interval",
    "mmlu",
    "multiple_choice",
    "paired_difference",
    "perplexity",
    "round_weights",
    "standard_error",
    "tango",
]

Z95 = 1.959964  # standard errors on either side within which 95% of a normal distribution lie
PROMPT = "Question: {question}\nAnswer:"


@dataclass(frozen=True, eq=False)
class _OverTexts:
    """Summed `nats` and number of `tokens` of each text, in the texts' order: each token counts the same."""

    nats: np.ndarray
    tokens: np.ndarray

    @property
    def mean(self) -> float:
        """Nats a token over all texts."""
        return float(self.nats.sum() / self.tokens.sum())


class Perplexity(_OverTexts):
    """Negative log-likelihood of predicted tokens."""

    @property
    def loss(self) -> float:
        """Mean nats a token over all texts."""
        return self.mean

    @property
    def value(self) -> float:
        """Perplexity: e to the loss."""
        return math.exp(self.loss)


class Divergence(_OverTexts):
    """KL divergence of a model's distributions from a reference's."""

    @property
    def value(self) -> float:
        """Mean nats a token over all texts."""
        return self.mean

    def interval(self, repeats: int = 10_000, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
        """Interval of `value`, by drawing texts with replacement; it leaves out 1 − `level` of the draws."""
        drawn = _draws(len(self.tokens), repeats, seed)
        return tuple(np.quantile((drawn @ self.nats) / (drawn @ self.tokens), _ends(level)).tolist())


@dataclass(frozen=True, eq=False)
class MultipleChoice:
    """Log-likelihood in nats of each option of each question, shape (questions, options), and the right `answers`."""

    loglikelihood: np.ndarray
    answers: np.ndarray

    @property
    def choices(self) -> np.ndarray:
        """Index of the likeliest option of each question; of equals the first, as in lm-eval."""
        return self.loglikelihood.argmax(1)

    @property
    def correct(self) -> np.ndarray:
        return self.choices == self.answers

    @property
    def accuracy(self) -> float:
        return float(self.correct.mean())


@dataclass(frozen=True)
class Difference:
    """A paired difference with its 95% interval; `p_value` is McNemar's exact one, for multiple choice only."""

    value: float
    low: float
    high: float
    p_value: float | None = None

    @property
    def significant(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:+.2%} (95%: {self.low:+.2%} to {self.high:+.2%})"


def perplexity(
    model, tokenizer, texts: Sequence[str], window: int | None = None, stride: int | None = None, batch: int = 16
) -> Perplexity:
    """Score every token of `texts` but each text's first, given what stands before it in that text.

    A text longer than `window` tokens (default: the model's positions, at most 2048) is cut into windows that advance
    by `stride` (default: half of it); each token is scored once, in the window where it has the most context. Logits
    are turned to float32 first. Raises CourseError for no texts, one shorter than two tokens, or impossible windows.
    """
    texts = [texts] if isinstance(texts, str) else list(texts)
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise CourseError("perplexity needs at least one text, and none may be empty.")
    window = window or min(getattr(model.config, "max_position_embeddings", 2048), 2048)
    stride = window // 2 if stride is None else stride
    if not 1 <= stride < window:
        raise CourseError(f"window={window}, stride={stride}: the stride is at least 1 and smaller than the window.")
    encoded = [tokenizer(text).input_ids for text in texts]
    for text, ids in zip(texts, encoded, strict=True):
        if len(ids) < 2:
            raise CourseError(
                f"The text {text[:40]!r} is {len(ids)} token long, and the first is not predicted: add text."
            )
    pieces = [(i, *piece) for i, ids in enumerate(encoded) for piece in _windows(ids, window, stride)]
    nats = np.zeros(len(texts))
    for (i, _, _), values in zip(pieces, _token_nats(model, [p[1:] for p in pieces], batch), strict=True):
        nats[i] += values.sum().item()
    return Perplexity(nats, np.array([len(ids) - 1 for ids in encoded]))


def _windows(ids: list[int], window: int, stride: int) -> Iterator[tuple[list[int], int]]:
    """Yield (ids of a window, index of the first token to score in it); all score each token once, but the first."""
    scored = 1
    for start in range(0, len(ids), stride):
        stop = min(start + window, len(ids))
        yield ids[start:stop], scored - start
        scored = stop
        if stop == len(ids):
            return


@torch.inference_mode()
def _token_nats(model, pieces: Sequence[tuple[list[int], int]], batch: int) -> list[torch.Tensor]:
    """Negative log-likelihood of each token from the given index on, one float32 tensor a piece, in order."""
    nats: list = [None] * len(pieces)
    order = sorted(range(len(pieces)), key=lambda i: -len(pieces[i][0]))  # alike lengths together: little padding
    device = next(model.parameters()).device
    model.eval()
    for begin in range(0, len(order), batch):
        chosen = order[begin : begin + batch]
        ids, mask = padded([pieces[i][0] for i in chosen], device=device)
        logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        for row, i in enumerate(chosen):
            tokens, first = pieces[i]
            targets = ids[row, first : len(tokens)]
            nats[i] = F.cross_entropy(logits[row, first - 1 : len(tokens) - 1].float(), targets, reduction="none").cpu()
    return nats


def multiple_choice(
    model, tokenizer, questions: Sequence[dict], prompt: str = PROMPT, batch: int = 64
) -> MultipleChoice:
    """Score options by the log-likelihood of their tokens after the prompt, as MMLU is scored; the likeliest is chosen.

    Each question is a dict of `question`, `options` (four texts) and `answer` (index of the right one). An option is
    scored as " " + option, its tokens being those that the whole text has beyond the prompt's. Raises CourseError for
    a question of another form. Source: `HFLM.loglikelihood` in lm-eval.
    """
    pieces = []
    for i, item in enumerate(questions):
        options, answer = item.get("options", ()), item.get("answer")
        if len(options) != 4 or answer not in range(4) or not item.get("question"):
            raise CourseError(
                f"Question {i + 1} needs a text, four options and an answer from 0 to 3; "
                f"it has {len(options)} options and the answer {answer!r}."
            )
        start = prompt.format(question=item["question"])
        first = len(tokenizer(start).input_ids)
        pieces += [(tokenizer(f"{start} {option}").input_ids, first) for option in options]
    if not pieces:
        raise CourseError("multiple_choice needs at least one question.")
    scores = [-nats.sum().item() for nats in _token_nats(model, pieces, batch)]
    return MultipleChoice(np.array(scores).reshape(-1, 4), np.array([item["answer"] for item in questions]))


@torch.inference_mode()
def divergence(reference, model, tokenizer, texts: Sequence[str], batch: int = 16) -> Divergence:
    """Kullback–Leibler divergence of the model's next-token distribution from the reference's, in nats.

    Both models are asked for the same tokens, so this sees every change of a distribution, also where the likeliest
    token stays the same. Raises CourseError for no texts.
    """
    texts = list(texts)
    if not texts:
        raise CourseError("divergence needs at least one text.")
    encoded = [tokenizer(text).input_ids for text in texts]
    divergences = np.zeros(len(texts))
    order = sorted(range(len(texts)), key=lambda i: -len(encoded[i]))
    for begin in range(0, len(order), batch):
        chosen = order[begin : begin + batch]
        ids, mask = padded([encoded[i] for i in chosen])
        logs = []
        for m in (reference, model):
            device = next(m.parameters()).device
            logs.append(m(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits)
        for row, i in enumerate(chosen):
            p, q = (F.log_softmax(x[row, : len(encoded[i])].float(), -1) for x in logs)
            divergences[i] = (p.exp() * (p - q.to(p.device))).sum().item()
    return Divergence(divergences, np.array([len(ids) for ids in encoded]))


def mmlu(choice, scheme: str, limit: int | None = 20) -> np.ndarray:
    """Score MMLU with lm-eval, five examples a prompt; which answers are right, in the order of subjects and questions.

    `limit` is the number of questions of each of the 57 subjects, None for all (14,042). Loads the model by itself, as
    the GPU is to be kept free for it. Raises CourseError with one sentence where it cannot be run: another model than
    a real checkpoint, no GPU, lm-eval missing, or questions that cannot be downloaded.
    """
    if choice.kind != "checkpoint":
        raise CourseError(f"{choice.model_id} has never read anything that MMLU asks about; take a real checkpoint.")
    if not torch.cuda.is_available():
        raise CourseError("MMLU asks thousands of long prompts, and no CUDA GPU was found.")
    if importlib.util.find_spec("lm_eval") is None:
        raise CourseError('The package lm-eval is not installed: `pip install "lm-eval>=0.4.9"`.')
    if not models.fit(choice, scheme).ok:
        raise CourseError(f"{choice.model_id} in {scheme} {models.fit(choice, scheme)}.")
    return _lm_eval(*models.load(choice, scheme), limit)


def _lm_eval(model, tokenizer, limit: int | None) -> np.ndarray:
    """Run lm-eval's task `mmlu` on a loaded model; raises CourseError if its questions cannot be had."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8)
    try:
        outcome = lm_eval.simple_evaluate(harness, tasks=["mmlu"], num_fewshot=5, limit=limit, verbosity="ERROR")
    except torch.OutOfMemoryError as error:
        raise CourseError("MMLU's prompts did not fit into the GPU's memory: choose a smaller scheme.") from error
    except OSError as error:  # what datasets and the hub's client raise when there is no way to the questions
        raise CourseError(
            f"MMLU's questions could not be downloaded from the hub ({type(error).__name__}): check the network."
        ) from error
    samples = outcome["samples"]
    return np.array([row["acc"] == 1 for task in sorted(samples) for row in samples[task]])


def standard_error(accuracy: float, questions: int) -> float:
    """Standard error of a share of right answers among independent questions: sqrt(p (1 - p) / n)."""
    return math.sqrt(accuracy * (1 - accuracy) / questions)


def interval(correct: Sequence[bool]) -> tuple[float, float]:
    """95% interval of a share of right answers (Wilson), which holds near 0 and 1, too.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).
    """
    n, p, z = len(correct), float(np.mean(correct)), Z95
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, center - half), min(1.0, center + half)


def paired_difference(before, after, repeats: int = 10_000, seed: int = 0, level: float = 0.95) -> Difference:
    """How far `after` is from `before` on the same texts or questions, with a 95% interval (or another `level`).

    Of two `Perplexity` the relative change of perplexity: texts are drawn with replacement `repeats` times, the same
    ones for both sides, so what makes a text hard cancels. Of two `MultipleChoice` (or arrays of right and wrong) the
    difference of accuracy, with Tango's score interval: few answers change, and a bootstrap of few is too narrow.
    Sources: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993); `tango`.
    """
    if isinstance(before, Perplexity) and isinstance(after, Perplexity):
        if not np.array_equal(before.tokens, after.tokens):
            raise CourseError("A paired difference needs the same texts on both sides, and their lengths differ.")
        tokens, change = before.tokens, after.nats - before.nats
        value = math.expm1(change.sum() / tokens.sum())
        drawn = _draws(len(tokens), repeats, seed)
        means = np.expm1((drawn @ change) / (drawn @ tokens))
        return Difference(value, *np.quantile(means, _ends(level)).tolist())
    one, two = (np.asarray(getattr(side, "correct", side), dtype=bool) for side in (before, after))
    if one.shape != two.shape or not one.size:
        raise CourseError(f"A paired difference needs the same questions on both sides, not {len(one)} and {len(two)}.")
    lost, won = int((one & ~two).sum()), int((two & ~one).sum())
    return Difference((won - lost) / len(one), *tango(lost, won, len(one), level), mcnemar(lost, won))


def tango(lost: int, won: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval (95%, or another `level`) of (won − lost) / n, for two shares of right answers to n questions.

    It holds for few changed answers and for none, where a normal interval or a bootstrap is too narrow. Source: Tango,
    "Equivalence test and confidence interval for the difference in proportions for the paired-sample design",
    Statistics in Medicine 17 (1998).
    """

    def distance(d: float) -> float:
        """Standard errors from the seen difference to `d`, the share of lost answers being the likeliest under `d`."""
        b = (2 * n - won + lost) * d - won - lost
        share = (math.sqrt(b * b + 8 * n * lost * d * (1 - d)) - b) / (4 * n)
        variance = n * (2 * share + d * (1 - d))
        return (won - lost - n * d) / math.sqrt(variance) if variance > 0 else math.inf

    z = Z95 if level == 0.95 else NormalDist().inv_cdf(_ends(level)[1])
    seen = (won - lost) / n
    return _crossing(distance, z, -1.0, seen), _crossing(distance, -z, seen, 1.0)


def _ends(level: float) -> tuple[float, float]:
    """The shares below the two ends of an interval that holds the middle `level`."""
    return (1 - level) / 2, (1 + level) / 2


def _crossing(falling, level: float, low: float, high: float) -> float:
    """Where a falling function has a value, by halving."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > level else (low, middle)
    return (low + high) / 2


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values for several comparisons at once: the chance that any of them is wrong stays what one would have.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scand. J. Statistics 6 (1979).
    """
    order, adjusted, largest = sorted(range(len(p_values)), key=lambda i: p_values[i]), [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of a few runs with Student's 95% interval: (mean, low, high)."""
    n, mean = len(values), float(np.mean(values))
    half = _student(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return mean, mean - half, mean + half


@lru_cache
def _student(freedom: int) -> float:
    """The distance from zero within which 95% of Student's distribution lie."""
    x = np.linspace(0, 200, 2_000_001)  # for two degrees of freedom and more what lies beyond is less than a millionth
    density = (1 + x * x / freedom) ** (-(freedom + 1) / 2)
    share = np.cumsum(density)
    return float(x[np.searchsorted(share / share[-1], 0.95)])


@lru_cache(maxsize=2)
def _draws(n: int, repeats: int, seed: int) -> np.ndarray:
    """How often each of `n` items is drawn in each of `repeats` bootstrap samples, shape (repeats, n)."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=repeats).astype(np.float32)


def mcnemar(lost: int, won: int) -> float:
    """Two-sided exact p-value that as many answers are lost as won: a fair coin for each that changed.

    Source: McNemar, Psychometrika 12 (1947).
    """
    n, ways, side = lost + won, 1, 1  # ways in which none, one, two … of n coins show heads, and their sum
    for i in range(min(lost, won)):
        ways = ways * (n - i) // (i + 1)
        side += ways
    return min(1.0, 2 * side / 2**n)


@torch.no_grad()
def round_weights(model: nn.Module, bits: int, block_size: int | str = 64) -> nn.Module:
    """Round the linear layers of a 16- or 32-bit model in place to `bits` bits, symmetric absmax; returns the model.

    Nothing gets smaller: the rounded values are stored in the old dtype, which is all that quality can notice.
    Raises CourseError for a model that is quantized already and for bits or blocks that `formats.quantize` refuses.
    """
    for name, layer in models.linear_layers(refuse_transposed(model)).items():
        if not layer.weight.is_floating_point():
            raise CourseError(f"{name} is quantized already: load the model in bf16 and round that.")
        try:
            rounded = formats.quantize(layer.weight, bits, block_size)
        except ValueError as error:
            raise CourseError(str(error)) from None
        layer.weight.copy_(formats.dequantize(rounded))
    return model
