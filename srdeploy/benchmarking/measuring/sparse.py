"""``srdeploy bench sparse``: time of SMSR's two forms against density and size, and its chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from srdeploy.errors import UserError
from srdeploy.measure.machine import machine_facts
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.smsr.network import SMSR
from srdeploy.runtime.session import default_threads
from srdeploy.runtime.torch_session import lend_threads
from srdeploy.sparse.breakeven import SizeResult, measure_size
from srdeploy.sparse.compiler import Unavailable
from srdeploy.sparse.engine import SparseEngine
from srdeploy.util.progress import track
from srdeploy.util.svg_plot import PlotSeries, line_plot

DENSITIES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SIDES = (64, 128, 256)


@dataclass(frozen=True)
class BreakEven:
    """What was measured.

    Attributes:
        network: File, or ``smsr`` for the published widths with random weights.
        backend: What computed on rows.
        reason: Why that.
        threads: CPU threads.
        repeats: Runs, of which the shortest counts.
        machine: Where.
        sizes: One result per size.
    """

    network: str
    backend: str
    reason: str
    threads: int
    repeats: int
    machine: dict[str, Any]
    sizes: list[SizeResult]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Where sparse begins to pay, size by size."""
        return [f"{one.side}x{one.side}: {_verdict(one.pays_below)}" for one in self.sizes]

    def chart(self) -> str:
        """An SVG: time over that of the dense form, against density; below 1 sparse pays."""
        lines = [
            PlotSeries(
                f"{one.side}x{one.side}",
                [
                    (d * 100, ms / one.dense_ms)
                    for d, ms in zip(one.densities, one.rows_ms, strict=True)
                ],
                colour=number + 1,
            )
            for number, one in enumerate(self.sizes)
        ]
        dense = PlotSeries("dense", [(0, 1.0), (100, 1.0)], colour=0, dashed=True)
        return line_plot(
            [*lines, dense],
            title=f"SMSR masked layers, {self.backend} kernel, {self.threads} threads",
            x_label="pixels inside the mask, %",
            y_label="time over dense",
            y_min=0.0,
        )


def break_even(
    file: str | None = None,
    *,
    sides: Sequence[int] = SIDES,
    threads: int | None = None,
    backend: str = "auto",
    repeats: int = 7,
) -> BreakEven:
    """Measure both forms of a module's masked layers on this machine.

    Args:
        file: An SMSR network; default: the published widths with random weights.
        sides: Sides of the square images.
        threads: CPU threads; default as for sessions.
        backend: One of :data:`srdeploy.sparse.backend.BACKENDS`.
        repeats: Runs of each, taken in turns.

    Raises:
        UserError: another network, a side below 8, or a backend that is not to be had.
    """
    if small := [side for side in sides if side < 8]:
        raise UserError(f"A side of {small[0]} pixels is too small to time; take 8 or more.")
    network = _network(file)
    threads = threads or default_threads()
    assert isinstance(network.module, SMSR)
    with lend_threads(threads):
        try:
            engine = SparseEngine(network.module, backend=backend)
        except Unavailable as error:
            raise UserError(
                f"The compiled kernel cannot be had here: {error}; leave --kernel out."
            ) from error
        sizes = []
        with track("measure", len(sides)) as bar:
            for side in sides:
                sizes.append(measure_size(engine, side, DENSITIES, repeats))
                bar.update()
    return BreakEven(
        file or "smsr",
        engine.backend.name,
        engine.backend.reason,
        threads,
        repeats,
        machine_facts(),
        sizes,
    )


def _network(file: str | None) -> Network:
    network = create("smsr") if file is None else load_network(file)
    if not isinstance(network.module, SMSR):
        raise UserError(
            f"'{file}' is {network.card.arch}; sparse convolution is SMSR's, give such a network."
        )
    return network


def _verdict(pays_below: float) -> str:
    if pays_below >= 1:
        return "sparse pays at every density"
    if pays_below <= 0:
        return "sparse never pays"
    return f"sparse pays below {pays_below:.0%} of pixels inside"
