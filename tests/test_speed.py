"""Speed: what is counted and what is made, held to `generate`, hand counts and a clock that the test turns."""

import itertools
import re
import statistics
from types import SimpleNamespace

import pytest
import torch
from taught import functions
from transformers import DynamicCache, MistralConfig

from helpers import decoding, memory, models, speed
from helpers.errors import CourseError


def config(**other):
    sizes = {
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "sliding_window": None,
        "dtype": "float32",
    }
    return MistralConfig(**sizes | other)


@pytest.fixture(scope="module")
def model():
    return models.shape_model(config(), "fp32", device="cpu")


@pytest.fixture(scope="module")
def mini():
    return {scheme: models.load("mini", scheme, device="cpu") for scheme in ("bf16", "nf4-dq")}


class Clock:
    """Shows the times of a list, one a reading."""

    def __init__(self, times):
        self.times, self.read = iter(times), 0

    def __call__(self):
        self.read += 1
        return next(self.times)


def by_generate(model, prompt, new_tokens):
    """The oracle: transformers' own greedy tokens, an end token not heeded."""
    mask = torch.ones_like(prompt)
    out = model.generate(
        prompt, attention_mask=mask, do_sample=False, max_new_tokens=new_tokens, eos_token_id=-1, pad_token_id=0
    )
    return out[:, prompt.shape[1] :].cpu()


# Timing and Rate


def test_quartiles_and_median_are_those_of_numpy():
    numpy = pytest.importorskip("numpy")
    timing = speed.Timing((4.0, 1.0, 10.0, 2.0, 3.0, 7.0), first=50.0)
    assert timing.median == numpy.median(timing.seconds)
    assert timing.quartiles == tuple(numpy.percentile(timing.seconds, [25, 75]))
    assert timing.spread == pytest.approx((6.25 - 2.25) / 3.5)


def test_rate_turns_slow_into_low():
    timing = speed.Timing((1.0, 2.0, 4.0), first=9.0)
    assert timing.rate(12) == (6.0, 12 / 3.0, 12 / 1.5)
    assert speed.Timing((2.0,), 5.0).rate(8) == (4.0, 4.0, 4.0)


def test_compare_is_careful():
    fast, slow = speed.Rate(30.0, 24.0, 33.0), speed.Rate(10.0, 8.0, 12.0)
    assert speed.compare(fast, slow) == (3.0, 2.0, 33 / 8)
    assert speed.compare(slow._asdict(), fast._asdict()) == (1 / 3, 8 / 33, 0.5)
    assert speed.compare(fast, fast).low < 1 < speed.compare(fast, fast).high


def test_ratios_take_replays_where_both_have_them():
    def rates(*medians):
        return {str(batch): {"median": m, "low": m, "high": m} for batch, m in zip((1, 4), medians, strict=False)}

    found = {"bf16": {"decode": rates(10.0, 20.0)}, "nf4": {"decode": rates(5.0, 30.0), "graph": rates(80.0, 90.0)}}
    assert {n: r.median for n, r in speed.ratios(found, "nf4", "bf16").items()} == {"1": 0.5, "4": 1.5}
    found["bf16"]["graph"] = rates(40.0)
    assert {n: r.median for n, r in speed.ratios(found, "nf4", "bf16").items()} == {"1": 2.0}
    assert speed.ratios(found, "nf4", "int8") == speed.ratios({}, "nf4", "bf16") == {}


# time_calls


def test_time_calls_leaves_warmup_out_and_keeps_the_first():
    clock = Clock([0, 100, 200, 203, 300, 301, 400, 405])
    calls = []
    timing = speed.time_calls(lambda: calls.append("run"), 3, 1, before=lambda: calls.append("before"), clock=clock)
    assert timing == speed.Timing((3, 1, 5), first=100)
    assert calls == ["before", "run"] * 4 and clock.read == 8


def test_time_calls_without_warmup_counts_the_first():
    timing = speed.time_calls(lambda: None, 2, 0, clock=Clock([0, 7, 10, 12]))
    assert timing == speed.Timing((7, 2), first=7)


def test_the_clock_is_read_before_and_after_the_call_alone():
    events = []
    ticks = itertools.count()

    def clock():
        events.append("clock")
        return next(ticks)

    speed.time_calls(lambda: events.append("call"), 1, 0, before=lambda: events.append("before"), clock=clock)
    assert events == ["before", "clock", "call", "clock"]


