"""Nobody's files: what the course did not make is neither replaced nor removed, by whatever way it is asked to."""

import argparse
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
import torch

from benchmarks import common
from helpers import files, finetune, models, publish, record, run
from helpers.errors import CourseError
from helpers.finetune import __main__ as program
from helpers.run import __main__ as runner


def content(folder: Path) -> dict:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """A working folder of somebody's, with files in it that must all be there at the end."""
    monkeypatch.chdir(tmp_path)
    for name in ("thesis.tex", "README.md", "results/run1.csv", "results/checkpoint-7/weights.bin", "results/a.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{name} is mine")
    return tmp_path


class Saved:
    """What `publish.save` asks of a model, without one."""

    def __init__(self, word: str):
        self.word = word

    def named_parameters(self):
        return [("weight", torch.zeros(2))]

    def save_pretrained(self, folder):
        Path(folder).mkdir(exist_ok=True)
        (Path(folder) / "model.txt").write_text(self.word)


TOKENIZER = SimpleNamespace(save_pretrained=lambda folder: None)


def save(folder, word="one"):
    return publish.save(Saved(word), TOKENIZER, folder, None)


@pytest.mark.parametrize("folder", ["results", ".", "..", "thesis.tex", str(Path.home())])
def test_save_replaces_no_folder_that_it_did_not_make(theirs, folder):
    before = content(theirs)
    with pytest.raises(CourseError, match="did not make|work in|not a folder"):
        save(folder)
    assert content(theirs) == before


def test_save_follows_no_link_into_somebody_s_folder(theirs):
    (theirs / "link").symlink_to(theirs / "results", target_is_directory=True)
    before = content(theirs)
    with pytest.raises(CourseError, match="not a folder"):
        save("link")
    assert content(theirs) == before and (theirs / "link").is_symlink()


def test_save_replaces_its_own_and_takes_along_what_was_put_beside_it(tmp_path):
    (tmp_path / "empty").mkdir()
    save(tmp_path / "empty")
    (tmp_path / "empty" / "notes.md").write_text("mine")
    (tmp_path / "empty" / "plots").mkdir()
    (tmp_path / "empty" / "plots" / "a.png").write_text("mine, too")
    save(tmp_path / "empty", "two")
    found = content(tmp_path / "empty")
    assert found["model.txt"] == b"two" and found["notes.md"] == b"mine" and found["plots/a.png"] == b"mine, too"
    assert files.made(tmp_path / "empty") == {"model.txt"}
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]  # nothing hidden is left


def test_a_file_of_somebody_s_that_a_save_would_write_over_is_named(tmp_path):
    """Put there after an earlier save, under a name that this one uses for the first time."""
    save(tmp_path / "adapter")
    (tmp_path / "adapter" / "extra.txt").write_text("mine")
    before = content(tmp_path)

    def write(folder):
        Path(folder).mkdir()
        (Path(folder) / "extra.txt").write_text("the course's")

    with pytest.raises(CourseError, match="holds extra.txt, which the course did not make"):
        publish.save(Saved("two"), TOKENIZER, tmp_path / "adapter", None, write)
    assert content(tmp_path) == before


def test_a_folder_into_which_pages_went_is_not_the_course_s_own(theirs):
    """`--build .` leaves a list there; that makes nobody's folder one to replace, or one to remove things from."""
    files.claim(theirs / "results", ["index.html"])
    before = content(theirs)
    for act in (
        lambda: save("results"),
        lambda: files.claim(theirs / "results"),
        lambda: files.remove(theirs / "results" / "checkpoint-7"),
        lambda: files.remove(theirs / "results" / "run1.csv"),
    ):
        with pytest.raises(CourseError, match="did not make|not made by the course"):
            act()
    assert content(theirs) == before
    (theirs / "results" / "index.html").write_text("a page")
    files.remove(theirs / "results" / "index.html")
    assert not (theirs / "results" / "index.html").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "full"), ValueError("no")])
