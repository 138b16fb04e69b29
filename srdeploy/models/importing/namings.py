"""Other projects' tensor names, turned into ours (which are EDSR-PyTorch's)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Naming:
    """One project's way of naming the tensors of an EDSR.

    Attributes:
        title: What a network named so is recognised as.
        has: Names that all must be present.
        lacks: Names that must not be.
        rules: Pattern and replacement of the part before ``.weight`` or ``.bias``, tried in order;
            ``{n}`` in a replacement is the number of residual blocks. A name that no pattern
            matches is kept.
        mean_outside: The published code subtracts the DIV2K mean without storing it.
    """

    title: str
    has: tuple[str, ...]
    lacks: tuple[str, ...]
    rules: tuple[tuple[str, str], ...]
    mean_outside: bool = False


NAMINGS: tuple[Naming, ...] = (
    Naming(
        "MLPerf Mobile EDSR",
        has=("head.weight", "bc.weight", "tail.weight"),
        lacks=(),
        rules=(
            (r"head", "head.0"),
            (r"body\.(\d+)\.([02])", r"body.\1.body.\2"),
            (r"bc", "body.{n}"),
            (r"tail", "tail.0"),
        ),
    ),
    Naming(
        "BasicSR EDSR",
        has=("conv_first.weight", "conv_after_body.weight", "conv_last.weight"),
        lacks=(),
        rules=(
            (r"conv_first", "head.0"),
            (r"body\.(\d+)\.conv1", r"body.\1.body.0"),
            (r"body\.(\d+)\.conv2", r"body.\1.body.2"),
            (r"conv_after_body", "body.{n}"),
            (r"upsample\.(\d+)", r"tail.0.\1"),
            (r"conv_last", "tail.1"),
        ),
        mean_outside=True,
    ),
    Naming(
        "EDSR with a nested lite tail",
        has=("head.0.weight", "tail.0.0.weight"),
        lacks=("tail.1.weight", "tail.1.bias", "tail.0.2.weight"),
        rules=((r"tail\.0\.0", "tail.0"),),
    ),
)


def find_naming(names: Mapping[str, object]) -> Naming | None:
    """The convention that the names follow, or None when they may be ours already."""
    for naming in NAMINGS:
        if all(n in names for n in naming.has) and not any(n in names for n in naming.lacks):
            return naming
    return None


def rename(tensors: Mapping[str, torch.Tensor], naming: Naming) -> dict[str, torch.Tensor]:
    """The tensors under our names, in the same order."""
    blocks = {m[1] for name in tensors if (m := re.match(r"body\.(\d+)\.", name))}
    n_blocks = max(map(int, blocks), default=-1) + 1
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        for pattern, replacement in naming.rules:
            if match := re.fullmatch(pattern, layer):
                layer = match.expand(replacement.replace("{n}", str(n_blocks)))
                break
        renamed[f"{layer}.{kind}"] = tensor
    return renamed


def split_channel_masks(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """SMSR's published channel masks, ``[1, C, layers, 2]`` per module, as two per layer.

    Ours are ``[1, C, 1, 1]``, one tensor for "dense" and one for "sparse", so that each layer can
    be pruned by itself. Tensors of another shape are left, to be refused with the others.
    """
    split: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if not name.endswith(".ch_mask") or tensor.dim() != 4 or tensor.shape[3] != 2:
            split[name] = tensor
            continue
        for layer in range(tensor.shape[2]):
            for kind, logits in zip(
                ("dense", "sparse"), tensor[:, :, layer].unbind(2), strict=True
            ):
                split[f"{name}.{layer}.{kind}"] = logits.clone()[:, :, None, None]
    return split
