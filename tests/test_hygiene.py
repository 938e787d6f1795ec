"""The form of the course: notebooks by one skeleton, links that lead somewhere, pins that agree, no leftovers."""

import ast
import itertools
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
import yaml

from helpers import exercises, run

ROOT = run.ROOT
NAMES = run.course_map()
PAGES = sorted(
    path
    for pattern in ("*.md", "notebooks/*.md", "notebooks/*.ipynb", "binder/*.md", "helpers/**/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
TEXTS = sorted(
    path
    for folder in (".", "notebooks/**", "helpers/**", "benchmarks", "binder", "scripts", "site", ".github/workflows")
    for path in ROOT.glob(f"{folder}/*")
    if path.suffix in {"", ".md", ".py", ".ipynb", ".json", ".toml", ".txt", ".yml", ".jsonl", ".html", ".js", ".css"}
    if path.is_file()
    if not {".ipynb_checkpoints", "__pycache__"} & set(path.parts)
)
PLACES = re.compile(r"(?<![\w.:/-])(?:/home/|/root/|/Users/|/work/|/content/|/mnt/)[\w.]|[A-Z]:\\\\?Users")


@pytest.fixture(params=NAMES)
def notebook(request):
    node = nbformat.read(ROOT / "notebooks" / f"{request.param}.ipynb", as_version=4)
    node["name"] = request.param
    return node


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def notebook_title_cell(name: str) -> str:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells[0].source


def title(name: str) -> str:
    return notebook_title_cell(name).splitlines()[0]


def folded(cell) -> bool:
    return bool(cell.metadata.get("jupyter", {}).get("source_hidden"))


def hard_to_read(source: str) -> list[str]:
    """What keeps a line of a lesson from being understood at a glance."""
    nested = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
    found = [f"a line of {len(line)} characters" for line in source.splitlines() if len(line) > 95]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.NamedExpr):
            found.append("a walrus")
        if isinstance(node, nested) and sum(isinstance(inner, nested) for inner in ast.walk(node)) > 1:
            found.append("a comprehension in a comprehension")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            if any(isinstance(side, ast.Dict) for side in (node.left, node.right)):
                found.append("dicts that are merged")
    return found


def test_a_quote_ends_before_the_text_goes_on(notebook):
    """Markdown takes a line straight after a quote into it."""
    for cell in notebook.cells:
        lines = cell.source.split("\n") if cell.cell_type == "markdown" else []
        for line, after in itertools.pairwise(lines):
            assert not line.startswith(">") or after[:1] in ("", ">"), f"{cell.id}: {after!r} lands in the quote above"


def test_a_lesson_can_be_read(notebook):
    """One idea a cell: short cells of plain code; what only draws and lays out is folded or in `helpers`."""
    assert all(cell.source.strip() for cell in notebook.cells)
    lengths = []
    for cell in code_cells(notebook):
        if not folded(cell) and "parameters" not in cell.metadata.get("tags", []):
            lengths.append(len([line for line in cell.source.splitlines() if line.strip()]))
            assert hard_to_read(cell.source) == [], cell.source
    assert statistics.median(lengths) <= 8 and max(lengths) <= 25
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and "solution" not in cell.metadata.get("tags", []):
            plain = re.sub(r"^\|.*$|^#+ .*$|!\[.*", "", without_code(cell.source), flags=re.M)
            for paragraph in re.split(r"\n\s*\n|\n(?=- |\d\. )", plain):
                assert len(paragraph.split()) <= 90, paragraph


def test_code_that_is_hard_to_read_is_found():
    assert hard_to_read("x = [i for i in range(3)]") == []
    assert hard_to_read("x = [[j for j in range(i)] for i in range(3)]") == ["a comprehension in a comprehension"]
    assert hard_to_read("if (n := len('a')):\n    pass") == ["a walrus"]
    assert hard_to_read("a = b | {'c': 1}") == ["dicts that are merged"]
    assert hard_to_read("x = " + "1 + " * 30 + "1") == ["a line of 125 characters"]


def test_only_drawings_that_can_be_read(notebook):
    """No text is cut off, lies on other text, or is below 9 points in a narrow column; `draw.faults` looked."""
    for output in outputs_of(notebook):
        shown = output.get("metadata", {}).get("image/png", {})
        assert shown.get("faults", []) == [], shown["alt"]


def test_the_glossary_explains_each_term_once_in_the_order_of_the_alphabet():
    lines = (run.NOTEBOOKS / "GLOSSARY.md").read_text(encoding="utf-8").splitlines()
    terms = [re.sub("[^a-z0-9 ]", "", line.split("|")[1].casefold()).strip() for line in lines if line[:4] == "| **"]
    letters = [term.replace(" ", "") for term in terms]
    assert len(terms) > 100 and len(set(terms)) == len(terms) and letters == sorted(letters)


def test_a_notebook_has_its_map_and_asks_before_it_goes_on(notebook):
    first = notebook.cells[0]
    assert set(first.get("attachments", {})) == {"map.png"} and "](attachment:map.png)" in first.source
    assert f"You are at {notebook.name[:2]} " in first.source  # the alternative text of the map
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    recap = text[text.index("## Before you go on") : text.index("## Summary")]
    assert recap.count("<details><summary>") >= 3
    assert "From notebook" in recap or notebook.name[:2] == "00"
    assert "> **Common mistake.**" in text and "GLOSSARY.md" in text and "★" in text
    code = "\n".join(cell.source for cell in code_cells(notebook))
    assert "guess(" in code and "draw." in code
    for cell in code_cells(notebook):
        if "google.colab" in cell.source or "results.record(" in cell.source:
            assert folded(cell), "what only maintainers need is folded"


def test_title_links_to_its_neighbors(notebook):
    lines = notebook.cells[0].source.splitlines()
    number = notebook.name[:2]
    assert re.fullmatch(rf"# {number} · \S.*", lines[0])
    at = NAMES.index(notebook.name)
    plain = [title(name)[2:].replace(" · ", " ") for name in NAMES]
    links = ["[Map](README.md)"]
    if at > 0:
        links.insert(0, f"[← {plain[at - 1]}]({NAMES[at - 1]}.ipynb)")
    if at + 1 < len(NAMES):
        links.append(f"[{plain[at + 1]} →]({NAMES[at + 1]}.ipynb)")
    assert lines[1] == " · ".join(links)
    table = [line for line in lines if line.startswith("|")]
    assert table[0] == "| Time | Hardware | Download |" and len(table) == 3


def test_first_and_last_cells(notebook):
    assert [cell.cell_type for cell in notebook.cells[:2]] == ["markdown", "markdown"]
    setup, parameters = code_cells(notebook)[:2]
    assert setup is notebook.cells[2] and "google.colab" in setup.source
    exec(compile(setup.source, "setup", "exec"), {})  # does nothing here
    assert "parameters" in parameters.metadata.get("tags", [])
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in notebook.cells) == 1
    last = ast.parse(code_cells(notebook)[-1].source).body[-1]
    assert ast.unparse(last).startswith("results.record(")
    records = [cell for cell in code_cells(notebook) if "results.record(" in cell.source]
    assert records == [code_cells(notebook)[-1]]
    headings = re.findall(
        r"^## (.+)$", "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown"), re.M
    )
    for heading in ("Summary", "In practice", "Further reading"):
        assert heading in headings