def test_an_interrupted_save_leaves_all_as_it_was(tmp_path, monkeypatch, error):
    save(tmp_path / "adapter")
    before = content(tmp_path)

    def fails(self, folder):
        Path(folder).mkdir()
        raise error

    monkeypatch.setattr(Saved, "save_pretrained", fails)
    with pytest.raises(CourseError if isinstance(error, OSError) else type(error)):
        save(tmp_path / "adapter", "two")
    assert content(tmp_path) == before


def test_a_save_that_is_stopped_between_two_renames_puts_the_old_one_back(tmp_path, monkeypatch):
    save(tmp_path / "adapter")
    before, rename = content(tmp_path), Path.rename

    def stopped(self, target):
        if self.name == "new":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "adapter", "two")
    assert content(tmp_path) == before


def test_remove_takes_only_what_lies_in_a_folder_of_the_course(theirs):
    before = content(theirs)
    for name in ("thesis.tex", "results/checkpoint-7"):
        with pytest.raises(CourseError, match="not made by the course"):
            files.remove(theirs / name)
    assert content(theirs) == before
    files.claim(theirs / "new")
    (theirs / "new" / "checkpoint-1").mkdir()
    files.remove(theirs / "new" / "checkpoint-1")
    files.remove(theirs / "new" / "never there")
    assert not (theirs / "new" / "checkpoint-1").exists()


def test_the_build_folder_of_a_run_holds_nobody_s_page(theirs, capsys):
    """index.html of a site of one's own, or the very notebooks: nothing is run and nothing is overwritten."""
    (theirs / "index.html").write_text("my site")
    (theirs / "05_measure_memory.ipynb").write_text("mine")
    before = content(theirs)
    for folder in (theirs, run.NOTEBOOKS):
        assert runner.main(["--only", "05", "--build", str(folder)]) == 2
        said = capsys.readouterr().err
        assert "did not make" in said and len(said.strip().splitlines()) == 1
    assert content(theirs) == before
    (theirs / "index.html").unlink()
    assert runner.main(["--only", "05", "--build", str(theirs)]) == 2
    assert "05_measure_memory.ipynb, which the course did not make" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["a file", "a read-only place"])
def test_a_build_folder_that_cannot_be_written_is_a_sentence(theirs, where, monkeypatch, capsys):
    if where == "a read-only place":  # as on a read-only checkout; root may write anywhere
        monkeypatch.setattr(files, "write", lambda *given: (_ for _ in ()).throw(OSError(errno.EROFS, "Read-only")))
    build = theirs / ("thesis.tex" if where == "a file" else "out")
    assert runner.main(["--only", "05", "--build", str(build)]) == 2
    said = capsys.readouterr().err
    assert "Nothing can be written to" in said and len(said.strip().splitlines()) == 1


def test_write_back_spares_a_notebook_that_was_changed_meanwhile(tmp_path):
    source, executed = tmp_path / "05_a.ipynb", tmp_path / "executed.ipynb"
    cell = nbformat.v4.new_code_cell("1 + 1", id="a")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), executed)
    cell.source = "1 + 1  # and a thought of mine"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), source)
    before = source.read_bytes()
    assert "was changed while it ran" in runner._write_back(executed, source)["warning"]  # noqa: SLF001
    assert source.read_bytes() == before
    cell.source = "1 + 1"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), source)
    assert runner._write_back(executed, source) == {}  # noqa: SLF001


@pytest.mark.parametrize("text", ['{"mine": 1}', "not JSON", "[1, 2]"])
def test_a_recording_replaces_recordings_alone(theirs, text):
    (theirs / "mine.json").write_text(text)
    for more in ([], ["--fresh"]):
        with pytest.raises(CourseError, match="no recording of the course"):
            record.main(["--only", "sweep", "--out", str(theirs / "mine.json"), *more])
    assert (theirs / "mine.json").read_text() == text


