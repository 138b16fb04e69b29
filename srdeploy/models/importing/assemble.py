"""From named tensors to a network of ours, with its card and what had to be assumed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from srdeploy.errors import UserError
from srdeploy.models.architecture import Architecture
from srdeploy.models.importing.layouts import (
    Tensors,
    find_layout,
    find_naming,
    recognise,
    solve_widths,
)
from srdeploy.models.importing.namings import rename
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.importing.unseen import tell_unseen
from srdeploy.models.importing.wrappers import networks_in
from srdeploy.models.layers import DIV2K_MEAN, MeanShift
from srdeploy.models.network import Network
from srdeploy.models.registry import ARCHITECTURES, create, find_architecture
from srdeploy.models.resize import changed_shapes, layer_widths, resize, tensor_shapes
from srdeploy.models.value_range import VALUE_RANGES


@dataclass(frozen=True)
class Assembled:
    """A network, what the file was recognised as, and what its tensors could not tell.

    Attributes:
        network: With its card.
        recognised_as: The architecture, in words.
        assumed: What the tensors could not tell.
        facts: What is known beyond the card, for the history.
    """

    network: Network
    recognised_as: str
    assumed: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


def is_recognised(found: StateDict) -> bool:
    """Whether an architecture of the registry has such names."""
    return any(
        find_naming(tensors) is not None or recognise(tensors) is not None
        for tensors in networks_in(found.tensors)
    )


def assemble(
    found: StateDict,
    source: str,
    *,
    arch: str | None = None,
    scale: int | None = None,
    res_scale: float | None = None,
) -> Assembled:
    """Recognise the architecture of a foreign state dict and load it.

    Args:
        found: The file's tensors.
        source: The file, for messages.
        arch: An architecture or preset of the registry, instead of recognising one. A preset
            (``edsr-full``, ``ledsr-256``...) also states the base a pruned file came from.
        scale: Which factor a network of several (VDSR) shall serve; for others, must agree with
            the weights.
        res_scale: Residual scaling, which weights do not show.

    Raises:
        UserError: unknown or unsupported network, missing, unexpected or misshapen tensors.
    """
    assumed: list[str] = []
    asked, preset = _resolve(arch)
    named, title, mean_outside = _our_names(found)
    layout = find_layout(named, source, asked)
    row = ARCHITECTURES[layout.arch]
    options = row.options()
    widths = solve_widths(layout)
    assumed += layout.assumed
    tensors = dict(layout.tensors)
    if mean_outside:
        tensors |= _div2k_shift()
        layout.config["mean_shift"] = True
        assumed.append("the DIV2K mean is subtracted around the stored layers")
    config = {**layout.config, **_base_widths(widths, row, preset, source, assumed)}
    _agree(config, row, preset, source)
    unseen = dict(row.read_by().unseen)
    if "scale" not in unseen:
        _set_scale(config, scale, source)
    if "value_range" in options:
        _set_value_range(config, unseen, tensors, options["value_range"].default)
    if "res_scale" in options:
        stated = (res_scale, preset.get("res_scale"), found.res_scale)
        given = next((float(one) for one in stated if one is not None), None)
        config["res_scale"] = _res_scale(config, row, assumed) if given is None else given
    config |= {key: preset[key] for key in unseen if key in preset}
    if "scale" in unseen and scale is not None:
        config["scale"] = scale
    config |= tell_unseen(
        {key: values for key, values in unseen.items() if key not in config},
        lambda found: _load(layout.arch, config | found, tensors),
        source,
        assumed,
    )
    network = _load(layout.arch, config, tensors)
    return Assembled(network, title or row.title, tuple(assumed))


def _resolve(arch: str | None) -> tuple[str | None, Mapping[str, Any]]:
    """The architecture behind an ``--arch``, and the configuration that its preset fixes."""
    if arch is None:
        return None, {}
    row = find_architecture(arch)
    return row.name, row.presets.get(arch, {})


def _our_names(found: StateDict) -> tuple[dict[str, torch.Tensor], str | None, bool]:
    """Strip wrappers until the names are recognised; translate another project's."""
    stripped: dict[str, torch.Tensor] = {}
    for stripped in networks_in(found.tensors):
        naming = find_naming(stripped)
        if naming is not None:
            return rename(stripped, naming), naming.title, naming.mean_outside
        if recognise(stripped) is not None:
            break
    return stripped, None, False


