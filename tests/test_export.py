"""GGUF files of ours: read back by transformers, run by llama.cpp, and in Q4_K held to how gguf reads it."""

import copy
import errno
import shutil
import socket

import gguf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from taught import functions
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from helpers import export, files, formats, llamacpp, models
from helpers.errors import CourseError
from helpers.mini import evaluate


@pytest.fixture(scope="module")
def mini():
    return models.load("mini", "fp32", device="cpu")


@pytest.fixture(scope="module")
def file(mini, tmp_path_factory):
    return export.gguf_file(*mini, tmp_path_factory.mktemp("gguf") / "mini.gguf", "F32", name="Mini").path


def read_back(path):
    return AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)


def test_transformers_reads_the_same_model_back(mini, file):
    model, tokenizer = mini
    again, ids = read_back(file), torch.tensor([tokenizer("The capital of France is Paris.").input_ids])
    with torch.inference_mode():
        assert torch.equal(again(ids).logits, model(ids).logits)
    ours, theirs = model.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


FAR = {"F16": 1e-3, "BF16": 0.0, "Q8_0": 0.5, "Q4_0": 12, "Q4_K": 12}  # logits, whose spread is about 60


@pytest.mark.parametrize("storage, tolerance", FAR.items())
def test_every_storage_is_read_back(mini, tmp_path, storage, tolerance):
    model, tokenizer = mini
    made = export.gguf_file(model, tokenizer, tmp_path / "small.gguf", storage)
    ids = torch.tensor([tokenizer("The capital of France is Paris.").input_ids])
    again = read_back(made.path)
    with torch.inference_mode():
        off = (again(ids).logits - model(ids).logits).abs().max().item()
    assert off <= tolerance and (off > tolerance / 1e4 or not tolerance)
    assert made.bytes == made.path.stat().st_size and sum(made.types.values()) == 57
    assert made.types["F32"] == 13 and made.types[storage] == (42 if storage.startswith("Q") else 44)


def test_q4_0_is_ggufs_bit_for_bit(mini, tmp_path):
    """Three ways to the same: gguf's, what notebook 13 lets compete, and what the file holds."""
    model, tokenizer = mini
    made = export.gguf_file(model, tokenizer, tmp_path / "q.gguf", "Q4_0")
    by_hand = functions("13_choose_a_format", "q4_0", torch=torch).q4_0
    for layer in range(6):
        (tensor,) = (t for t in gguf.GGUFReader(made.path).tensors if t.name == f"blk.{layer}.ffn_up.weight")
        weight = model.model.layers[layer].mlp.up_proj.weight.detach()
        assert np.array_equal(np.asarray(tensor.data), gguf.quants.quantize(weight.numpy(), export.KIND.Q4_0))
        values = gguf.quants.dequantize(np.asarray(tensor.data), export.KIND.Q4_0)
        assert torch.equal(torch.from_numpy(values), by_hand(weight, None))


def blocks(seed: int, scale: float = 0.05, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(4, 512, generator=torch.Generator().manual_seed(seed)) * scale + shift


@pytest.mark.parametrize("shift", [0.0, 0.3, -0.3])
@pytest.mark.parametrize("scale", [1e-4, 0.05, 3.0])
def test_q4_k_is_what_gguf_reads(scale, shift):
    weight = blocks(1, scale, shift * scale)
    packed = export.pack_q4_k(weight)
    assert packed.shape == (4, 2 * 144) and packed.dtype == np.uint8
    read = torch.from_numpy(gguf.quants.dequantize(packed, export.KIND.Q4_K))
    assert torch.allclose(read, export.q4_k_values(weight), atol=2e-6 * scale, rtol=1e-5)


@pytest.mark.parametrize("weight", [torch.zeros(1, 256), torch.ones(1, 256), -torch.ones(1, 256), torch.eye(256)[:2]])
def test_q4_k_of_blocks_without_spread(weight):
    read = torch.from_numpy(gguf.quants.dequantize(export.pack_q4_k(weight), export.KIND.Q4_K))
    assert torch.isfinite(read).all() and (read - weight).abs().max() < 0.04


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), shift=st.floats(-1, 1))
def test_q4_k_errs_less_than_even_levels_from_end_to_end(seed, shift):
    """With the same 4.5 bits: blocks of 32 with constants of 6 bits, fitted, against blocks of 64 and 16 bits."""
    weight = blocks(seed, 0.05, 0.02 * shift)
    even = formats.dequantize(formats.quantize(weight, 4, 64, "affine"))
    fitted, plain = export.q4_k_values(weight), export.q4_k_values(weight, rounds=0)
    error = [(rounded - weight).square().mean().item() for rounded in (fitted, plain, even)]
    assert error[0] < error[1] < error[2]


