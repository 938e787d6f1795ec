"""quality against lm-eval: the same quiz as a task of its own, and MMLU up to the download of its questions."""

import json

import lm_eval
import numpy as np
import pytest
import torch
from lm_eval.models.huggingface import HFLM

from helpers import models, quality
from helpers.errors import CourseError
from helpers.mini import evaluate

BATCH = 64


@pytest.fixture(scope="module")
def mini():
    """Mini-Mistral in float32: in 16 bits the rounding of a batch would hide what is compared."""
    return models.load("mini", "fp32", device="cpu")


def harness(model, tokenizer) -> HFLM:
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=BATCH)


def test_multiple_choice_is_lm_evals_loglikelihood(mini, tmp_path):
    quiz = evaluate.data("quiz")[::10]
    file = tmp_path / "quiz.jsonl"
    file.write_text("\n".join(json.dumps(item) for item in quiz), encoding="utf-8")
    task = {
        "task": "quiz",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(file)}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}}\nAnswer:",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    found = lm_eval.simple_evaluate(harness(*mini), tasks=[task], bootstrap_iters=0)
    samples = sorted(found["samples"]["quiz"], key=lambda row: row["doc_id"])
    theirs = np.array([[score for score, _ in row["filtered_resps"]] for row in samples])
    mine = quality.multiple_choice(*mini, quiz, batch=BATCH)
    assert theirs.shape == mine.loglikelihood.shape == (len(quiz), 4) and len(quiz) > 200
    assert mine.loglikelihood == pytest.approx(theirs, abs=1e-4)
    assert mine.choices.tolist() == theirs.argmax(1).tolist()
    assert mine.correct.tolist() == [row["acc"] == 1 for row in samples]
    assert mine.accuracy == pytest.approx(found["results"]["quiz"]["acc,none"])


def test_mmlu_runs_up_to_the_download_and_then_says_what_is_missing(mini, monkeypatch):
    choice = models.Choice("someone/some-model", "hub cache", "checkpoint", "a test")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(models, "fit", lambda *_: models.Fit(1, 2, "cpu"))
    monkeypatch.setattr(models, "load", lambda *_: mini)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the hub's client tries again and again
    with pytest.raises(CourseError, match="questions could not be downloaded") as error:
        quality.mmlu(choice, "nf4-dq", 1)
    assert isinstance(error.value.__cause__, OSError), "what stopped it is not the network"
    assert "\n" not in str(error.value) and len(str(error.value)) < 250


@pytest.mark.parametrize(
    "kind, gpu, package, says",
    [
        ("mini", True, True, "never read anything that MMLU"),
        ("shape", True, True, "never read anything that MMLU"),
        ("checkpoint", False, True, "no CUDA GPU"),
        ("checkpoint", True, False, "lm-eval is not installed"),
    ],
)
def test_where_mmlu_cannot_run_one_sentence_says_why(monkeypatch, kind, gpu, package, says):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(quality.importlib.util, "find_spec", lambda name: name if package else None)
    with pytest.raises(CourseError, match=says):
        quality.mmlu(models.Choice("a-model", "somewhere", kind, "a test"), "nf4-dq")
