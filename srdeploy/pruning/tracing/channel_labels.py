"""What tracing knows: a label and a cleanness for every element of every activation."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.models.code_calls import Site
from srdeploy.models.code_numbers import is_number_name
from srdeploy.models.module_path import ModulePath
from srdeploy.pruning.tracing.boxes import Boxes
from srdeploy.pruning.tracing.cut_numbers import CutNumbers
from srdeploy.pruning.tracing.cuts import Cuts
from srdeploy.pruning.tracing.unionfind import Nodes, UnionFind


class UnsupportedOperationError(UserError):
    """The network does something to its channels that cannot be followed safely."""


class NotFollowedError(Exception):
    """A rule cannot tell what became of channels; the text says why. What is read is then kept."""


@dataclass(frozen=True, order=True)
class Axis:
    """One dimension of one parameter or buffer: the place where channels are physically cut.

    Attributes:
        tensor: Name of the tensor in the state dict.
        dim: Its dimension.
        role: "out" (a layer's own output channels), "in" (channels it reads), "along"
            (per-channel numbers that go with a channel: bias, normalisation, slopes) or "count"
            (no tensor, but an attribute, or a number in the code, that is how many these are).
    """

    tensor: str
    dim: int
    role: str

    @property
    def layer(self) -> str:
        """Name of the layer the tensor belongs to."""
        return self.tensor.rpartition(".")[0] or self.tensor


@dataclass(frozen=True)
class ChannelLabels:
    """Labels of an activation, kept small: a dimension along which they are equal has size 1.

    Attributes:
        labels: The node of the channel an element belongs to, 0 for none. Float64 holds them
            exactly and is accepted by every operation that moves elements.
        clean: 1 where removing that channel leaves a zero, else 0 (float64). Of elements of no
            channel: 1 where they are constants, 0 where they depend on the image.
        shape: Shape of the activation; ``labels`` and ``clean`` broadcast to it.
    """

    labels: Tensor
    clean: Tensor
    shape: torch.Size

    @classmethod
    def of(cls, labels: Tensor, clean: Tensor, shape: torch.Size | None = None) -> ChannelLabels:
        """Channel labels from tensors that have, or broadcast to, the activation's shape."""
        shape = labels.shape if shape is None else shape
        return cls(_small(labels, len(shape)), _small(clean, len(shape)), shape)

    @classmethod
    def broadcast(
        cls, nodes: Nodes, dim: int, shape: torch.Size, clean: Tensor | None = None
    ) -> ChannelLabels:
        """Channel labels that are constant over every dimension but ``dim``."""
        view = [1] * len(shape)
        view[dim] = -1
        labels = torch.from_numpy(nodes.astype(np.float64)).view(view)
        if clean is None:
            return cls(labels, torch.ones([1] * len(shape), dtype=torch.float64), shape)
        return cls.of(labels, clean.double().view(view), shape)

    @classmethod
    def settled(cls, shape: torch.Size) -> ChannelLabels:
        """Of a result that depends on the image, but on nothing that can be removed."""
        zero = torch.zeros([1] * len(shape), dtype=torch.float64)
        return cls(zero, zero, shape)

    def nodes(self) -> Nodes:
        """The labels as an integer array that broadcasts to the activation's shape."""
        return self.labels.numpy().astype(np.int64)

    def full_labels(self) -> Tensor:
        """Labels in the activation's shape."""
        return self.labels.expand(self.shape)

    def full_clean(self) -> Tensor:
        """Cleanness in the activation's shape."""
        return self.clean.expand(self.shape)

    def clean_channels(self, dim: int) -> Tensor:
        """Per index of ``dim``: whether all of its elements are clean (float64, 0 or 1)."""
        return self.clean.movedim(dim, 0).flatten(1).amin(1).expand(self.shape[dim])


def _small(tensor: Tensor, n_dims: int) -> Tensor:
    """Give ``tensor`` leading dimensions up to ``n_dims``, and size 1 wherever it is constant."""
    tensor = tensor.reshape([1] * (n_dims - tensor.dim()) + list(tensor.shape))
    for dim, size in enumerate(tensor.shape):
        if size > 1 and bool((tensor == (first := tensor.narrow(dim, 0, 1))).all()):
            tensor = first
    return tensor


class Labelling:
    """Axes, sets and labels of one traced run, and where in the network the run is.

    Tensors are known by their ids, which are unique among living ones only: what is known of a
    tensor is forgotten with it, so that a run takes no more memory than the network itself.

    Attributes:
        events: Layer and operation of everything that tied or froze channels, or made a removed
            channel non-zero, in order.
        cut_numbers: Attributes by which the network's code cuts channels.
        boxes: Channels that a reshape takes apart.
        cuts: Cuts at numbers in the network's code.
        reshapes: Of every reshape that code calls, the layers that run, the sizes of the result and
            its labels.
        not_followed: Operation, layer, and why no rule follows it; in order, each once.
    """

    def __init__(self, module: nn.Module, cut_numbers: CutNumbers | None = None) -> None:
        self.events: list[tuple[str, str]] = []
        self.not_followed: dict[tuple[str, str, str], None] = {}
        self.sets = UnionFind()
        self.axes: dict[Axis, Nodes] = {}
        self.boxes, self.cuts = Boxes(), Cuts()
        self.reshapes: list[tuple[list[str], Site, Nodes | None]] = []
        self.in_chunk = self.in_product = False
        self.cut_numbers = cut_numbers or {}
        self.place = ModulePath()
        self.names = {id(tensor): name for name, tensor in _stored(module)}
        self._sources = {own: frozenset([name]) for own, name in self.names.items()}
        self._kept: dict[str, str] = {}
        self._by_place: dict[tuple[str, int], Axis] = {}
        self._labelled: dict[int, ChannelLabels] = {}
        self._transposed: dict[int, Tensor] = {}
        self._mixed: dict[int, tuple[Tensor, str]] = {}
        self._alive: dict[int, dict[int, weakref.ref[Tensor]]] = {}  # by memory, then by id
        for _, tensor in _stored(module):
            self.note(tensor)

    def note(self, tensor: Tensor) -> None:
        """Know that a tensor uses its memory, as long as it lives."""
        memory, own = tensor.untyped_storage()._cdata, id(tensor)
        sharing = self._alive.setdefault(memory, {})
        if own not in sharing:
            sharing[own] = weakref.ref(tensor, lambda _: self._forget(memory, own))

    def _forget(self, memory: int, own: int) -> None:
        self._labelled.pop(own, None)
        self._transposed.pop(own, None)
        self._sources.pop(own, None)
        self._mixed.pop(own, None)
        if (sharing := self._alive.get(memory)) is not None:
            sharing.pop(own, None)
            if not sharing:
                del self._alive[memory]

    def sharing(self, tensor: Tensor) -> list[Tensor]:
        """The other tensors that use the same memory."""
        known = self._alive.get(tensor.untyped_storage()._cdata, {})
        living = [reference() for reference in list(known.values())]
        return [other for other in living if other is not None and other is not tensor]

    def is_stored(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter or buffer, or computed from such and constants alone."""
        return id(tensor) in self._sources

    def sources(self, tensors: Iterable[Tensor]) -> frozenset[str]:
        """Names of the parameters and buffers that any of these were computed from."""
        return frozenset().union(*(self._sources.get(id(tensor), ()) for tensor in tensors))

    def note_stored(self, tensor: Tensor, sources: frozenset[str]) -> None:
        """Remember that a tensor was computed from these parameters and buffers."""
        self._sources[id(tensor)] = self.sources([tensor]) | sources

    def record(self, tensor: Tensor, labelled: ChannelLabels) -> None:
        """Attach labels to an activation."""
        self.note(tensor)
        self._labelled[id(tensor)] = labelled

    def record_mixed(self, view: Tensor, before: Tensor, why: str) -> None:
        """Remember that a reshape mixes channels with pixels, which another may undo."""
        self._mixed[id(view)] = before, why

    def before_mixing(self, tensor: Tensor) -> Tensor:
        """What a tensor was reshaped from that is mixed; itself where it is not."""
        before, _ = self._mixed.get(id(tensor), (tensor, ""))
        return before

    def use_mixed(self, tensors: Iterable[Tensor]) -> None:
        """Something else than a reshape reads tensors: what is mixed in them stays."""
        for tensor in tensors:
            if (known := self._mixed.pop(id(tensor), None)) is not None:
                self.freeze(*known)

    def record_transposed(self, view: Tensor, parameter: Tensor) -> None:
        """Remember that ``view`` is a 2-D parameter seen transposed (linear layers)."""
        self.note(view)
        self._transposed[id(view)] = parameter

    def weight_behind(self, tensor: Tensor) -> Tensor | None:
        """The parameter that ``tensor`` is the transposition of."""
        return self._transposed.get(id(tensor))

    def labels_of(self, tensor: object) -> ChannelLabels | None:
        """Labels of an activation; a per-channel parameter or buffer gets its own on first use."""
        if not isinstance(tensor, Tensor):
            return None
        if (labelled := self._labelled.get(id(tensor))) is not None:
            return labelled
        name = self.names.get(id(tensor))
        long_dims = [d for d, n in enumerate(tensor.shape) if n > 1]
        if name is None or len(long_dims) != 1 or not tensor.is_floating_point():
            return None
        (dim,) = long_dims
        labelled = ChannelLabels.broadcast(self.axis(tensor, dim, "along"), dim, tensor.shape)
        self._labelled[id(tensor)] = labelled
        return labelled

    def all_clean(self, tensors: list[Tensor]) -> bool:
        """Whether every channel that any of them carries is zero once it is removed."""
        known = [
            labelled
            for tensor in tensors
            if (labelled := self._labelled.get(id(tensor))) is not None
        ]
        return all(bool((labelled.clean == 1).all()) for labelled in known)

    def axis(self, tensor: Tensor, dim: int, role: str) -> Nodes:
        """Nodes of one dimension of a parameter or buffer, made on first use.

        Raises:
            NotFollowedError: one weight that serves in both directions.
        """
        name = self.names[id(tensor)]
        known = self._by_place.get((name, dim))
        if known is None:
            axis = self._by_place[name, dim] = Axis(name, dim, role)
            self.axes[axis] = self.sets.new(tensor.shape[dim])
            if (why := self._kept.get(name)) is not None:
                self.sets.freeze(self.axes[axis], why)
            return self.axes[axis]
        if known.role != role:
            raise NotFollowedError(
                f"dimension {dim} of '{name}' is read as '{role}' channels, elsewhere as "
                f"'{known.role}'"
            )
        return self.axes[known]

    def count(self, part: str, number: str, nodes: Nodes) -> None:
        """A number of a part, an attribute or one in its code, is the number of these channels.

        Where it is the number of others, too, as many of those go.
        """
        name = f"{part}.{number}"
        known = self._by_place.get((name, 0))
        if known is None:
            known = self._by_place[name, 0] = Axis(name, 0, "count")
            self.axes[known] = nodes
            return
        where = f"'{part}'" if part else "the network's own forward"
        kind = "number in the code" if is_number_name(number) else "attribute"
        self.tie(self.axes[known], nodes, f"counted by the same {kind} in {where}")

    def channels(self, labelled: ChannelLabels, dim: int, why: str | None = None) -> Nodes:
        """One node per index of ``dim``: whatever meets inside a channel is joined."""
        nodes = np.moveaxis(labelled.nodes(), dim, 0)
        nodes = self.sets.find(nodes.reshape(nodes.shape[0], -1))
        first = nodes.max(axis=1)
        for row in np.flatnonzero((nodes != first[:, None]).any(axis=1)):
            self.sets.join_all(nodes[row], why)
            if (nodes[row] == 0).any():
                self.sets.freeze(nodes[row], f"side by side with fixed numbers in {self.place}")
        return np.broadcast_to(self.sets.find(first), (labelled.shape[dim],))

    def tie(self, a: Nodes, b: Nodes, why: str | None = None) -> None:
        """Channels at the same places of ``a`` and ``b`` go together; beside nothing, they stay."""
        self.sets.join(a, b, why)
        a, b = np.broadcast_arrays(a, b)
        lonely = np.where((a == 0) != (b == 0), a + b, 0)
        self.sets.freeze(lonely, f"tied to fixed numbers in {self.place}")

    def freeze(self, tensor: Tensor, why: str) -> None:
        """Declare that no channel of an activation can be removed."""
        if (labelled := self.labels_of(tensor)) is not None:
            self.sets.freeze(labelled.nodes(), why)

    def keep(self, tensor: Tensor, why: str) -> None:
        """The same, and for the parameters and buffers that the tensor was computed from."""
        if (labelled := self._labelled.get(id(tensor))) is not None:
            self.sets.freeze(labelled.nodes(), why)
        for name in self.sources([tensor]):
            self._kept.setdefault(name, why)
            for (owner, _), axis in self._by_place.items():
                if owner == name:
                    self.sets.freeze(self.axes[axis], why)

    def is_labelled(self, tensor: Tensor) -> bool:
        """Whether channels of it are known."""
        return id(tensor) in self._labelled

    def is_from_image(self, tensor: Tensor) -> bool:
        """Whether it is an activation."""
        return id(tensor) in self._labelled and not self.is_stored(tensor)

    def is_settled(self, tensor: Tensor) -> bool:
        """Whether it is an activation of which no element belongs to a channel."""
        return self.is_from_image(tensor) and not bool(self._labelled[id(tensor)].labels.any())

    def varies(self, labelled: ChannelLabels, dim: int) -> bool:
        """Whether labels differ along a dimension."""
        if labelled.labels.shape[dim] == 1:
            return False
        nodes = self.sets.find(labelled.nodes())
        return bool((nodes != nodes.take([0], axis=dim)).any())


def _stored(module: nn.Module) -> list[tuple[str, Tensor]]:
    """Parameters and buffers that a file holds: others cannot be rebuilt at another size."""
    transient = {
        f"{prefix}.{leaf}" if prefix else leaf
        for prefix, owner in module.named_modules()
        for leaf in owner._non_persistent_buffers_set
    }
    named = [*module.named_parameters(), *module.named_buffers()]
    return [(name, tensor) for name, tensor in named if name not in transient]
