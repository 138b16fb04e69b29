"""Fit a network to a device and a budget: measure, choose, make, measure again, correct."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from srdeploy.devices.errors import DeviceError, DeviceUnfit
from srdeploy.errors import SrdeployError
from srdeploy.fitting.bench import Bench
from srdeploy.fitting.choose import Chooser, front, impossible
from srdeploy.fitting.conditions import Conditions, Way
from srdeploy.fitting.folder import WORK, discard_work, keep_settings, name_of
from srdeploy.fitting.limits import EnergyModel, energy_mj, fit_energy, keeps, shortfall
from srdeploy.fitting.lowering import with_form
from srdeploy.fitting.making import Made, make, with_reasons, write_artifact
from srdeploy.fitting.memory import MemoryModel, fit_memory
from srdeploy.fitting.places import Place
from srdeploy.fitting.predict import AGAIN, Observation, Predictor
from srdeploy.fitting.profile import observe, profile
from srdeploy.fitting.reasons import reasons
from srdeploy.fitting.recover import check_recovery, recover
from srdeploy.fitting.result import RESULTS, FitOptions, FitResult, Point, read_result
from srdeploy.fitting.subject import Subject
from srdeploy.fitting.ways import ways_on
from srdeploy.fitting.worth import Measured, Worth, loss_db
from srdeploy.measure.measurement import Measurement
from srdeploy.measure.store import Store
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.models.store import save_network
from srdeploy.quality.evaluate import evaluate
from srdeploy.quality.result import Quality
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.util.files import atomic_path
from srdeploy.util.progress import track

CORRECTIONS = 3
"""Networks that are made for one way to run them, at most."""

WAYS = 2
"""Ways to run a network of which one is made, at most."""

SLACK = 0.95
"""Share of the budget: a network that is faster leaves room for a better one."""

LESS = 0.97
"""Share of a budget that is asked for next, at most, where the same choice comes out again."""

FRONT = 8
"""Points of a predicted front."""


def fit(
    network: Network, name: str, options: FitOptions, folder: Path, store: Path, *,
    fresh: bool = False, place: Place | None = None,
) -> list[FitResult]:  # fmt: skip
    """Find the best network for a device and each of some budgets.

    Every time is stored as soon as it is measured, and every network as soon as it is made: the
    same call goes on where it was interrupted.

    Args:
        network: Left as it is.
        name: What results call it.
        options: What is asked for.
        folder: Where results go, a folder of its own for each budget where there are several.
        store: File that keeps times.
        fresh: Start over instead of going on.
        place: The device, where it is one of a farm; default: what the options name.

    Returns:
        One result per budget. It says so where a budget or a wanted quality could not be kept.

    Raises:
        UserError: a budget that no network of this kind can keep, or options that do not fit.
        SrdeployError: the device went away, or something could not be made or measured.
    """
    check_recovery(options.recover)
    if fresh:
        discard_work(folder)
    keep_settings(network, options, folder)
    folders = {
        budget: folder if len(options.budgets_ms) == 1 else folder / name_of(budget)
        for budget in options.budgets_ms
    }
    done = {budget: read_result(own) for budget, own in folders.items()}
    if not all(done.values()):
        where = place or Place(options.device)
        with Store.open(store) as kept, where.open(kept) as bench:
            fitter = _Fit.begin(network, name, options, bench, folder / WORK)
            fitter.check_budgets()
            for budget, own in folders.items():
                done[budget] = done[budget] or fitter.fit(budget, own)
    return [result for result in done.values() if result is not None]


@dataclass
class _Fit:
    """One network on one device."""

    name: str
    subject: Subject
    options: FitOptions
    conditions: Conditions
    bench: Bench
    work: Path
    dense: Path
    quality: Quality
    choosers: list[Chooser] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)

    @classmethod
    def begin(
        cls, network: Network, name: str, options: FitOptions, bench: Bench, work: Path
    ) -> _Fit:
        """Measure what all budgets need: layers, the worth of channels, the dense network."""
        subject = Subject.of(network, options.exclude)
        dense = work / "dense.safetensors"
        save_network(network, dense)
        conditions = Conditions(
            options.size, network.card.scale, options.threads, options.tile, options.data,
            energy=options.max_mj is not None,
        )  # fmt: skip
        quality = evaluate(subject.network, options.data, network.card.scale)
        self = cls(name, subject, options, conditions, bench, work, dense, quality)
        with self._timed("profile"):
            found = self._profiles()
        with self._timed("worth"):
            worth = self._worth([way.precision for way in found])
        for way, predict in found.items():
            limits = self._memory(predict.observations), self._energy(predict.observations)
            self.choosers.append(Chooser(subject, way, predict, worth, *limits))
        for chooser in self.choosers:
            self.points += [self._point(chooser, removed) for removed in front(chooser, FRONT)]
        return self

    def check_budgets(self) -> None:
        """Raise UserError for a budget that nothing can keep."""
        least = min(self.options.budgets_ms)
        if all(chooser.best(least) is None for chooser in self.choosers):
            raise impossible(self.choosers, least)

    def fit(self, budget: float, folder: Path) -> FitResult:
        """The best network within a budget, in its folder."""
        tried: list[_Attempt] = []
        ranked = sorted(
            ((c, best) for c in self.choosers if (best := c.best(budget)) is not None),
            key=lambda one: one[0].error(one[1]),
        )
        for chooser, _ in ranked[:WAYS]:
            tried += self._within(chooser, budget)
        kept = [one for one in tried if keeps(one.measured, budget, self.options)]
        taken = max(kept, key=self._worth_of) if kept else min(tried, key=lambda one: one.ms)
        return self._finish(taken, len(tried), budget, folder)

    def _profiles(self) -> dict[Way, Predictor]:
        options, found = self.options, dict[Way, Predictor]()
        ways = ways_on(
            self.bench.kind, self.bench.facts, options.runtimes, options.precisions,
            options.pixel_shuffles, here=self.bench.here,
        )  # fmt: skip
        given = self.subject, self.bench
        failed: SrdeployError | None = None
        with track("profile", len(ways)) as bar:
            for way in ways:
                try:
                    chosen = with_form(*given, way, self.conditions, self.work)
                    found[chosen] = profile(*given, chosen, self.conditions, self.work)
                except SrdeployError as error:
                    gone = isinstance(error, DeviceError) and not isinstance(error, DeviceUnfit)
                    if gone or len(ways) == 1:
                        raise
                    failed = error  # others may do
                bar.update()
        if not found:
            assert failed is not None
            raise failed
        return found

    def _memory(self, observed: Sequence[Observation]) -> MemoryModel | None:
        limit = self.options.max_mb
        if limit is None:
            return None
        return fit_memory(self.subject.uses, limit, [(o.removed, o.mb) for o in observed])

    def _energy(self, observed: Sequence[Observation]) -> EnergyModel | None:
        limit = self.options.max_mj
        return None if limit is None else fit_energy(limit, [(o.median_ms, o.mj) for o in observed])

    def _worth(self, precisions: Sequence[str]) -> Worth:
        path = self.work / "worth.json"
        with suppress(OSError, ValueError):
            kept = Worth.model_validate_json(path.read_text("utf-8"))
            priced = {block.name for block in self.subject.blocks} <= kept.removals.keys()
            if priced and kept.precisions.keys() >= set(precisions):  # one that failed may run now
                return kept
        inputs = Calibration(self.options.calibration).inputs(self.subject.network)
        measured = Measured(self.subject, inputs)
        found = Worth(
            format=2,
            removals=measured.removals(),
            precisions={p: measured.precision(p, self.work) for p in dict.fromkeys(precisions)},
        )
        with atomic_path(path) as temporary:
            temporary.write_text(found.model_dump_json(), encoding="utf-8")
        return found

    def _within(self, chooser: Chooser, budget: float) -> list[_Attempt]:
        """Networks that are made and measured for one way, until one is near below the budget."""
        found: list[_Attempt] = []
        target = budget
        while len(found) < CORRECTIONS:
            candidates = chooser.candidates(target)
            if not candidates:
                break
            with self._timed("make"):
                made = make(chooser, candidates, budget, self.options, self.work)
            if any(one.made.removed == made.removed for one in found):
                if keeps(found[-1].measured, budget, self.options):
                    break
                # The table knows no better: ask for less.
                target *= min(budget / found[-1].ms, LESS)
                if target < budget / 2:
                    break
                continue
            attempt = self._attempt(chooser, made, budget)
            found.append(attempt)
            near = attempt.ms >= SLACK * budget or not made.removed
            if near and keeps(attempt.measured, budget, self.options):
                break
            with self._timed("measure"):
                (seen,) = observe(
                    self.subject, [made.removed], self.bench, chooser.way, self.conditions,
                    self.work,
                )  # fmt: skip
            again = replace(seen, weight=AGAIN)
            chooser = replace(chooser, predict=chooser.predict.corrected(again))
            if chooser.energy is not None:
                energy = chooser.energy.corrected(attempt.ms, energy_mj(attempt.measured))
                chooser = replace(chooser, energy=energy)
            target = budget
        return found

    def _attempt(self, chooser: Chooser, made: Made, budget: float) -> _Attempt:
        with self._timed("make"):
            network = with_reasons(made, chooser, budget, self.options)
            digest = weights_sha256(network.module.state_dict())[:16]
            artifact = self.work / f"artifact-{digest}-{made.way.name}.onnx"
            write_artifact(network, made.way, artifact)
        measured = self._measure(artifact, made.way)
        attempt = _Attempt(chooser, made, network, artifact, measured)
        self.points.append(self._point(chooser, made.removed, attempt))
        return attempt

    def _measure(self, artifact: Path, way: Way) -> Measurement:
        with self._timed("measure"):
            request = self.conditions.networks(self.bench, way, quality=True, sensors=True)
            asked = replace(request, dense=str(self.dense))
            return self.bench.measure([str(artifact)], asked)[0]

    def _worth_of(self, attempt: _Attempt) -> float:
        """PSNR; of a network that is not made for it, nearness to the dense one's outputs."""
        quality = attempt.measured.quality
        assert quality is not None
        if quality.bicubic is not None and self.quality.psnr < quality.bicubic:
            return quality.figures.get("agreement", quality.psnr)
        return quality.psnr

    def _finish(self, best: _Attempt, attempts: int, budget: float, folder: Path) -> FitResult:
        folder.mkdir(parents=True, exist_ok=True)
        way, network, measured = best.made.way, best.network, best.measured
        weights, artifact = folder / "fitted.safetensors", folder / "fitted.onnx"
        if self.options.recover != "0":
            with self._timed("recover"):
                runs = self.work / f"recover-{budget:g}ms"
                runs.mkdir(exist_ok=True)
                network = recover(
                    network, self.dense, self.options.recover, way.precision,
                    self.options.train_data, runs,
                )  # fmt: skip
        save_network(network, weights)
        if self.options.recover == "0":
            with atomic_path(artifact) as temporary:
                shutil.copyfile(best.artifact, temporary)
        else:
            with self._timed("make"):
                artifact.unlink(missing_ok=True)
                write_artifact(network, way, artifact)
            measured = self._measure(artifact, way)
            self.points.append(
                self._point(
                    best.chooser, best.made.removed, replace(best, measured=measured), "recovered"
                )
            )
        result = self._result(best, measured, attempts, budget)
        with Store.open(folder / RESULTS) as store:
            told = measured.model_copy(update={"artifact": artifact.name})
            store.add(told, told.sha256 or artifact.name)
        result.write(folder)
        return result

    def _result(
        self, best: _Attempt, measured: Measurement, attempts: int, budget: float
    ) -> FitResult:
        quality, way = measured.quality, best.made.way
        assert quality is not None
        missed = shortfall(measured, budget, self.options, CORRECTIONS)
        ms = measured.p50_ms or 0.0
        return FitResult(
            network=self.name,
            device=self.options.device,
            model=self.bench.facts.model,
            input=self.options.size,
            budget_ms=budget,
            p50_ms=ms,
            predicted_ms=best.made.predicted_ms,
            met=ms <= budget,
            shortfall=tuple(missed),
            psnr_y=quality.psnr if quality.colour == "y" else None,
            psnr=quality.psnr,
            protocol=quality.protocol,
            agreement=quality.figures.get("agreement"),
            dense_psnr=self.quality.psnr,
            peak_mb=measured.peak_mb,
            energy_mj=energy_mj(measured),
            widths=self.subject.widths(best.made.removed),
            dense_widths=self.subject.widths({}),
            blocks=tuple(b.name for b in self.subject.blocks if best.made.removed.get(b.name)),
            why=reasons(best.chooser, best.made.removed),
            precision=way.precision,
            runtime=measured.runtime or way.runtime,
            pixel_shuffle=way.pixel_shuffle,
            block=best.chooser.block,
            artifact="fitted.onnx",
            weights="fitted.safetensors",
            attempts=attempts,
            points=tuple(self.points),
            seconds={name: round(spent, 1) for name, spent in self.seconds.items()},
        )

    def _point(
        self,
        chooser: Chooser,
        removed: Mapping[str, int],
        attempt: _Attempt | None = None,
        step: Literal["front", "made", "recovered"] | None = None,
    ) -> Point:
        error = chooser.error(removed)
        uses = self.subject.uses.left(removed)
        quality = attempt.measured.quality if attempt else None
        return Point(
            runtime=chooser.way.runtime,
            precision=chooser.way.precision,
            predicted_ms=attempt.made.predicted_ms if attempt else chooser.predict(removed),
            error=error,
            predicted_psnr=self.quality.psnr
            - loss_db(self.quality.psnr, error, self.subject.network.card.value_range),
            channels=sum(use.outputs.left(removed) for use in uses),
            p50_ms=attempt.ms if attempt else None,
            psnr=quality.psnr if quality else None,
            step=step or ("made" if attempt else "front"),
        )

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        begun = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - begun


@dataclass(frozen=True)
class _Attempt:
    """A network that was made and measured."""

    chooser: Chooser
    made: Made
    network: Network
    artifact: Path
    measured: Measurement

    @property
    def ms(self) -> float:
        return self.measured.p50_ms or 0.0
