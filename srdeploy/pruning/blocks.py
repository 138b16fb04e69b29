"""How many channels a target computes at a time: the widths worth pruning to.

A runtime that works in blocks of 16 channels does the arithmetic of 48 for a layer of 45. Each row
below says where its number comes from; a target without a number that can be stood for has none,
and says so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from srdeploy.errors import UserError, unknown_name
from srdeploy.runtime.cpu import cpu_features

HERE = "onnxruntime"
"""What ``--round-to auto`` means unless told otherwise: this machine's CPU."""


@dataclass(frozen=True)
class Block:
    """A target's block of channels.

    Attributes:
        target: What ``--for`` calls it.
        channels: Channels computed at a time.
        why: Where the number comes from.
        needs: CPU features (as Linux names them) the row is for, any one of them; empty for all.
    """

    target: str
    channels: int
    why: str
    needs: tuple[str, ...] = ()


# Of the rows of one target, the first whose features are there counts.
BLOCKS: tuple[Block, ...] = (
    Block(
        HERE,
        16,
        "onnxruntime lays fp32 tensors out in blocks of 16 channels on AVX-512 and pads widths to "
        "them (measured: 45 channels are no faster than 48)",
        needs=("avx512f",),
    ),
    Block(
        HERE,
        4,
        "onnxruntime's fp32 matrix product on ARM takes 4 output channels at a time",
        needs=("asimd",),
    ),
    Block(
        HERE,
        8,
        "onnxruntime lays fp32 tensors out in blocks of 8 channels on x86-64 without AVX-512 and "
        "pads widths to them",
    ),
    Block("trt", 8, "fp16 tensor cores take multiples of 8 channels"),
    Block("trt-rtx", 8, "fp16 tensor cores take multiples of 8 channels"),
    Block("trt-int8", 32, "TensorRT's int8 layout for tensor cores packs 32 channels"),
    Block("trt-rtx-int8", 32, "TensorRT's int8 layout for tensor cores packs 32 channels"),
)

UNKNOWN: dict[str, str] = {
    "coreml": "Apple publishes no block of the Neural Engine, and it can only be timed on a device",
    "litert": "its kernels differ from one ARM core to the next",
}
"""Targets without a number, and why."""


def targets() -> list[str]:
    """Every name ``--for`` knows."""
    return [*dict.fromkeys(row.target for row in BLOCKS), *UNKNOWN]


def find_block(target: str = HERE, features: Collection[str] | None = None) -> Block:
    """The block of a target.

    Args:
        target: A name from :func:`targets`.
        features: Of the CPU it will run on, as :func:`srdeploy.runtime.cpu.cpu_features` names
            them; None: this machine's.

    Raises:
        UserError: an unknown target, or one for which no number can be stood for.
    """
    present = set(cpu_features() if features is None else features)
    for row in BLOCKS:
        if row.target == target and (not row.needs or present & set(row.needs)):
            return row
    if target in UNKNOWN:
        raise UserError(
            f"No block of channels is known for {target}: {UNKNOWN[target]}; give --round-to a "
            "number (8 suits most hardware), and time two widths on the device."
        )
    raise unknown_name("target of --for", target, targets())
