"""quality: perplexity against transformers' loss, multiple choice by hand, intervals and tests against known values."""

import json
import math

import numpy as np
import pytest
import torch
from taught import functions
from transformers import MistralConfig, MistralForCausalLM

from helpers import formats, models, quality
from helpers.errors import CourseError

DATA = models.mini_path().parent / "data"


def lines(name: str, count: int) -> list[dict]:
    with (DATA / f"{name}.jsonl").open(encoding="utf-8") as file:
        return [json.loads(next(file)) for _ in range(count)]


@pytest.fixture(scope="module")
def mini():
    """Mini-Mistral in float32, so that oracles can be met closely."""
    return models.load("mini", "fp32", device="cpu")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [row["text"] for row in lines("validation", 24)]


def own_loss(model, tokenizer, text: str) -> tuple[float, int]:
    """Summed nats and tokens by transformers' own loss, one text at a time."""
    ids = tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        loss = model(ids, labels=ids).loss.item()
    return loss * (ids.shape[1] - 1), ids.shape[1] - 1


@pytest.mark.parametrize("batch", [1, 5, 24])
def test_perplexity_is_transformers_loss(mini, texts, batch):
    model, tokenizer = mini
    found = quality.perplexity(model, tokenizer, texts, batch=batch)
    expected = [own_loss(model, tokenizer, text) for text in texts]
    assert found.tokens.tolist() == [n for _, n in expected]
    assert found.nats == pytest.approx([nats for nats, _ in expected], rel=1e-5)
    loss = sum(nats for nats, _ in expected) / sum(n for _, n in expected)
    assert found.loss == pytest.approx(loss, rel=1e-5)
    assert found.value == pytest.approx(math.exp(loss), rel=1e-5)


def test_windows_score_each_token_once_with_the_most_context(mini, texts):
    model, tokenizer = mini
    text = " ".join(texts[:3])
    ids = tokenizer(text, return_tensors="pt").input_ids
    window, stride = 32, 12
    assert ids.shape[1] > 2 * window
    nats, scored = 0.0, 1
    # as transformers' guide to perplexity does it: labels of what a window before has scored are masked
    for start in range(0, ids.shape[1], stride):
        stop = min(start + window, ids.shape[1])
        piece, labels = ids[:, start:stop], ids[:, start:stop].clone()
        labels[:, : scored - start] = -100
        with torch.no_grad():
            nats += model(piece, labels=labels).loss.item() * (stop - scored)
        scored = stop
        if stop == ids.shape[1]:
            break
    found = quality.perplexity(model, tokenizer, [text], window=window, stride=stride, batch=4)
    assert found.tokens.tolist() == [ids.shape[1] - 1]
    assert found.nats[0] == pytest.approx(nats, rel=1e-5)
    whole = quality.perplexity(model, tokenizer, [text], window=512)
    assert whole.nats[0] == pytest.approx(own_loss(model, tokenizer, text)[0], rel=1e-5)


