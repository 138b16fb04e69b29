"""SMSR that skips: computes inside the masks, or everywhere where that is quicker.

The sparse path pays on a CPU, where the published one does not, because features stay
channels-last inside a border of zeros (a pixel's neighbourhood is three stretches of memory,
nothing is unfolded), and because masks cost few passes (:mod:`srdeploy.sparse.module`).
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from srdeploy.models.pooled import PoolingWatch
from srdeploy.models.smsr.network import SMSR
from srdeploy.models.smsr.pack import pack
from srdeploy.models.whole_means import WholeMeans
from srdeploy.sparse.backend import choose_backend
from srdeploy.sparse.costs import SIDES, CostLine, FormCosts, Timings
from srdeploy.sparse.imageframe import ImageFrame
from srdeploy.sparse.module import RowModule
from srdeploy.sparse.rowconv import aligned
from srdeploy.sparse.rowframe import RowFrame
from srdeploy.sparse.workspace import Arena, Workspace
from srdeploy.util.allocator import keep_freed_memory

FORMS = ("auto", "rows", "dense")


@dataclass(frozen=True)
class FormChoice:
    """What one masked layer did for one image.

    Attributes:
        layer: Its name in the network, for instance ``body.0.body.body.1``.
        density: Share of pixels inside the mask.
        form: ``rows`` (computed at listed pixels) or ``dense`` (everywhere).
    """

    layer: str
    density: float
    form: str


class SparseEngine:
    """Runs an SMSR network, skipping what its masks say.

    Attributes:
        backend: What computes on rows.
        modules: The masked layers.
        width: Floats per pixel of the features between modules.
        frame: What runs the network around the masked layers.
        costs: What the masked layers of a module were found to cost; None where a form was given.
        choices: What every masked layer did in the latest run, by module, image after image.
    """

    def __init__(self, network: SMSR, *, backend: str = "auto", form: str = "auto") -> None:
        """Split and pack the weights; for ``auto``, time the forms (half a second).

        Args:
            network: Trained; float32 on the CPU. It is not changed.
            backend: One of :data:`srdeploy.sparse.backend.BACKENDS`.
            form: ``rows`` or ``dense`` for all masked layers, or ``auto``: the cheaper one each
                time. The layers of a module share one mask, hence one density and one size, and
                go together.

        Raises:
            Unavailable: the backend cannot be had.
            ValueError: unknown backend or form.
        """
        if form not in FORMS:
            raise ValueError(f"unknown form '{form}'; there are {', '.join(FORMS)}")
        keep_freed_memory()
        self.backend = choose_backend(backend)
        self.choices: list[FormChoice] = []
        self._form = form
        packed = pack(network)
        self.modules = [
            RowModule(self.backend, one, f"body.{number}") for number, one in enumerate(packed)
        ]
        self.frame: RowFrame | ImageFrame = (
            RowFrame(network, self.backend, packed, self.modules)
            if self.backend.name == "native"
            else ImageFrame(network, self.modules)
        )
        self.width = aligned(packed[0].collect.shape[0])
        self.costs = self._measure() if form == "auto" else None

    def __call__(self, x: Tensor, means: WholeMeans | None = None) -> Tensor:
        """[N, 3, H, W] in 0..value_range, float32, to [N, 3, H*scale, W*scale]; any H and W.

        Args:
            x: The images.
            means: Of the whole image, where ``x`` is a part of one; each module pools once, the
                output of its 1x1 convolution.
        """
        self.choices = []
        for module in self.modules:
            module.means = means
        with torch.inference_mode(), nullcontext() if means is None else PoolingWatch(means):
            return self.frame(x, self._decide)

    def report(self) -> dict[str, Any]:
        """The latest run, for people and JSON: the backend, and each layer's form and density."""
        return {
            "backend": self.backend.name,
            "reason": self.backend.reason,
            "layers": [asdict(choice) for choice in self.choices],
        }

    def _decide(self, number: int, inside: Tensor) -> str:
        module, pixels = self.modules[number], inside.shape[0]
        density = float(inside.sum()) / pixels
        form = self._form if self.costs is None else self.costs.choose(pixels, density)
        self.choices += [
            FormChoice(f"{module.name}.body.body.{layer}", density, form)
            for layer in range(module.n_layers)
        ]
        return form

    def _measure(self) -> FormCosts:
        """Time the forms of the first module at two sizes, masks being empty and full."""
        timings, module = Timings(), self.modules[0]
        with torch.inference_mode():
            for side in SIDES:
                space = Workspace(Arena(), side, side)
                x, out = space.plane("x", self.width), space.plane("out", self.width)
                space.inner(x, self.width).copy_(torch.sin(torch.arange(self.width))[:, None, None])
                pixels = side * side
                none = torch.zeros(pixels, dtype=torch.bool)
                timings.note("empty", pixels, partial(module.rows, space, x, out, none))
                timings.note("full", pixels, partial(module.rows, space, x, out, ~none))
                self.frame.measure(timings, space, x)
                timings.take()
        self.frame.settle(timings)
        layout = timings.line("layout") if "layout" in timings.points else CostLine(0.0, 0.0)
        return FormCosts(
            timings.line("empty") + layout, timings.line("full") + layout, timings.line("dense")
        )
