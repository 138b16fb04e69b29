"""Where sparse begins to pay: on times that are given."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from srdeploy.sparse import breakeven
from srdeploy.sparse.breakeven import blobs, crossing, measure_size
from srdeploy.sparse.costs import Timings
from srdeploy.sparse.engine import SparseEngine
from tests.sparse import nets


@pytest.mark.parametrize(
    ("dense", "pays"),
    [(3.0, 0.75), (1.5, 0.25), (2.0, 0.5), (1.0, 0.0), (0.9, 0.0), (4.0, 1.0), (9.0, 1.0)],
)
def test_crossing_interpolates(dense: float, pays: float) -> None:
    assert crossing([0.0, 0.5, 1.0], [1.0, 2.0, 4.0], dense) == pytest.approx(pays)


def test_crossing_of_densities_that_begin_anywhere() -> None:
    assert crossing([0.2, 0.4], [1.0, 3.0], 2.0) == pytest.approx(0.3)
    assert crossing([0.0, 1.0], [4.0, 5.0], 3.0) == 0.0


@pytest.mark.parametrize("density", [0.0, 0.13, 0.5, 1.0])
@pytest.mark.parametrize("side", [50, 8, 1])
def test_blobs_have_the_density(density: float, side: int) -> None:
    mask = blobs(side, density, torch.Generator().manual_seed(0))
    assert mask.shape == (side * side,)
    assert mask.dtype == torch.bool
    assert int(mask.sum()) == round(density * side * side)


def test_blobs_are_patches() -> None:
    mask = blobs(64, 0.5, torch.Generator().manual_seed(0)).view(64, 64)
    edges = (mask[:, 1:] != mask[:, :-1]).float().mean()
    assert 0.03 < float(edges) < 0.15  # noise: 0.5
    assert not torch.equal(mask.flatten(), blobs(64, 0.5, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize(("backend", "layout"), [("torch", 0.5), ("torch", None)])
def test_both_forms_of_a_size(
    backend: str, layout: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = SparseEngine(nets.network(), backend=backend, form="rows")
    taken: list[Any] = []

    class Told(Timings):
        """Rows take their density in ms and one, everywhere takes two."""

        def take(self, repeats: int = 0) -> None:
            taken.append(repeats)
            for name, work, run in self._waiting:
                run()
                ms = 2.0 if name == "dense" else layout
                if name.startswith("rows "):
                    ms = 1 + float(name.split()[1])
                if ms is not None:
                    self.points[name] = [(work, ms)]

    monkeypatch.setattr(breakeven, "Timings", Told)
    listed: list[float] = []
    rows = engine.modules[0].rows

    def noted(space: Any, x: Any, out: Any, mask: torch.Tensor) -> None:
        listed.append(float(mask.float().mean()))
        rows(space, x, out, mask)

    monkeypatch.setattr(engine.modules[0], "rows", noted)
    found = measure_size(engine, 20, [0.0, 0.25, 0.75, 1.0], repeats=3)
    assert taken == [3]
    assert listed == [0.0, 0.25, 0.75, 1.0]
    assert (found.side, found.dense_ms, found.densities) == (20, 2.0, [0.0, 0.25, 0.75, 1.0])
    added = layout or 0.0
    assert found.rows_ms == [1 + added, 1.25 + added, 1.75 + added, 2 + added]
    assert found.pays_below == pytest.approx(1.0 - added)