def test_a_uniform_model_has_the_vocabulary_as_perplexity():
    config = MistralConfig(
        vocab_size=2048, hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    config.num_key_value_heads = 2
    model = MistralForCausalLM(config)
    torch.nn.init.zeros_(model.lm_head.weight)
    tokenizer = models.load("mini", "bf16", device="cpu")[1]
    assert quality.perplexity(model, tokenizer, ["It is cold today."]).value == pytest.approx(2048, rel=1e-4)


def test_multiple_choice_is_the_summed_log_likelihood_of_the_options_tokens(mini):
    model, tokenizer = mini
    questions = lines("quiz", 12)
    found = quality.multiple_choice(model, tokenizer, questions, batch=7)
    for row, item in enumerate(questions):
        start = f"Question: {item['question']}\nAnswer:"
        first = tokenizer(start, return_tensors="pt").input_ids.shape[1]
        for column, option in enumerate(item["options"]):
            ids = tokenizer(f"{start} {option}", return_tensors="pt").input_ids
            with torch.no_grad():
                logs = torch.log_softmax(model(ids).logits[0], -1)
            expected = sum(logs[i - 1, ids[0, i]].item() for i in range(first, ids.shape[1]))
            assert found.loglikelihood[row, column] == pytest.approx(expected, abs=1e-4)
    assert found.choices.tolist() == found.loglikelihood.argmax(1).tolist()
    assert found.answers.tolist() == [item["answer"] for item in questions]
    assert found.accuracy == sum(c == item["answer"] for c, item in zip(found.choices, questions, strict=True)) / 12


def test_options_in_another_order_are_the_same_question(mini):
    model, tokenizer = mini
    questions = lines("quiz", 40)
    turned = [
        {**item, "options": item["options"][1:] + item["options"][:1], "answer": (item["answer"] - 1) % 4}
        for item in questions
    ]
    one = quality.multiple_choice(model, tokenizer, questions)
    two = quality.multiple_choice(model, tokenizer, turned)
    assert np.allclose(np.roll(one.loglikelihood, -1, axis=1), two.loglikelihood, atol=1e-4)
    assert (one.correct == two.correct).all()


def test_what_the_notebook_teaches_is_what_the_library_does(mini, texts):
    model, tokenizer = mini
    names = ("windows", "next_token_logs", "token_nats", "perplexity", "option_nats")
    taught = functions("07_measure_quality", *names, torch=torch, np=np, math=math)
    for window, stride in ((512, 256), (8, 4), (8, 7)):
        expected = quality.perplexity(model, tokenizer, texts[:6], window, stride).value
        assert taught.perplexity(model, tokenizer, texts[:6], window, stride) == pytest.approx(expected, rel=1e-5)
    questions = lines("quiz", 12)
    expected = -quality.multiple_choice(model, tokenizer, questions).loglikelihood
    for item, nats in zip(questions, expected, strict=True):
        assert taught.option_nats(model, tokenizer, item) == pytest.approx(nats, abs=1e-4)


def test_divergence_is_zero_for_the_same_model_and_kullback_leibler_else(mini, texts):
    model, tokenizer = mini
    other, _ = models.load("mini", "nf4", device="cpu")
    assert quality.divergence(model, model, tokenizer, texts[:3]).nats == pytest.approx([0, 0, 0], abs=1e-5)
    found = quality.divergence(model, other, tokenizer, texts[:3], batch=2)
    assert found.value == pytest.approx(found.nats.sum() / found.tokens.sum())  # each token counts the same
    low, high = found.interval()
    assert low < found.value < high
    for text, nats, tokens in zip(texts, found.nats, found.tokens, strict=False):
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            p, q = (torch.distributions.Categorical(logits=m(ids).logits[0].float()) for m in (model, other))
        # 4-bit layers compute in bfloat16, where padding may move a result by a bit
        assert tokens == ids.shape[1]
        assert nats == pytest.approx(torch.distributions.kl_divergence(p, q).sum().item(), rel=0.05)
    reverse = quality.divergence(other, model, tokenizer, texts[:3], batch=2)
    assert (found.nats > 1e-3).all() and not np.allclose(found.nats, reverse.nats, rtol=1e-3)


@pytest.mark.parametrize("right, n", [(90, 100), (0, 20), (20, 20), (1, 3), (8560, 14042)])
def test_interval_is_wilsons(right, n):
    # its ends are the shares from which the observed one is exactly 1.96 of their own standard errors away
    low, high = quality.interval([True] * right + [False] * (n - right))
    for end in {low, high} - {0.0, 1.0}:
        assert abs(right / n - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / n), rel=1e-6)
    assert -1e-12 < low < high < 1 + 1e-12 and low - 1e-12 <= right / n <= high + 1e-12


def test_interval_covers_the_truth_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    drawn = rng.random((4000, 200)) < 0.8
    covered = np.mean([low <= 0.8 <= high for low, high in map(quality.interval, drawn)])
    assert 0.93 < covered < 0.97


def test_standard_error_of_mmlu():
    # a share of 60% among MMLU's 14,042 questions
    assert quality.standard_error(0.6, 14_042) == pytest.approx(0.00413, abs=1e-5)


@pytest.mark.parametrize("lost, won, p", [(0, 0, 1.0), (5, 5, 1.0), (1, 9, 22 / 1024), (10, 0, 2 / 1024)])
def test_mcnemar_is_a_binomial_test(lost, won, p):
    before = [True] * lost + [False] * won + [True] * 50
    after = [False] * lost + [True] * won + [True] * 50
    found = quality.paired_difference(np.array(before), np.array(after))
    assert found.p_value == pytest.approx(p)
    assert found.value == pytest.approx((won - lost) / len(before))


def test_pairing_sees_what_two_separate_intervals_do_not():
    rng = np.random.default_rng(1)
    before = rng.random(2000) < 0.7
    after = before.copy()
    after[np.flatnonzero(before)[:20]] = False  # one point lost, nothing won
    found = quality.paired_difference(before, after)
    assert found.value == pytest.approx(-0.01) and found.significant and found.low < -0.01 < found.high < 0
    (low, high), (lower, upper) = quality.interval(before), quality.interval(after)
    assert low < upper and lower < high  # they overlap
    # with this many the width is that of the standard error of a mean
    width = (found.high - found.low) / (2 * 1.96)
    assert width == pytest.approx((after.astype(float) - before).std() / math.sqrt(2000), rel=0.1)


@pytest.mark.parametrize(
    "lost, won, n", [(0, 0, 150), (2, 0, 150), (3, 1, 150), (40, 12, 2201), (9, 9, 60), (0, 5, 44)]
)
def test_tangos_interval_ends_where_what_was_seen_becomes_unlikely(lost, won, n):
    """Its ends are the differences from which the seen one is 1.96 standard errors away, the shares being the
    likeliest ones under that difference: found here by trying them, and not by solving for them."""
    low, high = quality.tango(lost, won, n)
    assert -1 < low <= (won - lost) / n <= high < 1
    for end in (low, high):
        shares = np.linspace(max(0.0, -end) + 1e-9, (1 - end) / 2 - 1e-9, 400_001)  # of lost answers; won: + end
        with np.errstate(divide="ignore", invalid="ignore"):
            likely = lost * np.log(shares) if lost else np.zeros_like(shares)
            likely = likely + (won * np.log(shares + end) if won else 0)
            likely = likely + (n - lost - won) * np.log1p(-2 * shares - end)
        share = shares[np.nanargmax(likely)]
        error = math.sqrt((2 * share + end - end**2) / n)
        assert abs((won - lost) / n - end) / error == pytest.approx(1.96, rel=0.01)
    if lost == won == 0:
        assert high == -low == pytest.approx(1.96**2 / (n + 1.96**2), rel=1e-3)  # ± 2.5 points for 150


