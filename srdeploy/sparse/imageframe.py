"""SMSR as images, its masked layers on rows where that is quicker.

Without the compiled kernel the library's convolutions are the quickest at everything that has no
mask. So features stay images, and a module's are laid out as rows only when its layers skip.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.models.smsr.dense import DenseMasks, DenseModule
from srdeploy.models.smsr.network import SMSR
from srdeploy.sparse.costs import Decide, Timings
from srdeploy.sparse.module import RowModule
from srdeploy.sparse.rowconv import aligned
from srdeploy.sparse.workspace import Arena, Workspace


class ImageFrame:
    """The dense-with-masks network, each module of which may take its other form."""

    def __init__(self, network: SMSR, modules: list[RowModule]) -> None:
        self._frame = DenseMasks(network)
        self._decide: Decide = lambda number, inside: "dense"
        arena = Arena()
        places = []
        for number, (module, rows) in enumerate(zip(self._frame.body, modules, strict=True)):
            assert isinstance(module, DenseModule)
            places.append(_Place(module, rows, arena, partial(self._asked, number)))
        self._frame.body = nn.ModuleList(places)
        self._frame.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._first = places[0]

    def __call__(self, x: Tensor, decide: Decide) -> Tensor:
        """[N, 3, H, W] to [N, 3, H*scale, W*scale]."""
        self._decide = decide
        return self._frame(x.contiguous(memory_format=torch.channels_last))

    def _asked(self, number: int, inside: Tensor) -> str:
        return self._decide(number, inside)

    def measure(self, timings: Timings, space: Workspace, x: Tensor) -> None:
        """Time the masked layers' dense form, and what laying out rows ``x`` adds to the other."""
        first = self._first
        image = space.inner(x, first.channels).contiguous(memory_format=torch.channels_last)
        pixels = space.rows.shape[0]
        mask = torch.ones(1, 1, space.height, space.width)
        timings.note("dense", pixels, partial(first.module.masked, image, mask))
        out = space.plane("out", x.shape[1])
        timings.note("layout", pixels, partial(first.there_and_back, space, image, x, out))

    def settle(self, timings: Timings) -> None:
        """Nothing but the masked layers has two forms here."""


class _Place(nn.Module):
    """One module, deciding by its mask."""

    def __init__(self, module: DenseModule, rows: RowModule, arena: Arena, decide: Any) -> None:
        super().__init__()
        self.module = module
        self.channels = module.collect.out_channels
        self._rows, self._arena, self._ask = rows, arena, decide

    def forward(self, x: Tensor) -> Tensor:
        masks = self.module.spa_mask(x)
        found = [self._one(x[i : i + 1], masks[i : i + 1]) for i in range(x.shape[0])]
        return found[0] if len(found) == 1 else torch.cat(found)

    def _one(self, image: Tensor, mask: Tensor) -> Tensor:
        inside = mask.flatten().bool()
        if self._ask(inside) == "dense":
            return self.module.masked(image, mask)
        space = Workspace(self._arena, image.shape[2], image.shape[3])
        width = aligned(self.channels)
        x, out = space.plane("x", width), space.plane("out", width)
        space.inner(x, self.channels).copy_(image)
        self._rows.rows(space, x, out, inside)
        return space.inner(out, self.channels).contiguous(memory_format=torch.channels_last)

    def there_and_back(self, space: Workspace, image: Tensor, x: Tensor, out: Tensor) -> None:
        """The copies that the form on rows needs here."""
        space.inner(x, self.channels).copy_(image)
        space.inner(out, self.channels).contiguous(memory_format=torch.channels_last)
