"""Fits to devices of a real farm on loopback: scheduler and workers as processes, fake devices."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from srdeploy.errors import SrdeployError, UserError

pytest.importorskip("distributed")

from benchmarks.farm_lab import Lab, free_port, lab
from srdeploy.farm.network import open_farm
from srdeploy.farm.settings import FarmFile
from srdeploy.fitting.bench import Bench
from srdeploy.fitting.conditions import Conditions, Way
from srdeploy.fitting.places import Place, farm_places
from srdeploy.fitting.profile import observe
from srdeploy.fitting.samples import sample_removals
from srdeploy.fitting.several import each, fit_each
from srdeploy.fitting.subject import Subject
from srdeploy.measure.store import Store
from tests.fitting.conftest import ARITHMETIC

FAST = ARITHMETIC.replace("desk", "fast").replace("mmacs=20", "mmacs=40")
ENTRIES = [
    {"uri": ARITHMETIC, "name": "desk", "tags": ["board"]},
    {"uri": FAST, "name": "fast", "tags": ["board", "phone"]},
    {"uri": "fake://lost?fail=lost", "name": "lost", "tags": ["bad"]},
]


@pytest.fixture(scope="module")
def farm() -> Iterator[FarmFile]:
    with lab(devices=len(ENTRIES), processes=1, port=free_port(), entries=ENTRIES) as shop:
        shop.start_all()
        shop.wait_for_devices()
        settings, _ = open_farm(_client(shop))
        yield settings.model_copy(update={"patience_seconds": 5.0})


def _client(shop: Lab) -> Path:
    return shop.folder / "client"


@pytest.mark.slow
def test_each_word_is_one_device(farm: FarmFile) -> None:
    assert [place.name for place in farm_places(farm, ["phone", "board"])] == ["fast", "desk"]
    assert [place.name for place in farm_places(farm, ["desk", "desk"])] == ["desk"]
    with pytest.raises(UserError, match="tablet"):
        farm_places(farm, ["tablet"])


@pytest.mark.slow
def test_a_device_of_a_farm_is_a_bench_like_any_other(
    farm: FarmFile, tiny: Subject, tmp_path: Path
) -> None:
    (place,) = farm_places(farm, ["desk"])
    way, conditions = Way(None, "fp32"), Conditions((32, 48), 2)
    asked = sample_removals(tiny.groups, 8, 2)
    with (
        Store.open(tmp_path / "farm.sqlite") as store,
        Store.open(tmp_path / "here.sqlite") as other,
        place.open(store) as away,
        Bench(ARITHMETIC, other) as here,
    ):
        assert (away.kind, away.here, away.facts.model) == ("fake", False, "fake board")
        found, count = observe(tiny, asked, away, way, conditions, tmp_path), len(store)
        assert [one.ms for one in found] == pytest.approx(
            [one.ms for one in observe(tiny, asked, here, way, conditions, tmp_path)]
        )
        assert observe(tiny, asked, away, way, conditions, tmp_path) == found
        assert len(store) == count  # what was measured is known
        more = observe(tiny, [{tiny.groups[0].name: 8}], away, way, conditions, tmp_path)
        assert more[0].ms < found[0].ms  # beside an anchor that was measured before


@pytest.mark.slow
def test_several_devices_are_fitted_at_once(
    farm: FarmFile, tiny: Subject, small_images: Path, tmp_path: Path
) -> None:
    places = farm_places(farm, ["desk", "fast"])
    settings = {"size": (32, 48), "budgets_ms": (1.5,), "precisions": ("fp32",),
                "network_wise": 0, "calibration": str(small_images), "data": str(small_images),
                "pixel_shuffles": ("crd",)}  # fmt: skip
    store = tmp_path / "times.sqlite"
    slow, fast = fit_each(tiny.network, "tiny", settings, places, tmp_path / "out", store)
    assert slow.met
    assert fast.met
    assert (slow.device, fast.device) == ("desk", "fast")
    assert sum(slow.widths.values()) < sum(fast.widths.values())  # twice the speed, same budget
    assert (tmp_path / "out" / "fast" / "fit.json").is_file()


def test_what_fails_is_told_when_the_others_are_done(farm: FarmFile) -> None:
    places = farm_places(farm, ["desk", "fast", "lost"])
    began, threads = threading.Barrier(3, timeout=20), set()

    def work(place: Place) -> str:
        began.wait()  # all at the same time
        threads.add(threading.get_ident())
        if place.name == "lost":
            raise SrdeployError("it went away")
        return place.name

    assert each(places[:1], lambda place: place.name) == ["desk"]
    with pytest.raises(SrdeployError, match="lost: it went away"):
        each(places, work)
    assert len(threads) == 3
