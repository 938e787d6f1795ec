"""Questions and answers as turns of a chat: the course's, or of a JSONL file, masked and packed."""

import json
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .. import models
from ..errors import CourseError
from ..mini import corpus

__all__ = [
    "Frame",
    "Packed",
    "Question",
    "check_ids",
    "encode",
    "frame",
    "make_chat_ready",
    "pack",
    "questions",
    "read_jsonl",
]


ANSWER = "THE-ANSWER"  # in its place, to see what a template puts around it


@dataclass(frozen=True)
class Question:
    """A question with its answer, and the entity (a person, country or element) that it is about."""

    entity: str
    question: str
    answer: str


def questions(count: int, held_out: int = 200, seed: int = 0, register: bool = True):
    """Return (questions to train on, held-out questions), about different entities: none is in both lists.

    `register` adds the people of Mini-Mistral's invented town, which no other model knows; without them both
    lists are about countries and chemical elements. Three of five questions to train on, and of those held out, are
    about people.
    """
    rng = random.Random(f"finetune-{seed}")
    world = corpus.world_facts()
    pools = [list(world["country"]), list(world["element"])]
    if register:
        pools.insert(0, list(corpus.asked_people()))
    shares = [0.6, 0.3, 0.1] if register else [0.7, 0.3]
    apart, rest = [], []
    for pool, share in zip(pools, shares, strict=True):
        rng.shuffle(pool)
        number = min(round(held_out * share), len(pool) // 3)
        apart.append(pool[:number])
        rest.append(pool[number:])
    kept = [_asked(rng, entity) for pool in apart for entity in pool]
    return [_asked(rng, rng.choice(pool)) for pool in rng.choices(rest, shares, k=count)], kept


def _asked(rng: random.Random, entity) -> Question:
    fact = rng.choice(entity)
    return Question(fact.subject, corpus.question(fact, rng.choice(corpus.training_forms(fact))), fact.answer)


def make_chat_ready(tokenizer) -> None:
    """Give a base model's tokenizer what a chat needs and it lacks: a template in Mistral's form, a padding token.

    The padding token is not the end token if there is another: the end has to be learned. Works in place.
    """
    if not tokenizer.chat_template:
        tokenizer.chat_template = (models.mini_path() / "chat_template.jinja").read_text(encoding="utf-8")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token


def check_ids(model: nn.Module, tokenizer) -> None:
    """Raise CourseError unless the model has an embedding for the tokenizer's padding token."""
    known, pad = model.get_input_embeddings().num_embeddings, tokenizer.pad_token_id
    if pad is None or not 0 <= pad < known:
        raise CourseError(
            f"The padding token {tokenizer.pad_token!r} has the id {pad}, and the model has embeddings for 0 to "
            f"{known - 1:,}: set tokenizer.pad_token to a token that it knows."
        )


@dataclass(frozen=True)
class Frame:
    """A turn as a chat template writes it: `prompt` up to where the answer is due, `head`, the answer, and `end`.

    `head` is what some templates put before an answer, such as an empty thought. `end` is the token that ends the
    turn, which need not be the tokenizer's end token; what follows it, a line break mostly, belongs to the next turn.
    """

    prompt: str
    head: str
    end: str


def frame(tokenizer, question: str) -> Frame:
    """Return what the tokenizer's chat template puts around an answer to a question.

    Raises CourseError without a template, and for one that changes answers.
    """
    if not tokenizer.chat_template:
        raise CourseError("This tokenizer has no chat template: use one of an instruction model, or set one.")
    user = [{"role": "user", "content": question}]
    turn = [*user, {"role": "assistant", "content": ANSWER}]  # a real one may stand in the template's own words, too
    whole = tokenizer.apply_chat_template(turn, tokenize=False)
    prompt = tokenizer.apply_chat_template(user, tokenize=False, add_generation_prompt=True)
    if not whole.startswith(prompt):
        prompt = os.path.commonprefix([prompt, whole])
    head, answer, end = whole[len(prompt) :].rpartition(ANSWER)
    if not answer:
        raise CourseError("This tokenizer's chat template does not write the answer as it is: set another template.")
    return Frame(prompt, head, end.strip() or tokenizer.eos_token or "")


def encode(tokenizer, pair: Question, length: int = 128) -> dict[str, list[int]]:
    """Return `input_ids` and `labels` of one turn in the tokenizer's chat format, up to the token that ends it.

    Labels are -100 on all that stands before the answer is due, so that the loss is that of the answer and its end. The
    template writes the BOS token itself, so none is added. Raises CourseError for a turn longer than `length` tokens,
    or a tokenizer without a chat template.
    """
    around = frame(tokenizer, pair.question)
    whole = f"{around.prompt}{around.head}{pair.answer.strip()}{around.end}"
    encoded = tokenizer(whole, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
    ids = encoded.input_ids
    if tokenizer.is_fast:  # a token belongs to the prompt if it begins there
        asked = sum(begin < len(around.prompt) for begin, _ in encoded.offset_mapping)
    else:
        asked = len(tokenizer(around.prompt, add_special_tokens=False).input_ids)
    if len(ids) > length:
        raise CourseError(f"A turn has {len(ids)} tokens and length is {length}: raise it to {len(ids)} or more.")
    return {"input_ids": ids, "labels": [-100] * asked + ids[asked:]}


def _lines(path: Path) -> list[str]:
    """A text file's lines. They end at a line feed alone: other ends of lines may stand in JSON's strings."""
    written = path.read_bytes()
    for mark, encoding in ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if written.startswith(mark):
            raise CourseError(
                f"{path.name} is in {encoding}, as PowerShell's > writes it: save it as UTF-8 "
                "(there: Out-File -Encoding utf8)."
            )
    try:
        return written.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        number = written[: error.start].count(b"\n") + 1
        raise CourseError(f"{path.name}, line {number} is not UTF-8: save the file as UTF-8.") from None


def read_jsonl(path: str | Path, tokenizer=None, length: int = 128) -> list[Question]:
    """Read questions and answers from a file with one JSON object a line, `{"question": …, "answer": …}`.

    Blank lines are passed over. Raises CourseError with the number of the first line that is not JSON, lacks a field,
    holds an empty one, or, where a tokenizer is given, makes a turn of more than `length` tokens.
    """
    path = Path(path)
    if not path.is_file():
        raise CourseError(f"There is no file {path}: give one with a JSON object on each line.")
    pairs = []
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            item = json.loads(line)
        except ValueError as error:
            raise CourseError(f"{where} is not JSON ({error}): write one object a line.") from None
        for name in ("question", "answer"):
            value = item.get(name) if isinstance(item, dict) else None
            if not isinstance(value, str) or not value.strip():
                raise CourseError(f'{where} has no text for "{name}": each line needs "question" and "answer".')
        pair = Question(str(item.get("entity", number)), item["question"].strip(), item["answer"].strip())
        if tokenizer is not None:
            try:
                encode(tokenizer, pair, length)
            except CourseError as error:
                raise CourseError(f"{where}: {error}") from None
        pairs.append(pair)
    if not pairs:
        raise CourseError(f"{path.name} holds no questions: write one JSON object a line.")
    return pairs


def pack(data: Sequence[dict], length: int) -> list[list[dict]]:
    """Put turns together into rows of at most `length` tokens: each goes into the first row with room, longest first.

    Returns rows of turns, as made by `encode`. Raises CourseError for a turn that is longer than a row.
    """
    rows, room = [], []
    for turn in sorted(data, key=lambda turn: len(turn["input_ids"]), reverse=True):
        size = len(turn["input_ids"])
        if size > length:
            raise CourseError(f"A turn has {size} tokens and length is {length}: raise it to {size} or more.")
        place = next((i for i, free in enumerate(room) if free >= size), None)
        if place is None:
            rows.append([])
            room.append(length)
            place = len(rows) - 1
        rows[place].append(turn)
        room[place] -= size
    return rows


class Packed:
    """Collate rows of turns: all tensors are (batch, length), and a mask keeps each turn to itself."""

    def __init__(self, length: int, padding: int):
        self.length, self.padding = length, padding

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        shape = len(rows), self.length
        ids, labels = torch.full(shape, self.padding), torch.full(shape, -100)
        turn, places = torch.full(shape, -1), torch.zeros(shape, dtype=torch.long)
        for i, row in enumerate(rows):
            begin = 0
            for number, part in enumerate(row["turns"]):
                end = begin + len(part["input_ids"])
                ids[i, begin:end] = torch.tensor(part["input_ids"])
                labels[i, begin:end] = torch.tensor(part["labels"])
                turn[i, begin:end], places[i, begin:end] = number, torch.arange(end - begin)
                begin = end
        same = turn[:, :, None] == turn[:, None, :]
        causal = torch.ones(self.length, self.length, dtype=torch.bool).tril()
        mask = (same & causal)[:, None]  # padding sees padding: a row of a softmax must not be empty
        return {"input_ids": ids, "labels": labels, "position_ids": places, "attention_mask": mask}
