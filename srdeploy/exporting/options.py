"""The options of the exporters: one strict class each.

A field is a keyword of the exporter, with its type and with its default there. An :class:`Option`
in its annotation says what else is known of it. The command ``export`` with its help and
completion, recipes and their schema, and the checks of :class:`srdeploy.exporting.targets.Target`
are read off these classes; a value that has the right type is the exporter's to judge.
"""

from __future__ import annotations

import dataclasses
from itertools import count
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field, PositiveInt

from srdeploy.exporting.targets import (
    AUTO,
    EXPORTERS,
    PIXEL_SHUFFLES,
    PRECISIONS,
    TARGETS,
    Target,
)
from srdeploy.models.calibration import CALIBRATION_METHODS, DEFAULT_CALIBRATION
from srdeploy.util.strict import Strict


@dataclasses.dataclass(frozen=True)
class Option:
    """What is known of an exporter's keyword, besides its type and its default.

    Attributes:
        help: What ``srdeploy export --help`` says; empty: neither the command line nor recipes
            have an option for it.
        flag: How the command line spells it, where that is not the keyword itself; of a switch
            with an opposite both: ``--sparse/--dense-masks``.
        key: How recipes spell it, where that is not as the command line; empty: they have none.
        metavar: What help shows for the value; None: its type.
        choices: Names of which the shell completes one, and whose synonyms are understood.
        least: The smallest number that the command line takes.
        source: What it is about, if exporters take it for one of the two only: a ``network``, or
            an ``onnx`` file.
        keyword: The field's name, and
        annotation: its type, both filled in by :func:`options_of`.
        place: Help lists options in the order in which they were made.
    """

    help: str = ""
    flag: str = ""
    key: str | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    least: int | None = None
    source: Literal["network", "onnx"] | None = None
    keyword: str = ""
    annotation: Any = str
    place: int = dataclasses.field(default_factory=count().__next__, compare=False)

    @property
    def flags(self) -> str:
        """Its spellings on the command line."""
        return self.flag or f"--{self.keyword.replace('_', '-')}"

    @property
    def spelling(self) -> str:
        """How sentences call it."""
        return self.flags.partition("/")[0]

    @property
    def recipe_key(self) -> str:
        """How recipes spell it; empty: they have none."""
        spelt = self.spelling[2:].replace("-", "_") if self.key is None else self.key
        return spelt if self.help else ""

    @property
    def value_type(self) -> Any:
        """The type of its values besides None."""
        found = self.annotation
        if get_origin(found) in (Union, UnionType):
            found = next(one for one in get_args(found) if one is not NoneType)
        return get_args(found)[0] if get_origin(found) is Annotated else found


