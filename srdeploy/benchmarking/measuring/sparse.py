"""``srdeploy bench sparse``: SMSR skipping pixels against every dense form, over size and density.

Whole networks are timed. Masks get a density by moved thresholds
(:func:`srdeploy.sparse.breakeven.with_density`); dense forms do not depend on it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srdeploy.benchmarking.measuring.dispatch import write_dispatch
from srdeploy.benchmarking.measuring.smsr_forms import (
    ENGINE,
    REFERENCE,
    Form,
    SizeResult,
    in_turns,
    write_forms,
)
from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import UserError
from srdeploy.measure.machine import machine_facts
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph
from srdeploy.models.registry import create
from srdeploy.models.smsr.network import SMSR
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import network_input
from srdeploy.runtime.session import Session, default_threads
from srdeploy.runtime.sparse_file import find_grids, write_model
from srdeploy.sparse.breakeven import with_density
from srdeploy.sparse.compiler import Unavailable
from srdeploy.sparse.native import load_kernel
from srdeploy.util.progress import track
from srdeploy.util.svg_plot import PlotSeries, line_plot

DENSITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
SIDES = (64, 128, 256)
DISPATCH = "dispatch"
DROP = 0.1
"""dB that a form may lose and still count."""


@dataclass(frozen=True)
class BreakEven:
    """What was measured.

    Attributes:
        network: File, or ``smsr`` for the published widths with random weights.
        backend: What the Python engine computes on rows with, and why.
        threads: CPU threads.
        repeats: Rounds.
        machine: Where.
        drop: dB that a form may lose against fp32 to count.
        sizes: One result per size.
        psnr: dB by form, on ``data``; empty for random weights.
        data: The images that PSNR and ``images_ms`` are of.
        images_ms: By form (and ``dispatch``) and image, of every round; empty unless images were
            named.
        missing: Forms and runtimes that are not here, and why.
    """

    network: str
    backend: str
    threads: int
    repeats: int
    machine: dict[str, Any]
    drop: float
    sizes: list[SizeResult]
    psnr: dict[str, float] = field(default_factory=dict)
    data: str = ""
    images_ms: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def allowed(self) -> list[str]:
        """The forms that lose no more than they may."""
        forms = [f for one in self.sizes[:1] for f in (*one.dense_ms, *one.sparse_ms)]
        if not self.psnr:
            return forms
        least = self.psnr[REFERENCE] - self.drop
        return [form for form in forms if self.psnr[form] >= least]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {**asdict(self), "allowed": self.allowed, "sentences": self.sentences()}

    def sentences(self) -> list[str]:
        """Where sparse begins to pay, size by size; and what every image of a set says."""
        allowed, found = self.allowed, []
        for one in self.sizes:
            dense = one.fastest_dense(allowed)
            told = ", ".join(
                f"{form} {_verdict(one.pays_below(form, allowed))}"
                for form in one.sparse_ms
                if form in allowed
            )
            found.append(f"{one.side}x{one.side}, against {dense}: {told}")
        if self.images_ms:
            found.append(self._on_images(allowed))
        return found

    def _on_images(self, allowed: Sequence[str]) -> str:
        totals = {f: sum(map(np.median, times.values())) for f, times in self.images_ms.items()}
        sparse = [form for form in self.sizes[0].sparse_ms if form in allowed]
        sparse = [DISPATCH] if DISPATCH in self.images_ms else sparse
        dense = [form for form in self.sizes[0].dense_ms if form in allowed]
        best, rival = (min(forms, key=totals.__getitem__) for forms in (sparse, dense))
        worst = max(
            np.median(times) / min(np.median(self.images_ms[form][image]) for form in dense)
            for image, times in self.images_ms[best].items()
        )
        return (
            f"{self.data}: {best} is {totals[rival] / totals[best]:.2f} times as fast as {rival}, "
            f"the fastest dense form, and takes at most {worst:.2f} times the fastest dense form "
            "of an image"
        )

    def chart(self) -> str:
        """An SVG: time over that of the fastest dense form, against density, at the largest size.

        Below 1 skipping pays. Forms that lose too much are left out.
        """
        one, allowed = self.sizes[-1], self.allowed
        unit = one.dense_ms[one.fastest_dense(allowed)]
        sparse = [form for form in one.sparse_ms if form in allowed]
        lines = [
            PlotSeries(
                form,
                [
                    (d * 100, ms / unit)
                    for d, ms in zip(one.densities, one.sparse_ms[form], strict=True)
                ],
            )
            for form in sparse
        ]
        dense = [
            PlotSeries(form, [(x, one.dense_ms[form] / unit) for x in (0, 100)], dashed=True)
            for form in sorted(one.dense_ms, key=one.dense_ms.__getitem__)
            if form in allowed
        ]
        return line_plot(
            [*lines, *dense],
            title=f"SMSR, {one.side}x{one.side} pixels, {self.threads} threads",
            x_label="pixels inside the masks, %",
            y_label="time over the fastest dense form",
            y_min=0.0,
        )


def break_even(
    file: str | None = None,
    *,
    sides: Sequence[int] = SIDES,
    threads: int | None = None,
    backend: str = "auto",
    repeats: int = 7,
    images: str | None = None,
    drop: float = DROP,
    runtimes: Sequence[str] | None = None,
    dispatch: Path | None = None,
) -> BreakEven:
    """Measure every form of a network on this machine, in turns.

    Args:
        file: An SMSR network; default: the published widths with random weights, whose quality is
            not measured.
        sides: Sides of the square images, the smallest first.
        threads: CPU threads; default as for sessions.
        backend: Of the Python engine, one of :data:`srdeploy.sparse.backend.BACKENDS`.
        repeats: Rounds, of which the median counts.
        images: A benchmark set on whose images every form is timed, too, and its quality is
            measured; default: quality on the shipped set.
        drop: dB that a form may lose.
        runtimes: Of dense forms, besides torch; default: all that are installed.
        dispatch: Where to write what is fastest when (:mod:`srdeploy.runtime.dispatch`), with the
            artifacts beside it.

    Raises:
        UserError: another network, a side below 8, a backend that is not to be had, images that
            cannot be read, or a dispatch file of random weights.
    """
    if small := [side for side in sides if side < 8]:
        raise UserError(f"A side of {small[0]} pixels is too small to time; take 8 or more.")
    if dispatch is not None and (file is None or len(sides) < 2):
        raise UserError("A dispatch file needs a network's FILE, and two --sides or more.")
    network = _network(file)
    threads = threads or default_threads()
    if backend == "native":
        try:
            load_kernel()
        except Unavailable as error:
            raise UserError(
                f"The compiled kernel cannot be had here: {error}; leave --kernel out."
            ) from error
    psnr: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        forms, missing = write_forms(network, folder, runtimes=runtimes, backend=backend)
        sessions = {f.name: stack.enter_context(f.open(network, threads)) for f in forms}
        scale = network.card.scale
        if file is not None:
            psnr = {n: evaluate(s, images or BUILTIN, scale).psnr for n, s in sessions.items()}
        sizes = []
        with track("measure", len(sides)) as bar:
            for side in sorted(sides):
                sizes.append(_measure(network, forms, sessions, side, threads, repeats, folder))
                bar.update()
        found = BreakEven(
            file or "smsr",
            sessions[ENGINE].notes[0],
            threads,
            repeats,
            machine_facts(),
            drop,
            sizes,
            psnr,
            Path(images).name if images else ("shipped images" if psnr else ""),
            missing=missing,
        )
        if dispatch is not None:
            write_dispatch(dispatch, found.allowed, found.sizes, threads, forms, sessions)
            sessions[DISPATCH] = stack.enter_context(open_session(dispatch, threads=threads))
        if images is not None:
            inputs = {p.name: network_input(network.card, p.lr(), scale)
                      for p in open_benchmark(images, scale)}  # fmt: skip
            found = replace(found, images_ms=in_turns(sessions, inputs, repeats))
    return found


def _measure(
    network: Network,
    forms: Sequence[Form],
    sessions: dict[str, Session],
    side: int,
    threads: int,
    repeats: int,
    folder: Path,
) -> SizeResult:
    """All forms on an image of one size, the sparse ones at every density."""
    x = photograph(network.card, (side, side))
    sparse = [form for form in forms if form.sparse]
    with ExitStack() as stack:
        turns = {form.name: sessions[form.name] for form in forms if not form.sparse}
        grids: Any = None
        for density in DENSITIES:
            assert isinstance(network.module, SMSR)
            moved = Network(with_density(network.module, torch.from_numpy(x), density),
                            network.card)  # fmt: skip
            for form in sparse:
                one = form
                if form.file is not None:
                    file = folder / f"{density}-{form.file.name}"
                    if form.precision == "int8" and grids is None:
                        grids = find_grids(network)
                    write_model(moved, file, precision=form.precision, grids=grids)
                    one = Form(form.name, form.runtime, form.precision, file, True)
                session = stack.enter_context(one.open(moved, threads))
                turns[_turn(form, density)] = session
        times = in_turns(turns, {"": x}, repeats)
    median = {name: float(np.median(ms[""])) for name, ms in times.items()}
    return SizeResult(
        side,
        list(DENSITIES),
        {form.name: [median[_turn(form, d)] for d in DENSITIES] for form in sparse},
        {form.name: median[form.name] for form in forms if not form.sparse},
    )


def _turn(form: Form, density: float) -> str:
    return f"{form.name} at {density}"


def _network(file: str | None) -> Network:
    network = create("smsr") if file is None else load_network(file)
    if not isinstance(network.module, SMSR):
        raise UserError(
            f"'{file}' is {network.card.arch}; sparse convolution is SMSR's, give such a network."
        )
    return network


def _verdict(pays_below: float) -> str:
    if pays_below >= 1:
        return "pays at every density"
    if pays_below <= 0:
        return "never pays"
    return f"pays below {pays_below:.0%} of pixels inside"
