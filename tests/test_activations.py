"""What autograd keeps, against hooks on real tensors; unrolled layers against all of them; budgets of steps."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers

from helpers import finetune, memory, models, quiet, results, skeleton, widgets
from helpers.errors import CourseError
from helpers.memory import activations, forecast
from helpers.recipe import OPTIMIZERS, Recipe

ROOT = Path(__file__).resolve().parent.parent
SMALL = dict(vocab_size=512, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, intermediate_size=256)
FAMILIES = {
    "mistral": ("Mistral", {**SMALL, "num_key_value_heads": 2}),
    "llama, tied": ("Llama", {**SMALL, "tie_word_embeddings": True}),
    "qwen2, biases": ("Qwen2", {**SMALL, "num_key_value_heads": 2}),
    "gemma, one key/value head": ("Gemma", {**SMALL, "num_key_value_heads": 1, "head_dim": 64, "vocab_size": 4096}),
    "gpt-neox": ("GPTNeoX", SMALL),
    "phi": ("Phi", SMALL),
    "stablelm": ("StableLm", {**SMALL, "num_key_value_heads": 4}),
    "opt": ("OPT", {**{k: v for k, v in SMALL.items() if k != "intermediate_size"}, "ffn_dim": 256, "dropout": 0.0,
                    "word_embed_proj_dim": 128}),
    "falcon, no fused attention": ("Falcon", {
        "vocab_size": 512, "hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "alibi": False,
        "multi_query": True, "parallel_attn": True, "new_decoder_architecture": False, "bias": False}),
}  # fmt: skip
TOLERANCE = 0.005  # the CPU's layer norm keeps mean and deviation in other types


def tiny(family: str):
    kind, sizes = FAMILIES[family]
    return getattr(transformers, f"{kind}Config")(**sizes)


def with_adapters(model, checkpointing: bool = False):
    from peft import LoraConfig, get_peft_model

    with quiet.libraries():
        model.is_loaded_in_4bit = True
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        kind = LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
        return get_peft_model(model, kind, autocast_adapter_dtype=False).train()


def on_meta(config, scheme: str, checkpointing: bool = False):
    shell, _ = memory.skeleton(config, torch.bfloat16, models.bnb_config(scheme, "bfloat16", "cpu"))
    skeleton.quantize_on_meta(shell, scheme)
    return with_adapters(shell, checkpointing)


def really_saved(config, scheme: str, batch: int, length: int) -> int:
    """The oracle: bytes of the distinct storages that autograd saves in a real forward pass, weights left out."""
    model = with_adapters(models.shape_model(config, scheme, device="cpu"))
    weights = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    found = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.randint(3, 500, (batch, length))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), quiet.libraries():
        loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    assert loss.requires_grad
    return sum(found.values())


@pytest.mark.parametrize("scheme", ["bf16", "nf4-dq"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_autograd_keeps(family, scheme):
    config = tiny(family)
    model = on_meta(config, scheme)
    timeline = activations.rehearse(model, 2, 96, layers=config.num_hidden_layers, train=True)
    kept = int(timeline.live()[timeline.backward - 1])
    real = really_saved(config, scheme, 2, 96)
    assert kept == pytest.approx(real, rel=TOLERANCE), f"{kept:,} rehearsed, {real:,} saved"


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("family", ["mistral", "phi", "gemma, one key/value head"])
def test_unrolled_layers_are_all_layers(family, checkpointing):
    config = tiny(family)
    config.num_hidden_layers = 7
    full = activations.rehearse(on_meta(config, "nf4", checkpointing), 2, 64, layers=7, train=True)
    short = activations.shortened(config)
    assert short.num_hidden_layers == 4 and config.num_hidden_layers == 7
    quick = activations.rehearse(on_meta(short, "nf4", checkpointing), 2, 64, layers=7, train=True)
    assert quick.peak == full.peak and len(quick.deltas) == len(full.deltas)
    assert quick.at_peak() == full.at_peak()


def test_sliding_and_full_layers_repeat_as_a_pattern():
    kinds = ["sliding_attention", "sliding_attention", "full_attention"]
    config = transformers.Gemma3TextConfig(
        **{**SMALL, "num_hidden_layers": 11, "num_key_value_heads": 1, "head_dim": 32}, sliding_window=16,
        layer_types=[kinds[i % 3] for i in range(11)],
    )  # fmt: skip
    assert activations.period(config) == 3
    short = activations.shortened(config)
    assert short.num_hidden_layers == 11 and len(short.layer_types) == 11  # 3·3 + 2: nothing to save
    config.layer_types, config.num_hidden_layers = [kinds[i % 3] for i in range(14)], 14
    full = activations.rehearse(on_meta(config, "bf16"), 1, 64, layers=14, train=True)
    quick = activations.rehearse(on_meta(activations.shortened(config), "bf16"), 1, 64, layers=14, train=True)
    assert quick.peak == full.peak


def test_nothing_is_left_and_gradients_stay():
    config = tiny("mistral")
    model = on_meta(config, "nf4-dq")
    timeline = activations.rehearse(model, 2, 64, layers=4, train=True)
    gradients = sum(p.numel() * 2 for p in model.parameters() if p.requires_grad)
    left = {kind: 0 for kind in activations.KINDS}
    for delta, kind in zip(timeline.deltas, timeline.kinds, strict=True):
        left[kind] += delta
    assert left["gradients"] == gradients
    assert abs(sum(left.values()) - gradients) < 100  # the loss
    assert activations.rehearse(on_meta(config, "nf4-dq"), 2, 64, layers=4, train=True) == timeline  # no chance in it


def test_checkpointing_keeps_one_state_a_layer():
    config = tiny("mistral")
    kept = []
    for layers in (4, 9):
        config.num_hidden_layers = layers
        timeline = activations.rehearse(on_meta(config, "nf4", True), 2, 64, layers=layers, train=True)
        kept.append(int(timeline.live()[timeline.backward - 1]))
    assert kept[1] - kept[0] == 5 * 2 * 64 * 128 * 2  # five layers more: batch × length × hidden × 2 bytes each


# Budgets


def test_prefill_holds_the_cache():
    config = models.mistral_7b_config()
    budget = memory.predict(config, "nf4-dq", context=512, batch=2, stage="prefill")
    assert budget.parts["kv_cache"] == 2 * 512 * memory.kv_bytes_per_token(config)
    assert budget.allocator_bytes == budget.total_bytes - forecast.CUDA_CONTEXT
    dry = memory.predict(config, "nf4-dq", context=512, batch=2, stage="prefill", cuda=False)
    assert budget.total_bytes - dry.total_bytes == forecast.CUDA_CONTEXT + forecast.WORKSPACE
    assert dry.weight_bytes == memory.predict(config, "nf4-dq").weight_bytes == 4_125_481_856
    assert 0 < dry.parts["activations"] < 0.3e9


MEASURED = [  # one H200, GB by max_memory_allocated: Trainer, rank 16 on all linear layers, standard upcast
    (1, 512, True, 0.0, 5.746), (1, 2048, True, 0.0, 7.145), (4, 2048, True, 0.0, 12.844),
]  # fmt: skip


@pytest.mark.parametrize(("batch", "length", "checkpointing", "dropout", "gb"), MEASURED)
def test_mistral_7b_as_measured_on_an_h200(batch, length, checkpointing, dropout, gb):
    budget = memory.predict(
        models.mistral_7b_config(), "nf4-dq", context=length, batch=batch, stage="train", checkpointing=checkpointing,
        dropout=dropout,
    )  # fmt: skip
    assert budget.allocator_bytes / 1e9 == pytest.approx(gb, rel=0.02)


H200 = results.read_recording("h200", quiet=True).values["forecast"]["rows"]


@pytest.mark.parametrize("name", sorted({row["architecture"] for row in H200}))
def test_forecasts_against_what_an_h200_measured(name):
    """Weights within 0.5%, prefill and training within 10%, both sides; measured by benchmarks/forecast_check.py."""
    from benchmarks import forecast_check

    config = forecast_check.architectures(4)[name]
    measured = {row["case"]: row["measured"] for row in H200 if row["architecture"] == name}
    compared = 0
    for case, function, given in forecast_check.cases(name, config, name.startswith("mistral-7b")):
        forecast, _ = function(*given, measure=False)
        bound = forecast_check.BOUNDS[case.split()[0]]
        assert abs(forecast / measured[case] - 1) <= bound, (
            f"{case}: {forecast:,} forecast, {measured[case]:,} measured"
        )
        compared += 1
    assert compared == len(measured) >= 5


def test_adapters_and_optimizers_by_hand():
    config = models.mistral_7b_config()
    asked = dict(context=64, stage="train", target_modules=["q_proj", "v_proj"], rank=16)
    numbers = 32 * 16 * ((4096 + 4096) + (4096 + 1024))
    found = {kind: memory.predict(config, "nf4-dq", optimizer=kind, **asked).parts for kind in OPTIMIZERS}
    assert found["adamw_torch"]["adapters"] == 4 * numbers and found["adamw_torch"]["optimizer"] == 8 * numbers
    assert found["adamw_8bit"]["optimizer"] == 2 * numbers + 2 * 4 * numbers // 256
    # 16 × 4096 is below the 100,000 numbers from which states are paged
    assert "optimizer_paged" not in found["paged_adamw_8bit"] and "optimizer" not in found["sgd"]
    large = memory.predict(config, "nf4-dq", optimizer="paged_adamw", context=64, stage="train", rank=64).parts
    small = 2 * 4 * 32 * 2 * 64 * 1024  # B of k_proj and v_proj, 65,536 numbers each
    assert (large["optimizer"], large["optimizer_paged"] + large["optimizer"]) == (small, 2 * large["adapters"])
    assert found["auto"] == found["paged_adamw_8bit"] and found["adamw_torch_fused"] == found["adamw_torch"]


def test_full_fine_tuning_peaks_at_the_optimizer():
    config = tiny("llama, tied")
    parts = memory.predict(
        config, "fp32", context=8, stage="train", adapters=False, optimizer="adamw_torch", cuda=False
    ).parts
    weights = memory.predict(config, "fp32").weight_bytes
    assert parts["optimizer"] == 2 * weights and parts["gradients"] == weights


def test_upcast_doubles_what_is_not_quantized():
    config = models.mistral_7b_config()
    asked = dict(context=128, stage="train")
    with_it, without = (memory.predict(config, "nf4-dq", upcast=up, **asked).weight_bytes for up in (True, False))
    assert with_it - without == 524_820_480


def test_what_fits_and_how_much():
    budget = memory.predict(models.mistral_7b_config(), "nf4-dq", context=1024, batch=1, stage="train")
    rows = {row["gpu_gb"]: row for row in memory.fitting(budget, (4, 8, 24))}
    assert [row["fits"] for row in rows.values()] == [False, True, True]
    assert (rows[4]["largest_batch"], rows[4]["longest"]) == (0, 0)
    for gb in (8, 24):  # from both sides: the answer fits, a tenth more does not
        for batch, length in ((rows[gb]["largest_batch"], 1024), (1, rows[gb]["longest"])):
            more = (int(1.1 * batch) + 1, length) if batch > 1 else (batch, int(1.1 * length) + 1)
            for (sequences, tokens), fits in (((batch, length), True), (more, False)):
                standard = Recipe(batch=sequences, length=tokens, upcast=True)
                forecast = memory.predict(models.mistral_7b_config(), "nf4-dq", recipe=standard)
                assert forecast.fits(memory.card_bytes(gb) / 1e9) == fits
    assert memory.fitting(memory.predict(models.config("mini"), "nf4"), (6,)) == [
        {"gpu_gb": 6, "fits": True, "largest_batch": None, "longest": None}
    ]


def test_experts_and_odd_layers_are_said():
    small = {**SMALL, "num_key_value_heads": 2, "num_local_experts": 2}
    (note,) = memory.predict(transformers.MixtralConfig(**small), "nf4").notes
    assert "stacked" in note and "16 bits" in note
    falcon = transformers.FalconConfig(vocab_size=512, hidden_size=128, num_hidden_layers=2, num_attention_heads=4)
    (note,) = memory.predict(falcon, "nf4").notes
    assert "No layer is quantized" in note
    assert memory.predict(tiny("mistral"), "nf4").notes == [] == memory.predict(falcon, "bf16").notes


def test_a_budget_draws_itself():
    budget = memory.predict(tiny("mistral"), "nf4", context=64, stage="train")
    figure = budget.figure([memory.predict(tiny("mistral"), "fp32")])
    ends = [max(p.get_x() + p.get_width() for p in figure.axes[0].patches if round(p.get_y() + p.get_height() / 2) == i)
            for i in (0, 1)]  # fmt: skip
    unit = 1e9 if budget.total_bytes >= 1e9 else 1e6
    assert ends[0] == pytest.approx(budget.total_bytes / unit)


def test_a_recipe_is_the_question_that_its_fields_are():
    config = tiny("mistral")
    recipe = Recipe(batch=2, length=48, rank=4, target_modules="q_proj,v_proj", optimizer="adamw_8bit", chunked=True)
    named = {"rank": 4, "target_modules": ["q_proj", "v_proj"], "optimizer": "adamw_8bit", "chunked": True}
    asked = memory.predict(config, "nf4", stage="train", context=48, batch=2, upcast=False, **named)
    assert memory.predict(config, "nf4", recipe=recipe).parts == asked.parts
    assert memory.predict(config, "nf4", recipe=recipe, checkpointing=False).total_bytes > asked.total_bytes
    # what only decides the result is no other question: nothing is rehearsed again
    before = len(forecast.AT_REST), len(forecast.PEAKS)
    memory.predict(config, "nf4", recipe=replace(recipe, learning_rate=1e-3, steps=7, alpha=2, seed=5))
    assert (len(forecast.AT_REST), len(forecast.PEAKS)) == before
    memory.predict(config, "nf4", recipe=replace(recipe, rank=8))
    assert (len(forecast.AT_REST), len(forecast.PEAKS)) == (before[0] + 1, before[1] + 1)


def test_a_forecast_allocates_nothing():
    """Not even the adapters of a 70B: at rank 64 they are 3.3 GB, and no more than one of them was ever made."""
    with activations.Ledger(device="cpu") as seen:
        budget = memory.predict(widgets.shape("Llama-3.1-70B"), stage="train", context=256, rank=64)
    held = torch.tensor([0, *seen.deltas]).cumsum(0).max().item()
    assert budget.parts["adapters"] > 3e9 and held < 10e6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"stage": "decode"}, "Unknown stage"),
        ({"stage": "train"}, "at least 2 tokens"),
        ({"stage": "train", "context": 8, "optimizer": "lion"}, "Unknown optimizer"),
        ({"stage": "train", "context": 8, "adapters": False}, "cannot be trained"),
        ({"stage": "train", "context": 8, "rank": 0}, "rank is 0"),
        ({"stage": "train", "context": 8, "target_modules": ["nothing"]}, "LoRA finds no layer"),
        ({"stage": "prefill", "context": -4}, "context=-4"),
    ],
)
def test_bad_questions(arguments, says):
    with pytest.raises(CourseError) as error:
        memory.predict(tiny("mistral"), "nf4", **arguments)
    assert says in str(error.value) and str(error.value).endswith(".")


# Levers, as a GPU measured them


LADDER = results.read_recording(part="levers", quiet=True).values["levers"]
MODELLED = {  # Liger's kernels are not, so the rungs from there on have no forecast
    "standard recipe": {"upcast": True},
    "no float32 upcast": {},
    "+ loss in pieces": {"chunked": True},
    "+ fused adapters": {"chunked": True, "fused": True},
}


@pytest.mark.parametrize("row", [r for r in LADDER["rows"] if r["recipe"] in MODELLED], ids=lambda r: r["recipe"])
def test_levers_against_what_a_gpu_measured(row):
    ways = {"upcast": False, **MODELLED[row["recipe"]]}
    found = memory.predict(
        models.mistral_7b_config(), stage="train", context=row["length"], batch=row["batch"], **ways
    ).allocator_bytes
    assert found == pytest.approx(row["peak_bytes"], rel=0.02)  # largest seen: 1.3%


@pytest.mark.parametrize("row", LADDER["presets"], ids=lambda r: r["recipe"])
def test_presets_against_what_a_gpu_measured_within_its_cap(row):
    recipe = finetune.preset(row["recipe"])
    assert (row["batch"], row["length"]) == (recipe.batch, recipe.length)
    found = memory.predict(models.mistral_7b_config(), recipe=recipe).allocator_bytes
    assert found == pytest.approx(row["peak_bytes"], rel=0.1)
    assert row["peak_bytes"] < row["reserved_bytes"] < row["cap_bytes"] - 0.5e9


SCALE = results.read_recording(part="scale", quiet=True).values["scale"]


@pytest.mark.parametrize("name", [name for name, run in SCALE["runs"].items() if run.get("model") != "mini"])
def test_every_gpu_of_several_against_what_was_measured(name):
    """Liger's kernels keep less than a forecast knows; without them it is within 2%, wherever the shards wait."""
    run, gpus = SCALE["runs"][name], SCALE["gpus"]
    several = {"shards": gpus} if name.startswith(("FSDP", "70B")) else {"replicas": gpus if "DDP" in name else 1}
    several |= {"on_host": True} if "on the host" in name else {}
    recipe = finetune.Recipe(**run["recipe"])
    found = memory.predict(models.config(run["model"]), recipe=recipe, **several).allocator_bytes
    least, most = (0.88, 1.05) if recipe.liger else (0.98, 1.02)
    for peak in run["peak_bytes"]:
        assert least * found < peak < most * found
    if "GiB" in name:
        card = 8 if "on the host" in name else 24
        assert max(run["reserved_bytes"]) < card * 2**30 - memory.forecast.CUDA_CONTEXT
        assert run["same_after_reloading"] and max(run["host_bytes"]) < (25e9 if card == 8 else 16e9)


