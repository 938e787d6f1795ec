"""levers: the same loss and gradient as without them, against autograd; what a CPU cannot do says so."""

import shutil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import finetune, levers, models
from helpers.errors import CourseError


@pytest.fixture(scope="module")
def rows():
    _, tokenizer = models.load("mini", "nf4-dq", "float32", device="cpu")
    pairs, _ = finetune.questions(8)
    data = [finetune.encode(tokenizer, pair) for pair in pairs]
    pad = torch.nn.utils.rnn.pad_sequence
    columns = (("input_ids", tokenizer.pad_token_id), ("labels", -100))
    return {name: pad([torch.tensor(row[name]) for row in data], True, value) for name, value in columns}


def adapted(recipe, scheme="nf4-dq"):
    """A peft model in training mode whose B is not zero, so that every gradient has something to say."""
    model = finetune.add_adapters(models.load("mini", scheme, "float32", device="cpu")[0], recipe).train()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.02, generator=generator)
    return model


def stepped(recipe, rows, scheme="nf4-dq"):
    model = adapted(recipe, scheme)
    loss = model(**rows).loss
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("scheme", ["nf4-dq", "fp32"])
@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("change", [{"fused": True}, {"chunked": True}, {"fused": True, "chunked": True}])
def test_levers_give_the_gradient_of_the_plain_recipe(rows, change, checkpointing, scheme):
    plain, gradients = stepped(finetune.Recipe(alpha=32, checkpointing=checkpointing), rows, scheme)
    loss, found = stepped(finetune.Recipe(alpha=32, checkpointing=checkpointing, **change), rows, scheme)
    assert loss == pytest.approx(plain, rel=1e-6)
    assert set(found) == set(gradients)
    for name, gradient in gradients.items():
        # float32 sums in another order; seen: 3e-5 of the norm
        assert ((found[name] - gradient).norm() / gradient.norm()).item() < 3e-4, name


def test_a_fused_layer_reads_its_weight_anew_and_is_peft_s_own_without_adapter(rows):
    model = adapted(finetune.Recipe())
    plain = model(**rows).logits
    assert levers.fuse_adapters(model) == 42
    assert torch.allclose(model(**rows).logits, plain, atol=2e-4, rtol=1e-4)
    with model.disable_adapter(), torch.no_grad():
        base = model(**rows).logits
    assert not torch.allclose(base, plain, atol=1e-2)
    assert torch.equal(base, models.load("mini", "nf4-dq", "float32", device="cpu")[0](**rows).logits.detach())


def test_checkpointing_stops_before_the_last_product_of_a_fused_layer(rows, monkeypatch):
    seen, dense = [], levers.dense
    monkeypatch.setattr(levers, "dense", lambda layer, dtype: seen.append(layer) or dense(layer, dtype))
    model = adapted(finetune.Recipe(fused=True))
    model(**rows).loss.backward()
    layers = models.linear_layers(model.base_model.model)
    down = [layer for name, layer in layers.items() if "down_proj" in name]
    counts = {id(layer): sum(other is layer for other in seen) for layer in seen}
    # forward, again for the gradient of what comes before, and the gradient itself; the layer's last product only twice
    assert {counts[id(layer)] for layer in down} == {2}
    assert sorted(set(counts.values())) == [2, 3] and len(counts) == 42


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**31), st.floats(0, 0.9), st.sampled_from([None, 1.0, 7.0])
)
def test_the_loss_in_pieces_is_cross_entropy(tokens, rows, seed, masked, count):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, 16, generator=generator, dtype=torch.float64).float().requires_grad_()
    head = torch.randn(33, 16, generator=generator)
    labels = torch.randint(0, 33, (tokens,), generator=generator)
    labels[1:] = labels[1:].masked_fill(torch.rand(tokens - 1, generator=generator) < masked, -100)
    weight = torch.tensor(count) if count else (labels != -100).sum()
    wide = hidden.detach().double().requires_grad_()
    truth = torch.nn.functional.cross_entropy(wide @ head.double().T, labels, reduction="sum") / weight
    truth.backward()
    loss = levers.ChunkedLoss.apply(hidden, head, labels, weight, rows)
    (3 * loss).backward()
    assert loss.item() == pytest.approx(truth.item(), rel=1e-5, abs=1e-6)
    exact = 3 * wide.grad
    assert (hidden.grad.double() - exact).norm() <= 1e-5 * exact.norm()
    # an element near zero may be a difference of large ones: float32 is off by a share of those
    assert torch.allclose(hidden.grad.double(), exact, rtol=1e-3, atol=1e-6 * max(1, exact.abs().max().item()))