def test_a_gpu_is_synchronized_before_each_reading_of_the_clock(monkeypatch):
    events = []
    ticks = itertools.count()
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: events.append("wait"))

    def clock():
        events.append("clock")
        return next(ticks)

    speed.time_calls(lambda: events.append("call"), 2, 0, device="cuda", clock=clock)
    assert events == ["wait", "clock", "call", "wait", "clock"] * 2


@pytest.mark.parametrize(("repeats", "warmup"), [(0, 1), (-1, 0), (3, -1)])
def test_time_calls_refuses_nothing_to_time(repeats, warmup):
    with pytest.raises(CourseError, match=f"repeats={repeats}, warmup={warmup}"):
        speed.time_calls(lambda: None, repeats, warmup)


# time_generation


def test_prefill_and_decode_are_timed_apart(model):
    clock = Clock([0, 50, 90, 100, 102, 110, 200, 203, 209, 300, 301, 311])
    found = speed.time_generation(model, batch=4, prompt_length=6, new_tokens=5, repeats=3, warmup=1, clock=clock)
    assert found.prefill == speed.Timing((2, 3, 1), first=50)
    assert found.decode == speed.Timing((8, 6, 10), first=40)
    assert found.prefill_rate.median == 4 * 6 / 2
    assert found.decode_rate.median == 4 * 4 / 8  # four steps make the other four tokens
    assert found.step_seconds == 8 / 4
    assert found.tokens.shape == (4, 5)


def test_the_function_of_notebook_06_does_the_same(model):
    given = {"torch": torch, "speed": speed, "DynamicCache": DynamicCache}
    shown = functions("06_generate_and_time", "clock", "next_token", "generate_timed", **given)
    found = speed.time_generation(model, batch=2, prompt_length=7, new_tokens=6, repeats=1, warmup=0)
    shown.namespace["time"] = SimpleNamespace(perf_counter=Clock([0, 5, 12]))
    with torch.inference_mode():
        prefill, decode, tokens = shown.generate_timed(model, speed.prompt_of(model, 2, 7, 6, None), 6)
    assert torch.equal(tokens, found.tokens) and (prefill, decode) == (5, 7)


def test_one_new_token_is_prefill_alone(model):
    found = speed.time_generation(model, prompt_length=6, new_tokens=1, repeats=1)
    assert found.decode is found.decode_rate is found.step_seconds is None
    assert found.tokens.shape == (1, 1)


@pytest.mark.parametrize("scheme", ["bf16", "nf4-dq"])
def test_tokens_are_those_of_generate(mini, scheme):
    model, tokenizer = mini[scheme]
    prompt = tokenizer("The capital of Norway is", return_tensors="pt").input_ids
    found = speed.time_generation(model, prompt=prompt, new_tokens=12, repeats=1, warmup=0)
    assert torch.equal(found.tokens, by_generate(model, prompt, 12))
    assert (found.batch, found.prompt_length) == tuple(prompt.shape)


def test_random_prompts_are_the_same_each_time(model):
    runs = [speed.time_generation(model, batch=3, prompt_length=5, new_tokens=4, repeats=1) for _ in range(2)]
    assert torch.equal(runs[0].tokens, runs[1].tokens)
    prompt = speed.prompt_of(model, 3, 5, 4, None)
    assert prompt.shape == (3, 5) and prompt.max() < 320 and len(prompt.unique()) > 5


def test_only_the_last_positions_logits_are_computed(model, monkeypatch):
    shapes = []
    hook = model.lm_head.register_forward_hook(lambda module, args, out: shapes.append(tuple(out.shape)))
    try:
        speed.time_generation(model, batch=2, prompt_length=9, new_tokens=3, repeats=1, warmup=0)
        speed.time_generation(model, 2, 9, 3, repeats=1, warmup=0, way="static")
    finally:
        hook.remove()
    assert shapes == [(2, 1, 320)] * 6


# Jobs by turns


def pretend(seconds, calls, name):
    """A job that takes the next of `seconds`, a pair (prefill, decode), and says when it is called."""
    times = iter(seconds)

    def run():
        calls.append(name)
        prefill, decode = (None if t is None else speed.Timing((t,), t) for t in next(times))
        return speed.Generation(1, 4, 3, prefill, decode, torch.zeros(1, 3))

    return run


