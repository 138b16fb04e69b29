"""SMSR's sparse inference the way it was published: the reference that ours is measured against.

Written from the description of the method, to compute what the published code computes in the way
it does: features in NCHW; per image, index lists of the pixels inside the mask and of their nine
neighbours; for every layer the dense part as explicit im2col (unfold) and matrix product, the
sparse part as a gather, from NCHW, of nine times the features and a matrix product. One image at a
time. Kernels are split by the channel masks once, not per call, so what is timed is inference.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.models.smsr.network import SMSR, SparseMaskModule


class PublishedSMSR(nn.Module):
    """The published sparse path around an SMSR network."""

    def __init__(self, network: SMSR) -> None:
        super().__init__()
        self.network = network
        self.bodies = [PublishedBody(module) for module in network.mask_modules()]

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """[1, 3, H, W] to [1, 3, H*scale, W*scale]."""
        net = self.network
        if net.mean is not None:
            x = net.sub_mean(x)
        head = y = net.head(x)
        outs = []
        for module, body in zip(net.mask_modules(), self.bodies, strict=True):
            y = y + module.ca(body(y, module.mask(y)))
            outs.append(y)
        y = net.tail(net.collect(torch.cat(outs, 1)) + head)
        y = y + functional.interpolate(
            x, scale_factor=net.scale, mode="bicubic", align_corners=False
        )
        return y if net.mean is None else net.add_mean(y)


class PublishedBody:
    """The masked layers of one module, kernels split into dense and sparse parts."""

    def __init__(self, module: SparseMaskModule) -> None:
        body = module.body
        self.layers = []
        sparse_in = torch.zeros(body.body[0].in_channels, dtype=torch.bool)
        with torch.no_grad():
            for layer, channels in zip(body.body, body.ch_mask, strict=True):
                sparse = channels().flatten().bool()
                self.layers.append(_split(layer.weight, ~sparse, sparse, sparse_in))
                sparse_in = sparse
            every = torch.cat([channels().flatten().bool() for channels in body.ch_mask])
            weight = body.collect.weight[:, :, 0, 0]
            self.collect_dense = weight[:, ~every].contiguous()
            self.collect_sparse = weight[:, every].contiguous()
            self.bias = body.collect.bias.detach()[:, None]

    def __call__(self, x: Tensor, mask: Tensor) -> Tensor:
        """Features ``[1, C, H, W]`` and mask ``[1, 1, H, W]`` to ``[1, C, H, W]``."""
        height, width = x.shape[2:]
        at = torch.nonzero(mask[0, 0])
        h, w = at[:, 0], at[:, 1]
        nine = torch.arange(9)
        h9 = (h[None] + (nine // 3)[:, None]).flatten()
        w9 = (w[None] + (nine % 3)[:, None]).flatten()
        numbers = torch.zeros(height, width, dtype=torch.long)
        numbers[h, w] = torch.arange(1, at.shape[0] + 1)
        neighbours = functional.pad(numbers, (1, 1, 1, 1))[h9, w9]  # [9 n]

        dense, sparse = x, None
        denses, sparses = [], []
        for d2d, d2s, s2d, s2s in self.layers:
            new_dense = new_sparse = None
            if dense is not None:
                if d2d.shape[0]:
                    columns = functional.unfold(dense, 3, padding=1)[0]
                    new_dense = (d2d @ columns).view(1, -1, height, width)
                if d2s.shape[0]:
                    padded = functional.pad(dense, (1, 1, 1, 1))
                    patches = padded[0][:, h9, w9].view(dense.shape[1] * 9, -1)
                    new_sparse = d2s @ patches
            if sparse is not None:
                padded = functional.pad(sparse, (1, 0))
                patches = padded[:, neighbours].view(sparse.shape[0] * 9, -1)
                both = torch.cat([s2d, s2s]) @ patches
                if s2d.shape[0]:
                    if new_dense is None:
                        new_dense = x.new_zeros(1, s2d.shape[0], height, width)
                    new_dense[0, :, h, w] += both[: s2d.shape[0]]
                if s2s.shape[0]:
                    part = both[s2d.shape[0] :]
                    new_sparse = part if new_sparse is None else new_sparse + part
            dense = None if new_dense is None else functional.relu(new_dense)
            sparse = None if new_sparse is None else functional.relu(new_sparse)
            denses += [] if dense is None else [dense]
            sparses += [] if sparse is None else [sparse]
        out = self.bias.expand(-1, height * width)
        if denses:
            out = self.collect_dense @ torch.cat(denses, 1).flatten(2)[0] + out
        out = out.reshape(1, -1, height, width).contiguous()
        if sparses:
            out[0, :, h, w] += self.collect_sparse @ torch.cat(sparses)
        return out


def _split(
    weight: Tensor, dense: Tensor, sparse: Tensor, sparse_in: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """dense-dense, dense-sparse, sparse-dense and sparse-sparse, each ``[n_out, 9 * n_in]``."""
    return tuple(
        weight[rows][:, columns].flatten(1).contiguous()
        for columns in (~sparse_in, sparse_in)
        for rows in (dense, sparse)
    )
