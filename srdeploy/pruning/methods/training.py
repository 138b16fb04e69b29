"""What the user asks of a pruning method that trains: SRP, ASSL, GASSL and their variations."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from srdeploy.errors import UserError
from srdeploy.pruning.methods.schedule import Ramp
from srdeploy.pruning.options import (
    PruneOptions,
    check_patterns,
    excluded_by,
    matches,
    nothing_to_prune,
    removals,
)
from srdeploy.pruning.tracing.groups import Group, Grouping
from srdeploy.util.strict import Strict

Method = Literal["srp", "assl", "gassl"]
CommonSet = Literal["random", "joint", "first-layer", "obs", "reconstruct"]
BY_COST = ("obs", "reconstruct")
"""Common sets that the methods of these names choose, by what removal costs."""


class Penalty(Strict):
    """How the weights that are to go are driven to zero.

    Attributes:
        growth: Added to the penalty at each step (``reg_granularity_prune``); with ``first``, the
            fraction by which it grows at each step.
        every: Iterations between two steps (``update_reg_interval``).
        limit: Highest penalty (``reg_upper_limit``).
        hold: Iterations at the limit before removal (``stabilize_reg_interval``).
        first: Start at this penalty and grow geometrically instead of in equal steps.
        through: ``adam``: the gradient of penalty/2 * w^2 joins the loss's and goes through the
            optimiser, as published. ``decoupled``: what goes no longer learns but fades: it is
            kept at 1 - penalty times what it was, so a limit of 1 ends at exactly zero.
        apply: False trains the same schedule without the penalty: the control experiment.
    """

    growth: PositiveFloat = 1e-4
    every: PositiveInt = 20
    limit: PositiveFloat = 0.5
    hold: NonNegativeInt = 43150
    first: PositiveFloat | None = None
    through: Literal["adam", "decoupled"] = "adam"
    apply: bool = True

    @model_validator(mode="after")
    def _shrinks(self) -> Penalty:
        if self.through == "decoupled" and self.limit > 1:
            raise ValueError("a decoupled penalty is the fraction that has gone: its limit is 1")
        if self.first is not None and self.first > self.limit:
            raise ValueError(f"the first penalty, {self.first:g}, is above its limit")
        return self

    def ramp(self, start: int = 0) -> Ramp:
        """The schedule, growing from iteration ``start``."""
        return Ramp(self.growth, self.every, self.limit, self.hold, start, self.first)


class Alignment(Strict):
    """ASSL's structure alignment of coupled layers (section 3.3 there).

    Attributes:
        iterations: How long, before the coupled layers' common set is chosen.
        weight: Factor on the alignment loss.
    """

    iterations: NonNegativeInt = 17260
    weight: float = Field(default=1.0, ge=0)


class Search(Strict):
    """GASSL's first run: a light penalty on every gamma shows where the network is thin.

    Attributes:
        growth: As in :class:`Penalty`.
        every: As in :class:`Penalty`.
        limit: Light, so that nothing is driven to zero.
        hold: Iterations at the limit.
        keep: Each group keeps at least this fraction of what its ratio alone would leave it,
            whatever the ranking says.
    """

    growth: PositiveFloat = 1e-4
    every: PositiveInt = 20
    limit: PositiveFloat = 0.05
    hold: NonNegativeInt = 0
    keep: float = Field(default=0.5, gt=0, le=1)

    def ramp(self) -> Ramp:
        """The schedule."""
        return Ramp(self.growth, self.every, self.limit, self.hold)


class TrainedOptions(PruneOptions):
    """Everything that decides which weights go and how.

    Attributes:
        method: ``srp``, ``assl`` or ``gassl``.
        common_set: How coupled layers agree on one set of channels (default: the method's own).
            ``random``: drawn with ``seed``, as SRP is published. ``joint``: lowest mean score over
            all of the group's layers. ``first-layer``: lowest in the layer that runs first, as
            ASSL is published. The score is the mean of |W| in SRP and gamma in ASSL. ``obs``
            and ``reconstruct``, SRP only: every group, coupled or not, loses what the method of
            that name removes, by what it costs on the calibration images; ``reconstruct`` rotates
            the linear streams first.
        same_index: Patterns; the layers a pattern names lose the same indices, beyond what the
            network's structure demands (``same_pruned_wg_layers``).
        weight_group: What is removed together: a ``filter``; a ``channel``, scored and penalised
            in the layers that *read* it; or a single ``weight`` (masked only, never compacted).
        penalty: The shrinking.
        alignment: For ASSL and GASSL.
        search: For GASSL.
        freeze_skipped: Layers that ``exclude`` names do not train meanwhile
            (``freeze_skip_layers``).
        pick: SRP only: which scores go (``pick_pruned``): the lowest (``min``, the default), the
            highest (``max``) or any, drawn with ``seed`` (``rand``).
        compare: SRP only: ``local``, the default: each group loses its ratio; ``global``: mean |W|
            is ranked over the whole network, which loses as many weights (``compare_mode``).
        reinit: Patterns of layers that begin at random, drawn with ``seed``, once the removed
            channels are gone (``reinit_layers``).
    """

    ratio: float = 0.5
    method: Method
    common_set: CommonSet | None = None
    same_index: tuple[str, ...] = ()
    weight_group: Literal["filter", "channel", "weight"] = "filter"
    penalty: Penalty = Penalty()
    alignment: Alignment = Alignment()
    search: Search = Search()
    freeze_skipped: bool = False
    pick: Literal["min", "max", "rand"] | None = None
    compare: Literal["local", "global"] | None = None
    reinit: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _fits_the_method(self) -> TrainedOptions:
        if self.criterion != "l1":
            raise ValueError("criterion belongs to one-shot pruning; choose common_set instead")
        if self.remove_blocks:
            raise ValueError(
                "whole blocks go without training; prune by reconstruct with ratio 0 and "
                "remove_blocks first, then by this method"
            )
        if self.method != "srp" and self.weight_group != "filter":
            raise ValueError(
                f"{self.method} penalises the norms of filters, so weight_group "
                f"'{self.weight_group}' is not possible; use method srp"
            )
        if self.method != "srp" and (self.pick or self.compare):
            raise ValueError("pick and compare belong to method srp; leave them out")
        by_cost = self.common_set in BY_COST
        if by_cost and (
            self.method != "srp"
            or self.weight_group != "filter"
            or self.same_index
            or self.pick
            or self.compare
        ):
            raise ValueError(
                f"common_set: {self.common_set} decides for all layers of method srp; leave "
                "weight_group, same_index, pick and compare out"
            )
        if self.compare == "global" and (
            self.weight_group == "weight" or self.round_to > 1 or self.same_index
        ):
            raise ValueError(
                "compare: global decides how many channels each layer loses; leave weight_group: "
                "weight, round_to and same_index out"
            )
        return self

    @property
    def agreement(self) -> CommonSet:
        """``common_set``, or what the method's paper does."""
        return self.common_set or ("random" if self.method == "srp" else "first-layer")

    def decisive(self) -> dict[str, Any]:
        """Plain data that decides the result, to be compared on resuming."""
        return self.model_dump(mode="json", exclude_none=True)


def check_fit(grouping: Grouping, options: TrainedOptions) -> dict[str, int]:
    """How many atoms each group loses, by name.

    Raises:
        UserError: nothing to prune, a pattern that matches nothing, a layer asked for by name
            that cannot be pruned, or layers that cannot lose the same indices.
    """
    counts = removals(grouping, options)
    for pattern, ratio in options.layer_ratios.items():
        named = [g for g in grouping.groups if matches(g, pattern)]
        if ratio > 0 and all(_obstacle(g, options) for g in named):
            raise UserError(
                f"The layers that '{pattern}' names cannot be pruned: "
                f"{_obstacle(named[0], options)}; take the pattern out."
            )
    for cluster in clusters(grouping, options):
        _check_cluster(cluster, counts, options)
    check_patterns(grouping, options.reinit or ())
    if not counts:
        raise nothing_to_prune(grouping, options)
    return counts


def clusters(grouping: Grouping, options: TrainedOptions) -> list[list[Group]]:
    """The groups that each ``same_index`` pattern ties together (a group belongs to one at most).

    Raises:
        UserError: a pattern matches nothing, or two patterns claim one group.
    """
    check_patterns(grouping, options.same_index)
    found: list[list[Group]] = []
    taken: dict[str, str] = {}
    for pattern in options.same_index:
        cluster = [g for g in grouping.groups if matches(g, pattern)]
        for group in cluster:
            if group.name in taken:
                raise UserError(
                    f"Both '{taken[group.name]}' and '{pattern}' name {group.layers[0]} in "
                    "same_index; write one pattern."
                )
            taken[group.name] = pattern
        found.append(cluster)
    return found


def _check_cluster(cluster: list[Group], counts: dict[str, int], options: TrainedOptions) -> None:
    first = cluster[0]
    for group in cluster:
        if (obstacle := _obstacle(group, options)) is not None:
            raise UserError(
                f"same_index names {group.layers[0]}, which cannot be pruned: {obstacle}; write a "
                "pattern without it."
            )
        if (len(group.atoms), counts.get(group.name)) != (
            len(first.atoms),
            counts.get(first.name),
        ):
            raise UserError(
                f"{first.layers[0]} and {group.layers[0]} are to lose the same indices, but they "
                f"lose {counts.get(first.name, 0)} of {len(first.atoms)} and "
                f"{counts.get(group.name, 0)} of {len(group.atoms)}."
            )


def _obstacle(group: Group, options: TrainedOptions) -> str | None:
    if group.status == "untouchable":
        return group.why[0]
    if (pattern := excluded_by(group, options)) is not None:
        return f"'{pattern}' excludes {group.layers[0]}"
    return None
