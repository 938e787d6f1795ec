"""Merged weights against W + (α/r) B A by hand, files that are whole or not there, what may be published."""

import errno
import hashlib
import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import load_file, save_file

from helpers import adapters, files, finetune, layers, merge, models, nf4, publish, reload, run
from helpers.errors import CourseError

CHOICE = models.resolve("mini")
SOMEONE = "/" + "home/someone"  # in two pieces: a test looks for such paths in every file
RECIPE = finetune.Recipe(steps=1, batch=2, rank=4, alpha=8)


def four():
    return models.load(CHOICE, "nf4-dq", device="cpu")[0]


def merged(base, folder):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Merge lora module to 4-bit")
        return adapters.load_adapter(base, folder).merge_and_unload()


@pytest.fixture(scope="module")
def tokenizer():
    return models.load(CHOICE, "bf16", device="cpu")[1]


@pytest.fixture(scope="module")
def adapted():
    """An adapter with random B, as long as one that was trained: about 4% of the weights."""
    model = finetune.add_adapters(four(), RECIPE).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.015, generator=generator)
    return model


@pytest.fixture(scope="module")
def folder(adapted, tokenizer, tmp_path_factory):
    place = tmp_path_factory.mktemp("saved") / "adapter"
    publish.save(adapted, tokenizer, place, CHOICE)
    return place


@pytest.fixture(scope="module")
def by_hand(adapted):
    """Name of a layer → (dequantized W, W + (α/r) B A), float32; W by this course's own NF4 code."""
    found = {}
    for name, pair in adapters.adapted_layers(adapted).items():
        state = pair.base_layer.weight.quant_state
        A, B = pair.lora_A["default"].weight.detach(), pair.lora_B["default"].weight.detach()
        from bitsandbytes.functional import dequantize_blockwise

        absmax = dequantize_blockwise(state.absmax, state.state2) + state.offset
        packed = pair.base_layer.weight.data.view(-1)
        codes = torch.stack([packed >> 4, packed & 15], 1).view(-1)
        W = nf4.nf4_code()[codes.long()].view(-1, 64) * absmax.view(-1, 1)
        W = W.view(state.shape).bfloat16().float()  # bitsandbytes hands out the dtype that it quantized
        found[name] = W, W + 8 / 4 * B @ A
    return found


def test_merged_into_dequantized_is_the_sum_in_16_bits(adapted, folder, by_hand):
    model = merged(merge.dequantized(four()), folder)
    assert len(by_hand) == 42
    for name, (W, total) in by_hand.items():
        layer = model.get_submodule(name)
        assert type(layer) is torch.nn.Linear and layer.weight.dtype == torch.bfloat16
        assert torch.equal(layers.dense(adapters.adapted_layers(adapted)[name].base_layer), W)
        assert torch.equal(layer.weight, total.bfloat16())
        assert not torch.equal(layer.weight.float(), W)


def test_merged_into_4_bits_has_the_codes_of_the_sum(folder, by_hand):
    model, changed = merged(four(), folder), []
    for name, (W, total) in by_hand.items():
        packed, mine = model.get_submodule(name).weight.data.view(-1), nf4.quantize(total)
        assert torch.equal(packed, mine.codes.view(-1))
        changed.append((packed != nf4.quantize(W).codes.view(-1)).float().mean().item())
    assert 0.005 < sum(changed) / 42 < 0.2


def test_quantized_again_is_what_saving_and_loading_gives(folder, tokenizer, tmp_path):
    model = merged(merge.dequantized(four()), folder)
    publish.save(model, tokenizer, tmp_path / "sixteen", CHOICE)
    again = models.load(tmp_path / "sixteen", "nf4-dq", device="cpu")[0]
    assert finetune.base_hash(merge.requantized(model)) == finetune.base_hash(again)
    with pytest.raises(CourseError, match="quantized already"):
        merge.requantized(model)
    with pytest.raises(CourseError, match="int8 is no 4-bit scheme"):
        merge.requantized(four(), "int8")


