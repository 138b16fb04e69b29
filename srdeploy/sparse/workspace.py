"""The features of one image, channels-last in rows, inside a border of zeros."""

from __future__ import annotations

import torch
from torch import Tensor

from srdeploy.sparse.rowconv import Features


class Arena:
    """Memory that is kept from image to image and grows to the largest."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, floats: int) -> Tensor:
        """So many floats under a name; what was there under it is lost."""
        held = self._buffers.get(name)
        if held is None or held.numel() < floats:
            held = self._buffers[name] = torch.empty(floats)
        return held[:floats]


class Workspace:
    """Rows of one image size.

    Attributes:
        height: Lines of the image.
        width: Columns.
        line: Rows from a pixel to the one below.
        n_rows: Rows, border included.
        rows: The row of every pixel, int32, rising.
        places: Room for a pixel's row among those of a mask, int32 ``[n_rows]``.
    """

    def __init__(self, arena: Arena, height: int, width: int, name: str = "") -> None:
        self._arena, self._name = arena, name
        self.height, self.width, self.line = height, width, width + 2
        self.n_rows = (height + 2) * self.line
        y = torch.arange(1, height + 1, dtype=torch.int32)[:, None]
        self.rows = (y * self.line + torch.arange(1, width + 1, dtype=torch.int32)).flatten()
        self.places = torch.zeros(self.n_rows, dtype=torch.int32)
        self._planes: dict[str, Tensor] = {}

    def plane(self, name: str, width: int) -> Tensor:
        """Features ``[n_rows, width]`` with a zero border; the same ones at every call of a width.

        Another width under that name takes the memory over.
        """
        held = self._planes.get(name)
        if held is None or held.shape[1] != width:
            flat = self._arena.take(f"{self._name}{name}", self.n_rows * width)
            found = flat.view(self.n_rows, width)
            image = self.image(found)
            image[0] = image[-1] = 0
            image[:, 0] = image[:, -1] = 0
            self._planes[name] = found
        return self._planes[name]

    def compact(self, name: str, count: int, width: int) -> Features:
        """Features of ``count`` pixels, where :attr:`places` says; the row of zeros before them."""
        room = self._arena.take(f"{self._name}{name}", self.n_rows * width)
        data = room[: (count + 1) * width].view(count + 1, width)
        data[0] = 0
        return Features(data, self.places)

    def image(self, plane: Tensor) -> Tensor:
        """A plane as ``[height + 2, width + 2, channels]``."""
        return plane.view(self.height + 2, self.line, plane.shape[1])

    def inner(self, plane: Tensor, channels: int) -> Tensor:
        """The pixels of a plane as an image ``[1, channels, height, width]``, a view."""
        return self.image(plane)[1:-1, 1:-1, :channels].permute(2, 0, 1)[None]