def test_offloading_makes_depth_cost_no_activations():
    config, peaks = tiny("mistral"), {}
    for offload in (False, True):
        for layers in (6, 12):
            config.num_hidden_layers = layers
            model = on_meta(config, "nf4", True)
            found = activations.rehearse(model, 64, 128, layers=layers, train=True, offload=offload)
            peaks[offload, layers] = found.at_peak()["activations"]
    state = 64 * 128 * 128 * 2  # one layer's input
    assert peaks[False, 12] - peaks[False, 6] == 6 * state
    assert abs(peaks[True, 12] - peaks[True, 6]) < state
    assert peaks[True, 12] < peaks[False, 12]


def test_shards_divide_parameters_and_not_constants():
    asked = {"stage": "train", "context": 256, "upcast": False}
    whole, half, quarter = (
        memory.predict(models.mistral_7b_config(), **asked, optimizer="adamw_torch_fused", shards=n) for n in (1, 2, 4)
    )
    usual = memory.predict(models.mistral_7b_config(), **asked, shards=2)
    assert usual.parts == half.parts  # what "auto" is there, and not the 8 bits of one GPU
    assert "optimizer_paged" not in usual.parts and usual.parts["optimizer"] == 2 * usual.parts["adapters"]
    assert "unsharded" not in whole.parts
    for part in ("codes", "embeddings", "adapters", "optimizer"):
        assert half.parts[part] == pytest.approx(whole.parts[part] / 2, rel=1e-6)
        assert quarter.parts[part] == pytest.approx(whole.parts[part] / 4, rel=1e-6)
    for part in ("absmax", "second_level", "tables"):
        assert half.parts[part] == quarter.parts[part] == whole.parts[part]
    assert half.parts["activations"] == quarter.parts["activations"]  # one GPU has its peak at another moment
    # the head whole, and two of 32 layers; in the forward pass three, since one is kept until the next is there
    layers = whole.parts["codes"] + whole.parts["norms"] + whole.parts["adapters"]
    longer = memory.predict(models.mistral_7b_config(), **asked | {"context": 4096}, shards=2)
    for budget, whole_layers in ((half, 3), (longer, 2)):
        assert budget.parts["unsharded"] == pytest.approx(131_072_000 * 2 + whole_layers * layers / 32, rel=1e-3)
    copies = memory.predict(models.mistral_7b_config(), **asked, optimizer="adamw_torch_fused", replicas=2)
    assert copies.allocator_bytes - whole.allocator_bytes == copies.parts["buckets"] == whole.parts["adapters"]
    away = memory.predict(models.mistral_7b_config(), **asked, shards=2, on_host=True)
    held = {"absmax", "second_level", "tables", "buffers", "activations", "dequantized", "logits", "unsharded"}
    assert set(away.parts) <= held | {"workspace", "context"} and away.parts["absmax"] == half.parts["absmax"]
    assert away.parts["unsharded"] == pytest.approx(131_072_000 * 2 + 3 * layers / 32, rel=1e-3)
    with pytest.raises(CourseError, match="on_host"):
        memory.predict(models.mistral_7b_config(), **asked, on_host=True)
    for stage, shards in (("load", 2), ("train", 0)):
        with pytest.raises(CourseError, match="shards"):
            memory.predict(models.mistral_7b_config(), stage=stage, context=256, shards=shards)
