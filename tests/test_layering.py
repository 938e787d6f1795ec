"""Imports in `helpers` run one way: a room knows the rooms on the floors below its own, and nothing else.

A room is a module, or a package with all that is in it. Within a package imports must not go round in a circle.
"""

import ast
import importlib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

HELPERS = Path(__file__).resolve().parent.parent / "helpers"
# From the ground up. Rooms of one floor do not know each other; `helpers` itself stands on the lowest.
FLOORS = (
    "errors quiet",
    "english files layers",
    "colab exercises formats nf4 padding pages plots recipe results schemes skeleton",
    "draw export kernels run",
    "levers",
    "adapters",
    "decoding learn memory record",
    "models speed",
    "calibration checkup effort merge publish quality reload sharding widgets",
    "llamacpp mini",
    "finetune",
    "claims",
)


def room_of(module: str) -> str:
    return module.split(".")[0]


def floor_of(module: str) -> int:
    """Return the number of a module's floor, the lowest being 0."""
    (number,) = (i for i, floor in enumerate(FLOORS) if room_of(module) in floor.split())
    return number


def sources() -> dict[str, str]:
    """Return the text of the course's modules by their name within `helpers`, of packages by that of their folder."""
    files = {path.relative_to(HELPERS).with_suffix(""): path for path in HELPERS.rglob("*.py")}
    named = {".".join(name.parts).removesuffix("__init__").rstrip("."): path for name, path in files.items()}
    return {name: path.read_text(encoding="utf-8") for name, path in named.items() if name}


def imported(name: str, texts: dict[str, str]) -> set[str]:
    """Return which of the modules the module `name` imports anywhere in its text, in functions, too."""
    found = set()
    is_package = any(other.startswith(f"{name}.") for other in texts) or name == "mini"
    package = name.split(".") if is_package else name.split(".")[:-1]
    for node in ast.walk(ast.parse(texts[name])):
        targets = []
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ["helpers", *package[: len(package) - node.level + 1]] if node.level else []
            base += node.module.split(".") if node.module else []
            targets = [".".join([*base, alias.name]) for alias in node.names]
        for parts in (target.split(".") for target in targets):
            if parts[0] == "helpers":  # the longest part of the name that is a module: the rest are names in it
                inner = (".".join(parts[1:end]) for end in range(len(parts), 1, -1))
                found |= {next((module for module in inner if module in texts), name)} - {name}
    return found


def climbs(texts: dict[str, str]) -> list[str]:
    """Return a sentence for each import that does not lead down, and for each package with a circle."""
    said, inside = [], {}
    for name in texts:
        for target in sorted(imported(name, texts)):
            if room_of(target) == room_of(name):
                inside.setdefault(room_of(name), {}).setdefault(name, set()).add(target)
            elif floor_of(target) >= floor_of(name):
                said.append(f"{name} imports {target}, which is no floor below it")
    for room, graph in inside.items():
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            said.append(f"{room} has a circle: {' → '.join(reversed(error.args[1]))}")
    return said


TEXTS = sources()


def test_every_room_has_its_floor():
    listed = [room for floor in FLOORS for room in floor.split()]
    assert sorted(listed) == sorted({room_of(name) for name in TEXTS})


def test_imports_run_down():
    assert climbs(TEXTS) == []
    assert {"models.hub", "memory", "results"} <= imported("models.choose", TEXTS)
    assert imported("mini.evaluate", TEXTS) == {"models", "quality", "results"}
    assert {"memory.forecast", "memory.budget", "schemes"} <= imported("memory", TEXTS)


@pytest.mark.parametrize(
    ("low", "line", "said"),
    [
        ("memory", "from helpers import models", "models, which is no floor below"),
        ("memory.forecast", "def f():\n    from ..models import config", "models, which is no floor below"),
        ("schemes", "import helpers.memory", "memory, which is no floor below"),
        ("results", "from helpers import run", "run, which is no floor below"),
        ("mini.corpus", "from ..finetune.data import Question", "finetune.data, which is no floor below"),
        ("models", "from helpers import speed", "speed, which is no floor below"),  # a neighbor of the same floor
        ("models.hub", "from .loading import load", "models has a circle"),
        ("memory.budget", "from . import forecast", "memory has a circle"),
        ("exercises", "from .nb05 import kv_bytes", "exercises has a circle"),
    ],
)
def test_an_import_that_is_turned_round_is_found(low, line, said):
    turned = TEXTS | {low: f"{TEXTS[low]}\n{line}\n"}
    assert [said in sentence for sentence in climbs(turned)] == [True]


@pytest.mark.parametrize("name", TEXTS)
def test_every_module_can_be_imported(name):
    """A program's `__main__`, too, which nothing else imports."""
    assert importlib.import_module(f"helpers.{name}")


def test_helpers_know_nothing_of_what_is_built_on_them():
    for name, text in TEXTS.items():
        for node in ast.walk(ast.parse(text)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {part.split(".")[0] for part in names} & {"benchmarks", "scripts", "tests"}, name
