"""The NF4 kernel: held to float64 and bitsandbytes through Triton's interpreter, and what it refuses or leaves alone.

Triton asks for TRITON_INTERPRET when it is imported, so conftest.py sets it where there is no GPU. What only a GPU can
show, benchmarks/kernel_bench.py checks and records as well.
"""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch
from taught import functions

from benchmarks import kernel_bench
from helpers import decoding, memory, models, nf4, results, speed
from helpers.errors import CourseError
from helpers.kernels import calling, counting, lookup, product, switch
from helpers.models.loading import same_on_every_cpu

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
ROOT = Path(__file__).resolve().parent.parent
runs = pytest.mark.skipif(calling.why_not(DEVICE) is not None, reason=str(calling.why_not(DEVICE)))
gpu = pytest.mark.skipif(not GPU, reason="needs a GPU: inline assembly does not run in the interpreter")
# the interpreter cuts bfloat16 off where a GPU rounds; with bfloat16 levels and outputs that is up to 0.005
ROUNDING = {torch.float16: 5e-4, torch.bfloat16: 3e-3 if GPU else 6e-3}


def weight(rows=32, columns=512, double=True, dtype=torch.float32, seed=0, **options):
    """Codes and state as bitsandbytes makes them, and the dequantized weight in float64."""
    values = 0.02 * torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    given = {"quant_type": "nf4", "compress_statistics": double} | options
    codes, state = bnb.functional.quantize_4bit(values.to(DEVICE, dtype), **given)
    absmax = state.absmax
    if double:
        absmax = bnb.functional.dequantize_blockwise(absmax, state.state2) + state.offset
    same = nf4.NF4Tensor(codes.view(-1), absmax, values.shape, torch.float32, state.blocksize)
    return codes, state, nf4.dequantize(same).double()


