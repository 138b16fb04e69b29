"""Turning linear streams: another basis for the channels, in which the last ones hardly matter.

Between the residual additions of EDSR and its kin nothing acts on single channels of the stream,
so any invertible matrix may be multiplied into all layers that write it, and its inverse into all
that read it, without a change of the network's output. In the basis chosen here the directions are
in the order of what the readers make of them, and the last can go. Known for transformers (Ashkboos
et al., "SliceGPT", ICLR 2024).

Whether a stream is linear is found by experiment: a random rotation leaves the output as it is, or
it does not. Names and kinds of layers decide nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.compacting.proof import prove_equal
from srdeploy.models.network import Network
from srdeploy.models.probes import CannotRunError, Size, fit_size, photograph, run
from srdeploy.pruning.tracing.channel_labels import Axis
from srdeploy.pruning.tracing.groups import Group, Grouping
from srdeploy.reconstruct.linear_form import LinearForm, has_form
from srdeploy.reconstruct.moments import Moments, input_moments

_EXACT = 1e-9
"""Largest change of the output, relative to its size, that rounding in float64 explains."""

_PROBE = (24, 20)


def rotate_streams(
    network: Network, grouping: Grouping, counts: Mapping[str, int], inputs: Sequence[Tensor]
) -> tuple[Network, dict[str, Any] | None]:
    """Give every linear stream a basis in which its last channels are those to remove.

    Args:
        network: Left as it is.
        grouping: Its groups.
        counts: How many channels those groups lose that may be turned, by name.
        inputs: Network inputs to find the bases on.

    Returns:
        The turned network, which computes what the given one does, and the record of the proof with
        the streams' groups; None, and the network itself, where no stream is linear.
    """
    chosen = [
        group
        for group in grouping.groups
        if group.name in counts and not why_not_linear(network, group)
    ]
    if not chosen:
        return network, None
    module = network.module
    parts = _readings(module, chosen, inputs)
    turned = copy.deepcopy(module).double()
    for group in chosen:
        kept = len(group.atoms) - counts[group.name]
        _turn(turned, group, _basis(parts[group.name], kept))
    dense = copy.deepcopy(module).double()
    proof = prove_equal(dense, turned, network.card, claim="rotated(x) == dense(x)")
    record = {"streams": [group.name for group in chosen], **proof}
    return replace(network, module=turned.float().eval()), record


def stream_costs(
    network: Network, groups: Sequence[Group], inputs: Sequence[Tensor], gains: Mapping[str, float]
) -> dict[str, list[float]]:
    """What each direction of linear streams is worth, the least first.

    Args:
        network: Left as it is.
        groups: Linear streams.
        inputs: Network inputs to find that on.
        gains: What a relative error of each reader's output counts.

    Returns:
        By group's name, one number a channel: what its removal costs, as
        :func:`~srdeploy.reconstruct.choice.choose_by_cost` counts.
    """
    found: dict[str, list[float]] = {}
    for name, parts in _readings(network.module, groups, inputs, gains).items():
        *_, values = _directions(parts)
        found[name] = values.clamp_min(0).tolist()
    return found


def stream_note(network: Network, group: Group) -> str | None:
    """Whether a stream can be rotated, in words; None for a group that is no stream.

    A stream is what several layers write, added up.
    """
    if group.status == "untouchable" or len(group.layers) < 2:
        return None
    reason = why_not_linear(network, group)
    return f"no: {reason}" if reason else "yes"


def why_not_linear(network: Network, group: Group) -> str:
    """What stands in the way of another basis for a group's channels; empty where nothing does."""
    if reason := _not_plain(network.module, group):
        return reason
    size = len(group.atoms)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(size, size, generator=generator, dtype=torch.float64)
    before = copy.deepcopy(network.module).double()
    after = copy.deepcopy(before)
    _turn(after, group, torch.linalg.qr(noise).Q)

    def both(size: Size) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(photograph(network.card, size)).double()
        return run(before, x), run(after, x)

    try:
        _, (wanted, found) = fit_size(both, _PROBE, network.card.size_multiple)
    except CannotRunError:
        return "it does not run in float64, in which this is tried"
    if float((wanted - found).abs().max()) > _EXACT * float(wanted.abs().max().clamp_min(1.0)):
        return "something acts on its channels one by one"
    return ""


