"""Weights read without a model against the model's own, and inputs of layers against what the layers were given."""

import pytest
import torch

from helpers import models
from helpers.errors import CourseError
from helpers.models import choose, layer_inputs, linear_weights, weights


@pytest.fixture(scope="module")
def model():
    return models.load("mini", "bf16", device="cpu")


def test_every_weight_is_the_models_own(model):
    layers = models.linear_layers(model[0])
    weights = linear_weights("mini")
    assert list(weights) == list(layers) and len(weights) == 42
    assert all(torch.equal(weights[name], layer.weight) for name, layer in layers.items())


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
