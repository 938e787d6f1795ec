"""The runner, held against small notebooks that are each broken in one way."""

import asyncio
import json
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from helpers import files, results, run
from helpers.run import NotebookError, engine, execute
from helpers.run.__main__ import main

MARKED = "papermill-error-cell-tag"  # the two cells that papermill adds to a notebook with an error
PARAMETERS = 'MODEL_ID = "auto"\nSTEPS = 3'
RECORD = 'from helpers import results\nresults.record({"notebook": "05_good", "steps": STEPS, "headline": "all well"})'


def code(source, *tags):
    return new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


def save(path: Path, *cells) -> Path:
    notebook = new_notebook(cells=list(cells))
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def good(path: Path, *between) -> Path:
    cells = [new_markdown_cell("# 05 · Good"), code(PARAMETERS, "parameters"), *between, code(RECORD)]
    return save(path, *cells)


def failure(tmp_path, *cells, parameters=None, **options) -> str:
    path = save(tmp_path / "05_good.ipynb", *cells)
    with pytest.raises(NotebookError) as caught:
        execute(path, tmp_path / "out" / "05_good.ipynb", parameters, **options)
    message = str(caught.value)
    assert "05_good" in message and message.endswith(".") and "\n" not in message
    return message


def test_a_good_notebook_returns_its_record_time_and_memory(tmp_path):
    path = good(
        tmp_path / "05_good.ipynb", code("import time\nblock = bytearray(300_000_000)\ntime.sleep(1)\ndel block")
    )
    before, seen, begun = path.read_bytes(), [], time.monotonic()
    done = execute(path, tmp_path / "out.ipynb", {"STEPS": 7}, progress=lambda cell, total: seen.append((cell, total)))
    assert done.name == "05_good" and done.headline == "all well"
    assert done.record == {"steps": 7, "headline": "all well"}
    assert 1.0 < done.seconds < time.monotonic() - begun
    assert 300e6 < done.peak_memory_bytes < 600e6
    assert seen == [(cell, 5) for cell in range(1, 6)]  # four cells and the injected one
    assert path.read_bytes() == before
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    assert [cell.execution_count for cell in executed.cells if cell.cell_type == "code"] == [1, 2, 3, 4]


def test_unknown_parameter(tmp_path):
    message = failure(tmp_path, code(PARAMETERS, "parameters"), code(RECORD), parameters={"STEP": 1})
    assert "unknown parameter STEP; it has MODEL_ID, STEPS" in message
    assert not (tmp_path / "out").exists()  # refused before a kernel was started


@pytest.mark.parametrize(("tagged", "said"), [(0, "no cell"), (2, "2 cells")])
def test_parameters_tag_missing_or_doubled(tmp_path, tagged, said):
    cells = [code(PARAMETERS, *["parameters"] * (i < tagged)) for i in range(2)]
    assert f'{said} with the tag "parameters"' in failure(tmp_path, *cells, code(RECORD))


@pytest.mark.parametrize(
    "line",
    ["WARMUP = STEPS // 10", "import os", "A = B = 1", "A, B = 1, 2", "print(1)", "STEPS = 4", "A = [STEPS]", "A: int"],
)
def test_parameters_cell_with_more_than_literals(tmp_path, line):
    message = failure(tmp_path, code(f"{PARAMETERS}\n{line}", "parameters"), code(RECORD))
    assert "literals only" in message and line in message


def test_literals_of_every_kind_are_parameters(tmp_path):
    source = '# why\nMODEL_ID = "auto"  # text\nLOW: float = -1e-3\nSIZES = [1, 2]\nMAP = {"a": (1, None, True)}'
    record = 'from helpers import results\nresults.record({"notebook": "05_good", "low": LOW, "sizes": SIZES})'
    path = save(tmp_path / "05_good.ipynb", code(source, "parameters"), code(record))
    assert execute(path, tmp_path / "o.ipynb", {"SIZES": [3]}).record == {"low": -0.001, "sizes": [3]}


BUNDLE = "application/vnd.mistral-4bit+json"


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["1 + 1"], "nothing is recorded"),
        ([RECORD, RECORD], "2 records"),
        ([RECORD + "\n" + RECORD.splitlines()[1]], "2 records"),
        ([RECORD, "1 + 1"], "the record is in cell 2 and must be in the last code cell"),
        ([RECORD.replace("05_good", "06_other")], "its record names the notebook '06_other'"),
        ([f'display({{"{BUNDLE}": {{"values": {{"a": 1}}}}}}, raw=True)'], "its record names the notebook None"),
        (
            [f'display({{"{BUNDLE}": {{"notebook": "05_good", "values": {{}}}}}}, raw=True)'],
            "its record holds no values",
        ),
    ],
)
def test_record_missing_doubled_misplaced_or_wrong(tmp_path, cells, said):
    assert said in failure(tmp_path, code(PARAMETERS, "parameters"), *map(code, cells))