def test_q4_k_needs_whole_blocks():
    with pytest.raises(ValueError, match="rows of blocks of 256"):
        export.pack_q4_k(torch.zeros(2, 300))


def test_rows_for_rotation_lie_side_by_side():
    rows = torch.arange(16.0).view(16, 1)
    assert export.for_rotation(rows, 2).flatten().tolist() == [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]
    assert torch.equal(export.for_rotation(rows[:, 0], 2), export.for_rotation(rows, 2)[:, 0])


def test_llama_cpp_says_the_same(mini, file):
    model, tokenizer = mini
    starts = [tokenizer(text).input_ids[:6] for text in evaluate.texts(True)[::70][:20]]
    assert len(starts) == 20
    with llamacpp.running(file, exact=True) as program:
        for ids in starts:
            with torch.inference_mode():
                full = model.generate(torch.tensor([ids]), max_new_tokens=16, do_sample=False, pad_token_id=0)[
                    0
                ].tolist()
            ours = full[len(ids) :]
            theirs, text, speed = program.write(ids, 16)
            if ours != theirs:
                at = next(i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1])
                with torch.inference_mode():
                    best = model(torch.tensor([ids + ours[:at]])).logits[0, -1].topk(2).values
                assert best[0] - best[1] < 1e-3, "another token that is no near tie"
            assert text.strip() and speed > 0
        whole = [*full, tokenizer.eos_token_id]
        with torch.inference_mode():
            logs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        nats = [-logs[i - 1, whole[i]].item() for i in range(1, len(whole))]
        assert np.abs(program.token_nats(whole) - nats).max() < 1e-3
        assert program.token_nats(whole, 5) == pytest.approx(nats[4:], abs=1e-3)
        read = program.perplexity([whole], [5])
        assert read.tokens.tolist() == [len(whole) - 5] and read.nats[0] == pytest.approx(sum(nats[4:]), abs=1e-2)


def test_llama_cpp_cuts_text_the_same_way(mini, file):
    _, tokenizer = mini
    odd = [
        " ",
        "  two  spaces ",
        "1234567890",
        "3.14159",
        "naïve café 東京 🙂",
        "a\tb\n\nc",
        "[INST]x[/INST]",
        "<s>",
        "don't",
    ]
    with llamacpp.running(file) as program:
        for text in [*evaluate.texts(True)[::5], *odd]:
            assert program.tokens(text) == tokenizer(text).input_ids, text
        assert program.chat("Who?") == "[INST] Who? [/INST]"


def test_nothing_listens_once_it_is_closed(file):
    with llamacpp.running(file) as program:
        host, port = program._server.listening_address.removeprefix("http://").split(":")  # noqa: SLF001
        assert host == "127.0.0.1"
        socket.create_connection((host, int(port)), timeout=5).close()
    with pytest.raises(OSError):
        socket.create_connection((host, int(port)), timeout=5)


def test_the_end_is_where_the_file_says(mini, file):
    _, tokenizer = mini
    with llamacpp.running(file) as program:
        ids = tokenizer(evaluate.texts(True)[0]).input_ids
        stopped = program.write(ids, 40)[0]
        assert stopped[-1] == tokenizer.eos_token_id not in stopped[:-1] and len(stopped) < 40
        assert len(program.write(ids, 40, ignore_eos=True)[0]) == 40


