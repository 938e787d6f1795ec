"""memory: measured bytes against all tensors that can be reached, predictions against hand counts and real models."""

import gc

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache, MistralConfig

from helpers import memory, models
from helpers.errors import CourseError

SCHEMES = ["fp32", "fp16", "bf16", "int8", "fp4", "nf4", "nf4-dq"]
QUANTIZED = ["int8", "fp4", "nf4", "nf4-dq"]


def tiny_config(**changes) -> MistralConfig:
    sizes = dict(
        vocab_size=320, hidden_size=128, intermediate_size=192, num_hidden_layers=2, max_position_embeddings=64
    )
    return MistralConfig(**{**sizes, "num_attention_heads": 4, "num_key_value_heads": 2, **changes})


def reachable_bytes(model) -> int:
    """The oracle: sizes of all distinct torch storages that hang on a model, however they hang on it."""
    found, seen, todo = {}, set(), [model]
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type) or type(thing).__name__ in ("module", "function"):
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            storage = thing.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        if isinstance(thing, dict):
            todo.extend(thing.values())
        elif isinstance(thing, list | tuple | set | frozenset):
            todo.extend(thing)
        elif hasattr(thing, "__dict__"):
            todo.extend(vars(thing).values())
            if isinstance(thing, torch.Tensor) and thing.grad is not None:
                todo.append(thing.grad)
    return sum(found.values())


def made(scheme: str, **changes):
    return models.shape_model(tiny_config(**changes), scheme, device="cpu")


# Measured


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("tied", [False, True])
def test_measure_counts_every_reachable_byte(scheme, tied):
    model = made(scheme, tie_word_embeddings=tied)
    assert memory.measure(model).total_bytes == reachable_bytes(model)
    assert ("head" in memory.measure(model).parts) is not tied


@pytest.mark.parametrize("scheme", QUANTIZED)
def test_measure_holds_after_a_forward_pass(scheme):
    """The CPU may repack 4-bit layers at the first forward; int8 moves its codes from the weight to a state."""
    model = made(scheme)
    before = memory.measure(model)
    with torch.no_grad():
        model(torch.tensor([[1, 2, 3]]))
    after = memory.measure(model)
    assert after.total_bytes == reachable_bytes(model)
    assert after.parts["codes"] == before.parts["codes"] and after.parts["embeddings"] == before.parts["embeddings"]