def test_a_stub_that_raises(tmp_path):
    message = failure(tmp_path, code(PARAMETERS, "parameters"), code("bytes_per_token + 1", "exercise"), code(RECORD))
    assert "cell 2 of 3 is an exercise and raises NameError: name 'bytes_per_token' is not defined" in message


def test_an_exercise_without_a_check(tmp_path):
    message = failure(tmp_path, code(PARAMETERS, "parameters"), code("answer = ...", "exercise"), code(RECORD))
    assert "the exercise in cell 2 shows no check" in message


def test_any_error_stops_the_notebook_and_the_partial_copy_is_kept(tmp_path):
    cells = [code(PARAMETERS, "parameters"), code("print('so far')"), code("1 / 0", "raises-exception"), code(RECORD)]
    message = failure(tmp_path, *cells)
    assert "cell 3 of 4 raised ZeroDivisionError: division by zero" in message
    partial = nbformat.read(tmp_path / "out" / "05_good.ipynb", as_version=4)
    said = [cell.source for cell in partial.cells if MARKED in cell.metadata.get("tags", [])]
    assert "An Exception was encountered" in said[0] and "In [3]" in said[0] and len(said) == 2
    cells = [cell for cell in partial.cells if MARKED not in cell.metadata.get("tags", [])]
    assert cells[1].outputs[0].text == "so far\n"
    assert cells[2].outputs[0].ename == "ZeroDivisionError"
    assert cells[3].execution_count is None and len(cells) == 4
    assert partial.metadata.papermill.exception is True


def test_a_notebook_that_leaves_early_is_no_success(tmp_path):
    """papermill takes sys.exit() for a notebook that is done."""
    cells = [code(PARAMETERS, "parameters"), code("import sys\nsys.exit()"), code(RECORD)]
    assert "cell 2 shows an error: SystemExit" in failure(tmp_path, *cells)


def test_dead_kernel(tmp_path):
    kill = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    message = failure(tmp_path, code(PARAMETERS, "parameters"), code(kill), code(RECORD))
    assert "The kernel died in cell 2 of 3" in message
    partial = nbformat.read(tmp_path / "out" / "05_good.ipynb", as_version=4)
    assert partial.metadata.papermill.exception is True  # papermill itself would say None
    assert [cell.metadata.papermill.status for cell in partial.cells] == ["completed", "failed", "pending"]


def test_a_kernel_that_dies_with_words_is_quoted_and_one_that_ends_with_words_is_not(tmp_path, capfd):
    """libzmq now and then aborts a kernel that has done its work and is shutting down, with a line on stderr."""
    abort = "import os\nos.write(said, b'Assertion failed: x (src/signaler.cpp:238)\\n')\nos.abort()"
    ways = {"in a cell": abort, "at its end": f"import atexit\natexit.register(lambda: exec({abort!r}, globals()))"}
    for way, source in ways.items():
        # outside pytest ipykernel puts a pipe of its own in place of file descriptor 2 and keeps the one it was given
        given = 'import sys\nsaid = getattr(sys.stderr, "_original_stdstream_copy", 2)'
        path = good(tmp_path / way / "05_good.ipynb", code(given), code(source))
        if way == "at its end":
            assert execute(path, tmp_path / "out.ipynb").headline == "all well"
        else:
            with pytest.raises(NotebookError, match=r"died in cell 4 of 5 .*\(it said: Assertion failed: x \(src/"):
                execute(path, tmp_path / "out.ipynb")
    assert capfd.readouterr().err == ""


def test_an_answer_whose_event_got_lost_is_found_all_the_same():
    calls = []

    async def deaf_once(timeout):
        calls.append(timeout)
        if len(calls) == 1:  # the message is there, and nobody says so
            await asyncio.sleep(timeout)
            raise queue.Empty
        return "reply"

    assert asyncio.run(engine.patient(deaf_once, each=0.05)(timeout=60)) == "reply"
    assert len(calls) == 2 and calls[0] == 0.05

    async def nothing(timeout):
        await asyncio.sleep(timeout)
        raise queue.Empty

    begun = time.monotonic()
    with pytest.raises(queue.Empty):
        asyncio.run(engine.patient(nothing, each=0.05)(timeout=0.3))
    assert 0.3 <= time.monotonic() - begun < 5