def inputs(*shape, dtype=torch.bfloat16, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def error(out, exact):
    return ((out.double() - exact).norm() / exact.norm()).item()


def test_the_table_holds_the_levels_in_both_orders():
    for dtype in lookup.DTYPES:
        table = lookup.table(dtype)
        bits = nf4.nf4_code().to(dtype).view(torch.int16).int() & 0xFFFF
        assert torch.equal(table[:16], bits) and len(table) == 48
        low, high = (table[16:24].view(torch.uint8).view(2, 16)).int()
        assert torch.equal(low | high << 8, bits)
        assert all(torch.equal(table[16:24], table[16 + 8 * lane :][:8]) for lane in range(4))


def prmt(a, b, selector):
    """The instruction, from its description: low 3 bits choose a byte, the fourth spreads its sign over it."""
    entries = [word >> 8 * i & 255 for word in (a, b) for i in range(4)]
    out = 0
    for i in range(4):
        entry = entries[selector >> 4 * i & 7]
        out |= ((255 if entry & 128 else 0) if selector >> 4 * i & 8 else entry) << 8 * i
    return out


@pytest.mark.parametrize("dtype", lookup.DTYPES)
def test_the_assembly_decodes_every_byte_at_every_place(dtype):
    """By an emulation of its five instructions, since no interpreter runs it."""
    steps = {
        "and.b32": lambda a, b: a & b,
        "shr.u32": lambda a, n: a >> n,
        "shl.b32": lambda a, n: a << n & 0xFFFFFFFF,
        "prmt.b32": prmt,
        "lop3.b32": lambda a, b, c, table: (a & b | ~a & 0xFFFFFFFF & c) if table == 0xCA else 1 / 0,
    }
    table = lookup.table(dtype)
    words = [int(word) & 0xFFFFFFFF for word in table[16:24]]
    for word in [byte << 8 * place | 0x5A3CF078 & ~(255 << 8 * place) for byte in range(256) for place in range(4)]:
        registers = {"$4": word} | {f"${5 + i}": entry for i, entry in enumerate(words)}
        for line in re.findall(r"(\w+\.\w+) ([^;]+);", lookup.DECODE_TEXT.split(";", 1)[1]):
            target, *given = (part.strip() for part in line[1].split(","))
            registers[target] = steps[line[0]](*(registers[g] if g in registers else int(g, 0) for g in given))
        codes = [half for i in range(4) for half in ((word >> 8 * i + 4) & 15, (word >> 8 * i) & 15)]
        levels = [int(table[code]) for code in codes]
        assert [registers[f"${i}"] for i in range(4)] == [levels[2 * i] | levels[2 * i + 1] << 16 for i in range(4)]


@runs
@pytest.mark.parametrize("dtype", lookup.DTYPES)
def test_decode_gives_the_levels_of_all_bytes(dtype):
    codes = torch.arange(256, dtype=torch.uint8, device=DEVICE).repeat(2)
    levels = nf4.nf4_code(DEVICE).to(dtype)[nf4.unpack(codes).int()]
    assert torch.equal(lookup.decode(codes, dtype, "pointer"), levels)


@gpu
def test_assembly_and_plain_triton_give_the_same_bits():
    codes, state, _ = weight(64, 4096)
    for dtype in lookup.DTYPES:
        packed = torch.randint(0, 256, (4096,), dtype=torch.uint8, device=DEVICE)
        plain = lookup.decode(packed, dtype, "pointer")
        assert torch.equal(lookup.decode(packed, dtype, "pairs"), plain)
        assert torch.equal(lookup.decode(packed, dtype, "permutes"), plain)
        for rows in (1, 5, 8):
            x = inputs(rows, 4096, dtype=dtype)
            assert torch.equal(calling.linear(x, codes, state), calling.linear(x, codes, state, asm=False))


@runs
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dtype", lookup.DTYPES)
@pytest.mark.parametrize(
    "rows, n, k",
    [(1, 32, 512), (3, 16, 256), (8, 48, 768), (2, 16, 2048), (17, 32, 256), (33, 144, 2048), (64, 16, 256)],
)
def test_it_multiplies_as_float64_does(rows, n, k, dtype, double):
    codes, state, exact = weight(n, k, double, seed=rows)
    x = inputs(rows, k, dtype=dtype, seed=k)
    out = calling.linear(x, codes, state)
    assert out.shape == (rows, n) and out.dtype == dtype
    assert 1e-5 < error(out, x.double() @ exact.T) < ROUNDING[dtype]
    wrong = exact.roll(1, 0)  # the measure sees a wrong row
    assert error(out, x.double() @ wrong.T) > 0.5


@runs
@pytest.mark.parametrize("plan", [(1, 1, True), (2, 1, False), (4, 2, True), (2, 3, True), (4, 9, False)])
def test_every_plan_computes_the_same(plan, monkeypatch):
    codes, state, exact = weight(64, 1024)
    x = inputs(2, 1024, dtype=torch.float16)
    monkeypatch.setitem(product.PLANS, (64, 1024), product.Plan(*plan))
    assert error(calling.linear(x, codes, state), x.double() @ exact.T) < ROUNDING[torch.float16]


@runs
@pytest.mark.parametrize("rows", [2, 6, 18, 34])
def test_blocks_that_share_a_product_keep_their_scales_apart(rows):
    """One block of eight is a million times the others."""
    for place in range(8):
        at = slice(64 * place, 64 * place + 64)
        weights = torch.full((16, 512), 1e-6)
        weights[:, at] = torch.linspace(1, 16, 16)[:, None]
        codes, state = bnb.functional.quantize_4bit(weights.to(DEVICE, torch.float16), quant_type="nf4")
        x = torch.ones(rows, 512, device=DEVICE, dtype=torch.float16)
        x[0::2], x[0::2, at], x[1::2, at] = 0, 1, 0
        out = calling.linear(x, codes, state)
        assert torch.allclose(out[0::2].float().cpu(), 64 * torch.linspace(1, 16, 16).repeat(rows // 2, 1), rtol=2e-3)
        assert out[1::2].abs().max() < 1e-3


def test_pairs_hold_both_levels_of_every_byte():
    for dtype in lookup.DTYPES:
        levels = nf4.nf4_code().to(dtype)
        codes = nf4.unpack(torch.arange(256, dtype=torch.uint8)).int()
        assert torch.equal(lookup.pairs(dtype).view(dtype), levels[codes])


@runs
def test_only_a_layer_starts_before_the_kernel_ahead_has_ended(monkeypatch):
    """What has just been quantized may not be there yet."""
    codes, state, exact = weight(32, 512)
    layer = switch.layer_types()[1](512, 32, bias=False, compute_dtype=torch.float16, quant_type="nf4")
    layer.weight = bnb.nn.Params4bit(codes, requires_grad=False, quant_state=state, bnb_quantized=True)
    started, launch = [], calling.launch
    monkeypatch.setattr(
        calling, "launch", lambda *given, **options: started.append(given[4]) or launch(*given, **options)
    )
    for early in (True, False):
        monkeypatch.setitem(product.PLANS, (32, 512), product.Plan(warps=2, early=early))
        x = inputs(1, 512, dtype=torch.float16)
        assert torch.equal(calling.linear(x, codes, state), layer(x))
    assert [plan.early for plan in started] == [False, True, False, False]


@runs
def test_the_whole_of_mini_mistral_is_switched_and_back():
    model, _ = models.load("mini", "nf4-dq", device=DEVICE)
    assert switch.use(model) == 42 and switch.stop(model) == 42 and switch.stop(model) == 0


def test_a_look_up_that_there_is_not():
    with pytest.raises(CourseError, match='no look-up "guess": take "pairs", "permutes" or "pointer"'):
        lookup.decode(torch.zeros(512, dtype=torch.uint8), way="guess")


@runs
def test_constants_may_begin_at_any_byte(monkeypatch):
    """A GPU faults on four bytes that begin at an odd one; the interpreter does not, so look at what is launched."""
    begins, launch = [], calling.launch
    monkeypatch.setattr(
        calling, "launch", lambda *given, **o: begins.append(given[2][0].data_ptr() % 4) or launch(*given, **o)
    )
    codes, state, exact = weight(32, 512)
    whole = torch.cat([state.absmax[:1], state.absmax])
    state.absmax, x = whole[1:], inputs(2, 512, dtype=torch.float16)
    assert state.absmax.data_ptr() % 4 == 1
    assert error(calling.linear(x, codes, state), x.double() @ exact.T) < ROUNDING[torch.float16]
    assert begins == [0]


@runs
def test_no_output_is_left_and_none_beyond_is_touched(monkeypatch):
    codes, state, exact = weight(32, 512)
    x = inputs(3, 512, dtype=torch.float16)
    room = torch.full((8, 32), float("nan"), dtype=x.dtype, device=DEVICE)
    second = state.state2
    constants = (state.absmax, second.code, second.absmax, state.offset)
    calling.launch(x, codes, constants, room[:3], product.Plan(warps=2))
    assert error(room[:3], x.double() @ exact.T) < ROUNDING[torch.float16]
    assert room[3:].isnan().all()


@runs
def test_error_is_no_larger_than_bitsandbytes_in_float16():
    """In bfloat16 the interpreter rounds worse than a GPU; there the recorded run has the comparison."""
    codes, state, exact = weight(256, 512)
    x = inputs(8, 512, dtype=torch.float16)
    theirs = bnb.matmul_4bit(x, codes.t(), quant_state=state)
    assert error(calling.linear(x, codes, state), x.double() @ exact.T) <= 1.05 * error(theirs, x.double() @ exact.T)


def test_the_recorded_checks_passed_on_a_gpu():
    recorded = results.read_recording(part="kernels", quiet=True).values["kernels"]
    assert len(recorded["checks"]) > 50 and all(recorded["checks"].values()) and not recorded["failed"]
    for shape, layer in recorded["shapes"].items():
        for rows, errors in layer["error"].items():
            assert 0 < errors["kernel"] <= errors["nf4-dq"]
            if int(rows) <= 16 or shape != "1024×4096":  # whose programs are too few for so many rows
                assert layer["us"]["kernel"][rows]["median"] < layer["us"]["nf4-dq"][rows]["median"]
    greedy = recorded["greedy"]
    assert greedy["first_different"] is None or greedy["gap_there"] < greedy["error"]["largest"]
    plans = {**recorded["shapes"], **recorded["merged"]}
    assert {tuple(map(int, shape.split("×"))): product.Plan(**found["plan"]) for shape, found in plans.items()} == (
        product.PLANS
    )


@runs
@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: (weight(32, 512, quant_type="fp4"), inputs(1, 512)), "NF4 in blocks of 64"),
        (lambda: (weight(32, 512, blocksize=128), inputs(1, 512)), "NF4 in blocks of 64"),
        (lambda: (weight(24, 512), inputs(1, 512)), "multiple of 16"),
        (lambda: (weight(32, 320), inputs(1, 320)), "multiple of 256"),
        (lambda: (weight(32, 512), inputs(1, 256)), "fit x"),
        (lambda: (weight(32, 512), inputs(65, 512)), "1 to 64 rows"),
        (lambda: (weight(32, 512), inputs(1, 512, dtype=torch.float32)), "bfloat16 or float16"),
        (lambda: (weight(32, 512), inputs(0, 512)), "1 to 64 rows"),
    ],
)
def test_what_it_cannot_compute_is_said_in_a_sentence(make, text):
    (codes, state, _), x = make()
    with pytest.raises(CourseError, match=text):
        calling.linear(x, codes, state)


