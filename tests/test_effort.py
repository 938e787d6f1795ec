"""What a slow machine leaves out: nothing with Mini-Mistral, and elsewhere what does not fit its time."""

import math

from transformers import LlamaConfig, LlamaForCausalLM

from helpers import effort, models


def test_nothing_is_cut_for_mini_mistral():
    pace = effort.of(models.resolve("mini"))
    assert math.isinf(pace.rate) and pace.cut("texts", 100, 1e9, 1) == 100 and pace.steps("steps", 200, 1e9, 1) == 200
    assert pace.sizes("batches", [1, 4, 64], 10**9) == [1, 4, 64] and pace.cuts == {}


def test_what_is_cut_fits_its_time_and_is_noted(monkeypatch):
    pace, said = effort.Pace(500.0), []
    assert pace.cut("texts", 100, tokens=50, seconds=60) == 100 and pace.cuts == {}  # 600 would fit
    assert pace.cut("questions", 160, tokens=1000, seconds=60) == 30  # 30 · 1000 tokens at 500 a second
    assert pace.steps("steps", 200, tokens=100, seconds=60) == 75  # four passes each
    assert pace.cut("few", 50, tokens=10_000, seconds=1) == 8  # never fewer than the least
    assert pace.sizes("lengths", [32, 256, 2048]) == [32, 256] and pace.sizes("batches", [1, 4], tokens=9000) == [1]
    assert pace.cuts["questions"] == {"wanted": 160, "done": 30} and pace.cuts["lengths"]["done"] == 256
    monkeypatch.setattr(effort.results, "show", said.append)
    pace.said()
    effort.Pace().said()
    (sentence,) = said
    assert "at 500 tokens/s" in sentence and "30 of 160 questions" in sentence


def test_a_pace_is_measured_once_where_there_is_no_gpu(monkeypatch):
    choice = models.Choice("x", "local folder", "checkpoint", "asked for")
    monkeypatch.setattr(effort.torch.cuda, "is_available", lambda: False)
    loads = []

    def load(model, scheme):
        loads.append(scheme)
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        return LlamaForCausalLM(LlamaConfig(vocab_size=64, num_key_value_heads=2, **sizes)), None

    monkeypatch.setattr(effort.models, "load", load)
    assert effort.of(choice).rate == effort.of(choice).rate > 0 and loads == ["nf4-dq"]
    monkeypatch.setattr(effort.torch.cuda, "is_available", lambda: True)
    assert math.isinf(effort.of(choice).rate)
