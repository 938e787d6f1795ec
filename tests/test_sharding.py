"""A model in shards: two processes over gloo, against one that holds everything."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import finetune, models, run, sharding
from helpers.errors import CourseError
from helpers.finetune.checkpoints import checkpoints_in, resumable, write_recipe

SIZES = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "vocab_size": 2048, "max_position_embeddings": 128, "tie_word_embeddings": False}
RECIPE = {"steps": 1, "rank": 8, "compute_dtype": "float32"}


def launched(*command, config="fsdp", **changes):
    """Run two processes of a program over gloo, as the shipped configuration starts them."""
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(run.ROOT), "OMP_NUM_THREADS": "1"}
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", "0"]
    launch += ["--config_file", str(run.ROOT / "helpers" / "configs" / f"{config}.yaml")]
    done = subprocess.run([*launch, *command], env=environment | changes, capture_output=True, text=True, cwd=run.ROOT)
    return done.returncode, done.stdout + done.stderr


DRIVER = """
import json, os, sys
import torch
from safetensors.torch import save_file
from helpers import finetune, sharding
from helpers.errors import CourseError

out, recipe = sys.argv[1], finetune.Recipe(**json.loads(sys.argv[2]))
sharding.start()
report = {}
for name, place in json.loads(sys.argv[3]).items():
    os.environ["FSDP_OFFLOAD_PARAMS"] = str(name.endswith("host")).lower()
    try:
        model = sharding.build(place, recipe)
    except CourseError as error:
        report[name] = str(error)
        continue
    held = {n: p.to_local().numel() / p.numel() for n, p in model.named_parameters()}
    whole = {n: p.detach().full_tensor().clone() for n, p in model.named_parameters()}
    constants = {n: m.quant_state.absmax.clone() for n, m in model.named_modules() if hasattr(m, "quant_state")}
    ids = torch.arange(24).view(1, 24) + 5
    with torch.no_grad():
        whole["logits"] = model(input_ids=ids).logits
    if sharding.rank() == 0:
        save_file(whole, f"{out}/{name}.safetensors")
        save_file(constants, f"{out}/{name}-constants.safetensors")
    report[name] = [min(held.values()), max(held.values())]
    for n, p in model.named_parameters():
        if "lora_B" in n:
            with torch.no_grad():
                p.to_local().fill_(sharding.rank() + 1)
    adapters = sharding.gathered(model)
    if sharding.rank() == 0:
        model.save_pretrained(f"{out}/{name}-adapter", state_dict=adapters)
    torch.distributed.barrier()
    for n, p in model.named_parameters():
        if "lora_B" in n:
            with torch.no_grad():
                p.to_local().zero_()
    sharding.spread(model, f"{out}/{name}-adapter")
    same = [bool((p.to_local() == sharding.rank() + 1).all()) for n, p in model.named_parameters() if "lora_B" in n]
    report[name] += [sharding.rank(), len(same), all(same)]
with open(f"{out}/{sharding.rank()}.json", "w") as file:
    json.dump(report, file)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """What two processes made of a configuration's file, of a checkpoint in several files, and of broken ones."""
    folder = tmp_path_factory.mktemp("shards")
    config = {**models.config("mini").to_dict(), **SIZES, "head_dim": 16, "dtype": "float32"}
    (folder / "shape.json").write_text(json.dumps(config))
    whole = models.shape_model(models.config(str(folder / "shape.json")), "fp32", device="cpu", seed=3)
    whole.save_pretrained(folder / "stored", max_shard_size="500KB")
    models.tokenizer(models.resolve("mini")).save_pretrained(folder / "stored")
    tied = {**config, "tie_word_embeddings": True}
    (folder / "tied.json").write_text(json.dumps(tied))
    shared = models.shape_model(models.config(str(folder / "tied.json")), "fp32", device="cpu", seed=3)
    shared.save_pretrained(folder / "stored-tied")
    models.tokenizer(models.resolve("mini")).save_pretrained(folder / "stored-tied")
    whole.save_pretrained(folder / "lacking")
    state = load_file(folder / "lacking" / "model.safetensors")
    save_file({n: t for n, t in state.items() if "layers.1.mlp.up" not in n}, folder / "lacking" / "model.safetensors")
    (folder / "driver.py").write_text(DRIVER)
    places = {name: str(folder / name) for name in ("stored", "stored-tied", "lacking")}
    places |= {"shape": str(folder / "shape.json"), "tied": str(folder / "tied.json")}
    places |= {"shape-on-host": places["shape"], "tied-on-host": places["tied"]}
    given = [str(folder / "driver.py"), str(folder), json.dumps(RECIPE), json.dumps(places)]
    code, said = launched(*given)
    assert code == 0, said[-3000:]
    reports = [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]
    return folder, places, reports


MADE = ["shape", "stored", "tied", "stored-tied", "shape-on-host", "tied-on-host"]


