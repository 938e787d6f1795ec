"""NF4 and double quantization against bitsandbytes' own kernels, bit for bit, and against what mathematics says."""

import math

import bitsandbytes.functional as bnb
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from taught import functions
from transformers import LlamaConfig

from helpers import memory, models, nf4

DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@pytest.fixture(autouse=True)
def eager():
    # bitsandbytes compiles its fallback anew for every shape, which takes seconds each and changes no result
    with torch.compiler.set_stance("force_eager"):
        yield


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def theirs(tensor, block_size=64, double_quant=False):
    """bitsandbytes' codes, state and values; dequantized as one row, see `test_rows_that_end_inside_a_block`."""
    packed, state = bnb.quantize_4bit(tensor, blocksize=block_size, quant_type="nf4", compress_statistics=double_quant)
    state.shape = torch.Size([tensor.numel()])
    return packed.view(-1), state, bnb.dequantize_4bit(packed, state).view(tensor.shape)


def assert_same(tensor, block_size=64):
    packed, state, values = theirs(tensor, block_size)
    ours = nf4.quantize(tensor, block_size)
    assert torch.equal(ours.codes, packed)
    assert torch.equal(ours.absmax, state.absmax)
    restored = nf4.dequantize(ours)
    assert restored.dtype == tensor.dtype and restored.shape == tensor.shape
    assert torch.equal(restored, values)


def test_the_table_is_bitsandbytes_table_bit_for_bit():
    assert torch.equal(nf4.nf4_code(), bnb.get_4bit_type("nf4", device="cpu"))
    levels = nf4.nf4_code()
    assert (levels < 0).sum() == 7 and (levels == 0).sum() == 1 and (levels > 0).sum() == 8


