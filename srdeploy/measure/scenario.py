"""What is measured and for how long, as data: the built-in default, or a YAML file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from srdeploy.errors import unknown_name
from srdeploy.runtime.sizes import parse_size
from srdeploy.util.shipped import shipped_scenarios
from srdeploy.util.strict import Strict, read_yaml

Seconds = Annotated[float, Field(ge=0, le=86400)]
Side = Annotated[int, Field(ge=1, le=16384)]


def _size(value: Any) -> Any:
    """``480x270`` as people write it, width first, to (270, 480); anything else as it is."""
    if not isinstance(value, str) or value == "median":
        return value
    try:
        return parse_size(value)
    except ValueError as error:
        raise ValueError(f"{error} or median") from None


def _listed(value: Any) -> Any:
    """One input for a list of one; a pair of numbers is one size, not two."""
    single = isinstance(value, str) or (
        isinstance(value, (list, tuple)) and value and all(isinstance(n, int) for n in value)
    )
    return (value,) if single else value


Size = tuple[Side, Side]
"""Height and width in pixels."""

Input = Annotated[Size | Literal["median"], BeforeValidator(_size)]
Inputs = Annotated[tuple[Input, ...], BeforeValidator(_listed), Field(min_length=1)]


class Scenario(Strict):
    """A measurement's conditions.

    Attributes:
        name: What results call it.
        description: One line for people.
        inputs: The LR images that latency is measured on, one measurement each: sizes (in YAML
            ``480x270``, or ``[270, 480]`` as height and width), or ``median``: the image of median
            area of the benchmark set. A pre-upscaled network gets the image upscaled, so that all
            artifacts do the same job.
        tile: The image is cut into tiles of at most so many LR pixels a side, overlapped by the
            network's receptive field; a sample is then a whole image. None for no tiles.
        data: Benchmark set; None for the one that the command names.
        frame_rate: The image moves in a video of so many frames a second, and a sample is the
            time from one finished frame to the next, decoding and encoding included; as many runs
            of the network alone follow in each turn. None for images.
        batch: Images per run.
        threads: CPU threads; None for the command's, else all.
        warmup_runs: Runs thrown away after the first, and
        warmup_seconds: for at least this long.
        min_runs: Samples each artifact gives at least, and
        min_seconds: time they cover at least; but
        max_seconds: once they cover this, it is enough; None for no such end.
        turn_seconds: How long one artifact measures before the next takes over.
        sustained: Artifacts take no turns: each runs alone, without a rest, so that it shows how
            the device drifts and heats under it.
        rest_seconds: Quiet time before the measurement (of each artifact, if sustained).
        quality: Record PSNR and SSIM on the benchmark set.
        memory: Record peak memory where the device tells.
        sensors: Record power, temperatures and clocks where the device tells.
        sensor_seconds: Time between two readings of them.
        protocol: Protocol of the quality figures; default: the one natural to the network.
        timeout_seconds: A run or an evaluation longer than this counts as hung.
    """

    name: str = "default"
    description: str = "latency on the benchmark set's median image, quality on all of it"
    inputs: Inputs = ("median",)
    tile: Side | None = None
    data: str | None = None
    frame_rate: Annotated[float, Field(gt=0, le=1000)] | None = None
    batch: Annotated[int, Field(ge=1, le=1024)] = 1
    threads: Annotated[int, Field(ge=1)] | None = None
    warmup_runs: Annotated[int, Field(ge=0)] = 3
    warmup_seconds: Seconds = 0.5
    min_runs: Annotated[int, Field(ge=1)] = 20
    min_seconds: Seconds = 5.0
    max_seconds: Seconds | None = None
    turn_seconds: Seconds = 0.5
    sustained: bool = False
    rest_seconds: Seconds = 0.0
    quality: bool = True
    memory: bool = True
    sensors: bool = True
    sensor_seconds: Annotated[float, Field(ge=0.01, le=60)] = 0.1
    protocol: str | None = None
    timeout_seconds: Annotated[float, Field(gt=0)] = 3600.0

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """What is not as usual."""
        yield from self.model_dump(exclude_defaults=True).items()

    @property
    def input(self) -> Size | Literal["median"]:
        """The only input.

        Raises:
            ValueError: there are several; :meth:`each` takes them apart.
        """
        (only,) = self.inputs
        return only

    def each(self) -> list[Scenario]:
        """One scenario per input."""
        return [self.model_copy(update={"inputs": (one,)}) for one in self.inputs]


def find_scenario(name: str) -> Scenario:
    """A shipped scenario by its name, or one's own by its file.

    Raises:
        UserError: neither; the nearest name is offered.
    """
    shipped = shipped_scenarios()
    if name in shipped:
        return read_scenario(shipped[name])
    if Path(name).is_file() or name.endswith((".yaml", ".yml")):
        return read_scenario(name)
    raise unknown_name("scenario", name, shipped)


def read_scenario(path: str | Path) -> Scenario:
    """Read a scenario file.

    Raises:
        UserError: the file is missing, no YAML, or holds a key or value that does not fit.
    """
    return read_yaml(Scenario, path)