@runs
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dtype", lookup.DTYPES)
def test_dequantize_makes_the_bits_of_bitsandbytes(double, dtype):
    codes, state, exact = weight(48, 512, double, dtype=dtype)
    values = calling.dequantize(codes, calling.constants_of(state), (48, 512), dtype)
    theirs = bnb.functional.dequantize_4bit(codes, state)
    if GPU or dtype == torch.float16:  # the interpreter cuts bfloat16 off
        assert torch.equal(values, theirs)
    assert 1e-5 < error(values, exact) < ROUNDING[dtype]


@gpu
def test_a_kernel_that_is_started_again_gets_what_it_is_given():
    """Compiled kernels are kept, with their sizes: another x, weight, shape or number of rows must not meet them."""
    for n, k in ((64, 4096), (32, 512)):
        for seed in (0, 1):
            codes, state, exact = weight(n, k, seed=seed)
            for rows in (1, 2, 5, 8, 9, 33, 64, 1):
                x = inputs(rows, k, seed=seed + rows)
                for _ in range(2):
                    assert error(calling.linear(x, codes, state), x.double() @ exact.T) < ROUNDING[x.dtype]
    whole = inputs(3, 513).view(-1)[1 : 1 + 2 * 512].view(2, 512)  # begins at an address that is no multiple of 16
    assert error(calling.linear(whole, codes, state), whole.double() @ exact.T) < ROUNDING[whole.dtype]