def test_a_benchmark_writes_over_its_own_report_alone(theirs):
    with pytest.raises(CourseError, match="is there already"):
        common.write(theirs / "thesis.tex", {})
    common.write(theirs / "report.json", {"rows": 1})
    common.write(theirs / "report.json", {"rows": 2})
    assert json.loads((theirs / "report.json").read_text()) == {"rows": 2}


def test_checkpoints_are_not_rotated_away_in_somebody_s_folder(theirs):
    """Trainer keeps the last two of whatever is called checkpoint-N."""
    before = content(theirs)
    model, tokenizer = models.load("mini", "nf4-dq", device="cpu")
    pairs, _ = finetune.questions(8)
    with pytest.raises(CourseError, match="did not make"):
        finetune.train(model, tokenizer, pairs, finetune.Recipe(steps=1, batch=2), [], theirs / "results")
    assert content(theirs) == before


@pytest.mark.parametrize("out", ["results", ".", "thesis.tex", "thesis.tex/adapter"])
def test_the_program_tries_its_target_before_it_loads_anything(theirs, out, monkeypatch):
    before = content(theirs)
    monkeypatch.setattr(models, "load", lambda *given, **named: pytest.fail("the model was loaded first"))
    with pytest.raises(CourseError, match="did not make|work in|not a folder|cannot be written"):
        program.main(["--steps", "1", "--out", out])
    assert content(theirs) == before


def test_what_was_trained_is_saved_elsewhere_when_its_folder_fails_in_the_end(theirs, monkeypatch):
    out, real = theirs / "adapter", publish.save

    def fails(model, tokenizer, folder, *rest):
        if Path(folder) == out:
            raise CourseError("The disk became full.")
        return real(model, tokenizer, folder, *rest)

    monkeypatch.setattr(publish, "save", fails)
    monkeypatch.setattr(tempfile, "tempdir", str(theirs))
    with pytest.raises(CourseError, match="disk became full.* What was trained is in .*adapter-"):
        program.main(["--steps", "1", "--batch", "2", "--held-out", "0", "--out", str(out)])
    assert len(list(theirs.glob("adapter-*/adapter_model.safetensors"))) == 1


def test_ctrl_c_saves_what_was_trained_and_says_so(theirs, monkeypatch):
    """In the middle of a run without checkpoints; in the end it is one sentence, and the adapter is there."""
    driver = theirs / "driver.py"
    driver.write_text(
        "import os, runpy, signal, sys\nfrom transformers import Trainer\nstep = Trainer.training_step\n"
        "def hit(self, *a, **k):\n"
        "    if self.state.global_step == 2:\n        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return step(self, *a, **k)\n"
        "Trainer.training_step = hit\nsys.argv[0] = 'x'\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "runpy.run_module('helpers.finetune', run_name='__main__')\n"
    )
    command = [sys.executable, str(driver), "--steps", "50", "--batch", "2", "--held-out", "0", "--out", "kept"]
    done = subprocess.run(
        command, cwd=theirs, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(run.ROOT)}
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "Stopped after step 3 of 50."
    assert "Traceback" not in done.stderr and (theirs / "kept" / "adapter_model.safetensors").is_file()


def test_a_page_that_cannot_be_made_costs_that_page_alone(tmp_path, monkeypatch):
    files.claim(tmp_path)
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "05_a.failed.ipynb")
    monkeypatch.setattr(runner, "page", lambda *given: 1 / 0)
    monkeypatch.setattr(runner, "course_map", lambda folder: [])
    done = run.NotebookRun("05_a", seconds=1.0, record={"x": 1}, headline="well")
    options = argparse.Namespace(write_back=False)
    entry = runner._entry(tmp_path, tmp_path, done, {"MODEL_ID": "mini"}, options)  # noqa: SLF001
    assert entry["values"] == {"x": 1} and "05_a.html could not be made: ZeroDivisionError" in entry["warning"]
    assert (tmp_path / "05_a.ipynb").is_file()


