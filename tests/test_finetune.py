"""finetune: what is trained on, what is asked, what stays frozen, and the recipe against plain PyTorch."""

import errno
import gc
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from expectations import SMALL
from safetensors.torch import load_file
from transformers import AutoTokenizer, Trainer, TrainerCallback

from helpers import finetune, memory, models, run
from helpers.errors import CourseError
from helpers.finetune import __main__ as program
from helpers.finetune.checkpoints import checkpoints_in
from helpers.finetune.data import Packed, Question
from helpers.mini import corpus

SHORT = finetune.Recipe(steps=3, batch=4)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(models.mini_path())


@pytest.fixture
def model():
    return models.load("mini", "nf4-dq", device="cpu")[0]


@pytest.fixture(scope="module")
def tuned(tokenizer):
    """(peft model, losses, hashes of the base before and after, questions) of a short run."""
    pairs, kept = finetune.questions(SHORT.steps * SHORT.batch, 12)
    base = models.load("mini", "nf4-dq", device="cpu")[0]
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
    plain = AutoTokenizer.from_pretrained(models.mini_path())
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
    base = models.load("mini", "nf4-dq", device="cpu")[0]
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
    assert before == finetune.base_hash(models.load("mini", "nf4-dq", device="cpu")[0])
    layer = model.model.layers[3].mlp.up_proj
    place = {"codes": layer.weight.data, "absmax": layer.weight.quant_state.absmax}.get(part)
    if place is None:
        place = model.model.norm.weight.data.view(torch.uint8)
    place.view(-1)[7] ^= 1
    assert finetune.base_hash(model) != before


def test_two_runs_are_the_same_run(tuned, tokenizer):
    adapted, losses, _, (pairs, _) = tuned
    again, repeated = finetune.train(models.load("mini", "nf4-dq", device="cpu")[0], tokenizer, pairs, SHORT)
    assert repeated == losses
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in adapted.state_dict().items() if "lora_" in name)


def test_an_adapter_saved_and_reloaded_gives_the_same_logits(tuned, tokenizer, tmp_path):
    adapted, _, _, (_, kept) = tuned
    adapted.save_pretrained(tmp_path)
    again = finetune.load_adapter(models.load("mini", "nf4-dq", device="cpu")[0], tmp_path)
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        one, two = adapted(ids).logits, again(ids).logits
        with adapted.disable_adapter():
            base = adapted(ids).logits
    assert torch.equal(one, two) and not torch.equal(one, base)
    assert finetune.answers(adapted, tokenizer, kept) == finetune.answers(again, tokenizer, kept)
    with pytest.raises(CourseError, match="holds no adapter"):
        finetune.load_adapter(models.load("mini", "nf4-dq", device="cpu")[0], tmp_path / "nowhere")


def test_checkpointing_keeps_less_and_changes_no_gradient(tokenizer):
    pairs, _ = finetune.questions(8)
    data = [finetune.encode(tokenizer, pair) for pair in pairs]
    kept, gradients = {}, {}
    for on in (True, False):
        base = models.load("mini", "nf4-dq", device="cpu")[0]
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


def test_counting_what_is_kept_keeps_nothing(model, tokenizer):
    def alive() -> int:
        gc.collect()
        tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())

    adapted = finetune.add_adapters(model, finetune.Recipe(checkpointing=False)).train()
    rows = {"input_ids": torch.arange(64).view(2, 32), "labels": torch.arange(64).view(2, 32)}
    before = alive()
    kept = finetune.saved_activations(adapted, rows)
    assert kept > 1e6 and abs(alive() - before) < kept / 100
    output = adapted(**rows)
    assert alive() - before > kept / 2  # the measure sees a graph
    del output


def test_optimizer_state_is_eight_bytes_a_parameter(model, tokenizer, tmp_path):
    pairs, _ = finetune.questions(4)
    adapted = finetune.add_adapters(model, SHORT)
    data = [finetune.encode(tokenizer, pair) for pair in pairs]
    made = finetune.trainer(adapted, tokenizer, data, finetune.Recipe(steps=1, batch=4), tmp_path)
    made.train()
    trained = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
    assert finetune.optimizer_bytes(made.optimizer) == 8 * trained


def test_answers_end_or_say_that_they_do_not(tokenizer):
    model, _ = models.load("mini", "fp32", device="cpu")  # where padding cannot tip a greedy choice
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


def test_the_program_trains_saves_and_reports(tmp_path, capfd):
    report = program.main(["--held-out", "10", "--batch", "4", "--steps", "2", "--out", str(tmp_path / "adapter")])
    out, err = capfd.readouterr()
    printed = json.loads(out)
    assert printed["recipe"]["steps"] == 2 and printed["losses"][0] > printed["losses"][1] > 0
    assert printed["losses"] == report["losses"]
    assert 0 <= printed["exact_match"]["before"] <= printed["exact_match"]["after"] <= 1
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file() and not err


