"""Formats against PyTorch's own casts and fake quantization, and against measured errors from two sides."""

import math

import bitsandbytes.functional as bnb
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from taught import functions

from helpers import formats, nf4

SMALL = [name for name, form in formats.FLOATS.items() if form.bits <= 16]


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", SMALL)
def test_every_bit_pattern_means_what_pytorch_reads(name):
    form = formats.FLOATS[name]
    patterns = torch.arange(2**form.bits).to(torch.uint8 if form.bits == 8 else torch.int16)
    for i, value in enumerate(patterns.view(form.dtype).float().tolist()):
        bits = f"{i:0{form.bits}b}"
        parts = bits[0], bits[1 : 1 + form.exponent], bits[1 + form.exponent :]
        found = formats.from_fields(*parts, name)
        assert found == value or math.isnan(found) and math.isnan(value)
        if not math.isnan(value):
            assert formats.fields(value, name) == parts


@given(st.floats(width=32, allow_nan=False))
def test_float32_fields_round_trip(value):
    assert formats.from_fields(*formats.fields(value, "fp32"), "fp32") == value


@pytest.mark.parametrize("name", SMALL)
def test_largest_and_smallest_values(name):
    form, values = formats.FLOATS[name], formats.positive_values(name)
    assert values[0] == 0 and (values.diff() > 0).all()
    assert values[-1] == torch.finfo(form.dtype).max
    assert values[1] == 2.0 ** (1 - form.bias - form.mantissa)


def test_known_limits():
    assert formats.positive_values("fp16")[-1] == 65504
    assert formats.positive_values("fp8 e4m3")[-1] == 448
    assert formats.positive_values("fp8 e5m2")[-1] == 57344
    assert formats.round_to(torch.tensor(1 / 3), "bf16") == 0.333984375
    assert formats.round_to(torch.tensor(70000.0), "fp16") == math.inf


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(2, 8), st.sampled_from([1, 7, 32, 64, "row", "tensor"]), st.integers(0, 99), st.floats(-6, 4))
def test_absmax_equals_fake_quantization(bits, block_size, seed, exponent):
    values = normal(6, 40, seed=seed) * 10**exponent
    rounded = formats.quantize(values, bits, block_size)
    top = 2 ** (bits - 1) - 1
    width = {"row": 40, "tensor": 240}.get(block_size, block_size)
    flat = torch.nn.functional.pad(values.view(-1), (0, -240 % width)).view(-1, width)
    zero_points = torch.zeros(len(flat), dtype=torch.int32)
    scales = flat.abs().amax(1) / top
    oracle = torch.fake_quantize_per_channel_affine(flat, scales, zero_points, 0, -top, top).view(-1)[:240]
    # the oracle multiplies by 1/scale: where that falls on the other side of a tie, a code may differ by one
    found = formats.dequantize(rounded).view(-1)
    off = (found - oracle).abs() > 1e-6 * values.abs().max()
    assert off.sum() <= 2
    assert ((found - values.view(-1)).abs() <= 0.5001 * rounded.scale.expand_as(rounded.codes).reshape(-1)[:240]).all()
    assert rounded.codes.min() >= -top and rounded.codes.max() <= top


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_affine_reaches_both_ends_and_errs_at_most_half_a_step(bits):
    values = normal(64, 64) + 3
    rounded = formats.quantize(values, bits, 64, "affine", constants="fp32")
    assert rounded.codes.min() == 0 and rounded.codes.max() == 2**bits - 1
    restored = formats.dequantize(rounded)
    assert torch.equal(restored.amin(1), values.amin(1))
    assert torch.allclose(restored.amax(1), values.amax(1))
    assert ((restored - values).abs() <= 0.5001 * rounded.scale).all()


def test_signed_max_puts_the_extreme_value_at_the_lowest_code():
    values = normal(100, 32)
    rounded = formats.quantize(values, 4, 32, "signed max", constants="fp32")
    extreme = values.abs().argmax(1, keepdim=True)
    assert (rounded.codes.gather(1, extreme) == -8).all()
    assert torch.equal(formats.dequantize(rounded).gather(1, extreme), values.gather(1, extreme))
    assert rounded.codes.max() == 7


def test_levels_are_bitsandbytes_fp4_and_the_helper_for_nf4():
    table = bnb.get_4bit_type("fp4", device="cpu").unique()
    assert torch.allclose(formats.fp4_levels(), table, atol=1e-7) and len(table) == 15
    values = normal(128, 64)
    assert torch.allclose(formats.round_to_levels(values, nf4.nf4_code()), nf4.dequantize(nf4.quantize(values)))
    packed, state = bnb.quantize_4bit(values, quant_type="fp4")
    close = (formats.round_to_levels(values, formats.fp4_levels()) - bnb.dequantize_4bit(packed, state)).abs() < 1e-5
    assert close.float().mean() > 0.9999


