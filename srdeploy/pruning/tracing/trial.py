"""Trying out whether groups can lose channels, where the network's own code may not stand it.

Code that takes a number of channels from one tensor and reshapes another by it
(``y.reshape(b, heads, c // heads, h, w)``) cannot be seen by a trace, which follows tensors only.
So a third of every group's atoms is removed on a small image, and what breaks is found and kept.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor

from srdeploy.models.network import Network
from srdeploy.models.probes import PROBE_SIZES, CannotRunError, Size, fit_size, photograph, run
from srdeploy.pruning.plan import apply_masks, cut, make_plan
from srdeploy.pruning.tracing.groups import Group, Grouping

_LARGEST_DIFFERENCE = 1e-4
"""Relative to the largest output: far more than rounding, far less than a wrong channel."""

_PART = 3


def keep_what_breaks(network: Network, grouping: Grouping) -> Grouping:
    """The same groups, with those untouchable without whose channels the network's code fails.

    Args:
        network: Left as it is.
        grouping: Its groups.
    """
    trial = _Trial(network, grouping)
    free = [group for group in grouping.groups if group.status != "untouchable"]
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

    def __init__(self, network: Network, grouping: Grouping) -> None:
        self.reasons: dict[str, str] = {}
        self._grouping = grouping
        self._module = copy.deepcopy(network.module).eval()

        def attempt(size: Size) -> Tensor:
            x = torch.from_numpy(photograph(network.card, size))
            run(self._module, x)
            return x

        _, self._x = fit_size(attempt, PROBE_SIZES[0], network.card.size_multiple)
        exact = copy.deepcopy(self._module).double()
        with suppress(CannotRunError):  # constants of float32 that are no buffers
            run(exact, self._x.double())
            self._module, self._x = exact, self._x.double()

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
        try:
            plan = make_plan(self._grouping, removed, "trial", {})
            apply_masks(masked, plan)
            found = run(cut(masked, plan), self._x)
        except CannotRunError as error:
            return f"without some of its channels {str(error).partition(': ')[2].rstrip('.')}"
        wanted = run(masked, self._x)
        if found.shape == wanted.shape:
            difference = float((found - wanted).abs().max())
            if not difference > _LARGEST_DIFFERENCE * float(wanted.abs().max()):  # or is no number
                return ""
        return "without some of its channels the network's code computes something else"