def trained(**changes):
    """The model and the losses of three steps by Trainer, all in float32: in 16 bits a last bit soon grows."""
    recipe = finetune.Recipe(steps=3, batch=4, length=64, learning_rate=1e-4, compute_dtype="float32", **changes)
    model, tokenizer = models.load("mini", "nf4-dq", "float32", device="cpu")
    model, losses = finetune.train(model, tokenizer, finetune.questions(12)[0], recipe)
    return model, losses


def test_adapters_in_one_tensor_train_as_they_do_apart(tmp_path):
    apart, losses = trained()
    one, same = trained(one_tensor=True)
    assert same == pytest.approx(losses, rel=1e-6)
    weights = {name: p for name, p in apart.named_parameters() if p.requires_grad}
    storages = set()
    for name, p in one.named_parameters():
        if p.requires_grad:
            storages.add(p.untyped_storage().data_ptr())
            moved = (weights[name] - p).abs().max()
            # the norm that clips is summed in another order, and a step is 1e-4
            assert moved < 2e-6, name
            assert (p != 0).any(), name
    assert len(storages) == 1
    one.save_pretrained(tmp_path)  # views of one tensor are saved each by itself
    loaded = finetune.load_adapter(models.load("mini", "nf4-dq", "float32", device="cpu")[0], tmp_path)
    state = {name: p for name, p in loaded.named_parameters() if "lora_" in name}
    assert all(torch.equal(state[name], p) for name, p in one.named_parameters() if "lora_" in name)


def test_a_run_with_one_tensor_goes_on_from_its_checkpoint(tmp_path):
    recipe = finetune.Recipe(steps=4, batch=4, length=64, learning_rate=1e-4, compute_dtype="float32", one_tensor=True)
    found = []
    for resume in (False, True):
        if resume:  # as if the run had ended after its second step
            shutil.rmtree(tmp_path / "runs" / "checkpoint-4")
        model, tokenizer = models.load("mini", "nf4-dq", "float32", device="cpu")
        kept = {"checkpoints": tmp_path / "runs", "save_steps": 2, "resume": resume}
        model, losses = finetune.train(model, tokenizer, finetune.questions(16)[0], recipe, **kept)
        found.append((losses, {name: p for name, p in model.named_parameters() if "lora_" in name}))
    (losses, weights), (again, resumed) = found
    assert again == losses and all(torch.equal(weights[name], p) for name, p in resumed.items())


def test_logits_come_back_where_there_are_no_labels(rows):
    model = adapted(finetune.Recipe(chunked=True))
    with torch.no_grad():
        assert model(**rows).logits is None
        assert model(input_ids=rows["input_ids"]).logits.shape == (*rows["input_ids"].shape, 2048)


@pytest.mark.parametrize(
    "act, says",
    [
        (lambda: levers.Offload(), "leave it off"),
        (lambda: levers.GraphedStep(torch.nn.Linear(2, 2)), "leave graph off"),
        (lambda: levers.use_liger(adapted(finetune.Recipe())), "liger"),
        (lambda: levers.fuse_adapters(torch.nn.Linear(2, 2)), "no LoRA layers"),
        (lambda: levers.fuse_adapters(adapted(finetune.Recipe(dropout=0.1))), "dropout"),
        (lambda: levers.chunk_loss(models.load("mini", "fp32", device="cpu")[0]), "frozen"),
        (lambda: levers.OneTensor(torch.nn.Linear(2, 2)), "multiples of 256"),
        (lambda: levers.OneTensor(torch.nn.Linear(2, 2).requires_grad_(False)), "leave one_tensor off"),
    ],
)
def test_what_cannot_be_pulled_says_so(act, says):
    if torch.cuda.is_available() and says in ("leave it off", "leave graph off"):
        pytest.skip("this machine has a GPU")
    with pytest.raises(CourseError, match=says):
        act()
