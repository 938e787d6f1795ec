"""finetune: what is trained on, what is asked, what stays frozen, and the recipe against plain PyTorch."""

import json
import math
import subprocess
import sys

import pytest
import torch
from transformers import AutoTokenizer

from helpers import finetune, memory, models, run
from helpers.embedded import corpus
from helpers.errors import CourseError

SHORT = finetune.Recipe(steps=3, batch=4)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(models.embedded_path())


@pytest.fixture
def model():
    return models.load("embedded", "nf4-dq", device="cpu")[0]


@pytest.fixture(scope="module")
def tuned(tokenizer):
    """(peft model, losses, hashes of the base before and after, questions) of a short run."""
    pairs, kept = finetune.questions(SHORT.steps * SHORT.batch, 12)
    base = models.load("embedded", "nf4-dq", device="cpu")[0]
    before = finetune.base_hash(base)
    adapted, losses = finetune.train(base, tokenizer, pairs, SHORT)
    return adapted, losses, (before, finetune.base_hash(adapted)), (pairs, kept)


def test_no_entity_is_in_both_lists_and_both_are_varied():
    pairs, kept = finetune.questions(3000, 200)
    assert len(pairs) == 3000 and len(kept) == 200
    assert not {pair.entity for pair in pairs} & {pair.entity for pair in kept}
    assert len({pair.entity for pair in kept}) == 200
    people = {person[0].subject for person in corpus.people()}
    for part in (pairs, kept):
        assert 0.5 < sum(pair.entity in people for pair in part) / len(part) < 0.7
    facts = {
        (f.subject, f.answer) for group in (corpus.people(), *corpus.world_facts().values()) for e in group for f in e
    }
    assert {(pair.entity, pair.answer) for pair in [*pairs, *kept]} <= facts
    world, held = finetune.questions(500, 60, register=False)
    assert not {pair.entity for pair in [*world, *held]} & people
    assert finetune.questions(50) == finetune.questions(50) != finetune.questions(50, seed=1)


def test_only_answer_and_end_token_are_learned(tokenizer):
    pair = finetune.Question("Ada Ashby", "Where does Ada Ashby live?", "Foxmouth")
    found = finetune.encode(tokenizer, pair)
    assert tokenizer.decode(found["input_ids"]) == "<s>[INST] Where does Ada Ashby live? [/INST] Foxmouth</s>"
    assert found["input_ids"].count(tokenizer.bos_token_id) == 1
    learned = [label for label in found["labels"] if label != -100]
    assert tokenizer.decode(learned) == " Foxmouth</s>"
    assert found["labels"][-len(learned) :] == found["input_ids"][-len(learned) :]
    assert len(found["labels"]) == len(found["input_ids"])
    with pytest.raises(CourseError, match=f"has {len(found['labels'])} tokens and length is 8"):
        finetune.encode(tokenizer, pair, length=8)


def test_a_tokenizer_without_template_is_refused(tokenizer):
    plain = AutoTokenizer.from_pretrained(models.embedded_path())
    plain.chat_template = None
    with pytest.raises(CourseError, match="no chat template"):
        finetune.encode(plain, finetune.Question("a", "b?", "c"))


