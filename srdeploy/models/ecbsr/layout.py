"""How files of ECBSR are recognised and read, before and after folding."""

from __future__ import annotations

import re

import torch

from srdeploy.models.importing.layouts import (
    Dim,
    Importer,
    Layout,
    Tensors,
    has,
    image_channels,
    shuffle_scale,
)


def recognises(tensors: Tensors) -> bool:
    """The blocks have a convolution called 3x3, in a backbone or from head to tail."""
    return has(tensors, r"(backbone\.\d+|head\.0)\.conv3x3\.")


def number_blocks(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Head, body and tail of the authors' first version as blocks of one backbone."""
    if has(tensors, r"backbone\."):
        return dict(tensors)
    numbers = [int(m[1]) for name in tensors if (m := re.match(r"body\.(\d+)\.", name))]
    last = max(numbers, default=-1) + 2
    places = (("head", 0), ("body", 1), ("tail", last))

    def ours(name: str) -> str:
        for part, first in places:
            if match := re.fullmatch(rf"{part}\.(\d+)\.(.+)", name):
                return f"backbone.{first + int(match[1])}.{match[2]}"
        return name

    return {ours(name): tensor for name, tensor in tensors.items()}


def lay_out(layout: Layout) -> None:
    """Each block may have another width; the last one shows the scale."""
    n_blocks = max(layout.count(r"backbone\.(\d+)\.") - 2, 1)
    channels = image_channels(layout, layout.channels("backbone.0.conv3x3.weight", 1))
    scale = shuffle_scale(layout, f"backbone.{n_blocks + 1}.conv3x3.weight", channels)
    expanded = has(layout.tensors, r"backbone\.\d+\.conv1x1_")
    prelu = has(layout.tensors, r"backbone\.\d+\.act\.")
    layout.config |= {
        "n_blocks": n_blocks, "channels": channels, "scale": scale, "expanded": expanded,
        "prelu": prelu,
    }  # fmt: skip
    if expanded:
        between = layout.channels("backbone.0.conv1x1_3x3.k1", 1)
        layout.config["multiplier"] = between / max(
            layout.channels("backbone.0.conv3x3.weight", 0), 1
        )
    else:
        layout.config["identity"] = False  # folded into the weights, where there was one
    before: Dim = channels
    for i in range(n_blocks + 2):
        after: Dim = f"block{i}" if i <= n_blocks else channels * scale**2
        _block(layout, f"backbone.{i}", before, after)
        if prelu and i <= n_blocks:
            layout.shapes[f"backbone.{i}.act.weight"] = (after,)
        before = after


def _block(layout: Layout, name: str, n_in: Dim, n_out: Dim) -> None:
    layout.conv(f"{name}.conv3x3", n_out, n_in)
    if not layout.config["expanded"]:
        return
    between = f"between {name}"
    layout.shapes |= {
        f"{name}.conv1x1_3x3.k0": (between, n_in, 1, 1),
        f"{name}.conv1x1_3x3.b0": (between,),
        f"{name}.conv1x1_3x3.k1": (n_out, between, 3, 3),
        f"{name}.conv1x1_3x3.b1": (n_out,),
    }
    for edge in ("sbx", "sby", "lpl"):
        layout.shapes |= {
            f"{name}.conv1x1_{edge}.k0": (n_out, n_in, 1, 1),
            f"{name}.conv1x1_{edge}.b0": (n_out,),
            f"{name}.conv1x1_{edge}.scale": (n_out, 1, 1, 1),
            f"{name}.conv1x1_{edge}.bias": (n_out,),
            f"{name}.conv1x1_{edge}.mask": (n_out, 1, 3, 3),
        }


ECBSR = Importer(
    recognises,
    lay_out,
    prepare=number_blocks,
    widths={"n_feats": "block"},
    unseen={"identity": (False, True), "value_range": (255.0, 1.0)},
)
