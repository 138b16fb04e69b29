"""One measurement: raw samples, and everything that makes them comparable with others.

A measurement is plain data: :meth:`Measurement.to_json` and :meth:`Measurement.from_json` carry it
between processes, hosts and versions of Python, and into the store.
"""

from __future__ import annotations

from statistics import median
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from srdeploy.errors import UserError
from srdeploy.measure.scenario import Scenario
from srdeploy.quality.result import Quality
from srdeploy.util.figures_json import dumps
from srdeploy.util.strict import Strict

Shape = tuple[int, int, int, int]


class DeviceFacts(Strict):
    """What a device is, as far as it tells; nothing in it names its owner.

    Attributes:
        kind: ``local``, ``ssh``, ``adb``, ``browser``, ``apple``, ``hosted`` or ``fake``.
        model: The board, phone or processor, for instance ``NVIDIA Jetson Orin Nano``.
        arch: Processor architecture in the kernel's word: ``x86_64``, ``aarch64``.
        os: Operating system and version.
        cpu: The processor.
        cpus: Its cores (those that may be used).
        cpu_features: Instruction sets that decide how fast convolutions run.
        memory_gb: Physical memory in GB (10^9 bytes).
        gpu: The accelerator; None where there is none or it is unknown.
        versions: Of what runs networks there, for instance ``{"tensorrt": "10.3.0"}``.
        extra: What else its kind tells, for instance the JetPack release.
    """

    kind: str
    model: str
    arch: str = "unknown"
    os: str = "unknown"
    cpu: str | None = None
    cpus: int | None = None
    cpu_features: tuple[str, ...] = ()
    memory_gb: float | None = None
    gpu: str | None = None
    versions: dict[str, str] = {}
    extra: dict[str, Any] = {}


class Conditions(Strict):
    """What changes on a device, read before and after a measurement; None or empty where unknown.

    Attributes:
        power_mode: ``nvpmodel``'s mode, the CPU's governor, a phone's battery saver.
        clocks_mhz: Clocks by unit: ``cpu``, ``gpu``, ``memory``...
        temperatures_c: Temperatures by sensor, degrees Celsius.
        thermal: The system's own word on throttling (Android's thermal status).
        load_1min: Load average over a minute.
        battery_percent: Of devices that have one.
    """

    power_mode: str | None = None
    clocks_mhz: dict[str, float] = {}
    temperatures_c: dict[str, float] = {}
    thermal: str | None = None
    load_1min: float | None = None
    battery_percent: float | None = None


class Reading(Strict):
    """Sensors at one moment of the measurement.

    Attributes:
        seconds: Since the measurement began.
        power_w: Watts by rail.
        temperatures_c: Degrees Celsius by sensor.
        clocks_mhz: Clocks by unit.
        load_percent: Load by unit.
    """

    seconds: float
    power_w: dict[str, float] = {}
    temperatures_c: dict[str, float] = {}
    clocks_mhz: dict[str, float] = {}
    load_percent: dict[str, float] = {}


class Power(Strict):
    """Power while the samples were taken, the device's own idling included.

    Attributes:
        mean_w: Mean of the total.
        peak_w: Its highest reading.
        energy_j_per_frame: ``mean_w`` times the mean time from one image to the next.
        rails: The rails that were summed for the total.
        source: In one sentence, what the total covers.
        readings: How many it rests on.
    """

    mean_w: float
    peak_w: float
    energy_j_per_frame: float
    rails: tuple[str, ...]
    source: str
    readings: int