Precision = Annotated[
    str | None,
    Option("What the artifact computes in; see `srdeploy targets`.", choices=PRECISIONS),
]
Opset = Annotated[
    PositiveInt | None,
    Option("ONNX operator set; default 17, which everything reads.", source="network"),
]
Exporter = Annotated[
    str | None,
    Option(
        "torch's way to ONNX; default: trace, and dynamo where that refuses.",
        metavar="|".join(EXPORTERS),
        source="network",
    ),
]
PixelShuffle = Annotated[
    str,
    Option(
        "How PixelShuffle is written: crd (one operator, default), reshape (four dimensions), "
        "deconv (fixed weights), or auto: the fastest here.",
        metavar="|".join((*PIXEL_SHUFFLES, AUTO)),
    ),
]
_SIZES = Option(
    "480x270; onnx: default any, if the network can; coreml: also 480x270,640x360 or 64..1024; "
    "engines: also 64x64..1920x1080, or tuned for the middle, 64x64..480x270..1920x1080.",
    flag="--input",
    metavar="SIZES",
)
Sizes = Annotated[str | None, _SIZES]
OneSize = Annotated[str | None, dataclasses.replace(_SIZES, source="network")]
Capabilities = Annotated[
    tuple[str, ...],
    Option(
        "Compute capabilities (trt-rtx), e.g. 8.6,8.9; default: all RTX.",
        flag="--sm",
        metavar="LIST",
    ),
]
Workspace = Annotated[
    PositiveInt | None,
    Option("Scratch memory of engines.", flag="--workspace", metavar="MIB", least=1),
]
Tf32 = Annotated[bool, Option("Let fp32 engines round factors to 10 bits (faster).")]
Sparse = Annotated[
    bool | None,
    Option(
        "SMSR: skip pixels outside the masks (onnx), or compute and mask them (default).",
        flag="--sparse/--dense-masks",
    ),
]
Accept = Annotated[
    str | None,
    Option("TensorRT's parser must accept the ONNX.", flag="--check", metavar="trt"),
]
EmitScript = Annotated[
    Path | None, Option("Also write what rebuilds the engine: .py, or .sh for trtexec.", key="")
]
QuantisedEnds = Annotated[bool, Option("8-bit input and output (litert, int8).")]
Images = Annotated[bool, Option("Image input and output (coreml).")]
Palettize = Annotated[
    PositiveInt | None, Option("Weights from a palette (coreml).", metavar="BITS")
]
Quantise = Annotated[
    str | None,
    Option(
        "8-bit weights, inputs (coreml).", flag="--quantise", key="quantize", metavar="w8|a8|w8a8"
    ),
]
Calibration = Annotated[
    str | None, Option("Images to find ranges on (onnx, sparse-runner; coreml a8).", metavar="DIR")
]
CalibrateBy = Annotated[
    str | None,
    Option(
        f"How many extremes int8 clips (onnx); default {DEFAULT_CALIBRATION}.",
        metavar="|".join(CALIBRATION_METHODS),
        choices=tuple(CALIBRATION_METHODS),
    ),
]
Activations = Annotated[
    str | None,
    Option(
        "int8 layers' inputs (onnx): uint8 is fastest in onnxruntime (default), int8 is what "
        "TensorRT reads (default with --check trt).",
        metavar="uint8|int8",
    ),
]
Blobs = Annotated[
    str, Option("Names of input and output (ncnn); default data,output.", metavar="IN,OUT")
]
MaxDrop = Annotated[
    Annotated[float, Field(gt=0)] | None,
    Option("Fail when more PSNR is lost on --eval-data (onnx); mixed: 0.05.", metavar="DB"),
]
Data = Annotated[
    str | None,
    Option(
        "Set the loss is measured on (onnx); `builtin`.",
        flag="--eval-data",
        key="data",
        metavar="DIR",
    ),
]
MinimumDeployment = Annotated[str | None, Option("Oldest system (coreml).", metavar="iOS15..iOS26")]
Scale = Annotated[int | None, Option(source="onnx")]
"""The command has it anyway: networks that serve several scales need it, too."""
ValueRange = Annotated[float | None, Option(source="onnx")]
"""Likewise: an option that commands share."""


class Common(Strict):
    """What may be asked of every target; it reaches exporters that can have it."""

    precision: Precision = None
    sparse: Sparse = None


class OnnxOptions(Strict):
    """Of :func:`srdeploy.exporting.onnx.export.export_onnx`."""

    precision: Precision = "fp32"
    opset: Opset = None
    exporter: Exporter = None
    pixel_shuffle: PixelShuffle = "crd"
    sizes: OneSize = None
    accept: Accept = None
    calibration: Calibration = None
    calibration_method: CalibrateBy = None
    activations: Activations = None
    max_drop: MaxDrop = None
    data: Data = None
    scale: Scale = None
    value_range: ValueRange = None


class EngineOptions(Strict):
    """Of :func:`srdeploy.exporting.tensorrt.export.export_engine`, for either builder."""

    precision: Precision = None
    opset: Opset = None
    exporter: Exporter = None
    pixel_shuffle: PixelShuffle = "crd"
    sizes: Sizes = None
    workspace_mb: Workspace = None
    tf32: Tf32 = False
    emit_script: EmitScript = None
    scale: Scale = None
    value_range: ValueRange = None


