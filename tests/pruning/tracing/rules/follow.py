"""One operation and its rule, on tensors whose labels are given, and what became of channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from srdeploy.pruning.tracing.channel_labels import Axis, ChannelLabels, Labelling
from srdeploy.pruning.tracing.rules.call import Call
from srdeploy.pruning.tracing.rules.table import rule_for

aten = torch.ops.aten
HERE = "the network's own forward"  # where an operation is that no layer runs
Nested = Any  # lists of lists of numbers


class Followed:
    """A labelling that knows channels 1 to ``channels``, each tied to no other.

    Args:
        channels: How many there are before anything is read or issued by a layer.
        layers: The layers of the network that is followed, by name.
    """

    def __init__(self, channels: int = 0, **layers: nn.Module | nn.Parameter) -> None:
        self.module = nn.Module()
        for name, layer in layers.items():
            setattr(self.module, name, layer)
        self.labelling = Labelling(self.module)
        self.given = channels
        self.labelling.sets.new(channels)

    def tensor(self, labels: Nested, clean: Nested = 1.0, value: float | None = None) -> Tensor:
        """A tensor of the shape of ``labels``, the channel of each element; 0 for none."""
        labels = torch.as_tensor(labels, dtype=torch.float64)
        clean = torch.as_tensor(clean, dtype=torch.float64)
        made = torch.rand(labels.shape) + 0.5 if value is None else torch.full(labels.shape, value)
        self.labelling.record(made, ChannelLabels.of(labels, clean.expand(labels.shape)))
        return made

    def image(
        self, labels: Sequence[int], clean: Sequence[float] | None = None,
        size: Sequence[int] = (2, 3), value: float | None = None,
    ) -> Tensor:  # fmt: skip
        """A tensor [1, C, *size] whose channels are ``labels``."""

        def spread(numbers: Sequence[float]) -> Tensor:
            column = torch.tensor(numbers, dtype=torch.float64).view(1, -1, *[1] * len(size))
            return column.expand(1, len(numbers), *size)

        return self.tensor(spread(labels), spread(clean or [1.0] * len(labels)), value)

    def do(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Run an operation of aten, then its rule, as the trace does."""
        name = operation.overloadpacket.__name__
        in_place = name.endswith("_")
        before = (args[0].clone(), *args[1:]) if in_place else args
        out = operation(*args, **kwargs)
        call = Call(operation, name.rstrip("_"), before, kwargs, out, args, in_place)
        rule_for(call)(self.labelling, call)
        return out

    def labels(self, tensor: Tensor) -> Nested:
        """The channel of each element; channels that are tied go by the lowest of them."""
        return self.labelling.sets.find(
            self._labelled(tensor).full_labels().long().numpy()
        ).tolist()

    def clean(self, tensor: Tensor) -> Nested:
        """Of each element, whether it is zero once its channel is removed: 1 or 0."""
        labelled = self._labelled(tensor)
        assert labelled.shape == tensor.shape
        return labelled.full_clean().tolist()

    def channels(self, image: Tensor, dim: int = 1) -> tuple[list[int], list[float]]:
        """Label and cleanness along one dimension; along the others they must not vary."""
        found = []
        for nested in (self.labels(image), self.clean(image)):
            rows = torch.as_tensor(nested).movedim(dim, 0).reshape(image.shape[dim], -1)
            assert bool((rows == rows[:, :1]).all()), nested
            found.append(rows[:, 0].tolist())
        return found[0], found[1]

    def axes(self) -> dict[tuple[str, int, str], list[int]]:
        """The channels of what layers read, issue or carry along: by tensor, dimension and role."""
        return {
            (axis.tensor, axis.dim, axis.role): nodes.tolist()
            for axis, nodes in self.labelling.axes.items()
        }

    def issued(self, tensor: str, dim: int = 0) -> list[int]:
        """The channels that a weight issues, as they are tied now."""
        nodes = self.labelling.axes[Axis(tensor, dim, "out")]
        return self.labelling.sets.find(nodes).tolist()

    def ties(self) -> list[tuple[int, ...]]:
        """The sets of more than one channel, in order."""
        return sorted(own for own in self._sets().values() if len(own) > 1)

    def why_tied(self) -> dict[tuple[int, ...], list[str]]:
        """The sets that were tied for a reason, with all of the reasons."""
        sets = self._sets()
        return {sets[root]: reasons for root, reasons in self.labelling.sets.joins().items()}

    def frozen(self) -> dict[int, str]:
        """Every channel that has to stay, with the first reason."""
        sets = self._sets()
        reasons = self.labelling.sets.frozen()
        return {node: why for root, why in reasons.items() for node in sets[root]}

    def _labelled(self, tensor: Tensor) -> ChannelLabels:
        labelled = self.labelling.labels_of(tensor)
        assert labelled is not None
        return labelled

    def _sets(self) -> dict[int, tuple[int, ...]]:
        count = self.given + sum(len(nodes) for nodes in self.labelling.axes.values())
        sets: dict[int, tuple[int, ...]] = {}
        for node, root in enumerate(self.labelling.sets.find(np.arange(count + 1)).tolist()):
            if node:
                sets[root] = (*sets.get(root, ()), node)
        return sets
