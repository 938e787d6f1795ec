"""Models that the course did not make: each lever equals the plain step or refuses, and the rest holds for all."""

import json
from dataclasses import replace

import families
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import finetune, layers, levers, memory, merge, models, nf4, publish, quality, reload, run
from helpers.errors import CourseError
from helpers.padding import padded

RECIPE = finetune.Recipe(steps=2, batch=4, length=96, rank=4, alpha=8, compute_dtype="float32")
# what cannot be equal has to say so; everything else has to be equal
UNQUANTIZED = {"falcon"}  # its layers are of a class of their own, which transformers does not replace
REFUSED = {
    "chunked": {"phi"},  # its head has a bias
    "packing": {"mistral, window", "gemma2", "gemma3", "bloom", "mpt"},  # windows; positions counted from the mask
    "merge": {"gpt2"},  # Conv1D
}


@pytest.fixture(scope="module", params=[name for name in families.FAMILIES if name not in UNQUANTIZED])
def family(request, tmp_path_factory):
    """(name, choice) of a tiny checkpoint on the disk."""
    folder = families.checkpoint(request.param, tmp_path_factory.mktemp("family"))
    return request.param, models.resolve(str(folder))


def adapted(choice, recipe):
    """A model in training, its B not zero, so that every gradient has something to say."""
    model, tokenizer = models.load(choice, "nf4-dq", "float32", device="cpu")
    finetune.make_chat_ready(tokenizer)
    model = finetune.add_adapters(model, recipe).train()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.1, generator=generator)
    return model, tokenizer


def turns(tokenizer):
    return [finetune.encode(tokenizer, pair, 96) for pair in families.PAIRS[:4]]


def batch(tokenizer):
    rows = turns(tokenizer)
    ids, mask = padded([row["input_ids"] for row in rows], tokenizer.pad_token_id)
    return {"input_ids": ids, "attention_mask": mask, "labels": padded([row["labels"] for row in rows], -100)[0]}


def step(choice, recipe):
    model, tokenizer = adapted(choice, recipe)
    loss = model(**batch(tokenizer)).loss
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def refused(lever: str, family: str, act):
    """The outcome of `act`; None where the family is one of those that have to refuse, with a sentence."""
    if family not in REFUSED[lever]:
        return act()
    with pytest.raises(CourseError, match=r"\.$"):
        act()
    return None


def test_loss_and_gradients_are_those_of_the_plain_step(family):
    name, choice = family
    plain, gradients = step(choice, RECIPE)
    assert all(gradient is not None for gradient in gradients.values())
    for lever in ("chunked", "fused"):
        act = lambda lever=lever: step(choice, replace(RECIPE, **{lever: True}))  # noqa: E731
        if not (outcome := refused(lever, name, act) if lever in REFUSED else act()):
            continue
        assert outcome[0] == pytest.approx(plain, rel=1e-5), lever
        for parameter, gradient in gradients.items():
            off = (outcome[1][parameter] - gradient).norm() / gradient.norm().clamp(min=1e-12)
            assert off < 1e-3, (lever, parameter)


def test_a_packed_turn_is_read_as_alone(family, tmp_path):
    name, choice = family
    model, tokenizer = adapted(choice, RECIPE)
    rows, recipe = turns(tokenizer), replace(RECIPE, packing=True)
    made = refused("packing", name, lambda: finetune.trainer(model, tokenizer, rows, recipe, tmp_path))
    if made is None:
        return
    model.eval()
    for row in finetune.pack(rows, 96):
        assert len(row) > 1
        columns = made.data_collator([{"turns": row}])
        with torch.no_grad():
            packed = model(**{key: value for key, value in columns.items() if key != "labels"}).logits[0]
            begin = 0
            for turn in row:
                alone = model(torch.tensor([turn["input_ids"]])).logits[0]
                torch.testing.assert_close(packed[begin : begin + len(alone)], alone, atol=1e-3, rtol=1e-3)
                begin += len(alone)


