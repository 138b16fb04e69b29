"""What ``srdeploy doctor`` prints."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.cli import doctor
from srdeploy.cli.main import run
from srdeploy.runtime.table import Availability

TELL = "srdeploy.export.story.tell"


def test_what_doctor_prints(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def row(name: str, ready: bool, reason: str) -> Any:
        found = Availability(ready, reason)
        return SimpleNamespace(name=name, title=f"the {name}", availability=lambda: found)

    monkeypatch.setattr("srdeploy.runtime.table.RUNTIMES", {"ort": row("ort", True, "1.2.3")})
    monkeypatch.setattr("srdeploy.export.targets.TARGETS", {"trt": row("trt", False, "absent")})
    doctor.doctor()
    told = capsys.readouterr().out
    rows = [[word for word in line.split() if word.isascii()] for line in told.splitlines()]
    assert ["runtime", "ort", "yes", "the", "ort", "1.2.3"] in rows
    assert ["target", "trt", "no", "the", "trt", "absent"] in rows
    assert "shipped networks: edsr-s-x2" in told
    monkeypatch.setattr("srdeploy.models.card_file.shipped_networks", dict)
    assert run(["doctor"]) == 0
    assert "shipped networks: none" in capsys.readouterr().out