def test_solutions_are_folded_in_the_page():
    notebook = nbformat.read(run.NOTEBOOKS / "05_measure_memory.ipynb", as_version=4)
    page = runner.page(notebook, run.NOTEBOOKS, "05_measure_memory")
    solutions = sum("solution" in cell.metadata.get("tags", []) for cell in notebook.cells)
    parts = page.split("<details><summary>Solution</summary>")[1:]
    assert solutions == 4 == len(parts) and page.count("<details") == page.count("</details>") > 4
    for part in parts:
        assert "exercises" in part.split("</details>")[0]  # the code stands inside


def test_a_source_that_is_folded_in_jupyterlab_is_folded_in_the_page_and_code_fits_on_paper():
    told, open_ = nbformat.v4.new_code_cell("print('told')"), nbformat.v4.new_code_cell("print('open')")
    told.metadata["jupyter"] = {"source_hidden": True}
    told.outputs = [nbformat.v4.new_output("stream", text="what it said")]
    page = runner.page(nbformat.v4.new_notebook(cells=[told, open_]), run.NOTEBOOKS, "00_told")
    before, _, rest = page.partition('<details class="folded"><summary>Code</summary>')
    folded, _, after = rest.partition("</details>")
    assert "told" in folded and "told" not in before.partition("<body")[2] + after.replace("what it said", "")
    assert "what it said" in after and "open" in after and page.count("<details") == 1
    assert "@media print" in before and "pre-wrap" in before


def test_ctrl_c_while_the_runner_is_still_importing_is_a_sentence():
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    code = (
        "import os, runpy, signal, sys\nsys.argv = ['-m']\nimport papermill\n"
        "class Finder:\n    def find_spec(self, name, *rest):\n"
        "        if name == 'helpers.run.batch':\n            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\nimport helpers.run"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=run.ROOT, capture_output=True, text=True, **heed)
    assert (done.returncode, done.stderr.strip()) == (130, "Stopped: nothing was run.")


@pytest.mark.parametrize("count", ["-5", "-1"])
def test_a_negative_number_of_questions_ends_in_a_sentence(count):
    with pytest.raises(CourseError, match=f"--held-out is {count}: give 0 or more"):
        program.main(["--held-out", count])


def test_a_license_and_a_picture_may_be_published_and_a_stray_file_is_named_as_what_it_is(tmp_path):
    (tmp_path / "README.md").write_text("card")
    (tmp_path / "LICENSE").write_text("MIT")
    (tmp_path / "plot.png").write_bytes(b"\x89PNG\r\n\x1a\n/home/someone/ is not text here")
    assert {row["file"] for row in publish.dry_run(tmp_path, "you/it")} == {"README.md", "LICENSE", "plot.png"}
    (tmp_path / "program.exe").write_bytes(b"MZ")
    with pytest.raises(CourseError, match="not what others expect beside an adapter"):
        publish.dry_run(tmp_path, "you/it")
    (tmp_path / "program.exe").rename(tmp_path / "optimizer.pt")
    with pytest.raises(CourseError, match="a training run's state, or a pickle"):
        publish.dry_run(tmp_path, "you/it")


def test_a_model_s_folder_is_named_from_where_the_user_stands(theirs, monkeypatch, capsys):
    (theirs / "model").mkdir()
    asked = []

    def each(jobs, *rest):
        asked.extend(job.parameters["MODEL_ID"] for job in jobs)
        return iter(())

    monkeypatch.setattr(runner, "each", each)
    monkeypatch.setattr(runner, "report", lambda *given: None)
    with pytest.raises(KeyError):  # no notebook has run, and there is nothing to sum up
        runner.main(["--only", "05", "--build", "out", "--model-id", "./model"])
    assert asked == [str(theirs / "model")]
