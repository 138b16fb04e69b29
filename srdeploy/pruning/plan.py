"""A plan: which channels stay, as data that anyone can read and that compaction follows."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from srdeploy.errors import SrdeployError
from srdeploy.models.card import RemovedPart
from srdeploy.models.removed_parts import remove_parts
from srdeploy.models.resize import follow_shapes, replace_tensor, set_numbers, tensor_places
from srdeploy.pruning.tracing.groups import Grouping
from srdeploy.pruning.tracing.residual_blocks import ResidualBlock


class Plan(BaseModel):
    """Channels to keep.

    Attributes:
        method: The pruning method ("l1", ...).
        options: The options it ran with.
        removed: Group name to the indices of its removed atoms.
        keep: Tensor name to dimension to the kept indices, for every axis that loses some.
        zero: The same, restricted to axes on which a removed channel's own numbers lie: zeroing
            them there is what "masked" means.
        numbers: Parts of the network to those of their attributes that are numbers of channels, as
            the compact network has them.
        blocks: Names of residual blocks that go entirely.
        parts: What goes with them.
        ends: The layers of these blocks without whose output they pass their input on: zeroing
            them is what "masked" means there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    options: dict[str, Any]
    removed: dict[str, list[int]]
    keep: dict[str, dict[int, list[int]]]
    zero: dict[str, dict[int, list[int]]]
    numbers: dict[str, dict[str, int]] = {}
    blocks: list[str] = []
    parts: dict[str, RemovedPart] = {}
    ends: list[str] = []

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        """How much goes, not which."""
        yield "method", self.method
        yield "ratio", self.options.get("ratio")
        yield "removed", sum(map(len, self.removed.values()))
        yield "groups", len(self.removed)
        yield "tensors", len(self.keep)
        if self.blocks:
            yield "blocks", len(self.blocks)


def make_plan(
    grouping: Grouping,
    removed: Mapping[str, list[int]],
    method: str,
    options: dict[str, Any],
    blocks: Sequence[ResidualBlock] = (),
) -> Plan:
    """Turn removed atoms into the indices kept on every axis they touch.

    Args:
        grouping: The groups; without the layers of the blocks that go.
        removed: Group name to the indices of its removed atoms.
        method: For the record.
        options: Likewise.
        blocks: Residual blocks that go entirely, none of them inside another.
    """
    gone: dict[tuple[str, int, str], set[int]] = {}
    for group in grouping.groups:
        for index in removed.get(group.name, []):
            for axis, indices in group.atoms[index].members.items():
                gone.setdefault((axis.tensor, axis.dim, axis.role), set()).update(indices)
    sizes = {(axis.tensor, axis.dim): size for axis, size in grouping.sizes.items()}
    keep: dict[str, dict[int, list[int]]] = {}
    zero: dict[str, dict[int, list[int]]] = {}
    numbers: dict[str, dict[str, int]] = {}
    for (tensor, dim, role), lost in gone.items():
        kept = [i for i in range(sizes[tensor, dim]) if i not in lost]
        if not kept:
            raise SrdeployError(f"The plan leaves nothing of dimension {dim} of '{tensor}'.")
        if role == "count":
            part, _, attribute = tensor.rpartition(".")
            numbers.setdefault(part, {})[attribute] = len(kept)
            continue
        keep.setdefault(tensor, {})[dim] = kept
        if role != "in":
            zero.setdefault(tensor, {})[dim] = sorted(lost)
    return Plan(
        method=method,
        options=options,
        removed=dict(removed),
        keep=keep,
        zero=zero,
        numbers=numbers,
        blocks=[block.name for block in blocks],
        parts={name: part for block in blocks for name, part in block.parts.items()},
        ends=[end for block in blocks for end in block.ends],
    )


def apply_masks(module: nn.Module, plan: Plan) -> None:
    """Zero, in place, everything that belongs to removed channels, and the ends of blocks."""
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    with torch.no_grad():
        for end in plan.ends:
            for tensor in module.get_submodule(end).parameters(recurse=False):
                tensor.zero_()
        for name, dims in plan.zero.items():
            for dim, indices in dims.items():
                state[name].index_fill_(dim, torch.tensor(indices), 0.0)


def cut(module: nn.Module, plan: Plan) -> nn.Module:
    """A copy of ``module`` with only the kept indices on every axis of the plan.

    The blocks of the plan are gone.
    """
    small = copy.deepcopy(module)
    remove_parts(small, plan.parts)
    stored = dict(small.named_parameters()) | dict(small.named_buffers())
    places = tensor_places(small)
    owners: dict[int, nn.Module] = {}
    for name, dims in plan.keep.items():
        old = stored[name]
        tensor = old.detach()
        for dim, kept in dims.items():
            tensor = tensor.index_select(dim, torch.tensor(kept))
        replace_tensor(places[id(old)], old, tensor.clone())
        owners |= {id(owner): owner for owner, _ in places[id(old)]}
    for owner in owners.values():
        follow_shapes(owner)
    set_numbers(small, plan.numbers)
    return small
