"""A decode step of few launches: held to transformers' own, in the interpreter and, where there is one, on a GPU."""

import gc
import weakref

import peft
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, StaticCache

from helpers import decoding, kernels, memory, models
from helpers.errors import CourseError
from helpers.kernels import calling, step
from helpers.models.loading import same_on_every_cpu

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPE = torch.bfloat16 if DEVICE == "cuda" else torch.float16  # the interpreter cuts bfloat16 off
STEPS = 3 if DEVICE == "cuda" else 2  # the interpreter is slow
CLOSE = 1e-2 if DEVICE == "cuda" else 2e-3
runs = pytest.mark.skipif(calling.why_not(DEVICE) is not None, reason=str(calling.why_not(DEVICE)))


def config(**other):
    sizes = {"vocab_size": 64, "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "max_position_embeddings": 512}
    return MistralConfig(**(sizes | {"sliding_window": None, "dtype": str(DTYPE).removeprefix("torch.")} | other))


def model_of(scheme="nf4-dq", **other):
    model = models.shape_model(config(**other), scheme, DTYPE, DEVICE)
    same_on_every_cpu(model)
    return model


def prompt(rows, length, seed=0):
    return torch.randint(1, 64, (rows, length), generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def walk(model, ids, padding, fused, follow=None, steps=STEPS):
    """Logits of some steps; with `follow`, the tokens are those of another decoder's."""
    decoder = decoding.StaticDecoder(model, ids, steps + 2, fused=fused)
    decoder.prefill(padding=padding)
    seen, taken = [], []
    for i in range(steps):
        with torch.inference_mode():
            given = decoder.newest, decoder.position
            seen.append(decoder.fused_step(*given, decoder.padding) if fused else decoder.logits(*given))
            taken.append(follow[i] if follow else seen[-1].argmax(-1, keepdim=True))
            decoder.newest.copy_(taken[-1])
            decoder.position.add_(1)
    return seen, taken, decoder


@runs
@pytest.mark.parametrize(
    "scheme, rows, length",
    [("nf4-dq", 1, 5), ("nf4-dq", 2, 70), ("nf4", 5, 3), ("16 bits", 2, 130)],
)
def test_a_fused_step_is_that_of_transformers(scheme, rows, length):
    """Also with padding at the left of a row, across pieces of the cache, and for the keys and values it leaves."""
    model = model_of(scheme if scheme != "16 bits" else {torch.bfloat16: "bf16", torch.float16: "fp16"}[DTYPE])
    ids, padding = prompt(rows, length), torch.arange(rows, device=DEVICE)[:rows].clamp(max=length - 1)
    padding[-1] = length - 2
    plain, taken, one = walk(model, ids, padding, False)
    fused, _, two = walk(model, ids, padding, True, taken)
    for ours, theirs in zip(fused, plain, strict=True):
        assert 0 < (ours - theirs).float().norm() / theirs.float().norm() < CLOSE
        wrong = theirs.roll(1, -1)  # the measure sees a wrong result
        assert (ours - wrong).float().norm() / wrong.float().norm() > 0.3
    for first, second in zip(one.cache.layers, two.cache.layers, strict=True):
        for mine, theirs in ((second.keys, first.keys), (second.values, first.values)):
            assert not mine[:, :, length + STEPS :].any()
            for row, skipped in enumerate(padding.tolist()):
                mine_, theirs_ = (part[row, :, skipped : length + STEPS].float() for part in (mine, theirs))
                assert (mine_ - theirs_).norm() / theirs_.norm() < CLOSE
    ways = {product.way for layer in two.fused_step.products for product in layer}
    assert ways == {"16 bits" if scheme == "16 bits" else "kernel"}


@runs
def test_weights_that_lie_behind_one_another_are_still_the_layers():
    model = model_of()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    bytes_before = memory.measure(model, gradients=False).parts
    ids = prompt(1, 4)
    with torch.inference_mode():
        logits = model(ids).logits
        decoder = decoding.StaticDecoder(model, ids, 4, fused=True)
        decoder.prefill()
        assert torch.equal(model(ids).logits, logits)
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(after[name], value) for name, value in before.items())
    assert memory.measure(model, gradients=False).parts == bytes_before
    layer = model.model.layers[0].self_attn
    places = [part.weight.data_ptr() for part in (layer.q_proj, layer.k_proj, layer.v_proj)]
    assert places[1] - places[0] == layer.q_proj.weight.nbytes and places[2] - places[1] == layer.k_proj.weight.nbytes
    again = step.Step(model, decoder.cache)  # nothing moves twice
    assert places[0] == layer.q_proj.weight.data_ptr() == again.products[0][0].codes.data_ptr()
    alive = weakref.ref(model)
    # q, k, v, gate and up of two layers: codes, absmax, second absmax
    assert kernels.separate(model) == 2 * 5 * 3 and kernels.separate(model) == 0
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    del model, decoder, layer
    gc.collect()
    assert alive() is None and again.body is not None  # a step keeps the layers, and not the model


@runs
@pytest.mark.parametrize("rows", [1, 7])
def test_merged_weights_keep_their_offsets_apart(rows):
    """Each of the three has a mean of absmax of its own."""
    import bitsandbytes as bnb

    layers = []
    for size, outputs in ((1, 64), (100, 32), (0.01, 32)):
        layer = bnb.nn.Linear4bit(512, outputs, bias=False, compute_dtype=DTYPE, quant_type="nf4")
        values = size * torch.randn(outputs, 512, generator=torch.Generator().manual_seed(outputs))
        layer.weight = bnb.nn.Params4bit(values.to(DTYPE), requires_grad=False, quant_type="nf4")
        layers.append(layer.to(DEVICE))
        layers[-1].support_avx512bf16_for_cpu = False
    x = torch.randn(rows, 512, generator=torch.Generator().manual_seed(1)).to(DEVICE, DTYPE)
    values = [bnb.functional.dequantize_4bit(layer.weight, layer.weight.quant_state).double() for layer in layers]
    # 32 · 512 / 64 blocks are 256: a second absmax begins with each weight
    merged = step.Product(layers, rows)
    assert merged.way == "kernel" and merged.bounds == (64, 96)
    for part, value in zip(merged(x).split([64, 32, 32], -1), values, strict=True):
        exact = x.double() @ value.T
        assert (part.double() - exact).norm() / exact.norm() < CLOSE
    odd = step.Product([layers[1], bnb_layer(16), layers[2]], rows)  # 128 blocks: the third would begin within one
    assert odd.way == "apart"


def bnb_layer(outputs):
    import bitsandbytes as bnb

    layer = bnb.nn.Linear4bit(512, outputs, bias=False, compute_dtype=DTYPE, quant_type="nf4").to(DEVICE)
    layer.support_avx512bf16_for_cpu = False
    return layer


@runs
def test_what_cannot_be_fused_says_why():
    assert step.why_not_fused(model_of()) is None
    told = {
        "heads have 48": model_of("fp16", head_dim=48),
        "has gelu": model_of("fp16", hidden_act="gelu"),
        "throughout": models.shape_model(config(dtype="float32"), "fp32", device=DEVICE),
        "has an adapter": peft.get_peft_model(
            model_of("fp16"), peft.LoraConfig(target_modules=["q_proj"])
        ).base_model.model,
        "not a plain Llama": torch.nn.Linear(2, 2),
    }
    for text, model in told.items():
        assert text in step.why_not_fused(model), text
    biased = LlamaForCausalLM(LlamaConfig(**{**small(), "attention_bias": True})).to(DEVICE, DTYPE)
    assert "biases" in step.why_not_fused(biased)
    stretched = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    assert "stretched" in step.why_not_fused(model_of("fp16", rope_parameters=stretched))
    with pytest.raises(CourseError, match="cannot be fused: its MLP has gelu"):
        step.Step(told["has gelu"], StaticCache(config=told["has gelu"].config, max_cache_len=64))


def small():
    return {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1} | {
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
