"""``srdeploy farm`` and ``srdeploy bench --farm`` from the command line, on a farm on loopback."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from srdeploy.cli.main import run

pytest.importorskip("distributed")

from benchmarks.farm_lab import Lab, free_port, lab
from srdeploy.farm import certificates

NAME = "edsr-s-x2"
ENTRIES = [
    {"uri": "fake://orin-1", "tags": ["jetson-orin"]},
    {"uri": "fake://pixel-8-desk", "tags": ["pixel-8"]},
]
QUICK = ("--runs", "1", "--seconds", "0", "--no-quality", "--scale", "2")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A farm without ``--store`` keeps its results in the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def shop() -> Iterator[Lab]:
    with lab(devices=2, processes=1, port=free_port(), entries=ENTRIES) as one:
        one.start_all()
        one.wait_for_devices()
        yield one


@pytest.fixture
def farm(shop: Lab, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Options that name it; all its devices are there, so none is waited for."""
    monkeypatch.setattr("srdeploy.farm.link.GRACE_SECONDS", 0.0)
    return "--farm", str(shop.folder / "client")


def states(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["name"]: row["state"] for row in rows}


def test_certificates_are_made_added_and_renewed(command, refused, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    made = command("farm", "certs", folder, "--scheduler", "10.0.0.5", "--hosts", "10.0.0.5,bench1")
    assert [(one["host"], one["new"]) for one in made] == [("10.0.0.5", True), ("bench1", True)]
    for name in ("farm.yaml", "ca.pem", "host.pem", "host.key"):
        assert (folder / "bench1" / name).is_file()
    added = command("farm", "certs", folder, "--hosts", "bench1,bench2", "--days", "30")
    assert [(one["host"], one["new"]) for one in added] == [("bench1", False), ("bench2", True)]
    until = dt.datetime.fromisoformat(added[1]["until"])
    assert 29 <= (until - dt.datetime.now(dt.timezone.utc)).days <= 30
    (renewed,) = command("farm", "certs", folder, "--hosts", "bench1", "--renew")
    assert renewed["new"]
    code, sentence = refused("farm", "certs", tmp_path / "new", "--hosts", "a")
    assert code == 2
    assert "--scheduler" in sentence


def test_devices_are_listed(
    command, refused, farm: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = command("farm", "devices", *farm)
    assert states(rows) == {"orin-1": "ready", "pixel-8-desk": "ready"}
    assert rows[0]["tags"] == ["jetson-orin"]
    assert [row["name"] for row in command("farm", "devices", "pixel-*", *farm)] == ["pixel-8-desk"]
    assert run(["farm", "devices", *farm]) == 0
    shown = capsys.readouterr().out
    assert "jetson-orin" in shown
    assert "ready" in shown


def test_unknown_devices_are_refused(refused, farm: tuple[str, str]) -> None:
    for words in (("devices",), ("drain",), ("quarantine",)):
        code, sentence = refused("farm", *words, "orin-2", *farm)
        assert code == 2
        assert "did you mean 'orin-1'" in sentence


def test_drained_and_quarantined_and_back(command, refused, farm: tuple[str, str]) -> None:
    (row,) = command("farm", "drain", "orin-1", "--wait", *farm)
    assert (row["state"], row["reason"]) == ("drained", "by order")
    code, sentence = refused("bench", NAME, *farm, "--devices", "jetson-orin", *QUICK)
    assert code == 2
    assert "orin-1 is drained (by order)" in sentence
    (row,) = command("farm", "drain", "orin-1", "--back", *farm)
    assert (row["state"], row["reason"]) == ("ready", "")
    (row,) = command("farm", "quarantine", "pixel-8", "--reason", "battery swells", *farm)
    assert (row["name"], row["state"]) == ("pixel-8-desk", "quarantined")
    assert states(command("farm", "devices", *farm))["pixel-8-desk"] == "quarantined"
    (row,) = command("farm", "quarantine", "pixel-8-desk", "--release", *farm)
    assert row["state"] == "ready"


def test_a_run_fans_out_and_is_resumed(command, farm: tuple[str, str], tmp_path: Path) -> None:
    arguments = ("bench", NAME, *farm, "--devices", "jetson-orin,pixel-*", *QUICK)
    arguments = (*arguments, "--store", tmp_path / "results.sqlite")
    rows = command(*arguments, "--output", tmp_path / "rows.jsonl")
    assert [row["device"] for row in rows] == ["orin-1", "pixel-8-desk"]
    assert all(row["error"] is None and row["p50_ms"] > 0 for row in rows)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert {json.loads(line)["device"] for line in lines} == {"orin-1", "pixel-8-desk"}
    again = command(*arguments)
    assert [row["started"] for row in again] == [row["started"] for row in rows]


def test_sending_needs_no_pytorch(farm: tuple[str, str], tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from srdeploy.cli.main import main; main()"
    arguments = ["bench", NAME, *farm, "--devices", "fake", "--json", *QUICK[:-2]]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--store", str(tmp_path / "results.sqlite")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["error"] is None


def test_requests_that_do_not_fit(refused, farm: tuple[str, str], tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    for arguments, sentence in (
        (("bench", NAME, *farm), "--devices TAG"),
        (("bench", NAME, "--devices", "orin-1"), "add --farm FILE"),
        (("bench", NAME, *farm, "--devices", "orin-1", "--device", "ssh://a"), "--devices TAG"),
        (("bench", NAME, *farm, "--devices", "orin-1", "--output", tmp_path / "no" / "x"), "no/x"),
        (("farm", "devices", "--farm", missing), "none.yaml"),
        (("farm", "worker", *farm), "Name a device"),
        (("farm", "worker", *farm, "--tags", "a"), "--device URI"),
        (("farm", "worker", *farm, "--device", "fax://a"), "kind of device"),
        (("farm", "scheduler", *farm, "--listen", "192.0.2.1:1"), "cannot listen"),
    ):
        code, told = refused(*arguments)
        assert code == 2, told
        assert sentence in told


def test_a_stale_certificate_is_told_before_anything_is_connected(
    command, refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=400)
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "_now", lambda: past)
        command("farm", "certs", tmp_path, "--scheduler", "192.0.2.1", "--hosts", "desk")
    farm = ("--farm", tmp_path / "desk")
    for arguments in (
        ("farm", "devices", *farm),
        ("farm", "worker", "--device", "fake://a", *farm),
        ("farm", "scheduler", *farm),
        ("bench", NAME, "--devices", "a", *farm),
    ):
        code, sentence = refused(*arguments)
        assert code == 2
        assert "expired on" in sentence
        assert "--renew" in sentence


def test_nobody_answers(refused, tmp_path: Path) -> None:
    certificates.issue(tmp_path, ["desk"], f"127.0.0.1:{free_port()}")
    code, sentence = refused("farm", "devices", "--farm", tmp_path / "desk")
    assert code == 1
    assert "srdeploy farm scheduler" in sentence
