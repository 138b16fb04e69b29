"""A saved CoreML package, read without CoreML: its ends, its card, its program.

The format is Apple's: ``Manifest.json`` names the model file, a protobuf message whose mlprogram
part lists typed operations; large constants lie beside it in ``weights/weight.bin``.
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.runtime.coreml.values import Weights
from srdeploy.runtime.sizes import InputSizes, Size
from srdeploy.util.files import require_inside
from srdeploy.util.quiet import quiet

_LARGEST_MANIFEST = 1 << 20
_LARGEST_MODEL = 1 << 28  # bytes; large constants lie beside it


@dataclass(frozen=True)
class PackagePort:
    """The input or the output of a package.

    Attributes:
        name: What predictions call it.
        image: An 8-bit image; otherwise a tensor [1, C, H, W].
        channels: 1 (grayscale) or 3 (RGB).
        sizes: The heights and widths it takes; None where the file leaves them open.
    """

    name: str
    image: bool
    channels: int
    sizes: InputSizes | None


@dataclass(frozen=True)
class Package:
    """A package that was read.

    Attributes:
        path: Where it lies.
        card: What srdeploy wrote into it.
        input: Its input.
        output: Its output.
        block: The operations (``MIL.Block``).
        inputs: Data type of each input of the program, by name.
        weights: Its weight files.
    """

    path: Path
    card: Card
    input: PackagePort
    output: PackagePort
    block: Any = field(repr=False)
    inputs: dict[str, int]
    weights: Weights


def read_package(path: str | Path) -> Package:
    """Open a ``.mlpackage``.

    Raises:
        UserError: nothing there, no package, damaged, no mlprogram, more than one input or output,
            or no card.
    """
    package = Path(path)
    model = _model_file(package)
    with quiet():
        from coremltools.proto import Model_pb2
    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(model.read_bytes())
        return _package(package, model, spec)
    except UserError:
        raise
    except Exception as error:  # protobuf's DecodeError moves between versions
        raise UserError(
            f"'{package}' is truncated or damaged: its model file cannot be read."
        ) from error


def _package(package: Path, model: Path, spec: Any) -> Package:
    """What a parsed model file says."""
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    if spec.WhichOneof("Type") != "mlProgram" or not block.operations:
        kind = spec.WhichOneof("Type") or "empty model"
        raise UserError(f"'{package}' holds a CoreML {kind}; srdeploy runs mlprograms only.")
    ends = [*spec.description.input, *spec.description.output]
    if len(spec.description.input) != 1 or len(ends) != 2:
        raise UserError(
            f"'{package}' has {len(spec.description.input)} inputs and "
            f"{len(spec.description.output)} outputs; a super-resolution network has one of each."
        )
    text = spec.description.metadata.userDefined.get(CARD_KEY)
    if text is None:
        raise UserError(
            f"'{package}' has no srdeploy card, so its value range and scale are unknown; "
            "export the network with srdeploy."
        )
    card = Card.from_json(text, f"'{package}'")
    return Package(
        path=package,
        card=card,
        input=_end(ends[0], card.channels),
        output=_end(ends[1], card.channels),
        block=block,
        inputs={value.name: value.type.tensorType.dataType for value in function.inputs},
        weights=Weights(package, model.parent),
    )


def _model_file(package: Path) -> Path:
    if not package.exists():
        raise UserError(f"There is no package '{package}'.")
    _check_files(package)
    manifest = package / "Manifest.json"
    try:
        if require_inside(manifest, package) > _LARGEST_MANIFEST:
            raise ValueError(manifest)
        facts = json.loads(manifest.read_text(encoding="utf-8"))
        entry = str(facts["itemInfoEntries"][facts["rootModelIdentifier"]]["path"])
        model = package / "Data" / entry
    except (UserError, OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(
            f"'{package}' is no CoreML package, or an incomplete one: its manifest cannot be read."
        ) from None
    try:
        size = require_inside(model, package)
    except (UserError, ValueError):
        raise UserError(f"'{package}' is incomplete: {entry[-80:]} is missing.") from None
    if size > _LARGEST_MODEL:
        raise UserError(
            f"The model file of '{package}' has {size / 1e6:.0f} MB, which are no program; export "
            "the network again."
        )
    return model


def _check_files(package: Path) -> None:
    """See that all in a package is files and folders: it is read, hashed and sent to devices."""
    for folder, folders, files in os.walk(package):
        for name in (*folders, *files):
            mode = os.lstat(os.path.join(folder, name)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise UserError(
                    f"'{package}' holds '{name}', which is a link, a pipe or a device; copy the "
                    "package again, with what links lead to."
                )


def _end(feature: Any, channels: int) -> PackagePort:
    image = feature.type.WhichOneof("Type") == "imageType"
    sizes = _image_sizes(feature.type.imageType) if image else _array_sizes(feature.type)
    return PackagePort(feature.name, image, channels, sizes)


def _image_sizes(kind: Any) -> InputSizes:
    default = (kind.height, kind.width)
    flexible = kind.WhichOneof("SizeFlexibility")
    if flexible == "enumeratedSizes":
        return InputSizes(
            _default_first(default, [(s.height, s.width) for s in kind.enumeratedSizes.sizes])
        )
    if flexible == "imageSizeRange":
        high, wide = kind.imageSizeRange.heightRange, kind.imageSizeRange.widthRange
        return InputSizes(
            low=(high.lowerBound, wide.lowerBound), high=(high.upperBound, wide.upperBound)
        )
    return InputSizes((default,))


def _array_sizes(feature_type: Any) -> InputSizes | None:
    kind = feature_type.multiArrayType
    flexible = kind.WhichOneof("ShapeFlexibility")
    if flexible == "enumeratedShapes":
        shapes = [(s.shape[2], s.shape[3]) for s in kind.enumeratedShapes.shapes]
        return InputSizes(_default_first((kind.shape[2], kind.shape[3]), shapes))
    if flexible == "shapeRange":
        high, wide = kind.shapeRange.sizeRanges[2:]
        return InputSizes(
            low=(high.lowerBound, wide.lowerBound), high=(high.upperBound, wide.upperBound)
        )
    return InputSizes(((kind.shape[2], kind.shape[3]),)) if len(kind.shape) == 4 else None


def _default_first(default: Size, sizes: list[Size]) -> tuple[Size, ...]:
    return tuple(dict.fromkeys([default, *sizes]))
