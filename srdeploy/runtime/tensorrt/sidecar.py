"""What is known about a TensorRT engine: the JSON file beside it.

An engine is bound to GPUs, a TensorRT version and a platform, and says little of that itself. The
sidecar ``net.engine.json`` does, so that a wrong machine gets a sentence instead of a crash; with
``net.engine.onnx``, stored beside it too, the engine can be built again wherever it is needed.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.util.files import require_file, sha256

FileName = Annotated[str, Field(pattern=r"^[^/\\\x00]*[^/\\\x00.][^/\\\x00]*$", max_length=255)]
"""Of a file beside the sidecar: it leads nowhere else."""

_LARGEST = 1 << 24  # bytes of a sidecar

Shape = tuple[int, int, int, int]


class ShapeProfile(BaseModel):
    """Input shapes [N, C, H, W] an engine takes: from ``min`` to ``max``, tuned for ``opt``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: Shape
    opt: Shape
    max: Shape

    @property
    def fixed(self) -> bool:
        """Whether there is only one shape."""
        return self.min == self.max

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Whether the engine takes this shape."""
        return len(shape) == 4 and all(
            low <= n <= high for low, n, high in zip(self.min, shape, self.max, strict=True)
        )

    def __str__(self) -> str:
        ends = [self.min] if self.fixed else [self.min, self.max]
        return " to ".join("x".join(str(n) for n in shape) for shape in ends)


class Tensor(BaseModel):
    """One end of an engine: ``shape`` has -1 where it may vary, ``dtype`` is numpy's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    dtype: str = Field(pattern="^float(32|16)$")
    shape: tuple[int, ...]


class Sidecar(BaseModel):
    """The facts of one engine.

    Attributes:
        format: Version of this description.
        builder: ``tensorrt`` or ``tensorrt_rtx``: what built it, and what must run it.
        version: The builder's version.
        platform: Where it was built, e.g. ``linux-x86_64``.
        capabilities: Compute capabilities of the GPUs it runs on, e.g. ``8.9``.
        gpu: The GPU it was built on, None where none was needed.
        driver: CUDA version of the driver it was built with, likewise.
        engine_sha256: The engine's content.
        onnx: Name of the ONNX file beside it that it was built from.
        onnx_sha256: That file's content.
        precision: Of its convolutions: one precision, or ``mixed``.
        convolutions: How many the ONNX has in each precision.
        tf32: fp32 convolutions may round their factors to 10 bits.
        profile: Input shapes.
        workspace_mb: Limit of scratch memory while building, MiB; None for TensorRT's own.
        input: The engine's input.
        output: Its output.
        verified: The engine was loaded and read back after the build.
        verification: How far what was built is known to be what was asked.
        layers: Built layers by the data types they read and write.
        card: The network's card.
        tools: Versions of what made it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    builder: Literal["tensorrt", "tensorrt_rtx"]
    version: str
    platform: str
    capabilities: tuple[str, ...]
    gpu: str | None = None
    driver: str | None = None
    engine_sha256: str
    onnx: FileName
    onnx_sha256: str
    precision: str
    convolutions: dict[str, int]
    tf32: bool = False
    profile: ShapeProfile
    workspace_mb: int | None = None
    input: Tensor
    output: Tensor
    verified: bool
    verification: str
    layers: dict[str, int]
    card: Card
    tools: dict[str, str]

    def to_json(self) -> str:
        """JSON text for people and programs, stable for equal sidecars."""
        return self.model_dump_json(indent=2) + "\n"


def sidecar_path(engine: str | Path) -> Path:
    """``net.engine.json`` for ``net.engine``."""
    return Path(f"{engine}.json")


def onnx_path(engine: str | Path) -> Path:
    """``net.engine.onnx`` for ``net.engine``."""
    return Path(f"{engine}.onnx")


def this_platform() -> str:
    """Operating system and processor, as sidecars write them."""
    return f"{platform.system()}-{platform.machine()}".lower()


def read_sidecar(engine: str | Path) -> Sidecar:
    """The facts beside an engine.

    Raises:
        UserError: there is no such engine or no sidecar, or it cannot be read.
    """
    path = sidecar_path(engine)
    require_file(engine)
    if not os.path.lexists(path):
        raise UserError(
            f"'{engine}' has no '{path.name}' beside it, so nothing is known of what it needs; "
            "bring that file along, or export the network again."
        )
    if require_file(path).st_size > _LARGEST:
        raise UserError(f"'{path}' is too large to describe an engine; export the network again.")
    try:
        return Sidecar.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(
            f"'{path}' does not describe an engine ({_first(error)}); it is truncated, or by "
            "another version of srdeploy: export the network again."
        ) from error


def require_whole(engine: str | Path, facts: Sidecar) -> None:
    """See that the engine is the one its sidecar describes.

    Raises:
        UserError: its content is another one.
    """
    if sha256(engine) != facts.engine_sha256:
        raise UserError(
            f"'{engine}' is not the engine that '{sidecar_path(engine).name}' describes: it is "
            f"truncated, or was replaced; copy both again or run `srdeploy rebuild {engine}`."
        )


def require_source(engine: str | Path, facts: Sidecar) -> Path:
    """The ONNX file an engine was built from.

    Raises:
        UserError: it is not beside the engine, or no longer the same.
    """
    path = Path(engine).with_name(facts.onnx)
    if not os.path.isfile(path):
        raise UserError(
            f"'{path}', which '{engine}' was built from, is missing; copy it there, or export the "
            "network again."
        )
    if sha256(path) != facts.onnx_sha256:
        raise UserError(
            f"'{path}' is not the file that '{engine}' was built from: it is truncated, or was "
            "replaced; export the network again."
        )
    return path


def _first(error: Any) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else str(first["msg"])
    return "not text"
