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


def uneven(seed: int = 0) -> SMSR:
    """A network of which nothing is as wide as anything else, as pruning leaves it.

    The second module has more dense channels than the first, over the width of a vector.
    """
    torch.manual_seed(seed)
    made = create(
        "smsr", scale=2, n_modules=2, n_layers=2, n_feats=40, mask_feats=20, reduction=8
    ).module
    assert isinstance(made, SMSR)
    with torch.no_grad():
        for number, (one, widths, narrow) in enumerate(
            zip(made.mask_modules(), ((17, 33), (38, 5)), (3, 7), strict=True)
        ):
            before = 40
            for layer, (width, channels) in enumerate(zip(widths, one.body.ch_mask, strict=True)):
                one.body.body[layer] = conv(before, width, bias=False)
                before = width
                for kind in ("dense", "sparse"):
                    setattr(channels, kind, torch.nn.Parameter(torch.zeros(1, width, 1, 1)))
                channels.sparse[0, number :: 3 - number] = 1.0
            one.body.collect = torch.nn.Conv2d(sum(widths), 40, 1)
            first, last = one.spa_mask[0], one.spa_mask[5]
            one.spa_mask[0] = conv(first.in_channels, 9 + 10 * number)
            one.spa_mask[3] = conv(9 + 10 * number, 6)
            last.in_channels, last.weight = 6, torch.nn.Parameter(last.weight[:6])
            one.ca.conv_du[0] = torch.nn.Conv2d(40, narrow, 1)
            one.ca.conv_du[2] = torch.nn.Conv2d(narrow, 40, 1)
            centre(made, one, 0.5)
        made.head[0], made.head[2] = conv(3, 21), conv(21, 40)
        made.collect[0], made.collect[2] = torch.nn.Conv2d(80, 30, 1), conv(30, 40)
    return made.eval()


def conv(n_in: int, n_out: int, bias: bool = True) -> torch.nn.Conv2d:
    """3x3, as large as its input."""
    return torch.nn.Conv2d(n_in, n_out, 3, padding=1, bias=bias)


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