def small_llama(**changes) -> LlamaForCausalLM:
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "vocab_size": 300, "max_position_embeddings": 128}
    return LlamaForCausalLM(LlamaConfig(**sizes | changes)).eval()


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """A tokenizer in the way of Mistral-7B v0.1 and Llama 2: BPE with ▁ for spaces, and bytes for what it lacks."""
    inner = Tokenizer(BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    special = ["<unk>", "<s>", "</s>"]
    trainer = BpeTrainer(vocab_size=600, special_tokens=[*special, *(f"<0x{i:02X}>" for i in range(256))])
    inner.train_from_iterator(evaluate.texts(True)[:300], trainer)
    whole = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    whole.add_bos_token = True
    return whole


def test_a_sentencepiece_tokenizer_is_translated(tmp_path):
    tokenizer = sentencepiece_like()
    model = small_llama(vocab_size=640)  # more rows than tokens: the rest is filled up
    made = export.gguf_file(model, tokenizer, tmp_path / "spm.gguf", "F32")
    reader = gguf.GGUFReader(made.path)
    assert reader.get_field("tokenizer.ggml.model").contents() == "llama"
    assert len(reader.get_field("tokenizer.ggml.tokens").contents()) == 640
    begins = reader.get_field("tokenizer.ggml.add_bos_token").contents()
    with llamacpp.running(made.path, context=128) as program:
        for text in [*evaluate.texts(True)[::50], "東京", "a  b", "naïve"]:
            ids = tokenizer(text).input_ids
            assert program.tokens(text) == ids, (text, begins)


@pytest.mark.parametrize("tied", [True, False])
def test_llama_with_biases_and_tied_embeddings(tmp_path, mini, tied):
    model = small_llama(vocab_size=2048, tie_word_embeddings=tied, attention_bias=True)
    made = export.gguf_file(model, mini[1], tmp_path / "llama.gguf", "F32")
    ids = torch.tensor([[1, 5, 9, 200, 17]])
    with torch.inference_mode():
        logs = model(ids).logits[0].log_softmax(-1)
    with llamacpp.running(made.path, exact=True, context=128) as program:
        nats = [-logs[i - 1, ids[0, i]].item() for i in range(1, 5)]
        assert np.abs(program.token_nats(ids[0].tolist()) - nats).max() < 1e-3
    assert ("output.weight" in {t.name for t in gguf.GGUFReader(made.path).tensors}) is not tied


def test_rows_that_do_not_fit_q4_k_become_q5_0(tmp_path, mini):
    made = export.gguf_file(small_llama(vocab_size=2048), mini[1], tmp_path / "odd.gguf", "Q4_K")
    assert made.types == {"BF16": 2, "Q5_0": 14, "F32": 5}


def test_finer_layers_have_eight_bits(tmp_path, mini):
    plain = export.gguf_file(*mini, tmp_path / "plain.gguf", "Q4_K")
    finer = export.gguf_file(*mini, tmp_path / "finer.gguf", "Q4_K", finer=["v_proj", "k_proj"])
    assert finer.types["Q8_0"] == 12 and finer.types["Q4_K"] == 30
    assert finer.bytes - plain.bytes == 12 * 128 * 256 * 4 // 8


def refused(words: str):
    return pytest.raises(CourseError, match=words)


def test_what_cannot_be_exported_is_refused_in_a_sentence(mini, tmp_path):
    model, tokenizer = mini
    there = tmp_path / "mine.gguf"
    there.write_text("not yours")
    with refused("which the course did not make"):
        export.gguf_file(model, tokenizer, there)
    assert there.read_text() == "not yours"
    with refused("no storage that the course writes"):
        export.gguf_file(model, tokenizer, tmp_path / "a.gguf", "Q9")
    other = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=32, vocab_size=64))
    with refused("GPT2LMHeadModel is no architecture"):
        export.gguf_file(other, tokenizer, tmp_path / "a.gguf")
    with refused("is quantized"):
        export.gguf_file(models.load("mini", "nf4-dq", device="cpu")[0], tokenizer, tmp_path / "a.gguf")
    stretched = small_llama()
    stretched.config.rope_parameters = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    with refused("Positions of the type 'linear'"):
        export.gguf_file(stretched, tokenizer, tmp_path / "a.gguf")
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(copy.deepcopy(model), LoraConfig(r=2, target_modules=["q_proj"]))
    with refused("merge it into 16 bits first"):
        export.gguf_file(adapted, tokenizer, tmp_path / "a.gguf")
    words = PreTrainedTokenizerFast(tokenizer_object=copy.deepcopy(tokenizer.backend_tokenizer), eos_token="</s>")
    words.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with refused("cannot translate for llama.cpp"):
        export.gguf_file(model, words, tmp_path / "a.gguf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.gguf"]


def test_a_disk_without_room_loses_nothing(mini, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with refused("of disk are free"):
        export.gguf_file(*mini, tmp_path / "a.gguf")
    monkeypatch.undo()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
    with refused("the disk became full"):
        export.gguf_file(*mini, tmp_path / "a.gguf")
    assert [path.name for path in tmp_path.iterdir()] == [files.MADE]
    monkeypatch.undo()
    made = export.gguf_file(*mini, tmp_path / "a.gguf")
    again = export.gguf_file(*mini, tmp_path / "a.gguf", "Q8_0")  # a cell that is run once more
    assert again.path == made.path and again.bytes == made.path.stat().st_size < made.bytes


def test_a_modelfile_frames_the_question_as_the_template_does(mini):
    lines = export.modelfile(mini[1], "/some/where/model.gguf").splitlines()
    assert lines[:2] == ["FROM ./model.gguf", 'TEMPLATE """[INST] {{ .Prompt }} [/INST]"""']
    assert lines[2:] == ['PARAMETER stop "</s>"', "PARAMETER temperature 0"]


def test_llama_cpp_that_is_missing_or_cannot_load_says_so(tmp_path, monkeypatch):
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(60))
    with refused("cannot load broken.gguf"), llamacpp.running(broken):
        pass
    with refused("cannot load none.gguf"), llamacpp.running(tmp_path / "none.gguf"):
        pass
    monkeypatch.setattr(llamacpp.importlib.util, "find_spec", lambda name: None)
    assert "make llamacpp" in llamacpp.missing()
    with refused("xllamacpp is not installed"), llamacpp.running(broken):
        pass
