"""Networks of the user's own: ``--arch package.module:callable`` and a state dict.

The callable takes no arguments and returns the module; in Python it can be given itself. What its
tensors cannot tell is read from optional attributes of the module, each with a default:

============== =====================================================================================
attribute      meaning; default
============== =====================================================================================
scale          factor of a pre-upscaled network; others are measured by a forward pass
channels       1 (luma) or 3 (RGB); whichever the forward pass accepts, 3 first
value_range    pixels run from 0 to this; of a trained network what a photograph shows
               (:mod:`srdeploy.models.value_range`), else 1.0
luma_only      only Y goes through the network; true when channels is 1
pre_upscaled   the input is the bicubic-upscaled image; true when the forward pass keeps the size
               although a scale above 1 was given
size_multiple  height and width must be multiples of this; measured by forward passes
receptive_field  width in input pixels of what can influence one output pixel (0: the whole image);
               measured, see :mod:`srdeploy.models.importing.receptive_field`
============== =====================================================================================
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from srdeploy.errors import UserError
from srdeploy.models.card import LARGEST_MULTIPLE, Card, first_problem
from srdeploy.models.find_computed import with_baked_weights
from srdeploy.models.importing.receptive_field import measure_receptive_field
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.importing.wrappers import networks_in
from srdeploy.models.network import Factory, Network
from srdeploy.models.plain_layers import plain_layers
from srdeploy.models.probes import CannotRunError, Size, run
from srdeploy.models.resize import layer_widths
from srdeploy.models.store import user_factory
from srdeploy.models.value_range import recognise_range

_BASES: tuple[Size, ...] = ((24, 40), (48, 80), (96, 160), (192, 320))
"""Heights and widths that are tried in turn: a network may have a smallest size."""

MULTIPLES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 64, 128)
"""What sides may have to be multiples of, as it is tried."""

_WRONG_CHANNELS = re.compile(r"expected .* channels?, but got \d+ channel")
_MAX_SCALE = 16


def load_user_network(
    found: StateDict, arch: str | Factory, source: str, scale: int | None = None
) -> tuple[Network, tuple[str, ...]]:
    """Build the user's module, load the tensors strictly, and describe it.

    Args:
        found: The file's tensors.
        arch: ``package.module:callable``, imported with the current folder on the path; or the
            callable.
        source: The file, for messages.
        scale: The factor, for a module that keeps its input's size (pre-upscaled).

    Returns:
        The network, and what the probing had to assume.

    Raises:
        UserError: the code cannot be imported or fails, the tensors do not fit it, or it maps no
            image to an image of a whole multiple of its size.
    """
    factory = user_factory(arch)
    module = factory().eval().float()
    spec = arch if isinstance(arch, str) else spec_of(module)
    _load_strictly(module, found, spec, source)
    plain_layers(module)
    card, assumed = describe_module(module, spec, scale)
    network = Network(module, card, None if isinstance(arch, str) else factory)
    return with_baked_weights(network), assumed


def spec_of(module: nn.Module) -> str:
    """What a card calls the architecture of a module that is there already."""
    return f"{type(module).__module__}:{type(module).__qualname__}"


def describe_module(
    module: nn.Module, spec: str, scale: int | None = None, value_range: float | None = None
) -> tuple[Card, tuple[str, ...]]:
    """The card of a module, from its attributes and from running it.

    Args:
        module: float32, on the CPU, in evaluation mode.
        spec: What to call it.
        scale: The factor, for a module that keeps its input's size (pre-upscaled).
        value_range: Pixels run from 0 to this; None: its attribute, or what a photograph shows.

    Returns:
        The card, and what had to be assumed.

    Raises:
        UserError: it maps no image to an image of a whole multiple of its size, or says of itself
            what cannot be.
    """
    assumed: list[str] = []
    if value_range is None:
        value_range = _attribute(module, "value_range", float, None)
    try:
        card = Card(arch=spec, widths=layer_widths(module), **_probe(module, spec, scale))
        if value_range is None:
            value_range = _shown_range(module, card)
            assumed.append(
                "pixel values run from 0 to 1 (no attribute value_range)"
                if value_range is None
                else f"pixel values run from 0 to {value_range:g} (fed so, it beats bicubic)"
            )
        if value_range is not None:
            card = Card.model_validate({**dict(card), "value_range": value_range})
    except ValidationError as error:
        raise UserError(
            f"What '{spec}' says of itself cannot be ({first_problem(error)}); mend the attribute."
        ) from error
    return card, tuple(assumed)


def _shown_range(module: nn.Module, card: Card) -> float | None:
    side = -(-64 // card.size_multiple) * card.size_multiple
    with suppress(CannotRunError):
        return recognise_range(
            lambda x: run(module, torch.from_numpy(x)).numpy(), card, (side, side)
        )
    return None


def _load_strictly(module: nn.Module, found: StateDict, spec: str, source: str) -> None:
    wanted = module.state_dict()
    best = max(networks_in(found.tensors), key=lambda tensors: len(wanted.keys() & tensors))
    for name, tensor in wanted.items():
        if name not in best:
            raise UserError(f"Tensor '{name}', which '{spec}' needs, is missing from '{source}'.")
        if tensor.shape != best[name].shape:
            raise UserError(
                f"Tensor '{name}' in '{source}' has shape {list(best[name].shape)}, but '{spec}' "
                f"makes {list(tensor.shape)}."
            )
    for name in best:
        if name not in wanted:
            raise UserError(f"Tensor '{name}' in '{source}' has no place in '{spec}'.")
    module.load_state_dict(best)


def _probe(module: nn.Module, spec: str, scale: int | None) -> dict[str, Any]:
    channels, multiple, ratio = _measure(module, spec)
    factor = ratio
    stated = scale if scale is not None else _attribute(module, "scale", int, None)
    pre_upscaled = _attribute(module, "pre_upscaled", bool, ratio == 1 and (stated or 1) > 1)
    if pre_upscaled:
        if ratio != 1 or stated is None:
            raise UserError(
                f"'{spec}' says that its input is already upscaled: then it must keep the size "
                "and state its factor (attribute `scale`, or --scale)."
            )
        factor = stated
    elif scale is not None and scale != ratio:
        raise UserError(f"'{spec}' upscales by {ratio}, not by {scale}.")
    field = _attribute(module, "receptive_field", int, None)
    if field is None:
        field = measure_receptive_field(module, channels, multiple)
    return {
        "scale": factor,
        "scales": (factor,),
        "channels": channels,
        "value_range": 1.0,
        "luma_only": _attribute(module, "luma_only", bool, channels == 1),
        "pre_upscaled": pre_upscaled,
        "size_multiple": multiple,
        "receptive_field": field,
    }


def _attribute(module: nn.Module, name: str, kind: type, default: Any) -> Any:
    value = getattr(module, name, default)
    if value is None or (isinstance(value, bool) and kind is not bool):
        return default
    if isinstance(value, int) and kind is float:
        return float(value)
    return value if isinstance(value, kind) else default


def _measure(module: nn.Module, spec: str) -> tuple[int, int, int]:
    """(channels, size multiple, output size over input size), by forward passes on noise."""
    stated = _attribute(module, "channels", int, None)
    stated_multiple = _attribute(module, "size_multiple", int, None)
    if stated_multiple is not None and not 1 <= stated_multiple <= LARGEST_MULTIPLE:
        raise UserError(
            f"'{spec}' says that sides must be multiples of {stated_multiple}; its attribute "
            f"size_multiple must be a number from 1 to {LARGEST_MULTIPLE}."
        )
    multiples = MULTIPLES if stated_multiple is None else (stated_multiple,)
    tries = [_Tries(module, channels) for channels in ((3, 1) if stated is None else (stated,))]
    for tried in tries:
        for base in _BASES:
            for multiple in multiples:
                if (ratio := tried.ratio(base, multiple)) is None:
                    continue
                # What was missing may have been pixels, not a multiple.
                size = odd_size(base, multiple)
                smaller = [m for m in multiples if m < multiple and tried.ratio(size, m)]
                return tried.channels, min([*smaller, multiple]), ratio
    raise UserError(f"'{spec}' {_why_not(module, tries)}.")


class _Tries:
    """Forward passes on noise of so many channels.

    Attributes:
        channels: Of the noise.
        shown: What was wrong with the first output, if there was any.
        failed: Why the first pass that gave none failed.
    """

    def __init__(self, module: nn.Module, channels: int) -> None:
        self.channels = channels
        self.shown: str | None = None
        self.failed: str | None = None
        self._module = module
        self._noise = torch.Generator().manual_seed(0)

    def ratio(self, base: Size, multiple: int) -> int | None:
        """Output size over input size, None where there is no such image."""
        height, width = odd_size(base, multiple)
        x = torch.rand(1, self.channels, height, width, generator=self._noise)
        try:
            y = run(self._module, x)
        except CannotRunError as error:
            reason = str(error).removeprefix("The network ").rstrip(".")
            self.failed = self.failed or reason
            return None
        if (ratio := _whole_ratio(y, self.channels, height, width)) is None:
            self.shown = self.shown or _why_no_image(y, x)
        return ratio


def odd_size(base: Size, multiple: int) -> Size:
    """Numbers of blocks that are odd and share no divisor, so that only ``multiple`` is tried."""
    tall, wide = (max(math.ceil(side / multiple), 2) | 1 for side in base)
    while math.gcd(tall, wide) > 1:
        wide += 2
    return tall * multiple, wide * multiple


def _whole_ratio(y: object, channels: int, height: int, width: int) -> int | None:
    if not isinstance(y, torch.Tensor) or y.dim() != 4 or y.shape[1] != channels:
        return None
    ratio = y.shape[2] // height
    if 1 <= ratio <= _MAX_SCALE and tuple(y.shape[2:]) == (height * ratio, width * ratio):
        return ratio
    return None


def _why_not(module: nn.Module, tries: list[_Tries]) -> str:
    """The first true reason: what came out, else what it takes, else its own words."""
    for tried in tries:
        if tried.shown is not None:
            return f"cannot be run on an image: {tried.shown}"
    for tried in tries:
        for shape in ((1, 3, tried.channels, 32, 32), (1, tried.channels, 3, 32, 32)):
            with suppress(CannotRunError):
                run(module, torch.rand(shape))
                return (
                    "cannot be run on an image: it takes 5-D input (several images at a time), "
                    "where an image is [N, C, H, W]; wrap it in a module that takes one"
                )
    reasons = [tried.failed for tried in tries if tried.failed]
    return next((r for r in reasons if not _WRONG_CHANNELS.search(r)), reasons[0])


def _why_no_image(y: object, x: torch.Tensor) -> str:
    if not isinstance(y, torch.Tensor):
        return (
            f"it returns a {type(y).__name__}; wrap it in a module that returns the one image "
            "to keep"
        )
    return (
        f"it makes {list(y.shape)} of {list(x.shape)}, which is no image of a whole multiple of "
        f"the input's size, up to {_MAX_SCALE}"
    )
