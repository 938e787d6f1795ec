"""What notebook 13 builds, held to oracles: HQQ and GPTQ to other people's code, all to what follows by calculation."""

import itertools
import json
import sys
from pathlib import Path

import pytest
import torch
from taught import functions

from helpers import calibration, formats, models
from helpers.errors import CourseError
from helpers.mini import corpus

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import oracles  # noqa: E402

NOTEBOOK = "13_choose_a_format"
RECORDED = json.loads((ROOT / "tests" / "recorded" / "rounding.json").read_text(encoding="utf-8"))
taught = functions(NOTEBOOK, "fit", "codes_of", "affine", "hqq", "awq", "gptq", "output_error", torch=torch)


def seen_by(products: torch.Tensor, size: torch.Tensor | None = None) -> calibration.Inputs:
    return calibration.Inputs(products, products.diagonal().sqrt() if size is None else size, 1)


def lost(rounded: torch.Tensor, weight: torch.Tensor, products: torch.Tensor) -> float:
    error = (rounded - weight).double()
    return (error @ products.double() * error).sum().item()


def test_affine_is_that_of_notebook_01_but_for_how_the_low_is_stored():
    weight = oracles.matrix()
    ours, other = taught.affine(weight), formats.dequantize(formats.quantize(weight, 4, 64, "affine"))
    step = (weight.view(-1, 64).amax(1) - weight.view(-1, 64).amin(1)) / 15
    apart = (ours - other).abs().view(-1, 64).amax(1)
    assert (apart / step).median() < 0.02 and formats.errors(weight, ours).snr == pytest.approx(
        formats.errors(weight, other).snr, abs=0.05
    )
    assert all(len(block.unique()) <= 16 for block in ours.view(-1, 64))


def test_hqq_is_that_of_hqq():
    weight, theirs = oracles.matrix(), torch.tensor(RECORDED["hqq 0.2.8.post1"])
    exact = functions(NOTEBOOK, "hqq", "codes_of", torch=torch, fit=_without_rounding)
    step = ((weight.view(-1, 64).amax(1) - weight.view(-1, 64).amin(1)) / 15)[:, None]
    ours = exact.hqq(weight)
    off = ((ours - theirs).view(-1, 64) / step).abs()
    # ours keeps the zero in 16 bits: a hundredth of a step, and another code where a weight lies just between two
    assert (off > 0.01).sum() <= 2 and off.max() < 1.01
    assert lost(ours, weight, torch.eye(256)) < lost(taught.affine(weight), weight, torch.eye(256))


def _without_rounding(blocks):
    low = blocks.amin(1, keepdim=True)
    scale = (blocks.amax(1, keepdim=True) - low) / 15
    return scale, -low / scale


def test_gptq_is_that_of_llmcompressor_given_its_constants():
    weight, theirs = oracles.matrix(), torch.tensor(RECORDED["llmcompressor 0.14.0.1"])
    scale, zero = oracles.constants(weight)
    turn = itertools.count()

    def given(_):
        block = next(turn)
        return scale[:, block : block + 1], zero[:, block : block + 1]

    exact = functions(NOTEBOOK, "gptq", "codes_of", torch=torch, fit=given)
    assert torch.allclose(exact.gptq(weight, seen_by(oracles.products())), theirs, atol=1e-6)


