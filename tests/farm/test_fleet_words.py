"""What is read of a scheduler's own words, and the sentences about devices."""

from __future__ import annotations

from typing import Any

import pytest

from srdeploy.errors import UserError
from srdeploy.farm.fleet import devices_of, fits, fleet_of, tags_of, why_none
from tests.farm.test_accounting import live

CARD = {"name": "b", "uri": "fake://b", "kind": "fake", "tags": ["x", "y"], "host": "h:/c",
        "python": "3.11"}  # fmt: skip
STATUS = {"state": "drained", "reason": "moving", "in_a_row": 2, "done": 7, "running": "net",
          "seconds": 1.5}  # fmt: skip


def test_every_field_of_a_worker() -> None:
    workers: dict[str, Any] = {
        "tls://1": {"srdeploy": CARD, "metrics": {"srdeploy": STATUS}},
        "tls://2": {"metrics": {}},  # somebody's plain Dask worker
        "tls://3": {"srdeploy": CARD | {"name": "a"}, "metrics": {}},
    }
    fresh, worn = fleet_of({"workers": workers})
    assert (worn.name, worn.address, worn.uri, worn.kind) == ("b", "tls://1", "fake://b", "fake")
    assert (worn.tags, worn.host, worn.python) == (("x", "y"), "h:/c", "3.11")
    assert (worn.state, worn.reason, worn.in_a_row, worn.done) == ("drained", "moving", 2, 7)
    assert (worn.running, worn.seconds, worn.ready) == ("net", 1.5, False)
    assert (fresh.name, fresh.address, fresh.state, fresh.reason) == ("a", "tls://3", "ready", "")
    assert (fresh.in_a_row, fresh.done, fresh.running, fresh.seconds) == (0, 0, None, None)
    assert fresh.ready
    assert [fresh.has(tag) for tag in ("a", "fake", "x", "y", "z")] == [True] * 4 + [False]


def test_words_that_mean_something() -> None:
    fleet = [live("a", "x1"), live("b", "x2")]
    assert fits(["a", "x*", "fake"], fleet)
    assert fits([], fleet)
    assert not fits(["a", "none"], fleet)
    assert not fits(["a"], [])
    assert tags_of(["x2", "x*", "a"], fleet) == ["x2", "x1", "a"]
    assert [one.name for one in devices_of(["x2"], fleet)] == ["b"]
    with pytest.raises(UserError, match="start `srdeploy farm worker`"):
        devices_of(["a"], [])


@pytest.mark.parametrize(("count", "more"), [(3, "."), (4, " and 1 more."), (6, " and 3 more.")])
def test_three_are_named(count: int, more: str) -> None:
    told = why_none("t", [live(f"d{n}", "t", state="drained") for n in range(count)])
    names = "; ".join(f"d{n} is drained ()" for n in range(3))
    assert told == f"No device 't' of the farm takes jobs: {names}{more}"
    assert why_none("t", [live("a", "t", state="drained"), live("b", "t")]) is None
    assert why_none("z", []) == "No device 'z' of the farm is connected."
