"""The fast line, `decoding.generate`: the tokens of `model.generate`, greedy or drawn, one prompt or several."""

import gc
import weakref

import pytest
import torch

from helpers import decoding, models
from helpers.errors import CourseError

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PROMPTS = ["The capital of Norway is", "A town in", "The river that flows through the capital of France is the", "Oslo"]


@pytest.fixture(scope="module")
def mini():
    return models.load("mini", "fp32", device=DEVICE)


def theirs(model, tokenizer, text, new_tokens, **options):
    """What transformers writes for one prompt, without its end."""
    ids = tokenizer(text, return_tensors="pt").input_ids.to(DEVICE)
    given = {"do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(ids)} | options
    out = model.generate(ids, max_new_tokens=new_tokens, **given)
    return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)


def test_greedy_text_is_that_of_generate_alone_and_in_a_batch(mini):
    model, tokenizer = mini
    expected = [theirs(model, tokenizer, text, 24) for text in PROMPTS]
    assert [decoding.generate(model, tokenizer, text, 24) for text in PROMPTS] == expected
    assert decoding.generate(model, tokenizer, PROMPTS, 24) == expected  # of different lengths, padded at the left
    assert len(set(expected)) == 4 and all(expected)


def test_each_row_ends_by_itself(mini):
    """The end token is none of the text, and a row that goes on does not change the one that has ended."""
    model, tokenizer = mini
    full = [decoding.generate(model, tokenizer, text, 24) for text in PROMPTS]
    second = tokenizer(full[1], add_special_tokens=False).input_ids
    before, model.generation_config.eos_token_id = model.generation_config.eos_token_id, second[5]
    try:
        expected = [theirs(model, tokenizer, text, 24, eos_token_id=second[5]) for text in PROMPTS]
        found = decoding.generate(model, tokenizer, PROMPTS, 24)
    finally:
        model.generation_config.eos_token_id = before
    end = tokenizer.decode([second[5]])
    assert found == [text.removesuffix(end) for text in expected] and found[1] == tokenizer.decode(second[:5])


def test_pieces_of_a_stream_are_the_text(mini):
    model, tokenizer = mini
    pieces = []
    text = decoding.generate(model, tokenizer, PROMPTS[0], 24, stream=pieces.append)
    assert "".join(pieces) == text and len(pieces) > 10


def test_a_character_of_several_tokens_is_streamed_whole():
    class Bytes:
        def decode(self, ids, **options):
            return bytes(ids).decode(errors="replace")

    shown = []
    pieces = decoding.Pieces(Bytes(), shown.append, ends=(0,))
    for byte in ("aé€b".encode()) + b"\x00x":
        pieces([byte])
    pieces.flush()
    assert shown == ["a", "é", "€", "b"]
    pieces = decoding.Pieces(Bytes(), shown.append, ends=())
    pieces([0xE2])
    pieces.flush()
    assert shown[-1] == "\ufffd"  # what is left is not lost


@pytest.mark.parametrize("top_k, top_p", [(0, 1.0), (5, 1.0), (0, 0.8), (7, 0.6), (1, 1.0), (0, 1e-6), (100, 1.0)])
def test_what_is_kept_for_drawing_is_what_transformers_keeps(top_k, top_p):
    from transformers.generation.logits_process import TopKLogitsWarper, TopPLogitsWarper

    scores = 3 * torch.randn(16, 50, generator=torch.Generator().manual_seed(4))
    wanted = TopKLogitsWarper(top_k)(None, scores) if top_k else scores
    wanted = TopPLogitsWarper(top_p)(None, wanted) if top_p < 1 else wanted
    ordered, ids = decoding.kept(scores, top_k, top_p)
    back = torch.full_like(scores, float("-inf")).scatter(1, ids, ordered)
    assert torch.equal(back, wanted)
    tensors = decoding.kept(scores, torch.tensor([top_k]), torch.tensor([top_p]))
    assert torch.equal(tensors[0], ordered)


def test_tokens_are_drawn_with_their_probabilities(mini):
    model, tokenizer = mini
    ids = tokenizer("The", return_tensors="pt").input_ids.to(DEVICE).expand(4000, -1)
    decoder = decoding.StaticDecoder(model, ids[:1], 4, sampled=True)
    decoder.temperature.fill_(1.3)
    decoder.top_k.fill_(8)
    decoder.random.manual_seed(0)
    logits = model(ids[:1]).logits[0, -1].float() / 1.3
    best = logits.topk(8)
    drawn = decoder.chosen((logits * 1.3).expand(4000, -1))[:, 0]
    counts = torch.stack([(drawn == one).sum() for one in best.indices])
    expected = 4000 * best.values.softmax(-1)
    assert counts.sum() == 4000  # nothing else is drawn
    chi_squared = ((counts - expected) ** 2 / expected).sum().item()
    assert 0 < chi_squared < 24.3  # 7 degrees of freedom: more by chance once in a thousand


def test_a_seed_decides_what_is_drawn_and_nothing_else_is_touched(mini):
    model, tokenizer = mini
    given = {"max_new_tokens": 12, "temperature": 1.5, "top_p": 0.95}
    state = torch.get_rng_state()
    one, same, other = (decoding.generate(model, tokenizer, PROMPTS[0], **given, seed=seed) for seed in (1, 1, 2))
    assert one == same != other and torch.equal(torch.get_rng_state(), state)
    cold = decoding.generate(model, tokenizer, PROMPTS[0], 12, temperature=1e-4)
    assert cold == decoding.generate(model, tokenizer, PROMPTS[0], 12)


