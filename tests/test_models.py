"""models: what MODEL_ID means, every scheme loaded, the shape-only model, and one sentence for each bad input."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import bitsandbytes as bnb
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, MistralConfig, MistralForCausalLM

from helpers import finetune, memory, models, quiet, schemes
from helpers.errors import CourseError
from helpers.kernels import calling
from helpers.models import choose, loading
from helpers.models import hub as hub_module
from helpers.models.kinds import MISTRAL_7B
from helpers.schemes import rest_dtype

ROOT = Path(__file__).parent.parent
SCHEMES = ["fp32", "fp16", "bf16", "int8", "fp4", "nf4", "nf4-dq"]


def tiny_config(**changes) -> MistralConfig:
    sizes = dict(
        vocab_size=320, hidden_size=128, intermediate_size=192, num_hidden_layers=2, max_position_embeddings=64
    )
    return MistralConfig(**{**sizes, "num_attention_heads": 4, "num_key_value_heads": 2, **changes})


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory) -> Path:
    """A tiny saved model with random weights and Mini-Mistral's tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    MistralForCausalLM(tiny_config()).to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(models.mini_path()).save_pretrained(folder)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty hub cache of its own."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(monkeypatch):
    """The hub, played: `hub(gated=True)`, `hub(files={...})`, `hub(delay=60)`."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    def play(files=None, delay=0.0, gated=False, missing=False, down=False):
        class Hub:
            def auth_check(self, repo):
                time.sleep(delay)
                if down:
                    raise OSError("no route to host")
                if gated or missing:
                    kind = errors.GatedRepoError if gated else errors.RepositoryNotFoundError
                    error = kind.__new__(kind)
                    Exception.__init__(error, "refused")
                    raise error

            def model_info(self, repo, files_metadata, timeout):
                class Sibling:
                    def __init__(self, name, size):
                        self.rfilename, self.size = name, size

                class Info:
                    siblings = [Sibling(*item) for item in (files or {}).items()]

                return Info()

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(huggingface_hub, "HfApi", Hub)

    return play


@pytest.fixture
def gpu(monkeypatch):
    """A GPU for the rule of `auto` only: nothing can be computed on it."""

    def pretend(free=140e9, capability=(9, 0)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "NVIDIA H200")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        monkeypatch.setattr(choose, "free_memory", lambda *_: int(free))

    return pretend


def sentence(error: pytest.ExceptionInfo) -> str:
    """The one sentence of an error; it names no folder of this machine and renders without a traceback."""
    text = str(error.value)
    assert error.type is CourseError and "\n" not in text and text.endswith(".") and len(text) < 420
    assert str(ROOT) not in text and "Traceback" not in text
    assert error.value._render_traceback_() == [f"CourseError: {text}"]
    return text


# What MODEL_ID means


def test_auto_without_a_gpu_is_mini_mistral(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choice = models.resolve("auto")
    assert (choice.kind, choice.model_id, choice.folder) == ("mini", "mini", models.mini_path())
    assert "no CUDA GPU" in choice.reason


def test_auto_takes_the_real_model_only_if_gpu_and_hub_allow_it(gpu, hub, cache):
    weights = {
        "config.json": 600,
        "model-00001-of-00001.safetensors": 14_483_000_000,
        "pytorch_model.bin": 14_483_000_000,
    }
    gpu()
    hub(files=weights)
    choice = models.resolve("auto")
    assert (choice.kind, choice.model_id) == ("checkpoint", MISTRAL_7B)
    assert choice.download_bytes == 14_483_000_600  # not the second copy in pytorch_model.bin
    assert "H200" in choice.reason and "14.5 GB" in choice.reason
    hub(gated=True)
    choice = models.resolve("auto")
    assert choice.kind == "mini" and "license" in choice.reason
    hub(down=True)
    choice = models.resolve("auto")
    assert choice.kind == "mini" and "does not answer" in choice.reason


@pytest.mark.parametrize(
    ("scheme", "free", "kind"),
    [("nf4-dq", 4.62e9, "mini"), ("nf4-dq", 4.63e9, "checkpoint"), ("bf16", 14.9e9, "mini")],
)
def test_auto_weighs_the_asked_scheme_against_free_memory(gpu, hub, cache, scheme, free, kind):
    gpu(free=free)
    hub(files={"config.json": 600, "model.safetensors": 14_483_000_000})
    choice = models.resolve("auto", scheme)
    assert choice.kind == kind
    if kind == "mini":
        assert f"{free / 1e9:.1f} GB are free" in choice.reason


def test_auto_asks_no_network_without_a_gpu_and_at_most_three_seconds_with_one(gpu, hub, cache, monkeypatch):
    hub(delay=60)
    asked, ask = [], hub_module.ask
    monkeypatch.setattr(hub_module, "ask", lambda *args: asked.append(args) or ask(*args))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    models.resolve("auto")
    assert not asked
    gpu()
    waited = []
    monkeypatch.setattr(hub_module.threading.Thread, "join", lambda thread, timeout=None: waited.append(timeout))
    assert models.resolve("auto").kind == "mini"
    assert asked == [(MISTRAL_7B,)] and waited == [3]


def test_auto_says_what_it_chose_when_it_loads(capsys):
    models.load("auto" if not torch.cuda.is_available() else "mini")
    out = capsys.readouterr().out
    assert torch.cuda.is_available() or out.startswith("auto chose mini: no CUDA GPU was found")


def test_compute_dtype_follows_the_hardware(gpu):
    assert models.compute_dtype("auto", "cpu") is torch.bfloat16
    gpu(capability=(7, 5))
    assert models.compute_dtype("auto") is torch.float16
    gpu(capability=(8, 0))
    assert models.compute_dtype("auto") is torch.bfloat16
    assert models.compute_dtype("float32") is models.compute_dtype(torch.float32) is torch.float32


def test_bnb_config_sets_every_field():
    found = models.bnb_config("nf4-dq", "float16", "cpu").to_dict()
    assert found["load_in_4bit"] and found["bnb_4bit_quant_type"] == "nf4" and found["bnb_4bit_use_double_quant"]
    assert found["bnb_4bit_compute_dtype"] == "float16"
    assert not models.bnb_config("fp4", "auto", "cpu").bnb_4bit_use_double_quant
    assert models.bnb_config("int8").load_in_8bit and models.bnb_config("bf16") is None


# Every scheme


@pytest.mark.parametrize("scheme", SCHEMES)
def test_each_scheme_loads_with_the_right_layers_and_dtypes(scheme):
    model, tokenizer = models.load("mini", scheme, device="cpu")
    layers = models.linear_layers(model)
    kind = {"int8": bnb.nn.Linear8bitLt, **dict.fromkeys(("fp4", "nf4", "nf4-dq"), bnb.nn.Linear4bit)}
    assert len(layers) == 42 and {type(layer) for layer in layers.values()} == {kind.get(scheme, torch.nn.Linear)}
    rest = {"fp32": torch.float32, "fp16": torch.float16}.get(scheme, torch.bfloat16)
    assert model.get_input_embeddings().weight.dtype == model.lm_head.weight.dtype == rest
    assert not model.training and len(tokenizer) == model.config.vocab_size
    if scheme in ("fp4", "nf4", "nf4-dq"):
        state = layers["model.layers.0.mlp.up_proj"].weight.quant_state
        assert state.quant_type == scheme.removesuffix("-dq") and state.nested == scheme.endswith("-dq")


def test_linear_layers_leave_out_head_and_adapters():
    from peft import LoraConfig, get_peft_model

    model, _ = models.load("mini", "nf4", device="cpu")
    names = set(models.linear_layers(model))
    assert "lm_head" not in names
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    found = models.linear_layers(adapted)
    assert len(found) == 42 and all(isinstance(layer, bnb.nn.Linear4bit) for layer in found.values())


def test_loading_and_running_prints_nothing():
    code = (
        "import torch\nfrom helpers import models\n"
        "for scheme in ('int8', 'nf4-dq', 'bf16'):\n"
        "    model, tokenizer = models.load('mini', scheme)\n"
        "    ids = tokenizer('The capital of', return_tensors='pt').to(model.device)\n"
        "    model.generate(**ids, max_new_tokens=3, do_sample=False)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_filters_hide_two_notices_and_nothing_else(caplog):
    import logging

    for name in quiet.NOTICES:
        logging.getLogger(name).warning("MatMul8bitLt: inputs will be cast from a to b; Failed to load CPU "
                                        "gemm_4bit_forward from kernels-community: x")  # fmt: skip
        logging.getLogger(name).warning("something real")
    assert [record.getMessage() for record in caplog.records] == ["something real"] * 2
    from transformers.utils import logging as transformers_logging

    before = transformers_logging.is_progress_bar_enabled()
    models.load("mini", "bf16", device="cpu")
    assert transformers_logging.is_progress_bar_enabled() is before


def test_a_model_saved_in_four_bits_reloads_in_that_scheme_and_no_other(tmp_path):
    model, tokenizer = models.load("mini", "nf4-dq", device="cpu")
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = models.load(str(tmp_path), "nf4-dq", device="cpu")
    assert memory.measure(again).parts == memory.measure(model).parts
    for name, layer in models.linear_layers(model).items():
        assert torch.equal(layer.weight.data, models.linear_layers(again)[name].weight.data)
    with pytest.raises(CourseError) as error:
        models.load(str(tmp_path), "bf16", device="cpu")
    assert "saved in nf4-dq" in sentence(error)


# The shape-only model


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("tied", [False, True])
def test_shape_model_is_what_from_pretrained_makes(tmp_path, scheme, tied):
    config = tiny_config(tie_word_embeddings=tied)
    MistralForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    real = AutoModelForCausalLM.from_pretrained(
        tmp_path,
        dtype=rest_dtype(scheme, "auto", torch.device("cpu")),
        quantization_config=models.bnb_config(scheme, "auto", "cpu"),
        device_map={"": "cpu"},
    )
    made = models.shape_model(config, scheme, device="cpu")
    kinds = [{name: type(module) for name, module in model.named_modules()} for model in (real, made)]
    assert kinds[0] == kinds[1]
    for name, layer in models.linear_layers(real).items():
        state, other = (getattr(x.weight, "quant_state", None) for x in (layer, models.linear_layers(made)[name]))
        assert state is other is None or (state.dtype, state.shape, state.nested) == (
            other.dtype, other.shape, other.nested)  # fmt: skip
    stored = [
        # the packed state is JSON text, as long as the digits of its offset
        {k: (v.dtype, v.device, None if ".quant_state." in k else v.shape) for k, v in model.state_dict().items()}
        for model in (real, made)
    ]
    assert stored[0] == stored[1]
    assert memory.measure(made).parts == memory.measure(real).parts
    for name in ("is_loaded_in_4bit", "is_loaded_in_8bit", "is_quantized", "quantization_method", "training", "dtype"):
        assert getattr(made, name, None) == getattr(real, name, None), name
    assert hasattr(made, "hf_quantizer") == hasattr(real, "hf_quantizer")
    frozen = [[name for name, p in model.named_parameters() if p.requires_grad] for model in (real, made)]
    assert frozen[0] == frozen[1]
    own = [{name: buffer.clone() for name, buffer in model.named_buffers()} for model in (real, made)]
    assert own[0].keys() == own[1].keys() and all(torch.equal(own[0][name], own[1][name]) for name in own[0])


def test_shape_model_has_the_promised_weights_whatever_the_scheme():
    config = tiny_config(hidden_size=256, num_hidden_layers=1)
    plain = models.shape_model(config, "fp32", device="cpu", seed=1)
    weights = torch.cat([layer.weight.flatten() for layer in models.linear_layers(plain).values()])
    assert abs(weights.mean()) < 7 * 0.02 / len(weights) ** 0.5  # seven standard errors
    assert abs(weights.std() / 0.02 - 1) < 7 / (2 * len(weights)) ** 0.5
    assert torch.equal(plain.model.norm.weight, torch.ones(256))
    again = models.shape_model(config, "fp32", device="cpu", seed=1)
    other = models.shape_model(config, "fp32", device="cpu", seed=2)
    assert torch.equal(plain.lm_head.weight, again.lm_head.weight)
    assert not torch.equal(plain.lm_head.weight, other.lm_head.weight)
    quantized = models.shape_model(config, "nf4", device="cpu", seed=1)
    for name, layer in models.linear_layers(quantized).items():
        source = models.linear_layers(plain)[name].weight.data.to(torch.bfloat16)
        assert torch.equal(layer.weight.data, bnb.functional.quantize_4bit(source, quant_type="nf4")[0]), name


def test_mistral_7b_config_has_the_published_size():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(models.mistral_7b_config())
    assert sum(p.numel() for p in model.parameters()) == 7_241_732_096
    assert len(models.linear_layers(model)) == 224
    assert sum(layer.weight.numel() for layer in models.linear_layers(model).values()) == 6_979_321_856


# The real checkpoint's path


def put_in_cache(cache: Path, source: Path, repo: str) -> Path:
    """Lay a model into a hub cache as a download would."""
    store = cache / f"models--{repo.replace('/', '--')}"
    snapshot = store / "snapshots" / ("0123456789abcdef" * 3)[:40]
    shutil.copytree(source, snapshot)
    (store / "refs").mkdir()
    (store / "refs" / "main").write_text(snapshot.name)
    return snapshot


@pytest.mark.parametrize("scheme", ["bf16", "int8", "nf4-dq"])
def test_a_cached_checkpoint_loads_offline_under_its_real_id(cache, hub, tiny_folder, scheme):
    put_in_cache(cache, tiny_folder, "mistralai/Mistral-7B-v0.1")
    hub(down=True)
    for name in ("mistral-7b", "mistralai/Mistral-7B-v0.1"):
        choice = models.resolve(name)
        assert (choice.kind, choice.source) == ("checkpoint", "hub cache")
    model, tokenizer = models.load("mistral-7b", scheme, device="cpu")
    assert len(models.linear_layers(model)) == 14 and len(tokenizer) == 2048
    assert model.config.vocab_size == 320


def test_auto_takes_the_cached_checkpoint_without_asking_the_hub(cache, gpu, tiny_folder, monkeypatch):
    put_in_cache(cache, tiny_folder, MISTRAL_7B)
    gpu()
    monkeypatch.setattr(hub_module, "ask", lambda *question: pytest.fail("the hub was asked"))
    choice = models.resolve("auto")
    assert (choice.kind, choice.source) == ("checkpoint", "hub cache")
    assert str(cache) not in repr(choice)


def test_an_environment_variable_moves_the_cache(tmp_path, tiny_folder):
    put_in_cache(tmp_path / "hub", tiny_folder, MISTRAL_7B)
    code = "from helpers import models; print(models.load('mistral-7b', 'nf4', device='cpu')[0].num_parameters())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    expected = sum(p.numel() for p in MistralForCausalLM(tiny_config()).parameters())
    assert done.stdout.strip() == str(expected), done.stderr


def test_a_half_downloaded_snapshot_does_not_count_as_cached(cache, hub, tiny_folder):
    snapshot = put_in_cache(cache, tiny_folder, MISTRAL_7B)
    (snapshot / "model.safetensors").rename(snapshot / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    hub(down=True)
    with pytest.raises(CourseError) as error:
        models.resolve("mistral-7b")
    assert "not in the local cache" in sentence(error)


def test_a_download_is_announced_and_fetches_no_second_copy(cache, hub, tiny_folder, monkeypatch, capsys):
    import huggingface_hub

    asked = {}

    def fetch(repo, allow_patterns, cache_dir):
        asked.update(repo=repo, patterns=allow_patterns, said=capsys.readouterr().out)
        return str(tiny_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    hub(files={"config.json": 600, "model.safetensors": 1_500_000_000})
    monkeypatch.setattr(loading, "config", lambda choice: tiny_config())
    monkeypatch.setattr(hub_module, "disk_free", lambda: 10**12)
    models.load("owner/name", "nf4", device="cpu")
    assert asked["repo"] == "owner/name" and "Downloading 1.5 GB of owner/name" in asked["said"]
    assert 'MODEL_ID = "mini"' in asked["said"]
    assert not any(pattern.endswith((".bin", ".pt", ".py")) for pattern in asked["patterns"])
    monkeypatch.setattr(hub_module, "disk_free", lambda: 10**9)
    with pytest.raises(CourseError) as error:
        models.load("owner/name", "nf4", device="cpu")
    assert "1.5 GB to download" in sentence(error) and "1.0 GB" in sentence(error)


# Bad input


@pytest.mark.parametrize(
    ("model_id", "says"),
    [
        ("mistral7b", "Unknown MODEL_ID 'mistral7b'"),
        ("", "MODEL_ID is ''"),
        (None, "MODEL_ID is None"),
        (7, "MODEL_ID is 7"),
        ("./no/such/folder", "The folder ./no/such/folder does not exist"),
        ("a/b/c", "The folder a/b/c does not exist"),
    ],
)
def test_unknown_model_ids(model_id, says):
    with pytest.raises(CourseError) as error:
        models.load(model_id)
    assert sentence(error).startswith(says) and '"mini"' in sentence(error)


@pytest.mark.parametrize("scheme", ["int4", "NF4", None])
def test_unknown_scheme(scheme):
    with pytest.raises(CourseError) as error:
        models.load("mini", scheme)
    assert "fp32, fp16, bf16, int8, fp4, nf4, nf4-dq" in sentence(error)


def test_unknown_dtype_and_device(monkeypatch):
    for wrong in ({"compute_dtype": "int8"}, {"compute_dtype": "bf17"}, {"device": "gpu"}):
        with pytest.raises(CourseError) as error:
            models.load("mini", "nf4", **wrong)
        assert "use" in sentence(error)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CourseError) as error:
        models.load("mini", "nf4", device="cuda")
    assert "No CUDA GPU" in sentence(error)


def test_folders_that_hold_no_model(tmp_path, tiny_folder):
    with pytest.raises(CourseError) as error:
        models.load(str(tmp_path))
    assert "no config.json" in str(error.value)
    shutil.copy(tiny_folder / "config.json", tmp_path)
    with pytest.raises(CourseError) as error:
        models.load(str(tmp_path))
    assert "no complete safetensors weights" in str(error.value)
    (tmp_path / "model.safetensors").write_bytes((tiny_folder / "model.safetensors").read_bytes()[:-1000])
    with pytest.raises(CourseError) as error:
        models.load(str(tmp_path), device="cpu")
    assert "model.safetensors" in str(error.value) and "is damaged" in str(error.value)
    shutil.copy(tiny_folder / "model.safetensors", tmp_path)
    with pytest.raises(CourseError) as error:
        models.load(str(tmp_path), device="cpu")
    assert "tokenizer" in str(error.value)
    (tmp_path / "config.json").write_text('{"model_type": "no-such-model"}')
    with pytest.raises(CourseError) as error:
        models.load(str(tmp_path), device="cpu")
    assert "config.json" in str(error.value)


@pytest.mark.parametrize("change", ["lacks", "wrong shape"])
@pytest.mark.parametrize("scheme", ["bf16", "nf4"])
def test_weights_that_do_not_match_the_config(tmp_path, tiny_folder, change, scheme):
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny_folder, tmp_path / "m")
    tensors = load_file(tiny_folder / "model.safetensors")
    if change == "lacks":
        del tensors["model.layers.1.mlp.up_proj.weight"]
    else:
        tensors["model.norm.weight"] = torch.ones(64)
    save_file(tensors, tmp_path / "m" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CourseError) as error:
        models.load(str(tmp_path / "m"), scheme, device="cpu")
    assert ("lacks 1 tensors" if change == "lacks" else "shapes are not those of config.json") in str(error.value)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        ({"gated": True}, "license"),
        ({"missing": True}, "was not found on the hub"),
        ({"down": True}, "did not answer"),
        ({"files": {"config.json": 1, "pytorch_model.bin": 9}}, "no safetensors"),
    ],
)
def test_hub_ids_that_cannot_be_had(cache, hub, state, says):
    hub(**state)
    with pytest.raises(CourseError) as error:
        models.load("mistral-7b", device="cpu")
    text = sentence(error)
    assert says in text and text.startswith("mistralai/Mistral-7B-v0.1") and '"mini"' in text


def test_offline_mode_says_so(cache, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CourseError) as error:
        models.load("mistral-7b", device="cpu")
    assert "HF_HUB_OFFLINE" in sentence(error)


def test_no_network_is_an_answer_within_seconds(tmp_path):
    """The real client against a network that swallows every packet (a listening socket that never answers)."""
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        code = (
            "import time; from helpers import models; from helpers.errors import CourseError\n"
            "start = time.perf_counter()\n"
            "try:\n    models.resolve('mistral-7b')\n"
            "except CourseError as error:\n    print(error, round(time.perf_counter() - start, 1), sep='|')\n"
        )
        env = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{silent.getsockname()[1]}", "HF_HUB_OFFLINE": "0"}
        env |= {"HF_HUB_CACHE": str(tmp_path), "TRANSFORMERS_OFFLINE": "0", "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120
        )
    text, seconds = done.stdout.strip().split("|")
    assert "did not answer" in text and 2.5 < float(seconds) < 6


def test_the_shape_model_needs_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(CourseError) as error:
        models.load("mistral-7b-shape")
    assert "CUDA GPU" in sentence(error)
    assert models.config("mistral-7b-shape").num_hidden_layers == 32  # its forecast needs none


def test_too_little_memory_is_said_before_anything_is_loaded(gpu, monkeypatch):
    gpu(free=10e9)
    with pytest.raises(CourseError) as error:
        models.load("mistral-7b-shape", "bf16")
    assert "needs 15.0 GB of GPU memory, 10.0 GB are free" in sentence(error) and 'scheme "int8"' in sentence(error)
    gpu(free=3e9)
    with pytest.raises(CourseError) as error:
        models.load("mistral-7b-shape", "nf4-dq")
    assert "needs 4.6 GB" in sentence(error) and 'MODEL_ID = "mini"' in sentence(error)
    monkeypatch.setattr(choose, "free_memory", lambda *_: 10**8)
    with pytest.raises(CourseError) as error:
        models.load("mini", "bf16", device="cpu")
    assert "of memory, 0.1 GB are free" in sentence(error)


def test_fit_adds_half_a_gigabyte_to_the_forecast():
    forecast = models.fit(tiny_config(), "nf4", "cpu")
    assert forecast.needed == memory.predict(tiny_config(), "nf4").total_bytes + 500_000_000
    assert forecast.ok == (forecast.needed <= forecast.free) and forecast.device == "cpu"


@pytest.mark.parametrize("scheme", ["fp4", "nf4", "nf4-dq"])
def test_generating_changes_no_layer_and_training_afterwards_reaches_all_of_them(scheme):
    # On CPUs with AVX512-BF16 bitsandbytes would repack each layer at the first evaluation forward.
    model, tokenizer = models.load("mini", scheme, device="cpu")
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    before = {name: layer.weight.clone() for name, layer in models.linear_layers(model).items()}
    size = memory.measure(model).total_bytes
    model.generate(ids, max_new_tokens=4, do_sample=False)
    for name, layer in models.linear_layers(model).items():
        assert layer.weight.shape == before[name].shape and torch.equal(layer.weight, before[name]), name
    assert memory.measure(model).total_bytes == size
    embeddings = model.get_input_embeddings()(ids).detach().requires_grad_()
    model(inputs_embeds=embeddings).logits.float().logsumexp(-1).sum().backward()
    first = embeddings.grad.clone()
    model.train()
    embeddings.grad = None
    model(inputs_embeds=embeddings).logits.float().logsumexp(-1).sum().backward()
    assert first.abs().sum() > 0 and torch.equal(embeddings.grad, first)


def test_a_t4_gets_float16_and_a_sentence_where_it_would_emulate_or_cannot(monkeypatch, tmp_path):
    """Capability 7.5: torch.cuda.is_bf16_supported() says yes there, and means an emulation."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    for capability, dtype in (((7, 5), torch.float16), ((8, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None, capability=capability: capability)
        old = capability < (8, 0)
        assert schemes.compute_dtype("auto", "cuda") == dtype
        assert schemes.bnb_config("nf4-dq", device="cuda").bnb_4bit_compute_dtype == dtype
        assert schemes.emulated(dtype, "cuda") is None
        assert bool(schemes.emulated(torch.bfloat16, "cuda")) == old
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 5))
    device = torch.device("cuda", 0)
    with pytest.raises(CourseError, match="only emulates bfloat16"):
        finetune.arguments(finetune.Recipe(compute_dtype="bfloat16"), tmp_path, device)
    with pytest.raises(CourseError, match="graph needs bfloat16"):
        finetune.arguments(finetune.Recipe(graph=True), tmp_path, device)
    monkeypatch.setattr(calling, "INTERPRETED", False)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert "capability 8.0, and this one has 7.5" in calling.why_not(device)
