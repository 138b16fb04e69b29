"""Which channels to remove: those whose loss their readers can best make up for.

The structured form of the optimal brain surgeon (Hassibi and Stork, NIPS 1992; Frantar and
Alistarh, "Optimal Brain Compression", NeurIPS 2022): for a layer with weights ``W`` whose inputs
have the covariance ``H``, removing the inputs ``T`` while all other weights adjust raises the mean
squared error of its outputs by ``tr(W_T [H^-1]_TT^-1 W_T^T)``. The cheapest channel goes, weights
and ``H^-1`` are brought up to date, and so on. A channel that several layers read costs the sum
over them, each in units of the power of its own outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from srdeploy.pruning.tracing.channel_labels import Axis
from srdeploy.pruning.tracing.groups import Group, Grouping
from srdeploy.reconstruct.linear_form import LinearForm, has_form
from srdeploy.reconstruct.moments import Moments, input_moments

DAMPING = 1e-4
"""Added to the diagonal of ``H``, in units of its mean: channels may be copies of one another."""


class Reader:
    """A layer that reads a group's channels, while they are being removed.

    Args:
        matrix: Its weights, float64 ``[o, n]``.
        covariance: Of its columns, float64 ``[n, n]``.
        channels: For each atom the rows of the columns that go with it; of equal number.
        gain: What a relative error of its outputs counts.
    """

    def __init__(
        self, matrix: Tensor, covariance: Tensor, channels: Tensor, gain: float = 1.0
    ) -> None:
        self._weight = matrix.clone()
        self._rows = channels
        power = ((matrix @ covariance) * matrix).sum()
        self._scale = gain / float(power) if power > 0 else 0.0
        damped = covariance.clone()
        damped.diagonal().add_(DAMPING * float(covariance.diagonal().mean()) or 1.0)
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))

    def costs(self, atoms: Sequence[int]) -> Tensor:
        """What the removal of each atom would cost: share of the outputs' power, float64."""
        rows = self._rows[list(atoms)]
        blocks = self._inverse[rows[:, :, None], rows[:, None, :]]
        weights = self._weight[:, rows].permute(1, 2, 0)  # [atoms, rows, o]
        return (weights * torch.linalg.solve(blocks, weights)).sum((1, 2)) * self._scale

    def remove(self, atom: int) -> None:
        """Take an atom out, all other weights adjusting."""
        rows = self._rows[atom]
        block = self._inverse[rows][:, rows]
        across = torch.linalg.solve(block, self._inverse[rows])
        self._weight -= self._weight[:, rows] @ across
        self._inverse -= self._inverse[:, rows] @ across


def choose_by_cost(
    module: nn.Module,
    grouping: Grouping,
    counts: Mapping[str, int],
    inputs: Sequence[Tensor],
    gains: Mapping[str, float] | None = None,
) -> tuple[dict[str, list[int]], dict[str, list[float]]]:
    """The atoms of each group that are cheapest to remove.

    Args:
        module: The network, in evaluation mode; it is run, not changed.
        grouping: Its groups.
        counts: How many atoms each group loses, by name.
        inputs: Network inputs to run it on.
        gains: What a relative error of each reader's output counts; default: 1.

    Returns:
        The chosen atoms of each group, in order, and what each removal cost (relative to the power
        of what its readers put out, times the gain, summed over the readers). A group that no layer
        with a matrix reads as it is, when it runs, has no costs; its atoms are chosen by the L1
        norm of their weights.
    """
    groups = [group for group in grouping.groups if group.name in counts]
    readers: dict[str, dict[str, Axis]] = {g.name: readers_of(module, g) for g in groups}
    unread = {name: counts[name] for name, found in readers.items() if not found}
    groups = [group for group in groups if group.name not in unread]
    needed = dict.fromkeys(name for found in readers.values() for name in found)
    open_groups = {group.name: group for group in groups}
    waiting: dict[str, list[Reader]] = {group.name: [] for group in groups}
    removed: dict[str, list[int]] = {}
    costs: dict[str, list[float]] = {}
    for layer, moments in input_moments(module, needed, inputs):
        for name in [n for n in open_groups if layer in readers[n]]:
            group = open_groups[name]
            axis = readers[name].pop(layer)
            gain = 1.0 if gains is None else gains.get(layer, 0.0)
            waiting[name].append(_reader(module, layer, moments, axis, group, gain))
            if not readers[name]:
                del open_groups[name]
                removed[name], costs[name] = _cheapest(
                    waiting.pop(name), len(group.atoms), counts[name]
                )
    for name, group in open_groups.items():  # the network's code uses some readers' weights itself
        if waiting[name]:
            removed[name], costs[name] = _cheapest(waiting[name], len(group.atoms), counts[name])
        else:
            unread[name] = counts[name]
    chosen = {name: sorted(removed[name]) for name in counts if name in removed}
    if unread:
        from srdeploy.pruning.methods.pruners import (
            choose,  # NNI is imported where something needs it
        )

        chosen |= choose(module, grouping, unread, "l1")
    return chosen, costs


def readers_of(module: nn.Module, group: Group) -> dict[str, Axis]:
    """Layers that read every atom of a group through one axis, by name."""
    found: dict[str, Axis] = {}
    for axis in group.atoms[0].members:
        owner, _, leaf = axis.tensor.rpartition(".")
        if axis.role != "in" or leaf != "weight":
            continue
        layer = module.get_submodule(owner)
        if not has_form(layer):
            continue
        form = LinearForm(layer)
        if form.groups > 1 or axis.dim != form.input_dim:
            continue
        sizes = {len(atom.members.get(axis, ())) for atom in group.atoms}
        if len(sizes) == 1 and 0 not in sizes:
            found[owner] = axis
    return found


def _reader(
    module: nn.Module, layer: str, moments: Moments, axis: Axis, group: Group, gain: float
) -> Reader:
    form = LinearForm(module.get_submodule(layer))
    taps = torch.arange(form.taps)
    indices = torch.tensor([atom.members[axis] for atom in group.atoms])  # [atoms, channels]
    rows = (indices[:, :, None] * form.taps + taps).flatten(1)
    return Reader(form.matrix()[0], moments.covariance()[0], rows, gain)


def _cheapest(readers: Sequence[Reader], atoms: int, count: int) -> tuple[list[int], list[float]]:
    alive = list(range(atoms))
    removed: list[int] = []
    costs: list[float] = []
    for _ in range(count):
        cost = torch.stack([reader.costs(alive) for reader in readers]).sum(0)
        at = int(cost.argmin())
        costs.append(float(cost[at]))
        removed.append(alive.pop(at))
        for reader in readers:
            reader.remove(removed[-1])
    return removed, costs
