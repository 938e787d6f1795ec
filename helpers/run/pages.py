"""What a run leaves to read: a page for each notebook, an index, and all figures as JSON."""

import copy
import html
import json
import re
from pathlib import Path

import nbformat

from .. import files, results
from .outputs import WIDGET_VIEW

__all__ = ["page", "relative", "report", "summary"]

# on paper, a line of code that is too long goes on below
ON_PAPER = "@media print { .highlight pre { white-space: pre-wrap !important; } }"
# The exporter's sanitizer closes <details> before what stands in it, so that a solution would lie open on the page:
# folds go through it as paragraphs
OPENS = re.compile(r"<details>\s*<summary>(.*?)</summary>", re.S)


def page(notebook: nbformat.NotebookNode, names: list[str]) -> str:
    """Return the notebook as one HTML page that opens offline, its links to other notebooks turned to their pages."""
    from nbconvert import HTMLExporter

    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)  # the page has no widget manager; every widget has a static figure beside it
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if WIDGET_VIEW not in output.get("data", {})]
            if cell.metadata.get("jupyter", {}).get("source_hidden"):  # fold it, as JupyterLab does
                source = f"fold-Code-\n\n````python\n{cell.source}\n````\n\n-fold\n"
                cells.append(nbformat.v4.new_markdown_cell(source))
                cell.metadata["transient"] = {"remove_source": True}
        else:
            cell.source = OPENS.sub(r"\n\nfold-\1-\n\n", cell.source).replace("</details>", "\n\n-fold\n")
        cells.append(cell)
    notebook.cells = cells
    notebook.metadata["title"] = next((cell.source.splitlines()[0].lstrip("# ") for cell in notebook.cells[:1]), "")
    exporter = HTMLExporter(embed_images=True, require_js_url="", jquery_url="", mermaid_js_url="")
    page, _ = exporter.from_notebook_node(notebook)
    # the exporter's template drops the figures' alternative texts and says so instead
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    images = [output.get("metadata", {}).get("image/png", {}) for output in outputs if "image/png" in output.data]
    nothing = "No description has been provided for this image"
    for image in images:
        page = page.replace(f'alt="{nothing}"', f'alt="{html.escape(image.get("alt", nothing.lower()))}"', 1)
    page = re.sub(r"<p>fold-(.*?)-</p>", r"<details><summary>\1</summary>", page).replace("<p>-fold</p>", "</details>")
    page = page.replace("</head>", f"<style>{ON_PAPER}</style>\n</head>", 1)
    for name in names:
        page = page.replace(f'href="{name}.ipynb"', f'href="{name}.html"')
    return page.replace('href="README.md"', 'href="index.html"')


def report(build: Path, order: list[str], entries: dict[str, dict]) -> None:
    """Write results.json and index.html; results of notebooks that did not run now, or failed now, are kept."""
    environment, kept = results.environment(), {}
    try:
        earlier = json.loads((build / "results.json").read_text(encoding="utf-8"))
        if earlier["environment"] == environment:  # else they would be shown under a machine they were not made on
            kept = earlier["notebooks"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    merged = dict(kept)
    for name, entry in entries.items():
        if "error" in entry and "values" in kept.get(name, {}):
            merged[name] = {**kept[name], "error": entry["error"], "failed_on": entry["date"]}
        else:
            merged[name] = entry
    merged = {
        name: merged[name] for name in [*order, *(name for name in merged if name not in order)] if name in merged
    }
    content = {"environment": environment, "date": results.today(), "notebooks": merged}
    files.write(build / "results.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    files.write(build / "index.html", _index(build, content))


def _index(build: Path, content: dict) -> str:
    rows = []
    for name, entry in content["notebooks"].items():
        links = [f'<a href="{name}.html">{name}</a>' if (build / f"{name}.html").is_file() else name]
        if (build / f"{name}.ipynb").is_file():
            links.append(f'<a href="{name}.ipynb">notebook</a>')
        if "error" in entry and (build / f"{name}.failed.html").is_file():
            links.append(f'<a href="{name}.failed.html">what ran before it failed</a>')
        said = html.escape(f"Failed: {entry['error']}" if "error" in entry else entry.get("headline", ""))
        cells = [" · ".join(links), f"{entry['seconds']:.0f} s", _size(entry["peak_memory_bytes"]), said]
        cells += [html.escape(str(entry["model_id"])), entry["date"]]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    environment = content["environment"]
    versions = ", ".join(f"{package} {version}" for package, version in environment["versions"].items())
    where = html.escape(f"{environment['hardware']}; Python {environment['python']}; {versions}")
    heads = ("Notebook", "Time", "Peak memory", "Result", "Model", "Date")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Mistral-7B in 4 bits: results</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }}
body {{ color: #222; background: #fff; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ddd; }}
td:nth-child(2), td:nth-child(3) {{ text-align: right; white-space: nowrap; }}
</style>
</head>
<body>
<h1>Mistral-7B in 4 bits</h1>
<p>{where}</p>
<table>
<thead><tr>{"".join(f"<th>{head}</th>" for head in heads)}</tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table>
<p>All figures: <a href="results.json">results.json</a></p>
</body>
</html>
"""


def summary(entries: dict[str, dict]) -> str:
    rows = [("notebook", "seconds", "peak memory", "result")]
    for name, entry in entries.items():
        said = "FAILED" if "error" in entry else entry.get("headline", "")
        rows.append((name, f"{entry['seconds']:.1f}", _size(entry["peak_memory_bytes"]), said))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    lines = [f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count else "–"


def relative(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