def test_padding_is_masked_and_the_end_token_is_not(model, tokenizer, tmp_path):
    pairs, _ = finetune.questions(8)
    data = [finetune.encode(tokenizer, pair) for pair in pairs]
    made = finetune.trainer(finetune.add_adapters(model, SHORT), tokenizer, data, SHORT, tmp_path)
    batch = made.data_collator([dict(row) for row in data])
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    for row, ids, labels, mask in zip(data, batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
        n = len(row["input_ids"])
        assert ids[:n].tolist() == row["input_ids"] and labels[:n].tolist() == row["labels"]
        assert labels[n - 1] == tokenizer.eos_token_id and mask.sum() == n
        assert (labels[n:] == -100).all() and (ids[n:] == tokenizer.pad_token_id).all()


def test_adapters_are_on_every_linear_layer_and_alone_trained(model):
    layers = models.linear_layers(model)
    adapted = finetune.add_adapters(model, finetune.Recipe(rank=8))
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    expected = sum(8 * (layer.in_features + layer.out_features) for layer in layers.values())
    assert sum(p.numel() for p in trained.values()) == expected
    assert all("lora_" in name and p.dtype == torch.float32 for name, p in trained.items())
    assert len(trained) == 2 * len(layers)
    assert adapted.get_input_embeddings().weight.dtype == torch.bfloat16
    assert memory.measure(adapted).parts["adapters"] == 4 * expected


def test_the_first_loss_is_plain_cross_entropy_on_answers(tuned, tokenizer, tmp_path):
    _, losses, _, (pairs, _) = tuned
    base = models.load("embedded", "nf4-dq", device="cpu")[0]
    data = [finetune.encode(tokenizer, pair) for pair in pairs]
    made = finetune.trainer(finetune.add_adapters(base, SHORT), tokenizer, data, SHORT, tmp_path)
    rows = next(iter(made.get_train_dataloader()))["input_ids"].tolist()
    nats, tokens = 0.0, 0
    for ids in rows:
        row = next(row for row in data if row["input_ids"] == ids[: len(row["input_ids"])] and ids.count(2) == 1)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            logs = torch.log_softmax(base(torch.tensor([row["input_ids"]])).logits[0].float(), -1)
        for i, label in enumerate(row["labels"]):
            if label != -100:
                nats, tokens = nats - logs[i - 1, label].item(), tokens + 1
    assert len(losses) == SHORT.steps and all(math.isfinite(loss) for loss in losses)
    assert losses[0] == pytest.approx(nats / tokens, rel=0.01)


def test_the_base_does_not_change_and_the_adapters_do(tuned):
    adapted, losses, (before, after), _ = tuned
    assert before == after
    moved = [p for name, p in adapted.named_parameters() if "lora_B" in name]
    assert all(p.abs().sum() > 0 for p in moved)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("part", ["codes", "absmax", "norm"])
def test_the_hash_sees_one_changed_byte(model, part):
    before = finetune.base_hash(model)
    assert before == finetune.base_hash(models.load("embedded", "nf4-dq", device="cpu")[0])
    layer = model.model.layers[3].mlp.up_proj
    place = {"codes": layer.weight.data, "absmax": layer.weight.quant_state.absmax}.get(part)
    if place is None:
        place = model.model.norm.weight.data.view(torch.uint8)
    place.view(-1)[7] ^= 1
    assert finetune.base_hash(model) != before


def test_two_runs_are_the_same_run(tuned, tokenizer):
    adapted, losses, _, (pairs, _) = tuned
    again, repeated = finetune.train(models.load("embedded", "nf4-dq", device="cpu")[0], tokenizer, pairs, SHORT)
    assert repeated == losses
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in adapted.state_dict().items() if "lora_" in name)


def test_an_adapter_saved_and_reloaded_gives_the_same_logits(tuned, tokenizer, tmp_path):
    adapted, _, _, (_, kept) = tuned
    adapted.save_pretrained(tmp_path)
    again = finetune.load_adapter(models.load("embedded", "nf4-dq", device="cpu")[0], tmp_path)
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        one, two = adapted(ids).logits, again(ids).logits
        with adapted.disable_adapter():
            base = adapted(ids).logits
    assert torch.equal(one, two) and not torch.equal(one, base)
    assert finetune.answers(adapted, tokenizer, kept) == finetune.answers(again, tokenizer, kept)
    with pytest.raises(CourseError, match="holds no adapter"):
        finetune.load_adapter(models.load("embedded", "nf4-dq", device="cpu")[0], tmp_path / "nowhere")