def test_jobs_take_turns_and_keep_their_own_times():
    calls = []
    jobs = {
        "a": pretend([(9, 90), (1, 10), (3, 30), (2, 20)], calls, "a"),
        "b": pretend([(None, 70), (None, 7), (None, 5), (None, 6)], calls, "b"),
    }
    found = speed.interleave(jobs, repeats=3, warmup=1)
    assert calls == ["a", "b"] * 4
    assert found["a"].prefill == speed.Timing((1, 3, 2), first=9)
    assert found["a"].decode == speed.Timing((10, 30, 20), first=90)
    assert found["b"].prefill is None and found["b"].decode == speed.Timing((7, 5, 6), first=70)


@pytest.mark.parametrize(("enough", "rounds"), [(None, 6), (0.0, 3), (3.0, 3), (3.1, 4), (4.0, 4), (99.0, 6)])
def test_enough_seconds_end_the_rounds_after_three(enough, rounds):
    calls = []  # a takes 0.5 s a run, b 1.5 s: 1 s a job and round; the warm-up of 50 s does not count
    jobs = {
        "a": pretend([(25, 25)] * 2 + [(0.25, 0.25)] * 6, calls, "a"),
        "b": pretend([(50, None)] * 2 + [(1.5, None)] * 6, calls, "b"),
    }
    found = speed.interleave(jobs, repeats=6, warmup=2, enough=enough)
    assert found["a"].decode.seconds == (0.25,) * rounds and found["b"].prefill.seconds == (1.5,) * rounds
    assert calls == ["a", "b"] * (2 + rounds)


# The static cache


@pytest.mark.parametrize("scheme", ["bf16", "nf4-dq"])
def test_static_decoding_makes_the_tokens_of_generate(mini, scheme):
    model, tokenizer = mini[scheme]
    prompt = tokenizer("The chemical symbol of iron is", return_tensors="pt").input_ids
    found = speed.time_generation(model, prompt=prompt, new_tokens=12, repeats=2, way="static")
    assert torch.equal(found.tokens, by_generate(model, prompt, 12))
    assert found.prefill is None and len(found.decode.seconds) == 2


def test_static_logits_are_those_of_a_growing_cache(model):
    prompt = speed.prompt_of(model, 3, 7, 9, None)
    decoder = decoding.StaticDecoder(model, prompt, 9)
    decoder.prefill()
    for _ in range(8):
        decoder.step()
    whole = decoder.tokens[:, :16]
    assert torch.equal(whole[:, :7], prompt)
    with torch.inference_mode():
        best = model(whole[:, :-1]).logits.argmax(-1)  # one pass without any cache
    assert torch.equal(whole[:, 7:], best[:, 6:])