def test_every_scheme_loads_and_weighs_what_was_forecast(family):
    _, choice = family
    config = models.config(choice)
    for scheme in ("bf16", "int8", "fp4", "nf4", "nf4-dq"):
        model, _ = models.load(choice, scheme, device="cpu")
        counted, forecast = memory.measure(model), memory.predict(config, scheme)
        assert counted.weight_bytes == forecast.weight_bytes, scheme
        for layer in models.linear_layers(model).values() if scheme == "nf4-dq" else ():
            assert torch.isfinite(layers.dense(layer)).all()


def test_the_cache_is_as_large_as_was_forecast(family):
    _, choice = family
    model, config = models.load(choice, "bf16", device="cpu")[0], models.config(choice)
    for tokens in (1, 40):  # a window is full after 16
        with torch.no_grad():
            cache = model(torch.ones(1, tokens, dtype=torch.long), use_cache=True).past_key_values
        held = sum(t.numel() * t.element_size() for layer in cache.layers for t in (layer.keys, layer.values))
        assert held <= memory.forecast.kv_bytes(config, tokens, torch.bfloat16) <= 1.1 * held
        windows = {getattr(layer, "sliding_window", None) for layer in cache.layers} - {None}
        if not windows:
            assert held == memory.forecast.kv_bytes(config, tokens, torch.bfloat16)


def test_four_bits_are_the_ones_that_nf4_makes(family):
    name, choice = family
    four, plain = (models.load(choice, scheme, device="cpu")[0] for scheme in ("nf4-dq", "bf16"))
    for where, layer in models.linear_layers(four).items():
        weight = plain.get_submodule(where).weight
        weight = weight.T if name == "gpt2" else weight  # Conv1D
        by_hand = nf4.dequantize(nf4.quantize(weight.contiguous(), double_quant=True)).float()
        # the mean of the constants is summed in another order: its last bit, and so here and there one of bfloat16
        assert (layers.dense(layer) - by_hand).norm() < 3e-3 * by_hand.norm(), where


def test_an_adapter_comes_back_and_answers(family, tmp_path):
    """Trained, saved, loaded onto a fresh base, asked, merged where that can be said, and read in a new process."""
    name, choice = family
    model, tokenizer = models.load(choice, "nf4-dq", "float32", device="cpu")
    finetune.make_chat_ready(tokenizer)
    model, losses = finetune.train(model, tokenizer, families.PAIRS, RECIPE)
    assert all(torch.isfinite(torch.tensor(losses))) and len(losses) == 2
    publish.save(model, tokenizer, tmp_path / "adapter", choice)
    ids = batch(tokenizer)["input_ids"][:1]
    fresh = models.load(choice, "nf4-dq", "float32", device="cpu")[0]
    again = finetune.load_adapter(fresh, tmp_path / "adapter")
    with torch.no_grad():
        logits = model(ids).logits
        assert torch.equal(again(ids).logits, logits)
    assert len(finetune.answers(again, tokenizer, families.PAIRS[:2])) == 2
    base = models.load(choice, "nf4-dq", device="cpu")[0]
    refused("merge", name, lambda: merge.dequantized(base))


def test_rounding_weights_changes_them_or_refuses(family):
    name, choice = family
    model = models.load(choice, "bf16", device="cpu")[0]
    before = {where: layer.weight.clone() for where, layer in models.linear_layers(model).items()}
    if refused("merge", name, lambda: quality.round_weights(model, 4)) is None:
        return
    assert before
    for where, layer in models.linear_layers(model).items():
        assert not torch.equal(layer.weight, before[where]), where


def test_a_model_of_which_nothing_is_quantized_is_refused_but_in_16_bits(tmp_path):
    choice = models.resolve(str(families.checkpoint("falcon", tmp_path)))
    for scheme in ("int8", "nf4", "nf4-dq"):
        with pytest.raises(CourseError, match="would be the same 16 bits"):
            models.load(choice, scheme, device="cpu")
    assert models.load(choice, "bf16", device="cpu")[0].num_parameters() > 0


