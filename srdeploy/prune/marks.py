"""What tracing knows: a label and a cleanness for every element of every activation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.prune.unionfind import Nodes, UnionFind


class UnsupportedOperationError(UserError):
    """The network does something to its channels that cannot be followed safely."""


@dataclass(frozen=True)
class Axis:
    """One dimension of one parameter or buffer: the place where channels are physically cut.

    Attributes:
        tensor: Name of the tensor in the state dict.
        dim: Its dimension.
        role: "out" (a layer's own output channels), "in" (channels it reads) or "along"
            (per-channel numbers that go with a channel: bias, normalisation, slopes).
    """

    tensor: str
    dim: int
    role: str

    @property
    def layer(self) -> str:
        """Name of the layer the tensor belongs to."""
        return self.tensor.rpartition(".")[0] or self.tensor


@dataclass
class Marks:
    """Marks of an activation, each tensor of its shape.

    Attributes:
        labels: The node of the channel an element belongs to, 0 for none. Float64 holds them
            exactly and is accepted by every operation that moves elements.
        clean: 1 where removing that channel leaves a zero, else 0 (float64).
    """

    labels: Tensor
    clean: Tensor

    def nodes(self) -> Nodes:
        """The labels as an integer array."""
        return self.labels.numpy().astype(np.int64)

    @staticmethod
    def broadcast(nodes: Nodes, dim: int, shape: torch.Size, clean: Tensor | None = None) -> Marks:
        """Marks that are constant over every dimension but ``dim``."""
        view = [1] * len(shape)
        view[dim] = -1
        labels = torch.as_tensor(nodes, dtype=torch.float64).view(view).expand(shape)
        if clean is None:
            return Marks(labels, torch.ones(1, dtype=torch.float64).expand(shape))
        return Marks(labels, clean.double().view(view).expand(shape))


class Ledger:
    """Axes, sets and marks of one traced run, and where in the network the run is."""

    def __init__(self, module: nn.Module) -> None:
        self.sets = UnionFind()
        self.axes: dict[Axis, Nodes] = {}
        self.in_chunk = False
        self.names: dict[int, str] = {}
        self.stack: list[str] = []
        self._by_place: dict[tuple[str, int], Axis] = {}
        self._marks: dict[int, Marks] = {}
        self._transposed: dict[int, Tensor] = {}
        self._alive: list[Tensor] = []  # ids are unique among living tensors only
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            self.names[id(tensor)] = name
            self._alive.append(tensor)

    @property
    def place(self) -> str:
        """The running layer, in words."""
        name = self.stack[-1] if self.stack else ""
        return f"'{name}'" if name else "the network's own forward"

    def record(self, tensor: Tensor, marks: Marks) -> None:
        """Attach marks to an activation."""
        self._alive.append(tensor)
        self._marks[id(tensor)] = marks

    def record_transposed(self, view: Tensor, parameter: Tensor) -> None:
        """Remember that ``view`` is a 2-D parameter seen transposed (linear layers)."""
        self._alive.append(view)
        self._transposed[id(view)] = parameter

    def weight_behind(self, tensor: Tensor) -> Tensor | None:
        """The parameter that ``tensor`` is the transposition of."""
        return self._transposed.get(id(tensor))

    def marks_of(self, tensor: object) -> Marks | None:
        """Marks of an activation; a per-channel parameter or buffer gets its own on first use."""
        if not isinstance(tensor, Tensor):
            return None
        if (marks := self._marks.get(id(tensor))) is not None:
            return marks
        name = self.names.get(id(tensor))
        long_dims = [d for d, n in enumerate(tensor.shape) if n > 1]
        if name is None or len(long_dims) != 1 or not tensor.is_floating_point():
            return None
        nodes = self.axis(tensor, long_dims[0], "along")
        marks = Marks.broadcast(nodes, long_dims[0], tensor.shape)
        self._marks[id(tensor)] = marks
        return marks

    def axis(self, tensor: Tensor, dim: int, role: str) -> Nodes:
        """Nodes of one dimension of a parameter or buffer, made on first use."""
        name = self.names[id(tensor)]
        if (known := self._by_place.get((name, dim))) is not None:
            return self.axes[known]
        axis = self._by_place[name, dim] = Axis(name, dim, role)
        self.axes[axis] = self.sets.new(tensor.shape[dim])
        return self.axes[axis]

    def channels(self, marks: Marks, dim: int, why: str | None = None) -> Nodes:
        """One node per index of ``dim``: whatever meets inside a channel is joined."""
        nodes = np.moveaxis(marks.nodes(), dim, 0)
        nodes = self.sets.find(nodes.reshape(nodes.shape[0], -1))
        first = nodes.max(axis=1)
        mixed = ((nodes != first[:, None]) & (nodes != 0)).any(axis=1)
        for row in np.flatnonzero(mixed):
            self.sets.join_all(nodes[row], why)
        return self.sets.find(first)

    def varies(self, marks: Marks, dim: int) -> bool:
        """Whether labels differ along a dimension."""
        if marks.labels.shape[dim] == 1:
            return False
        nodes = self.sets.find(marks.nodes())
        return bool((nodes != nodes.take([0], axis=dim)).any())


def clean_channels(marks: Marks, dim: int) -> Tensor:
    """Per index of ``dim``: whether all of its elements are clean."""
    return marks.clean.movedim(dim, 0).flatten(1).amin(1)
