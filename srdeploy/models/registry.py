"""The table of architectures, and how a base network is made from a name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from srdeploy.errors import UserError, shown, unknown_name
from srdeploy.models.architecture import Architecture
from srdeploy.models.card import Card
from srdeploy.models.ecbsr import row as ecbsr
from srdeploy.models.edsr import row as edsr
from srdeploy.models.espcn import row as espcn
from srdeploy.models.fsrcnn import row as fsrcnn
from srdeploy.models.imdn import row as imdn
from srdeploy.models.plksr import row as plksr
from srdeploy.models.quicksrnet import row as quicksrnet
from srdeploy.models.rcan import row as rcan
from srdeploy.models.rfdn import row as rfdn
from srdeploy.models.rirsr import row as rirsr
from srdeploy.models.rlfn import row as rlfn
from srdeploy.models.rrdbnet import row as rrdbnet
from srdeploy.models.safmn import row as safmn
from srdeploy.models.sesr import row as sesr
from srdeploy.models.smsr import row as smsr
from srdeploy.models.span import row as span
from srdeploy.models.srresnet import row as srresnet
from srdeploy.models.srvggnet import row as srvggnet
from srdeploy.models.vdsr import row as vdsr
from srdeploy.util.plugins import Table

if TYPE_CHECKING:
    from torch import nn

    from srdeploy.models.network import Network

# torch stays inside the functions, so that an artifact is measured without it in memory.

MAX_SCALE = 16

ARCHITECTURES: Table[Architecture] = Table(
    "architectures",
    (
        vdsr.VDSR,
        edsr.EDSR,
        edsr.LEDSR,
        rirsr.RIRSR,
        rcan.RCAN,
        rrdbnet.RRDBNET,
        srvggnet.SRVGGNET,
        srresnet.SRRESNET,
        span.SPAN,
        imdn.IMDN,
        rfdn.RFDN,
        rlfn.RLFN,
        safmn.SAFMN,
        espcn.ESPCN,
        fsrcnn.FSRCNN,
        sesr.SESR,
        quicksrnet.QUICKSRNET,
        ecbsr.ECBSR,
        plksr.PLKSR,
        plksr.REALPLKSR,
        smsr.SMSR,
    ),
)
"""By name; a file is the first row's that recognises it."""

OTHER = Architecture("other", "another network", source="", importer="")
"""What networks without a row have: nothing special."""


def architecture_names() -> list[str]:
    """Every name :func:`create` takes: architectures, then presets."""
    presets = [name for row in ARCHITECTURES.values() for name in row.presets]
    return [*ARCHITECTURES, *presets]


def find_architecture(name: str) -> Architecture:
    """The row with a name or a preset of :func:`architecture_names`.

    Raises:
        UserError: there is none.
    """
    for row in ARCHITECTURES.values():
        if name == row.name or name in row.presets:
            return row
    raise unknown_name("architecture", name, architecture_names(), ARCHITECTURES)


def architecture_of(card: Card) -> Architecture:
    """The row that a card names, or :data:`OTHER`."""
    return ARCHITECTURES.get(card.arch, OTHER)


def architecture_of_module(module: nn.Module) -> Architecture:
    """The row whose class a module is of, whatever its card calls it, or :data:`OTHER`.

    A form that a row's ``inference`` made is of no row: nothing is left to be done to it.
    """
    sources = {row.source: row for row in ARCHITECTURES.values()}
    kinds = (f"{kind.__module__}:{kind.__qualname__}" for kind in type(module).__mro__)
    return next((sources[kind] for kind in kinds if kind in sources), OTHER)


def create(arch: str, **config: Any) -> Network:
    """A base (unpruned, randomly initialised) network.

    Args:
        arch: A name from :func:`architecture_names`.
        config: Keyword arguments of the architecture's constructor; they override a preset's.

    Raises:
        UserError: unknown architecture or unknown option.
    """
    row = find_architecture(arch)
    config = checked_config(row, {**row.presets.get(arch, {}), **config})
    return describe(row.factory()(**config), row.name, config)


def checked_config(row: Architecture, config: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of an architecture's constructor: those given, checked, and the defaults.

    Raises:
        UserError: an option it does not have, or a value of another kind or beyond any network.
    """
    parameters = row.options()
    for key, value in config.items():
        if key not in parameters:
            raise unknown_name(f"option of {row.name}", shown(key), parameters)
        if not _fits(value, parameters[key].annotation):
            kind = _KINDS[parameters[key].annotation]
            raise UserError(f"{key} of {row.name} is {kind}, not {shown(repr(value), 40)}.")
    found = {**{key: p.default for key, p in parameters.items()}, **config}
    scale = found["scale"]
    if row.scales is None and scale > MAX_SCALE:
        raise UserError(f"{row.title} has no scale {scale}; choose 2 to {MAX_SCALE}.")
    if row.scales is not None and scale not in row.scales:
        *others, last = map(str, row.scales)
        choices = f"{', '.join(others)} or {last}" if others else last
        raise UserError(f"{row.title} has no x{scale} upsampler; choose scale {choices}.")
    return found


_MOST = 1 << 16
_KINDS: dict[type, str] = {
    bool: "true or false",
    int: f"a whole number from 1 to {_MOST}",
    float: f"a number of at most {_MOST}",
}


def _fits(value: object, kind: type) -> bool:
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= _MOST  # type: ignore[arg-type]
    return type(value) is kind and (kind is not int or 1 <= value <= _MOST)  # type: ignore[operator]


def describe(module: nn.Module, arch: str, config: dict[str, Any]) -> Network:
    """Wrap a module that offers ``facts()`` into a network with its card."""
    from srdeploy.models.network import Network
    from srdeploy.models.resize import layer_widths

    module.eval()
    facts: dict[str, Any] = module.facts()  # type: ignore[operator]
    return Network(module, Card(arch=arch, config=config, widths=layer_widths(module), **facts))


def base_module(card: Card) -> nn.Module:
    """The unpruned module of a card of ours, on the meta device (no memory, no random numbers).

    Raises:
        UserError: an unknown architecture, or a configuration that no network of it has: among
            others one of more layers than the card has widths, which would be built for ever.
    """
    row = ARCHITECTURES.get(card.arch)
    if row is None:
        raise unknown_name("architecture", shown(card.arch), ARCHITECTURES)
    config = checked_config(row, card.config)
    layers = len(card.widths) + sum(len(part.layers) for part in card.removed.values())
    if math.prod(config[key] for key in row.layers) > layers:
        raise UserError(
            f"The network card says {', '.join(f'{key} {config[key]}' for key in row.layers)}, but "
            f"widths of {layers} layers; the file is damaged, take another copy."
        )
    import torch

    with torch.device("meta"):
        return row.factory()(**config).eval()
