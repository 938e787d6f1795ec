"""Answers put in front of each stub of a notebook: the solution, the likely wrong ones, the solution again."""

import importlib
import re
from pathlib import Path

import nbformat
import pytest

__all__ = ["SOLVED", "WRONG", "exercise_id", "tagged", "with_answers", "without_answers", "wrong_answers"]

SOLVED, WRONG = "solved", "wrong-answer"  # tags of the cells that are put in


def tagged(cell, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def exercise_id(source: str) -> str:
    ids = re.findall(r"""exercises\.check\(\s*["'](\d\d-\d+)["']""", source)
    assert len(ids) == 1, f"one exercises.check a stub, not {ids}"
    return ids[0]


def solution(markdown: str) -> str:
    """Return the one Python block of a cell tagged `solution`."""
    blocks = re.findall(r"^```python\n(.*?)^```", markdown, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1, f"a solution has one ```python block, this one {len(blocks)}: {markdown[:80]!r}"
    assert re.match(r"<details>\s*<summary>Solution</summary>\n\n", markdown), "a solution is folded: <details>"
    assert markdown.rstrip().endswith("</details>")
    return blocks[0].rstrip("\n")


def wrong_answers(name: str) -> dict[str, list[tuple[str, str]]]:
    """Return, by exercise, the wrong answers of `tests/wrong_answers` and a piece of the hint that each must get."""
    try:
        wrong = importlib.import_module(f"wrong_answers.nb{name[:2]}").WRONG
    except ModuleNotFoundError:
        pytest.fail(f"{name} has no {Path('tests', 'wrong_answers', f'nb{name[:2]}.py')}")
    return {exercise: list(given) for exercise, given in wrong.items()}


def with_answers(notebook: nbformat.NotebookNode, wrong: dict) -> nbformat.NotebookNode:
    """Return the notebook with answers before each stub, which comes last, so that the rest runs unsolved."""
    cells = []
    for i, cell in enumerate(notebook.cells):
        if tagged(cell, "exercise"):
            after = notebook.cells[i + 1]
            assert after.cell_type == "markdown" and tagged(after, "solution"), f"cell {i + 1}: no solution after it"
            source, name = solution(after.source), exercise_id(cell.source)
            assert exercise_id(source) == name, f"the solution of {name} checks {exercise_id(source)}"
            solved = {"tags": [SOLVED], "exercise": name}
            cells.append(nbformat.v4.new_code_cell(source, metadata=solved))
            for answer, hint in wrong.get(name, []):
                more = {"tags": [WRONG], "hint": hint, "exercise": name}
                cells.append(nbformat.v4.new_code_cell(answer, metadata=more))
            cells.append(nbformat.v4.new_code_cell(source, metadata=dict(solved)))
        cells.append(cell)
    notebook.cells = cells
    return notebook


def without_answers(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return the notebook without the cells that `with_answers` put in."""
    notebook.cells = [cell for cell in notebook.cells if not tagged(cell, SOLVED) and not tagged(cell, WRONG)]
    return notebook
