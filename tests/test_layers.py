"""4-bit layers on a CPU against NF4 by hand; weights read without a model, and inputs of layers, against the model."""

import pytest
import torch

from helpers import layers, models, nf4
from helpers.errors import CourseError
from helpers.models import choose, layer_inputs, linear_weights, weights


@pytest.fixture(scope="module")
def model():
    return models.load("mini", "bf16", device="cpu")


def test_every_weight_is_the_models_own(model):
    every = models.linear_layers(model[0])
    weights = linear_weights("mini")
    assert list(weights) == list(every) and len(weights) == 42
    assert all(torch.equal(weights[name], layer.weight) for name, layer in every.items())


def test_no_more_than_asked_for_and_at_least_one():
    every = linear_weights("mini")
    sizes = [weight.nbytes for weight in every.values()]
    assert list(linear_weights("mini", sum(sizes[:3]))) == list(every)[:3]
    assert list(linear_weights("mini", sum(sizes[:3]) - 1)) == list(every)[:2]
    assert list(linear_weights("mini", 0)) == list(every)[:1]


def test_shapes_give_one_decoder_layer_of_random_weights(monkeypatch):
    config = models.config("mini")
    monkeypatch.setattr(choose, "mistral_7b_config", lambda: config)
    choice = models.Choice("mistral-7b-shape", "random weights", "shape", "test")
    weights = linear_weights(choice)
    assert len(weights) == 7 and all(".0." in name for name in weights)
    assert config.num_hidden_layers == 6
    spread = torch.cat([weight.float().flatten() for weight in weights.values()]).std().item()
    assert 0.0198 < spread < 0.0202


def test_a_quantized_checkpoint_is_refused(monkeypatch):
    config = models.config("mini")
    config.quantization_config = {"load_in_4bit": True}
    monkeypatch.setattr(weights, "config", lambda model: config)
    with pytest.raises(CourseError, match="quantized already"):
        linear_weights("mini")


def test_inputs_give_the_layers_outputs(model):
    model, tokenizer = model
    names = ["model.layers.0.self_attn.q_proj", "model.layers.3.mlp.down_proj"]
    outputs = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda m, args, out, name=name: outputs.update({name: out[0]}))
        for name in names
    ]
    inputs = layer_inputs(model, tokenizer, "The capital of France is Paris.", names)
    for hook in hooks:
        hook.remove()
    for name in names:
        layer = model.get_submodule(name)
        assert inputs[name].shape == (outputs[name].shape[0], layer.in_features)
        assert torch.equal(layer(inputs[name].bfloat16()), outputs[name])
        assert not layer._forward_pre_hooks


@pytest.mark.parametrize("columns", [96, 160, 224, 288, 34, 130, 128, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layer_of_any_width_is_the_one_that_nf4_makes(columns, dtype):
    """Weight, product and gradient against NF4 by hand; bitsandbytes' own CPU kernel gets the first four wrong."""
    import bitsandbytes as bnb

    generator = torch.Generator().manual_seed(columns)
    w = torch.randn(24, columns, generator=generator).to(dtype)
    layer = bnb.nn.Linear4bit(columns, 24, bias=True, compute_dtype=dtype, quant_type="nf4")
    layer.bias.data = torch.randn(24, generator=generator).to(dtype)
    layer.weight = bnb.nn.Params4bit(w, requires_grad=False, quant_type="nf4", module=layer)
    layer = layer.to("cpu")
    by_hand = nf4.dequantize(nf4.quantize(w, double_quant=True)).to(dtype)
    layers.decode_by_whole_tensor(torch.nn.Sequential(layer))
    assert torch.equal(layers.dense(layer, dtype), by_hand)
    assert torch.equal(bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state), by_hand)
    x = torch.randn(3, columns, generator=generator).to(dtype).requires_grad_()
    y = layer(x)
    expected = torch.nn.functional.linear(x.detach(), by_hand, layer.bias)
    torch.testing.assert_close(y.detach(), expected, rtol=0.02, atol=0.02 if dtype == torch.bfloat16 else 1e-4)
    y.backward(torch.ones_like(y))
    torch.testing.assert_close(x.grad, torch.ones(3, 24, dtype=dtype) @ by_hand, rtol=0.02, atol=1e-2)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x.detach()), y.detach(), rtol=0.02, atol=1e-2)