def test_measure_by_hand():
    parts = memory.measure(made("nf4-dq")).parts
    weights = 2 * (128 * (128 + 64 + 64 + 128) + 3 * 128 * 192)  # two layers
    blocks = weights // 64
    small = [128 * 128, 128 * 64, 128 * 64, 128 * 128, 128 * 192, 128 * 192, 128 * 192]
    second = 2 * sum(-(-n // 64 // 256) for n in small) * 4  # every layer rounds up for itself
    assert parts["codes"] == weights // 2 and parts["absmax"] == blocks and parts["second_level"] == second
    assert parts["tables"] == 14 * (16 * 4 + 256 * 4 + 4)
    assert parts["embeddings"] == parts["head"] == 320 * 128 * 2 and parts["norms"] == 5 * 128 * 2
    scales = memory.measure(made("int8")).parts
    assert scales["codes"] == weights and scales["absmax"] == 2 * 4 * (128 + 64 + 64 + 128 + 192 + 192 + 128)


def test_adapters_and_gradients_are_parts_of_their_own():
    from peft import LoraConfig, get_peft_model

    base = made("nf4")
    before = memory.measure(base).parts
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    parts = memory.measure(model).parts
    assert parts.pop("adapters") == 2 * 4 * ((128 + 128) + (128 + 64)) * 4  # two layers, rank 4, float32
    assert parts == before
    model.train()
    model(torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    parts = memory.measure(model).parts
    assert parts["gradients"] == parts["adapters"]
    assert "gradients" not in memory.measure(model, gradients=False).parts
    assert memory.measure(model).total_bytes == reachable_bytes(model)


def test_footprint_of_transformers_leaves_the_constants_out():
    """What notebook 05 shows: the difference is absmax, second level and tables, and nothing else."""
    for scheme in ("fp4", "nf4", "nf4-dq"):
        model, _ = models.load("mini", scheme, device="cpu")
        parts = memory.measure(model).parts
        constants = sum(parts.get(part, 0) for part in ("absmax", "second_level", "tables"))
        assert model.get_memory_footprint() == memory.measure(model).total_bytes - constants


# Predicted


@pytest.mark.parametrize(
    ("scheme", "weight_bytes"),
    [
        ("fp32", 28_966_928_384),
        ("fp16", 14_483_464_192),
        ("bf16", 14_483_464_192),
        ("int8", 7_509_647_360),
        ("fp4", 4_450_703_360),
        ("nf4", 4_450_703_360),
        ("nf4-dq", 4_125_481_856),
    ],
)
def test_mistral_7b_to_the_byte(scheme, weight_bytes):
    budget = memory.predict(models.mistral_7b_config(), scheme)
    assert budget.weight_bytes == weight_bytes
    assert budget.total_bytes - weight_bytes == budget.parts["buffers"] == 2 * 64 * 4  # rotary frequencies, kept twice
    assert budget.gb == budget.total_bytes / 1e9


def test_mistral_7b_part_by_part():
    parts = memory.predict(models.mistral_7b_config(), "nf4-dq").parts
    assert parts["codes"] == 6_979_321_856 // 2 == 3_489_660_928
    assert (parts["absmax"], parts["second_level"]) == (109_051_904, 1_703_936)
    assert parts["tables"] == 224 * (64 + 1024 + 4)
    assert parts["embeddings"] + parts["head"] + parts["norms"] == 524_820_480
    assert memory.predict(models.mistral_7b_config(), "nf4").parts["absmax"] == 436_207_616


@pytest.mark.parametrize("scheme", SCHEMES)
def test_mini_mistral_predicted_as_measured(scheme):
    model, _ = models.load("mini", scheme, device="cpu")
    assert memory.predict(models.config("mini"), scheme).parts == memory.measure(model).parts
    assert (
        memory.predict(model, "nf4").parts == memory.predict(models.config("mini"), "nf4").parts
    )  # a quantized model's config


SMALL = dict(vocab_size=320, hidden_size=128, num_hidden_layers=2, num_attention_heads=4, intermediate_size=192)
FAMILIES = {
    "llama, grouped heads": ("LlamaConfig", {**SMALL, "num_key_value_heads": 2}),
    "llama, tied, odd sizes": ("LlamaConfig", {**SMALL, "intermediate_size": 200, "tie_word_embeddings": True}),
    "qwen2, biases": ("Qwen2Config", {**SMALL, "num_key_value_heads": 2}),
    "gemma 2, tied, large vocabulary": ("Gemma2Config", {**SMALL, "vocab_size": 4096, "num_key_value_heads": 1}),
    "gpt-2, Conv1D, biases, tied": ("GPT2Config", {"vocab_size": 320, "n_embd": 128, "n_layer": 2, "n_head": 4}),
    "gpt-neox, biases": ("GPTNeoXConfig", SMALL),
    "opt, biases, learned positions": ("OPTConfig", {**{k: v for k, v in SMALL.items() if k != "intermediate_size"},
                                                     "ffn_dim": 192, "word_embed_proj_dim": 128}),
    "phi, biases": ("PhiConfig", SMALL),
    "mixtral, stacked experts": ("MixtralConfig", {**SMALL, "num_key_value_heads": 2, "num_local_experts": 2}),
}  # fmt: skip


@pytest.mark.parametrize("scheme", ["bf16", "int8", "nf4-dq"])
@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_predicted_as_measured(tmp_path, family, scheme):
    kind, sizes = FAMILIES[family]
    config = getattr(transformers, kind)(**sizes)
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path,
        dtype=torch.bfloat16,
        quantization_config=models.bnb_config(scheme, "auto", "cpu"),
        device_map={"": "cpu"},
    )
    found, forecast = memory.measure(model), memory.predict(config, scheme)
    assert found.parts == forecast.parts


@pytest.mark.parametrize("window", [None, 8])
@pytest.mark.parametrize("tokens", [5, 8, 13])
def test_kv_cache_as_transformers_fills_it(tokens, window):
    config = tiny_config(sliding_window=window)
    model = models.shape_model(config, "bf16", device="cpu")
    cache = DynamicCache(config=config)
    with torch.no_grad():
        for _ in range(tokens):
            model(torch.ones(3, 1, dtype=torch.long), past_key_values=cache)
    held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
            for layer in cache.layers for t in (layer.keys, layer.values)}  # fmt: skip
    forecast = memory.predict(config, "bf16", context=tokens, batch=3).parts["kv_cache"]
    assert forecast == sum(held.values())
    gc.collect()


def test_largest_layer():
    assert memory.largest_layer(models.mistral_7b_config()) == 4096 * 14336 * 2
    assert memory.largest_layer(models.mistral_7b_config(), "bf16") == 0


def test_watch_sees_what_comes_and_stays():
    """Against tensors whose sizes are known: what was there, what is freed again, what stays, and views."""
    before = torch.ones(1000)
    with memory.watch("cpu") as seen:
        stays = before * 2  # 4,000 bytes
        view = stays.view(10, 100)
        torch.cat([stays, stays])  # 8,000 bytes, freed at once
        del before  # was there: its 4,000 bytes go
    assert (seen.peak, seen.now) == (12_000, 0) and max(seen.curve) == seen.peak and view.shape == (10, 100)


def test_watch_equals_the_forecast_of_a_prefill():
    model, _ = models.load("mini", "nf4-dq", device="cpu")
    ids = torch.ones(2, 100, dtype=torch.long)
    with torch.no_grad(), memory.watch("cpu", model=model) as seen:
        out = model(ids, use_cache=True, logits_to_keep=1)
    forecast = memory.predict(models.config("mini"), "nf4-dq", context=100, batch=2, stage="prefill", cuda=False)
    assert seen.peak == pytest.approx(forecast.timeline.peak, rel=0.01)
    cache = 2 * 100 * memory.kv_bytes_per_token(models.config("mini"))
    assert cache <= seen.now <= cache + 2 * 2048 * 2 + 10_000 and out.logits.shape == (2, 1, 2048)
    kept = seen.held_by(out.past_key_values)
    assert len(kept) == len(seen.curve) and kept[0] == 0 and kept[-1] == cache
    assert [kept[end] for end in seen.ends] == [cache * block // 6 for block in range(1, 7)]  # a sixth a block
    assert all(0 <= part <= whole for part, whole in zip(kept, seen.curve, strict=True))


def test_kv_cache_of_mistral_7b():
    config = models.mistral_7b_config()
    assert memory.kv_bytes_per_token(config) == memory.kv_bytes_per_token(config, "fp16") == 131_072
    assert memory.kv_bytes_per_token(config, "fp32") == 262_144
    state = transformers.MambaConfig(vocab_size=64, hidden_size=32, num_hidden_layers=1)
    with pytest.raises(CourseError, match="keeps no keys and values"):
        memory.predict(state, "bf16", context=8)
    assert memory.predict(state, "bf16").weight_bytes > 0
    assert memory.predict(config, "nf4", context=1000, batch=4).parts["kv_cache"] == 4 * 1000 * 131_072
    assert memory.predict(config, "nf4", context=32_768).parts["kv_cache"] == 4096 * 131_072  # its sliding window


def test_a_budget_shows_itself():
    budget = memory.predict(tiny_config(), "nf4-dq", context=10)
    assert budget.rows()[-1] == {"part": "total", "bytes": budget.total_bytes, "share": 1.0}
    assert sum(row["bytes"] for row in budget.rows()[:-1]) == budget.total_bytes
    assert budget.table() == budget._repr_markdown_() and f"{budget.total_bytes:,}" in budget.table()
    assert f"{budget.parts['kv_cache']:,}" in str(budget)
    assert memory.card_bytes(6) == 6 * 2**30 and memory.card_bytes(memory.T4) == pytest.approx(15.8e9, rel=2e-3)
    assert budget.fits(budget.gb) and not budget.fits(budget.gb * 0.999)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"scheme": "int4"}, "Unknown scheme 'int4'"),
        ({"context": -1}, "context=-1"),
        ({"batch": 0}, "batch=0"),
        ({"compute_dtype": "bf17"}, "Unknown compute dtype"),
    ],
)
def test_bad_input(arguments, says):
    with pytest.raises(CourseError) as error:
        memory.predict(tiny_config(), **arguments)
    assert says in str(error.value) and str(error.value).endswith(".")


@pytest.mark.parametrize("kind", ["T5Config", "ViTConfig"])
def test_configurations_without_a_decoder(kind):
    with pytest.raises(CourseError) as error:
        memory.predict(getattr(transformers, kind)(), "nf4")
    assert f"from a {kind}" in str(error.value)
