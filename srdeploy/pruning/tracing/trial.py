"""Trying out whether groups can lose channels, where the network's own code may not stand it.

Code that takes a number of channels from one tensor and reshapes another by it
(``y.reshape(b, heads, c // heads, h, w)``) cannot be seen by a trace, which follows tensors only.
So a third of every group's atoms is removed on a small image, and what breaks is found. If it does
not with other numbers in the code's reshapes, or of heads, those are used, else it is kept.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from srdeploy.models.code_numbers import is_part_number
from srdeploy.models.network import Network
from srdeploy.models.probes import PROBE_SIZES, CannotRunError, Size, fit_size, photograph, run
from srdeploy.pruning.plan import apply_masks, cut, make_plan
from srdeploy.pruning.tracing.channel_labels import Axis
from srdeploy.pruning.tracing.groups import Atom, Group, Grouping, collect
from srdeploy.pruning.tracing.trace import Trace

_LARGEST_DIFFERENCE = 1e-4
"""Relative to the largest output: far more than rounding, far less than a wrong channel."""

_PART = 3

_BROKEN = "without some of its channels"


def try_out(network: Network, traced: Trace) -> Grouping:
    """A network's groups, with those untouchable without whose channels its code fails.

    Args:
        network: Left as it is.
        traced: Its trace.
    """
    plain = keep_what_breaks(network, collect(traced, network.module))
    broken = _producers(_broken(plain))
    if not broken or not traced.counts:
        return plain
    concerned = _concerned(collect(traced, network.module, traced.counts), broken)
    needed, best = [axis for axis in traced.counts if axis in concerned], plain
    while needed:
        mended = collect(traced, network.module, needed)
        mended = keep_what_breaks(network, mended, PROBE_SIZES[:3])
        if _producers(_free(best)) < _producers(_free(mended)):
            best = mended
        # Code that divides by the number of heads needs it as it was, and only other sizes.
        failed = _concerned(mended, _producers(_broken(mended)))
        heads = {axis for axis in needed if axis in failed and not is_part_number(axis.tensor)}
        if not heads:
            break
        needed = [axis for axis in needed if axis not in heads]
    return best


def _broken(grouping: Grouping) -> list[Group]:
    return [group for group in grouping.groups if group.why and group.why[0].startswith(_BROKEN)]


def _concerned(grouping: Grouping, outputs: set[tuple[Axis, int]]) -> set[Axis]:
    """The axes of the atoms that have some of these outputs."""
    atoms = (atom for group in grouping.groups for atom in group.atoms)
    return {
        axis for atom in atoms if not outputs.isdisjoint(_outputs(atom)) for axis in atom.members
    }


def _free(grouping: Grouping) -> list[Group]:
    return [group for group in grouping.groups if group.status != "untouchable"]


def _producers(groups: Iterable[Group]) -> set[tuple[Axis, int]]:
    return {output for group in groups for atom in group.atoms for output in _outputs(atom)}


def _outputs(atom: Atom) -> list[tuple[Axis, int]]:
    return [(a, i) for a, indices in atom.members.items() if a.role == "out" for i in indices]


def keep_what_breaks(
    network: Network, grouping: Grouping, sizes: Sequence[Size] = PROBE_SIZES[:1]
) -> Grouping:
    """The same groups, with those untouchable without whose channels the network's code fails.

    Args:
        network: Left as it is.
        grouping: Its groups.
        sizes: Height and width of the images that it is tried out on.
    """
    trial = _Trial(network, grouping, sizes)
    free = _free(grouping)
    fine = {group.name for group in trial.add([], free)}
    groups = [
        replace(group, status="untouchable", why=[trial.reasons[group.name]])
        if group in free and group.name not in fine
        else group
        for group in grouping.groups
    ]
    return replace(grouping, groups=groups)


class _Trial:
    """Runs a network without some of its channels.

    Attributes:
        reasons: By name of a group, what happened without part of it.
    """

    def __init__(self, network: Network, grouping: Grouping, sizes: Sequence[Size]) -> None:
        self.reasons: dict[str, str] = {}
        self._grouping = grouping
        self._module = copy.deepcopy(network.module).eval()

        def attempt(size: Size) -> Tensor:
            x = torch.from_numpy(photograph(network.card, size))
            run(self._module, x)
            return x

        self._images = [fit_size(attempt, s, network.card.size_multiple)[1] for s in sizes]
        exact = copy.deepcopy(self._module).double()
        with suppress(CannotRunError):  # constants of float32 that are no buffers
            run(exact, self._images[0].double())
            self._module, self._images = exact, [x.double() for x in self._images]

    def add(self, fine: list[Group], more: Sequence[Group]) -> list[Group]:
        """Those of ``more`` that can lose channels together with the ``fine`` ones, and these."""
        if not more:
            return fine
        reason = self._broken([*fine, *more])
        if not reason:
            return [*fine, *more]
        if len(more) == 1:
            self.reasons[more[0].name] = reason
            return fine
        half = len(more) // 2
        return self.add(self.add(fine, more[:half]), more[half:])

    def _broken(self, groups: Sequence[Group]) -> str:
        """What is wrong without a part of these; empty where nothing is."""
        removed = {g.name: list(range(max(1, len(g.atoms) // _PART))) for g in groups}
        masked = copy.deepcopy(self._module)
        plan = make_plan(self._grouping, removed, "trial", {})
        apply_masks(masked, plan)
        small = cut(masked, plan)
        for x in self._images:
            try:
                found = run(small, x)
            except CannotRunError as error:
                return f"{_BROKEN} {str(error).partition(': ')[2].rstrip('.')}"
            wanted = run(masked, x)
            if found.shape != wanted.shape or (
                float((found - wanted).abs().max())
                > _LARGEST_DIFFERENCE * float(wanted.abs().max())
            ):
                return f"{_BROKEN} the network's code computes something else"
        return ""
