"""From named tensors to a network of ours, with its card and what had to be assumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from srdeploy.errors import UserError, unknown_name
from srdeploy.models.importing.layouts import (
    LAYOUTS,
    Layout,
    Tensors,
    find_layout,
    recognise,
    solve_widths,
)
from srdeploy.models.importing.namings import find_naming, rename, split_channel_masks
from srdeploy.models.importing.state_dict import StateDict, strip_wrappers
from srdeploy.models.layers import DIV2K_MEAN, MeanShift
from srdeploy.models.network import Network
from srdeploy.models.registry import ARCHITECTURES, architecture_names, create
from srdeploy.models.resize import changed_shapes, layer_widths, resize, tensor_shapes


@dataclass(frozen=True)
class Assembled:
    """A network, what the file was recognised as, and what its tensors could not tell."""

    network: Network
    recognised_as: str
    assumed: tuple[str, ...]


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
        scale: Which factor a VDSR shall serve; for others, must agree with the weights.
        res_scale: Residual scaling, which weights do not show.

    Raises:
        UserError: unknown or unsupported network, missing, unexpected or misshapen tensors.
    """
    assumed: list[str] = []
    arch, preset = _resolve(arch)
    tensors, title, mean_outside = _our_names(found)
    layout = find_layout(tensors, source, arch)
    widths = solve_widths(layout, tensors, source)
    if mean_outside:
        tensors = {**tensors, **_div2k_shift()}
        layout.config["mean_shift"] = True
        assumed.append("the DIV2K mean is subtracted around the stored layers")
    config = {**layout.config, "n_feats": _base_width(widths, preset, source, assumed)}
    _agree(config, preset, source)
    _set_scale(config, layout.arch, scale, source)
    if layout.arch != "vdsr":
        config["value_range"] = _value_range(tensors, assumed)
    if layout.arch in ("edsr", "ledsr", "rirsr"):
        config["res_scale"] = _res_scale(config, layout, preset, found, res_scale, assumed)
    network = _load(layout.arch, config, tensors)
    return Assembled(network, title or ARCHITECTURES[layout.arch].title, tuple(assumed))


def _resolve(arch: str | None) -> tuple[str | None, dict[str, Any]]:
    """The registry row behind an ``--arch``, and the configuration its preset fixes."""
    if arch is None:
        return None, {}
    for row in ARCHITECTURES.values():
        if arch == row.name or arch in row.presets:
            if row.name not in LAYOUTS:
                raise UserError(f"{row.title} cannot be imported from foreign files.")
            return row.name, row.presets.get(arch, {})
    raise unknown_name("architecture", arch, architecture_names())


def _our_names(found: StateDict) -> tuple[dict[str, torch.Tensor], str | None, bool]:
    """Strip wrappers until the names are recognised; translate another project's."""
    stripped: dict[str, torch.Tensor] = {}
    for stripped in strip_wrappers(found.tensors):
        naming = find_naming(stripped)
        if naming is not None:
            return rename(stripped, naming), naming.title, naming.mean_outside
        if recognise(stripped) is not None:
            break
    return split_channel_masks(stripped), None, False


def _div2k_shift() -> dict[str, torch.Tensor]:
    tensors: dict[str, torch.Tensor] = {}
    for name, sign in (("sub_mean", -1), ("add_mean", 1)):
        for key, value in MeanShift(255.0, DIV2K_MEAN, sign).state_dict().items():
            tensors[f"{name}.{key}"] = value
    return tensors


def _base_width(
    widths: dict[str, int], preset: dict[str, Any], source: str, assumed: list[str]
) -> int:
    """Channels of the unpruned network: the preset's, else the widest layer that is left."""
    # The mask branches and the attention of SMSR are narrow by design.
    body = [n for name, n in widths.items() if not name.startswith(("mask", "half", "narrow"))]
    widest = max(body)
    if "n_feats" in preset:
        if widest > preset["n_feats"]:
            raise UserError(
                f"'{source}' has layers of {widest} channels, more than the "
                f"{preset['n_feats']} of the architecture asked for."
            )
        return preset["n_feats"]
    if min(body) < widest:
        assumed.append(f"pruned from {widest} channels, the widest layer left")
    return widest


def _agree(config: dict[str, Any], preset: dict[str, Any], source: str) -> None:
    for key in ("n_blocks", "n_groups"):
        if key in preset and preset[key] != config[key]:
            raise UserError(
                f"'{source}' has {config[key]} {key[2:]}, not the {preset[key]} of the "
                "architecture asked for."
            )


def _set_scale(config: dict[str, Any], arch: str, scale: int | None, source: str) -> None:
    if arch == "vdsr":
        config["scale"] = 2 if scale is None else scale
    elif scale is not None and scale != config["scale"]:
        raise UserError(f"'{source}' upscales by {config['scale']}, not by {scale}.")


def _value_range(tensors: Tensors, assumed: list[str]) -> float:
    """Pixel range, seen in the size of the stored mean: mean*255 or mean*1."""
    largest = float(tensors["sub_mean.bias"].abs().max()) if "sub_mean.bias" in tensors else 0.0
    if largest == 0.0:
        assumed.append("pixel values run from 0 to 255")
    return 1.0 if 0.0 < largest <= 1.0 else 255.0


def _res_scale(
    config: dict[str, Any],
    layout: Layout,
    preset: dict[str, Any],
    found: StateDict,
    given: float | None,
    assumed: list[str],
) -> float:
    for stated in (given, preset.get("res_scale"), found.res_scale):
        if stated is not None:
            return float(stated)
    full = layout.arch == "edsr" and config["n_blocks"] == 32 and config["n_feats"] == 256
    value = 0.1 if full else 1.0
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