def test_gptq_of_two_columns_is_the_closed_form():
    products = torch.tensor([[1.0, 0.6], [0.6, 0.9]])
    weight = torch.tensor([[0.31, 0.53], [-0.2, 0.47]])
    even = functions(
        NOTEBOOK, "gptq", "codes_of", torch=torch, fit=lambda blocks: (torch.tensor(0.2), torch.tensor(7.0))
    )
    first = (weight[:, 0] / 0.2).round() * 0.2
    changed = weight[:, 1] - (first - weight[:, 0]) * 0.6 / 0.9
    by_hand = torch.stack([first, (changed / 0.2).round() * 0.2], 1)
    assert torch.allclose(even.gptq(weight, seen_by(products), damping=0), by_hand, atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_gptq_is_between_rounding_and_the_best_there_is(seed):
    """On a row of five weights and four levels all 1,024 ways can be tried."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 5, generator=draw) @ torch.randn(5, 5, generator=draw)
    products, weight = x.T @ x / 40, torch.rand(1, 5, generator=draw) * 3
    few = functions(
        NOTEBOOK,
        "gptq",
        torch=torch,
        fit=lambda blocks: (torch.tensor(1.0), torch.tensor(0.0)),
        codes_of=lambda blocks, scale, zero: blocks.round().clamp(0, 3),
    )
    found = lost(few.gptq(weight, seen_by(products)), weight, products)
    plain = lost(weight.round().clamp(0, 3), weight, products)
    best = min(lost(torch.tensor([way]), weight, products) for way in itertools.product((0.0, 1, 2, 3), repeat=5))
    assert best * (1 - 1e-9) <= found <= plain * (1 + 1e-9)


def test_gptq_halves_the_error_of_real_layers(mini_inputs):
    layers, seen = mini_inputs
    for name, weight in layers.items():
        ratio = lost(taught.gptq(weight, seen[name]), weight, seen[name].products) / lost(
            taught.affine(weight), weight, seen[name].products
        )
        assert 0.05 < ratio < 0.8, (name, ratio)


def test_awq_takes_the_best_of_its_grid(mini_inputs):
    """Tried again with the inputs themselves in place of their products."""
    layers, seen = mini_inputs
    name, weight = next(iter(layers.items()))
    error, strength, rounded = taught.awq(weight, seen[name])
    tried = {}
    for other in torch.linspace(0, 1, 20):
        factor = seen[name].size.clamp(min=1e-4) ** other
        factor = factor / (factor.max() * factor.min()).sqrt()
        tried[other.item()] = lost(taught.affine(weight * factor) / factor, weight, seen[name].products)
    assert min(tried, key=tried.get) == strength.item()
    assert error == pytest.approx(tried[strength.item()], rel=1e-4)
    assert error == pytest.approx(lost(rounded, weight, seen[name].products), rel=1e-4)
    assert (
        tried[strength.item()] < tried[0.0] == pytest.approx(lost(taught.affine(weight), weight, seen[name].products))
    )


@pytest.fixture(scope="module")
def mini_inputs():
    model, tokenizer = models.load("mini", "fp32", device="cpu")
    texts = [document[1] for document in itertools.islice(corpus.documents("train", 0, 60), 60)]
    seen = calibration.calibrate(model, tokenizer, texts)
    layers = {name: layer.weight.detach() for name, layer in models.linear_layers(model).items() if ".0." in name}
    return layers, seen


def test_inputs_are_those_of_each_layer_without_padding():
    model, tokenizer = models.load("mini", "fp32", device="cpu")
    texts, caught = ["The capital of France is Paris.", "Iron."], []
    name, layer = next(iter(models.linear_layers(model).items()))
    hook = layer.register_forward_pre_hook(lambda _, given: caught.append(given[0][0]))
    with torch.no_grad():
        for text in texts:
            model(torch.tensor([tokenizer(text).input_ids]))
    hook.remove()
    x = torch.cat(caught)
    found = calibration.calibrate(model, tokenizer, texts)
    assert found[name].tokens == len(x) == sum(len(tokenizer(text).input_ids) for text in texts)
    assert torch.allclose(found[name].products, x.T @ x / len(x), atol=1e-5)
    assert torch.allclose(found[name].size, x.abs().mean(0), atol=1e-6)
    assert set(found) == set(models.linear_layers(model))
    assert not any(layer._forward_pre_hooks for layer in models.linear_layers(model).values())


def test_a_fitted_line_errs_less_than_one_from_end_to_end():
    fitted = functions(NOTEBOOK, "fitted_line", torch=torch).fitted_line
    blocks = oracles.matrix().view(-1, 32)
    ends = fitted(blocks, rounds=0)
    assert formats.errors(blocks, fitted(blocks)).relative_mse < 0.95 * formats.errors(blocks, ends).relative_mse
    line = torch.arange(16.0).repeat(2)[None] * 0.3 - 1.7  # what lies on 16 even levels is kept
    assert torch.allclose(fitted(line), line, atol=1e-5)


def test_calibration_without_text_is_refused():
    with pytest.raises(CourseError, match="at least one text"):
        calibration.calibrate(None, None, [])


def test_the_aid_offers_what_runs_and_the_best_first():
    choose = functions(
        NOTEBOOK,
        "choose",
        RUNS_IN={"a": ["x", "y"], "b": ["x"], "c": ["y"], "d": ["x"]},
        TRAINS=["a", "b"],
        CALIBRATED=("b",),
        changes={name: _Loss(value) for name, value in {"a": 3, "b": 1, "c": 2, "d": 0}.items()},
    ).choose
    assert choose("x") == ["d", "a"] and choose("x", calibrated=True) == ["d", "b", "a"]
    assert choose("x", train=True, calibrated=True) == ["b", "a"] and choose("y") == ["c", "a"]
    assert choose("z") == []


class _Loss:
    def __init__(self, value):
        self.value = value
