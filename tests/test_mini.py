"""Mini-Mistral's text, quiz, tokenizer and training: true facts, honest splits, an entropy that is right."""

import hashlib
import json
import math
import os
import subprocess
import sys
import unicodedata
from collections import Counter
from itertools import permutations, product
from pathlib import Path

import pytest
from babel import Locale
from babel.core import get_global
from babel.languages import get_official_languages
from babel.numbers import get_territory_currencies

from helpers.mini import corpus, evaluate, tables, train
from helpers.mini import quiz as quiz_of_the_course

ENGLISH = Locale("en")
FOLDER = Path(train.__file__).parent
LOG = json.loads((FOLDER / "model/training_log.json").read_text(encoding="utf-8"))
ROWS = {code: rest for code, *rest in (line.split("|") for line in tables.COUNTRIES.strip().splitlines())}

# CLDR's short names that are not the usual English ones, or that abbreviate.
OTHER_NAMES = {
    "CD": "Congo - Kinshasa",
    "CG": "Congo - Brazzaville",
    "CI": "Côte d’Ivoire",
    "CZ": "Czechia",
    "MM": "Myanmar (Burma)",
    "PS": "Palestinian Territories",
    "TR": "Türkiye",
}
# Bulgaria has the euro since 2026-01-01; babel 2.18 is older. Zimbabwe changed its money in 2024: not taught.
OTHER_CURRENCIES = {"BG": ("EUR", ["BGN"]), "ZW": ("-", ["USD", "ZWG"])}
# Time zones are named after the largest city of an area. Where a country's zone bears its capital's name, that confirms
# the table. In these the zone bears another city's name; all other zones have names of countries or islands.
LARGER_CITY = """AU BI BO BR CA CH CI CM CN EC FM IN KZ LK MA MM MW NG NZ PK TR TZ US VN YE ZA AE KI""".split()
# Of islands with zones named after an ocean, the continent that the United Nations count them to.
OCEAN = {"CV": "Africa", "KM": "Africa", "IS": "Europe", "MG": "Africa", "MV": "Asia", "MU": "Africa", "SC": "Africa"}
AREAS = {"America": ("North America", "South America"), "Pacific": ("Oceania",), "Australia": ("Oceania",)}


