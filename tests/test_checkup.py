"""checkup: each lack is said with what to do; no token, path or host name is shown."""

import getpass
import re
import socket
import time
import tomllib
from pathlib import Path

import pytest
import torch

from helpers import checkup, memory, models
from helpers.errors import CourseError
from helpers.models import choose, hub
from helpers.models.kinds import MISTRAL_7B

ROOT = Path(__file__).resolve().parent.parent


def test_the_oldest_versions_are_those_of_pyproject():
    wanted = dict(
        re.match(r"([\w-]+)>=([\d.]+)", line).groups()
        for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    )
    assert {name: wanted[name] for name in checkup.NEEDED} == checkup.NEEDED


def test_a_good_machine_lacks_nothing():
    rows = checkup.checks("offline")
    assert {row["what"] for row in rows} >= {"Python", "torch", "GPU", "memory", "disk, for the hub cache", "hub"}
    assert all(row["ok"] is True for row in rows if row["what"] in checkup.NEEDED)
    checkup.lacks(rows)


def test_missing_and_old_packages_are_named(monkeypatch):
    real = checkup.importlib.metadata.version

    def version(name):
        if name == "peft":
            raise checkup.importlib.metadata.PackageNotFoundError(name)
        return "0.9.1" if name == "bitsandbytes" else real(name)

    monkeypatch.setattr(checkup.importlib.metadata, "version", version)
    rows = {row["what"]: row for row in checkup.checks()}
    assert rows["peft"]["found"] == "missing" and rows["peft"]["ok"] is False
    assert rows["bitsandbytes"]["ok"] is False and "0.50.2" in rows["bitsandbytes"]["do"]
    assert rows["torch"]["ok"] is True and "hub" not in rows
    with pytest.raises(CourseError, match="bitsandbytes is 0.9.1.*pip install.*peft is missing"):
        checkup.lacks(list(rows.values()))


def test_no_token_path_or_host_is_shown(monkeypatch, displayed):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_notashowntoken")
    rows = checkup.checks("gated")
    checkup.show(rows)
    assert {row["what"]: row["found"] for row in rows}["token of the hub"] == "present"
    shown = str(rows)
    assert "notashown" not in shown and str(Path.home()) not in shown and socket.gethostname() not in shown
    assert getpass.getuser() not in re.sub(r"root", "", shown) or getpass.getuser() == "root"


def test_the_hub_is_asked_for_a_limited_time(monkeypatch):
    asked = []
    monkeypatch.setattr(hub, "ask", lambda *question: asked.append(question) or ("missing", 0))
    assert checkup.hub(1.0) == "unreachable"  # whatever is not granted or gated cannot be had
    assert asked == [(MISTRAL_7B, 1.0)]
    monkeypatch.undo()
    begun = time.perf_counter()
    assert checkup.hub(0.5) in ("offline", "unreachable")
    assert time.perf_counter() - begun < 2


@pytest.mark.parametrize(
    ("capability", "free", "says"),
    [((7, 5), 15e9, "float16"), ((9, 0), 4e9, "6 GB"), ((9, 0), 140e9, "")],
)
def test_gpus(monkeypatch, capability, free, says):
    class Properties:
        name, total_memory = "NVIDIA Test", 16e9
        major, minor = capability

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(models, "free_memory", lambda device="auto": free)
    rows = checkup.gpu()
    assert rows[0]["found"] == "NVIDIA Test"
    said = " ".join(row["do"] for row in rows)
    assert (says in said) if says else not said.strip()
    assert rows[2]["ok"] is (free >= 6e9)


def test_schemes_are_forecasts_and_free_memory(monkeypatch):
    monkeypatch.setattr(choose, "free_memory", lambda device="auto": 6_000_000_000)
    rows = {row["scheme"]: row for row in checkup.schemes(device="cpu")}
    assert list(rows) == list(models.SCHEMES)
    assert rows["nf4-dq"]["needed"] == memory.predict(models.mistral_7b_config(), "nf4-dq").total_bytes + 500_000_000
    assert [scheme for scheme, row in rows.items() if row["fits"]] == ["fp4", "nf4", "nf4-dq"]


def test_a_hub_cache_that_cannot_be_read_is_a_row_and_no_end(monkeypatch, tmp_path):
    """An HF_HOME of somebody else's, or one that is a file: the check itself goes on."""
    monkeypatch.setattr(Path, "exists", lambda self: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    with pytest.raises(CourseError, match="point HF_HOME at a folder of yours"):
        hub.disk_free()
    (row,) = [row for row in checkup.checks() if row["what"] == "disk, for the hub cache"]
    assert row["found"] == "cannot be read" and "HF_HOME" in row["do"] and row["ok"] is None


@pytest.mark.parametrize(
    ("flags", "found", "ok"),
    [
        ("flags : avx2 avx512_bf16 fma", "yes (avx512_bf16)", True),
        ("flags : avx2 fma", "no", None),
        (None, "not known", None),
    ],
)
def test_a_cpu_says_whether_it_has_bfloat16(monkeypatch, tmp_path, flags, found, ok):
    if flags:
        (tmp_path / "cpuinfo").write_text(flags)
    monkeypatch.setattr(checkup, "CPUINFO", tmp_path / "cpuinfo")
    (row,) = [row for row in checkup.checks() if row["what"] == "bfloat16 in the CPU"]
    assert (row["found"], row["ok"]) == (found, ok) and ("float32" in row["do"]) == (found == "no")