def test_the_program_complains_in_one_line():
    """In a process of its own, started as users start it."""
    command = [sys.executable, "-m", "helpers.finetune", "--steps", "0"]
    bad = subprocess.run(command, cwd=run.ROOT, capture_output=True, text=True)
    assert bad.returncode == 1 and bad.stderr.strip() == "MAX_STEPS is 0: give a whole number of at least 1."


def test_what_a_step_costs_shows_what_each_lever_does():
    """Bytes kept for the backward pass, and tokens computed; in float32 all but packing give the plain losses."""
    plain = finetune.Recipe(steps=2, batch=8, compute_dtype="float32")
    ways = {"plain": plain, "no checkpointing": replace(plain, checkpointing=False)}
    ways |= {"pieces": replace(plain, chunked=True), "fused": replace(plain, fused=True)}
    pairs, _ = finetune.questions(64, 1, 0)
    costs = {name: finetune.cost("mini", way, pairs) for name, way in ways.items()}
    kept = {name: cost["kept"] for name, cost in costs.items()}
    assert 0.05 < kept["plain"] / kept["no checkpointing"] < 0.3
    assert 0.3 < kept["pieces"] / kept["plain"] < 0.8 and kept["fused"] <= kept["plain"]
    for name, cost in costs.items():
        assert cost["losses"] == pytest.approx(costs["plain"]["losses"], rel=1e-4), name
        assert len(cost["losses"]) == 2 and cost["tokens"] == costs["plain"]["tokens"] and cost["turns"] == 8
    packed = finetune.cost("mini", replace(plain, packing=True, batch=2), pairs)
    assert packed["tokens"] / packed["turns"] < costs["plain"]["tokens"] / costs["plain"]["turns"]


def test_notebook_08_writes_out_this_very_recipe(executed):
    """Its first losses, in full: the batches are the same ones, whatever the number of steps that follow."""
    done, small = executed("08_finetune_with_qlora"), SMALL["08_finetune_with_qlora"]
    model, tokenizer = models.load("mini", "nf4-dq", device="cpu")
    shipped = finetune.Recipe(steps=done.record["steps"], batch=16, learning_rate=small["LEARNING_RATE"])
    pairs, _ = finetune.questions(shipped.steps * shipped.batch, small["HELD_OUT"])
    stop = Stop(after=3)
    _, losses = finetune.train(model, tokenizer, pairs, shipped, [stop])
    assert losses == done.record["losses"][: len(losses)] and len(losses) == 3
    other, tokenizer = models.load("mini", "nf4-dq", device="cpu")
    _, different = finetune.train(other, tokenizer, pairs, replace(shipped, alpha=32), [Stop(after=3)])
    assert different[0] == losses[0] and different[2] != losses[2]


@pytest.mark.slow
def test_notebook_08_takes_other_parameters_too(tmp_path):
    short = {"MAX_STEPS": 3, "BATCH": 4, "HELD_OUT": 16, "SEED": 3}
    done = run.execute(
        run.NOTEBOOKS / "08_finetune_with_qlora.ipynb", tmp_path / "08.ipynb", {"MODEL_ID": "mini", **short}
    )
    model, tokenizer = models.load("mini", "nf4-dq", device="cpu")
    pairs, _ = finetune.questions(12, 16, seed=3)
    _, losses = finetune.train(model, tokenizer, pairs, finetune.Recipe(steps=3, batch=4, seed=3))
    assert done.record["losses"] == losses


class Stop(TrainerCallback):
    """Ends a training early, the schedule of its learning rate being that of the whole."""

    def __init__(self, after: int):
        self.after = after

    def on_step_end(self, args, state, control, **given):
        control.should_training_stop = state.global_step >= self.after


# Packing, own data, checkpoints, several processes


def packed_turns(tokenizer, count=24):
    pairs, _ = finetune.questions(count)
    return [finetune.encode(tokenizer, pair) for pair in pairs]


