"""The kinds of devices: examples of themselves, and what each lacks here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from srdeploy.devices import table
from srdeploy.devices.uri import DeviceUri
from srdeploy.runtime.table import Availability


@pytest.mark.parametrize("kind", table.KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_has_an_example_of_itself(kind: table.Kind) -> None:
    assert DeviceUri.parse(kind.example).kind == kind.name
    assert table.KINDS[kind.name] is kind


def test_what_a_kind_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    here = SimpleNamespace(availability=lambda: Availability(True, ""))
    gone = SimpleNamespace(availability=lambda: Availability(False, "pip install x"))

    def kind(*modules: Any, program: str | None = None) -> Availability:
        return table.Kind("k", "t", "k", "m:C", program, "install it", modules).availability()

    assert kind() == Availability(True, "needs nothing more")
    assert kind(here, here) == Availability(True, "needs nothing more")
    assert kind(here, gone) == Availability(False, "pip install x")
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name == "ssh" else None)
    assert kind(program="ssh") == Availability(True, "ssh found")
    assert kind(program="adb") == Availability(False, "adb is not on PATH: install it")
    assert kind(gone, program="ssh") == Availability(False, "pip install x")
