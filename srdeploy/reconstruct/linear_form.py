"""Layers as matrices: ``y = W u + b``, with one column ``u`` for every output position."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LinearForm:
    """A 2D convolution, transposed convolution or linear layer as matrices, one per group.

    A transposed convolution is a convolution with turned kernels of its input with zeros between
    the pixels; that is the form it has here.

    Attributes:
        module: The layer.
        groups: Independent parts of its channels; 1 for a linear layer.
        taps: Inputs that each input channel contributes to a column.
    """

    def __init__(self, module: nn.Module) -> None:
        """Take a layer for which :func:`has_form` holds."""
        self.module = module
        self.groups = int(getattr(module, "groups", 1))
        self.taps = 1 if isinstance(module, nn.Linear) else _weight(module)[0, 0].numel()

    @property
    def input_dim(self) -> int:
        """The dimension of the weight along which its input channels lie."""
        return 0 if isinstance(self.module, nn.ConvTranspose2d) else 1

    @property
    def output_dim(self) -> int:
        """The dimension of the weight along which its output channels lie."""
        return 1 - self.input_dim

    @property
    def depthwise(self) -> bool:
        """Whether every channel is on its own."""
        return self.groups > 1 and self.groups == getattr(self.module, "in_channels", 0)

    def columns(self, x: Tensor) -> Tensor:
        """What every output position reads.

        Args:
            x: The layer's input; for convolutions ``[N, C, H, W]``.

        Returns:
            ``[groups, n, positions]``, n being input channels of a group times taps, the taps of a
            channel side by side.
        """
        module = self.module
        if isinstance(module, nn.Linear):
            return x.reshape(-1, x.shape[-1]).T[None]
        if isinstance(module, nn.ConvTranspose2d):
            x, stride = _spread(module, x), 1
        else:
            assert isinstance(module, nn.Conv2d)
            mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
            x = F.pad(x, module._reversed_padding_repeated_twice, mode=mode)
            stride = module.stride  # type: ignore[assignment]
        u = F.unfold(x, module.kernel_size, module.dilation, 0, stride)
        batch, rows, positions = u.shape
        u = u.view(batch, self.groups, rows // self.groups, positions)
        return u.permute(1, 2, 0, 3).reshape(self.groups, rows // self.groups, batch * positions)

    def outputs(self, y: Tensor) -> Tensor:
        """The layer's output (or something of its shape) as ``[groups, o, positions]``."""
        if isinstance(self.module, nn.Linear):
            return y.reshape(-1, y.shape[-1]).T[None]
        batch, channels = y.shape[:2]
        y = y.reshape(batch, self.groups, channels // self.groups, -1)
        return y.permute(1, 2, 0, 3).reshape(self.groups, channels // self.groups, -1)

    def matrix(self) -> Tensor:
        """The weight as float64 ``[groups, o, n]``."""
        weight = _weight(self.module).detach().double()
        if isinstance(self.module, nn.ConvTranspose2d):
            ins, outs, *kernel = weight.shape
            weight = weight.view(self.groups, ins // self.groups, outs, *kernel)
            return weight.transpose(1, 2).flip(-2, -1).flatten(2)
        return weight.view(self.groups, weight.shape[0] // self.groups, -1)

    def bias(self) -> Tensor:
        """The bias as float64 ``[groups, o]``; zeros where there is none."""
        bias = self.module.bias
        if isinstance(bias, Tensor):
            return bias.detach().double().view(self.groups, -1)
        outs = _weight(self.module).shape[self.output_dim]
        each = outs if self.output_dim else outs // self.groups
        return torch.zeros(self.groups, each, dtype=torch.float64)

    def assign(self, matrix: Tensor, bias: Tensor) -> None:
        """Write a weight back, and a bias if the layer has one.

        Args:
            matrix: As :meth:`matrix` gives it.
            bias: As :meth:`bias` gives it.
        """
        weight = _weight(self.module)
        if isinstance(self.module, nn.ConvTranspose2d):
            ins, outs, *kernel = weight.shape
            new = matrix.view(self.groups, outs, ins // self.groups, *kernel)
            matrix = new.flip(-2, -1).transpose(1, 2)
        with torch.no_grad():
            weight.copy_(matrix.reshape(weight.shape))
            if isinstance(self.module.bias, Tensor):
                self.module.bias.copy_(bias.reshape(-1))


def has_form(module: nn.Module) -> bool:
    """Whether a layer can be written as matrices here."""
    return isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear))


def _weight(module: nn.Module) -> Tensor:
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight


def _spread(module: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """The input with zeros between its pixels and around them."""
    batch, channels, height, width = x.shape
    sides = [(side - 1) * s + 1 for side, s in zip((height, width), module.stride, strict=True)]
    spread = x.new_zeros(batch, channels, *sides)
    spread[..., :: module.stride[0], :: module.stride[1]] = x
    pads = []
    for axis in (1, 0):  # F.pad begins with the last dimension
        padding = module.padding[axis]
        assert isinstance(padding, int)
        around = module.dilation[axis] * (module.kernel_size[axis] - 1) - padding
        pads += [around, around + module.output_padding[axis]]
    return F.pad(spread, pads)