def test_a_decoder_is_used_again_until_it_is_too_small_or_out_of_date(mini, monkeypatch):
    model, tokenizer = mini
    monkeypatch.setattr(decoding, "ROOM", 64)
    decoding.forget(model)
    first = decoding.generate(model, tokenizer, PROMPTS[0], 8)

    def decoder():
        return decoding.made[model][1, False][0]

    kept, place = decoder(), decoder().cache.layers[0].keys.data_ptr()
    decoding.generate(model, tokenizer, PROMPTS[2], 30)
    assert decoder() is kept and kept.cache.layers[0].keys.data_ptr() == place
    assert decoding.generate(model, tokenizer, PROMPTS[0], 8) == first
    long = tokenizer.decode(tokenizer(PROMPTS[0]).input_ids[1:] * 20)
    decoding.generate(model, tokenizer, long, 8)
    assert decoder() is not kept and decoder().cache_length > kept.cache_length
    kept, layer = decoder(), model.model.layers[0].mlp.up_proj
    layer.weight.data = layer.weight.data.clone()  # a captured step would read where it was
    decoding.generate(model, tokenizer, PROMPTS[0], 8)
    assert decoder() is not kept
    decoding.forget(model)
    assert model not in decoding.made


def test_a_model_that_was_generated_with_can_be_deleted():
    model, tokenizer = models.load("mini", "fp32", device=DEVICE)
    assert decoding.generate(model, tokenizer, PROMPTS[0], 4) == decoding.generate(model, tokenizer, PROMPTS[0], 4)
    alive, before = weakref.ref(model), len(decoding.made)
    del model
    gc.collect()
    assert alive() is None and len(decoding.made) == before - 1


def test_an_adapter_that_is_switched_off_is_seen(mini):
    import peft

    model = models.load("mini", "fp32", device=DEVICE)[0]
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    before = decoding.state_of(adapted)
    with adapted.disable_adapter():
        assert decoding.state_of(adapted) != before
    assert decoding.state_of(adapted) == before
    adapted.merge_adapter()
    assert decoding.state_of(adapted) != before


def test_beyond_the_sliding_window_it_is_transformers(mini, monkeypatch):
    model, tokenizer = mini
    window = model.config.sliding_window
    try:
        model.config.sliding_window = 16
        expected = [theirs(model, tokenizer, text, 24) for text in PROMPTS]
        pieces = []
        assert decoding.generate(model, tokenizer, PROMPTS[0], 24, stream=pieces.append) == expected[0]
        assert "".join(pieces) == expected[0]
        assert decoding.generate(model, tokenizer, PROMPTS[0], 24, 1.2, seed=1)
    finally:
        model.config.sliding_window = window


@pytest.mark.parametrize(
    "given, text",
    [
        ({"prompt": ""}, "nothing to continue"),
        ({"prompt": []}, "nothing to continue"),
        ({"prompt": ["a", ""]}, "nothing to continue"),
        ({"prompt": ["a", "b"], "stream": print}, "Only a single prompt"),
        ({"max_new_tokens": 0}, "at least 1 token"),
        ({"temperature": -1.0}, "a temperature and a top_k of 0 or more"),
        ({"top_k": -1}, "top_k=-1"),
        ({"top_p": 0.0}, "top_p above 0 and up to 1"),
        ({"max_new_tokens": 10**6}, "more than the model's"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_sentence(mini, given, text):
    with pytest.raises(CourseError, match=text):
        decoding.generate(*mini, **({"prompt": "Oslo"} | given))


@pytest.mark.parametrize("problem", [torch.OutOfMemoryError("no room"), RuntimeError("not permitted: capturing")])
def test_what_cannot_be_captured_goes_step_by_step(mini, monkeypatch, problem):
    model, tokenizer = mini
    expected = decoding.generate(model, tokenizer, PROMPTS[0], 12)
    decoding.forget(model)

    def full(self):
        raise problem

    monkeypatch.setattr(decoding.StaticDecoder, "capture", full)
    monkeypatch.setattr(decoding, "can_capture", lambda prompt: True)
    assert decoding.generate(model, tokenizer, PROMPTS[0], 12) == expected
    decoding.forget(model)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU: CUDA graphs")
@pytest.mark.parametrize("scheme", ["bf16", "nf4-dq", "int8"])
def test_a_captured_step_writes_what_steps_write(scheme):
    model, tokenizer = models.load("mini", scheme, device=DEVICE)
    for sampled in (False, True):
        given = {"temperature": 0.9, "top_p": 0.9, "seed": 3} if sampled else {}
        decoding.forget(model)
        fast = [decoding.generate(model, tokenizer, PROMPTS, 40, **given) for _ in range(2)]
        decoder = decoding.made[model][len(PROMPTS), sampled][0]
        assert (decoder.graph is None) == (scheme == "int8") and (decoder.fused_step is None) == (scheme == "int8")
        decoder.graph = None
        assert fast[0] == fast[1] == decoding.generate(model, tokenizer, PROMPTS, 40, **given)