class Measured(Strict):
    """What a measurement and the row that is made of it have in common.

    Attributes:
        artifact: Name of the file or shipped network.
        sha256: Its content; None for what is no file.
        session: An id that the artifacts of one run share, whose turns were interleaved: their
            ratios are paired by round.
        repeat: Which repetition of a scenario that asks for several.
        runtime: What ran the network (``onnxruntime``, ``tensorrt``, ``browser (wasm)``...).
        runtime_version: Its version.
        provider: Where in the runtime: an execution provider, a GPU, a delegate.
        precision: What was really computed in, read back from what ran; None where unknown.
        threads: CPU threads of one run.
        input: Shape of the tensor that was run, [N, C, H, W].
        lr_size: Height and width of the LR image.
        params: Trainable parameters.
        macs_720p: Multiply-accumulates for a 1280x720 output.
        build_ms: Building what runs there from the artifact (an engine); None where nothing is
            built, 0 where it was cached.
        load_ms: Cold start: opening the artifact, the runtime's start included.
        first_ms: The first run after that, never part of the samples.
        samples_ms: End to end, every sample in the order taken: tensor in, tensor out.
        compute_ms: Of the same runs, the accelerator alone without transfers; empty where the
            runtime does not tell them apart.
        turns: How many samples each turn gave, in order.
        peak_mb: Peak memory in MB (10^6 bytes), the runtime's included, before quality was
            measured.
        error: One sentence if something failed; what was measured until then is kept.
    """

    artifact: str
    sha256: str | None = None
    session: str | None = None
    repeat: int = 0
    runtime: str | None = None
    runtime_version: str | None = None
    provider: str | None = None
    precision: str | None = None
    threads: int | None = None
    input: Shape | None = None
    lr_size: tuple[int, int] | None = None
    params: int | None = None
    macs_720p: int | None = None
    build_ms: float | None = None
    load_ms: float | None = None
    first_ms: float | None = None
    samples_ms: list[Annotated[float, Field(ge=0)]] = []
    compute_ms: list[Annotated[float, Field(ge=0)]] = []
    turns: list[int] = []
    peak_mb: float | None = None
    error: str | None = None


class Measurement(Measured):
    """One artifact on one device under one scenario.

    Attributes:
        format: Version of this description.
        device: The device's name: its URI, or what a farm calls it.
        facts: What the device is.
        scenario: The conditions asked, in full, with one input.
        started: When, in UTC (ISO 8601),
        ended: and until when.
        scale: Upscaling factor.
        before: The device's conditions before the samples,
        after: and after them.
        readings: Sensors while they were taken.
        power: Their summary; None where the device has no power sensors.
        quality: Figures of the outputs of this very device; None where not asked.
        notes: Sentences on what the figures leave out or rest on.
    """

    format: Literal[1] = 1
    device: str
    facts: DeviceFacts
    scenario: Scenario
    started: str
    ended: str | None = None
    scale: int | None = None
    before: Conditions = Conditions()
    after: Conditions = Conditions()
    readings: list[Reading] = []
    power: Power | None = None
    quality: Quality | None = None
    notes: list[str] = []

    @property
    def p50_ms(self) -> float | None:
        """Median end-to-end time; None without samples."""
        return median(self.samples_ms) if self.samples_ms else None

    @property
    def compute_p50_ms(self) -> float | None:
        """Median time of the accelerator alone; None where it is not told apart."""
        return median(self.compute_ms) if self.compute_ms else None

    def to_json(self) -> str:
        """One line of JSON; equal measurements give equal text."""
        return dumps(self.model_dump(), separators=(",", ":"), ensure_ascii=False)

    @model_validator(mode="after")
    def _turns_count_the_samples(self) -> Measurement:
        if self.turns and (min(self.turns) < 0 or sum(self.turns) != len(self.samples_ms)):
            raise ValueError(
                f"turns of {sum(self.turns)} samples in all, but there are {len(self.samples_ms)}"
            )
        return self

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "the file") -> Measurement:
        """Read :meth:`to_json`'s text.

        Raises:
            UserError: it is no measurement of this version; ``source`` names it in the sentence.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "measurement"
            raise UserError(
                f"{source} holds no measurement ({where}: {first['msg']}); was it written by "
                "another version of srdeploy?"
            ) from None