@runs
def test_rows_that_are_not_contiguous():
    codes, state, exact = weight(32, 512)
    x = inputs(512, 3, dtype=torch.float16).t()
    assert not x.is_contiguous()
    assert error(calling.linear(x, codes, state), x.double() @ exact.T) < ROUNDING[torch.float16]


def layer(double=True, bias=True, dtype=torch.float16, quant_type="nf4"):
    made = bnb.nn.Linear4bit(512, 32, bias=bias, compute_dtype=dtype, compress_statistics=double, quant_type=quant_type)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        made.weight.data = 0.02 * torch.randn(32, 512, generator=generator)
        if bias:
            made.bias.data = torch.randn(32, generator=generator).to(dtype)
    made = made.to(DEVICE).eval()
    made.support_avx512bf16_for_cpu = False
    return torch.nn.Sequential(made)


def taken(model):
    """Codes and state of the one layer of `layer`."""
    return model[0].weight, model[0].weight.quant_state


@runs
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_a_switched_layer_is_close_and_the_way_back_exact(double, bias):
    model, x = layer(double, bias), inputs(2, 512, dtype=torch.float16)
    with torch.no_grad():
        before = model(x)
        state = {name: value.clone() for name, value in model.state_dict().items()}
        assert switch.use(model) == 1 and switch.use(model) == 1
        after = model(x)
        assert 0 < error(after, before.double()) < 1e-3
        # from 65 rows on the weight is dequantized, to bitsandbytes' bits
        many, values = inputs(65, 512, dtype=torch.float16), bnb.functional.dequantize_4bit(*taken(model)).half()
        assert torch.equal(model(many), torch.nn.functional.linear(many, values) + (model[0].bias if bias else 0))
        assert model(x.view(2, 1, 512)).shape == (2, 1, 32)
        assert isinstance(model[0], bnb.nn.Linear4bit) and type(model[0]).__name__ == "Linear4bit"
        saved = model.state_dict()
        assert all(torch.equal(saved[name], value) for name, value in state.items()) and saved.keys() == state.keys()
        assert switch.stop(model) == 1 and switch.stop(model) == 0
        assert torch.equal(model(x), before)