def headings_wrong(markdown: str) -> list[str]:
    """Return what a table of contents would show amiss: another title than one at the top, a level left out."""
    found = re.findall(r"^(#{1,6}) +(\S.*)$", re.sub(r"^```.*?^```", "", markdown, flags=re.S | re.M), re.M)
    levels = [len(marks) for marks, _ in found]
    wrong = [] if levels[:1] == [1] and levels.count(1) == 1 else [f"{levels.count(1)} titles"]
    return wrong + [
        text for (_, text), level, above in zip(found[1:], levels[1:], levels, strict=False) if level > above + 1
    ]


def test_headings_make_a_table_of_contents(notebook):
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert headings_wrong(text) == []
    assert headings_wrong("# A\n\n## B\n\n### C\n\n## D\n```\n# no heading\n```") == []
    assert headings_wrong("# A\n\n### B") == ["B"] and headings_wrong("## A") and headings_wrong("# A\n\n# B")


def test_the_setup_cell_is_the_same_everywhere():
    sources = {
        code_cells(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4))[0].source for name in NAMES
    }
    assert len(sources) == 1


def test_parameters_are_literals_and_begin_with_the_model(notebook):
    (cell,) = [cell for cell in code_cells(notebook) if "parameters" in cell.metadata.get("tags", [])]
    statements = ast.parse(cell.source).body
    assert all(isinstance(statement, (ast.Assign, ast.AnnAssign)) for statement in statements)
    values = {ast.unparse(getattr(s, "target", None) or s.targets[0]): ast.literal_eval(s.value) for s in statements}
    assert next(iter(values.items())) == ("MODEL_ID", "auto")
    assert all(name.isupper() for name in values)