def test_the_levels_are_normal_quantiles_one_set_for_each_sign():
    share = torch.special.ndtr(nf4.nf4_code().double() * torch.special.ndtri(torch.tensor(0.9677083).double()))
    assert torch.allclose(share[7:].diff(), torch.full((8,), (0.9677083 - 0.5) / 8, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(share[:8].diff(), torch.full((7,), (0.9677083 - 0.5) / 7, dtype=torch.float64), atol=1e-6)


def test_the_dynamic_map_is_bitsandbytes_map_bit_for_bit():
    assert torch.equal(nf4.dynamic_map(), bnb.create_dynamic_map())


def test_tables_are_the_callers_own():
    nf4.nf4_code().zero_()
    nf4.dynamic_map().zero_()
    assert nf4.nf4_code()[-1] == 1 and nf4.dynamic_map()[-1] == 1


shapes = st.one_of(
    st.integers(1, 9000).map(lambda n: (n,)),
    st.tuples(st.integers(1, 40), st.integers(1, 300)),
    st.tuples(st.integers(1, 6), st.integers(1, 20), st.integers(1, 70)),
    st.tuples(st.integers(1, 8), st.integers(1, 4).map(lambda n: 1024 * n)),
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    shape=shapes,
    block_size=st.sampled_from(nf4.BLOCK_SIZES[1:]),
    dtype=st.sampled_from(DTYPES),
    exponent=st.floats(-8, 4),
    zeros=st.sampled_from([0.0, 0.0, 0.5, 0.98, 1.0]),
    seed=st.integers(0, 2**32),
)
@example(shape=(64,), block_size=64, dtype=torch.float32, exponent=-8, zeros=1.0, seed=0)
@example(shape=(65,), block_size=64, dtype=torch.bfloat16, exponent=4, zeros=1.0, seed=0)
def test_codes_absmax_and_values_equal_bitsandbytes(shape, block_size, dtype, exponent, zeros, seed):
    values = torch.randn(shape, generator=generator(seed)) * 10**exponent
    values[torch.rand(shape, generator=generator(seed + 1)) < zeros] = 0
    assert_same(values.clamp(-6e4, 6e4).to(dtype), block_size)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    block_size=st.sampled_from(nf4.BLOCK_SIZES[1:]),
    exponent=st.integers(-14, 10),
    rest=st.integers(0, 63),
    nudge=st.sampled_from([-1, 0, 1]),
    seed=st.integers(0, 2**32),
)
def test_ties_at_midpoints_and_one_bit_beside_them_equal_bitsandbytes(block_size, exponent, rest, nudge, seed):
    levels = nf4.nf4_code()
    midpoints = (levels[:-1] + levels[1:]) / 2
    picks = torch.randint(15, (block_size + rest,), generator=generator(seed))
    values = midpoints[picks]
    values = torch.nextafter(values, values + nudge)
    values[::block_size] = 1.0  # the absmax of each block: a power of two keeps ties exact
    scaled = values * 2.0**exponent
    assert_same(scaled, block_size)
    if nudge == 0:
        codes = nf4.unpack(nf4.quantize(scaled, block_size).codes)[: len(scaled)].long()
        inner = torch.arange(len(scaled)) % block_size != 0
        assert torch.equal(codes[inner], picks[inner])  # a tie goes to the lower level


@pytest.mark.parametrize("rest", [0, 50])
def test_near_ties_at_any_absmax_show_whether_a_block_is_multiplied_or_divided(rest):
    levels = nf4.nf4_code()
    midpoints = (levels[:-1] + levels[1:]) / 2
    different = 0
    for seed in range(60):
        absmax = 10 ** (4 * torch.rand(1, generator=generator(seed)) - 3)
        values = midpoints[torch.randint(15, (64 * (rest == 0) + rest,), generator=generator(seed))] * absmax
        values[-1] = -absmax
        assert_same(values)
        codes = [(scaled[:, None] > midpoints).sum(1) for scaled in (values / absmax, values * (1 / absmax))]
        different += (codes[0] != codes[1]).sum().item()
    assert different > 20  # so that the wrong one of the two would have been found out


def test_every_linear_layer_of_the_model_equals_bitsandbytes():
    model, _ = models.load("mini", "bf16", device="cpu")
    layers = models.linear_layers(model)
    assert len(layers) == 42
    for layer in layers.values():
        assert_same(layer.weight.detach())
        packed, state = bnb.quantize_4bit(layer.weight.detach(), quant_type="nf4")
        assert torch.equal(nf4.dequantize(nf4.quantize(layer.weight)), bnb.dequantize_4bit(packed, state))


def test_other_float_types_and_shapes():
    values = torch.randn(3, 5, 7, generator=generator())
    for dtype in (torch.float64, torch.float8_e4m3fn, torch.float8_e5m2):
        typed = values.to(dtype)
        ours = nf4.quantize(typed)
        restored = nf4.dequantize(ours)
        assert restored.dtype == dtype and restored.shape == (3, 5, 7)
        packed, state, _ = theirs(typed.float())
        assert torch.equal(ours.codes, packed) and torch.equal(ours.absmax, state.absmax)
    one = nf4.quantize(torch.tensor(-3.0))
    assert nf4.dequantize(one).shape == () and nf4.dequantize(one) == -3
    turned = torch.randn(64, 128, generator=generator()).T
    assert torch.equal(nf4.dequantize(nf4.quantize(turned)), nf4.dequantize(nf4.quantize(turned.contiguous())))
    assert nf4.dequantize(nf4.quantize(values), torch.bfloat16).dtype == torch.bfloat16


def test_rows_that_end_inside_a_block():
    """bitsandbytes 0.50.2's AVX-512 kernel takes the wrong absmax there; ours is right, and theirs is explained."""
    rows, columns, block_size = 48, 96, 64
    values = torch.randn(rows, columns, generator=generator(), dtype=torch.float32)
    packed, state = bnb.quantize_4bit(values, blocksize=block_size, quant_type="nf4")
    found = bnb.dequantize_4bit(packed, state)
    ours = nf4.quantize(values, block_size)
    restored = nf4.dequantize(ours)
    assert torch.equal(ours.codes, packed.view(-1)) and torch.equal(ours.absmax, state.absmax)
    assert torch.equal(restored, theirs(values, block_size)[2])
    row, column = torch.arange(rows)[:, None], torch.arange(columns)
    right = (row * columns + column) // block_size
    misread = row * (columns // block_size) + column // block_size  # rounds down where a row ends inside a block
    levels = nf4.nf4_code()[nf4.unpack(ours.codes).int()].view(rows, columns)
    assert torch.equal(restored, levels * ours.absmax[right])
    assert torch.equal(found, levels * ours.absmax[misread]) or torch.equal(found, restored)


@given(st.lists(st.integers(0, 15), min_size=1, max_size=99))
def test_packing_round_trip(codes):
    packed = nf4.pack(torch.tensor(codes))
    assert packed.dtype == torch.uint8 and len(packed) == math.ceil(len(codes) / 2)
    assert packed[0] >> 4 == codes[0]
    assert nf4.unpack(packed)[: len(codes)].tolist() == codes
    assert torch.equal(nf4.pack(nf4.unpack(packed)), packed)


# mean and standard deviation over 40 draws of 2**18 standard normal values: mean |error|, relative squared error
BANDS = {
    (64, False): ((0.072788, 1.7e-4), (0.0084571, 2.5e-5)),
    (64, True): ((0.072861, 1.7e-4), (0.0084616, 2.5e-5)),
    (1024, False): ((0.086541, 3.1e-4), (0.0108534, 6.3e-5)),
    (4096, False): ((0.092450, 6.2e-4), (0.0120569, 1.5e-4)),
}


@pytest.mark.parametrize(("block_size", "double_quant"), BANDS)
def test_error_on_normal_values_lies_in_its_band(block_size, double_quant):
    values = torch.randn(2**18, generator=generator(7))
    error = nf4.dequantize(nf4.quantize(values, block_size, double_quant)) - values
    found = error.abs().mean().item(), (error.square().mean() / values.square().mean()).item()
    for value, (mean, spread) in zip(found, BANDS[block_size, double_quant], strict=True):
        assert mean - 7 * spread < value < mean + 7 * spread


def test_error_grows_with_the_block_size():
    values = torch.randn(2**18, generator=generator(8))
    errors = [(nf4.dequantize(nf4.quantize(values, size)) - values).square().mean() for size in nf4.BLOCK_SIZES]
    assert errors == sorted(errors) and errors[-1] > 1.5 * errors[0]


def test_nothing_is_nearer_than_the_chosen_level():
    values = torch.randn(4096, generator=generator())
    ours = nf4.quantize(values)
    scaled = values.view(-1, 64) / ours.absmax[:, None]
    chosen = nf4.nf4_code()[nf4.unpack(ours.codes).int()].view(-1, 64)
    best = (scaled[..., None] - nf4.nf4_code()).abs().amin(-1)
    assert ((scaled - chosen).abs() - best).max() < 1e-6


def kernel_codes(absmax, largest):
    """The rule of bitsandbytes' CPU kernel: round to one of 65,536 steps, then take the level nearest to the step."""
    levels = nf4.dynamic_map()
    steps = torch.arange(65536) / 32767.5 - 1
    table = torch.bucketize(steps, (levels[:-1] + levels[1:]) / 2)
    centered = torch.nn.functional.pad(absmax - absmax.mean(), (0, -len(absmax) % 256)).view(-1, 256)
    scaled = centered * (1 / largest)[:, None]
    return table[((scaled + 1) * 32767.5 + 0.5).floor().long()].view(-1)[: len(absmax)]


def absmaxes():
    for seed, blocks in enumerate([2**18, 256, 1000, 12345, 1]):
        scale = 10 ** torch.rand(1, generator=generator(seed)) / 50
        yield nf4.quantize(torch.randn(blocks * 64, generator=generator(seed)) * scale).absmax
    model, _ = models.load("mini", "bf16", device="cpu")
    yield from (nf4.quantize(layer.weight).absmax for layer in models.linear_layers(model).values())


def test_double_quantization_leaves_no_difference_to_bitsandbytes_unexplained():
    different = total = 0
    for absmax in absmaxes():
        offset = absmax.mean()
        codes, state = bnb.quantize_blockwise(absmax - offset, blocksize=256)
        ours = nf4.double_quantize(absmax)
        assert torch.equal(ours.offset, offset)
        assert torch.equal(ours.absmax, state.absmax)
        if len(absmax) > 1:  # a single block's centered absmax is 0, and 0 times infinity decides nothing
            assert torch.equal(kernel_codes(absmax, ours.absmax).to(torch.uint8), codes)
        their_error = (bnb.dequantize_blockwise(codes, state) - (absmax - offset)).abs()
        our_error = (nf4.double_dequantize(ours) - offset - (absmax - offset)).abs()
        assert (our_error <= their_error + 1e-7 * absmax.max()).all()  # the nearest level is never farther
        different += (ours.codes != codes).sum().item()
        total += len(codes)
    assert 0.001 < different / total < 0.0025


def test_double_quantized_values_equal_bitsandbytes_where_codes_do():
    values = torch.randn(2**20, generator=generator())
    packed, state, restored = theirs(values, double_quant=True)
    ours = nf4.quantize(values, double_quant=True)
    assert torch.equal(ours.codes, packed)
    same = (ours.absmax.codes == state.absmax).repeat_interleave(64)
    found = nf4.dequantize(ours)
    assert torch.equal(found[same], restored[same])
    assert 0 < (~same).float().mean() < 0.003
    step = nf4.dynamic_map().diff().max() * ours.absmax.absmax.max()
    assert 0 < (found - restored).abs().max() <= 1.001 * step  # the other level is a neighbor where levels are wide


def test_equal_absmax_everywhere_survives_double_quantization():
    absmax = torch.full((300,), 0.25)
    ours = nf4.double_quantize(absmax)
    assert ours.codes.shape == (300,) and ours.absmax.shape == (2,)
    assert torch.equal(nf4.double_dequantize(ours), absmax)


def test_bits_per_parameter_by_formula_and_by_bytes():
    assert nf4.bits_per_parameter() == 4.5
    assert nf4.bits_per_parameter(64, True) == 4 + 8 / 64 + 32 / (64 * 256) == pytest.approx(4.127, abs=5e-5)
    values = torch.randn(2**20, generator=generator())
    for size in nf4.BLOCK_SIZES:
        assert nf4.quantize(values, size).bits_per_parameter == nf4.bits_per_parameter(size)
    with_offset = nf4.quantize(values, double_quant=True)
    assert with_offset.bits_per_parameter == nf4.bits_per_parameter(64, True) + 32 / 2**20


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.zeros(0), "empty"),
        (torch.zeros(0, 64), "empty"),
        (torch.ones(64, dtype=torch.int8), "int8"),
        (torch.ones(64, dtype=torch.bool), "bool"),
        (torch.ones(64, dtype=torch.complex64), "complex64"),
        (torch.tensor([1.0] * 63 + [NAN]), "NaN or infinity"),
        (torch.tensor([1.0] * 64 + [NAN]), "NaN or infinity"),
        (torch.tensor([1.0] * 200 + [-INF] + [0.0] * 55), "NaN or infinity"),
        (torch.tensor([INF]).bfloat16(), "NaN or infinity"),
        (torch.tensor([1e300], dtype=torch.float64), "NaN or infinity"),
    ],
)
def test_bad_input_gets_one_sentence(tensor, message):
    for function in (nf4.quantize, nf4.double_quantize):
        with pytest.raises(ValueError) as caught:
            function(tensor)
        assert message in str(caught.value) and "\n" not in str(caught.value) and str(caught.value).endswith(".")


