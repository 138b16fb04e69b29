"""Latency tables of a device whose costs are known exactly."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.fitting.bench import Bench
from srdeploy.fitting.conditions import Conditions, Way
from srdeploy.fitting.predict import Predictor, errors
from srdeploy.fitting.profile import cut_file, observe, profile
from srdeploy.fitting.samples import sample_removals
from srdeploy.fitting.subject import Subject
from srdeploy.measure.store import Store
from tests.fitting.conftest import ARITHMETIC

FP32 = Way(None, "fp32")
CONDITIONS = Conditions((32, 48), 2)


def _profile(subject: Subject, folder: Path, device: str = ARITHMETIC) -> Predictor:
    folder.mkdir(exist_ok=True)
    with Store.open(folder / "store.sqlite") as store, Bench(device, store) as bench:
        return profile(subject, bench, FP32, CONDITIONS, folder)


@pytest.fixture(scope="module")
def profiled(tiny: Subject, tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictor, Path]:
    folder = tmp_path_factory.mktemp("profiled")
    return _profile(tiny, folder), folder


def test_networks_that_were_not_measured_are_predicted(
    tiny: Subject, profiled: tuple[Predictor, Path]
) -> None:
    predict, folder = profiled
    assert predict.table.block == 8
    with Store.open(folder / "store.sqlite") as store, Bench(ARITHMETIC, store) as bench:
        others = sample_removals(tiny.groups, 8, 6, seed=7)[2:]
        held_out = observe(tiny, others, bench, FP32, CONDITIONS, folder)
    assert len(held_out) > 1
    assert max(errors(predict, held_out)) < 0.01
    off_the_block = {g.name: 3 for g in tiny.groups}  # 13 channels take as long as 16
    assert predict(off_the_block) == pytest.approx(predict({}), rel=1e-6)
    parts = sum(
        predict.use_ms(use, use.inputs.left({}), use.outputs.left({})) for use in tiny.uses.layers
    )
    assert parts + predict.constant_ms == pytest.approx(predict({}), rel=1e-6)


def test_what_was_measured_is_measured_once(
    tiny: Subject, profiled: tuple[Predictor, Path]
) -> None:
    first, folder = profiled
    with Store.open(folder / "store.sqlite") as store:
        count = len(store)
    assert _profile(tiny, folder).table == first.table
    with Store.open(folder / "store.sqlite") as store:
        assert len(store) == count


def test_a_device_that_went_away_is_asked_for_the_rest(tiny: Subject, tmp_path: Path) -> None:
    kept = [0]
    for _ in range(2):
        with pytest.raises(SrdeployError, match="went away"):
            _profile(tiny, tmp_path, f"{ARITHMETIC}&fail=lost&after=70")
        with Store.open(tmp_path / "store.sqlite") as store:
            kept.append(sum(1 for _ in store.measurements(failed=False)))
    assert kept == sorted(set(kept))


def test_another_version_of_the_runtime_is_measured_anew(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.sqlite") as store, Bench(ARITHMETIC, store) as bench:
        request = CONDITIONS.probes(bench, FP32)
        assert request.version == "fake 1"
    artifact = tmp_path / "x.onnx"
    artifact.write_bytes(b"x")
    keys = {request.key(str(artifact), "d")}
    object.__setattr__(request, "version", "fake 2")
    assert request.key(str(artifact), "d") not in keys


@pytest.mark.parametrize(
    ("way", "told"),
    [(Way("torch", "fp32"), "ONNX"), (Way(None, "mixed"), "mixed")],
    ids=["runtime", "precision"],
)
def test_what_has_no_probes_is_told(way: Way, told: str, tiny: Subject, tmp_path: Path) -> None:
    with (
        Store.open(tmp_path / "store.sqlite") as store,
        Bench(ARITHMETIC, store) as bench,
        pytest.raises(UserError, match=told),
    ):
        profile(tiny, bench, way, CONDITIONS, tmp_path)


def test_why_nothing_can_be_timed_is_told(tiny: Subject, tmp_path: Path) -> None:
    with pytest.raises(SrdeployError, match="lacks what runs networks"):
        _profile(tiny, tmp_path, f"{ARITHMETIC}&fail=unfit")


def test_a_file_is_timed_beside_each_of_its_anchors(tiny: Subject, tmp_path: Path) -> None:
    removals = [{}, {g.name: 8 for g in tiny.groups}, {tiny.groups[0].name: 8}]
    whole, half, other = (str(cut_file(tiny, one, FP32, tmp_path)) for one in removals)
    with Store.open(tmp_path / "store.sqlite") as store, Bench(ARITHMETIC, store) as bench:
        request = CONDITIONS.networks(bench, FP32)
        (first,) = bench.timed([half], request, whole)
        (again,) = bench.timed([half], request, other)  # was not measured beside this one
        count = len(store)
        assert again.ms == pytest.approx(first.ms)
        assert bench.timed([half], request, other) == [again]
        assert bench.timed([half], request, whole) == [first]
        assert len(store) == count
