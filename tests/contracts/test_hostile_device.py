"""A device that lies costs its own rows, in one sentence; the others are measured and stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from srdeploy.benchmarking.measuring.plan import plan, run
from srdeploy.devices.answers import Implausible, read_json
from srdeploy.devices.checked import checked
from srdeploy.devices.open import open_device
from srdeploy.devices.table import KINDS, Kind
from srdeploy.measure.scenario import Scenario
from srdeploy.measure.store import Store
from srdeploy.testing.devices import small_set  # noqa: F401
from tests.contracts.hostile import LIES

QUICK = Scenario(min_runs=3, min_seconds=0.05, turn_seconds=0.02, warmup_seconds=0)


@pytest.fixture(autouse=True)
def _hostile(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind("hostile", "lies", "hostile://x", "tests.contracts.hostile:HostileDevice")
    monkeypatch.setitem(KINDS, "hostile", kind)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_that_devices_error_and_the_others_are_stored(
    lie: str,
    tmp_path: Path,
    small_set: Path,  # noqa: F811
) -> None:
    devices = [f"hostile://{lie}", "fake://honest"]
    batches = plan(devices, [QUICK], scale=2, data=str(small_set))
    with Store.open(tmp_path / "results.sqlite") as store:
        liar, honest = run(["edsr-s-x2"], batches, store=store)
        kept = [store.get(b.request.key("edsr-s-x2", b.device, b.repeat)) for b in batches]
    assert liar.error is not None
    assert f"hostile://{lie}" in liar.error
    assert "\n" not in liar.error
    assert len(liar.error) < 400
    assert honest.error is None
    assert honest.p50_ms == pytest.approx(5, rel=0.1)
    assert [found is not None and found.error for found in kept] == [liar.error, None]
    json.dumps([row.model_dump(mode="json") for row in (liar, honest)], allow_nan=False)


def test_the_honest_pass(tmp_path: Path, small_set: Path) -> None:  # noqa: F811
    (row,) = run(["edsr-s-x2"], plan(["hostile://truth"], [QUICK], scale=2, data=str(small_set)))
    assert row.error is None
    assert row.psnr_y is not None


def test_the_gate_is_one() -> None:
    with open_device("fake://a") as device:
        gate = checked(device)
        assert checked(gate) is gate


@pytest.mark.parametrize(
    "text", ["", "{", "[NaN]", "[Infinity]", "[" * 200_000, b"\xff\xfe", "1" * 5000]
)
def test_json_that_is_none_is_one_sentence(text: str | bytes) -> None:
    with pytest.raises(Implausible, match="The times of 'board' cannot be read") as caught:
        read_json(text, "board", "The times")
    assert "\n" not in str(caught.value)