def test_what_stays_in_16_bits_is_said(tmp_path, capsys):
    models.load(str(families.checkpoint("mixtral", tmp_path)), "nf4-dq", device="cpu")
    assert "86% of its inner weights stay in 16 bits" in capsys.readouterr().out
    models.load("mini", "nf4-dq", device="cpu")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("trouble", ["a scale", "a cap", "a bias on logits", "another loss"])
def test_pieces_of_another_loss_are_refused(trouble, tmp_path):
    """Whatever a family of tomorrow does to its logits: the lever is tried on a few tokens before it is pulled."""
    choice = models.resolve(str(families.checkpoint("llama", tmp_path)))
    model = models.load(choice, "nf4-dq", "float32", device="cpu")[0]
    model.requires_grad_(False)
    forward = model.forward

    def other(*args, labels=None, **kwargs):
        out = forward(*args, labels=labels, **kwargs)
        if trouble == "a scale":
            out.logits = out.logits * 1.05
        elif trouble == "a cap":
            out.logits = 5 * torch.tanh(out.logits / 5)
        elif trouble == "a bias on logits":
            out.logits = out.logits + torch.arange(out.logits.shape[-1]) / 100
        elif labels is not None:
            out.loss = out.loss + 0.5  # as a balance of experts
        return out

    model.forward = other
    with pytest.raises(CourseError, match="leave chunked off"):
        levers.chunk_loss(model)
    assert model.forward is other


def test_a_neighbor_that_is_seen_is_refused(tmp_path):
    """A mask that lets a turn see the one before it: no family's mistake, but what packing has to be tried for."""
    choice = models.resolve(str(families.checkpoint("llama", tmp_path)))
    model, tokenizer = adapted(choice, RECIPE)
    decoder = model.get_base_model().base_model
    forward = decoder.forward
    # without places, too: where they begin anew, transformers finds the turns by itself
    decoder.forward = lambda *args, attention_mask=None, position_ids=None, **kwargs: forward(*args, **kwargs)
    with pytest.raises(CourseError, match="leave packing off"):
        finetune.trainer(model, tokenizer, turns(tokenizer), replace(RECIPE, packing=True), tmp_path / "run")


@pytest.mark.parametrize("listed", [True, False])
def test_every_token_that_ends_a_turn_counts(listed, tmp_path):
    """Gemma's turns end in <end_of_turn>, its tokenizer's end token is <eos>; listed in generation_config or not."""
    folder = families.checkpoint("gemma3", tmp_path, spread=0.05)
    settings = json.loads((folder / "generation_config.json").read_text())
    model, tokenizer = models.load(str(folder), "nf4-dq", device="cpu")
    end = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    if listed:
        settings["eos_token_id"] = [tokenizer.eos_token_id, end]
        (folder / "generation_config.json").write_text(json.dumps(settings))
        model, tokenizer = models.load(str(folder), "nf4-dq", device="cpu")
    assert end in finetune.end_ids(model, tokenizer) and tokenizer.eos_token_id in finetune.end_ids(model, tokenizer)
    recipe = finetune.Recipe(steps=60, batch=8, length=96, learning_rate=1e-2)
    model, _ = finetune.train(model, tokenizer, families.PAIRS, replace(recipe, batch=4))
    pairs = families.PAIRS[:4]
    assert finetune.exact_match(finetune.answers(model, tokenizer, pairs), pairs) == 1.0


def test_a_turn_is_learned_from_where_the_answer_is_due_up_to_its_end():
    pair = families.PAIRS[0]
    for kind, end in (("chatml", "<|im_end|>"), ("gemma", "<end_of_turn>"), ("plain", "<|endoftext|>")):
        tokenizer = families.tokenizer(kind)
        finetune.make_chat_ready(tokenizer)
        encoded = finetune.encode(tokenizer, pair)
        learned = tokenizer.decode([label for label in encoded["labels"] if label != -100])
        assert learned.strip() == f"Paris{end}", kind
        asked = [{"role": "user", "content": pair.question}]
        prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
        assert tokenizer.decode(encoded["input_ids"][: encoded["labels"].count(-100)]) == prompt, kind


