"""What a claim and a verdict are, and how two verdicts become one; the rules themselves are in `verdicts.py`."""

from collections.abc import Callable
from dataclasses import dataclass

from .margins import settled
from .quotes import QUOTES

__all__ = ["CLAIMS", "FAULTS", "OF_THE_LIBRARY", "Claim", "Verdict", "claim", "combined", "fault", "judge", "witnessed"]

KINDS = ("true", "false", "depends", "open", "not measured")


@dataclass(frozen=True)
class Verdict:
    """`verdict` is "true", "false", "depends on …", "open…" or "not measured"; `because` says it in figures.

    "open" is an interval that lies neither inside the margin nor outside: more has to be measured.
    """

    verdict: str
    because: str = ""

    @property
    def kind(self) -> str:
        """The verdict without what it depends on, or what would decide it."""
        return next(kind for kind in KINDS if self.verdict.startswith(kind))


@dataclass(frozen=True)
class Claim:
    """A claim in the guide's own words (`QUOTES`) and, `short`, in a few of ours; how it is tested, a source, what it
    needs, and its judge.
    """

    id: str
    topic: str
    short: str
    claim: str
    test: str
    source: str
    needs: tuple[str, ...]
    rule: Callable[..., Verdict]


CLAIMS: dict[str, Claim] = {}


def claim(id: str, topic: str, short: str, test: str, source: str, *needs: str):
    """Register the decorated function as the judge of a claim; the guide's words for it are in `quotes.py`."""

    def register(rule):
        CLAIMS[id] = Claim(id, topic, short, QUOTES[id], test, source, needs, rule)
        return rule

    return register


OF_THE_LIBRARY = ("storage",)  # what bitsandbytes does is the same for every model, so one measured model decides

FAULTS = {  # what is wrong with a claim that does not hold; what is in no list here follows from the verdict
    "holds": (),
    "forgets\na part": ("range", "table", "linear", "saves", "dq-bits"),
    "lacks a\ncondition": ("int4", "faster", "simplified"),
    "too little\nmeasured": ("mmlu", "dq-loss"),
    "out of\ndate": ("hardware",),
    "isn't so": ("intro", "fewer", "long", "loss", "conclusion", "2gb", "targets"),
}


def fault(id: str, kind: str) -> str:
    """Under which of `FAULTS` a claim with this verdict goes."""
    if kind in ("open", "not measured"):
        return "too little\nmeasured"
    if kind == "true":
        return "holds"
    named = next((name for name, ids in FAULTS.items() if id in ids), None)
    by_kind = {"depends": "lacks a\ncondition", "false": "isn't so"}
    return named or by_kind.get(kind, "too little\nmeasured")


def witnessed(verdicts: dict[str, Verdict]) -> Verdict:
    """One verdict of several models of a kind, by name: the common one, or what `settled` leaves of them."""
    first = next(iter(verdicts.values()))
    kinds = {name: verdict.kind for name, verdict in verdicts.items() if verdict.kind != "not measured"}
    if len(set(kinds.values())) <= 1:
        return first
    kind = "depends" if "depends" in kinds.values() else settled(list(kinds.values()))
    told = " ".join(
        [first.because, *(f"On {name}: {v.because}" for name, v in list(verdicts.items())[1:] if v.because)]
    )
    return Verdict("depends on the model" if kind == "depends" else kind, told)


def judge(id: str, measured: dict) -> Verdict:
    """Judge one claim by a measurement; "not measured" where a part that it needs is missing or None."""
    asked = CLAIMS[id]
    parts = [measured.get(need) for need in asked.needs]
    if any(part is None for part in parts):
        return Verdict("not measured")
    return asked.rule(*parts)


def combined(here: Verdict, recorded: Verdict, name: str = "this model", timed: bool = False) -> str:
    """One verdict of two models: the common one, or that it depends on the model, and on what else one of them met.

    A model that was not measured is an open case, so the verdict names what the other one says so far; `name` is the
    model's here. What was `timed` differs in the machine as well.
    """
    if "not measured" in (here.kind, recorded.kind):
        if here.kind == recorded.kind:
            return here.verdict
        one, place, other = (here, name, "Mistral-7B")
        if here.kind == "not measured":
            one, place, other = (recorded, "Mistral-7B's shapes", name)
        if one.kind == "depends":  # whatever the other would say
            return f"{one.verdict}, on {place} alone"
        so_far = "open" if one.kind == "open" else f"open: {one.verdict}"
        return f"{so_far} on {place}, not measured on {other}"
    if here.kind == recorded.kind == "false" and here.verdict != recorded.verdict:  # false for opposite reasons
        here_why, recorded_why = (verdict.verdict.removeprefix("false: ") for verdict in (here, recorded))
        elsewhere = "Mistral-7B's shapes on another machine" if timed else "Mistral-7B's shapes"
        return f"false: with {name} it is {here_why}, and with {elsewhere} it is {recorded_why}"
    if here.kind == recorded.kind:
        return here.verdict
    conditions = [v.verdict.removeprefix("depends on ") for v in (recorded, here) if v.kind == "depends"]
    conditions = [condition for condition in conditions if condition != "the model"]
    return ", and on ".join(["depends on the model and machine" if timed else "depends on the model", *conditions[:1]])
