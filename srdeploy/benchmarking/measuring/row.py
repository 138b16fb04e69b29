"""One artifact's result: what the table shows and JSON holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from srdeploy.benchmarking.measuring.film import film_figures
from srdeploy.benchmarking.measuring.stats import (
    Latency,
    paired_speedup,
    rounds_of,
    turns_of,
    unpaired_ratio,
)
from srdeploy.measure.measurement import Conditions, DeviceFacts, Measured, Measurement
from srdeploy.measure.scenario import Scenario
from srdeploy.quality.metrics import METRICS, Colour
from srdeploy.quality.result import ALWAYS, COLOURS, Quality, is_key, key_of, with_infinity

LEAST_SECONDS = 60.0
"""Drift of a shorter run is mostly noise."""

SHARE = 0.1
"""Of the time: the beginning and the end that are compared."""


@dataclass(frozen=True)
class Drift:
    """Times slower at the end than at the beginning, with its 95 % interval; None where untold."""

    drift: float | None = None
    drift_low: float | None = None
    drift_high: float | None = None

    def as_dict(self) -> dict[str, float | None]:
        """For a row."""
        return asdict(self)


def drift_of(measurement: Measurement) -> Drift:
    """Compare the first and the last tenth of a measurement, turn by turn."""
    rounds = rounds_of(measurement)
    total = sum(measurement.samples_ms)
    if total < LEAST_SECONDS * 1e3:
        return Drift()
    first: list[list[float]] = []
    last: list[list[float]] = []
    passed = 0.0
    for one in rounds:
        middle = passed + sum(one) / 2
        if middle <= SHARE * total:
            first.append(one)
        elif middle >= (1 - SHARE) * total:
            last.append(one)
        passed += sum(one)
    if not first or not last:
        return Drift()
    ratio = unpaired_ratio([first], [last])
    return Drift() if ratio is None else Drift(*ratio.rounded())


_SHOWN = (
    *("artifact", "device", "runtime", "precision", "p50_ms", "speedup", "psnr_y", "psnr_rgb"),
    "error",
)
"""What a row is printed with."""


class Row(Measured):
    """Everything measured on one artifact, with the conditions that make it comparable.

    Figures are None where they were not measured; ``error`` then says why. What a row has from its
    measurement as it is stands in :class:`srdeploy.measure.measurement.Measured`.

    Beside the fields there is one figure per metric and planes, the mean over the set: ``psnr_y``,
    ``ssim_y``, ``psnr_rgb``, ``ssim_rgb`` and so on. Those of luma are None under a protocol that
    compares colours, and the other way round.

    Attributes:
        device: Where it was measured.
        started: When, UTC.
        scenario: The conditions, in full.
        machine: What the device is, and its load before (``load_1min``).
        before: Power mode, clocks and temperatures before the samples, and
        after: after them; what is missing was not told.
        scale: Upscaling factor.
        p50_ms: Median of the samples; ``p90_ms`` and ``p99_ms`` likewise.
        mean_ms: Their mean.
        min_ms: The fastest.
        iqr_ms: Distance between their quartiles.
        n_samples: How many.
        compute_p50_ms: Median of the accelerator alone, where the runtime tells it apart.
        fps: Of a video: frames per second, from decoding to encoding,
        fps_alone: and of the network alone;
        dropped: the share of frames that a live video at the scenario's rate would lose.
        drift: Of runs of a minute and more: times slower in the last tenth than in the first,
        drift_low: lower end of its 95 % interval,
        drift_high: upper end.
        power_w: Mean power while it ran, where the device tells, and
        energy_mj: millijoules per image;
        power_source: what they cover.
        speedup: Times faster than the first artifact of the same call, paired by round.
        speedup_low: Lower end of its 95 % interval (bootstrap over rounds);
        speedup_high: upper end.
        data: Name of the benchmark set.
        psnr_bicubic: What bicubic upscaling has on the same set under the same protocol, dB.
        n_images: Images of the set.
        protocol: Label of the quality protocol.
        note: One sentence on what these figures leave out.
    """

    model_config = ConfigDict(extra="allow")  # and what is no figure is refused
    __pydantic_extra__: dict[str, float | None] = Field(init=False)

    device: str = "local"
    started: str | None = None
    scenario: dict[str, Any]
    machine: dict[str, Any]
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    scale: int
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    min_ms: float | None = None
    iqr_ms: float | None = None
    n_samples: int = 0
    compute_p50_ms: float | None = None
    fps: float | None = None
    fps_alone: float | None = None
    dropped: float | None = None
    drift: float | None = None
    drift_low: float | None = None
    drift_high: float | None = None
    power_w: float | None = None
    energy_mj: float | None = None
    power_source: str | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    data: str | None = None
    psnr_bicubic: float | None = None
    n_images: int | None = None
    protocol: str | None = None
    note: str | None = None

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """The main figures only: a list of rows is read, not scrolled through."""
        for name in _SHOWN:
            value = getattr(self, name)
            if value is not None:
                yield name, round(value, 3) if isinstance(value, float) else value

    def figures(self, colour: Colour) -> dict[str, float]:
        """By metric, the means of the figures of these planes that were measured."""
        end = f"_{colour}"
        told = self.__pydantic_extra__.items()
        return {
            key.removesuffix(end): value
            for key, value in told
            if key.endswith(end) and value is not None
        }

    def figure(self, metric: str) -> float | None:
        """The mean of a metric, of whichever planes the protocol compares."""
        told = (self.figures(colour).get(metric) for colour in COLOURS)
        return next((value for value in told if value is not None), None)

    @model_validator(mode="before")
    @classmethod
    def _figures(cls, values: Any) -> Any:
        """Every known metric has a value, if only None, and nothing but figures is added."""
        if not isinstance(values, dict):
            return values
        foreign = [key for key in values if key not in cls.model_fields and not is_key(key)]
        if foreign:
            raise ValueError(f"a row has no {foreign[0]!r}")
        untold = {key_of(metric, colour): None for metric in METRICS for colour in COLOURS}
        return untold | with_infinity(values)


def row_of(measurement: Measurement, base: Measurement) -> Row:
    """The row of a measurement.

    Args:
        measurement: Complete or failed.
        base: What its speed-up refers to, if the two took turns; itself for the first.
    """
    facts = measurement.facts.model_dump(mode="json")
    figures: dict[str, Any] = {}
    if measurement.samples_ms:
        figures |= Latency.of(measurement.samples_ms).as_dict()
        figures |= drift_of(measurement).as_dict()
        figures |= film_figures(measurement)
    if base is not measurement and base.session == measurement.session is not None:
        ratio = paired_speedup(turns_of(base), turns_of(measurement))
        if ratio is not None:
            names = ("speedup", "speedup_low", "speedup_high")
            figures |= dict(zip(names, ratio.rounded(), strict=True))
    if (power := measurement.power) is not None:
        figures |= {"power_w": power.mean_w, "energy_mj": 1e3 * power.energy_j_per_frame}
        figures["power_source"] = power.source
    if (quality := measurement.quality) is not None:
        figures |= {
            "data": quality.data,
            **{key_of(name, quality.colour): mean for name, mean in quality.figures.items()},
            "psnr_bicubic": quality.bicubic,
            "n_images": quality.n_images,
            "protocol": quality.protocol,
        }
    return Row(
        **_same(measurement),
        device=measurement.device,
        started=measurement.started,
        **figures,
        scenario=measurement.scenario.model_dump(mode="json"),
        machine={**facts, "load_1min": measurement.before.load_1min},
        before=measurement.before.model_dump(mode="json", exclude_defaults=True),
        after=measurement.after.model_dump(mode="json", exclude_defaults=True),
        scale=measurement.scale or 1,
        n_samples=len(measurement.samples_ms),
        compute_p50_ms=measurement.compute_p50_ms,
        note="; ".join(measurement.notes) or None,
    )


def measurement_of(row: Row) -> Measurement:
    """The measurement behind a row, without what a row does not hold (sensors, their peak)."""
    colour = next((c for c in COLOURS if row.figures(c).keys() >= ALWAYS), None)
    quality = None
    if colour is not None:
        quality = Quality(
            figures=row.figures(colour),
            colour=colour,
            protocol=row.protocol or "",
            n_images=row.n_images or 0,
            data=row.data or "",
            bicubic=row.psnr_bicubic,
        )
    facts = {key: value for key, value in row.machine.items() if key in DeviceFacts.model_fields}
    return Measurement(
        **_same(row),
        device=row.device,
        facts=DeviceFacts(**{"kind": "local", "model": "unknown", **facts}),
        scenario=Scenario.model_validate(row.scenario),
        started=row.started or "",
        scale=row.scale,
        before=Conditions.model_validate(row.before),
        after=Conditions.model_validate(row.after),
        quality=quality,
    )


def _same(one: Measured) -> dict[str, Any]:
    """What the other of the two has as it is."""
    return {name: getattr(one, name) for name in Measured.model_fields}
