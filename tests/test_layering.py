"""Imports in `helpers` run one way: a module may import from the floors below its own, and from nowhere else."""

import ast
from pathlib import Path

import pytest

HELPERS = Path(__file__).resolve().parent.parent / "helpers"
# From the ground up. Modules of one floor do not know each other; `helpers` itself stands on the lowest.
FLOORS = (
    "errors quiet",
    "claims colab embedded.tables exercises formats levers nf4 plots results schemes",
    "embedded.corpus exercises.* explore kernels rehearsal run",
    "embedded.train memory record",
    "models speed",
    "checkup fitting quality sharing weights",
    "costs embedded.evaluate finetune",
    "evidence",
)


def floor_of(module: str) -> int:
    """Return the number of a module's floor, the lowest being 0."""
    names = (module, f"{module.rpartition('.')[0]}.*")
    (number,) = (i for i, floor in enumerate(FLOORS) if set(names) & set(floor.split()))
    return number


def modules() -> dict[str, Path]:
    """Return the course's modules by their name within `helpers`, packages by the name of their folder."""
    files = {path.relative_to(HELPERS).with_suffix(""): path for path in HELPERS.rglob("*.py")}
    named = {".".join(name.parts).removesuffix("__init__").rstrip("."): path for name, path in files.items()}
    return {name: path for name, path in named.items() if name and path.stat().st_size}


def imported(name: str, source: str, known: set[str]) -> set[str]:
    """Return which of the `known` modules the module `name` imports anywhere in its text, in functions, too."""
    found = set()
    package = name.split(".") if f"{name}.nb00" in known else name.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ImportFrom):
            targets = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        else:
            base = ["helpers", *package[: len(package) - node.level + 1]] if node.level else []
            targets = [".".join([*base, *(node.module or "").split("."), ""]) + alias.name for alias in node.names]
        for target in targets:
            parts = target.replace("..", ".").split(".")
            if parts[0] == "helpers":
                inner = [".".join(parts[1:end]) for end in range(len(parts), 1, -1)]
                found |= {next((module for module in inner if module in known), "")} - {"", name}
    return found


def climbs(sources: dict[str, str]) -> list[str]:
    """Return a sentence for each import that does not lead down."""
    return [
        f"{name} imports {target}, which is no floor below it"
        for name, source in sources.items()
        for target in sorted(imported(name, source, set(sources)))
        if floor_of(target) >= floor_of(name)
    ]


SOURCES = {name: path.read_text(encoding="utf-8") for name, path in modules().items()}


def test_every_module_has_its_floor():
    assert len({floor_of(name) for name in SOURCES}) == len(FLOORS)
    listed = {name for floor in FLOORS for name in floor.split() if not name.endswith("*")}
    assert listed <= set(SOURCES) and len(listed) == sum(len(floor.split()) for floor in FLOORS) - 1


def test_imports_run_down():
    assert climbs(SOURCES) == []
    assert {"memory", "errors", "results"} <= imported("models", SOURCES["models"], set(SOURCES))
    assert imported("embedded.evaluate", SOURCES["embedded.evaluate"], set(SOURCES)) == {"models", "quality", "results"}


@pytest.mark.parametrize(
    ("low", "line", "high"),
    [
        ("memory", "from . import models", "models"),
        ("memory", "def f():\n    from .models import config", "models"),
        ("schemes", "import helpers.memory", "memory"),
        ("results", "from helpers import run", "run"),
        ("embedded.corpus", "from ..finetune import Recipe", "finetune"),
        ("exercises", "from .nb05 import kv_bytes", "exercises.nb05"),
        ("models", "from . import speed", "speed"),  # a neighbor of the same floor
    ],
)
def test_an_import_that_is_turned_round_is_found(low, line, high):
    turned = SOURCES | {low: f"{SOURCES[low]}\n{line}\n"}
    assert climbs(turned) == [f"{low} imports {high}, which is no floor below it"]


def test_helpers_know_nothing_of_what_is_built_on_them():
    for name, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {part.split(".")[0] for part in names} & {"benchmarks", "scripts", "tests"}, name
