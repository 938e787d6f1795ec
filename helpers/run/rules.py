"""The rules that a notebook is held to before it runs and after, beyond what papermill asks for."""

import ast
from pathlib import Path

import nbformat

from .. import exercises, results
from .outcome import NotebookError, NotebookRun

__all__ = ["check", "collect", "first_line", "parameters_of"]


def check(path: Path, parameters: dict) -> None:
    """Hold the notebook to the rules that need no kernel, and that papermill does not have."""
    name = path.stem
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
    except FileNotFoundError:
        raise NotebookError(f"{name}: there is no file {path.name}.") from None
    except Exception as error:
        raise NotebookError(f"{name}: {path.name} is no valid notebook: {first_line(error)}.") from None
    if (path.parent / "helpers.py").exists():  # Python looks beside the notebook first
        raise NotebookError(f"{name}: the file helpers.py beside it hides the course's package: give it another name.")
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    if len(tagged) != 1:
        what = "no cell" if not tagged else f"{len(tagged)} cells"
        raise NotebookError(f'{name}: {what} with the tag "parameters"; exactly one code cell must have it.')
    known = parameters_of(name, tagged[0].source)
    for parameter in parameters:
        if parameter not in known:
            raise NotebookError(f"{name}: unknown parameter {parameter}; it has {', '.join(known) or 'none'}.")
        given, default = parameters[parameter], known[parameter]
        number = isinstance(default, float) and isinstance(given, int) and not isinstance(given, bool)
        if default is not None and type(given) is not type(default) and not number:
            raise NotebookError(
                f"{name}: {parameter} is {given!r}; give it as in the notebook, where it is {default!r}."
            )


def parameters_of(name: str, source: str) -> dict[str, object]:
    """Return what the parameters cell assigns, by name; anything but `NAME = literal` is an error."""
    try:
        statements = ast.parse(source).body
    except SyntaxError as error:
        raise NotebookError(f"{name}: the parameters cell is no valid Python: {error.msg}.") from None
    names = {}
    for statement in statements:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        try:
            if not isinstance(statement, (ast.Assign, ast.AnnAssign)) or not isinstance(targets[0], ast.Name):
                raise ValueError
            if len(targets) > 1 or value is None or targets[0].id in names:
                raise ValueError
            names[targets[0].id] = ast.literal_eval(value)
        except ValueError:
            text = ast.get_source_segment(source, statement)
            rule = "the parameters cell holds literals only, each name once; compute after it"
            raise NotebookError(f"{name}: {rule} (found: {text[:80]}).") from None
    return names


def collect(notebook: nbformat.NotebookNode, run: NotebookRun) -> None:
    """Take record and exercises from the outputs, or raise NotebookError."""
    code = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    records = []
    for i, cell in code:
        for output in cell.outputs:
            if output.output_type == "error":
                raise NotebookError(f"{run.name}: cell {i + 1} shows an error: {output.ename}: {output.evalue}.", run)
            data = output.get("data", {})
            if exercises.MIME in data:
                run.exercises.append(dict(data[exercises.MIME]))
            if results.MIME in data:
                records.append((i, data[results.MIME]))
        if "exercise" in cell.metadata.get("tags", []) and not _mimes(cell, exercises.MIME):
            raise NotebookError(f"{run.name}: the exercise in cell {i + 1} shows no check: end it with one.", run)
    if not records:
        raise NotebookError(f"{run.name}: nothing is recorded: end the last code cell with results.record.", run)
    if len(records) > 1:
        raise NotebookError(f"{run.name}: {len(records)} records, and there must be one, in the last code cell.", run)
    at, bundle = records[0]
    if at != code[-1][0]:
        raise NotebookError(f"{run.name}: the record is in cell {at + 1} and must be in the last code cell.", run)
    if not isinstance(bundle, dict) or bundle.get("notebook") != run.name:
        named = bundle.get("notebook") if isinstance(bundle, dict) else None
        raise NotebookError(f"{run.name}: its record names the notebook {named!r}; the name must be the file's.", run)
    if not isinstance(bundle.get("values"), dict) or not bundle["values"]:
        raise NotebookError(f"{run.name}: its record holds no values.", run)
    run.record = dict(bundle["values"])
    run.headline = str(run.record.get("headline", ""))


def _mimes(cell: nbformat.NotebookNode, mime: str) -> list:
    return [output.data[mime] for output in cell.outputs if mime in output.get("data", {})]


def first_line(error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].strip().rstrip(".")[:300] if lines else type(error).__name__
