"""ncnn's two files, ``net.param`` and ``net.bin``, and the description of ours beside them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import ValidationError, field_validator

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.runtime.ncnn.param import Param, read_param
from srdeploy.runtime.sizes import InputSizes
from srdeploy.util.files import require_file, sha256
from srdeploy.util.strict import Strict

_LARGEST = 1 << 24  # bytes of a description


class Description(Strict):
    """What ``net.param.json`` says.

    Attributes:
        format: Version of this description.
        input: The tensor that takes the image,
        output: and the one that is made.
        precision: What the weights are stored in, and what it is to compute in.
        param_sha256: Content of the structure,
        bin_sha256: and of the weights.
        sizes: The input sizes that it takes, as :class:`InputSizes` spells them; None: any.
        card: The network's.
    """

    format: Literal[1] = 1
    input: str
    output: str
    precision: str
    param_sha256: str
    bin_sha256: str
    sizes: str | None = None
    card: Card

    @field_validator("sizes")
    @classmethod
    def _named(cls, sizes: str | None) -> str | None:
        try:
            return sizes and str(InputSizes.parse(sizes))
        except UserError as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True)
class Pair:
    """A network on disk.

    Attributes:
        param: Path of the structure,
        weights: and of the weights.
        structure: The first, read.
        card: The network's; None for a stranger's files, as is
        precision: what it is to compute in.
        sizes: The input sizes that it takes; None: any.
        input: The tensor that takes the image,
        output: and the one that is made.
    """

    param: Path
    weights: Path
    structure: Param
    card: Card | None
    precision: str | None
    sizes: InputSizes | None
    input: str
    output: str


def weights_path(param: str | Path) -> Path:
    """``net.bin`` for ``net.param``."""
    return Path(param).with_suffix(".bin")


def description_path(param: str | Path) -> Path:
    """``net.param.json`` for ``net.param``."""
    return Path(f"{param}.json")


def read_pair(param: str | Path) -> Pair:
    """Read the structure, and see that the weights are there and belong to it.

    Raises:
        UserError: a file is missing or damaged, is not the one that is described, or the network
            has more than one image at an end.
    """
    path, weights = Path(param), weights_path(param)
    structure = read_param(path)
    if not weights.exists():
        raise UserError(
            f"'{path}' has no '{weights.name}' beside it, which holds its weights; bring that file "
            "along."
        )
    # Of 8 bits a weight has one byte, else two or four.
    if structure.weights > require_file(weights).st_size:
        raise UserError(
            f"'{weights}' is truncated: it has {weights.stat().st_size} bytes for "
            f"{structure.weights} weights; copy it again."
        )
    if (name := structure.misfit()) is not None:
        raise UserError(
            f"'{path}' is damaged: the weights of '{name}' are not for the channels that it reads; "
            "convert the network again."
        )
    told = _description(path, weights)
    inputs, outputs = structure.inputs, structure.outputs
    if told is not None:
        inputs, outputs = (told.input,), (told.output,)
        if (told.input not in structure.inputs) or (told.output not in structure.outputs):
            raise UserError(
                f"'{description_path(path)}' names tensors that '{path}' does not have."
            )
    if len(inputs) != 1 or len(outputs) != 1:
        raise UserError(
            f"'{path}' has {len(inputs)} inputs and {len(outputs)} outputs; a super-resolution "
            "network has one image of each."
        )
    card, precision = (None, None) if told is None else (told.card, told.precision)
    sizes = InputSizes.parse(told.sizes) if told is not None and told.sizes else None
    return Pair(path, weights, structure, card, precision, sizes, inputs[0], outputs[0])


def pair_digest(param: Path) -> str:
    """SHA-256 of structure and weights, as hexadecimal digits.

    Raises:
        UserError: a file is missing.
    """
    both = "".join(sha256(path) for path in (param, weights_path(param)) if require_file(path))
    return hashlib.sha256(both.encode()).hexdigest()


def card_of_pair(path: Path) -> Card | None:
    """In the file beside it."""
    return read_pair(path).card


def _description(param: Path, weights: Path) -> Description | None:
    path = description_path(param)
    if not path.exists():
        return None
    if require_file(path).st_size > _LARGEST:
        raise UserError(f"'{path}' is too large to describe a network; export it again.")
    try:
        told = Description.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise UserError(
            f"'{path}' does not describe an ncnn network; it is truncated, or by another version "
            "of srdeploy: export the network again."
        ) from error
    for file, digest in ((param, told.param_sha256), (weights, told.bin_sha256)):
        if sha256(file) != digest:
            raise UserError(
                f"'{file}' is not the file that '{path.name}' describes: it is truncated, or was "
                "replaced; copy all three again, or export the network again."
            )
    return told