def _not_plain(module: nn.Module, group: Group) -> str:
    """Why the group's channels cannot even be tried: empty where they can."""
    if group.status == "untouchable":
        return group.why[0]
    for axis in group.atoms[0].members:
        owner, _, leaf = axis.tensor.rpartition(".")
        layer = module.get_submodule(owner)
        if not has_form(layer):
            return f"'{owner}' acts on its channels one by one"
        form = LinearForm(layer)
        if form.groups > 1:
            return f"'{owner}' computes in groups of channels"
        if leaf == "weight" and axis.role not in ("in", "out"):
            return f"'{axis.tensor}' belongs to its channels one by one"
    for atom in group.atoms:
        if atom.members.keys() != group.atoms[0].members.keys():
            return "its channels are not all read and written by the same layers"
        if any(len(indices) != 1 for indices in atom.members.values()):
            return "its channels go in blocks"
    return ""


def _axes(group: Group, role: str) -> list[Axis]:
    return [axis for axis in group.atoms[0].members if axis.role == role]


def _readings(
    module: nn.Module,
    groups: Sequence[Group],
    inputs: Sequence[Tensor],
    gains: Mapping[str, float] | None = None,
) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """:func:`_reading` of every reader of every group, by the group's name."""
    wanted = dict.fromkeys(axis.layer for group in groups for axis in _axes(group, "in"))
    found: dict[str, list[tuple[Tensor, Tensor]]] = {group.name: [] for group in groups}
    for layer, moments in input_moments(module, wanted, inputs):
        gain = 1.0 if gains is None else gains.get(layer, 0.0)
        for group in groups:
            for axis in _axes(group, "in"):
                if axis.layer == layer:
                    gram, spread = _reading(module, axis, group, moments)
                    found[group.name].append((gain * gram, spread))
    return found


def _reading(
    module: nn.Module, axis: Axis, group: Group, moments: Moments
) -> tuple[Tensor, Tensor]:
    """How a layer weighs the stream's channels, and how they vary where it reads them.

    Returns:
        ``[C, C]`` each: the Gram matrix of its weights over the power of its outputs, all taps
        added up, and the channels' covariance, mean of all taps.
    """
    form = LinearForm(module.get_submodule(axis.layer))
    matrix, covariance = form.matrix()[0], moments.covariance()[0]
    power = float(((matrix @ covariance) * matrix).sum()) or 1.0
    indices = torch.tensor([atom.members[axis][0] for atom in group.atoms])
    rows = indices[:, None] * form.taps + torch.arange(form.taps)  # [C, taps]
    weights = matrix[:, rows]  # [o, C, taps]
    gram = torch.einsum("oct,odt->cd", weights, weights) / power
    spread = torch.stack([covariance[at][:, at] for at in rows.T]).mean(0)
    return gram, spread


def _basis(parts: Sequence[tuple[Tensor, Tensor]], kept: int) -> Tensor:
    """Directions ``[C, C]`` as columns, those to be kept first.

    With ``M`` what all readers make of the stream and ``S`` how it varies, cutting coordinates of
    ``M^1/2 s`` costs least along the last eigenvectors ``V`` of ``M^1/2 S M^1/2``; the stream is
    then ``M^-1/2 V z``. The columns that stay, and those that go, are made orthonormal among
    themselves: what they span stays, and the readers' weights keep their sizes.
    """
    inverse, order, _ = _directions(parts)
    columns = inverse @ order.flip(1)
    return torch.cat([torch.linalg.qr(c).Q for c in (columns[:, :kept], columns[:, kept:])], 1)


def _directions(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """``M^-1/2``, the eigenvectors of ``M^1/2 S M^1/2`` and its eigenvalues, smallest first."""
    gram = torch.stack([gram for gram, _ in parts]).sum(0)
    spread = torch.stack([spread for _, spread in parts]).mean(0)
    values, vectors = torch.linalg.eigh(gram)
    values = values.clamp_min(1e-6 * float(values.max()) or 1.0)
    root = vectors * values.sqrt() @ vectors.T
    inverse = vectors / values.sqrt() @ vectors.T
    costs, order = torch.linalg.eigh(root @ spread @ root)
    return inverse, order, costs


def _turn(module: nn.Module, group: Group, basis: Tensor) -> None:
    """Write a group's layers in another basis of its channels, in place.

    Args:
        module: The network, in float64.
        group: A linear stream.
        basis: Its new directions as columns ``[C, C]``: readers get it, writers its inverse.
    """
    inverse = torch.linalg.inv(basis).T
    stored = dict(module.named_parameters()) | dict(module.named_buffers())
    with torch.no_grad():
        for axis in group.atoms[0].members:
            tensor = stored[axis.tensor]
            indices = torch.tensor([atom.members[axis][0] for atom in group.atoms])
            old = tensor.index_select(axis.dim, indices)
            side = basis if axis.role == "in" else inverse
            new = torch.tensordot(old, side, dims=([axis.dim], [0])).movedim(-1, axis.dim)
            tensor.index_copy_(axis.dim, indices, new)