@pytest.mark.parametrize("kind, end", [("chatml", "<|im_end|>"), ("gemma", "<end_of_turn>")])
@pytest.mark.parametrize("answer", ["end", "im", "of", "turn", "model", "user", "assistant"])
def test_an_answer_that_stands_in_the_template_is_not_mistaken_for_it(kind, end, answer):
    tokenizer = families.tokenizer(kind)
    encoded = finetune.encode(tokenizer, finetune.Question("a", "What ends?", answer))
    assert tokenizer.decode([label for label in encoded["labels"] if label != -100]) == f"{answer}{end}"


def test_what_a_template_puts_before_an_answer_is_no_part_of_it(tmp_path):
    thought = "{% if m['role'] == 'assistant' %}(no)\n{% endif %}"
    tokenizer = families.tokenizer("chatml")
    tokenizer.chat_template = families.CHATML.replace("{{ m['content'] }}", thought + "{{ m['content'] }}")
    around = finetune.frame(tokenizer, families.PAIRS[0].question)
    assert around.prompt.endswith("assistant\n") and around.head == "(no)\n"
    choice = models.resolve(str(families.checkpoint("llama", tmp_path, spread=0.05)))
    model = models.load(choice, "nf4-dq", device="cpu")[0]
    recipe = finetune.Recipe(steps=60, batch=4, length=96, learning_rate=1e-2)
    model, _ = finetune.train(model, tokenizer, families.PAIRS, recipe)
    pairs = families.PAIRS[:4]
    assert finetune.answers(model, tokenizer, pairs) == [pair.answer for pair in pairs]


def test_a_padding_token_that_the_model_does_not_know_is_a_sentence(tmp_path):
    choice = models.resolve(str(families.checkpoint("llama", tmp_path)))
    model, tokenizer = models.load(choice, "nf4-dq", device="cpu")
    tokenizer.add_tokens([f"<new {i}>" for i in range(200)])
    tokenizer.pad_token = "<new 199>"
    for act in (
        lambda: finetune.answers(model, tokenizer, families.PAIRS[:1]),
        lambda: finetune.train(model, tokenizer, families.PAIRS, RECIPE),
    ):
        with pytest.raises(CourseError, match="embeddings for 0 to 511"):
            act()


