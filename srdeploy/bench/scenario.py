"""What is measured and for how long, as data: the built-in default, or a YAML file."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from srdeploy.strict import Strict, read_yaml

Seconds = Annotated[float, Field(ge=0, le=86400)]
Side = Annotated[int, Field(ge=1, le=16384)]


class Scenario(Strict):
    """A measurement's conditions.

    Attributes:
        name: What results call it.
        description: One line for people.
        input: Height and width of the LR image that latency is measured on, or ``median``: the
            image of median area of the benchmark set. A pre-upscaled network gets that image
            upscaled, so that all artifacts do the same job.
        batch: Images per run.
        warmup_runs: Runs thrown away after the first, and
        warmup_seconds: for at least this long.
        min_runs: Samples each artifact gives at least, and
        min_seconds: time they cover at least.
        turn_seconds: How long one artifact measures before the next takes over.
        quality: Also measure PSNR and SSIM on the benchmark set.
        protocol: Protocol of the quality figures; default: the one natural to the network.
        timeout_seconds: A run or an evaluation longer than this counts as hung.
    """

    name: str = "default"
    description: str = "latency on the benchmark set's median image, quality on all of it"
    input: tuple[Side, Side] | Literal["median"] = "median"
    batch: Annotated[int, Field(ge=1, le=1024)] = 1
    warmup_runs: Annotated[int, Field(ge=0)] = 3
    warmup_seconds: Seconds = 0.5
    min_runs: Annotated[int, Field(ge=1)] = 20
    min_seconds: Seconds = 5.0
    turn_seconds: Seconds = 0.5
    quality: bool = True
    protocol: str | None = None
    timeout_seconds: Annotated[float, Field(gt=0)] = 3600.0


def read_scenario(path: str | Path) -> Scenario:
    """Read a scenario file.

    Raises:
        UserError: the file is missing, no YAML, or holds a key or value that does not fit.
    """
    return read_yaml(Scenario, path)
