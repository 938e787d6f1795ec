"""The recipe that notebook 08 gives to copy: it runs as it stands, on Mini-Mistral, and trains what it says."""

import re

import bitsandbytes as bnb
import nbformat
import pytest
import safetensors.torch
import torch

from helpers import finetune, models, run

CELLS = nbformat.read(run.NOTEBOOKS / "08_finetune_with_qlora.ipynb", as_version=4).cells


def recipe() -> str:
    cells = (cell.source for cell in CELLS if "to copy</summary>" in cell.source)
    (block,) = re.findall(r"```python\n(.*?)```", next(cells), flags=re.DOTALL)
    return block


def swapped(text: str, **changes: str) -> str:
    """The recipe for a CPU and a few steps: each line that is swapped stands in it once."""
    for old, new in changes.values():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_the_recipe_to_copy_trains_adapters_and_saves_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plain = bnb.nn.Linear4bit.__init__

    def without_rearranging(self, *args, **kwargs):  # what the note beside the recipe says of some CPUs
        plain(self, *args, **kwargs)
        self.support_avx512bf16_for_cpu = False

    monkeypatch.setattr(bnb.nn.Linear4bit, "__init__", without_rearranging)
    text = swapped(
        recipe(),
        model=('"mistralai/Mistral-7B-v0.1"', repr(str(models.mini_path()))),
        steps=("max_steps=200", "max_steps=3, report_to=[], logging_strategy='no'"),
        batch=("per_device_train_batch_size=16", "per_device_train_batch_size=2"),
        optimizer=('"paged_adamw_8bit"', '"adamw_torch"'),
    )
    scope: dict = {}
    exec(compile(text, "recipe", "exec"), scope)
    row, end = scope["data"][0], scope["tokenizer"].eos_token_id
    learned = [label for label in row["labels"] if label != -100]
    assert learned[-1] == row["input_ids"][-1] == end and row["labels"].count(-100) == len(row["labels"]) - len(learned)
    assert scope["tokenizer"].decode(learned[:-1]).strip() == "Clocks."
    shared, tokenizer = finetune.questions(60)[0], finetune.make_chat_ready(scope["tokenizer"]) or scope["tokenizer"]
    for pair in shared:  # the tokens and labels that the course gives them
        assert scope["encode"](pair.question, pair.answer) == finetune.encode(tokenizer, pair)
    saved = safetensors.torch.load_file(tmp_path / "out" / "adapter" / "adapter_model.safetensors")
    up = [tensor for name, tensor in saved.items() if "lora_B" in name]
    assert len(up) == 42 and all(tensor.abs().max() > 0 for tensor in up)  # each began with zeros
    layers = models.linear_layers(scope["model"])
    assert all(layer.weight.dtype == torch.uint8 for layer in layers.values() if hasattr(layer, "quant_state"))


def test_the_recipe_to_copy_is_the_notebooks_own():
    """Its settings are those of the notebook's parameters."""
    text = recipe()
    (parameters,) = [cell.source for cell in CELLS if "parameters" in cell.metadata.get("tags", [])]
    values: dict = {}
    exec(parameters, values)
    assert f"max_steps={values['MAX_STEPS']}," in text and f"r={values['RANK']}, lora_alpha={values['RANK']}," in text
    assert f"per_device_train_batch_size={values['BATCH']}," in text
    assert float(re.search(r"learning_rate=([\d.e-]+)", text)[1]) == pytest.approx(values["LEARNING_RATE"])