@runs
def test_the_kernel_for_a_block_alone():
    model, x = layer(), inputs(2, 512, dtype=torch.float16)
    with torch.no_grad():
        before = model(x)
        with switch.using(model):
            inside = model(x)
        assert not torch.equal(inside, before) and torch.equal(model(x), before)
        switch.use(model)
        with pytest.raises(ZeroDivisionError), switch.using(model):
            raise ZeroDivisionError
        assert torch.equal(model(x), inside)  # what was switched before stays so
    with switch.using(torch.nn.Linear(2, 2)):  # a model without such layers is left alone
        pass


@runs
def test_training_goes_through_bitsandbytes():
    model, x = layer(), inputs(2, 512, dtype=torch.float16).requires_grad_()
    model(x).sum().backward()
    theirs, x.grad = x.grad, None
    switch.use(model)
    model(x).sum().backward()
    assert torch.equal(x.grad, theirs) and theirs.abs().sum() > 0


@runs
def test_other_dtypes_fall_back():
    model, x = layer(dtype=torch.float32), inputs(2, 512, dtype=torch.float32)
    with torch.no_grad():
        before = model(x)
        switch.use(model)
        assert torch.equal(model(x), before)


@runs
def test_models_that_it_cannot_speed_up():
    with pytest.raises(CourseError, match="no 4-bit layers"):
        switch.use(torch.nn.Sequential(torch.nn.Linear(8, 8)))
    with pytest.raises(CourseError, match="None of the 4-bit layers"):
        switch.use(layer(quant_type="fp4"))


