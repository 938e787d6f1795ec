"""Outputs fit to be kept in a notebook, and a hash of the code that they came from."""

import copy
import hashlib
import json
import os
from pathlib import Path

import nbformat

from .course import ROOT

__all__ = ["SOURCES", "WIDGET_VIEW", "clean", "sources"]

SOURCES = "mistral_4bit_sources"  # in a notebook's metadata: what its outputs were made from
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def sources(notebook: nbformat.NotebookNode) -> str:
    """Return a hash of the code that makes a notebook's outputs.

    Text, and with it the badges, can change without a new run, and so can the cell that sets up Colab: it does nothing
    elsewhere. Parameters that a run injects are no sources.
    """
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and "google.colab" not in cell.source]
    code = [cell.source for cell in code if "injected-parameters" not in cell.metadata.get("tags", [])]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:16]


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Return an executed notebook fit to be kept: no papermill, timing or widget leftovers, no path of this machine.

    Its metadata say which sources the outputs belong to.
    """
    notebook = copy.deepcopy(notebook)
    for key in ("papermill", "widgets"):
        notebook.metadata.pop(key, None)
    notebook.metadata.get("language_info", {}).pop("version", None)  # differs between machines, says nothing
    notebook.cells = [cell for cell in notebook.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    count = 0
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        if not cell.metadata.get("tags", True):
            cell.metadata.pop("tags")
        if cell.cell_type != "code":
            continue
        count += bool(cell.source.strip())
        cell.execution_count = count if cell.source.strip() else None
        cell.outputs = [output for output in cell.outputs if WIDGET_VIEW not in output.get("data", {})]
        for i, output in enumerate(cell.outputs):
            if output.output_type == "execute_result":
                output.execution_count = count
            cell.outputs[i] = nbformat.from_dict(_without_paths(output))
    notebook.metadata[SOURCES] = sources(notebook)
    return notebook


def _without_paths(value):
    if isinstance(value, dict):
        return {key: item if key == "image/png" else _without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    if isinstance(value, str):
        for folder, short in ((str(ROOT) + os.sep, ""), (str(ROOT), "."), (str(Path.home()) + os.sep, "~" + os.sep)):
            if len(folder) > 2:
                value = value.replace(folder, short)
    return value