def _div2k_shift() -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        for key, value in MeanShift(255.0, DIV2K_MEAN, sign).state_dict().items():
            tensors[f"{name}.{key}"] = value
    return tensors


def _base_widths(
    widths: dict[str, int],
    row: Architecture,
    preset: Mapping[str, Any],
    source: str,
    assumed: list[str],
) -> dict[str, int]:
    """Channels of the unpruned network: the preset's, else those of the widest layers left."""
    found = {}
    for option, pattern in row.read_by().widths.items():
        body = [n for name, n in widths.items() if re.match(pattern, name)]
        if not body:  # it has no layer of this kind
            continue
        found[option] = widest = max(body)
        if option in preset:
            found[option] = preset[option]
            if widest > preset[option]:
                raise UserError(
                    f"'{source}' has layers of {widest} channels, more than the {preset[option]} "
                    "of the architecture asked for."
                )
        elif min(body) < widest:
            assumed.append(f"pruned from {widest} channels, the widest layer left")
    return found


def _agree(
    config: dict[str, Any], row: Architecture, preset: Mapping[str, Any], source: str
) -> None:
    for key in sorted(row.layers):
        if key in preset and preset[key] != config[key]:
            raise UserError(
                f"'{source}' has {config[key]} {key[2:]}, not the {preset[key]} of the "
                "architecture asked for."
            )


def _set_scale(config: dict[str, Any], scale: int | None, source: str) -> None:
    if "scale" not in config:  # the weights serve any
        config["scale"] = 2 if scale is None else scale
    elif scale is not None and scale != config["scale"]:
        raise UserError(f"'{source}' upscales by {config['scale']}, not by {scale}.")


def _set_value_range(
    config: dict[str, Any], unseen: dict[str, tuple[Any, ...]], tensors: Tensors, usual: float
) -> None:
    """Pixel range, seen in the size of the stored mean (mean*255 or mean*1), or else unseen."""
    largest = float(tensors["sub_mean.bias"].abs().max()) if "sub_mean.bias" in tensors else 0.0
    if largest > 0:
        config["value_range"] = 1.0 if largest <= 1.0 else 255.0
    else:
        unseen.setdefault("value_range", (usual, *(one for one in VALUE_RANGES if one != usual)))


def _res_scale(config: dict[str, Any], row: Architecture, assumed: list[str]) -> float:
    """That of the published network of this size, else the usual one."""
    value = row.options()["res_scale"].default
    for preset in row.presets.values():
        size = {key: n for key, n in preset.items() if key != "res_scale"}
        if "res_scale" in preset and size.items() <= config.items():
            value = preset["res_scale"]
    assumed.append(f"res_scale {value}, as published for this size (weights do not show it)")
    return value


def _load(arch: str, config: dict[str, Any], tensors: Tensors) -> Network:
    with torch.device("meta"):
        base = create(arch, **config)
        network = base.copy()
    intact = tensor_shapes(base.module)
    resize(
        network.module,
        {name: list(t.shape) for name, t in tensors.items() if list(t.shape) != intact[name]},
    )
    network.module.load_state_dict(dict(tensors), assign=True)
    card = base.card.model_copy(
        update={
            "widths": layer_widths(network.module),
            "shapes": changed_shapes(base.module, network.module),
            "mean_shift": _stored_mean(tensors, config.get("value_range", 1.0)),
        }
    )
    return Network(network.module.eval(), card)


def _stored_mean(tensors: Tensors, value_range: float) -> tuple[float, ...] | None:
    if "sub_mean.bias" not in tensors:
        return None
    mean = tuple(round(-float(b) / value_range, 6) for b in tensors["sub_mean.bias"])
    published = all(abs(a - b) < 1e-4 for a, b in zip(mean, DIV2K_MEAN, strict=True))
    return DIV2K_MEAN if published else mean