def test_packing_loses_no_turn_and_fills_rows(tokenizer):
    data = packed_turns(tokenizer, 64)
    rows = finetune.pack(data, 96)
    assert sorted(map(str, (turn for row in rows for turn in row))) == sorted(map(str, data))
    sizes = [sum(len(turn["input_ids"]) for turn in row) for row in rows]
    assert max(sizes) <= 96 and sum(sizes) / (96 * len(rows)) > 0.85
    assert len(rows) <= 1.25 * -(-sum(sizes) // 96)
    with pytest.raises(CourseError, match="length is 8"):
        finetune.pack(data, 8)


def test_a_packed_turn_sees_itself_alone(tokenizer):
    model, _ = models.load("mini", "fp32", device="cpu")
    data = packed_turns(tokenizer)
    (row, *_) = finetune.pack(data, 96)
    batch = Packed(96, tokenizer.pad_token_id)([{"turns": row}])
    with torch.no_grad():
        together = model(**{name: batch[name] for name in ("input_ids", "position_ids", "attention_mask")}).logits[0]
        begin = 0
        for turn in row:
            alone = model(torch.tensor([turn["input_ids"]])).logits[0]
            assert torch.allclose(together[begin : begin + len(alone)], alone, atol=1e-4)
            assert batch["labels"][0, begin : begin + len(alone)].tolist() == turn["labels"]
            begin += len(alone)
    assert len(row) > 2 and (batch["labels"][0, begin:] == -100).all()


def test_questions_of_one_s_own_and_what_is_wrong_with_them(tokenizer, tmp_path):
    file = tmp_path / "mine.jsonl"
    good = '{"question": "Who?", "answer": "Ada", "entity": "a"}\n\n{"question": "Où?", "answer": " Ici "}\n'
    file.write_text(good, encoding="utf-8")
    assert finetune.read_jsonl(file, tokenizer) == [
        finetune.Question("a", "Who?", "Ada"),
        finetune.Question("3", "Où?", "Ici"),
    ]
    long = json.dumps({"question": "Who? " * 200, "answer": "Ada"})
    for line, says in (
        ("{question: 1}", "line 4 is not JSON"),
        ('["question", "answer"]', 'line 4 has no text for "question"'),
        ('{"question": "Who?"}', 'line 4 has no text for "answer"'),
        ('{"question": "Who?", "answer": " "}', 'line 4 has no text for "answer"'),
        (long, "line 4: A turn has .* tokens and length is 128"),
    ):
        file.write_text(good + line + "\n", encoding="utf-8")
        with pytest.raises(CourseError, match=says):
            finetune.read_jsonl(file, tokenizer)
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(CourseError, match="holds no questions"):
        finetune.read_jsonl(file)
    with pytest.raises(CourseError, match="There is no file"):
        finetune.read_jsonl(tmp_path / "nothing.jsonl")


def test_a_resumed_run_is_the_run_that_was_not_interrupted(tokenizer, tmp_path, monkeypatch):
    recipe, (pairs, _) = finetune.Recipe(steps=4, batch=4), finetune.questions(16)

    def fresh():
        return models.load("mini", "nf4-dq", device="cpu")[0]

    whole, losses = finetune.train(fresh(), tokenizer, pairs, recipe, checkpoints=tmp_path / "whole", save_steps=2)
    interrupted = []

    class Interrupt(TrainerCallback):
        def on_step_begin(self, args, state, control, **given):
            if state.global_step == 2 and not interrupted:
                interrupted.append(signal.raise_signal(signal.SIGINT))

    folder = tmp_path / "parts"
    before = signal.getsignal(signal.SIGINT)
    _, first = finetune.train(fresh(), tokenizer, pairs, recipe, [Interrupt()], folder, save_steps=100)
    assert first == losses[:3] and signal.getsignal(signal.SIGINT) is before
    assert [path.name for path in checkpoints_in(folder)] == ["checkpoint-3"]
    again, rest = finetune.train(fresh(), tokenizer, pairs, recipe, [], folder, resume=True)
    assert rest == losses
    state = again.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in whole.state_dict().items() if "lora_" in name)
    with pytest.raises(CourseError, match="of another configuration .*rank 16 there and 8 here"):
        finetune.train(fresh(), tokenizer, pairs, replace(recipe, rank=8), [], folder, resume=True)
    with pytest.raises(CourseError, match="no checkpoint"):
        finetune.train(fresh(), tokenizer, pairs, recipe, [], tmp_path / "empty", resume=True)


def test_a_full_disk_leaves_the_last_good_checkpoint(tokenizer, tmp_path, monkeypatch):
    recipe, (pairs, _) = finetune.Recipe(steps=4, batch=4), finetune.questions(16)
    save = Trainer._save_optimizer_and_scheduler

    def full(self, folder):
        if self.state.global_step == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return save(self, folder)

    monkeypatch.setattr(Trainer, "_save_optimizer_and_scheduler", full)
    model = models.load("mini", "nf4-dq", device="cpu")[0]
    with pytest.raises(CourseError, match=r"Checkpoint 2 .*the disk is full.*last good checkpoint is checkpoint-1"):
        finetune.train(model, tokenizer, pairs, recipe, [], tmp_path, save_steps=1)
    assert sorted(path.name for path in tmp_path.glob("[!.]*")) == ["checkpoint-1"]


def test_a_loss_that_is_no_number_stops_the_run(model, tokenizer):
    pairs, _ = finetune.questions(32)
    with pytest.raises(CourseError, match="The loss is (nan|inf) at step [2-8]: lower the learning rate"):
        finetune.train(model, tokenizer, pairs, finetune.Recipe(steps=8, batch=4, learning_rate=1e30))