def test_without_an_update_every_weight_goes_back_to_its_code():
    before, after = four(), merge.requantized(merge.dequantized(four()))
    for name, layer in models.linear_layers(before).items():
        assert torch.equal(layer.weight.data, after.get_submodule(name).weight.data), name
    assert not after.model.layers[0].mlp.up_proj.support_avx512bf16_for_cpu


def test_arrival_against_plain_arithmetic(adapted, folder, by_hand):
    found = {"exact": merge.arrival(adapted, SimpleNamespace(get_submodule=lambda name: _Dense(by_hand[name][1])))}
    found["none"] = merge.arrival(adapted, SimpleNamespace(get_submodule=lambda name: _Dense(by_hand[name][0])))
    assert found["exact"].share == pytest.approx(1, abs=1e-6) and found["exact"].noise < 1e-3
    assert found["none"].share == pytest.approx(0, abs=1e-6) and found["none"].codes is None
    rows = [{"input_ids": [5, 6, 7, 8]}, {"input_ids": [9, 10]}]
    for place, truth in ((1, (1, 0)), (0, (0, 0))):
        held = SimpleNamespace(get_submodule=lambda name, place=place: _Dense(by_hand[name][place]))
        assert merge.at_outputs(adapted, held, rows) == pytest.approx(truth, abs=2e-3)
    model = merged(four(), folder)
    change, update, weights, differing, codes = [], [], [], 0, 0
    for name, (W, total) in by_hand.items():
        one, two = nf4.quantize(W).codes.view(-1), model.get_submodule(name).weight.data.view(-1)
        differing += sum((a != b).sum().item() for a, b in ((one >> 4, two >> 4), (one & 15, two & 15)))
        codes += 2 * len(one)
        change.append((layers.dense(model.get_submodule(name)) - W).view(-1).double())
        update.append((total - W).view(-1).double())
        weights.append(W.view(-1).double())
    change, update, weights = torch.cat(change), torch.cat(update), torch.cat(weights)
    four_bits = merge.arrival(adapted, model)
    share = (change @ update / (update @ update)).item()
    assert 0.05 < share < 0.8
    assert four_bits.share == pytest.approx(share, rel=1e-4)
    assert four_bits.noise == pytest.approx(((change - share * update).norm() / update.norm()).item(), rel=1e-4)
    assert four_bits.codes == differing / codes
    assert four_bits.update == pytest.approx((update.norm() / weights.norm()).item(), rel=1e-4)
    lengths, shares = zip(*four_bits.layers.values(), strict=True)
    assert len(lengths) == 42 and min(shares) <= share <= max(shares) and min(lengths) < four_bits.update < max(lengths)


class _Dense:
    def __init__(self, weight):
        self.weight = weight


def test_reach_is_the_update_over_the_way_to_the_next_code():
    generator = torch.Generator().manual_seed(1)
    raw = torch.randn(50, 64, generator=generator)
    on_level = nf4.dequantize(nf4.quantize(raw)).view(50, 64)
    update = 0.1 * torch.randn(50, 64, generator=generator)
    update[raw.abs() == raw.abs().amax(1, keepdim=True)] = 0  # the absmax shall stay
    for start in (on_level, raw):
        crossed = merge.reach(on_level, start, update).view(50, 64) > 1
        same_absmax = (start + update).abs().amax(1) == start.abs().amax(1)
        before, after = _codes(start)[same_absmax], _codes(start + update)[same_absmax]
        assert len(before) > 20 and torch.equal(crossed[same_absmax], before != after)
        assert 0.02 < crossed.float().mean() < 0.5
    # by hand: from the level 0 of a block with absmax 2, up; the next level is 0.0795803
    block = torch.zeros(1, 64)
    block[0, 0] = 2.0
    step = torch.zeros(1, 64)
    step[0, 1], step[0, 0] = 0.0795803, 1.0
    found = merge.reach(block, block, step)
    assert found[1] == pytest.approx(1.0, rel=1e-5) and found[0] == 0 and found[2] == 0


def _codes(x):
    packed = nf4.quantize(x.contiguous()).codes.view(-1)
    return torch.stack([packed >> 4, packed & 15], 1).view(x.shape).long()