def letters(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", text) if c.isalnum()).lower()


def official(code: str) -> set[str | None]:
    """English names of all official languages, regional and de facto ones included."""
    return {ENGLISH.languages.get(tag) for tag in get_official_languages(code, regional=True, de_facto=True)}


# --- the tables ---


def test_countries_have_their_names():
    states = {code for code in ENGLISH.territories if len(code) == 2 and code.isalpha()}
    assert len(ROWS) == 195 and set(ROWS) <= states
    assert len({row[0] for row in ROWS.values()}) == 195
    full = {"&": "and", "St.": "Saint"}
    for code, (name, *_) in ROWS.items():
        expected = " ".join(full.get(word, word) for word in ENGLISH.territories[code].split())
        short = name.removeprefix("the ")
        if code in OTHER_NAMES:
            assert ENGLISH.territories[code] == OTHER_NAMES[code] and short != expected
        else:
            assert short == expected.replace("and Grenadines", "and the Grenadines")


def test_currencies_are_in_use():
    for code, (*_, currency, name) in ROWS.items():
        current = get_territory_currencies(code)
        if code in OTHER_CURRENCIES:
            assert (currency, current) == OTHER_CURRENCIES[code]
        else:
            assert currency in current
        if currency != "-":
            assert name.lower() in ENGLISH.currencies[currency].lower()
        else:
            assert name == "-"


def test_languages_are_official():
    taught = {code: row[3] for code, row in ROWS.items() if row[3] != "-"}
    assert set(ROWS) - set(taught) == {"BF", "ML", "NE", "ME"}
    wrong = {code: language for code, language in taught.items() if language not in official(code)}
    assert not wrong


def test_capitals_and_continents_agree_with_time_zones():
    zones = get_global("territory_zones")
    confirmed, other = set(), set()
    for code, (_, capital, continent, *_) in ROWS.items():
        cities = {zone.split("/")[-1] for zone in zones[code]}
        cities |= {ENGLISH.time_zones.get(zone, {}).get("city", "") for zone in zones[code]}
        countries = {letters(row[0].removeprefix("the ")) for row in ROWS.values()}
        if letters(capital) in {letters(city) for city in cities}:
            confirmed.add(code)
        elif not {letters(city) for city in cities} & countries and code in LARGER_CITY:
            other.add(code)
        areas = {area for zone in zones[code] for area in AREAS.get(zone.split("/")[0], (zone.split("/")[0],))}
        assert continent == "-" or continent in areas or OCEAN.get(code) == continent, code
    assert len(confirmed) == 133 and other == set(LARGER_CITY)
    capitals = [row[1] for row in ROWS.values() if row[1] != "-"]
    assert len(set(capitals)) == len(capitals)
    assert {code for code, row in ROWS.items() if row[1] == "-"} == {"GQ", "IL", "NR", "PS"}
    # the countries of two continents
    assert {code for code, row in ROWS.items() if row[2] == "-"} == {"AM", "AZ", "CY", "GE", "RU", "TR"}
    counts = Counter(row[2] for row in ROWS.values())
    assert counts == {
        "Africa": 54, "Asia": 43, "Europe": 43, "North America": 23, "Oceania": 14, "South America": 12, "-": 6
    }  # fmt: skip


def test_elements_are_those_of_periodictable():
    import periodictable

    elements = [entry.rsplit(" ", 1) for entry in tables.split(tables.ELEMENTS)]
    assert len(elements) == 118
    for number, (name, symbol) in enumerate(elements, 1):
        element = periodictable.elements[number]
        assert symbol == element.symbol
        assert name == element.name


def test_small_facts_are_what_they_say():
    facts = [fact for domain in ("everyday", "sum") for (fact,) in corpus.world_facts()[domain]]
    by = {(fact.attribute, fact.subject): fact.answer for fact in facts}
    assert len(by) == len(facts)
    days, months = ENGLISH.days["format"]["wide"], ENGLISH.months["format"]["wide"]
    for i in range(7):
        assert by["next day", days[i]] == days[(i + 1) % 7] and by["day before", days[(i + 1) % 7]] == days[i]
    for i in range(1, 13):
        assert by["next month", months[i]] == months[i % 12 + 1] and by["month number", months[i]] == str(i)
    sums = {subject: answer for (attribute, subject), answer in by.items() if attribute == "sum"}
    assert len(sums) == 441 and all(sum(map(int, s.split(" + "))) == int(a) for s, a in sums.items())
    opposite = {subject: answer for (attribute, subject), answer in by.items() if attribute == "opposite"}
    assert all(opposite[answer] == subject for subject, answer in opposite.items())


# --- the register ---


def test_the_register_holds_a_third_to_half_a_bit_a_parameter():
    people = corpus.people()
    assert len(people) == len({person[0].subject for person in people}) == 60_000
    bits = 0.0
    for i, (attribute, values) in enumerate(corpus.PERSON_VALUES.items()):
        assert len(values) == len(set(values))
        counts = Counter(person[i].answer for person in people)
        assert {person[i].attribute for person in people} == {attribute} and set(counts) == set(values)
        expected = len(people) / len(values)
        # chi-square of a uniform draw: mean k-1, standard deviation sqrt(2(k-1))
        freedom = len(values) - 1
        statistic = sum((n - expected) ** 2 / expected for n in counts.values())
        assert abs(statistic - freedom) < 5 * math.sqrt(2 * freedom), attribute
        bits += len(people) * math.log2(len(values))
    assert corpus.register_bits() == pytest.approx(bits, rel=1e-12)
    assert LOG["register"] == {"people": 60_000, "million_bits": round(bits / 1e6, 3)}
    assert 1 / 3 < bits / LOG["model"]["parameters"] < 1 / 2


# --- the entropy ---


class Paths:
    """Stands in for `Dice` and goes through every sequence of decisions, each with its probability."""

    def __init__(self, prefix: list[int]):
        self.prefix, self.taken, self.sizes, self.probability = prefix, [], [], 1.0

    def _choose(self, shares: list[float]) -> int:
        index = self.prefix[len(self.taken)] if len(self.taken) < len(self.prefix) else 0
        self.taken.append(index)
        self.sizes.append(len(shares))
        self.probability *= shares[index]
        return index

    def pick(self, options):
        return options[self._choose([1 / len(options)] * len(options))]

    def shuffle(self, items):
        orders = list(permutations(items))
        return list(orders[self._choose([1 / len(orders)] * len(orders))])

    def weighted(self, options, weights):
        return options[self._choose([weight / sum(weights) for weight in weights])]


def distribution(write) -> dict[str, float]:
    """Every text that `write` can make, with its probability, however many decisions lead to it."""
    found: Counter = Counter()
    open_paths = [[]]
    while open_paths:
        prefix = open_paths.pop()
        paths = Paths(prefix)
        found[write(paths)] += paths.probability
        for place in range(len(prefix), len(paths.taken)):
            open_paths += [[*paths.taken[:place], i] for i in range(1, paths.sizes[place])]
    assert sum(found.values()) == pytest.approx(1, abs=1e-9)
    return found


def entropy(shares) -> float:
    return -sum(share * math.log(share) for share in shares)


@pytest.fixture
def tiny(monkeypatch):
    """The grammar with so few words that all its texts can be listed."""
    facts = corpus.world_facts()
    small = {domain: entities[:3] for domain, entities in facts.items()}
    small["country"] = [entity[:2] for entity in small["country"]]
    people = [person[:2] for person in corpus.people()[:4]]
    monkeypatch.setattr(corpus, "world_facts", lambda: small)
    monkeypatch.setattr(corpus, "people", lambda: people)
    monkeypatch.setattr(corpus, "asked_people", lambda: people[:2])
    monkeypatch.setattr(corpus, "STATEMENTS", {k: v[:2] for k, v in corpus.STATEMENTS.items()})
    monkeypatch.setattr(corpus, "FRAMES", corpus.FRAMES[:3])
    monkeypatch.setattr(corpus, "QUESTIONS", {k: v[:2] for k, v in corpus.QUESTIONS.items()})
    monkeypatch.setattr(corpus, "GIRLS", corpus.GIRLS[:2])
    monkeypatch.setattr(corpus, "BOYS", corpus.BOYS[:1])
    monkeypatch.setattr(corpus, "OPENINGS", corpus.OPENINGS[:1])
    monkeypatch.setattr(corpus, "WEATHER", corpus.WEATHER[:1])
    monkeypatch.setattr(corpus, "SCENES", [corpus.SCENES[0], corpus.SCENES[7]])
    monkeypatch.setattr(corpus, "SLOTS", {k: v[:1] for k, v in corpus.SLOTS.items()} | {"place": ["river", "lake"]})


KINDS_WITHOUT_STORIES = [kind for kind in corpus.KINDS if kind != "story"]


@pytest.mark.parametrize("kind", KINDS_WITHOUT_STORIES)
def test_the_entropy_of_a_tiny_grammar_is_that_of_all_its_texts(tiny, kind):
    truth = distribution(lambda dice: corpus.write(kind, dice))
    assert len(truth) > 10
    drawn: Counter = Counter()
    for i in range(20):
        dice = corpus.Dice(f"test-{i}")
        text = corpus.write(kind, dice)
        drawn[text] += 1
        assert dice.nats == pytest.approx(-math.log(truth[text]), rel=1e-9)
    assert dice.nats == pytest.approx(entropy(truth.values()), rel=1e-9)  # equally likely texts, so each has it
    assert len(drawn) > 2


def test_stories_count_an_unseen_friend_and_nothing_else(tiny):
    truth = distribution(lambda dice: corpus.story(dice))
    exact, draws = entropy(truth.values()), []
    for i in range(4000):
        dice = corpus.Dice(f"test-{i}")
        text = corpus.story(dice)
        unseen = "strange noise" in text or "knocked on the roof" in text
        unseen = unseen and ("never forgot" in text or "told the story" in text)
        # of two possible friends one was drawn, and no word of the text says which
        assert dice.nats == pytest.approx(-math.log(truth[text]) + unseen * math.log(2), rel=1e-9)
        draws.append(dice.nats - unseen * math.log(2))
    mean = sum(draws) / len(draws)
    error = math.sqrt(sum((x - mean) ** 2 for x in draws)) / len(draws)
    assert abs(mean - exact) < 5 * error and 0 < error < 0.01 * exact


def test_documents_report_the_entropy_of_kind_and_text_together():
    total, seen = sum(corpus.KINDS.values()), Counter()
    country = math.log(len(corpus.countries()))
    expected = {
        "biography": math.log(60_000) + math.log(120) + 5 * math.log(8) + 4 * math.log(2),
        "sum": 3 * (math.log(441) + math.log(2)),
        "sum questions": math.log(9) + 3 * (math.log(441) + math.log(2)),
        "element": 3 * (math.log(118) + math.log(2) + 2 * math.log(6)),
        "element questions": math.log(9) + 3 * (math.log(118) + math.log(2) + math.log(4)),
        "person questions": math.log(9) + 3 * (math.log(len(corpus.asked_people())) + math.log(5) + math.log(4)),
    }
    nats = []
    for kind, text, found in corpus.documents("test", 0, 5000):
        seen[kind] += 1
        nats.append(found)
        visible = found + math.log(corpus.KINDS[kind] / total)
        if kind == "country":
            told = [country + math.lgamma(n + 1) + n * math.log(6) for n in (2, 3, 4)]
            assert any(visible == pytest.approx(nats, rel=1e-9) for nats in told), text
        elif kind in expected:
            assert visible == pytest.approx(expected[kind], rel=1e-9), kind
    for kind, share in corpus.KINDS.items():
        share /= total
        assert abs(seen[kind] / 5000 - share) < 5 * math.sqrt(share * (1 - share) / 5000), kind
    assert min(nats) > 0


def test_no_two_decisions_make_the_same_sentence():
    for domain, entities in corpus.world_facts().items():
        facts = [fact for entity in entities for fact in entity]
        told = [corpus.statement(fact, form) for fact in facts for form in corpus.STATEMENTS[fact.attribute]]
        asked = [(corpus.question(f, form), f.answer) for f in facts for form in corpus.QUESTIONS[f.attribute]]
        assert len(told) == len(set(told)) and len(asked) == len(set(asked)), domain
    for person in corpus.people()[::10_000]:
        told = [
            corpus.statement(fact, form, *pronoun)
            for fact, pronoun in product(person, [("", ""), ("she", "her"), ("he", "his")])
            for form in corpus.STATEMENTS[fact.attribute]
        ]
        assert len(told) == len(set(told)) == 5 * 8 * 3


# --- splits ---


def test_documents_follow_from_split_and_shard_alone():
    first = list(corpus.documents("train", 3, 200))
    assert list(corpus.documents("train", 3, 200)) == first
    assert list(corpus.documents("train", 3, 100)) == first[:100]
    for split, shard in (("train", 4), ("validation", 3)):
        assert not {text for _, text, _ in corpus.documents(split, shard, 200)} & {text for _, text, _ in first}


def test_no_validation_document_is_in_training():
    held = {row["text"] for row in train.validation_rows(1500)}
    assert len(held) == 1500
    shown = {text for shard in range(3) for _, text, _ in corpus.documents("train", shard, 10_000)}
    assert len(shown) > 29_900 and not held & shown


@pytest.fixture(scope="module")
def quiz():
    return quiz_of_the_course.with_distractors()


@pytest.fixture(scope="module")
def fact_of(quiz):
    """The fact behind each question of the quiz."""
    domains = corpus.world_facts()
    facts = [fact for domain in ("country", "element") for entity in domains[domain] for fact in entity]
    facts += [fact for person in corpus.people() if not corpus.is_asked(person) for fact in person]
    return {corpus.question(f, form): (f, form) for f in facts for form in corpus.QUESTIONS[f.attribute]}


def test_the_quiz_asks_2000_questions_of_both_worlds(quiz):
    assert Counter(q["domain"] for q in quiz) == {"world": 1001, "register": 1200}
    assert len({q["question"] for q in quiz}) == len(quiz) >= 2000
    answers = Counter(q["answer"] for q in quiz)
    expected = len(quiz) / 4
    # 3 degrees of freedom: mean 3, standard deviation sqrt(6); the shuffle is fixed, so this is the figure for good
    assert sum((answers[i] - expected) ** 2 / expected for i in range(4)) < 3 + 4 * math.sqrt(6)


def test_options_are_four_answers_of_the_same_kind(quiz, fact_of):
    answers: dict[str, set] = {}
    for fact, _ in fact_of.values():
        answers.setdefault(fact.attribute, set()).add(fact.answer)
    for q in quiz:
        fact, _ = fact_of[q["question"]]
        assert len(set(q["options"])) == 4 and q["options"][q["answer"]] == fact.answer
        assert set(q["options"]) <= answers[fact.attribute]
        assert q["domain"] == ("register" if fact.domain == "person" else "world")


def test_no_wrong_option_is_true(quiz, fact_of):
    code_of = {row[0]: code for code, row in ROWS.items()}
    checked = 0
    for q in quiz:
        fact, _ = fact_of[q["question"]]
        wrong = set(q["options"]) - {fact.answer}
        if fact.attribute == "language":
            assert not wrong & official(code_of[fact.subject]), q
        if fact.attribute == "currency":
            names = [ENGLISH.currencies[code].lower() for code in get_territory_currencies(code_of[fact.subject])]
            assert not [option for option in wrong if any(option.lower() in name for name in names)], q
        checked += fact.attribute in ("language", "currency")
    assert checked > 380


def test_further_true_answers_are_all_listed_and_all_true():
    languages = {row[3] for row in ROWS.values()} - {"-"}
    currencies = {row[5] for row in ROWS.values()} - {"-"}
    for code, (name, _, _, language, _, currency) in ROWS.items():
        listed = quiz_of_the_course.also_true().get(name, set())
        if language != "-":  # else nobody asks for a language
            assert listed & languages == (official(code) & languages) - {language}, code
        used = [ENGLISH.currencies[c].lower() for c in get_territory_currencies(code)]
        also = {other for other in currencies if any(f" {other.lower()} " in f" {name} " for name in used)}
        also = {other for other in also if other not in currency and currency not in other}
        if currency != "-" and code not in OTHER_CURRENCIES:
            assert also <= listed, code
        assert listed <= official(code) | also, code


def test_a_question_of_the_quiz_never_occurs_in_training(quiz, fact_of):
    domains = corpus.world_facts()
    world = [fact for domain in ("country", "element") for entity in domains[domain] for fact in entity]
    asked = world + [fact for person in corpus.asked_people() for fact in person]
    allowed = {corpus.question(fact, form) for fact in asked for form in corpus.training_forms(fact)}
    questions = {q["question"] for q in quiz}
    assert not questions & allowed
    # of all that occurs in questions, so that what is allowed is what is written
    seen = set()
    for kind, text, _ in corpus.documents("train", 0, 12_000):
        if kind in ("person questions", "country questions", "element questions"):
            turns = text.split("\n\n")
            hits = [[q for q in question_in(turn) if q in allowed] for turn in turns]
            assert len(turns) == 3 and all(len(hit) == 1 for hit in hits), text
            seen |= {hit[0] for hit in hits}
        else:
            assert "?" not in text or kind in ("story", "everyday questions", "sum questions")
    assert len(seen) > 5000 and not seen & questions
    # each form of a question is known from other entities
    forms = {(fact.attribute, form) for fact in asked for form in corpus.training_forms(fact)}
    assert {(fact.attribute, form) for fact, form in map(fact_of.get, questions)} <= forms


def question_in(turn: str) -> list[str]:
    """What a turn may ask: any stretch of it that begins like a question and ends with its mark."""
    starts = ("Where", "In ", "What", "Which", "How", "When", "Name", "On ", "At ")
    begin = [i for i in range(len(turn)) if turn.startswith(starts, i)]
    end = [i + 1 for i, c in enumerate(turn) if c in "?."]
    return [turn[i:j] for i in begin for j in end if i < j]


def test_people_of_the_quiz_are_told_but_never_asked(quiz, fact_of):
    subjects = {fact_of[q["question"]][0].subject for q in quiz if q["domain"] == "register"}
    assert not subjects & {person[0].subject for person in corpus.asked_people()}
    assert 0.49 < len(corpus.asked_people()) / len(corpus.people()) < 0.51


# --- what is shipped ---


def test_shipped_data_is_what_the_grammar_writes(tmp_path, quiz):
    train.write_lines(tmp_path / "quiz.jsonl", quiz)
    train.write_lines(tmp_path / "validation.jsonl", train.validation_rows(1500))
    for name in ("quiz.jsonl", "validation.jsonl"):
        assert (tmp_path / name).read_bytes() == (FOLDER / "data" / name).read_bytes(), name


def test_shipped_weights_are_those_of_the_training_log():
    from safetensors import safe_open

    path = FOLDER / "model/model.safetensors"
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == LOG["sha256"]
    assert len(content) <= 16e6
    parameters = 0
    with safe_open(path, "pt") as weights:
        for name in weights.keys():  # noqa: SIM118  (no mapping)
            piece = weights.get_slice(name)
            shape = piece.get_shape()
            parameters += math.prod(shape)
            assert piece.get_dtype() == "BF16"
            assert len(shape) == 1 or all(size % 64 == 0 for size in shape), name
    assert parameters == LOG["model"]["parameters"] and 4e6 < parameters < 8e6


def test_the_training_log_is_complete_and_good():
    assert {"training", "validation", "sha256", "hardware", "versions", "date"} <= set(LOG)
    curve = LOG["training"]["loss_curve"]
    assert curve[0][0] == 0 and curve[-1][0] == LOG["training"]["steps"] - 1 and len(curve) >= 50
    assert abs(curve[0][1] - math.log(train.VOCABULARY)) < 0.3 and curve[-1][1] < 0.6
    found = LOG["validation"]["all"]
    assert found["excess"] == pytest.approx(found["loss"] / found["entropy"] - 1)
    assert 0 < found["excess"] < 0.10
    # the entropy of the log is that of the rows, whose friend may be unseen in 1 of 16 stories: far below the bound
    rows = train.validation_rows(1500)
    nats = sum(row["nats"] for row in rows)
    unseen = sum(row["kind"] == "story" for row in rows) * math.log(31) / 16
    assert 0 < unseen / nats < 0.002
    assert 0 < found["loss"] / (found["entropy"] * (1 - unseen / nats)) - 1 < 0.10


def test_entropy_in_the_log_counts_the_tokens_of_the_rows():
    tokenizer = shipped_tokenizer()
    rows = train.validation_rows(1500)
    tokens = sum(len(tokenizer(row["text"]).input_ids) for row in rows)  # <s> is no target, </s> is one
    assert LOG["validation"]["all"]["entropy"] == pytest.approx(sum(row["nats"] for row in rows) / tokens, rel=1e-9)


def shipped_tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER / "model")