def test_endless_cell(tmp_path):
    begun = time.monotonic()
    message = failure(tmp_path, code(PARAMETERS, "parameters"), code("while True: pass"), code(RECORD), timeout=2)
    assert "cell 2 of 3 did not end within 2 s" in message
    assert time.monotonic() - begun < 25


@pytest.mark.parametrize("content", ["", "{}", '{"cells": 3}', "no notebook"])
def test_a_file_that_is_no_notebook(tmp_path, content):
    path = tmp_path / "05_good.ipynb"
    path.write_text(content)
    with pytest.raises(NotebookError, match=r"05_good\.ipynb is no valid notebook"):
        execute(path, tmp_path / "out.ipynb")


def test_kernels_have_no_network_but_the_loopback(tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))
    source = f"""
import socket
from helpers import results
socket.create_connection(("127.0.0.1", {listener.getsockname()[1]})).close()
said = []
for target in (("192.0.2.1", 80), ("huggingface.co", 443)):
    try:
        socket.create_connection(target, timeout=5)
    except OSError as error:
        said.append(str(error))
results.record({{"notebook": "05_good", "said": said}})
"""
    path = save(tmp_path / "05_good.ipynb", code(PARAMETERS, "parameters"), code(source))
    said = execute(path, tmp_path / "out.ipynb").record["said"]
    listener.close()
    assert len(said) == 2 and all("blocked" in sentence for sentence in said)
    with pytest.raises(OSError, match="blocked"):
        socket.create_connection(("192.0.2.1", 80), timeout=5)


def test_map_without_file_and_file_without_map(tmp_path):
    (tmp_path / "README.md").write_text("| [01](01_a.ipynb) |\n| [02](./02_b.ipynb) |\n[style](https://x.y/z.ipynb)")
    good(tmp_path / "02_b.ipynb")
    good(tmp_path / "03_c.ipynb")
    assert run.course_map(tmp_path) == ["01_a", "02_b"]
    problems = run.map_problems(tmp_path)
    assert list(problems) == ["01_a", "03_c"]
    assert "no such file" in problems["01_a"] and "not in the map" in problems["03_c"]
    with pytest.raises(NotebookError, match="There is no map"):
        run.course_map(tmp_path / "elsewhere")


@pytest.mark.parametrize("given", [1.5, "3", [3], True])
def test_a_parameter_of_another_kind_is_refused_before_the_kernel_starts(tmp_path, given):
    message = failure(tmp_path, code(PARAMETERS, "parameters"), code(RECORD), parameters={"STEPS": given})
    assert f"STEPS is {given!r}; give it as in the notebook, where it is 3" in message


def test_a_module_that_hides_the_package_is_named(tmp_path):
    tmp_path.joinpath("helpers.py").write_text("mine = 1")
    assert "helpers.py beside it hides" in failure(tmp_path, code(PARAMETERS, "parameters"), code(RECORD))


@pytest.fixture
def course(tmp_path):
    """Return a folder with three notebooks, the second of which fails, and one that the map forgot."""
    folder = tmp_path / "notebooks"
    figure = "from helpers import plots\nplots.show(plots.bars(['a'], [1], title='T', ylabel='GB'), 'One <bar>.')"
    good(folder / "05_good.ipynb", new_markdown_cell("[next](06_bad.ipynb) · [map](README.md)"), code(figure))
    save(folder / "06_bad.ipynb", code(PARAMETERS, "parameters"), code("raise ValueError('no luck')"), code(RECORD))
    record = RECORD.replace("05_good", "07_last").replace("all well", "fine → good")
    save(folder / "07_last.ipynb", code(PARAMETERS, "parameters"), code(record))
    good(folder / "09_forgotten.ipynb")
    rows = "".join(f"| [{name}]({name}.ipynb) |\n" for name in ("05_good", "06_bad", "07_last"))
    (folder / "README.md").write_text(rows)
    return tmp_path


def command(course, *options) -> int:
    return main(["--notebooks", str(course / "notebooks"), "--build", str(course / "build"), *options])