def test_cells_have_ids_of_their_own_and_known_tags(notebook):
    raw = json.loads((ROOT / "notebooks" / f"{notebook.name}.ipynb").read_text(encoding="utf-8"))
    assert (raw["nbformat"], raw["nbformat_minor"]) >= (4, 5)
    ids = [cell.get("id") for cell in raw["cells"]]
    assert all(ids) and len(set(ids)) == len(ids)
    tags = {tag for cell in raw["cells"] for tag in cell["metadata"].get("tags", [])}
    assert tags <= {"parameters", "exercise", "solution", "hide-input", run.TIMING}
    assert notebook.metadata.kernelspec == {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    }


def test_a_cell_that_compares_times_is_tagged(notebook):
    """While a cell with the tag runs, the runner lets no other notebook compute."""
    clocks = {"speed.interleave", "speed.time_generation", "speed.read_bandwidth", "measure.decoding", "finetune.cost"}
    clocks |= {"generate_timed", "take_turns"}  # of notebook 06
    for cell in code_cells(notebook):
        calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Call)}
        start = cell.source[:60]
        if run.TIMING in cell.metadata.get("tags", []):
            assert calls & {*clocks, "time.perf_counter"}, f"this cell is tagged and times nothing: {start!r}"
        else:
            assert not calls & clocks, f"this cell compares times and lacks the tag: {start!r}"


def test_no_later_cell_reads_what_a_stub_binds(notebook):
    """Who skips an exercise or solves it in another way must not be stopped by a later cell."""
    bound: dict[str, int] = {}
    for number, cell in enumerate(code_cells(notebook), start=1):
        tree = ast.parse(cell.source)
        names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
        stub = "exercise" in cell.metadata.get("tags", [])
        if not stub:
            read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
            own = {node.id for node in names if isinstance(node.ctx, ast.Store)} | {a.arg for a in arguments(tree)}
            taken = {name: bound[name] for name in read - own if name in bound}
            assert not taken, f"code cell {number} reads {taken}, bound in exercises (name: code cell)"
        definitions = (ast.FunctionDef, ast.ClassDef)
        made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        made |= {node.name for node in ast.walk(tree) if isinstance(node, definitions)}
        for name in made:
            if stub:
                bound[name] = number
            else:
                bound.pop(name, None)


def arguments(tree: ast.AST) -> list[ast.arg]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.arg)]


def outputs_of(notebook) -> list:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def text_of(outputs) -> str:
    """Return all that outputs say: text of streams, and of every type but pictures."""
    said = [output.get("text", "") for output in outputs]
    return "\n".join(said + [str(v) for o in outputs for m, v in o.get("data", {}).items() if m != "image/png"])


def test_outputs_hold_no_errors_and_no_leftovers(notebook):
    assert set(notebook.metadata) <= {"kernelspec", "language_info", run.SOURCES}
    counts = [cell.execution_count for cell in code_cells(notebook) if cell.execution_count is not None]
    assert counts in ([], list(range(1, len(code_cells(notebook)) + 1)))
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags", "jupyter"}
        assert cell.cell_type == "code" and cell.execution_count or not cell.get("outputs")
    for output in outputs_of(notebook):
        assert output.output_type != "error" and output.get("name") != "stderr"
        assert not any("widget" in mime for mime in output.get("data", {}))
        assert not output.get("transient")


def test_outputs_are_not_stale(notebook):
    """Outputs in a notebook come from its code as it is: `make notebooks ONLY=05` makes them anew."""
    kept = notebook.metadata.get(run.SOURCES)
    assert kept == run.sources(notebook) if outputs_of(notebook) else kept is None