@pytest.mark.parametrize("block_size", [0, 1, 16, 63, 65, 8192, -64])
def test_unsupported_block_sizes_get_one_sentence(block_size):
    with pytest.raises(ValueError, match="Block size .* is not supported: use one of 32, 64"):
        nf4.quantize(torch.ones(64), block_size)


def test_notebook_02_teaches_the_same_bits():
    names = "nf4_levels", "quantize", "pack", "dequantize"
    notebook = functions("02_build_nf4", *names, torch=torch, quantile=torch.special.ndtri)
    levels = notebook.nf4_levels()
    assert torch.equal(levels, nf4.nf4_code())
    notebook.namespace |= {"levels": levels, "midpoints": (levels[:-1] + levels[1:]) / 2}
    for seed, shape in enumerate([(64, 64), (256,), (3, 256), (2, 3, 512)]):
        for dtype in DTYPES:
            for block_size in (64, 256):
                values = torch.randn(shape, generator=generator(seed)).to(dtype)
                codes, absmax = notebook.quantize(values, block_size)
                ours = nf4.quantize(values, block_size)
                assert torch.equal(notebook.pack(codes), ours.codes) and torch.equal(absmax, ours.absmax)
                restored = notebook.dequantize(codes, absmax, shape, dtype, block_size)
                assert torch.equal(restored, nf4.dequantize(ours))