def contents(folder) -> dict:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_command_goes_on_after_a_failure_and_reports(course, capsys):
    before = contents(course / "notebooks")
    assert command(course) == 1
    out, err = capsys.readouterr()
    build = json.loads((course / "build" / "results.json").read_text())
    assert list(build["notebooks"]) == ["05_good", "06_bad", "07_last", "09_forgotten"]
    assert build["notebooks"]["05_good"]["values"] == {"steps": 3, "headline": "all well"}
    assert build["notebooks"]["07_last"]["model_id"] == "mini"
    assert "raised ValueError: no luck" in build["notebooks"]["06_bad"]["error"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", build["date"]) and build["environment"]["versions"]["transformers"]
    assert {path.name for path in (course / "build").iterdir()} == {
        *("05_good.ipynb", "05_good.html", "07_last.ipynb", "07_last.html", "index.html", "results.json"),
        *("06_bad.failed.ipynb", "06_bad.failed.html", files.MADE),
    }
    assert "[2/4] 06_bad" in out and re.search(r"05_good +[\d.]+ +0\.\d\d GB  all well", out)
    assert "2 of 4 notebooks ran" in out
    assert "06_bad: cell 3 of 4 raised ValueError: no luck" in err and "09_forgotten.ipynb is not in the map" in err
    page = (course / "build" / "05_good.html").read_text()
    assert 'href="06_bad.html"' in page and 'href="index.html"' in page
    assert page.count('alt="One &lt;bar&gt;."') == 1 and "No description" not in page
    index = (course / "build" / "index.html").read_text()
    assert all(f'href="{name}"' in index for name in ("05_good.html", "07_last.html", "06_bad.failed.html"))
    assert contents(course / "notebooks") == before


def test_only_narrows_and_keeps_earlier_results(course):
    assert command(course, "--only", "05") == 0
    assert command(course, "--only", "07_last", "-p", "STEPS=9", "--model-id", "other") == 0
    notebooks = json.loads((course / "build" / "results.json").read_text())["notebooks"]
    assert list(notebooks) == ["05_good", "07_last"]
    assert (notebooks["05_good"]["model_id"], notebooks["07_last"]["model_id"]) == ("mini", "other")
    assert notebooks["07_last"]["values"]["steps"] == 9


def test_a_later_failure_leaves_earlier_results_whole(course):
    assert command(course, "--only", "5") == 0
    executed = (course / "build" / "05_good.ipynb").read_bytes()
    good(course / "notebooks" / "05_good.ipynb", code("import missing_package"))
    assert command(course, "--only", "5", "--write-back") == 1
    assert (course / "build" / "05_good.ipynb").read_bytes() == executed
    entry = json.loads((course / "build" / "results.json").read_text())["notebooks"]["05_good"]
    assert entry["values"]["steps"] == 3 and "ModuleNotFoundError" in entry["error"]
    kept = nbformat.read(course / "notebooks" / "05_good.ipynb", as_version=4)
    assert all(not cell.get("outputs") for cell in kept.cells)
    good(course / "notebooks" / "05_good.ipynb")
    assert command(course, "--only", "5") == 0
    assert not list((course / "build").glob("*.failed.*"))


def test_notebooks_share_the_machine_and_a_cell_that_measures_time_has_it_alone(tmp_path):
    """The first two wait for each other, so they end only if both run; then all write down when their cells ran."""
    jobs = []
    for name in ("07_times", "05_a", "06_b"):
        other = {"05_a": "06_b", "06_b": "05_a", "07_times": "05_a"}[name]
        meet = f"""import os, time
from pathlib import Path
here = Path({str(tmp_path)!r})
(here / "{name}.runs").touch()
for _ in range(600):
    if (here / "{other}.runs").exists():
        break
    time.sleep(0.05)"""
        cells = [code("begun = time.time()\ntime.sleep(0.3)\nspans.append((begun, time.time()))") for _ in range(3)]
        record = "from helpers import results\nresults.record({'notebook': '" + name + "', 'spans': spans, "
        record += "'threads': os.environ.get('OMP_NUM_THREADS')})"
        if name == "07_times":
            cells[1].metadata["tags"] = ["timing"]
        path = save(
            tmp_path / f"{name}.ipynb",
            code(PARAMETERS, "parameters"),
            code(meet),
            code("spans = []"),
            *cells,
            code(record),
        )
        assert run.measures_time(path) == (name == "07_times")
        jobs.append(run.Job(path, tmp_path / "out" / path.name))
    records = {}
    started = []
    for done in run.each(jobs, at_once=2, progress=lambda name, cell, cells: cell or started.append(name)):
        assert not done.error
        records[done.name] = done.record
    assert sorted(started[:2]) == ["05_a", "06_b"] and started[2:] == ["07_times"]
    share = str(max(1, results.cores() // 2))
    assert records["05_a"]["threads"] == records["06_b"]["threads"] == share
    assert records["07_times"]["threads"] == os.environ.get("OMP_NUM_THREADS")
    begun, ended = records["07_times"]["spans"][1]
    for name in ("05_a", "06_b"):
        assert all(end <= begun or ended <= start for start, end in records[name]["spans"])
    assert not (tmp_path / "out" / "05_a.ipynb").stat().st_size == 0
    one = [done.name for done in run.each(jobs[1:])]
    assert one == ["05_a", "06_b"]


def test_who_measures_time_waits_for_who_computes_and_goes_before_who_has_not_begun():
    machine, order = engine.Machine(), []
    machine.take(False)

    def cell(name: str, timing: bool) -> threading.Thread:
        def work():
            machine.take(timing)
            order.append(f"{name} begins")
            time.sleep(0.2)
            order.append(f"{name} ends")
            machine.give(timing)

        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.1)
        return thread

    threads = [cell("timing", True), cell("b", False), cell("c", False)]
    assert order == []  # one computes, one waits for it to end, and the others for that one
    machine.give(False)
    for thread in threads:
        thread.join()
    assert order[:2] == ["timing begins", "timing ends"]
    assert {*order[2:4]} == {"b begins", "c begins"}  # side by side


@pytest.mark.parametrize(
    ("cores", "free", "gpus", "model", "count"),
    [(2, 8e9, 0, "mini", 2), (16, 64e9, 0, "mini", 2), (1, 8e9, 0, "mini", 1), (2, 3.9e9, 0, "mini", 1)]
    + [(2, 0.5e9, 0, "mini", 1), (16, 64e9, 0, "mistral-7b-shape", 1), (16, 64e9, 0, "auto", 1)]
    + [(16, 64e9, 1, "mini", 1)],
)
def test_how_many_notebooks_run_at_once(monkeypatch, cores, free, gpus, model, count):
    monkeypatch.setattr(results, "environment", lambda: {"gpu": [{}] * gpus})
    monkeypatch.setattr(results, "cores", lambda: cores)
    monkeypatch.setattr(results, "free_memory", lambda: free)
    assert run.at_once(model) == count


@pytest.mark.skipif(os.name == "nt", reason="signals as a terminal sends them on Linux and macOS")
@pytest.mark.parametrize("after", ["the first word", "a moment", "the cell has begun"])
def test_ctrl_c_ends_the_run_and_its_kernels_with_one_word(tmp_path, after):
    folder = tmp_path / "notebooks"
    for name in ("05_good", "06_bad"):
        sleep = (
            f"import os, time\nprint(os.getpid(), file=open({str(tmp_path / name)!r}, 'w'), flush=True)\ntime.sleep(60)"
        )
        good(folder / f"{name}.ipynb", code(sleep))
    (folder / "README.md").write_text("[a](05_good.ipynb) [b](06_bad.ipynb)")
    command = [
        sys.executable,
        "-u",
        "-m",
        "helpers.run",
        "--notebooks",
        str(folder),
        "--build",
        str(tmp_path / "build"),
    ]
    # a worker of pytest ignores Ctrl-C, and would hand that on
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    began = subprocess.Popen(
        command,
        **heed,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(run.ROOT)},
    )
    assert "starting" in began.stdout.readline()
    if after == "a moment":
        time.sleep(0.3)  # kernels have been launched and have not answered
    elif after == "the cell has begun":
        while not ((tmp_path / "05_good").exists() and (tmp_path / "05_good").read_text().endswith("\n")):
            time.sleep(0.1)
    interrupted = time.monotonic()
    began.send_signal(signal.SIGINT)
    out, err = began.communicate(timeout=60)
    assert (began.returncode, err.strip()) == (130, "Stopped: what ran to its end before is kept.")
    assert "05_good  stopped" in out
    assert time.monotonic() - interrupted < 30
    for name in ("05_good", "06_bad"):
        if (tmp_path / name).exists() and (pid := (tmp_path / name).read_text().strip()):
            assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE


def test_an_only_that_matches_nothing_is_refused(course, capsys):
    assert command(course, "--only", "05,42") == 2
    assert "no notebook 42; there are 05_good" in capsys.readouterr().err
    assert not (course / "build").exists()


def test_write_back_leaves_nothing_of_the_run_but_outputs(course):
    path = course / "notebooks" / "05_good.ipynb"
    source = (
        "import os\nimport ipywidgets\nimport helpers\nprint(os.path.dirname(helpers.__file__))\nipywidgets.IntSlider()"
    )
    good(path, code(source), code(""), code("'value'"))
    before = nbformat.read(path, as_version=4)
    assert command(course, "--only", "05", "--write-back") == 0
    after = nbformat.read(path, as_version=4)
    assert [cell.id for cell in after.cells] == [cell.id for cell in before.cells]
    assert [cell.source for cell in after.cells] == [cell.source for cell in before.cells]
    assert [cell.metadata for cell in after.cells] == [cell.metadata for cell in before.cells]
    assert set(after.metadata) <= {"kernelspec", "language_info", run.SOURCES}
    assert after.metadata[run.SOURCES] == run.sources(before)  # the run's own parameters are left out
    assert [cell.execution_count for cell in after.cells[1:]] == [1, 2, None, 3, 4]
    assert after.cells[4].outputs[0].execution_count == 3
    assert after.cells[2].outputs[0].text == "helpers\n" and len(after.cells[2].outputs) == 1
    text = path.read_text()
    assert text.endswith("}\n") and str(run.ROOT) not in text and "widget" not in text.replace("ipywidgets", "")
    assert not list(path.parent.glob(".*"))


def test_the_hash_of_sources_sees_code_alone():
    setup = 'import sys\n\nif "google.colab" in sys.modules:\n    pass'
    cells = [new_markdown_cell("[![badge]]"), code(setup), code(PARAMETERS, "parameters"), code("1 + 1")]
    notebook = new_notebook(cells=cells)
    before = run.sources(notebook)
    notebook.cells[0].source = "no badge"
    notebook.cells[1].source += "\n    print()"
    notebook.cells[3].outputs = [nbformat.v4.new_output("stream", text="2")]
    notebook.cells.insert(3, code('MODEL_ID = "mini"', "injected-parameters"))
    assert run.sources(notebook) == before
    for i, source in ((2, PARAMETERS.replace("3", "4")), (4, "1 + 2")):
        kept, notebook.cells[i].source = notebook.cells[i].source, source
        assert run.sources(notebook) != before
        notebook.cells[i].source = kept
    notebook.cells[2], notebook.cells[4] = notebook.cells[4], notebook.cells[2]
    assert run.sources(notebook) != before


def test_the_command_line_as_make_calls_it(course):
    """Progress has to be readable in a log: whole lines, no control characters."""
    command = [sys.executable, "-m", "helpers.run", "--notebooks", "notebooks", "--model-id", "", "--only", "05"]
    done = subprocess.run(
        command, cwd=course, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(run.ROOT)}
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "[1/1] 05_good  starting, 0 s" and lines[1].startswith("[1/1] 05_good  done in ")
    assert "\x1b" not in done.stdout and "Open build/index.html" in lines[-1]
    assert done.stderr == ""


def test_plain_papermill_executes_a_notebook_too(tmp_path):
    """No engine, no checks of ours: what anybody with papermill types."""
    command = [sys.executable, "-m", "papermill", "01_round_to_fewer_bits.ipynb", str(tmp_path / "out.ipynb")]
    command += ["-p", "MODEL_ID", "mini", "--no-progress-bar"]
    for patience in (300, 600):  # Papermill waits forever for a lost message of the kernel: seen once in 40 runs
        try:
            done = subprocess.run(command, cwd=run.NOTEBOOKS, capture_output=True, text=True, timeout=patience)
            break
        except subprocess.TimeoutExpired:
            continue
    assert done.returncode == 0, done.stderr[-2000:]
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    (record,) = [out.data[BUNDLE] for out in executed.cells[-1].outputs if BUNDLE in out.get("data", {})]
    assert record["notebook"] == "01_round_to_fewer_bits" and record["values"]["parameters"] == 7_241_732_096


def test_a_terminal_that_knows_no_arrow_is_no_error(course):
    command = [sys.executable, "-m", "helpers.run", "--notebooks", "notebooks", "--only", "07"]
    environment = {**os.environ, "PYTHONPATH": str(run.ROOT), "PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, cwd=course, capture_output=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "fine ? good" in done.stdout.decode("cp1252")
    saved = (course / "build" / "results.json").read_text("utf-8")
    assert "fine → good" in saved