@runs
def test_a_model_keeps_its_forecast_its_settings_and_its_decoding():
    sizes = {"vocab_size": 64, "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "head_dim": 128}
    from transformers import MistralConfig

    config = MistralConfig(**sizes, sliding_window=None, dtype="bfloat16")
    model = models.shape_model(config, "nf4-dq", torch.float16, DEVICE)
    same_on_every_cpu(model)
    prompt = torch.tensor([[1, 5, 9]], device=DEVICE)
    bytes_before = memory.measure(model, gradients=False).parts
    with torch.inference_mode():
        before = model(prompt).logits
        assert switch.use(model) == 7
        assert memory.measure(model, gradients=False).parts == bytes_before
        assert speed.set_compute_dtype(model, torch.float16) == 7
        assert 0 < error(model(prompt).logits, before.double()) < 0.02
    decoder = decoding.StaticDecoder(model, prompt, 3)
    decoder.prefill()
    decoder.step()
    assert decoder.tokens.shape[1] >= 6
    switch.stop(model)


@runs
def test_the_operator_is_one_that_pytorch_can_trace():
    codes, state, _ = weight(32, 512)
    x, second = inputs(2, 512, dtype=torch.float16), state.state2
    given = (x, codes, state.absmax, second.code, second.absmax, state.offset, 32)
    torch.library.opcheck(calling.linear_op, given, test_utils=("test_schema", "test_faketensor"))
    traced = torch.compile(lambda x: calling.fused_linear(x, codes, state) + 1, fullgraph=True, backend="eager")
    assert torch.equal(traced(x), calling.linear(x, codes, state) + 1)


def test_where_it_cannot_run_it_says_why(monkeypatch):
    monkeypatch.setattr(calling, "INTERPRETED", False)
    assert "NVIDIA GPUs" in calling.why_not("cpu")
    with pytest.raises(CourseError, match="bitsandbytes' kernels: the kernel runs on NVIDIA GPUs"):
        model = layer()
        monkeypatch.setattr(switch, "why_not", lambda device: "the kernel runs on NVIDIA GPUs, and this is a CPU")
        switch.use(model)
    monkeypatch.undo()
    monkeypatch.setattr(calling, "INTERPRETED", False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert calling.triton is None or "capability 8.0, and this one has 7.5" in calling.why_not("cuda")
    if calling.triton is not None:
        monkeypatch.setattr(calling.triton, "__version__", "3.4.1")
        assert "needs Triton 3.5, which comes with PyTorch 2.9, and this is Triton 3.4.1" in calling.why_not("cuda")


def test_without_triton_the_file_imports_and_says_so():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "from helpers import kernels\n"
        "print(kernels.why_not('cuda')); print(kernels.jit(len) is len, kernels.tl.constexpr)"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "Triton" in said and "not installed" in said and "True" in said


@runs
def test_the_notebook_steps_agree_with_float64():
    names = ("by_pointer", "pair_times_x", "by_pair", "by_permute")
    module = kernel_bench.steps()
    assert all(hasattr(module, name) for name in names)
    quantized = nf4.quantize(0.02 * torch.randn(16, 512, generator=torch.Generator().manual_seed(7)))
    x = inputs(512)
    exact = nf4.dequantize(quantized).double().to(DEVICE) @ x.double()
    bits, byte = lookup.table()[:16], torch.arange(256)
    tables = (nf4.nf4_code(), bits[byte >> 4] | bits[byte & 15] << 16, lookup.table())
    for name, table in zip(("by_pointer", "by_pair", "by_permute"), tables, strict=True):
        out = torch.full((16,), float("nan"), device=DEVICE)
        codes = quantized.codes.view(torch.int32 if name == "by_permute" else torch.uint8)
        more = {"ASM": GPU} if name == "by_permute" else {}
        given = (x, codes.to(DEVICE), quantized.absmax.to(DEVICE), table.to(DEVICE), out, 512)
        getattr(module, name)[(4,)](*given, ROWS=4, WIDTH=64, **more)
        assert error(out, exact) < (1e-6 if name == "by_pointer" else 3e-3)


def test_loads_are_counted_where_no_kernel_runs():
    quantized = nf4.quantize(torch.randn(8, 256, generator=torch.Generator().manual_seed(7)))
    x, out = torch.randn(256, generator=torch.Generator().manual_seed(8)), torch.full((8,), float("nan"))
    given = (x, quantized.codes, quantized.absmax, nf4.nf4_code(), out, 256)
    kernel = kernel_bench.steps().by_pointer
    assert counting.count_loads(kernel, 4, *given, ROWS=2, WIDTH=32) == {
        "x": 1024, "codes": 1024, "absmax": 1024, "levels": 2048,
    }  # fmt: skip
    assert error(out, nf4.dequantize(quantized).double() @ x.double()) < 1e-6
    with pytest.raises(IndexError, match="place 1183 of `codes`, which has 1024 elements"):
        counting.count_loads(kernel, 5, *given, ROWS=2, WIDTH=32)


def test_the_permute_of_exercise_15_4_is_what_the_table_does():
    permute = functions("15_inside_the_kernel", "permute").permute
    words = [int(word) & 0xFFFFFFFF for word in lookup.table()[16:24]]
    for codes in (0x3210, 0x7654, 0x0707):
        assert permute(words[0], words[1], codes) == prmt(words[0], words[1], codes)


def test_the_stages_that_the_bench_leaves_out_are_in_the_kernel():
    parts = (getattr(part, "fn", part) for part in (product.times_word, product.times_pair, product.linear_kernel))
    text = "".join(map(inspect.getsource, parts))
    for changes in kernel_bench.LEFT_OUT.values():
        assert all(text.count(old) == 1 for old, _ in changes)
    kinds = [
        kernel_bench.kind_of(name) for name in ("linear_kernel", "void gemm_4bit_simt", "fmha_x", "vectorized_add")
    ]
    assert kinds == ["products", "products", "attention", "the rest"]


def test_a_failing_part_of_the_bench_is_noted_and_the_rest_goes_on(tmp_path):
    bench = kernel_bench.Bench(str(tmp_path / "out.json"), seconds=100)
    bench.part("good", lambda: bench.found.update(value=float("nan")))
    bench.part("bad", lambda: 1 / 0)
    bench.seconds = 0
    bench.part("late", lambda: None)
    written = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert written["value"] is None and "ZeroDivisionError" in written["failed"]["bad"]
    assert "not begun" in written["failed"]["late"] and set(written["at"]) == {"good", "bad", "late"}


def test_the_benchmark_can_leave_pieces_of_the_kernel_out():
    """It writes the kernel's text anew, and has to find its parts where they are."""
    from benchmarks import kernel_bench

    assert callable(kernel_bench.left_out([], "nothing").fn)
