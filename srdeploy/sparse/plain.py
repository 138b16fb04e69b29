"""A 3x3 convolution that computes everywhere, in two forms: ours on rows, and the library's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.sparse.backend import Backend
from srdeploy.sparse.rowconv import Features, spatial
from srdeploy.sparse.workspace import Workspace


class Conv3x3:
    """One convolution, both forms ready.

    Attributes:
        n_in: Input channels.
        n_out: Output channels.
    """

    def __init__(
        self, backend: Backend, kernel: Tensor, bias: Tensor | None = None, relu: bool = False
    ) -> None:
        self._rows = backend.prepare(spatial(kernel, bias, relu))
        self._kernel = kernel.contiguous(memory_format=torch.channels_last)
        self._bias, self._relu = bias, relu
        self.n_out, self.n_in = kernel.shape[:2]

    @classmethod
    def of(cls, backend: Backend, layer: nn.Module, relu: bool = False) -> Conv3x3:
        """From a layer of a network, whose weights are copied."""
        assert isinstance(layer, nn.Conv2d)
        bias = None if layer.bias is None else layer.bias.detach().clone()
        return cls(backend, layer.weight.detach().clone(), bias, relu)

    @property
    def macs(self) -> int:
        """Multiplications per pixel."""
        return self._kernel.numel()

    def __call__(
        self, space: Workspace, x: Tensor, out: Tensor, form: str, residual: Tensor | None = None
    ) -> None:
        """Compute ``out`` from ``x`` (``[rows, width]``) at all pixels.

        Args:
            space: The image's rows.
            x: Input.
            out: Result.
            form: ``rows`` or ``dense``.
            residual: Added to the result.
        """
        if form == "rows":
            sources = [Features(x)]
            self._rows(sources, space.rows, space.line, Features(out), residual=residual)
            return
        image = space.image(x)[..., : self.n_in].permute(2, 0, 1)[None]  # its border is the padding
        y = functional.conv2d(image, self._kernel, self._bias)
        y = functional.relu_(y) if self._relu else y
        target = space.inner(out, self.n_out)
        if residual is None:
            target.copy_(y)
        else:
            torch.add(space.inner(residual, self.n_out), y, out=target)
