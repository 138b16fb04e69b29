"""The form of PixelShuffle is the fastest one of the device."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.errors import SrdeployError
from srdeploy.fitting.bench import Bench
from srdeploy.fitting.conditions import Conditions, Way
from srdeploy.fitting.lowering import with_form
from srdeploy.fitting.subject import Subject
from srdeploy.measure.store import Store
from srdeploy.models.registry import create
from tests.fitting.conftest import ARITHMETIC

CONDITIONS = Conditions((32, 48), 2)


def _form(subject: Subject, device: str, folder: Path, form: str = "auto") -> str:
    with Store.open(folder / "store.sqlite") as store, Bench(device, store) as bench:
        way = Way(None, "fp32", form)
        return with_form(subject, bench, way, CONDITIONS, folder).pixel_shuffle


def test_the_fastest_form_is_taken(tiny: Subject, tmp_path: Path) -> None:
    assert _form(tiny, ARITHMETIC, tmp_path) == "crd"  # all take as long
    assert _form(tiny, f"{ARITHMETIC}&op=DepthToSpace&op_ms=0.5", tmp_path) == "reshape"
    slow = f"{ARITHMETIC}&op=DepthToSpace,Transpose&op_ms=0.5"
    assert _form(tiny, slow, tmp_path) == "deconv"
    assert _form(tiny, slow, tmp_path, "crd") == "crd"  # as it was asked for


def test_a_network_without_pixel_shuffle_has_no_choice(tmp_path: Path) -> None:
    plain = Subject.of(create("vdsr", n_layers=4, n_feats=8))
    slow = f"{ARITHMETIC}&op=DepthToSpace&op_ms=0.5"
    assert _form(plain, slow, tmp_path) == "crd"
    assert not list(tmp_path.glob("*deconv*"))


def test_a_device_that_goes_away_is_told(tiny: Subject, tmp_path: Path) -> None:
    with pytest.raises(SrdeployError, match="went away"):
        _form(tiny, f"{ARITHMETIC}&fail=lost", tmp_path)
