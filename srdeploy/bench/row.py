"""One artifact's result: what the table shows and JSON holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from srdeploy.bench.drift import drift_of
from srdeploy.bench.stats import Latency, paired_speedup, turns_of
from srdeploy.measure.measurement import Measurement
from srdeploy.quality.metrics import METRICS, Colour
from srdeploy.quality.result import COLOURS, is_key, key_of, with_infinity

_SHOWN = (
    *("artifact", "device", "runtime", "precision", "p50_ms", "speedup", "psnr_y", "psnr_rgb"),
    "error",
)
"""What a row is printed with."""


class Row(BaseModel):
    """Everything measured on one artifact, with the conditions that make it comparable.

    Figures are None where they were not measured; ``error`` then says why.

    Beside the fields there is one figure per metric and planes, the mean over the set: ``psnr_y``,
    ``ssim_y``, ``psnr_rgb``, ``ssim_rgb`` and so on. Those of luma are None under a protocol that
    compares colours, and the other way round.

    Attributes:
        artifact: Name of the file, or of a shipped network.
        sha256: Its content; None for what is no file.
        device: Where it was measured.
        session: Shared by the artifacts whose turns were interleaved.
        repeat: Number of the repetition.
        started: When, UTC.
        runtime: What ran it, and
        runtime_version: its version;
        provider: where in it.
        precision: What was really computed in.
        threads: CPU threads of one run.
        scenario: The conditions, in full.
        machine: What the device is, and its load before (``load_1min``).
        before: Power mode, clocks and temperatures before the samples, and
        after: after them; what is missing was not told.
        scale: Upscaling factor.
        lr_size: Height and width of the LR image.
        input: Shape of the tensor that was run, [N, C, H, W].
        params: Trainable parameters.
        macs_720p: Multiply-accumulates for a 1280x720 output.
        build_ms: Building an engine; 0 where one was cached.
        load_ms: Opening the artifact, runtime's import included.
        first_ms: The first run after that, never part of the samples.
        p50_ms: Median of the samples; ``p90_ms`` and ``p99_ms`` likewise.
        mean_ms: Their mean.
        min_ms: The fastest.
        iqr_ms: Distance between their quartiles.
        n_samples: How many.
        samples_ms: All of them, in the order taken.
        turns: How many of them each round gave, in order.
        compute_p50_ms: Median of the accelerator alone, where the runtime tells it apart from
        compute_ms: those samples.
        drift: Of runs of a minute and more: times slower in the last tenth than in the first,
        drift_low: lower end of its 95 % interval,
        drift_high: upper end.
        power_w: Mean power while it ran, where the device tells, and
        energy_mj: millijoules per image;
        power_source: what they cover.
        speedup: Times faster than the first artifact of the same call, paired by round.
        speedup_low: Lower end of its 95 % interval (bootstrap over rounds);
        speedup_high: upper end.
        peak_mb: Peak memory of its process (runtime included), before quality was measured.
        data: Name of the benchmark set.
        psnr_bicubic: What bicubic upscaling has on the same set under the same protocol, dB.
        n_images: Images of the set.
        protocol: Label of the quality protocol.
        note: One sentence on what these figures leave out.
        error: One sentence if something failed.
    """

    model_config = ConfigDict(frozen=True, extra="allow")  # and what is no figure is refused
    __pydantic_extra__: dict[str, float | None] = Field(init=False)

    artifact: str
    sha256: str | None = None
    device: str = "local"
    session: str | None = None
    repeat: int = 0
    started: str | None = None
    runtime: str | None = None
    runtime_version: str | None = None
    provider: str | None = None
    precision: str | None = None
    threads: int | None = None
    scenario: dict[str, Any]
    machine: dict[str, Any]
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    scale: int
    lr_size: tuple[int, int] | None = None
    input: tuple[int, int, int, int] | None = None
    params: int | None = None
    macs_720p: int | None = None
    build_ms: float | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    p50_ms: float | None = None
    p90_ms: float | None = None
    p99_ms: float | None = None
    mean_ms: float | None = None
    min_ms: float | None = None
    iqr_ms: float | None = None
    n_samples: int = 0
    samples_ms: list[float] = []
    turns: list[int] = []
    compute_p50_ms: float | None = None
    compute_ms: list[float] = []
    drift: float | None = None
    drift_low: float | None = None
    drift_high: float | None = None
    power_w: float | None = None
    energy_mj: float | None = None
    power_source: str | None = None
    speedup: float | None = None
    speedup_low: float | None = None
    speedup_high: float | None = None
    peak_mb: float | None = None
    data: str | None = None
    psnr_bicubic: float | None = None
    n_images: int | None = None
    protocol: str | None = None
    note: str | None = None
    error: str | None = None

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
    same = {name: getattr(measurement, name) for name in _SAME}
    return Row(
        **same,
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


_SAME = (
    *("artifact", "sha256", "device", "session", "repeat", "started", "runtime"),
    *("runtime_version", "provider", "precision", "threads", "lr_size", "input", "params"),
    *("macs_720p", "build_ms", "load_ms", "first_ms", "samples_ms", "turns", "compute_ms"),
    *("peak_mb", "error"),
)
"""Fields that a row has from its measurement as they are."""
