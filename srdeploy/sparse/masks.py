"""What SMSR computes on one image: its spatial masks, and the share of the work they leave."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.models.count import macs
from srdeploy.models.network import Network
from srdeploy.models.smsr.dense import DenseMasks, DenseModule
from srdeploy.models.smsr.network import SMSR
from srdeploy.models.smsr.pack import PackedLayer, pack


@dataclass(frozen=True)
class LayerWork:
    """One masked convolution on one image.

    Attributes:
        dense: Output channels computed everywhere.
        sparse: Output channels computed inside the mask.
        outputs: Computed fraction of the output values, 0..1: what the sparsity loss counts.
        macs: Computed fraction of the multiply-accumulates, 0..1. It is smaller, since outside the
            mask sparse inputs are zero too.
    """

    dense: int
    sparse: int
    outputs: float
    macs: float


@dataclass(frozen=True)
class ModuleMask:
    """One sparse mask module on one image.

    Attributes:
        mask: ``bool [H, W]``, True where sparse channels are computed.
        inside: Fraction of True.
        layers: In order.
    """

    mask: NDArray[np.bool_]
    inside: float
    layers: list[LayerWork]


@dataclass(frozen=True)
class MaskReport:
    """All modules of a network on one image, and what they add up to.

    Attributes:
        modules: In order.
        masked_macs: MACs of all masked layers if nothing were skipped.
        masked_share: Fraction of them that is computed.
        macs: MACs of the whole network if nothing were skipped.
    """

    modules: list[ModuleMask]
    masked_macs: int
    masked_share: float
    macs: int

    @property
    def computed_macs(self) -> int:
        """MACs of the whole network that are computed on this image."""
        return self.macs - round(self.masked_macs * (1 - self.masked_share))

    def to_dict(self) -> dict[str, Any]:
        """Figures without the masks themselves, for JSON."""
        return {
            "macs": self.macs,
            "computed_macs": self.computed_macs,
            "masked_layers": {"macs": self.masked_macs, "computed": self.masked_share},
            "modules": [
                {"inside": module.inside, "layers": [asdict(layer) for layer in module.layers]}
                for module in self.modules
            ],
        }


def find_masks(network: Network, image: NDArray[np.uint8]) -> MaskReport:
    """Run SMSR on an image and look at its masks.

    Args:
        network: Of architecture ``smsr``.
        image: The network's input, ``uint8 [H, W, 3]``.

    Raises:
        UserError: the network has no masks.
    """
    if not isinstance(network.module, SMSR):
        raise UserError(f"Masks belong to SMSR; this network is {network.card.arch}.")
    height, width = image.shape[:2]
    found: list[NDArray[np.bool_]] = []

    def keep(module: nn.Module, inputs: tuple[Tensor]) -> None:
        assert isinstance(module, DenseModule)
        found.append(module.spa_mask(inputs[0])[0, 0].numpy() > 0)

    dense = DenseMasks(network.module)
    for module in dense.body:
        module.register_forward_pre_hook(keep)
    x = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.inference_mode():
        dense(x.mul(network.card.value_range / 255).contiguous(memory_format=torch.channels_last))
    modules, total, computed = [], 0, 0.0
    for mask, packed in zip(found, pack(network.module), strict=True):
        inside = float(mask.mean())
        layers = [_work(layer, inside) for layer in packed.layers]
        modules.append(ModuleMask(mask, inside, layers))
        for layer, work in zip(packed.layers, layers, strict=True):
            full = layer.inside.numel() * height * width
            total, computed = total + full, computed + full * work.macs
    return MaskReport(modules, total, computed / total, macs(network, height, width))


def _work(layer: PackedLayer, inside: float) -> LayerWork:
    width, dense = layer.inside.shape[0], layer.outside.shape[0]
    corner = layer.outside.numel() / layer.inside.numel()
    return LayerWork(
        dense=dense,
        sparse=width - dense,
        outputs=inside + (1 - inside) * dense / width,
        macs=inside + (1 - inside) * corner,
    )