def test_notebook_03_teaches_the_same_bits():
    names = "dynamic_map", "double_quantize", "double_dequantize"
    notebook = functions("03_quantize_the_constants", *names, torch=torch)
    levels = notebook.dynamic_map()
    assert torch.equal(levels, nf4.dynamic_map())
    notebook.namespace["levels"] = levels
    for absmax in absmaxes():
        codes, second, offset = notebook.double_quantize(absmax)
        ours = nf4.double_quantize(absmax)
        assert torch.equal(codes, ours.codes) and torch.equal(second, ours.absmax) and offset == ours.offset
        assert torch.equal(notebook.double_dequantize(codes, second, offset), nf4.double_dequantize(ours))


@pytest.mark.parametrize("scheme", ["nf4", "nf4-dq"])
def test_notebook_03_counts_the_bytes_that_memory_predicts(scheme):
    taught = ("weights_of_a_transformer_block", "count_bytes")
    count = functions("03_quantize_the_constants", *taught, ceil=math.ceil).count_bytes
    expected = {"nf4": 4_450_703_360, "nf4-dq": 4_125_481_856}[scheme]
    mistral = {"hidden": 4096, "ffn": 14336, "layers": 32, "heads": 32, "kv_heads": 8, "vocab": 32000}
    assert count(**mistral, double_quant=scheme == "nf4-dq")["total"] == expected
    for hidden, ffn, layers, heads, kv_heads, vocab in ((512, 1376, 3, 8, 2, 1000), (200, 520, 2, 5, 5, 999)):
        config = LlamaConfig(
            hidden_size=hidden,
            intermediate_size=ffn,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            vocab_size=vocab,
            tie_word_embeddings=False,
            dtype="bfloat16",
        )
        counted = count(hidden, ffn, layers, heads, kv_heads, vocab, double_quant=scheme == "nf4-dq")
        assert counted["total"] == memory.predict(config, scheme).weight_bytes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gpu_gives_the_bits_of_the_cpu(dtype):
    torch.compiler.set_stance("default")
    for shape in ((2048, 2048), (2049, 2048), (1000,), (2048, 2049)):
        values = torch.randn(shape, generator=generator()).to(dtype)
        here, there = nf4.quantize(values), nf4.quantize(values.cuda())
        assert torch.equal(here.codes, there.codes.cpu()) and torch.equal(here.absmax, there.absmax.cpu())
        assert torch.equal(nf4.dequantize(here), nf4.dequantize(there).cpu())
