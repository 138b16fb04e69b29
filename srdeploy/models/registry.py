"""The ordered list of architectures, and how a base network is made from a name."""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from srdeploy.errors import UserError, shown, unknown_name
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.resize import layer_widths
from srdeploy.plugins import Table

MAX_SCALE = 16


@dataclass(frozen=True)
class Architecture:
    """One row of the registry.

    Attributes:
        name: What ``--arch`` and the card call it.
        title: One line for lists.
        source: ``module:class``, imported when first needed.
        leave_alone: Layer patterns whose outputs the published runs never prune (they only lose
            inputs): the default of ``srdeploy prune --exclude``.
        layers: Options that count layers: their product is at most the number of convolutions.
        presets: Published configurations by name.
    """

    name: str
    title: str
    source: str
    leave_alone: tuple[str, ...] = ()
    layers: tuple[str, ...] = ("n_blocks",)
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)

    def factory(self) -> type[nn.Module]:
        """The module class."""
        module, name = self.source.split(":")
        return getattr(importlib.import_module(module), name)


ARCHITECTURES: Table[Architecture] = Table(
    "architectures",
    (
        Architecture("vdsr", "VDSR, CVPR 2016", "srdeploy.models.vdsr:VDSR", layers=("n_layers",)),
        Architecture(
            "edsr",
            "EDSR, CVPRW 2017",
            "srdeploy.models.edsr:EDSR",
            leave_alone=("tail.*",),
            presets={
                "edsr-baseline": {"n_blocks": 16, "n_feats": 64, "res_scale": 1.0},
                "edsr-full": {"n_blocks": 32, "n_feats": 256, "res_scale": 0.1},
            },
        ),
        Architecture(
            "ledsr",
            "EDSR with the lite tail (SRPN-Lite, ASSLN, MLPerf Mobile)",
            "srdeploy.models.edsr:LEDSR",
            leave_alone=("tail.*",),
            presets={"ledsr-256": {"n_blocks": 16, "n_feats": 256}},
        ),
        Architecture(
            "rirsr",
            "RCAN without channel attention (SRPN)",
            "srdeploy.models.rirsr:RIRSR",
            leave_alone=("tail.*",),
            layers=("n_groups", "n_blocks"),
            presets={"rirsr-96": {"n_groups": 10, "n_blocks": 20, "n_feats": 96}},
        ),
        Architecture(
            "smsr",
            "SMSR, CVPR 2021",
            "srdeploy.models.smsr:SMSR",
            leave_alone=("tail.*",),
            layers=("n_modules", "n_layers"),
        ),
    ),
)


def architecture_names() -> list[str]:
    """Every name :func:`create` takes: architectures, then presets."""
    presets = [name for row in ARCHITECTURES.values() for name in row.presets]
    return [*ARCHITECTURES, *presets]


def create(arch: str, **config: Any) -> Network:
    """A base (unpruned, randomly initialised) network.

    Args:
        arch: A name from :func:`architecture_names`.
        config: Keyword arguments of the architecture's constructor; they override a preset's.

    Raises:
        UserError: unknown architecture or unknown option.
    """
    for row in ARCHITECTURES.values():
        if arch == row.name or arch in row.presets:
            config = {**row.presets.get(arch, {}), **config}
            break
    else:
        raise unknown_name("architecture", arch, architecture_names())
    config = checked_config(row, config)
    return describe(row.factory()(**config), row.name, config)


def checked_config(row: Architecture, config: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of an architecture's constructor: those given, checked, and the defaults.

    Raises:
        UserError: an option it does not have, or a value of another kind or beyond any network.
    """
    parameters = inspect.signature(row.factory(), eval_str=True).parameters
    for key, value in config.items():
        if key not in parameters:
            raise unknown_name(f"option of {row.name}", shown(key), parameters)
        if not _fits(value, parameters[key].annotation):
            kind = _KINDS[parameters[key].annotation]
            raise UserError(f"{key} of {row.name} is {kind}, not {shown(repr(value), 40)}.")
    scale = config.get("scale", 2)
    if row.name == "vdsr" and scale > MAX_SCALE:
        raise UserError(f"{row.title} has no scale {scale}; choose 2 to {MAX_SCALE}.")
    if row.name != "vdsr" and scale not in (2, 3, 4, 8):
        raise UserError(f"{row.title} has no x{scale} upsampler; choose scale 2, 3, 4 or 8.")
    return {**{key: p.default for key, p in parameters.items()}, **config}


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
    if math.prod(config[key] for key in row.layers) > len(card.widths):
        raise UserError(
            f"The network card says {', '.join(f'{key} {config[key]}' for key in row.layers)}, but "
            f"widths of {len(card.widths)} layers; the file is damaged, take another copy."
        )
    with torch.device("meta"):
        return row.factory()(**config).eval()
