"""record: parts of one machine are put together, parts of two are not; what it needs is there."""

import json

import pytest

from helpers import record, results, run
from helpers.errors import CourseError
from helpers.run import batch

ENVIRONMENT = {
    "hardware": "NVIDIA H200",
    "driver": "580",
    "python": "3.12.3",
    "system": "Linux x86_64",
    "versions": {"torch": "2.11.0"},
    "gpu": [{"name": "NVIDIA H200"}],
}


@pytest.mark.parametrize(
    "gpu, name", [("NVIDIA H200", "h200"), ("Tesla T4", "t4"), ("NVIDIA GeForce RTX 4090", "geforce-rtx-4090")]
)
def test_the_file_is_named_after_the_gpu(gpu, name):
    assert record.name_of(gpu) == name


def test_a_part_replaces_itself_alone_and_keeps_the_other_dates():
    first = record.merged({}, {"a": {"x": 1}, "b": {"x": 2}}, ENVIRONMENT, "2026-11-01")
    second = record.merged(first, {"b": {"x": 3}}, ENVIRONMENT, "2026-11-02")
    assert second["values"] == {"a": {"x": 1}, "b": {"x": 3}}
    assert second["provenance"]["dates"] == {"a": "2026-11-01", "b": "2026-11-02"}
    assert second["provenance"]["date"] == "2026-11-02" and second["provenance"]["hardware"] == "NVIDIA H200"


@pytest.mark.parametrize("key, other", [("hardware", "NVIDIA A100"), ("versions", {"torch": "2.13.0"})])
def test_parts_of_two_machines_make_no_run(key, other):
    first = record.merged({}, {"a": {}}, ENVIRONMENT, "2026-11-01")
    with pytest.raises(CourseError, match=f"has another {key}.*--fresh"):
        record.merged(first, {"b": {}}, {**ENVIRONMENT, key: other}, "2026-11-02")


def test_without_a_gpu_nothing_is_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(results, "environment", lambda: {**ENVIRONMENT, "gpu": []})
    assert record.main(["--out", str(tmp_path / "x.json")]) == 2
    assert "No NVIDIA GPU" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_what_is_asked_for_is_run_and_a_failure_keeps_the_rest(tmp_path, monkeypatch, capsys):
    asked = []

    def execute(path, output, parameters, *_):
        asked.append((path.stem, parameters))
        if path.stem.startswith("05"):
            raise run.NotebookError("05: no.")
        return run.NotebookRun(path.stem, seconds=1.0, record={"headline": "h", "x": 1})

    monkeypatch.setattr(results, "environment", lambda: ENVIRONMENT)
    monkeypatch.setattr(batch, "execute", execute)
    out = tmp_path / "x.json"
    assert record.main(["--only", "05,06", "--out", str(out)]) == 1
    assert [name[:2] for name, _ in asked] == ["05", "06", "06"]  # what measures time is run in two processes
    assert all(parameters["MODEL_ID"] == "mistral-7b-shape" for _, parameters in asked)
    assert asked[1][1] == {"MODEL_ID": "mistral-7b-shape", **record.PARAMETERS["06_generate_and_time"]}
    kept = json.loads(out.read_text())
    assert set(kept["values"]) == {"06_generate_and_time"} and kept["values"]["06_generate_and_time"]["x"] == 1
    assert kept["values"]["06_generate_and_time"]["again"]["x"] == 1
    assert "FAILED 05: no." in capsys.readouterr().err


def test_a_machine_records_what_it_can_under_a_name_of_its_own(tmp_path, monkeypatch, capsys):
    gpu = {"name": "NVIDIA H200"}
    assert [record.file_of({"gpu": [gpu] * n}) for n in (0, 1, 2)] == ["cpu", "h200", "h200-x2"]
    assert record.possible({"gpu": []}) == {"sweep"}
    assert set(record.CHECKS) - record.possible({"gpu": [gpu]}) == {"scale"}
    assert record.possible({"gpu": [gpu] * 2}) == set(record.CHECKS)
    environment = {**results.environment(), "gpu": []}
    monkeypatch.setattr(record.results, "environment", lambda: environment)
    monkeypatch.setattr(record, "checked", lambda name: run.NotebookRun(name, record={"rows": [name]}))
    out = tmp_path / "cpu.json"
    assert record.main(["--only", "sweep", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["values"] == {"sweep": {"rows": ["sweep"]}}
    assert record.main(["--only", "sweep,levers", "--out", str(out)]) == 2
    environment["gpu"] = [gpu]
    assert record.main(["--only", "scale", "--out", str(out)]) == 2
    assert "several GPUs" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(path.stem for path in results.RECORDED.glob("*.json")))
def test_every_recording_says_where_it_comes_from(name):
    found = results.read_recording(name, quiet=True)
    assert set(found.provenance["dates"]) == set(found.values)
    assert set(found.values) <= {*record.CHECKS, *run.course_map()}


def test_the_recording_that_is_shipped_can_be_read_and_is_of_notebooks_that_exist():
    found = results.read_recording("h200", quiet=True)
    assert found.provenance["hardware"] == "NVIDIA H200"
    assert set(found.values) - set(record.CHECKS) <= set(run.course_map())
    assert set(found.provenance["dates"]) == set(found.values)
    for name, values in record.PARAMETERS.items():
        known = run.parameters_of(
            name, next(c.source for c in _cells(name) if "parameters" in c.metadata.get("tags", []))
        )
        assert set(values) <= set(known)
    # sizes of Mistral-7B, by the byte, as the 7B shapes were counted on that GPU
    counted = found.values["05_measure_memory"]["counted_bytes"]
    assert counted["nf4-dq"] == pytest.approx(4_125_481_856, abs=1000)


def _cells(name: str):
    import nbformat

    return nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells


def test_another_model_has_a_recording_of_its_own_and_needs_no_gpu(tmp_path, monkeypatch):
    asked = []

    def execute(path, output, parameters, *_):
        asked.append((path.stem, parameters))
        return run.NotebookRun(path.stem, seconds=1.0, record={"headline": "h", "x": len(asked)})

    environment = {**ENVIRONMENT, "gpu": [], "hardware": "A CPU"}
    monkeypatch.setattr(results, "environment", lambda: environment)
    monkeypatch.setattr(results, "RECORDED", tmp_path)
    monkeypatch.setattr(batch, "execute", execute)
    assert record.main(["--only", "06", "--model-id", "smollm2"]) == 0
    assert asked == [("06_generate_and_time", {"MODEL_ID": "smollm2"})]  # once, and with the notebook's own sizes
    provenance = json.loads((tmp_path / "cpu-smollm2.json").read_text())["provenance"]
    assert provenance["model_id"] == "smollm2" and provenance["command"].endswith("--model-id smollm2")
    # what is asked for without naming a model is of the 7B's shapes
    with pytest.raises(CourseError, match="No recorded run holds"):
        results.read_recording(part="06_generate_and_time", quiet=True)
    found = results.read_recording(part="06_generate_and_time", model_id="smollm2", quiet=True)
    assert found.values["06_generate_and_time"]["x"] == 1