@pytest.mark.parametrize("name", MADE)
def test_shards_together_are_the_model_of_one_process(built, name):
    folder, places, reports = built
    assert len(list((folder / "stored").glob("*.safetensors"))) > 1
    assert "lm_head.weight" not in load_file(folder / "stored-tied" / "model.safetensors")
    one, _ = models.load(places[name], "nf4-dq", "float32")
    quantized = [layer for layer in models.linear_layers(one).values() if hasattr(layer.weight, "quant_state")]
    adapted = finetune.add_adapters(one, finetune.Recipe(**RECIPE))
    there = load_file(folder / f"{name}.safetensors")
    constants = load_file(folder / f"{name}-constants.safetensors")
    assert len(constants) == len(quantized) == 3 * 7
    for n, parameter in adapted.named_parameters():
        # codes travel as numbers of the compute dtype, the same bytes
        mine = parameter.detach().reshape(-1).contiguous().view(torch.uint8)
        assert torch.equal(there[n].reshape(-1).view(torch.uint8), mine), n
    for n, m in adapted.named_modules():
        if n in constants:
            assert torch.equal(constants[n], m.weight.quant_state.absmax), n
    with torch.no_grad():
        logits = adapted(input_ids=torch.arange(24).view(1, 24) + 5).logits
    assert torch.allclose(there["logits"], logits, atol=1e-5)


@pytest.mark.parametrize("name", MADE)
def test_each_process_holds_its_half_and_adapters_come_back_to_where_they_were(built, name):
    _, _, reports = built
    for rank in (0, 1):
        least, most, number, tensors, same = reports[rank][name]
        assert (least, most, number) == (0.5, 0.5, rank)
        assert tensors == 3 * 7 and same


def test_a_checkpoint_that_lacks_a_tensor_is_refused_by_its_name(built):
    _, _, reports = built
    for report in reports:
        assert "lack the tensor model.layers.1.mlp.up_proj.weight" in report["lacking"]


def test_what_one_process_can_do_alone_is_refused():
    with pytest.raises(CourseError, match="int8 keeps its codes where FSDP"):
        sharding.build("mini", finetune.Recipe(), "int8")
    for lever in ("graph", "one_tensor", "compiled"):
        with pytest.raises(CourseError, match=f"{lever} is for a whole model"):
            sharding.build("mini", finetune.Recipe(**{lever: True}))


def test_more_processes_than_gpus_and_no_nccl_are_a_sentence_each(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(CourseError, match=r"1 GPU\(s\) for 2 processes"):
        sharding.start()
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: False)
    with pytest.raises(CourseError, match="without: use Linux"):
        sharding.start()


def test_a_checkpoint_of_other_processes_is_not_resumed(tmp_path, monkeypatch):
    recipe = finetune.Recipe()
    (tmp_path / "checkpoint-3").mkdir()
    monkeypatch.setenv("WORLD_SIZE", "2")
    write_recipe(tmp_path, 3, recipe)
    assert resumable(tmp_path, recipe).name == "checkpoint-3"
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(CourseError, match=r"made by 2 process\(es\), and this run has 4.*--num_processes 2"):
        resumable(tmp_path, recipe)


DYING = """
import os, sys
from transformers import TrainerCallback
from helpers import sharding
from helpers.finetune import __main__ as program, training

class Dies(TrainerCallback):
    def on_step_begin(self, args, state, control, **given):
        if state.global_step == 2 and sharding.rank() == 1 and "--resume" not in sys.argv:
            os._exit(7)

program._Line = Dies
trainer = training.trainer
training.trainer = lambda *given: trainer(*given[:5], [*given[5], Dies()], *given[6:])
program.main()
"""


def test_a_run_goes_on_after_one_of_its_processes_died(tmp_path):
    """The other one says so, its last checkpoint is whole, and resumed the run ends where one without a stop does."""
    (tmp_path / "dying.py").write_text(DYING)
    kept = tmp_path / "kept"
    given = ["--held-out", "0", "--steps", "3", "--batch", "2", "--length", "64", "--compute-dtype", "float32"]
    code, said = launched(str(tmp_path / "dying.py"), *given, "--checkpoints", str(kept))
    assert code != 0 and "Process 0 stops, since another one ended" in said
    assert "go on from checkpoint-2 with --resume" in said
    assert [path.name for path in checkpoints_in(kept)] == ["checkpoint-1", "checkpoint-2"]
    outs = [tmp_path / "resumed", tmp_path / "straight"]
    code, said = launched(
        str(tmp_path / "dying.py"), *given, "--checkpoints", str(kept), "--resume", "--out", str(outs[0])
    )
    assert code == 0, said[-2000:]
    code, said = launched("-m", "helpers.finetune", *given, "--out", str(outs[1]))
    assert code == 0, said[-2000:]
    resumed, straight = (load_file(out / "adapter_model.safetensors") for out in outs)
    assert resumed.keys() == straight.keys() and len(straight) == 84
    for name, tensor in straight.items():
        assert torch.allclose(resumed[name], tensor, atol=1e-6), name


FULL = """
from helpers.finetune import __main__ as program

save = program.publish.save

def on_a_full_disk(model, tokenizer, folder, *given):
    if folder.name == "full":
        raise OSError(28, "No space left on device")
    return save(model, tokenizer, folder, *given)

program.publish.save = on_a_full_disk
program.main()
"""


def test_what_was_trained_in_shards_is_kept_where_its_folder_is_full(tmp_path):
    """It is whole, in a new folder of the system's, which the message names."""
    (tmp_path / "full.py").write_text(FULL)
    given = ["--held-out", "0", "--steps", "1", "--batch", "2", "--length", "64", "--compute-dtype", "float32"]
    code, said = launched(str(tmp_path / "full.py"), *given, "--out", str(tmp_path / "full"), TMPDIR=str(tmp_path))
    (kept,) = tmp_path.glob("adapter-*")
    assert code != 0 and "No space left on device" in said and f"What was trained is in {kept}" in said
    assert len(load_file(kept / "adapter_model.safetensors")) == 84
