"""Other projects' tensor names, turned into ours (which are EDSR-PyTorch's)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Naming:
    """One project's way of naming the tensors of an architecture.

    Attributes:
        title: What a network named so is recognised as.
        has: Names that all must be present.
        lacks: Names that must not be.
        rules: Pattern and replacement of the part before ``.weight`` or ``.bias``, tried in order;
            ``{n}`` in a replacement is the number of parts of the body, ``{m}`` the largest number
            of parts that one of those has. A name that no pattern matches is kept.
        mean_outside: The published code subtracts the DIV2K mean without storing it.
    """

    title: str
    has: tuple[str, ...]
    lacks: tuple[str, ...]
    rules: tuple[tuple[str, str], ...]
    mean_outside: bool = False

    def fits(self, names: Mapping[str, object]) -> bool:
        """Whether the names follow it."""
        return all(n in names for n in self.has) and not any(n in names for n in self.lacks)


def rename(tensors: Mapping[str, torch.Tensor], naming: Naming) -> dict[str, torch.Tensor]:
    """The tensors under our names, in the same order."""
    counts = {
        "{n}": _count(tensors, r"body\.(\d+)\."),
        "{m}": _count(tensors, r"body\.\d+\.\w+\.(\d+)\."),
    }
    renamed: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        for pattern, replacement in naming.rules:
            if match := re.fullmatch(pattern, layer):
                for placeholder, count in counts.items():
                    replacement = replacement.replace(placeholder, str(count))
                layer = match.expand(replacement)
                break
        renamed[f"{layer}.{kind}" if layer else kind] = tensor
    return renamed


def _count(names: Mapping[str, object], pattern: str) -> int:
    """One more than the largest index that a pattern's group finds."""
    return max((int(m[1]) for name in names if (m := re.match(pattern, name))), default=-1) + 1
