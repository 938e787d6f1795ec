"""What notebooks record, read back and show."""

import json
import math
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers import results
from helpers.errors import CourseError


def test_record_displays_one_bundle_that_json_keeps(displayed):
    values = {
        "notebook": "05_x",
        "gb": 4.125,
        "n": 3,
        "ok": True,
        "none": None,
        "list": [1, (2.5, "b")],
        "d": {"k": {}},
    }
    results.record({**values, "numpy": np.float32(0.5), "torch": torch.tensor(7), "truth": np.bool_(True)})
    (shown,) = displayed
    bundle = json.loads(json.dumps(shown["data"][results.MIME], allow_nan=False))
    assert bundle["notebook"] == "05_x"
    expected = {"gb": 4.125, "n": 3, "ok": True, "none": None, "list": [1, [2.5, "b"]], "d": {"k": {}}}
    assert bundle["values"] == {**expected, "numpy": 0.5, "torch": 7, "truth": True}
    assert type(bundle["values"]["ok"]) is bool and type(bundle["values"]["truth"]) is bool
    assert shown["data"]["text/plain"] == f"For the course's own tests: {', '.join(bundle['values'])}."
    results.record({**values, "headline": "4.1 GB"})
    assert displayed[1]["data"]["text/plain"] == "For the course's own tests: 4.1 GB."


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, '"notebook"'),
        ({"notebook": ""}, '"notebook"'),
        ([], '"notebook"'),
        ({"notebook": "x", "a": math.nan}, '"a" is nan'),
        ({"notebook": "x", "a": {"b": [1, math.inf]}}, r'"a.b\[1\]" is inf'),
        ({"notebook": "x", "a": np.float64("nan")}, '"a" is nan'),
        ({"notebook": "x", "a": object()}, '"a" is of type object'),
        ({"notebook": "x", "a": torch.ones(2)}, '"a" is of type Tensor'),
        ({"notebook": "x", "a": {1: 2}}, "keys must be strings"),
    ],
)
def test_record_refuses_what_json_cannot_hold(displayed, values, said):
    with pytest.raises(ValueError, match=said):
        results.record(values)
    assert displayed == []


def test_environment_names_what_results_depend_on_and_nothing_else():
    environment = results.environment()
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["python"] == platform.python_version()
    assert 1 <= environment["cores"] <= 1024 and 0.5 < environment["memory_gb"] < 1e5
    assert len(environment["gpu"]) == torch.cuda.device_count()
    text = json.dumps(environment)
    assert platform.node() not in text and not re.search(r'"/|[A-Z]:\\\\|20\d\d-\d\d-\d\d', text)


PROVENANCE = {"hardware": "A GPU", "versions": {"torch": "2.13.0"}, "date": "2026-11-24", "command": "make run"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RECORDED", tmp_path)
    return tmp_path


def test_recorded_returns_values_and_says_where_they_come_from(folder, displayed):
    (folder / "h.json").write_text(json.dumps({"provenance": PROVENANCE, "values": {"gb": 4.125}}))
    run = results.read_recording("h")
    assert run.values == {"gb": 4.125} and run.provenance == PROVENANCE
    assert displayed[0]["data"]["text/plain"] == "Recorded run “h”: A GPU; torch 2.13.0; 2026-11-24."
    results.read_recording("h", quiet=True)
    assert len(displayed) == 1


def test_recorded_is_clear_about_a_missing_broken_or_anonymous_run(folder):
    (folder / "broken.json").write_text("{")
    (folder / "list.json").write_text("[]")
    (folder / "undated.json").write_text(json.dumps({"provenance": {**PROVENANCE, "date": ""}, "values": {}}))
    for name, said in {
        "other": "There is no recorded run “other”; recorded runs in notebooks/recorded: broken, list, undated.",
        "broken": "cannot be read",
        "list": "cannot be read",
        "undated": "does not say its date",
    }.items():
        with pytest.raises(CourseError, match=said):
            results.read_recording(name)


def test_a_part_is_found_where_it_was_recorded_last(folder, displayed):
    def written(name, date, **dates):
        provenance = {**PROVENANCE, "date": date, "dates": dates}
        (folder / f"{name}.json").write_text(
            json.dumps({"provenance": provenance, "values": dict.fromkeys(dates, name)})
        )

    written("a", "2026-11-30", x="2026-11-02", y="2026-11-30")
    written("b", "2026-11-03", x="2026-11-03")
    assert results.read_recording(part="x").name == "b" and results.read_recording(part="y", quiet=True).name == "a"
    assert displayed[-1]["data"]["text/plain"].endswith("2026-11-03.")
    assert results.read_recording("a", part="x").values["x"] == "a"
    assert displayed[-1]["data"]["text/plain"].endswith("2026-11-02.")
    with pytest.raises(CourseError, match="No recorded run holds “z”"):
        results.read_recording(part="z")
    with pytest.raises(CourseError, match="does not hold “y”: it has x"):
        results.read_recording("b", part="y")
    assert results.recorded("x") == "b" and results.recorded("x", name="a") == "a"
    shown = len(displayed)
    assert results.recorded("x", model_id="smollm2") == {} and len(displayed) == shown + 1
    assert "No recorded run holds “x”" in displayed[-1]["data"]["text/markdown"]


def test_table_aligns_numbers_and_escapes(displayed):
    rows = [
        {"scheme": "a|b", "gb": 4.12548, "bytes": 4125481856, "fits": True},
        {"scheme": "nf4", "gb": None, "bytes": np.int64(12), "fits": False, "hidden": 1},
    ]
    results.table(rows, {"scheme": "Scheme", "gb": "GB", "bytes": "Bytes", "fits": "Fits"}, caption="Sizes")
    assert displayed[0]["data"]["text/markdown"].splitlines() == [
        "**Sizes**",
        "",
        "| Scheme |    GB |         Bytes | Fits |",
        "| ------ | ----: | ------------: | ---- |",
        "| a\\|b   | 4.125 | 4,125,481,856 | yes  |",
        "| nf4    |     – |            12 | no   |",
    ]


def test_importing_the_helpers_that_all_notebooks_share_loads_no_torch():
    check = "import sys, helpers; assert len([m for m in sys.modules if m.startswith('helpers')]) == 2;"
    check += (
        "import helpers.results, helpers.exercises, helpers.errors; assert not {'torch', 'matplotlib'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
