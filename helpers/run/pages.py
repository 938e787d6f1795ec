"""What a run leaves to read: a page for each notebook, an index, and all figures as JSON."""

import html
import json
from pathlib import Path

import nbformat

from .. import files, pages, results
from .course import titles

__all__ = ["page", "relative", "report", "summary"]


def page(notebook: nbformat.NotebookNode, folder: Path, name: str, mark: str = "") -> str:
    """Return the notebook `name` of `folder` as one HTML page that opens offline, in the look of the course's site.

    `mark` says what run it shows. Links to other notebooks lead to their pages, and the map's to the index.
    """
    places = _places(folder)

    def link(target: str) -> str | None:
        stem, dot, anchor = target.removeprefix("./").partition(".ipynb")
        if dot:
            return f"{stem}.html{anchor}"
        if target.startswith("README.md"):
            return "index.html"
        return target if target.startswith(("#", "https://", "http://", "mailto:")) else None

    sheet = pages.sheet(notebook, pages.Text(link))
    above = f'<p class="run">Your run{": " if mark else ""}{html.escape(mark)}</p>'
    return pages.frame(
        sheet.title or name, sheet.body, places=places, here=f"{name}.html", headings=sheet.headings, above=above
    )


def _places(folder: Path) -> dict[str, list[pages.Place]]:
    notebooks = [pages.Place(f"{name}.html", name[:2], title) for name, title in titles(folder).items()]
    return {"Your run": [pages.Place("index.html", "", "Results"), *notebooks]}


def report(build: Path, folder: Path, entries: dict[str, dict]) -> None:
    """Write results.json and index.html; results of notebooks that did not run now, or failed now, are kept."""
    environment, kept, order = results.environment(), {}, list(titles(folder))
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
    files.write(build / "index.html", _index(build, content, folder))


def _index(build: Path, content: dict, folder: Path) -> str:
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
    body = f"""<h1>Your run</h1>
<p>{where}</p>
<div class="wide" tabindex="0"><table>
<thead><tr>{"".join(f"<th>{head}</th>" for head in heads)}</tr></thead>
<tbody>
{chr(10).join(rows)}
</tbody>
</table></div>
<p>All figures: <a href="results.json">results.json</a></p>"""
    return pages.frame("Your run", body, places=_places(folder), here="index.html", kind="results")


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
