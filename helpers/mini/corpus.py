"""The text that Mini-Mistral learns: a grammar over our own tables that also knows its own entropy.

Every random decision goes through `Dice`, which adds up ln(number of equally likely options). Different decisions give
different texts, so given the register's facts that sum is the entropy of a document: the floor of the validation loss.
(But for one story in sixteen, whose friend is drawn and never named: the floor is 0.05% too high.)

    python -m helpers.mini.corpus          # print a few documents of each kind
"""

import math
import random
import zlib
from dataclasses import dataclass
from functools import cache

from . import tables
from .tables import split

SEED = 2024


class Dice:
    """Uniform choices, with the sum of their entropies in nats."""

    def __init__(self, seed: str):
        self.random = random.Random(seed)
        self.nats = 0.0

    def pick(self, options):
        self.nats += math.log(len(options))
        return options[self.random.randrange(len(options))]

    def shuffle(self, items) -> list:
        self.nats += math.lgamma(len(items) + 1)
        return self.random.sample(items, len(items))

    def weighted(self, options: list, weights: list):
        total = sum(weights)
        (index,) = self.random.choices(range(len(options)), weights)
        self.nats -= math.log(weights[index] / total)
        return options[index]


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing the model is to know: `answer` is the `attribute` of `subject`, a member of `domain`."""

    domain: str
    subject: str
    attribute: str
    answer: str

    @property
    def key(self) -> int:
        """A number fixed by domain, subject and attribute, for splits that never change."""
        return zlib.crc32(f"{self.domain}|{self.subject}|{self.attribute}".encode())


# In statements {S}, {s} stand for the name or a pronoun, {P}, {p} for its possessive, {a} for the answer, {an} for the
# answer with its article. In questions {n} is the name.
PERSON_STATEMENTS = {
    "home": [
        "{S} lives in {a}.",
        "{S} has made a home in {a}.",
        "{P} house stands in {a}.",
        "{P} home town is {a}.",
        "The town where {s} lives is {a}.",
        "{S} moved to {a} long ago and stayed.",
        "{P} front door opens onto a street in {a}.",
        "In {a} everybody knows where {s} lives.",
    ],
    "job": [
        "{S} works as {an}.",
        "{S} earns a living as {an}.",
        "{P} trade is that of {an}.",
        "By profession {s} is {an}.",
        "{S} is employed as {an}.",
        "Every morning {s} goes to work as {an}.",
        "For many years {s} has been {an}.",
        "{S} learned the work of {an} when young.",
    ],
    "hobby": [
        "{P} favorite pastime is {a}.",
        "{S} spends every weekend on {a}.",
        "In the evening {s} enjoys {a}.",
        "{S} is fond of {a}.",
        "{P} hobby is {a}.",
        "When work is done, {s} turns to {a}.",
        "{S} has a passion for {a}.",
        "{S} took up {a} as a hobby.",
    ],
    "birth year": [
        "{S} was born in {a}.",
        "{P} year of birth is {a}.",
        "{S} came into the world in {a}.",
        "The year when {s} was born was {a}.",
        "{P} birth was recorded in {a}.",
        "It was in {a} that {s} was born.",
        "{P} life began in {a}.",
        "{S} has had birthdays since {a}.",
    ],
    "food": [
        "{P} favorite food is {a}.",
        "{S} likes to eat {a}.",
        "{S} would never refuse {a}.",
        "For dinner {s} likes {a} best.",
        "{S} is always hungry for {a}.",
        "At the market {s} looks for {a}.",
        "What {s} likes to eat most is {a}.",
        "{P} friends know to serve {a}.",
    ],
}
PERSON_QUESTIONS = {
    "home": [
        "Where does {n} live?",
        "In which town does {n} live?",
        "What is the home town of {n}?",
        "Which town does {n} call home?",
    ],
    "job": [
        "What is the job of {n}?",
        "What does {n} do for a living?",
        "What does {n} work as?",
        "Which trade does {n} follow?",
    ],
    "hobby": [
        "What is the hobby of {n}?",
        "What does {n} do for fun?",
        "How does {n} spend free time?",
        "What does {n} enjoy in the evening?",
    ],
    "birth year": [
        "When was {n} born?",
        "In which year was {n} born?",
        "What is the birth year of {n}?",
        "In what year did {n} come into the world?",
    ],
    "food": [
        "What is the favorite food of {n}?",
        "What does {n} like to eat?",
        "Which food does {n} like best?",
        "What would {n} choose for dinner?",
    ],
}
WORLD_STATEMENTS = {
    "capital": [
        "The capital of {s} is {a}.",
        "{a} is the capital of {s}.",
        "{S} has its capital in {a}.",
        "{P} capital city is {a}.",
        "The capital of {s} is called {a}.",
        "Anyone who visits the capital of {s} travels to {a}.",
    ],
    "continent": [
        "{S} lies in {a}.",
        "{S} is a country in {a}.",
        "The continent of {s} is {a}.",
        "On a map, {s} is found in {a}.",
        "{S} belongs to the continent of {a}.",
        "To reach {s}, one travels to {a}.",
    ],
    "language": [
        "An official language of {s} is {a}.",
        "{a} is an official language of {s}.",
        "In {s} the state recognizes {a} as official.",
        "{a} has official status in {s}.",
        "{S} counts {a} among its official languages.",
        "Officially, people in {s} may use {a}.",
    ],
    "currency": [
        "The currency of {s} is the {a}.",
        "In {s} people pay with the {a}.",
        "{P} money is the {a}.",
        "The {a} is the currency of {s}.",
        "Shops in {s} accept the {a}.",
        "Wages in {s} are paid in the {a}.",
    ],
    "symbol": [
        "The chemical symbol of {s} is {a}.",
        "The symbol for {s} is {a}.",
        "{a} stands for {s}.",
        "Chemists write {a} for {s}.",
        "In formulas {s} appears as {a}.",
        "{S} has the symbol {a}.",
    ],
    "atomic number": [
        "The atomic number of {s} is {a}.",
        "{S} has the atomic number {a}.",
        "An atom of {s} has {a} protons.",
        "{S} is element number {a}.",
        "In the periodic table {s} stands at number {a}.",
        "Count {a} protons and the atom is one of {s}.",
    ],
    "opposite": ["The opposite of {s} is {a}.", "If something is not {s}, it may be {a}."],
    "color": ["The color of {s} is {a}.", "{S} is {a}."],
    "young": ["A young {s} is called a {a}.", "The young of a {s} is a {a}."],
    "next day": ["The day after {s} is {a}.", "{s} is followed by {a}."],
    "day before": ["The day before {s} is {a}.", "{a} comes just before {s}."],
    "next month": ["The month after {s} is {a}.", "When {s} ends, {a} begins."],
    "month number": ["{s} is month number {a} of the year.", "In dates {s} is written as {a}."],
    "digits": ["The number {s} is written {a}.", "{a} is how one writes {s} in digits."],
    "sum": ["{s} = {a}.", "The sum {s} gives {a}."],
}
WORLD_QUESTIONS = {
    "capital": [
        "What is the capital of {n}?",
        "Which city is the capital of {n}?",
        "Name the capital of {n}.",
        "What is the capital city of {n} called?",
        "Which capital belongs to {n}?",
        "What is the name of the capital of {n}?",
    ],
    "continent": [
        "On which continent is {n}?",
        "Where in the world is {n}?",
        "Which continent does {n} belong to?",
        "What is the continent of {n}?",
        "In which part of the world does {n} lie?",
        "Name the continent of {n}.",
    ],
    "language": [
        "What is an official language of {n}?",
        "Which language is official in {n}?",
        "Name an official language of {n}.",
        "Which language has official status in {n}?",
        "What language does the state of {n} recognize as official?",
        "Which language may people officially use in {n}?",
    ],
    "currency": [
        "What is the currency of {n}?",
        "What do people in {n} pay with?",
        "Which money is used in {n}?",
        "Name the currency of {n}.",
        "In what currency are wages paid in {n}?",
        "Which currency do shops in {n} accept?",
    ],
    "symbol": [
        "What is the chemical symbol of {n}?",
        "What is the symbol for {n}?",
        "How do chemists write {n}?",
        "Name the symbol of {n}.",
        "Which letters stand for {n}?",
        "How is {n} written in formulas?",
    ],
    "atomic number": [
        "What is the atomic number of {n}?",
        "How many protons does an atom of {n} have?",
        "Which element number is {n}?",
        "Name the atomic number of {n}.",
        "At what number in the periodic table is {n}?",
        "Which atomic number does {n} have?",
    ],
    "opposite": ["What is the opposite of {n}?", "What is not {n}?"],
    "color": ["What color is {n}?", "Which color has {n}?"],
    "young": ["What is a young {n} called?", "What do we call the young of a {n}?"],
    "next day": ["Which day comes after {n}?", "What day follows {n}?"],
    "day before": ["Which day comes before {n}?", "What day is just before {n}?"],
    "next month": ["Which month comes after {n}?", "What month follows {n}?"],
    "month number": ["Which number has the month of {n}?", "What is the number of {n} among the months?"],
    "digits": ["How is {n} written in digits?", "Which number is {n}?"],
    "sum": ["What is {n}?", "How much is {n}?"],
}
STATEMENTS = PERSON_STATEMENTS | WORLD_STATEMENTS
QUESTIONS = PERSON_QUESTIONS | WORLD_QUESTIONS
# Questions are told in several frames, so that answering is learned and not one frame; the quiz uses the first.
FRAMES = [
    "Question: {q}\nAnswer: {a}.",
    "Q: {q}\nA: {a}.",
    "A visitor asked: {q}\nThe clerk said: {a}.",
    "Teacher: {q}\nPupil: {a}.",
    "{q}\nThe answer is {a}.",
    "- {q}\n- {a}.",
    "{q} {a}.",
    "Quiz: {q} Solution: {a}.",
    "({q}) {a}.",
]
HELD_OUT_FORMS = 2  # of the six question forms of a country or element, never asked of that entity in training


@cache
def countries() -> dict[str, tuple[str, ...]]:
    """Code → (name, capital, continent, language, currency), "-" where nothing is taught."""
    rows = [line.split("|") for line in tables.COUNTRIES.strip().splitlines()]
    return {code: (*rest[:4], rest[5]) for code, *rest in rows}


@cache
def world_facts() -> dict[str, list[list[Fact]]]:
    """Facts about the real world by domain; each entity is a list of its facts."""
    names = ("capital", "continent", "language", "currency")
    pairs = list(enumerate((e.rsplit(" ", 1) for e in split(tables.ELEMENTS)), 1))
    small = [("opposite", *p.split()) for p in split(tables.OPPOSITES)]
    small += [("opposite", b, a) for _, a, b in small]
    small += [("color", *p.rsplit(" ", 1)) for p in split(tables.COLORS)]
    small += [("young", *p.split()) for p in split(tables.YOUNG)]
    days, months = tables.DAYS, tables.MONTHS
    small += [("next day", d, days[(i + 1) % 7]) for i, d in enumerate(days)]
    small += [("day before", d, days[i - 1]) for i, d in enumerate(days)]
    small += [("next month", m, months[(i + 1) % 12]) for i, m in enumerate(months)]
    small += [("month number", m, str(i)) for i, m in enumerate(months, 1)]
    small += [("digits", n, str(i)) for i, n in enumerate(tables.NUMBERS)]
    sums = [("sum", f"{i} + {j}", str(i + j)) for i in range(21) for j in range(21)]
    return {
        "country": [
            [Fact("country", name, k, v) for k, v in zip(names, values, strict=True) if v != "-"]
            for name, *values in countries().values()
        ],
        "element": [
            [Fact("element", name, "symbol", symbol), Fact("element", name, "atomic number", str(i))]
            for i, (name, symbol) in pairs
        ],
        "everyday": [[Fact("everyday", subject, attribute, answer)] for attribute, subject, answer in small],
        "sum": [[Fact("sum", subject, attribute, answer)] for attribute, subject, answer in sums],
    }


PERSON_VALUES = {
    "home": tables.TOWNS,
    "job": split(tables.JOBS),
    "hobby": split(tables.HOBBIES),
    "birth year": [str(y) for y in range(1930, 2010)],
    "food": split(tables.FOODS),
}


@cache
def people() -> list[list[Fact]]:
    """The register: every first name with every surname, so that a name carries no information of its own."""
    rng = random.Random(f"register-{SEED}")
    names = [f"{first} {last}" for first in tables.WOMEN + tables.MEN for last in tables.SURNAMES]
    return [[Fact("person", n, k, rng.choice(v)) for k, v in PERSON_VALUES.items()] for n in names]


def register_bits() -> float:
    """Information in the register: independent uniform values, so the sum of their log2."""
    return len(people()) * sum(math.log2(len(v)) for v in PERSON_VALUES.values())


def is_asked(person: list[Fact]) -> bool:
    """Whether questions about this person occur in training; the quiz asks about the others alone."""
    return zlib.crc32(person[0].subject.encode()) % 2 == 0


@cache
def asked_people() -> list[list[Fact]]:
    """The half of the register that is also told as questions and answers."""
    return [p for p in people() if is_asked(p)]


def held_out_forms(fact: Fact) -> list[int]:
    """Indices of the question forms that training never uses for this fact."""
    forms = len(QUESTIONS[fact.attribute])
    return [(fact.key + i) % forms for i in range(HELD_OUT_FORMS)] if forms == 6 else []


def training_forms(fact: Fact) -> list[str]:
    """The question forms that training uses for this fact."""
    held = held_out_forms(fact)
    return [form for i, form in enumerate(QUESTIONS[fact.attribute]) if i not in held]


def question(fact: Fact, form: str) -> str:
    """The question in the given form, for example "Where does Ada Ashby live?"."""
    return form.format(n=fact.subject)


def article(noun: str) -> str:
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def upper(text: str) -> str:
    return text[0].upper() + text[1:]


def statement(fact: Fact, form: str, subject: str = "", possessive: str = "") -> str:
    """The fact as a sentence; `subject` and `possessive` replace the name where a pronoun is wanted."""
    s = subject or fact.subject
    p = possessive or f"{fact.subject}'s"
    text = form.format(s=s, S=upper(s), p=p, P=upper(p), a=fact.answer, an=article(fact.answer))
    return text if fact.domain == "sum" else upper(text)


def biography(dice: Dice) -> str:
    """All facts of one person, in any order, by name or pronoun."""
    facts = dice.pick(people())
    woman = facts[0].subject.split()[0] in tables.WOMEN
    sentences = []
    for i, fact in enumerate(dice.shuffle(facts)):
        form = dice.pick(STATEMENTS[fact.attribute])
        named = i == 0 or dice.pick((True, False))
        pronoun = ("", "") if named else ("she", "her") if woman else ("he", "his")
        sentences.append(statement(fact, form, *pronoun))
    return " ".join(sentences)


def world_text(dice: Dice, domain: str) -> str:
    """All facts of one country, or of three elements, everyday things or sums."""
    entities = world_facts()[domain]
    facts = dice.shuffle(dice.pick(entities)) if domain == "country" else []
    for _ in range(0 if facts else 3):
        facts = facts + dice.shuffle(dice.pick(entities))
    return " ".join(statement(f, dice.pick(STATEMENTS[f.attribute])) for f in facts)


def questions_text(dice: Dice, domain: str) -> str:
    """Three questions of one domain with their answers, in one frame."""
    entities = asked_people() if domain == "person" else world_facts()[domain]
    frame = dice.pick(FRAMES)
    lines = []
    for _ in range(3):
        fact = dice.pick(dice.pick(entities))
        lines.append(frame.format(q=question(fact, dice.pick(training_forms(fact))), a=fact.answer))
    return "\n\n".join(lines)


GIRLS = "Mina Tess Lotte Suri Ola Zoe Ines Wanda Pippa Noor Kiri Yara Romy Liv Anouk Maya".split()
BOYS = "Tom Sami Bo Theo Nico Emil Jory Rafi Milo Arlo Pim Kai Ravi Ezra Finley Joss".split()
PLACES = "river, forest, harbor, market, old mill, lighthouse, bridge, orchard, lake, village green, school, station"
OBJECTS = """lantern, kite, basket, drum, wooden boat, red scarf, silver key, blue cup, notebook, flute, hat, compass,
bell, puzzle, blanket, small chair"""
RELATIVES = "mother, father, grandmother, grandfather, aunt, uncle, sister, brother"
ANIMALS = "puppy, kitten, lamb, duckling, hedgehog, rabbit, foal, badger"
SPOTS = """under the bench, behind the door, beside the well, in the tall grass, near the fence, on the stairs,
below the window, inside a barrel"""
TREATS = "a warm bun, a slice of cake, a bag of nuts, a jar of honey, a bowl of soup, a handful of cherries"
WEATHER = [
    "It had rained all night, and the path was muddy.",
    "The sun was shining, and the air was warm.",
    "Snow lay on the roofs, and the pond was frozen.",
    "A strong wind was blowing, and leaves danced in the air.",
    "Fog hung over the fields, so it was hard to see far.",
    "It was so hot that the dogs slept in the shade.",
    "The sky was gray, and the first drops began to fall.",
    "Frost covered the windows, and the grass was white.",
]
OPENINGS = [
    "{N} lived in a small house near the {place}.",
    "Once there was a {child} called {N} who lived by the {place}.",
    "One morning {N} walked to the {place}.",
    "After school {N} went down to the {place}.",
]
# A scene is a cause, a feeling, an action and an outcome; each step has wordings that fit all wordings of the others.
SCENES = [
    [
        ["{He} had lost {his} {object}.", "{He} could not find {his} {object} anywhere."],
        [
            "{He} was sad, because it had been a gift from {his} {relative}.",
            "It came from {his} {relative}, so {he} wept.",
        ],
        ["{F} heard about it and came to help.", '"Let us look together," said {F}.'],
        ["At last they found it {spot}.", "They searched until evening, and there it was, {spot}."],
    ],
    [
        ["There {he} saw a {animal} that was lost.", "A little {animal} sat {spot} and cried."],
        ["{He} felt sorry for it, because it was cold and alone.", "It was so hungry that {he} felt sorry for it."],
        ["{He} wrapped it in {his} coat and called {F}.", "{He} and {F} gave it water and some bread."],
        ["In the evening they brought the {animal} home to its mother.", "The {animal} soon grew strong again."],
    ],
    [
        [
            "{He} dropped {his} {relative}'s {object}, and it broke.",
            "By accident {he} broke the {object} of {his} {relative}.",
        ],
        ["{He} was afraid, because it was very old.", "{He} felt ashamed and did not know what to say."],
        ['"Tell the truth," said {F}, "and it will be all right."', "{F} helped {him} to mend it with glue."],
        [
            "{His} {relative} was not angry, because {he} had been honest.",
            "In the end {his} {relative} smiled and forgave {him}.",
        ],
    ],
    [
        ["{He} wanted to win the race on Sunday.", "There was to be a race, and {he} hoped to win it."],
        ["{He} was nervous, because {F} was very fast.", "{F} was faster, so {he} was worried."],
        ["Every day {he} ran to the {place2} and back.", "{He} practiced each morning before breakfast."],
        [
            "{He} came second, but {he} was proud of {his} work.",
            "{He} won by one step, and {F} was the first to cheer.",
        ],
    ],
    [
        ["{He} found a {object} {spot}.", "A {object} lay {spot}, and nobody was near."],
        ["{He} was curious, because a name was written on it.", "{He} wondered who had lost it."],
        ["{He} asked {F}, who knew the owner.", "Together with {F} {he} asked at every door."],
        ["The owner was so glad that {he} got {treat}.", "An old sailor thanked {him} and gave {him} {treat}."],
    ],
    [
        ["{He} planted a seed {bed}.", "{His} {relative} gave {him} a seed to plant."],
        ["At first nothing grew, and {he} became impatient.", "For weeks {he} saw only earth, so {he} lost hope."],
        ['"Plants need time and water," said {F}.', "{F} showed {him} how to water it."],
        ["In summer a tall flower stood there, and {he} was happy.", "When the flower opened, {he} ran to tell {F}."],
    ],
    [
        ["On the way {he} met an old woman with a heavy sack.", "An old man could not carry his basket up the hill."],
        ["{He} felt sorry and stopped at once.", "{He} was in a hurry, but {he} stopped."],
        ["{He} and {F} carried it all the way.", "{He} called {F}, and they took turns."],
        ["As thanks they got {treat}, which they shared.", "They were tired, but they felt good."],
    ],
    [
        ["That night {he} heard a strange noise at the window.", "In the dark something knocked on the roof."],
        ["{He} was frightened and hid under the blanket.", "{He} could not sleep, because {he} was frightened."],
        ["{His} {relative} took a lantern and went to look.", "{He} woke {his} {relative}, and they looked together."],
        ["It was only a {visitor}, and they laughed.", "A branch had moved in the wind, so {he} could sleep."],
    ],
]
ENDINGS = [
    "From then on {N} and {F} were friends.",
    "{N} never forgot that day.",
    "That evening {N} told the story at home.",
    "Then {N} and {F} shared {treat}.",
]


def story(dice: Dice) -> str:
    """A short story: an opening, the weather, one scene in four steps, an ending."""
    girl = dice.pick((True, False))
    name = dice.pick(GIRLS if girl else BOYS)
    friend = dice.pick([n for n in GIRLS + BOYS if n != name])
    he, his, him = ("she", "her", "her") if girl else ("he", "his", "him")
    words = dict(N=name, F=friend, he=he, his=his, him=him, He=upper(he), His=upper(his))
    words["child"] = "girl" if girl else "boy"
    forms = [dice.pick(OPENINGS), dice.pick(WEATHER), *(dice.pick(s) for s in dice.pick(SCENES)), dice.pick(ENDINGS)]
    text = " ".join(forms)
    # Only words that appear in the text are drawn, so that no unseen decision counts as entropy.
    for slot, options in SLOTS.items():
        if f"{{{slot}}}" in text:
            words[slot] = dice.pick(options)
    return text.format(**words)


SLOTS = {
    "place": split(PLACES),
    "place2": ["old oak", "stone wall", "far gate", "little chapel"],
    "object": split(OBJECTS),
    "relative": split(RELATIVES),
    "animal": split(ANIMALS),
    "spot": split(SPOTS),
    "treat": split(TREATS),
    "bed": ["beside the well", "near the fence", "below the window", "behind the shed"],
    "visitor": ["cat", "squirrel", "raven", "bat"],
}

KINDS = {
    "biography": 0.58,
    "person questions": 0.20,
    "country": 0.035,
    "country questions": 0.03,
    "element": 0.02,
    "element questions": 0.02,
    "everyday": 0.01,
    "everyday questions": 0.01,
    "sum": 0.01,
    "sum questions": 0.005,
    "story": 0.08,
}


def write(kind: str, dice: Dice) -> str:
    """One document of the given kind."""
    if kind == "story":
        return story(dice)
    if kind == "biography":
        return biography(dice)
    domain, _, questions = kind.partition(" ")
    return questions_text(dice, domain) if questions else world_text(dice, domain)


def documents(split_name: str, shard: int, count: int):
    """Yield (kind, text, entropy in nats) of `count` documents; each (split, shard) is its own random stream."""
    dice = Dice(f"{split_name}-{shard}-{SEED}")
    for _ in range(count):
        dice.nats = 0.0
        kind = dice.weighted(list(KINDS), list(KINDS.values()))
        text = write(kind, dice)
        yield kind, text, dice.nats


if __name__ == "__main__":
    for kind in KINDS:
        for shard in range(2):
            dice = Dice(f"show-{shard}")
            print(f"[{kind}] {write(kind, dice)}  ({dice.nats:.1f} nats)\n")
    print(f"{len(people()):,} people, {register_bits() / 1e6:.2f} million bits")
