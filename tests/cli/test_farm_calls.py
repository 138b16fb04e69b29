"""``srdeploy farm``: what the options are for, and what is printed; no farm is needed."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("distributed")

from srdeploy.farm.certificates import Issued
from tests.cli.reach import ALL, STOP, Case, calls, exit_code, hold

OPEN: dict[str, Any] = {
    "srdeploy.farm.network:open_farm": (SimpleNamespace(devices=["all of the file"]), "")
}
CERTS = {"srdeploy.farm.certificates:issue": STOP}
SCHEDULER = {**OPEN, "srdeploy.farm.scheduler:serve": STOP}
WORKER = {
    **OPEN,
    "srdeploy.farm.settings:device_entry": "the entry",
    "srdeploy.farm.worker:serve": STOP,
}
LIVE = {**OPEN, "srdeploy.farm.link:devices": STOP}
ORDER = {**OPEN, "srdeploy.farm.link:order": STOP}

CASES = [
    Case(
        "farm certs lab --hosts 'a, b'",
        CERTS,
        {"issue.folder": "lab", "issue.hosts": ["a", "b"], "issue.days": 365, "issue.renew": False},
        {
            "--scheduler h:1": {"issue.scheduler": "h:1"},
            "--days 30": {"issue.days": 30},
            "--renew": {"issue.renew": True},
        },
    ),
    Case(
        "farm scheduler",
        SCHEDULER,
        {"open_farm.path": "farm.yaml", "serve.farm": "SimpleNamespace"},
        {
            "--farm d": {"open_farm.path": "d"},
            "--listen h:1": {"serve.listen": "h:1"},
        },
    ),
    Case(
        "farm worker",
        WORKER,
        {
            "open_farm.path": "farm.yaml",
            "serve.farm": "SimpleNamespace",
            "serve.entries": ["all of the file"],
        },
        {
            "--farm d": {"open_farm.path": "d"},
            "--listen h:1": {"serve.listen": "h:1"},
        },
        ("--device", "--tags", "--name", "--labgrid"),
    ),
    Case(
        "farm worker --device fake://a",
        WORKER,
        {
            "open_farm.path": "farm.yaml",
            "device_entry.values.uri": "fake://a",
            "serve.farm": "SimpleNamespace",
            "serve.entries": ["the entry"],
        },
        {
            "--tags t,u": {"device_entry.values.tags": ["t", "u"]},
            "--name n": {"device_entry.values.name": "n"},
            "--labgrid p": {"device_entry.values.labgrid": "p"},
        },
        ALL,
    ),
    Case(
        "farm devices",
        LIVE,
        {"open_farm.path": "farm.yaml", "devices.farm": "SimpleNamespace"},
        {
            "--farm d": {"open_farm.path": "d"},
            "'p-*' q": {"devices.words": ["p-*", "q"]},
        },
    ),
    Case(
        "farm drain a b",
        ORDER,
        {
            "open_farm.path": "farm.yaml",
            "order.farm": "SimpleNamespace",
            "order.words": ["a", "b"],
            "order.state": "drained",
            "order.reason": "by order",
            "order.wait": False,
        },
        {
            "--farm d": {"open_farm.path": "d"},
            "--back": {"order.state": "ready", "order.reason": ""},
            "--wait": {"order.wait": True},
        },
    ),
    Case(
        "farm quarantine a",
        ORDER,
        {
            "open_farm.path": "farm.yaml",
            "order.farm": "SimpleNamespace",
            "order.words": ["a"],
            "order.state": "quarantined",
            "order.reason": "by order",
            "order.wait": False,
        },
        {
            "--farm d": {"open_farm.path": "d"},
            "--reason 'too hot'": {"order.reason": "too hot"},
            "--release": {"order.state": "ready", "order.reason": ""},
        },
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.line)
def test_every_option_reaches(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hold(case)


def device(name: str, **values: Any) -> Any:
    facts = {"kind": "fake", "tags": ("t", "u"), "state": "ready", "reason": "", "running": None,
             "seconds": None, "done": 0}  # fmt: skip
    return SimpleNamespace(**{"name": name, **facts, **values})


def test_what_devices_prints(capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        device("idle"),
        device("busy", running="a.onnx", seconds=12.6, done=7),
        device("gone", state="drained", reason="by order"),
    ]
    for line, target in (
        ("farm devices", "devices"),
        ("farm drain a", "order"),
        ("farm quarantine a", "order"),
    ):
        replaced = {**OPEN, f"srdeploy.farm.link:{target}": found}
        calls(line, replaced)
        told = capsys.readouterr().out
        rows = [" ".join(text.split()) for text in told.splitlines()]
        assert "idle fake t, u ready - 0" in rows
        assert "busy fake t, u ready a.onnx (13 s) 7" in rows
        assert "gone fake t, u drained: by order - 0" in rows
        assert "No device" not in told
        calls(f"{line} --json", replaced)
        assert [row["name"] for row in json.loads(capsys.readouterr().out)] == [
            "idle", "busy", "gone",
        ]  # fmt: skip
        calls(line, {**OPEN, f"srdeploy.farm.link:{target}": []})
        assert "No device is connected" in capsys.readouterr().out


def test_devices_are_chosen_by_patterns(capsys: pytest.CaptureFixture[str]) -> None:
    replaced = {
        **OPEN,
        "srdeploy.farm.link:devices": [device("a"), device("b")],
        "srdeploy.farm.fleet:devices_of": [device("b")],
    }
    assert calls("farm devices b --json", replaced)["devices_of.words"] == ["b"]
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["b"]
    assert "devices_of.words" not in calls("farm devices --json", replaced)
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["a", "b"]


def test_what_certs_prints(capsys: pytest.CaptureFixture[str]) -> None:
    until = dt.datetime(2027, 3, 4, 5, 6, tzinfo=dt.timezone.utc)
    issued = [Issued("a", Path("lab/a"), until, True), Issued("b", Path("lab/b"), until, False)]
    replaced = {"srdeploy.farm.certificates:issue": issued}
    calls("farm certs lab --hosts a,b", replaced)
    assert capsys.readouterr().out.splitlines() == [
        "lab/a: made, valid until 2027-03-04; copy it to a",
        "lab/b: kept, valid until 2027-03-04; copy it to b",
    ]
    calls("farm certs lab --hosts a,b --json", replaced)
    first, second = json.loads(capsys.readouterr().out)
    assert first == {"host": "a", "folder": "lab/a", "until": "2027-03-04 05:06:00+00:00",
                     "new": True}  # fmt: skip
    assert second["new"] is False
    assert exit_code("farm certs lab --hosts a --days 0", replaced) == 2


def test_a_farms_remark_is_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    remark = {"srdeploy.farm.network:open_farm": ("f", "It ends soon."),
              "srdeploy.farm.link:devices": []}  # fmt: skip
    calls("farm devices", remark)
    assert capsys.readouterr().err == "It ends soon.\n"
    calls("farm devices", {**remark, **OPEN})
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", ["--tags t", "--name n", "--labgrid p"])
def test_what_describes_a_device_needs_one(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(f"farm worker {words}", WORKER) == 2
    assert "--device URI" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "absent", "told"),
    [
        ("farm devices", "distributed", True),
        ("farm devices", "cryptography", True),
        ("farm certs lab --hosts a", "cryptography", True),
        ("farm certs lab --hosts a", "distributed", False),
    ],
)
def test_what_is_not_installed_is_named(
    line: str,
    absent: str,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == absent else 1)
    assert exit_code(line, {**LIVE, **CERTS}) == (2 if told else None)
    assert (f"Farms need {absent}" in capsys.readouterr().err) == told