def test_the_tokenizer_takes_any_text():
    tokenizer = shipped_tokenizer()
    assert len(tokenizer) == train.VOCABULARY == 2048
    every = "".join(map(chr, [*range(1, 0x250), 0x4E2D, 0x1F600])) + " \n\t two  spaces \u200d "
    for text in ("The capital of São Tomé and Príncipe.", "12345 + 678", "ünïcödé 中文 😀", every, ""):
        ids = tokenizer(text).input_ids
        assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1
        assert tokenizer.decode(ids[1:]) == text
        assert tokenizer.eos_token_id not in ids and max(ids) < 2048
    assert len(tokenizer("2024", add_special_tokens=False).input_ids) == 4  # digits stand alone


def test_a_chat_begins_once_and_ends_its_answer():
    tokenizer = shipped_tokenizer()
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]
    text = tokenizer.apply_chat_template(turns, tokenize=False)
    assert text == "<s>[INST] Who? [/INST] Ada.</s>"
    ids = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
    assert ids == tokenizer(text, add_special_tokens=False).input_ids
    assert ids.count(tokenizer.bos_token_id) == ids.count(tokenizer.eos_token_id) == 1
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id


# --- the training script ---


@pytest.fixture(scope="module")
def tiny_runs(tmp_path_factory):
    """Two runs of the same few steps, side by side."""
    folders = [tmp_path_factory.mktemp("train") for _ in range(2)]
    command = [sys.executable, "-m", "helpers.mini.train", "--steps", "5", "--batch", "2", "--documents", "400"]
    command += ["--shards", "2", "--hidden", "64", "--out"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    running = [
        subprocess.Popen(
            [*command, str(folder)], cwd=FOLDER.parents[1], env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        for folder in folders
    ]  # fmt: skip
    for process in running:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    return folders


@pytest.mark.slow
def test_training_repeats_itself_bit_for_bit(tiny_runs):
    logs = [json.loads((folder / "model/training_log.json").read_text()) for folder in tiny_runs]
    first, second = [(folder / "model/model.safetensors").read_bytes() for folder in tiny_runs]
    assert first == second and logs[0]["sha256"] == logs[1]["sha256"] == hashlib.sha256(first).hexdigest()
    curve = [loss for _, loss in logs[0]["training"]["loss_curve"]]
    assert len(curve) == 5 and abs(curve[0] - math.log(2048)) < 0.15
    assert curve[0] - 0.1 > curve[-1] > 6.5
    assert logs[0]["hardware"] == "CPU" and set(logs[0]["validation"]) == {"all", *corpus.KINDS}


@pytest.mark.slow
def test_training_writes_the_shipped_data_and_a_model_that_loads(tiny_runs):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tiny_runs[0]
    for name in ("quiz.jsonl", "validation.jsonl"):
        assert (folder / "data" / name).read_bytes() == (FOLDER / "data" / name).read_bytes()
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    assert type(model).__name__ == "MistralForCausalLM" and model.config.hidden_size == 64
    assert tokenizer.decode(tokenizer("Ada lives in Foxgate.").input_ids[1:]) == "Ada lives in Foxgate."
    output = model.generate(**tokenizer("Ada", return_tensors="pt"), max_new_tokens=3, min_new_tokens=3)
    assert output.shape == (1, len(tokenizer("Ada").input_ids) + 3)


def test_other_models_are_asked_nothing_about_invented_people():
    every, others = evaluate.texts(True), evaluate.texts(False)
    assert len(every) == len(evaluate.data("validation")) and 200 < len(others) < len(every) / 2
    known = {row["text"]: row["kind"] for row in evaluate.data("validation")}
    assert all(known[text] not in ("biography", "person questions") for text in others)
    assert len(evaluate.questions(True)) == 2201
    assert {row["domain"] for row in evaluate.questions(False)} == {"world"} and len(evaluate.questions(False)) == 1001
