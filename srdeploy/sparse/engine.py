"""SMSR that skips: computes inside the masks, or everywhere where that is quicker.

The sparse path pays on a CPU, where the published one does not, because features stay
channels-last inside a border of zeros (a pixel's neighbourhood is three stretches of memory,
nothing is unfolded), and because masks cost few passes (:mod:`srdeploy.sparse.module`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.models.smsr import SMSR
from srdeploy.sparse.backend import choose_backend
from srdeploy.sparse.costs import SIDES, FormCosts, Line, quickest
from srdeploy.sparse.maskbranch import HalfSize, RowMaskBranch
from srdeploy.sparse.module import RowModule
from srdeploy.sparse.pack import pack
from srdeploy.sparse.plain import Conv3x3
from srdeploy.sparse.rowconv import Features, aligned, pointwise
from srdeploy.sparse.workspace import Arena, Workspace

FORMS = ("auto", "rows", "dense")


@dataclass(frozen=True)
class Costs:
    """What the forms cost here: of a module's masked layers, and of a layer without mask."""

    module: FormCosts
    plain: FormCosts


@dataclass(frozen=True)
class Choice:
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
        costs: What the forms were found to cost.
        choices: What every masked layer did in the latest run, image after image.
    """

    def __init__(
        self,
        network: SMSR,
        *,
        backend: str = "auto",
        form: str = "auto",
        costs: Costs | None = None,
    ) -> None:
        """Split and pack the weights, and time the forms (some 50 ms).

        Args:
            network: Trained; float32 on the CPU. It is not changed, and later changes to it do not
                show.
            backend: One of :data:`srdeploy.sparse.backend.BACKENDS`.
            form: ``rows`` or ``dense`` for everything, or ``auto``: the cheaper one each time. The
                layers of a module share one mask, hence one density and one size, and go together.
            costs: What the forms cost, if known; default: timed here, with the threads that torch
                has at the time.

        Raises:
            Unavailable: the backend cannot be had.
            ValueError: unknown backend or form.
        """
        if form not in FORMS:
            raise ValueError(f"unknown form '{form}'; there are {', '.join(FORMS)}")
        self.backend = choose_backend(backend)
        self.choices: list[Choice] = []
        self._form = form
        self._arena = Arena()
        self._spaces: tuple[Workspace, HalfSize] | None = None
        self._scale = network.scale
        shifted = network.mean is not None
        self._sub = network.sub_mean if shifted else nn.Identity()
        self._add = network.add_mean if shifted else nn.Identity()
        layer = partial(Conv3x3.of, self.backend)
        self._head = (layer(network.head[0], relu=True), layer(network.head[2]))
        packed = pack(network)
        self._masks = [RowMaskBranch(self.backend, one) for one in packed]
        self._modules = [
            RowModule(self.backend, one, f"body.{number}") for number, one in enumerate(packed)
        ]
        fuse = network.collect[0]
        assert isinstance(fuse, nn.Conv2d)
        assert fuse.bias is not None
        widths = [self._head[1].n_out] * len(packed)
        weight = fuse.weight.detach()[:, :, 0, 0]
        self._fuse = self.backend.prepare(pointwise(weight, widths, fuse.bias.detach(), relu=True))
        self._fuse_width = fuse.out_channels
        self._trunk, self._tail = layer(network.collect[2]), layer(network.tail[0])
        self.costs = costs or self._measure()

    def __call__(self, x: Tensor) -> Tensor:
        """[N, 3, H, W] in 0..value_range, float32, to [N, 3, H*scale, W*scale]; any H and W."""
        self.choices = []
        with torch.inference_mode():
            x = self._sub(x.contiguous())
            up = functional.interpolate(
                x, scale_factor=self._scale, mode="bicubic", align_corners=False
            )
            for image, target in zip(x, up, strict=True):
                self._run(image, target)
            return self._add(up)

    def report(self) -> dict[str, Any]:
        """The latest run, for people and JSON: the backend, and each layer's form and density."""
        return {
            "backend": self.backend.name,
            "reason": self.backend.reason,
            "layers": [asdict(choice) for choice in self.choices],
        }

    def _run(self, image: Tensor, target: Tensor) -> None:
        """One image ``[3, H, W]``; what the network adds to it is added to ``target``."""
        space, half = self._spaces_for(image.shape[1], image.shape[2])
        width = aligned(self._head[1].n_out)
        pixels = space.plane("image", image.shape[0])
        space.inner(pixels, image.shape[0]).copy_(image)
        first = space.plane("first", aligned(self._head[0].n_out))
        head = x = space.plane("head", width)
        self._plain(self._head[0], space, pixels, first)
        self._plain(self._head[1], space, first, head)
        outs = []
        for number, module in enumerate(self._modules):
            out = space.plane(f"out{number}", width)
            self._module(space, half, number, module, x, out)
            outs.append(Features(out))
            x = out
        fused = space.plane("fused", aligned(self._fuse_width))
        self._fuse(outs, space.rows, space.line, Features(fused))
        trunk = space.plane("trunk", width)
        self._plain(self._trunk, space, fused, trunk, head)
        last = space.plane("tail", aligned(self._tail.n_out))
        self._plain(self._tail, space, trunk, last)
        target += functional.pixel_shuffle(space.inner(last, self._tail.n_out)[0], self._scale)

    def _module(
        self,
        space: Workspace,
        half: HalfSize,
        number: int,
        module: RowModule,
        x: Tensor,
        out: Tensor,
    ) -> None:
        branch = self._masks[number]
        inside = branch(space, half, x, self._plain_form(branch.first, space))
        density = float(inside.float().mean())
        pixels = space.rows.shape[0]
        form = self.costs.module.choose(pixels, density) if self._form == "auto" else self._form
        (module.rows if form == "rows" else module.dense)(space, x, out, inside)
        self.choices += [
            Choice(f"{module.name}.body.body.{layer}", density, form)
            for layer in range(module.n_layers)
        ]

    def _plain(
        self,
        conv: Conv3x3,
        space: Workspace,
        x: Tensor,
        out: Tensor,
        residual: Tensor | None = None,
    ) -> None:
        conv(space, x, out, self._plain_form(conv, space), residual)

    def _plain_form(self, conv: Conv3x3, space: Workspace) -> str:
        if self._form == "auto":
            return self.costs.plain.choose(space.rows.shape[0], 1.0)
        return self._form

    def _spaces_for(self, height: int, width: int) -> tuple[Workspace, HalfSize]:
        found = self._spaces
        if found is None or (found[0].height, found[0].width) != (height, width):
            space = Workspace(self._arena, height, width)
            small = Workspace(self._arena, -(-height // 2), -(-width // 2), "half ")
            found = self._spaces = space, HalfSize(space, small)
        return found

    def _measure(self) -> Costs:
        """Time the forms of the first module and of the trunk at two sizes."""
        times: dict[str, list[tuple[float, float]]] = {}

        def note(name: str, pixels: int, run: Any) -> None:
            times.setdefault(name, []).append((pixels, quickest(run)))

        module, trunk = self._modules[0], self._trunk
        with torch.inference_mode():
            for side in SIDES:
                space = Workspace(Arena(), side, side)
                x = space.plane("x", aligned(max(trunk.n_in, self._head[1].n_out)))
                torch.sin(torch.arange(x.numel()).view(x.shape), out=x)
                out = space.plane("out", x.shape[1])
                pixels = side * side
                none = torch.zeros(pixels, dtype=torch.bool)
                note("empty", pixels, partial(module.rows, space, x, out, none))
                note("full", pixels, partial(module.rows, space, x, out, ~none))
                note("dense", pixels, partial(module.dense, space, x, out, ~none))
                for form in ("rows", "dense"):
                    note(f"plain {form}", pixels, partial(trunk, space, x, out, form))
        lines = {name: Line.through(*points) for name, points in times.items()}
        rows = lines["plain rows"]
        return Costs(
            FormCosts(lines["empty"], lines["full"], lines["dense"]),
            FormCosts(rows, rows, lines["plain dense"]),
        )