def test_prefill_starts_anew(model):
    prompt, other = (torch.randint(320, (2, 8), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    used, fresh = (decoding.StaticDecoder(model, prompt, 6) for prompt in (prompt, other))
    used.prefill()
    used.step()
    used.prompt = other
    for decoder in (used, fresh):
        decoder.prefill()
        decoder.step()
    assert torch.equal(used.tokens, fresh.tokens)
    for mine, theirs in zip(used.cache.layers, fresh.cache.layers, strict=True):
        assert torch.equal(mine.keys, theirs.keys) and mine.cumulative_length == theirs.cumulative_length == 9


@pytest.mark.parametrize(("length", "new_tokens", "expected"), [(7, 9, 64), (60, 4, 64), (60, 5, 128)])
def test_static_cache_is_long_enough_and_aligned(model, length, new_tokens, expected):
    decoder = decoding.StaticDecoder(model, speed.prompt_of(model, 1, length, new_tokens, None), new_tokens)
    decoder.prefill()
    assert decoder.cache_length == expected
    assert {layer.keys.shape[2] for layer in decoder.cache.layers} == {expected}


def test_a_step_leaves_every_tensor_in_its_place(model):
    """What a CUDA graph relies on: no state in Python, no tensor that moves."""
    decoder = decoding.StaticDecoder(model, speed.prompt_of(model, 2, 5, 6, None), 6)
    decoder.prefill()

    def places():
        own = [decoder.position, decoder.newest, decoder.tokens]
        return [t.data_ptr() for t in own] + [
            t.data_ptr() for layer in decoder.cache.layers for t in (layer.keys, layer.values, layer.cumulative_length)
        ]

    before, python = (
        places(),
        {k: v for layer in decoder.cache.layers for k, v in vars(layer).items() if type(v) is int},
    )
    decoder.step()
    decoder.step()
    assert places() == before
    assert python == {k: v for layer in decoder.cache.layers for k, v in vars(layer).items() if type(v) is int}
    assert decoder.position.item() == 7


def test_a_sliding_window_that_is_not_reached_changes_nothing():
    tight = models.shape_model(config(sliding_window=24), "fp32", device="cpu")
    prompt = speed.prompt_of(tight, 1, 8, 12, None)
    found = speed.time_generation(tight, prompt=prompt, new_tokens=12, repeats=2, warmup=0, way="static")
    assert torch.equal(found.tokens, by_generate(tight, prompt, 12))
    with pytest.raises(CourseError, match="sliding window of 24"):
        speed.job(tight, prompt_length=8, new_tokens=17, way="static")


def test_static_decoding_is_timed_without_prefill(model):
    clock = Clock([0, 9, 20, 26, 30, 33])
    found = speed.time_generation(model, 2, 4, 4, way="static", repeats=2, warmup=1, clock=clock)
    assert found.decode == speed.Timing((6, 3), first=9)
    assert found.decode_rate.median == 2 * 3 / 4.5
    assert found.prefill is None


def test_graphs_need_a_gpu(model):
    with pytest.raises(CourseError, match="CUDA graphs need a CUDA GPU") as caught:
        speed.time_generation(model, 1, 4, 4, way="graph")
    (advice,) = re.findall(r'way="(\w+)"', str(caught.value))
    assert speed.time_generation(model, 1, 4, 4, way=advice, repeats=1).tokens.shape == (1, 4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("scheme", ["bf16", "nf4-dq"])
def test_a_replayed_graph_makes_the_tokens_of_eager_steps(scheme):
    model, _ = models.load("mini", scheme)
    eager, graph = (
        speed.time_generation(model, batch=2, prompt_length=20, new_tokens=16, repeats=2, way=way)
        for way in ("static", "graph")
    )
    assert torch.equal(eager.tokens, graph.tokens)


# Bandwidth and bytes


def test_copying_reads_and_writes_each_byte():
    rate = speed.copy_bandwidth("cpu", size=1000, repeats=3, warmup=0, clock=Clock([0, 1, 10, 12, 20, 24]))
    assert rate.median == 2 * 1000 / 2
    with pytest.raises(CourseError, match="size=0"):
        speed.copy_bandwidth("cpu", size=0)


def test_what_is_read_is_no_less_than_what_is_copied(monkeypatch):
    monkeypatch.setattr(speed, "copy_bandwidth", lambda *given: speed.Rate(10.0, 9.0, 11.0))
    slow = speed.read_bandwidth("cpu", size=1000, repeats=1, warmup=0, clock=Clock([0, 1000]))
    assert slow == speed.Rate(10.0, 9.0, 11.0)  # adding up took longer than copying would
    fast = speed.read_bandwidth("cpu", size=1000, repeats=1, warmup=0, clock=Clock([0, 10]))
    assert fast.median == 100  # 250 numbers of 4 bytes in 10 seconds


def test_bytes_of_a_step_equal_a_count_by_hand(mini):
    """Mini-Mistral: 6 layers, d 256, 8 heads and 4 key/value heads of 32, f 768, 2,048 words."""
    linear = 6 * (2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 768)
    head, norms, row, token = 2 * 2048 * 256, 2 * 13 * 256, 2 * 256, 6 * 2 * 4 * 32 * 2
    bf16 = speed.bytes_per_step(mini["bf16"][0], batch=3, context=100)
    buffers = bf16.pop("buffers")
    assert bf16 == {
        "linear": 2 * linear,
        "head": head,
        "norms": norms,
        "embedding_rows": 3 * row,
        "kv_read": 3 * 100 * token,
        "kv_written": 3 * token,
    }
    assert buffers == sum(b.nbytes for b in mini["bf16"][0].buffers())
    four = speed.bytes_per_step(mini["nf4-dq"][0], batch=1, context=0)
    assert four["codes"] == linear // 2 and four["absmax"] == linear // 64
    assert "kv_read" not in four and four["kv_written"] == token


@pytest.mark.parametrize("scheme", ["bf16", "int8", "fp4", "nf4", "nf4-dq"])
def test_bytes_from_a_configuration_are_those_of_the_model(scheme):
    whole = config(dtype="bfloat16")
    model = models.shape_model(whole, scheme, device="cpu")
    assert speed.bytes_per_step(whole, 2, 50, scheme) == speed.bytes_per_step(model, 2, 50)


def test_tied_embeddings_are_read_as_the_head():
    tied = models.shape_model(config(tie_word_embeddings=True), "fp32", device="cpu")
    apart = models.shape_model(config(), "fp32", device="cpu")
    assert speed.bytes_per_step(tied, 2, 9) == speed.bytes_per_step(apart, 2, 9)
    assert speed.bytes_per_step(tied)["head"] == 320 * 64 * 4


def test_weights_are_read_once_whatever_the_batch():
    one, many = (speed.bytes_per_step(models.mistral_7b_config(), n, 512, "nf4") for n in (1, 64))
    assert {part for part in one if one[part] != many[part]} == {"embedding_rows", "kv_read", "kv_written"}
    assert all(many[part] == 64 * one[part] for part in ("embedding_rows", "kv_read", "kv_written"))
    everything = memory.predict(models.mistral_7b_config(), "nf4").weight_bytes
    embeddings = 2 * 32000 * 4096
    assert sum(one.values()) - one["kv_read"] - one["kv_written"] - one["embedding_rows"] - one["buffers"] == (
        everything - embeddings
    )
    assert one["kv_written"] == 131_072 and one["kv_read"] == 512 * 131_072


@pytest.mark.parametrize(("batch", "context"), [(0, 5), (1, -1)])
def test_bytes_of_a_step_refuse_impossible_sizes(batch, context):
    with pytest.raises(CourseError, match=f"batch={batch}, context={context}"):
        speed.bytes_per_step(config(), batch, context)


# The compute dtype


def test_compute_dtype_is_used_by_every_layer(mini, monkeypatch):
    import bitsandbytes as bnb

    model, tokenizer = models.load("mini", "nf4-dq", device="cpu")
    used = []
    product = bnb.matmul_4bit
    monkeypatch.setattr(bnb, "matmul_4bit", lambda x, *a, **k: (used.append(x.dtype), product(x, *a, **k))[1])
    ids = tokenizer("The sun", return_tensors="pt").input_ids
    before = memory.measure(model).parts
    for dtype in (torch.float32, torch.bfloat16):
        used.clear()
        assert speed.set_compute_dtype(model, dtype) == 42
        with torch.inference_mode():
            logits = model(ids).logits
        assert used == [dtype] * 42 and logits.dtype == torch.bfloat16
    assert memory.measure(model).parts == before


def test_compute_dtype_refuses_what_has_none(mini):
    with pytest.raises(CourseError, match="no 4-bit layers"):
        speed.set_compute_dtype(mini["bf16"][0], torch.float16)
    with pytest.raises(CourseError, match="int8"):
        speed.set_compute_dtype(mini["nf4-dq"][0], torch.int8)


# Bad input


@pytest.mark.parametrize("way", ["growing", "static"])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"batch": 0}, "batch=0"),
        ({"prompt_length": 0}, "prompt_length=0"),
        ({"prompt_length": 250, "new_tokens": 7}, "250 prompt tokens and 7 new ones are more than the model's 256"),
        ({"repeats": 0}, "repeats=0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"prompt": torch.zeros(4, dtype=torch.long)}, r"shape \(batch, length\)"),
        ({"prompt": torch.zeros(1, 4)}, "integers"),
    ],
)
def test_bad_input_is_one_clear_sentence(model, way, given, said):
    with pytest.raises(CourseError, match=said):
        speed.time_generation(model, way=way, **given)


def test_new_tokens_have_a_least_number(model):
    with pytest.raises(CourseError, match="new_tokens=0"):
        speed.time_generation(model, new_tokens=0)
    with pytest.raises(CourseError, match="at least 2"):
        speed.job(model, new_tokens=1, way="static")
    with pytest.raises(CourseError, match="'compiled'.*growing, static, graph"):
        speed.job(model, way="compiled")


def test_exactly_the_last_position_can_be_used(model):
    found = speed.time_generation(model, prompt_length=250, new_tokens=6, repeats=1, warmup=0)
    assert found.tokens.shape == (1, 6)
    assert statistics.median(found.decode.seconds) > 0