# mean |error| and relative squared error over 40 draws of 2**18 standard normal values: mean, standard deviation
BANDS = {
    "int4 absmax": ((0.091306, 0.00023), (0.011579, 5.6e-05)),
    "int4 affine": ((0.075731, 0.00016), (0.0080302, 2.7e-05)),
    "int4 signed max": ((0.071736, 0.00018), (0.0073774, 3.1e-05)),
    "fp4": ((0.096575, 0.00021), (0.014876, 4.5e-05)),
    "int8 absmax": ((0.0050323, 1.3e-05), (3.5172e-05, 1.7e-07)),
}


def rounded_by(name, values):
    if name == "fp4":
        return formats.round_to_levels(values, formats.fp4_levels())
    kind, method = name.split(" ", 1)
    return formats.dequantize(formats.quantize(values, int(kind[3:]), 32 if method == "signed max" else 64, method))


@pytest.mark.parametrize("name", BANDS)
def test_errors_on_normal_values_lie_in_their_bands(name):
    values = normal(2**18, seed=7)
    found = formats.errors(values, rounded_by(name, values))
    for value, (mean, spread) in zip((found.mean, found.relative_mse), BANDS[name], strict=True):
        assert mean - 7 * spread < value < mean + 7 * spread
    assert found.snr == pytest.approx(-10 * math.log10(found.relative_mse))


def test_a_bit_buys_six_decibels_and_larger_blocks_cost_some():
    values = normal(2**18)
    snr = [formats.errors(values, formats.dequantize(formats.quantize(values, bits))).snr for bits in range(4, 9)]
    assert all(5.9 < more - less < 6.8 for less, more in zip(snr, snr[1:], strict=False))
    sizes = [32, 64, 256, 1024, "tensor"]
    by_size = [formats.errors(values, formats.dequantize(formats.quantize(values, 4, size))).snr for size in sizes]
    assert by_size == sorted(by_size, reverse=True)


@pytest.mark.parametrize("method", formats.METHODS)
def test_zeros_constants_and_remainders(method):
    for values in (torch.zeros(130), torch.zeros(2, 3)):
        assert torch.equal(formats.dequantize(formats.quantize(values, 4, 64, method)), values)
    values = normal(3, 7, 11)
    restored = formats.dequantize(formats.quantize(values.bfloat16(), 8, 64, method))
    assert restored.shape == values.shape and formats.errors(values, restored).snr > 35


def test_fields_are_the_bits_that_torch_stores():
    integers = {8: torch.uint8, 16: torch.int16, 32: torch.int32}
    for name, form in formats.FLOATS.items():
        for value in (0.0, 0.1, -1 / 3, 1e-5, 37.0, -448.0):
            stored = torch.tensor(value).to(form.dtype).view(integers[form.bits]).item() % 2**form.bits
            assert "".join(formats.fields(value, name)) == f"{stored:0{form.bits}b}"


def test_notebook_01_teaches_the_same_rounding():
    notebook = functions("01_round_to_fewer_bits", "absmax_quantize", "affine_quantize", torch=torch)
    for bits in (2, 3, 4, 8):
        values = normal(50, 64, seed=bits)
        codes, scale = notebook.absmax_quantize(values, bits)
        ours = formats.quantize(values, bits, 64)
        assert torch.equal(codes.to(torch.int16), ours.codes) and torch.equal(scale, ours.scale)
        codes, scale, low = notebook.affine_quantize(values, bits)
        ours = formats.quantize(values, bits, 64, "affine", constants="fp32")
        assert torch.equal(codes.to(torch.int16), ours.codes) and torch.equal(scale, ours.scale)
        assert torch.equal(low, ours.low)


def test_bits_per_parameter():
    assert formats.bits_per_parameter(4, 64) == formats.bits_per_parameter(4, 32, 16) == 4.5
    assert formats.bits_per_parameter(8, 4096) == 8 + 1 / 128


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: formats.fields(1.0, "fp12"), "Unknown float format"),
        (lambda: formats.from_fields("0", "0", "0", "fp16"), "other lengths"),
        (lambda: formats.positive_values("fp32"), "too many"),
        (lambda: formats.quantize(torch.ones(4), 1), "2 to 8"),
        (lambda: formats.quantize(torch.ones(4), 4, 0), "Block size"),
        (lambda: formats.quantize(torch.ones(4), 4, 2.5), "Block size"),
        (lambda: formats.quantize(torch.ones(4), 4, "column"), "Block size"),
        (lambda: formats.quantize(torch.ones(4), 4, 4, "best"), "Unknown method"),
        (lambda: formats.quantize(torch.ones(4, dtype=torch.int8)), "int8"),
        (lambda: formats.quantize(torch.ones(0)), "empty"),
        (lambda: formats.quantize(torch.tensor([math.nan])), "NaN or infinity"),
        (lambda: formats.round_to_levels(torch.tensor([math.inf]), formats.fp4_levels()), "NaN or infinity"),
        (lambda: formats.errors(torch.ones(2), torch.ones(3)), "Shapes differ"),
    ],
)
def test_bad_input_gets_one_sentence(call, message):
    with pytest.raises(ValueError) as caught:
        call()
    assert message in str(caught.value) and "\n" not in str(caught.value) and str(caught.value).endswith(".")
