"""The functions that a notebook writes out in full, to hold them against the library's."""

import ast
from types import SimpleNamespace

import nbformat

from helpers import run


def functions(notebook: str, *names: str, **given) -> SimpleNamespace:
    """Return the functions `names` of a notebook, run in a namespace of their own with what is `given`."""
    cells = nbformat.read(run.NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells
    found = dict(given)
    for cell in cells:
        if cell.cell_type != "code":
            continue
        for node in ast.parse(cell.source).body:
            if isinstance(node, ast.FunctionDef) and node.name in names:
                exec(compile(ast.Module([node], []), notebook, "exec"), found)
    missing = [name for name in names if name not in found]
    assert not missing, f"{notebook} does not define {', '.join(missing)}"
    return SimpleNamespace(**{name: found[name] for name in names}, namespace=found)
