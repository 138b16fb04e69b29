"""SMSR on rows from end to end: what the compiled kernel runs."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn import functional

from srdeploy.models.smsr.network import SMSR
from srdeploy.models.smsr.pack import PackedModule
from srdeploy.sparse.backend import Backend
from srdeploy.sparse.costs import Decide, FormCosts, Timings
from srdeploy.sparse.maskbranch import HalfSize, RowMaskBranch
from srdeploy.sparse.module import RowModule
from srdeploy.sparse.plain import Conv3x3
from srdeploy.sparse.rowconv import Features, aligned, pointwise
from srdeploy.sparse.workspace import Arena, Workspace


class RowFrame:
    """The network around the masked layers, features staying rows throughout.

    Attributes:
        mask_branches: What predicts the modules' masks.
        plain: What layers without mask cost in both forms; None until :meth:`measure` has run.
    """

    def __init__(
        self, network: SMSR, backend: Backend, packed: list[PackedModule], modules: list[RowModule]
    ) -> None:
        self._modules = modules
        self.mask_branches = [RowMaskBranch(backend, one) for one in packed]
        self.plain: FormCosts | None = None
        self._arena = Arena()
        self._spaces: tuple[Workspace, HalfSize] | None = None
        self._scale = network.scale
        shifted = network.mean is not None
        self._sub = network.sub_mean if shifted else nn.Identity()
        self._add = network.add_mean if shifted else nn.Identity()
        layer = partial(Conv3x3.of, backend)
        self._head = (layer(network.head[0], relu=True), layer(network.head[2]))
        fuse = network.collect[0]
        assert isinstance(fuse, nn.Conv2d)
        assert fuse.bias is not None
        widths = [self._head[1].n_out] * len(packed)
        weight = fuse.weight.detach()[:, :, 0, 0]
        self._fuse = backend.prepare(pointwise(weight, widths, fuse.bias.detach(), relu=True))
        self._fuse_width = fuse.out_channels
        self._trunk, self._tail = layer(network.collect[2]), layer(network.tail[0])

    def __call__(self, x: Tensor, decide: Decide) -> Tensor:
        """[N, 3, H, W] to [N, 3, H*scale, W*scale]."""
        x = self._sub(x.contiguous())
        up = functional.interpolate(
            x, scale_factor=self._scale, mode="bicubic", align_corners=False
        )
        for image, target in zip(x, up, strict=True):
            self._run(image, target, decide)
        return self._add(up)

    def _run(self, image: Tensor, target: Tensor, decide: Decide) -> None:
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
            branch = self.mask_branches[number]
            inside = branch(space, half, x, self._form(branch.first, space))
            compute = module.rows if decide(number, inside) == "rows" else module.dense
            compute(space, x, out, inside)
            outs.append(Features(out))
            x = out
        fused = space.plane("fused", aligned(self._fuse_width))
        self._fuse(outs, space.rows, space.line, Features(fused))
        trunk = space.plane("trunk", width)
        self._plain(self._trunk, space, fused, trunk, head)
        last = space.plane("tail", aligned(self._tail.n_out))
        self._plain(self._tail, space, trunk, last)
        target += functional.pixel_shuffle(space.inner(last, self._tail.n_out)[0], self._scale)

    def _plain(
        self,
        conv: Conv3x3,
        space: Workspace,
        x: Tensor,
        out: Tensor,
        residual: Tensor | None = None,
    ) -> None:
        conv(space, x, out, self._form(conv, space), residual)

    def _form(self, conv: Conv3x3, space: Workspace) -> str:
        return "rows" if self.plain is None else self.plain.choose(space.rows.shape[0], 1.0)

    def _spaces_for(self, height: int, width: int) -> tuple[Workspace, HalfSize]:
        found = self._spaces
        if found is None or (found[0].height, found[0].width) != (height, width):
            space = Workspace(self._arena, height, width)
            small = Workspace(self._arena, -(-height // 2), -(-width // 2), "half ")
            found = self._spaces = space, HalfSize(space, small)
        return found

    def measure(self, timings: Timings, space: Workspace, x: Tensor) -> None:
        """Time both forms of the trunk, and the masked layers' dense form on rows ``x``."""
        out = space.plane("trunk", x.shape[1])
        pixels = space.rows.shape[0]
        for form in ("rows", "dense"):
            timings.note(f"plain {form}", pixels, partial(self._trunk, space, x, out, form))
        every = space.rows > 0
        timings.note("dense", pixels, partial(self._modules[0].dense, space, x, out, every))

    def settle(self, timings: Timings) -> None:
        """Take over what was measured."""
        rows = timings.line("plain rows")
        self.plain = FormCosts(rows, rows, timings.line("plain dense"))