def test_outputs_are_small_and_know_no_date_place_or_warning(notebook):
    path = ROOT / "notebooks" / f"{notebook.name}.ipynb"
    assert path.stat().st_size <= 600_000, f"{path.stat().st_size:,} bytes"
    said = text_of(outputs_of(notebook))
    assert not re.search(r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d|\b\d\d:\d\d:\d\d\b", said)
    assert not re.search(r"\b\w*Warning: ", said)
    assert not PLACES.search(said) and not re.search(r"(?<![\w.:/-])/tmp/", said)


def test_times_in_outputs_say_whose_they_are(notebook):
    said = text_of(outputs_of(notebook))
    if re.search(r"tokens a second|tokens/s|\bms\b|\d s\b", said):
        assert re.search(r", \d+ cores|machine: NVIDIA", said), "name the machine: results.environment()['hardware']"


def test_every_image_says_what_it_shows(notebook):
    for cell in code_cells(notebook):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert output.metadata["image/png"]["alt"].strip()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_knows_the_machine_it_was_made_on(path):
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'"image/png": "[^"]*"', "", text)
    found = PLACES.search(text) or (path.suffix == ".ipynb" and re.search(r"(?<![\w.:/-])/tmp/", text))
    assert not found, text[max(0, found.start() - 60) : found.end() + 60]
    assert not re.search(r"hf_[A-Za-z0-9]{30,}", text), "this looks like a token"


def markdown_of(path: Path) -> str:
    if path.suffix == ".ipynb":
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return path.read_text(encoding="utf-8")


