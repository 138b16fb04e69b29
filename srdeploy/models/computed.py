"""Weights that code computes at every run, as a network's card knows them once they are computed.

See :mod:`srdeploy.models.baked` for what is made of this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Kind = Literal[
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "linear",
]  # fmt: skip
"""Functions of ``torch.nn.functional`` that take a weight and may be a layer."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


Name = Annotated[str, Field(max_length=500), AfterValidator(_printable)]
"""Of a part or a tensor."""

_Size = Annotated[int, Field(ge=0, le=1 << 20)]
_Sizes = Annotated[list[_Size], Field(max_length=5)]


class ComputedLayer(BaseModel):
    """A call of a function that takes a weight, as the layer that it becomes.

    Attributes:
        call: Which of the part's calls it is, of those with a weight that is no parameter.
        kind: The function.
        shape: Of the weight that the code computes.
        bias: Whether there is one.
        numbers: ``stride``, ``padding``, ``dilation`` and ``groups``, as far as the function has
            them; ``padding`` may be a word.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    call: Annotated[int, Field(ge=0, le=10_000)]
    kind: Kind
    shape: _Sizes
    bias: bool
    numbers: dict[Name, _Sizes | _Size | Literal["same", "valid"]] = {}


class ComputedPart(BaseModel):
    """A part of a network whose code computes weights.

    Attributes:
        whole: Whether the part does nothing else, so that the one layer stands in its place.
        layers: What its calls become.
        written: Parameters of it that its code writes at every run; they are what is written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    whole: bool = False
    layers: Annotated[list[ComputedLayer], Field(max_length=1000)] = []
    written: Annotated[list[Name], Field(max_length=1000)] = []


class Computed(BaseModel):
    """All such parts of a network.

    Attributes:
        parts: By name.
        idle: Parameters and buffers that nothing needs any more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: dict[Name, ComputedPart] = {}
    idle: Annotated[list[Name], Field(max_length=100_000)] = []

    def where(self, stays: Callable[[str], bool]) -> Computed:
        """The same of a network of which only the parts and tensors of some names are left."""
        parts = {name: part for name, part in self.parts.items() if stays(name)}
        return Computed(parts=parts, idle=[name for name in self.idle if stays(name)])