def test_answer_logs_are_those_of_one_row_at_a_time(tokenizer):
    model = models.load(CHOICE, "fp32", device="cpu")[0]  # where padding cannot change a digit that counts
    _, kept = finetune.questions(1, 9)
    rows = [finetune.encode(tokenizer, pair) for pair in kept]
    logs, targets = merge.answer_logs(model, rows, batch=4)
    at = 0
    for row in rows:
        with torch.inference_mode():
            alone = model(torch.tensor([row["input_ids"]])).logits[0].float().log_softmax(-1)
        for place, label in enumerate(row["labels"]):
            if label != -100:
                assert targets[at] == label
                assert torch.allclose(logs[at], alone[place - 1], atol=1e-3)
                at += 1
    assert at == len(logs) == len(targets) and logs.dtype == torch.float32


def test_a_new_process_gives_the_same_logits_and_files_have_the_forecast_size(adapted, folder, tokenizer, tmp_path):
    models_here = {
        "into 4 bits": merged(four(), folder),
        "into dequantized": merged(merge.dequantized(four()), folder),
    }
    asked = {"adapter": {"model_id": "mini", "scheme": "nf4-dq", "adapter": folder}}
    for name, scheme in (("into 4 bits", "nf4-dq"), ("into dequantized", "bf16")):
        publish.save(models_here[name], tokenizer, tmp_path / name, CHOICE)
        asked[name] = {"model_id": tmp_path / name, "scheme": scheme}
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    again = reload.reloaded(ids, asked)
    with torch.inference_mode():
        logits = {name: model(ids).logits for name, model in ({"adapter": adapted} | models_here).items()}
    assert all(torch.equal(logits[name], again[name]) for name in asked)
    assert not any(torch.equal(logits["adapter"], again[name]) for name in models_here)
    forecast = publish.forecast(adapted.config, RECIPE.rank)
    assert forecast["adapter"] == 4 * sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
    assert forecast["into dequantized"] == sum(p.nbytes for p in models_here["into dequantized"].parameters())
    for name, place in {"adapter": folder, **{name: tmp_path / name for name in models_here}}.items():
        size = publish.folder_bytes(place, "*.safetensors")
        assert forecast[name] < size < forecast[name] + 60_000, name  # the header names every tensor
    with pytest.raises(CourseError, match="new process could not load .* does not exist"):
        reload.reloaded(ids, {"no": {"model_id": str(tmp_path / "nothing"), "scheme": "bf16"}})
    assert publish.forecast(models.mistral_7b_config(), 16) == {
        "adapter": 4 * 41_943_040,
        "into 4 bits": 4_125_481_856,
        "into dequantized": 14_483_464_192,
    }


def change(folder, place, edit):
    """A copy of an adapter's folder whose tensors went through `edit`."""
    shutil.copytree(folder, place)
    file = place / "adapter_model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)
    return place