def without_code(markdown: str) -> str:
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE))


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and JupyterLab make them, in lower case."""
    found = set()
    for heading in re.findall(
        r"^#{1,6} +(.+?) *#*$", re.sub(r"^```.*?^```", "", markdown_of(path), flags=re.S | re.M), re.M
    ):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found |= {text.replace(" ", "-"), re.sub(r"[^\w\- ]", "", text).replace(" ", "-")}
    return found


def targets(page: Path) -> list[str]:
    """Return what a page links to or shows: Markdown's links, in line and by reference, and HTML's."""
    text = without_code(markdown_of(page))
    links = re.findall(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)", text) + re.findall(r"^\[[^\]]+\]: +(\S+)", text, re.M)
    return links + re.findall(r"""(?:href|src)=["']([^"']+)""", text) + re.findall(r"<(\w+:[^>\s]+)>", text)


def test_links_out_are_well_formed():
    """They are listed and not fetched: make test PYTEST="-s -k links_out"."""
    found = {}
    for page in PAGES:
        for target in targets(page):
            if re.match(r"[a-z]+:", target) and not target.startswith("attachment:"):
                assert re.match(r"mailto:|https://[\w.-]+\.[a-z]+(/[^\s|]*)?$", target), f"{page.name}: {target}"
                found.setdefault(target, []).append(page.name)
    assert len(found) > 20
    print("", *(f"{target}  ({', '.join(sorted(set(pages)))})" for target, pages in sorted(found.items())), sep="\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in targets(page):
        if built := re.fullmatch(r"(?:\.\./)?build/site/(\w+)\.html", target):  # there after `make site`
            assert (ROOT / "site" / f"{built[1]}.html").is_file(), f"{page.name} links to {target}: no such page"
            continue
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = unquote(target).partition("#")
        there = (page.parent / place).resolve() if place else page
        assert there.exists(), f"{page.name} links to {target}, which is not there"
        assert there.is_relative_to(ROOT)
        if anchor and there.suffix in {".md", ".ipynb"}:
            assert anchor.lower() in anchors(there), f"{page.name} links to {target}: no such heading"


def test_the_readmes_first_link_leads_to_the_site():
    from scripts import links

    first = re.search(r"\]\([^)]+\)", (ROOT / "README.md").read_text(encoding="utf-8"))[0]
    assert links.PAGE.fullmatch(first)[1] == "index.html"


def test_map_and_readme_list_the_same_notebooks_with_their_times_and_hardware():
    listed = (ROOT / "notebooks" / "README.md").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in NAMES:
        needs = re.escape(re.search(r"^\| (\d+ min \| .+?) \| .+ \|$", notebook_title_cell(name), re.M)[1])
        heading = re.escape(title(name)[2:].partition(" · ")[2])
        assert re.search(rf"^\| {name[:2]} \| \[{heading}\]\({name}\.ipynb\) \|.*\| {needs} \|$", listed, re.M)
        assert re.search(rf"^\| \[{name[:2]} {heading}\]\(notebooks/{name}\.ipynb\) \|.*\| {needs} \|$", readme, re.M)
    table = readme[readme.index("## The notebooks") :]
    assert len(re.findall(r"\(notebooks/\w+\.ipynb\)", table)) == len(NAMES)
    minutes = [int(re.search(r"^\| (\d+) min \|", notebook_title_cell(name), re.M)[1]) for name in NAMES]
    assert f"{min(minutes)} to {max(minutes)} minutes" in readme
    assert f"about {round(sum(minutes) / 60)} hours" in " ".join(readme.split())


def test_teaching_has_the_maps_times_and_its_plans_add_up():
    text = (ROOT / "notebooks" / "TEACHING.md").read_text(encoding="utf-8")
    for name in NAMES:
        minutes = re.search(r"^\| (\d+ min) \|", notebook_title_cell(name), re.M)[1]
        heading = re.escape(title(name)[2:].replace(" · ", " "))
        assert re.search(rf"^\| \[{heading}\]\({name}\.ipynb\) \| {minutes} \|", text, re.M)
    plans = re.findall(r"^## (.+?):.*?\n(.*?)(?=^## )", text, re.M | re.S)
    ends = {}
    for plan, table in plans:
        days = table.split("\n### ")
        for day in days[1:] or days:
            times = [tuple(map(int, pair)) for pair in re.findall(r"^\| (\d+)–(\d+) \|", day, re.M)]
            assert all(end == begin for (_, end), (begin, _) in zip(times, times[1:], strict=False)) and plan
            name = f"{plan}, {day.splitlines()[0]}" if days[1:] else plan
            ends |= {name: (times[0][0], times[-1][1])} if times else {}
    days = {f"Two days, Day {day}": (0, 360) for day in (1, 2)}
    assert ends == {"90 minutes": (0, 90), "Half a day": (0, 210)} | days
    for name in NAMES[:-1]:  # the term has all but the appendices, and offers those
        assert re.search(rf"^\| [^|]+ \| [^|]*\b{name[:2]}\b", text[text.index("## A term") :], re.M), name


def test_the_tree_names_every_file_of_helpers():
    tree = re.search(r"## Where things are\n\n```\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.S)[1]
    inner = tree[tree.index("helpers/") : tree.index("benchmarks/")]
    for path in (ROOT / "helpers").rglob("*.py"):
        if path.name != "__init__.py" and path.parent.name != "exercises":
            assert path.name in inner, f"CONTRIBUTING's tree lacks {path.relative_to(ROOT)}"
    listed = set(re.findall(r"[\w.]+\.py", inner)) - {"nb05.py"}
    assert listed == {path.name for path in (ROOT / "helpers").rglob("*.py")} - {"__init__.py"} - {
        path.name for path in (ROOT / "helpers" / "exercises").glob("nb*.py")
    }


def test_files_of_helpers_stay_short():
    for path in (ROOT / "helpers").rglob("*.py"):
        if path.name not in {"corpus.py", "tables.py"}:  # tables of text
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 500, path


@pytest.mark.parametrize("path", [*PAGES, *sorted((ROOT / "helpers").rglob("*.py"))], ids=lambda path: path.name)
def test_files_that_are_named_exist(path):
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:helpers|benchmarks|scripts|tests)/[\w/]+\.(?:py|yaml|jsonl?)\b", text):
        assert (ROOT / name).exists() or "nbNN" in name, f"{path.name} names {name}, which is not there"


def pins(text: str) -> list[str]:
    return re.findall(r"^\s*(?:- )?([\w.-]+==[^\s]+(?: ; .*)?)$", text, re.M)


def test_conda_and_pip_install_the_same():
    requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    wanted = pins(requirements)
    lines = [line for line in requirements.splitlines() if line.strip() and not line.startswith("#")]
    assert lines == wanted and len(wanted) > 100
    binder = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert "--requirement ../requirements.txt" in binder and "torch==2.13.0+cpu" in binder
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert conda["dependencies"][-2:] == ["pip", {"pip": ["-r requirements.txt"]}]  # relative to environment.yml
    names = [pin.split("==")[0] for pin in wanted]
    assert set(names) & {pin.split("==")[0] for pin in pins("\n".join(binder))} == {"torch"}
    assert len({name.lower().replace("_", "-") for name in names}) == len(names)
    assert "torch==2.13.0" in wanted and "+" not in "".join(pin.split(" ;")[0] for pin in wanted)
    assert not [name for name in names if re.match(r"nvidia|cuda", name)]
    # the version that PyTorch's CUDA build asks for; its interpreter runs kernels without a GPU
    assert 'triton==3.7.1 ; sys_platform == "linux"' in wanted


def test_the_pins_are_complete_on_every_system():
    """What any pinned package requires, on any system and Python that the course supports, is pinned as well."""
    import importlib.metadata

    from packaging.markers import default_environment
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    systems = {"linux": ("posix", "Linux"), "darwin": ("posix", "Darwin"), "win32": ("nt", "Windows")}
    environments = [
        default_environment()
        | {"sys_platform": system, "os_name": name, "platform_system": platform, "extra": ""}
        | {"python_version": python, "python_full_version": f"{python}.2"}
        for system, (name, platform) in systems.items()
        for python in ("3.11", "3.12", "3.13")
    ]

    def canonical(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    wanted = [Requirement(pin) for pin in pins((ROOT / "requirements.txt").read_text(encoding="utf-8"))]
    read, lacking = 0, set()
    for environment in environments:
        pinned = {canonical(pin.name): pin for pin in wanted if not pin.marker or pin.marker.evaluate(environment)}
        for name in pinned:
            try:
                metadata = importlib.metadata.metadata(name)
            except importlib.metadata.PackageNotFoundError:
                continue  # not for this system
            python = SpecifierSet(metadata["Requires-Python"] or "")
            if pinned[name].specifier.contains(metadata["Version"], prereleases=True):
                # Debian 12, for one, has Python 3.11.2
                assert python.contains(environment["python_full_version"]), f"{name} wants Python {python}"
            for need in map(Requirement, metadata.get_all("Requires-Dist") or []):
                if need.marker and not need.marker.evaluate(environment) or re.match("nvidia|triton|cuda", need.name):
                    continue
                read += 1
                pin = pinned.get(canonical(need.name))
                if pin is None or not need.specifier.contains(str(pin.specifier)[2:], prereleases=True):
                    lacking.add((environment["sys_platform"], environment["python_version"], name, str(need)))
    assert read > 1000 and not lacking, sorted(lacking)


def test_what_the_tests_install_on_top_changes_no_pin():
    base, more = (
        dict(pin.split("==", 1) for pin in pins((ROOT / f"requirements{kind}.txt").read_text(encoding="utf-8")))
        for kind in ("", "-eval")
    )
    assert len(more) > 30 and "lm-eval" in more
    # a pin that the base has for some versions of Python only, it may have here for all
    assert all(base[name] == f"{more[name]} ; " + base[name].partition(" ; ")[2] for name in set(base) & set(more))


def test_the_pins_lie_within_the_ranges():
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    del extras["liger"]  # for who has a GPU: the pins install it nowhere
    groups = [project["dependencies"], *extras.values()]
    ranges = [Requirement(text) for group in groups for text in group if not text.startswith(project["name"])]
    files = [(ROOT / f"requirements{kind}.txt").read_text(encoding="utf-8") for kind in ("", "-eval", "-llamacpp")]
    pinned = dict(pin.split(" ;")[0].split("==") for text in files for pin in pins(text))
    colab = dict(pin.split("==") for pin in pins((ROOT / "scripts" / "colab.txt").read_text(encoding="utf-8")))
    colab = {name.lower().replace("_", "-"): version for name, version in colab.items()} | {"torch": "2.11.0"}
    assert len(set(colab) & {requirement.name.lower().replace("_", "-") for requirement in ranges}) > 12
    for requirement in ranges:
        name = requirement.name.lower().replace("_", "-")
        assert requirement.specifier.contains(pinned[name]), f"{requirement} excludes the pin {pinned[name]}"
        if name in colab:
            assert requirement.specifier.contains(colab[name]), f"{requirement} excludes Colab's {colab[name]}"


def test_the_readmes_picture_shows_the_recorded_figures(monkeypatch):
    """If it does not, they are newer: `make picture`."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import picture

    assert picture.drawn() == picture.numbers() and picture.PICTURE.stat().st_size <= 100_000
    assert str(picture.PICTURE.relative_to(ROOT)) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_citation_has_the_courses_version():
    import helpers

    assert f"\nversion: {helpers.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_importing_helpers_is_light():
    check = "import sys, helpers; sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'matplotlib', 'IPython')))"
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=["lint", "format"])
def test_style(command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_the_first_notebook_counts_the_exercises_that_there_are():
    """Its committed output is older than exercises that were added since."""
    cells = nbformat.read(run.NOTEBOOKS / "00_check_your_setup.ipynb", as_version=4).cells
    (shown,) = [cell.outputs[0].data["text/markdown"] for cell in cells if cell.get("id") == "progress-code"]
    assert shown.startswith(f"**0 of {len(exercises.all_names())} exercises done.**")