class TensorrtOptions(EngineOptions):
    """Of :func:`srdeploy.exporting.tensorrt.export.export_trt`."""

    timing_cache: Path | None = None


class TensorrtRtxOptions(EngineOptions):
    """Of :func:`srdeploy.exporting.tensorrt.export.export_trt_rtx`."""

    capabilities: Capabilities = ()


class CoremlOptions(Strict):
    """Of :func:`srdeploy.exporting.coreml.export.export_coreml`."""

    precision: Precision = "fp32"
    images: Images = False
    sizes: Sizes = None
    palettize: Palettize = None
    quantize: Quantise = None
    calibration: Calibration = "builtin"
    minimum_deployment: MinimumDeployment = None


class LitertOptions(Strict):
    """Of :func:`srdeploy.exporting.litert.export.export_litert`."""

    precision: Precision = "fp32"
    quantised_ends: QuantisedEnds = False
    sizes: Sizes = None
    calibration: Calibration = None
    calibration_method: CalibrateBy = None
    max_drop: MaxDrop = None
    data: Data = None
    scale: Scale = None
    value_range: ValueRange = None


class NcnnOptions(Strict):
    """Of :func:`srdeploy.exporting.ncnn.export.export_ncnn`."""

    precision: Precision = "fp32"
    blobs: Blobs = "data,output"
    calibration: Calibration = None
    calibration_method: CalibrateBy = None
    max_drop: MaxDrop = None
    data: Data = None
    scale: Scale = None
    value_range: ValueRange = None


class SparseRunnerOptions(Strict):
    """Of :func:`srdeploy.exporting.sparse_runner.export_sparse_runner`."""

    precision: Precision = "fp32"
    calibration: Calibration = None


def options_of(model: type[Strict]) -> dict[str, Option]:
    """What is known of the fields of a class, by keyword."""
    found = {}
    for keyword, field in model.model_fields.items():
        told = next((one for one in field.metadata if isinstance(one, Option)), Option())
        found[keyword] = dataclasses.replace(told, keyword=keyword, annotation=field.annotation)
    return found


def all_options() -> dict[str, Option]:
    """The options of all targets, by keyword, in the order of help.

    Of a keyword that several exporters take, what the first of them says is shown.
    """
    found = options_of(Common)
    for row in TARGETS.values():
        found = {**row.own_options(), **found}
    return dict(sorted(found.items(), key=lambda item: item[1].place))


def check_plugin(row: Target) -> None:
    """See that a plug-in's target can be used, and its options can stand beside those of others.

    Raises:
        Exception: whatever its code raises; or ValueError: ``srdeploy export`` has an option of
            that name for something else.
    """
    row.to_dict()
    known = {flag: o.keyword for o in all_options().values() for flag in o.flags.split("/")}
    known |= {f"--{name}": "" for name in _OF_THE_COMMAND}
    for option in row.own_options().values():
        for flag in (*option.flags.split("/"), f"--{option.keyword}"):
            if known.get(flag, option.keyword) != option.keyword:
                raise ValueError(f"`srdeploy export` has another option {flag}")


_OF_THE_COMMAND = ("file", "output", "target", "arch", "json", "help")


def find_option(keyword: str) -> Option:
    """What is known of a keyword, whichever exporter takes it; of one that none takes: its name."""
    return all_options().get(keyword) or Option(keyword=keyword)


def flag(keyword: str) -> str:
    """How the command line spells a keyword, and sentences call it."""
    return find_option(keyword).spelling


def recipe_fields() -> dict[str, Any]:
    """Fields of a recipe's target, by name: the type and None, for whatever is left out."""
    return {
        option.recipe_key: (option.annotation | None, None)
        for option in all_options().values()
        if option.recipe_key
    }
