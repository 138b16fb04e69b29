"""The ordered list of architectures, and how a base network is made from a name."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from srdeploy.errors import UserError, unknown_name
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.resize import layer_widths


@dataclass(frozen=True)
class Architecture:
    """One row of the registry.

    Attributes:
        name: What ``--arch`` and the card call it.
        title: One line for lists.
        source: ``module:class``, imported when first needed.
        leave_alone: Layer patterns whose outputs the published runs never prune (they only lose
            inputs): the default of ``srdeploy prune --exclude``.
        presets: Published configurations by name.
    """

    name: str
    title: str
    source: str
    leave_alone: tuple[str, ...] = ()
    presets: dict[str, dict[str, Any]] = field(default_factory=dict)

    def factory(self) -> type[nn.Module]:
        """The module class."""
        module, name = self.source.split(":")
        return getattr(importlib.import_module(module), name)


ARCHITECTURES: dict[str, Architecture] = {
    row.name: row
    for row in (
        Architecture("vdsr", "VDSR, CVPR 2016", "srdeploy.models.vdsr:VDSR"),
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
            presets={"rirsr-96": {"n_groups": 10, "n_blocks": 20, "n_feats": 96}},
        ),
        Architecture(
            "smsr", "SMSR, CVPR 2021", "srdeploy.models.smsr:SMSR", leave_alone=("tail.*",)
        ),
    )
}


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
    factory = row.factory()
    signature = inspect.signature(factory)
    for key in config:
        if key not in signature.parameters:
            raise unknown_name(f"option of {row.name}", key, signature.parameters)
    scale = config.get("scale", 2)
    if row.name != "vdsr" and scale not in (2, 3, 4, 8):
        raise UserError(f"{row.title} has no x{scale} upsampler; choose scale 2, 3, 4 or 8.")
    defaults = {k: p.default for k, p in signature.parameters.items()}
    config = {**defaults, **config}
    return describe(factory(**config), row.name, config)


def describe(module: nn.Module, arch: str, config: dict[str, Any]) -> Network:
    """Wrap a module that offers ``facts()`` into a network with its card."""
    module.eval()
    facts: dict[str, Any] = module.facts()  # type: ignore[operator]
    return Network(module, Card(arch=arch, config=config, widths=layer_widths(module), **facts))


def base_module(card: Card) -> nn.Module:
    """The unpruned module of a card of ours, on the meta device (no memory, no random numbers)."""
    row = ARCHITECTURES.get(card.arch)
    if row is None:
        raise unknown_name("architecture", card.arch, ARCHITECTURES)
    with torch.device("meta"):
        return row.factory()(**card.config).eval()
