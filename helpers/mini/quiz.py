"""The quiz on what Mini-Mistral has read: four options a question, the wrong ones being answers of the same kind."""

import random
from functools import cache

from . import corpus, tables
from .tables import split

__all__ = ["also_true", "with_distractors"]


@cache
def also_true() -> dict[str, set[str]]:
    """Country name → further true answers that must not be offered as wrong ones."""
    rows = [entry.split() for entry in split(tables.ALSO_TRUE)]
    result: dict[str, set[str]] = {}
    for code, *values in rows:
        result.setdefault(corpus.countries()[code][0], set()).update(v.replace("_", " ") for v in values)
    return result


def with_distractors(register_questions: int = 1200) -> list[dict]:
    """Four-way questions on pairs of entity and wording that training never shows.

    Real world: each fact of every country and element, asked in a form held out for it. Register: facts of people who
    never occur in a question. Wrong options are answers of the same attribute. Each question is a dict of
    `domain` ("world" or "register"), `question`, `options` (4) and `answer` (index of the right one).
    """
    rng = random.Random(f"quiz-{corpus.SEED}")
    world = [f for domain in ("country", "element") for entity in corpus.world_facts()[domain] for f in entity]
    unasked = [p for p in corpus.people() if not corpus.is_asked(p)]
    register = [rng.choice(p) for p in rng.sample(unasked, register_questions)]
    options = {k: sorted(set(v)) for k, v in corpus.PERSON_VALUES.items()}
    for f in world:
        options[f.attribute] = sorted(set(options.get(f.attribute, [])) | {f.answer})
    result = []
    for fact in world + register:
        wordings = corpus.QUESTIONS[fact.attribute]
        forms = [wordings[i] for i in corpus.held_out_forms(fact)] or wordings
        taken = also_true().get(fact.subject, set())
        wrong = [o for o in options[fact.attribute] if o not in taken and o not in fact.answer and fact.answer not in o]
        choices = [fact.answer, *rng.sample(wrong, 3)]
        rng.shuffle(choices)
        result.append(
            {
                "domain": "register" if fact.domain == "person" else "world",
                "question": corpus.question(fact, rng.choice(forms)),
                "options": choices,
                "answer": choices.index(fact.answer),
            }
        )
    return result
