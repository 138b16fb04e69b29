"""The card that travels with a network: what it is, what it eats, how it was made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from srdeploy.errors import UserError, shown
from srdeploy.models.computed import Computed
from srdeploy.models.quantised import Quantised

CARD_KEY = "srdeploy.card"
"""Metadata key of the card in safetensors headers, ONNX files and CoreML packages."""

SPANDREL = "spandrel:"
"""How architectures begin that the library spandrel builds (`spandrel:DAT`)."""

MAX_TEXT = 4 << 20
"""Characters of a card; one of 1,000 pruned layers has some 100,000."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("not printable")
    return text


def _named(entry: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(entry.get("step", ""), str):
        raise ValueError("a step has a name")
    return entry


_Entry = Annotated[dict[str, Any], AfterValidator(_named)]
_Name = Annotated[str, Field(max_length=500), AfterValidator(_printable)]
_Count = Annotated[int, Field(ge=1, le=1 << 20)]
_Factor = Annotated[int, Field(ge=1, le=16)]


LARGEST_MULTIPLE = 256
"""Largest size multiple that a network may want."""


class RemovedPart(BaseModel):
    """A part of a network that is gone (:mod:`srdeploy.models.removed_parts`).

    Attributes:
        layers: Names of the convolutions and linear layers that were in it.
        adds_nothing: What it made was added to something, and nothing is; otherwise it passes its
            input on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: list[_Name]
    adds_nothing: bool = False


class Card(BaseModel):
    """Everything about a network that cannot be read off its tensors.

    Attributes:
        format: Version of this description.
        arch: Name in the registry, ``package.module:callable`` for a network of the user's own, or
            ``spandrel:NAME`` for one of the library's.
        config: Keyword arguments of the architecture's constructor (the *base*, unpruned network).
        scale: Upscaling factor from the LR image to the output.
        scales: All factors the weights serve (VDSR serves several with one network).
        channels: Input and output channels: 1 (luma), 3 (RGB) or 4 (RGB and opacity).
        value_range: Pixel values run from 0 to this number: 1.0 or 255.0.
        luma_only: The network sees Y alone; colour is upscaled bicubically around it.
        pre_upscaled: The input is the bicubic-upscaled image, as large as the output.
        mean_shift: RGB mean (0..1) subtracted inside the network, or None.
        widths: Output channels of every convolution and linear layer.
        shapes: Shape of each tensor that differs from the base network: with ``arch`` and
            ``config`` this rebuilds a pruned network.
        numbers: Of parts of the network whose code cuts channels at positions that are attributes:
            the values of those that differ from the base network; and numbers in its code
            (:mod:`srdeploy.models.code_numbers`).
        removed: Parts that are gone entirely, by name. Where its architecture has fewer of them
            instead, nothing is said here.
        computed: Weights that the network's code computes at every run, which are plain layers
            here; None where there are none.
        size_multiple: Input height and width must be multiples of this.
        smallest: Input height and width must be at least this.
        receptive_field: Width in input pixels of the square that can influence one output pixel;
            0 when the whole image does (global pooling).
        proof: Record of the equality check made when channels were removed.
        dense_sha256: Digest of the weights of the network that was pruned, before the first time.
        quantised: Layers and ranges that fine-tuning for 8 bits found, of these very weights.
        history: One entry per step from the weights to this network.
        quality: Measured figures by data set and protocol.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    arch: _Name
    config: dict[_Name, Any] = Field(default_factory=dict)
    scale: _Factor
    scales: tuple[_Factor, ...] = Field(max_length=16)
    channels: int = Field(ge=1, le=4)
    value_range: float = Field(gt=0, le=1 << 20)
    luma_only: bool = False
    pre_upscaled: bool = False
    mean_shift: tuple[float, ...] | None = Field(default=None, max_length=4)
    widths: dict[_Name, _Count] = Field(default_factory=dict)
    shapes: dict[_Name, list[_Count]] = Field(default_factory=dict)
    numbers: dict[_Name, dict[_Name, _Count]] = Field(default_factory=dict)
    removed: dict[_Name, RemovedPart] = Field(default_factory=dict)
    computed: Computed | None = None
    size_multiple: int = Field(default=1, ge=1, le=LARGEST_MULTIPLE)
    smallest: int = Field(default=1, ge=1, le=LARGEST_MULTIPLE)
    receptive_field: int = Field(default=0, ge=0, le=1 << 20)
    proof: dict[str, Any] | None = None
    dense_sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")
    quantised: Quantised | None = None
    history: list[_Entry] = Field(default_factory=list)
    quality: dict[str, Any] = Field(default_factory=dict)

    @property
    def pruned(self) -> bool:
        """Whether any tensor is smaller than in the base network, or gone."""
        return bool(self.shapes or self.removed)

    @property
    def own_code(self) -> bool:
        """Whether only code of the user's own builds it: opening its file must allow that."""
        return ":" in self.arch and not self.arch.startswith(SPANDREL)

    @property
    def network_scale(self) -> int:
        """Output size over *network input* size: 1 for a pre-upscaled network."""
        return 1 if self.pre_upscaled else self.scale

    @model_serializer(mode="wrap")
    def _written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without later fields where they say nothing: so it was before there were these."""
        values: dict[str, Any] = handler(self)
        later: dict[str, Any] = {
            "smallest": 1,
            "dense_sha256": None,
            "removed": {},
            "computed": None,
        }
        for name, nothing in later.items():
            if values.get(name) == nothing:
                values.pop(name, None)
        return values

    def step(self, **fields: Any) -> Card:
        """A card with one more history entry, for instance ``step="finetune", iterations=1000``."""
        return self.model_copy(update={"history": [*self.history, fields]})

    def to_json(self) -> str:
        """JSON text, stable for equal cards."""
        return self.model_dump_json()

    def __str__(self) -> str:
        """One line: ``ledsr x2, 3 channels, values 0..255, pruned``."""
        colour = "luma" if self.luma_only else f"{self.channels} channels"
        pruned = ", pruned" if self.pruned else ""
        return f"{self.arch} x{self.scale}, {colour}, values 0..{self.value_range:g}{pruned}"

    def __repr__(self) -> str:
        """One line."""
        return f"Card({self})"

    @classmethod
    def from_json(cls, text: str, source: str = "the file") -> Card:
        """Parse a card.

        Raises:
            UserError: the text is no card of this version; ``source`` names it in the sentence.
        """
        if len(text) > MAX_TEXT:
            raise _invalid(source, f"it is longer than {MAX_TEXT >> 20} MB")
        try:
            card = cls.model_validate_json(text, strict=True)
        except ValidationError as error:
            raise _invalid(source, first_problem(error)) from error
        except ValueError as error:  # text that no encoding has
            raise _invalid(source, shown(error)) from error
        if card.scale not in card.scales:
            raise _invalid(source, "scale: it is none of the scales")
        if card.luma_only and card.channels != 1:
            raise _invalid(source, "luma_only: the network has more than one channel")
        return card


def first_problem(error: ValidationError) -> str:
    """The first field that does not fit, and why."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"]) or "card"
    return f"{shown(where)}: {shown(first['msg'])}"


def _invalid(source: str, reason: str) -> UserError:
    return UserError(
        f"The network card in {source} is not valid ({reason}); "
        "was it written by another version of srdeploy?"
    )