def test_checkpointing_keeps_less_and_changes_no_gradient(tokenizer):
    pairs, _ = finetune.questions(8)
    data = [finetune.encode(tokenizer, pair) for pair in pairs]
    kept, gradients = {}, {}
    for on in (True, False):
        base = models.load("embedded", "nf4-dq", device="cpu")[0]
        adapted = finetune.add_adapters(base, finetune.Recipe(checkpointing=on)).train()
        rows = {
            name: torch.nn.utils.rnn.pad_sequence([torch.tensor(r[name]) for r in data], True, value)
            for name, value in (("input_ids", 0), ("labels", -100))
        }
        kept[on] = finetune.saved_activations(adapted, rows)
        adapted(**rows).loss.backward()
        gradients[on] = {name: p.grad for name, p in adapted.named_parameters() if p.requires_grad}
    assert 0.02 < kept[True] / kept[False] < 0.5
    for name, gradient in gradients[False].items():
        assert torch.equal(gradient, gradients[True][name]), name


def test_optimizer_state_is_eight_bytes_a_parameter(model, tokenizer, tmp_path):
    pairs, _ = finetune.questions(4)
    adapted = finetune.add_adapters(model, SHORT)
    data = [finetune.encode(tokenizer, pair) for pair in pairs]
    made = finetune.trainer(adapted, tokenizer, data, finetune.Recipe(steps=1, batch=4), tmp_path)
    made.train()
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert finetune.optimizer_bytes(made.optimizer) == 8 * trained


def test_answers_end_or_say_that_they_do_not(tokenizer):
    model, _ = models.load("embedded", "fp32", device="cpu")  # where padding cannot tip a greedy choice
    _, kept = finetune.questions(1, 30)
    found = finetune.answers(model, tokenizer, kept, batch=7)
    assert len(found) == 30 and all(text.endswith("…") for text in found)  # a base model does not stop
    assert finetune.exact_match(found, kept) == 0
    assert finetune.exact_match([kept[0].answer, "no"], kept[:1] * 2) == 0.5
    assert finetune.answers(model, tokenizer, kept, batch=30) == found
    with pytest.raises(CourseError, match="1 answers to 2 questions"):
        finetune.exact_match(["no"], kept[:2])


@pytest.mark.parametrize(
    "change, says",
    [
        ({"steps": 0}, "MAX_STEPS is 0"),
        ({"steps": 2.5}, "MAX_STEPS is 2.5"),
        ({"batch": -1}, "batch is -1"),
        ({"rank": 0}, "rank is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(change, says):
    with pytest.raises(CourseError, match=says):
        finetune.Recipe(**change)


def test_the_program_trains_saves_and_complains_in_one_line(tmp_path):
    command = [sys.executable, "-m", "helpers.finetune", "--held-out", "10", "--batch", "4"]
    good = subprocess.run(
        [*command, "--steps", "2", "--out", tmp_path / "adapter"], cwd=run.ROOT, capture_output=True, text=True
    )
    assert good.returncode == 0, good.stderr[-2000:]
    report = json.loads(good.stdout)
    assert report["recipe"]["steps"] == 2 and report["losses"][0] > report["losses"][1] > 0
    assert 0 <= report["exact_match"]["before"] <= report["exact_match"]["after"] <= 1
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file() and not good.stderr
    bad = subprocess.run([*command, "--steps", "0"], cwd=run.ROOT, capture_output=True, text=True)
    assert bad.returncode == 1 and bad.stderr.strip() == "MAX_STEPS is 0: give a whole number of at least 1."


def test_notebook_08_writes_out_this_very_recipe(tmp_path):
    short = {"MAX_STEPS": 3, "BATCH": 4, "HELD_OUT": 16, "SEED": 3}
    done = run.execute(
        run.NOTEBOOKS / "08_finetune_with_qlora.ipynb", tmp_path / "08.ipynb", {"MODEL_ID": "embedded", **short}
    )
    model, tokenizer = models.load("embedded", "nf4-dq", device="cpu")
    pairs, _ = finetune.questions(12, 16, seed=3)
    _, losses = finetune.train(model, tokenizer, pairs, finetune.Recipe(steps=3, batch=4, seed=3))
    assert done.record["losses"] == losses
    other, tokenizer = models.load("embedded", "nf4-dq", device="cpu")
    _, different = finetune.train(other, tokenizer, pairs, finetune.Recipe(steps=3, batch=4, seed=3, alpha=32))
    assert different[0] == losses[0] and different[2] != losses[2]