def test_a_saved_4_bit_model_computes_in_the_dtype_that_is_asked_for(tmp_path):
    choice = models.resolve(str(families.checkpoint("llama", tmp_path)))
    model, tokenizer = models.load(choice, "nf4-dq", device="cpu")
    model.save_pretrained(tmp_path / "four")
    tokenizer.save_pretrained(tmp_path / "four")
    for name, dtype in (("float16", torch.float16), ("float32", torch.float32), ("auto", torch.bfloat16)):
        again = models.load(str(tmp_path / "four"), "nf4-dq", name, device="cpu")[0]
        assert {layer.compute_dtype for layer in models.linear_layers(again).values()} == {dtype}
        assert again.get_input_embeddings().weight.dtype == dtype


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_other_people_s_quantization_is_one_true_sentence(method, tmp_path):
    folder = families.checkpoint("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CourseError, match=f"quantized by {method}, which the course does not load"):
        models.load(str(folder), "nf4-dq", device="cpu")


def test_an_adapter_s_folder_is_no_model(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CourseError, match="holds an adapter, which is no model by itself"):
        models.resolve(str(tmp_path))


def test_an_adapter_of_other_sizes_is_refused_for_experts_too(tmp_path):
    choice = models.resolve(str(families.checkpoint("mixtral", tmp_path)))
    model, tokenizer = adapted(choice, RECIPE)
    publish.save(model, tokenizer, tmp_path / "adapter", choice)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    state = load_file(file)
    name = next(name for name in state if "experts.lora_A" in name)
    save_file(state | {name: torch.zeros(state[name].shape[0], 7)}, file, {"format": "pt"})
    with pytest.raises(CourseError, match="is for another model"):
        finetune.load_adapter(models.load(choice, "nf4-dq", device="cpu")[0], tmp_path / "adapter")


def test_a_target_that_is_no_layer_is_named(tmp_path):
    model = models.load("mini", "nf4-dq", device="cpu")[0]
    with pytest.raises(CourseError, match="finds no layer qq_proj"):
        finetune.add_adapters(model, replace(RECIPE, target_modules="q_proj,qq_proj"))


def test_a_new_process_finds_a_folder_by_its_name_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(families.checkpoint("llama", tmp_path).parent)
    ids = torch.arange(3, 10)[None]
    logits = reload.reloaded(ids, {"mine": {"model_id": "./llama", "scheme": "bf16"}})["mine"]
    with torch.inference_mode():
        assert torch.equal(logits, models.load("./llama", "bf16")[0](ids.to("cpu")).logits.cpu())


@pytest.mark.parametrize(
    "written, says",
    [
        ('{"question": "a\u2028b?", "answer": "c\u0085"}\n'.encode(), None),
        (b'{"question": "a?", "answer": "b"}\r\n\r\n{"question": "c?", "answer": "d"}', None),
        ('{"question": "a?", "answer": "b"}'.encode("utf-16"), "is in UTF-16, as PowerShell"),
        (b'{"question": "a?", "answer": "b"}\n{"question": "caf\xe9?", "answer": "b"}', "line 2 is not UTF-8"),
    ],
)
def test_a_file_s_encoding_and_ends_of_lines(tmp_path, written, says):
    file = tmp_path / "mine.jsonl"
    file.write_bytes(written)
    if says:
        with pytest.raises(CourseError, match=says):
            finetune.read_jsonl(file)
    else:
        assert finetune.read_jsonl(file)[0].answer in ("c", "b")


ANY_MODEL = {  # notebook → parameters that keep a run of it short
    "01_round_to_fewer_bits": {},
    "04_load_a_model_in_4_bits": {},
    "05_measure_memory": {"CONTEXT": 64, "NEW_TOKENS": 8},
    "06_generate_and_time": {"BATCHES": [1, 2], "PROMPT_LENGTHS": [16], "NEW_TOKENS": 4, "REPEATS": 3}
    | {"SECONDS_EACH": 0.0, "ANSWER_TOKENS": 6},
    "07_measure_quality": {"TEXTS": 8, "QUESTIONS": 12, "WINDOWS": [4, 16]},
    "08_finetune_with_qlora": {"MAX_STEPS": 6, "HELD_OUT": 6, "BATCH": 4},
    "09_merge_and_share": {"MAX_STEPS": 4, "HELD_OUT": 6, "BATCH": 4},
    "10_judge_the_claims": {"TEXTS": 8, "QUESTIONS": 12, "NEW_TOKENS": 4, "STEPS": 2},
    "11_make_it_fast": {},
    "12_finetune_for_less": {"OVERFIT_STEPS": 3, "COST_STEPS": 2},
    "15_inside_the_kernel": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("notebook", ANY_MODEL)
def test_a_notebook_takes_any_model(notebook, tmp_path):
    """One without a BOS token, with other names of layers and fewer positions than Mini-Mistral."""
    folder = families.checkpoint("qwen2", tmp_path, max_position_embeddings=400)
    parameters = {"MODEL_ID": str(folder), **ANY_MODEL[notebook]}
    done = run.execute(run.NOTEBOOKS / f"{notebook}.ipynb", tmp_path / f"{notebook}.ipynb", parameters)
    assert done.record["model_id"] == str(folder) or notebook == "01_round_to_fewer_bits"
