"""Mini-Mistral's card: made from measurements, true of the shipped weights, and what is asked of them."""

import json

import pytest

from helpers import models, quality
from helpers.mini import evaluate

FOLDER = models.mini_path()


def read(name: str) -> dict:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def test_the_card_is_what_log_and_evaluation_say():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert card == evaluate.card(read("training_log.json"), read("evaluation.json"))
    changed = read("evaluation.json")
    changed["variants"]["nf4"]["perplexity"] += 0.01
    assert card != evaluate.card(read("training_log.json"), changed)


@pytest.mark.parametrize("variant", ["nf4", "int3-64"])
def test_the_card_holds_for_the_shipped_weights(variant):
    model, tokenizer = evaluate.load(variant)
    texts = [row["text"] for row in evaluate.data("validation")]
    found = quality.perplexity(model, tokenizer, texts)
    # another CPU multiplies bfloat16 in another order
    assert found.value == pytest.approx(read("evaluation.json")["variants"][variant]["perplexity"], rel=2e-3)


def test_quantization_shows_as_it_should():
    found = read("evaluation.json")
    change = {name: row["perplexity_change"] for name, row in found["variants"].items()}
    quiz = {name: row["quiz"] for name, row in found["variants"].items()}
    assert found["questions"]["world"] + found["questions"]["register"] == len(evaluate.data("quiz")) >= 2000
    assert 0.95 <= quiz["bf16"][0] <= 1
    assert max(abs(end) for end in change["int8"]) < 0.003
    assert max(abs(end) for end in found["perplexity_change_from_nf4"]["nf4-dq"]) < 0.003
    assert 0.005 < change["nf4"][1] < change["nf4"][2] < 0.05
    for worse in ("fp4", "int4-64"):
        assert 0 < found["perplexity_change_from_nf4"][worse][1] < 0.1
    for much_worse in ("int3-64", "int4-tensor"):
        assert 0.15 < change[much_worse][1] < 2
        assert quiz[much_worse][2] < quiz["nf4"][1]
    low = read("training_log.json")["validation"]["all"]["excess"]
    assert 0 < low < 0.1
