"""The dispatch file: what is chosen, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.card_of import read_card_of
from srdeploy.runtime.cpu import cpu_model
from srdeploy.runtime.dispatch import Plan, busyness, read_plan
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import plan_image, upscale_rgb
from srdeploy.runtime.sparse_file import write_model
from tests.sparse import nets
from tests.sparse.test_library import here

SMALL = {"n_modules": 2, "n_layers": 3, "n_feats": 12, "mask_feats": 4, "reduction": 4}


def line(fixed: float, slope: float) -> dict[str, float]:
    return {"fixed": fixed, "slope": slope}


def choice(form: str, file: str, runtime: str, empty: Any, full: Any) -> dict[str, Any]:
    return {"form": form, "file": file, "runtime": runtime, "empty": empty, "full": full}


SPARSE = choice("sparse fp32", "net.smsr", "sparse", line(1, 0.001), line(1, 0.01))
TORCH = choice("onnxruntime fp32", "net.onnx", "onnxruntime", line(0, 0.005), line(0, 0.005))
PLAN = {"cpu": cpu_model(), "threads": 1, "base": 0.0, "rise": 1.0, "choices": [SPARSE, TORCH]}


def test_the_cheapest_is_chosen() -> None:
    plan = Plan.model_validate(PLAN | {"choices": tuple(PLAN["choices"])})
    assert plan.choose(10_000, 0.1).form == "sparse fp32"  # 20 against 50 ms
    assert plan.choose(10_000, 0.9).form == "onnxruntime fp32"  # 92
    assert plan.choose(100, 0.0).form == "onnxruntime fp32"  # its start is the cheaper one
    assert plan.choices[0].cost(10_000, 0.5) == pytest.approx(56)


def test_busyness() -> None:
    flat = np.full((1, 3, 8, 9), 200, np.float32)
    stripes = flat.copy()
    stripes[..., ::2] = 0
    assert busyness(flat, 255) == 0
    assert busyness(stripes, 255) == pytest.approx(0.5)  # across, and not down
    assert busyness(stripes / 255, 1) == pytest.approx(0.5)
    assert busyness(flat[:, :, :1, :1], 255) == 0
    noise = np.random.default_rng(0).random((1, 3, 20, 20), np.float32)
    assert 0.2 < busyness(noise * 20, 255) < busyness(noise * 80, 255) <= 1


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    network = Network(nets.network(), create("smsr", **SMALL).card)
    write_model(network, folder / "net.smsr")
    export_onnx(network, folder / "net.onnx", check=False)
    (folder / "net.dispatch").write_text(json.dumps(PLAN))
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.mark.skipif(not here(), reason="needs a C compiler")
def test_each_image_takes_the_form_that_fits(folder: Path) -> None:
    with open_session(folder / "net.dispatch", threads=1) as session:
        assert session.runtime == "dispatch"
        assert session.card == read_card_of(folder / "net.dispatch")
        with open_session(Network(nets.network(), session.card)) as own:
            smooth = np.full((1, 3, 64, 66), 90, np.float32)
            busy = np.random.default_rng(0).random((1, 3, 64, 66), np.float32) * 255
            for x, form in ((smooth, "sparse fp32"), (busy, "onnxruntime fp32")):
                assert np.abs(session.run(x) - own.run(x)).max() < 1e-4 * 255
                assert session.notes[0].startswith(form)
            image = (busy[0].transpose(1, 2, 0)).astype(np.uint8)
            image = np.concatenate([image, image // 9], 1)
            grid = plan_image(session.card, image.shape[:2], 2, tile=(64, 72),
                              pooling=session.pooling)  # fmt: skip
            assert grid.exact
            apart = upscale_rgb(session, image, 2, grid) - upscale_rgb(own, image, 2)
            assert np.abs(apart).max() < 1e-4 * 255
    with open_session(folder / "net.dispatch", threads=2) as session:
        assert "measure again here" in " ".join(session.notes)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"choices": []}, "is no dispatch file"),
        ({"choices": [{**SPARSE, "file": "../net.smsr"}]}, "is no name"),
        ({"choices": [{**SPARSE, "file": "net.dispatch"}]}, "names another one"),
        ({"choices": [{**SPARSE, "file": "gone.smsr"}]}, "needs 'gone.smsr' beside it"),
        ({"choices": [{**SPARSE, "full": line(1, -1)}]}, "is no dispatch file"),
        ({"rise": "much"}, "is no dispatch file"),
        ({"threads": 10**9}, "is no dispatch file"),
        ({"cpu": "x" * 70_000}, "too long"),
        ({"extra": 1}, "is no dispatch file"),
        (None, "is no dispatch file"),
    ],
)
def test_files_that_are_none(change: dict[str, Any] | None, told: str, folder: Path) -> None:
    path = folder / "net.dispatch"
    path.write_text("{" if change is None else json.dumps(PLAN | change))
    with pytest.raises(UserError, match=told):
        read_plan(path)


def test_artifacts_of_other_networks_are_refused(folder: Path) -> None:
    export_onnx(create("ledsr", scale=3, n_blocks=1, n_feats=4), folder / "net.onnx", check=False)
    (folder / "net.dispatch").write_text(json.dumps(PLAN | {"choices": [TORCH, TORCH]}))
    with open_session(folder / "net.dispatch", threads=1) as session:
        assert session.card.scale == 3
    (folder / "net.dispatch").write_text(json.dumps(PLAN | {"choices": [SPARSE, TORCH]}))
    if here():
        with open_session(folder / "net.dispatch", threads=1) as session:
            busy = np.random.default_rng(0).random((1, 3, 64, 66), np.float32) * 255
            with pytest.raises(UserError, match=r"'net\.onnx', which is not of the same network"):
                session.run(busy)