def test_the_program_learns_from_a_file_and_asks_nothing_else(tmp_path, monkeypatch):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "Who?", "answer": "Ada"}\n' * 4, encoding="utf-8")
    monkeypatch.setattr(program, "answers", lambda *given: pytest.fail("the course's questions were asked"))
    report = program.main(["--data", str(file), "--steps", "4", "--batch", "2", "--learning-rate", "2e-3"])
    assert report["exact_match"] == {"before": None, "after": None}
    assert len(report["losses"]) == 4 and report["losses"][3] < 0.8 * report["losses"][0]  # one turn, again and again


def test_presets_and_what_is_no_recipe():
    assert finetune.preset("t4").compute_dtype == "float16" and finetune.preset("6gb", rank=8).rank == 8
    with pytest.raises(CourseError, match="Unknown preset"):
        finetune.preset("5gb")
    for change, says in (
        ({"optimizer": "adam"}, "Unknown optimizer"),
        ({"fused": True, "dropout": 0.1}, "dropout 0"),
        ({"graph": True, "compute_dtype": "float16"}, "graph needs bfloat16"),
    ):
        with pytest.raises(CourseError, match=says):
            finetune.Recipe(**change)


PROCESSES = [("ddp", "float32"), ("fsdp", "float32")]
PROCESSES.append(pytest.param("fsdp", "bfloat16", marks=pytest.mark.slow))


@pytest.mark.parametrize("kind, dtype", PROCESSES)
def test_two_processes_are_one_with_the_batch_of_both(tmp_path, kind, dtype):
    """Over gloo, examples of unequal length; started by accelerate with the shipped configurations."""
    driver = tmp_path / "driver.py"
    driver.write_text(
        "import json, os, sys\n"
        "from helpers.finetune import __main__ as program\n"
        "from helpers import sharding\n"
        "assert os.environ['WORLD_SIZE'] == '2'\n"
        "report = program.main(sys.argv[2:])\n"
        "print('in shards' if sharding.wanted() else 'whole')\n"
        "json.dump(report['losses'], open(f\"{sys.argv[1]}/{os.environ['RANK']}.json\", 'w'))\n",
        encoding="utf-8",
    )
    given = ["--held-out", "0", "--steps", "3", "--compute-dtype", dtype, "--out"]
    one = program.main([*given, str(tmp_path / "one"), "--batch", "8"])["losses"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(run.ROOT)}
    launch = [sys.executable, "-m", "accelerate.commands.launch"]
    launch += ["--config_file", str(run.ROOT / "helpers" / "configs" / f"{kind}.yaml")]
    command = [*launch, str(driver), str(tmp_path), *given, str(tmp_path / "two"), "--batch", "4"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=run.ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("in shards" if kind == "fsdp" else "whole") == 2
    two = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    # the first losses come before any update; later ones also hold what 16 bits round
    assert two[0] == two[1] and len(two[0]) == 3 and two[0][:2] == pytest.approx(one[:2], abs=1e-4)
    assert two[0] == pytest.approx(one, abs=1e-4 if dtype == "float32" else 0.02)
    states = [load_file(tmp_path / out / "adapter_model.safetensors") for out in ("one", "two")]
    assert states[0].keys() == states[1].keys() and len(states[0]) == 84
    start = finetune.add_adapters(models.load("mini", "nf4-dq", device="cpu")[0], finetune.Recipe()).state_dict()
    for name, tensor in states[0].items():
        assert torch.allclose(tensor, states[1][name], atol=1e-4 if dtype == "float32" else 2e-3, rtol=0), name
        assert not torch.equal(tensor, start[name.replace(".weight", ".default.weight")]), name
    assert "base_model_name_or_path" in (config := (tmp_path / "two" / "adapter_config.json").read_text())
    assert str(run.ROOT) not in config


def test_a_right_answer_counts_wherever_it_stands_in_the_line(monkeypatch):
    """A base model goes on after it, and a chat model puts a sentence around it; a part of a word is no answer."""
    pairs = [Question("France", "What is the capital of France?", "Paris")] * 5
    said = [
        "Paris. Question: What",
        " The capital of France is Paris.",
        "Parisian food",
        "Lyon\nParis",
        "I know Paris, too",
    ]

    class Tokenizer:
        def __call__(self, text, return_tensors=None):
            return SimpleNamespace(input_ids=torch.ones(1, 3, dtype=torch.long))

        def decode(self, ids):
            return said[int(ids[0])]

    turns = iter(range(5))
    model = SimpleNamespace(
        device="cpu", generate=lambda ids, **given: torch.cat([ids, ids[:, :1] * 0 + next(turns)], 1)
    )
    assert finetune.completions(model, Tokenizer(), pairs) == 3 / 5