def test_an_adapter_for_another_model_gets_one_sentence(folder, tmp_path):
    name = "base_model.model.model.layers.2.mlp.up_proj.lora_A.weight"
    cases = {
        "wider": (
            lambda t: t.update({name: torch.zeros(4, 4096)}),
            "expects 4,096 inputs of .*2.mlp.up_proj, which has 256",
        ),
        "taller": (
            lambda t: t.update({name.replace("_A", "_B"): torch.zeros(14336, 4)}),
            "expects 14,336 outputs of .*2.mlp.up_proj, which has 768",
        ),
        "deeper": (
            lambda t: t.update({name.replace("layers.2", "layers.31"): t[name].clone()}),
            "this one has no layer model.layers.31.mlp.up_proj",
        ),
        "flatter": (
            lambda t: [t.pop(n) for n in list(t) if "layers.5" in n],
            r"nothing for 7 layers of this one \(first model.layers.5",
        ),
    }
    for case, (edit, says) in cases.items():
        other = change(folder, tmp_path / case, edit)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(CourseError, match=f"The adapter in {case} is for another model: .*{says}") as caught:
                adapters.load_adapter(four(), other)
        assert "\n" not in str(caught.value)
    with pytest.raises(CourseError, match="holds no adapter"):
        adapters.load_adapter(four(), tmp_path)
    torn = change(folder, tmp_path / "torn", lambda t: None)
    with (torn / "adapter_model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(CourseError, match="adapter_model.safetensors in .* is damaged"):
        adapters.load_adapter(four(), torn)


@pytest.mark.parametrize("what", ["adapter", "model"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("I/O error: No space left on device")]
)
def test_a_full_disk_leaves_no_half_file_and_keeps_the_earlier_one(
    adapted, tokenizer, tmp_path, monkeypatch, what, error
):
    model = adapted if what == "adapter" else models.load(CHOICE, "bf16", device="cpu")[0]
    place = tmp_path / "mine"

    def half(self, to, **given):
        Path(to).mkdir(parents=True)
        (Path(to) / "half.safetensors").write_bytes(b"x" * 1000)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(type(model), "save_pretrained", half)
        with pytest.raises(CourseError, match="The disk became full while mine was saved; nothing is left behind"):
            publish.save(model, tokenizer, place, CHOICE)
    assert not list(tmp_path.iterdir())
    size = publish.save(model, tokenizer, place, CHOICE)
    before = {file.name: file.read_bytes() for file in place.iterdir()}
    assert size == sum(map(len, before.values()))
    with monkeypatch.context() as patch:
        patch.setattr(type(model), "save_pretrained", half)
        with pytest.raises(CourseError, match="what was saved there before is kept: make room"):
            publish.save(model, tokenizer, place, CHOICE)
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before and list(tmp_path.iterdir()) == [place]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
        with pytest.raises(
            CourseError, match="mine takes .* GB and 1e-05 GB of disk are free; what was saved .* is kept"
        ):
            publish.save(model, tokenizer, place, CHOICE)
    publish.save(model, tokenizer, place, CHOICE)  # takes the place of the earlier one
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before and list(tmp_path.iterdir()) == [place]


def test_other_errors_are_not_called_a_full_disk(adapted, tokenizer, tmp_path, monkeypatch):
    def broken(self, to, **given):
        raise ValueError("no")

    monkeypatch.setattr(type(adapted), "save_pretrained", broken)
    with pytest.raises(ValueError, match="no"):
        publish.save(adapted, tokenizer, tmp_path / "mine", CHOICE)
    assert not list(tmp_path.iterdir())


def ready(folder, place):
    shutil.copytree(folder, place)
    (place / "README.md").write_text(
        publish.card(CHOICE, RECIPE, [{"way": "unmerged", "loss": 0.25}], "On 3 questions.")
    )
    return place


def test_the_dry_run_lists_what_the_hub_client_would_commit(folder, tmp_path, monkeypatch):
    place = ready(folder, tmp_path / "adapter")
    (place / ".cache" / "huggingface").mkdir(parents=True)
    (place / ".cache" / "huggingface" / "left.lock").write_text("")
    (place / ".git").mkdir()
    (place / ".git" / "config").write_text("")
    sent = []

    def commit(self, *given, operations, **named):
        sent.extend(operations)
        raise InterruptedError

    monkeypatch.setattr("huggingface_hub.hf_api.is_xet_available", lambda: False)  # one commit, which can be seen
    monkeypatch.setattr(HfApi, "_validate_yaml", lambda *given, **named: None)  # asks the hub about the card's header
    monkeypatch.setattr(HfApi, "create_commit", commit)
    with pytest.raises(InterruptedError):
        HfApi().upload_folder(repo_id="you/it", folder_path=place)
    listed = {row["file"]: row["bytes"] for row in publish.dry_run(place, "you/it")}
    assert listed == {op.path_in_repo: op.upload_info.size for op in sent}
    names = {"README.md", "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja"}
    assert set(listed) == names | {"tokenizer.json", "tokenizer_config.json", files.MADE}
    assert listed["adapter_model.safetensors"] == (folder / "adapter_model.safetensors").stat().st_size


@pytest.mark.parametrize(
    "name, text, says",
    [
        ("optimizer.pt", "x", "optimizer.pt is not for others"),
        ("training_args.bin", "x", "training_args.bin is not for others"),
        ("trainer_state.json", "{}", "trainer_state.json is not for others"),
        ("scheduler.pt", "x", "scheduler.pt is not for others"),
        ("checkpoint-3/rng_state.pth", "x", "rng_state.pth is not for others"),
        ("notes.md", "hf_" + 36 * "a", "notes.md holds what looks like an access token"),
        ("config.json", f'{{"_name_or_path": "{SOMEONE}/model"}}', "config.json holds a path of this machine"),
        ("notes.txt", f"at {Path.home()}/secret", "notes.txt holds a path of this machine"),
        ("notes.txt", f"base: {models.mini_path()}", "notes.txt holds a path of this machine"),
    ],
)
def test_what_is_not_for_others_is_refused(folder, tmp_path, name, text, says):
    place = ready(folder, tmp_path / "adapter")
    assert len(publish.dry_run(place, "you/it")) == 7
    (place / name).parent.mkdir(exist_ok=True)
    (place / name).write_text(text)
    with pytest.raises(CourseError, match=says):
        publish.dry_run(place, "you/it")


def test_notes_inside_safetensors_names_and_cards_are_looked_at(folder, tmp_path):
    place = ready(folder, tmp_path / "adapter")
    tensors = load_file(place / "adapter_model.safetensors")
    save_file(tensors, place / "adapter_model.safetensors", {"made in": SOMEONE})
    with pytest.raises(CourseError, match="adapter_model.safetensors holds a path of this machine"):
        publish.dry_run(place, "you/it")
    with pytest.raises(CourseError, match="'no/such/name' is no name for the hub"):
        publish.dry_run(place, "no/such/name")
    (place / "README.md").unlink()
    with pytest.raises(CourseError, match="has no README.md"):
        publish.dry_run(place, "you/it")


def test_peft_alone_would_publish_a_path_and_save_does_not(adapted, folder, tmp_path):
    adapted.save_pretrained(tmp_path / "raw")
    raw = json.loads((tmp_path / "raw" / "adapter_config.json").read_text())
    assert raw["base_model_name_or_path"] == str(models.mini_path())
    kept = json.loads((folder / "adapter_config.json").read_text())
    assert kept == raw | {"base_model_name_or_path": "mini"}
    assert (folder / "chat_template.jinja").is_file() and not (folder / "README.md").exists()


def test_the_card_is_one_that_the_hub_reads():
    rows = [{"way": "unmerged", "loss": 0.2567, "exact": "79%"}, {"way": "into 4 bits", "loss": 4.2, "exact": "0%"}]
    real = models.Choice("owner/base", "hub cache", "checkpoint", "")
    made = ModelCard(publish.card(real, RECIPE, rows, "On 200 questions."))
    assert made.data.base_model == "owner/base" and made.data.library_name == "peft" and "qlora" in made.data.tags
    assert (
        "| unmerged | 0.2567 | 79% |\n| into 4 bits | 4.2 | 0% |" in re.sub(" +", " ", made.text)
        and "On 200 questions." in made.text
    )
    assert 'from_pretrained("owner/base"' in made.text and "rank 4, alpha 8" in made.text
    # a seed of 0 is a seed; what is off, or left to the course, says nothing
    assert f"seed {RECIPE.seed}" in made.text and RECIPE.seed == 0 and "dropout 0.0" in made.text
    assert " auto" not in made.text and "False" not in made.text
    local = models.Choice(f"{SOMEONE}/models/mine", "local folder", "checkpoint", "")
    for choice in (CHOICE, local):
        card = publish.card(choice, RECIPE, rows, "")
        assert ModelCard(card).data.base_model is None and SOMEONE not in card
    assert "# Adapter for mine" in card and "FILL IN WHERE OTHERS GET IT" in card
    assert "https://huggingface.co/owner/base" in made.text
    weights = hashlib.sha256((models.mini_path() / "model.safetensors").read_bytes()).hexdigest()
    assert weights in publish.card(CHOICE, RECIPE, rows, "")


def test_the_new_process_complains_in_one_line():
    asked = json.dumps({"ids": [[1]], "which": {"x": {"model_id": "mini", "scheme": "nf5"}}, "out": "nowhere"})
    done = subprocess.run(
        [sys.executable, "-m", "helpers.reload"], input=asked, cwd=run.ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stderr.strip().startswith("Unknown scheme 'nf5'")
