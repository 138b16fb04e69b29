"""What the engine times, chooses and tells."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from srdeploy.sparse import engine as module
from srdeploy.sparse.compiler import Unavailable
from srdeploy.sparse.costs import CostLine, FormCosts, Timings
from srdeploy.sparse.engine import SparseEngine
from srdeploy.sparse.imageframe import ImageFrame
from srdeploy.sparse.native import load_kernel
from srdeploy.sparse.rowframe import RowFrame
from tests.sparse import nets


def backends() -> list[str]:
    try:
        load_kernel()
    except Unavailable:
        return ["torch"]
    return ["native", "torch"]


class Told(Timings):
    """Times that are given by name: fixed, and per pixel."""

    given = {
        "empty": (1.0, 1e-4), "full": (2.0, 4e-4), "dense": (1.5, 2e-4), "layout": (0.25, 1e-5),
        "plain rows": (1.0, 1e-4), "plain dense": (3.0, 1e-4),
    }  # fmt: skip
    asked: list[tuple[str, float]] = []

    def take(self, repeats: int = 5) -> None:
        for name, work, run in self._waiting:
            run()
            self.asked.append((name, work))
            fixed, slope = self.given[name]
            self.points.setdefault(name, []).append((work, fixed + slope * work))
        self._waiting.clear()


@pytest.mark.parametrize("backend", backends())
def test_forms_are_timed_at_two_sizes(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Timings", Told)
    monkeypatch.setattr(Told, "asked", [])
    shares: list[float] = []
    rows = module.RowModule.rows

    def noted(self: Any, space: Any, x: Any, out: Any, inside: torch.Tensor) -> None:
        shares.append(float(inside.float().mean()))
        rows(self, space, x, out, inside)

    monkeypatch.setattr(module.RowModule, "rows", noted)
    engine = SparseEngine(nets.network(), backend=backend)
    native = backend == "native"
    own = ["plain rows", "plain dense", "dense"] if native else ["dense", "layout"]
    names = ["empty", "full", *own]
    assert Told.asked == [(name, side**2) for side in (48, 160) for name in names]
    assert shares == [0, 1, 0, 1]
    layout = (0.0, 0.0) if native else (0.25, 1e-5)
    costs = engine.costs
    assert costs is not None
    for line, fixed, slope in (
        (costs.empty, 1.0 + layout[0], 1e-4 + layout[1]),
        (costs.full, 2.0 + layout[0], 4e-4 + layout[1]),
        (costs.dense, 1.5, 2e-4),
    ):
        assert (line.fixed, line.slope) == (pytest.approx(fixed), pytest.approx(slope))
    if native:
        assert isinstance(engine.frame, RowFrame)
        plain = engine.frame.plain
        assert plain is not None
        assert plain.full == plain.empty
        assert (plain.empty.fixed, plain.dense.fixed) == (pytest.approx(1), pytest.approx(3))
        conv = engine.frame._trunk
        assert engine.frame._form(conv, type("S", (), {"rows": torch.zeros(10)})) == "rows"
        engine.frame.plain = FormCosts(CostLine(3, 0), CostLine(3, 0), CostLine(1, 0))
        assert engine.frame._form(conv, type("S", (), {"rows": torch.zeros(10)})) == "dense"
    else:
        assert isinstance(engine.frame, ImageFrame)


def test_what_the_latest_run_did() -> None:
    engine = SparseEngine(nets.network(density=1.0), backend="torch", form="rows")
    assert engine.costs is None
    assert engine.width == 16
    for _ in range(2):  # the latest only
        engine(nets.image(6, 5, 2))
        layers = [f"body.{m}.body.body.{n}" for m in (0, 1) for n in (0, 1, 2)]
        told = engine.report()
        assert told["backend"] == "torch"
        assert told["reason"] == "torch's operators, as asked"
        assert sorted(row["layer"] for row in told["layers"]) == sorted(layers * 2)
        assert {(row["density"], row["form"]) for row in told["layers"]} == {(1.0, "rows")}
    with pytest.raises(ValueError, match="unknown form 'columns'; there are auto, rows, dense"):
        SparseEngine(nets.network(), form="columns")


def test_sizes_decide_as_well() -> None:
    engine = SparseEngine(nets.network(density=1.0), backend="torch", form="dense")
    engine.costs = FormCosts(
        CostLine(0, 1), CostLine(0, 1), CostLine(1000, 0)
    )  # rows up to 950 pixels
    for size, form in (((25, 38), "rows"), ((25, 39), "dense")):
        engine(nets.image(*size))
        assert {choice.form for choice in engine.choices} == {form}


@pytest.mark.parametrize("backend", backends())
def test_multiplications(backend: str) -> None:
    engine = SparseEngine(nets.network(dense=(5, 3, 0)), backend=backend, form="rows")
    one = engine.modules[0]
    assert (one.name, one.n_layers) == ("body.0", 3)
    assert one.macs_inside == 3 * 9 * 144 + 12 * 36
    assert one.macs_outside == 9 * (5 * 12 + 3 * 5) + 12 * 8
    if isinstance(engine.frame, RowFrame):
        assert engine.frame._trunk.macs == 9 * 12 * 12
