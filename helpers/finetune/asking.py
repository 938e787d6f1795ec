"""Ask a model the held-out questions, and count the answers that are right to the letter."""

import re
from collections.abc import Sequence

import torch
from torch import nn

from ..errors import CourseError
from ..padding import padded
from .data import Question, check_ids, frame

__all__ = ["ANSWER_TOKENS", "answers", "completions", "end_ids", "exact_match"]

ANSWER_TOKENS = 16  # the longest answer of the course is shorter


@torch.inference_mode()
def answers(model: nn.Module, tokenizer, pairs: Sequence[Question], batch: int = 64) -> list[str]:
    """Return what the model answers in the chat format, greedily; an answer that does not end has "…" behind it.

    It ends at any token that ends a turn: the tokenizer's, those of the model's `generation_config`, the template's.
    """
    check_ids(model, tokenizer)
    ends, around = end_ids(model, tokenizer), frame(tokenizer, "Who?")
    head_ids = tokenizer(around.head, add_special_tokens=False).input_ids
    head = tokenizer.decode(head_ids, skip_special_tokens=True).strip()
    was_training, use_cache = model.training, model.config.use_cache
    model.eval()
    pad = tokenizer.pad_token_id
    texts = []
    for begin in range(0, len(pairs), batch):
        prompts = []
        for pair in pairs[begin : begin + batch]:
            text = frame(tokenizer, pair.question).prompt  # as in training: what comes next is the answer, or its head
            prompts.append(tokenizer(text, add_special_tokens=False).input_ids)
        ids, mask = padded(prompts, pad, left=True, device=model.device)  # the answer has to follow the question
        generated = model.generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=ANSWER_TOKENS + len(head_ids),
            do_sample=False,
            pad_token_id=pad,
            eos_token_id=ends,
            use_cache=True,
        )
        for row in generated[:, ids.shape[1] :].tolist():
            end = next((i for i, token in enumerate(row) if token in ends), None)
            ended = end is not None
            text = tokenizer.decode(row[:end], skip_special_tokens=True).strip().removeprefix(head).strip()
            texts.append(text if ended else text + "…")
    model.config.use_cache = use_cache
    model.train(was_training)
    return texts


def end_ids(model: nn.Module, tokenizer) -> list[int]:
    """The ids of all tokens that end a turn."""
    given = model.generation_config.eos_token_id
    ids = {*(given if isinstance(given, list) else [given]), tokenizer.eos_token_id}
    end = tokenizer(frame(tokenizer, "Who?").end, add_special_tokens=False).input_ids
    if end and end[0] in tokenizer.all_special_ids + list(tokenizer.added_tokens_decoder):
        ids.add(end[0])
    return sorted(ids - {None})


@torch.inference_mode()
def completions(model: nn.Module, tokenizer, pairs: Sequence[Question]) -> float:
    """Share of questions that the model gets right as a text to continue, "Question: … Answer:", no chat format.

    It is right if the answer stands in the first line, whatever stands around it: a base model goes on with whatever
    comes next, and a chat model answers in whole sentences.
    """
    right = 0
    for pair in pairs:
        ids = tokenizer(f"Question: {pair.question}\nAnswer:", return_tensors="pt").input_ids.to(model.device)
        generated = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=ANSWER_TOKENS, do_sample=False
        )
        line = tokenizer.decode(generated[0, ids.shape[1] :]).strip().split("\n")[0]
        right += re.search(rf"(?<!\w){re.escape(pair.answer)}(?!\w)", line) is not None
    return right / len(pairs)


def exact_match(given: Sequence[str], pairs: Sequence[Question]) -> float:
    """Share of answers that are the right ones to the letter, and end there."""
    if len(given) != len(pairs) or not pairs:
        raise CourseError(f"{len(given)} answers to {len(pairs)} questions cannot be compared: one answer each.")
    return sum(text == pair.answer for text, pair in zip(given, pairs, strict=True)) / len(pairs)