def test_tangos_interval_holds_where_a_bootstrap_does_not():
    rng, n, hits = np.random.default_rng(0), 150, {"tango": 0, "bootstrap": 0}
    for _ in range(400):
        lost, won, same = rng.multinomial(n, [0.01, 0.003, 0.987])
        change = np.repeat([-1.0, 1.0, 0.0], [lost, won, same])
        low, high = np.quantile(rng.choice(change, (400, n)).mean(1), (0.025, 0.975))
        hits["bootstrap"] += low <= -0.007 <= high
        low, high = quality.tango(lost, won, n)
        hits["tango"] += low <= -0.007 <= high
    assert hits["tango"] >= 0.94 * 400 and hits["bootstrap"] < 0.9 * 400


def test_holm_by_hand():
    assert quality.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert quality.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0]) and quality.holm([0.02]) == [0.02]


def test_an_interval_of_a_few_runs_is_students():
    mean, low, high = quality.mean_interval([1.0, 2.0, 3.0])
    assert mean == 2 and high - mean == pytest.approx(4.3027 / 3**0.5, rel=1e-3)
    assert mean - low == pytest.approx(high - mean)
    assert quality.mean_interval(list(range(12)))[2] - 5.5 == pytest.approx(2.2010 * 13**0.5 / 12**0.5, rel=1e-3)


def test_paired_perplexities():
    rng = np.random.default_rng(2)
    tokens = rng.integers(20, 80, 400)
    nats = tokens * rng.uniform(0.3, 1.5, 400)
    before = quality.Perplexity(nats, tokens)
    after = quality.Perplexity(nats + tokens * np.log(1.03), tokens)
    found = quality.paired_difference(before, after)
    assert found.value == pytest.approx(0.03) == pytest.approx(after.value / before.value - 1)
    assert found.low == pytest.approx(0.03, abs=1e-6) and found.high == pytest.approx(0.03, abs=1e-6)
    noisy = quality.Perplexity(nats + tokens * rng.normal(0, 0.1, 400), tokens)
    assert not quality.paired_difference(before, noisy).significant
    assert quality.paired_difference(before, before).value == 0


def test_rounding_changes_linear_layers_alone_and_to_what_formats_makes():
    model, _ = models.load("mini", "bf16", device="cpu")
    before = {name: p.clone() for name, p in model.named_parameters()}
    quality.round_weights(model, 3, 64)
    layers = {f"{name}.weight" for name in models.linear_layers(model)}
    assert len(layers) == 42
    for name, p in model.named_parameters():
        if name not in layers:
            assert torch.equal(p, before[name]), name
            continue
        expected = formats.dequantize(formats.quantize(before[name], 3, 64)).to(torch.bfloat16)
        assert torch.equal(p, expected) and not torch.equal(p, before[name])


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda m, t: quality.perplexity(m, t, []), "at least one text"),
        (lambda m, t: quality.perplexity(m, t, ["a text", " "]), "none may be empty"),
        (lambda m, t: quality.perplexity(m, lambda text: t(text, add_special_tokens=False), ["a"]), "1 token long"),
        (lambda m, t: quality.perplexity(m, t, ["some text"], window=8, stride=8), "stride=8"),
        (lambda m, t: quality.perplexity(m, t, ["some text"], window=8, stride=0), "stride=0"),
        (lambda m, t: quality.multiple_choice(m, t, []), "at least one question"),
        (
            lambda m, t: quality.multiple_choice(m, t, [{"question": "?", "options": list("abc"), "answer": 0}]),
            "Question 1 needs a text, four options",
        ),
        (
            lambda m, t: quality.multiple_choice(m, t, [{"question": "?", "options": list("abcd"), "answer": 4}]),
            "an answer from 0 to 3",
        ),
        (lambda m, t: quality.divergence(m, m, t, []), "at least one text"),
        (lambda m, t: quality.paired_difference([True], [True, False]), "same questions on both sides"),
        (
            lambda m, t: quality.paired_difference(
                quality.Perplexity(np.ones(2), np.array([3, 4])), quality.Perplexity(np.ones(2), np.array([3, 5]))
            ),
            "same texts on both sides",
        ),
        (lambda m, t: quality.round_weights(m, 1), "use 2 to 8"),
        (lambda m, t: quality.round_weights(models.load("mini", "nf4", device="cpu")[0], 4), "quantized already"),
    ],
)
def test_bad_input_gets_one_sentence(mini, call, says):
    with pytest.raises(CourseError, match=says) as error:
        call(*mini)
    assert "\n" not in str(error.value) and len(str(error.value)) < 250
