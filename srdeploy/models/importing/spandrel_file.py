"""Networks that the library spandrel recognises: our tensors, its modules, and a card of ours.

spandrel finds the architecture and its arguments in names and shapes. The module that it made is
built a second time from these arguments, as every later command will build it from the card, and
the two are compared on an image: what is saved is what was loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from srdeploy.errors import UserError, shown
from srdeploy.models.build_limit import BuildLimit
from srdeploy.models.card import LARGEST_MULTIPLE, SPANDREL, Card, first_problem
from srdeploy.models.find_computed import with_baked_weights
from srdeploy.models.importing.assemble import Assembled
from srdeploy.models.importing.receptive_field import measure_receptive_field
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.importing.user_module import odd_size
from srdeploy.models.importing.wrappers import networks_in
from srdeploy.models.network import Network
from srdeploy.models.plain_layers import plain_layers
from srdeploy.models.probes import run
from srdeploy.models.resize import layer_widths
from srdeploy.models.spandrel_library import base_module, config_of, library, spandrel_arch
from srdeploy.util.quiet import quiet

_PURPOSES = ("SR", "Restoration")
_TOLERANCE = 1e-4  # of values in 0..1
_LONGEST = 257
"""Pixels over which it is measured how far a network looks: transformers are slow, and look far."""


def load_spandrel(
    found: StateDict, source: str, wanted: str | None = None, scale: int | None = None
) -> Assembled | None:
    """Let spandrel recognise a state dict, and build its network.

    Args:
        found: The file's tensors.
        source: The file, for messages.
        wanted: The architecture as a card names it, or ``spandrel:`` and its identity; None: any.
        scale: Must be that of the weights, if it is given.

    Returns:
        None where spandrel knows no such network.

    Raises:
        UserError: spandrel cannot be imported, its architecture does not fit the tensors, or it
            makes no image of an image.
    """
    identity = None if wanted is None else wanted.removeprefix(SPANDREL).partition(".")[0]
    for tensors in networks_in(found.tensors):
        _check_numbers(tensors, source)
        for support in _supports(identity):
            if _detects(support, tensors):
                return _loaded(support.architecture, tensors, source, scale)
    return None


def _check_numbers(tensors: Mapping[str, Tensor], source: str) -> None:
    """The library counts layers by the largest number in the names."""
    largest = max((int(n) for name in tensors for n in re.findall(r"\d{1,9}", name)), default=0)
    if largest > max(len(tensors), 1000):
        raise UserError(
            f"A tensor in '{source}' is named after layer {largest}, but there are {len(tensors)} "
            "tensors; the file is damaged."
        )


def _supports(identity: str | None) -> Iterator[Any]:
    registry = library().MAIN_REGISTRY
    for support in registry.architectures("detection"):
        if identity in (None, support.architecture.id):
            yield support


def _detects(support: Any, tensors: Mapping[str, Tensor]) -> bool:
    try:
        return bool(support.detect(dict(tensors)))
    except Exception:  # names that it did not expect
        return False


def _loaded(
    architecture: Any, tensors: Mapping[str, Tensor], source: str, scale: int | None
) -> Assembled:
    try:
        with quiet(), BuildLimit(source):
            described = architecture.load(dict(tensors))  # it may take entries out
    except UserError:
        raise
    except Exception as error:  # whatever the library's code raises
        reason = shown(str(error).strip() or type(error).__name__)
        raise UserError(
            f"'{source}' looks like spandrel's {architecture.name}, but its tensors do not fit it "
            f"({reason}); pass --arch package.module:callable naming the code that builds it."
        ) from error
    _check_kind(described, source)
    if scale not in (None, described.scale):
        raise UserError(f"'{source}' upscales by {described.scale}, not by {scale}.")
    module = plain_layers(_built_again(described, source))
    _check_equal(described, module, source)
    try:
        card = _card(described, module)
    except ValidationError as error:  # layers without channels
        raise UserError(
            f"'{source}' is {architecture.name}, but no card can describe it "
            f"({first_problem(error)})."
        ) from error
    facts = {"tags": [str(tag) for tag in described.tags], "tiling": described.tiling.name.lower()}
    title = f"{architecture.name}, by spandrel {library().__version__}"
    return Assembled(with_baked_weights(Network(module, card)), title, facts=facts)


def _check_kind(described: Any, source: str) -> None:
    name, purpose = described.architecture.name, described.purpose
    channels = described.input_channels, described.output_channels
    if purpose not in _PURPOSES:
        raise UserError(
            f"'{source}' is {name}, a network for {purpose}, not for the super-resolution or "
            "restoration of whole images."
        )
    if channels not in ((1, 1), (3, 3)):
        raise UserError(
            f"'{source}' is {name} with {channels[0]} input and {channels[1]} output channels; "
            "srdeploy takes networks of 1 or 3 channels on both sides."
        )
    size = described.size_requirements
    if size.square or max(size.minimum, size.multiple_of) > LARGEST_MULTIPLE:
        raise UserError(
            f"'{source}' is {name}, which takes only square images or such of many pixels; "
            "srdeploy runs networks on images of any size."
        )


def _built_again(described: Any, source: str) -> nn.Module:
    """The module as the card will build it, with the tensors."""
    config = config_of(described.model)
    name = described.architecture.name
    if config is None:
        raise UserError(
            f"'{source}' is {name}, whose arguments spandrel does not keep, so that its file could "
            "not be opened again; pass --arch package.module:callable naming the code that builds "
            "it."
        )
    module = base_module(spandrel_arch(described.model, described.architecture.id), config)
    try:
        module.load_state_dict(described.model.state_dict())
    except RuntimeError as error:
        raise UserError(
            f"'{source}' is {name}, which spandrel does not build again from its own arguments."
        ) from error
    return module.eval()


def _check_equal(described: Any, module: nn.Module, source: str) -> None:
    """The bare module computes what spandrel's call does, which may do more around it."""
    size = described.size_requirements
    least = max(size.minimum, 16)
    height, width = odd_size((least, least + least // 2), size.multiple_of)
    x = torch.rand(
        1, described.input_channels, height, width, generator=torch.Generator().manual_seed(0)
    )
    try:
        wanted = described(x.clone())
    except Exception as error:  # whatever the library's code raises
        reason = shown(str(error).strip() or type(error).__name__)
        raise UserError(
            f"'{source}' does not run on an image of {width}x{height} pixels ({reason})."
        ) from error
    y = run(module, x)
    scale = described.scale
    whole = isinstance(y, Tensor) and tuple(y.shape[2:]) == (height * scale, width * scale)
    if not whole or not torch.allclose(y.clamp(0, 1), wanted, rtol=0, atol=_TOLERANCE):
        raise UserError(
            f"'{source}' is {described.architecture.name}, around which spandrel computes more "
            "than its module; srdeploy runs modules that map an image to an image."
        )


def _card(described: Any, module: nn.Module) -> Card:
    size, channels = described.size_requirements, described.input_channels
    smallest = math.ceil(max(size.minimum, 1) / size.multiple_of) * size.multiple_of
    config = config_of(module)
    assert config is not None
    return Card(
        arch=spandrel_arch(module, described.architecture.id),
        config=config,
        scale=described.scale,
        scales=(described.scale,),
        channels=channels,
        value_range=1.0,
        luma_only=channels == 1,
        widths=layer_widths(module),
        size_multiple=size.multiple_of,
        smallest=smallest,
        receptive_field=_receptive_field(described, module),
    )


def _receptive_field(described: Any, module: nn.Module) -> int:
    if described.tiling.name != "SUPPORTED":
        return 0
    multiple = described.size_requirements.multiple_of
    return measure_receptive_field(module, described.input_channels, multiple, _LONGEST)
