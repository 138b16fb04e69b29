"""SMSR's sparse path on a GPU: no layer waits for the host.

The list of pixels inside a mask has a fixed room, that of all pixels, and its length stays on the
device: a running sum over the mask gives each pixel its place. The kernel is launched for the whole
room, and a block whose pixels lie behind the list's end returns at once. What is wanted everywhere
(mask branches, dense channels) goes to the library's convolutions, channels-last.

Written in Triton, which torch's CUDA builds bring. It has been run in Triton's interpreter only,
never on a GPU.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.models.smsr.dense import DenseMasks, DenseModule, plain_conv
from srdeploy.models.smsr.network import SMSR
from srdeploy.models.smsr.pack import PackedModule, pack

BLOCK = 64
"""Pixels that one program computes."""


@triton.jit  # type: ignore[untyped-decorator]
def _listed_conv(  # type: ignore[no-untyped-def]
    x, ldx, w, bias, out, ldo, listed, count, height, width, n_in, n_out,
    TAPS: tl.constexpr, RELU: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """``out[listed] = x's TAPS x TAPS neighbourhoods @ w + bias``: rows of NHWC images."""
    total = tl.load(count)
    start = tl.program_id(0) * BLOCK_M
    if start >= total:
        return
    m = start + tl.arange(0, BLOCK_M)
    here = m < total
    at = tl.load(listed + m, mask=here, other=0)
    row, column = (at // width) % height, at % width
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    acc = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for tap in range(TAPS * TAPS):
        dy, dx = tap // TAPS - TAPS // 2, tap % TAPS - TAPS // 2
        y, c = row + dy, column + dx
        inside = here & (y >= 0) & (y < height) & (c >= 0) & (c < width)
        source = at + dy * width + dx
        for first in range(0, n_in, BLOCK_K):
            k = first + tl.arange(0, BLOCK_K)
            known = k < n_in
            a = tl.load(
                x + source[:, None] * ldx + k[None, :],
                mask=inside[:, None] & known[None, :],
                other=0.0,
            )
            b = tl.load(
                w + (tap * n_in + k)[:, None] * n_out + n[None, :],
                mask=known[:, None] & (n < n_out)[None, :],
                other=0.0,
            )
            acc += tl.dot(a, b, input_precision="ieee")
    acc += tl.load(bias + n, mask=n < n_out, other=0.0)[None, :].to(tl.float32)
    if RELU:
        acc = tl.maximum(acc, 0.0)
    tl.store(
        out + at[:, None] * ldo + n[None, :],
        acc.to(out.dtype.element_ty),
        mask=here[:, None] & (n < n_out)[None, :],
    )


def listed_conv(
    x: Tensor, weight: Tensor, bias: Tensor, out: Tensor, listed: Tensor, count: Tensor,
    size: tuple[int, int], *, relu: bool,
) -> None:  # fmt: skip
    """Convolve at listed pixels, writing those rows of ``out`` only.

    Args:
        x: ``[N * H * W, n_in]``, rows of channels-last images; a slice of wider rows will do.
        weight: ``[k * k * n_in, n_out]``, k 1 or 3.
        bias: ``[n_out]``.
        out: ``[N * H * W, n_out]``, as ``x``.
        listed: Pixels, int32 ``[N * H * W]``, of which the first ``count`` count.
        count: int32 ``[1]``, on the device.
        size: H and W.
        relu: Whether a ReLU follows.
    """
    n_in, n_out = x.shape[1], weight.shape[1]
    block_n = min(max(triton.next_power_of_2(n_out), 16), 64)
    grid = (triton.cdiv(listed.shape[0], BLOCK), triton.cdiv(n_out, block_n))
    _listed_conv[grid](
        x, x.stride(0), weight, bias, out, out.stride(0), listed, count, *size, n_in, n_out,
        TAPS=3 if weight.shape[0] == 9 * n_in else 1, RELU=relu,
        BLOCK_M=BLOCK, BLOCK_N=block_n, BLOCK_K=32,
    )  # fmt: skip


def list_pixels(inside: Tensor) -> tuple[Tensor, Tensor]:
    """Positions of what is set in a flat bool mask, and how many, without asking the device.

    Returns:
        int32 ``[pixels]``, of which the first ``count`` count, rising; ``count``, int32 ``[1]``.
    """
    pixels = inside.shape[0]
    places = torch.cumsum(inside, 0, dtype=torch.int32)
    listed = torch.zeros(pixels + 1, dtype=torch.int32, device=inside.device)
    to = torch.where(inside, places - 1, pixels).long()  # the others go behind the end
    listed.scatter_(0, to, torch.arange(pixels, dtype=torch.int32, device=inside.device))
    return listed[:pixels], places[-1:]


class GpuModule(nn.Module):
    """One sparse mask module; features ``[N, C, H, W]``, channels-last."""

    collect: Tensor
    collect_dense: Tensor
    dense_columns: Tensor
    bias: Tensor

    def __init__(self, packed: PackedModule, module: DenseModule) -> None:
        super().__init__()
        self.spa_mask, self.attention = module.spa_mask, packed.attention
        self.widths, self.dense = packed.widths, packed.dense
        self.everywhere = nn.ModuleDict(
            {
                str(number): plain_conv(layer.outside)
                for number, layer in enumerate(packed.layers)
                if layer.outside.numel()
            }
        )
        for number, layer in enumerate(packed.layers):
            kernel = layer.inside.permute(2, 3, 1, 0)
            self.register_buffer(
                f"inside{number}", kernel.reshape(-1, kernel.shape[3]).contiguous()
            )
            self.register_buffer(f"none{number}", torch.zeros(layer.inside.shape[0]))
        self.register_buffer("collect", packed.collect.t().contiguous())
        self.register_buffer("bias", packed.collect_bias.clone())
        pairs = zip(packed.widths, packed.dense, strict=True)
        is_dense = torch.cat([torch.arange(width) < dense for width, dense in pairs])
        self.register_buffer("dense_columns", is_dense.nonzero().flatten())
        self.register_buffer("collect_dense", packed.collect.t()[is_dense].clone())

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` to the same."""
        n, channels, height, width = x.shape
        listed, count = list_pixels(self.spa_mask(x).flatten().bool())
        rows = x.permute(0, 2, 3, 1).reshape(-1, channels)
        layers = x.new_zeros(rows.shape[0], sum(self.widths))
        first, before = 0, rows
        image = x
        for number, width_out in enumerate(self.widths):
            out = layers[:, first : first + width_out]
            n_dense = self.dense[number]
            if str(number) in self.everywhere:
                known = functional.relu(self.everywhere[str(number)](image))
                out[:, :n_dense] = known.permute(0, 2, 3, 1).reshape(-1, n_dense)
            weight, none = getattr(self, f"inside{number}"), getattr(self, f"none{number}")
            listed_conv(before, weight, none, out, listed, count, (height, width), relu=True)
            before, first = out, first + width_out
            image = out[:, :n_dense].reshape(n, height, width, n_dense).permute(0, 3, 1, 2)
        known_out = self._outside(layers)
        listed_conv(
            layers, self.collect, self.bias, known_out, listed, count, (height, width), relu=False
        )
        y = known_out.reshape(n, height, width, channels).permute(0, 3, 1, 2)
        return x + y * self.attention(y.mean((2, 3), keepdim=True))

    def _outside(self, layers: Tensor) -> Tensor:
        """The 1x1 convolution of the dense channels, everywhere: ``[pixels, channels]``."""
        if not self.dense_columns.shape[0]:
            return self.bias.expand(layers.shape[0], -1).contiguous()
        return torch.addmm(
            self.bias, layers.index_select(1, self.dense_columns), self.collect_dense
        )


class GpuSMSR(nn.Module):
    """SMSR, skipping pixels on a GPU: ``GpuSMSR(network).to("cuda", torch.float16)``."""

    def __init__(self, network: SMSR) -> None:
        super().__init__()
        self.frame = DenseMasks(network)
        modules = []
        for packed, module in zip(pack(network), self.frame.body, strict=True):
            assert isinstance(module, DenseModule)
            modules.append(GpuModule(packed, module))
        self.frame.body = nn.ModuleList(modules)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] in 0..value_range to [N, 3, H*scale, W*scale]; any H and W."""
        return self.frame(x.contiguous(memory_format=torch.channels_last))
