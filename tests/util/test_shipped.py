"""What comes with the package is found by one module, whatever its kind."""

from __future__ import annotations

from pathlib import Path

import srdeploy
from srdeploy.util.shipped import ASSETS, shipped, shipped_networks, shipped_scenarios

PACKAGE = Path(srdeploy.__file__).parent


def test_files_go_by_their_names_in_order() -> None:
    found = shipped("prune")
    assert list(found) == sorted(found)
    assert {"srp", "assl", "gassl"} <= found.keys()
    assert all(path.parent == ASSETS / "prune" for path in found.values())
    assert found["srp"].name == "srp.yaml"
    assert shipped("nothing") == {}


def test_networks_and_scenarios() -> None:
    assert shipped_networks()["edsr-s-x2"].read_bytes()[8:9] == b"{"
    assert shipped_networks() == shipped("networks", ".safetensors")
    assert shipped_scenarios() == shipped("scenarios")


def test_no_other_module_knows_where_they_lie() -> None:
    naming = [
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in ('"assets', "'assets"))
    ]
    assert naming == ["util/shipped.py"]
