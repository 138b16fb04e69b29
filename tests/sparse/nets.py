"""Small SMSR networks with masks of every kind."""

from __future__ import annotations

import torch

from srdeploy.models.registry import create
from srdeploy.models.smsr.network import SMSR


def network(
    *, scale: int = 2, density: float = 0.4, dense: tuple[int, ...] = (5, 3, 0), seed: int = 0
) -> SMSR:
    """Two modules of three layers, 12 channels.

    Args:
        scale: Upscaling factor.
        density: About so many pixels are inside the masks; 0 and 1 exactly none and all.
        dense: Dense channels of each layer.
        seed: Of the weights.
    """
    torch.manual_seed(seed)
    made = create(
        "smsr", scale=scale, n_modules=2, n_layers=len(dense), n_feats=12, mask_feats=4, reduction=4
    )
    module = made.module
    assert isinstance(module, SMSR)
    with torch.no_grad():
        for one in module.mask_modules():
            last = one.spa_mask[5]
            last.bias.copy_(torch.tensor([0.0, {0.0: -1e6, 1.0: 1e6}.get(density, 0.0)]))
            if 0 < density < 1:  # centre the logits where the masks are to divide
                centre(module, one, density)
            for channels, count in zip(one.body.ch_mask, dense, strict=True):
                order = torch.randperm(12)
                channels.dense.zero_()
                channels.sparse.fill_(1.0)
                channels.sparse[0, order[:count]] = -1.0
    return module.eval()


def centre(module: SMSR, one: torch.nn.Module, density: float) -> None:
    """Shift a mask branch so that about ``density`` of a probe image is inside."""
    seen: list[torch.Tensor] = []
    handle = one.spa_mask.register_forward_hook(lambda m, i, o: seen.append(o))
    module.eval()(image(24, 26))
    handle.remove()
    logits = seen[0][:, 1] - seen[0][:, 0]
    one.spa_mask[5].bias[1] -= logits.quantile(1 - density)


def image(height: int, width: int, batch: int = 1, seed: int = 1) -> torch.Tensor:
    """Noise over a ramp, 0..255."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(batch, 3, height, width, generator=generator)
    return (noise * 128 + torch.linspace(0, 127, width)).float()
