"""One page for each notebook that a teacher can print: its goal, what to ask, what to draw, what goes wrong.

Whatever a notebook says itself is taken from it: its title and times, its opening, the boxes "Common mistake", the
questions at its end, and the drawing. The rest, written by hand, is in site/teachers.json, by number:
`ask`, three pairs of a question and what to listen for; `board`, the id of the cell whose drawing belongs on the board;
`draw`, how to draw it there; `wrong`, what else goes wrong in a room.
"""

import base64
import html
import json
import re
from collections.abc import Callable
from pathlib import Path

import nbformat

from helpers import run
from helpers.errors import CourseError

BY_HAND = Path(__file__).resolve().parent.parent / "site" / "teachers.json"
MISTAKE = re.compile(r"^> \*\*Common mistake\.\*\* (.+(?:\n>.*)*)", re.M)
CODE = re.compile(r" [^.!?]*:\n\n```.*?^```\n", re.M | re.S)  # and the sentence that leads to it
OPENING = re.compile(r"^## .+\n+(.+)$", re.M)
TIME = re.compile(r"^\| (\d+ min) \|", re.M)


def anchor(name: str) -> str:
    return f"teach-{name[:2]}"


def by_hand() -> dict[str, dict]:
    return json.loads(BY_HAND.read_text(encoding="utf-8"))


def goals() -> dict[str, str]:
    """What each notebook's learner does, by the notebook's name, as the map says it."""
    text = (run.NOTEBOOKS / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^\| \d+ \| \[.+?\]\((\w+)\.ipynb\) \| (.+?) \| \d+ min \|", text, re.M))


def facts(notebook: nbformat.NotebookNode) -> dict:
    """What a notebook says itself: its `time`, `opening`, `mistakes` and `questions`, in Markdown."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    text = "\n\n".join(cells)
    end = text[text.index("## Before you go on") : text.index("## Summary")]
    return {
        "time": TIME.search(cells[0])[1],
        "opening": OPENING.search(cells[1])[1],
        "mistakes": [in_a_line(box) for box in MISTAKE.findall(text)],
        # a summary is HTML, and the rest Markdown
        "questions": [re.sub("</?code>", "`", html.unescape(q)) for q in re.findall(r"<summary>(.*?)</summary>", end)],
    }


def in_a_line(box: str) -> str:
    """The words of a box as one paragraph, without code that stands by itself."""
    return " ".join(CODE.sub("", re.sub(r"^> ?", "", box, flags=re.M)).split())


def drawing(notebook: nbformat.NotebookNode, cell_id: str) -> tuple[bytes, str]:
    """The drawing that a cell shows, and its alternative text."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []) if cell.get("id") == cell_id else []:
            if "image/png" in output.get("data", {}):
                image = base64.b64decode(output.data["image/png"])
                return image, output.metadata["image/png"]["alt"]
    raise CourseError(f"site/teachers.json: there is no drawing in a cell {cell_id}.")


def sheet(name: str, title: str, text: Callable[[str], str], store: Callable[[bytes], str]) -> str:
    """The page of one notebook as HTML; `text` reads Markdown, and `store` keeps a picture and returns its address."""
    notebook = nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4)
    try:
        own = by_hand()[name[:2]]
    except KeyError:
        raise CourseError(f"site/teachers.json has no entry {name[:2]}: a teacher's page needs one.") from None
    said, (image, alt) = facts(notebook), drawing(notebook, own["board"])
    asked = "\n".join(f"<li>{text(question)}{text('*Listen for:* ' + answer)}</li>" for question, answer in own["ask"])
    wrong = "\n".join(f"<li>{text(item)}</li>" for item in [*said["mistakes"], *own["wrong"]])
    last = "\n".join(f"<li>{text(question)}</li>" for question in said["questions"])
    return f"""<section class="sheet" id="{anchor(name)}">
<h2><a href="{name}.html">{name[:2]} · {html.escape(title)}</a> <small>{said["time"]} alone</small></h2>
<p class="goal"><b>Goal.</b> {html.escape(goals()[name])}.</p>
<div class="opening">{text(said["opening"])}</div>
<div class="board"><img src="{store(image)}" alt="{html.escape(alt)}">
<div>{text("**On the board.** " + own["draw"])}</div></div>
<div class="halves">
<div><h3>Ask</h3>
<ol>
{asked}
</ol>
<h3>Before they go</h3>
<ul>
{last}
</ul></div>
<div><h3>What goes wrong</h3>
<ul>
{wrong}
</ul></div>
</div>
</section>"""
