"""Prune and compact in one go, with the quality after each stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from srdeploy.compacting.surgery import compact
from srdeploy.compacting.unprunable import Unprunable, unprunable_of
from srdeploy.errors import SrdeployError
from srdeploy.models.count import Counts, count
from srdeploy.models.dense import with_dense_noted
from srdeploy.models.folding import folded
from srdeploy.models.network import Network
from srdeploy.pruning.methods.oneshot import plan_oneshot
from srdeploy.pruning.methods.table import Method
from srdeploy.pruning.options import PruneOptions, departures, excluded_by
from srdeploy.pruning.plan import Plan, apply_masks
from srdeploy.pruning.tracing.groups import Grouping, find_groups

PSNR_ROUNDING = 0.01
"""How many dB masked and compact networks may differ by: they are measured in float32."""

Measure = Callable[[str, Network], dict[str, Any]]
"""Takes a stage's name and its network, returns quality figures."""


@dataclass(frozen=True)
class PruneReport:
    """What pruning did.

    Attributes:
        plan: The channels kept.
        groups: One row per group: name, status, channels before and after, the ratio that came out,
            layers, why it stayed.
        before: Size of the dense network.
        after: Size of the compact network.
        proof: The equality check.
        quality: Stage name to figures; empty if not measured. One-shot: "dense", "masked",
            "compact"; methods that train: "dense", "regularised", "compact", "tuned".
        remarks: Where another ratio came out than was asked for, or fewer steps were made.
        unprunable: What no ratio could remove.
    """

    plan: Plan
    groups: list[dict[str, Any]]
    before: Counts
    after: Counts
    proof: dict[str, Any]
    quality: dict[str, dict[str, Any]]
    remarks: list[str]
    unprunable: Unprunable

    def __repr__(self) -> str:
        """One line."""
        sizes = (f"{counts.params / 1000:,.1f}K" for counts in (self.before, self.after))
        return f"PruneReport({self.plan!r}, {' -> '.join(sizes)} parameters)"

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return {
            "method": self.plan.method,
            "options": self.plan.options,
            "params": {"dense": self.before.params, "compact": self.after.params},
            "macs_720p": {"dense": self.before.macs_720p, "compact": self.after.macs_720p},
            "proof": self.proof,
            "quality": self.quality,
            "groups": self.groups,
            "blocks": self.plan.blocks,
            "remarks": self.remarks,
            "unprunable": self.unprunable.to_dict(),
        }


def prune_oneshot(
    network: Network,
    options: PruneOptions,
    measure: Measure | None = None,
    method: Method | None = None,
) -> tuple[Network, PruneReport]:
    """Choose channels by one-shot scores, remove them, prove it.

    Args:
        network: Left as it is.
        options: What to remove.
        measure: If given, called for the dense, the masked and the compact network.
        method: A row whose kind is ``scored``; None: the plainest.

    Raises:
        UserError: options that fit no layer, or nothing to prune.
        SrdeployError: compaction would change the network's output, or its measured quality.
    """
    network = folded(with_dense_noted(network))
    grouping = find_groups(network)
    plan = plan_oneshot(network, options, grouping, method)
    small = compact(network, plan)
    quality: dict[str, dict[str, Any]] = {}
    if measure is not None:
        quality["dense"] = measure("dense", network)
        quality |= measure_removal(network, plan, small, measure)
    return small, report_on(network, grouping, plan, options, small, quality)


def measure_removal(
    network: Network, plan: Plan, small: Network, measure: Measure
) -> dict[str, dict[str, Any]]:
    """Figures of the masked and the compact network.

    Args:
        network: The one that was pruned.
        plan: What was removed.
        small: What compaction made of it.
        measure: Called for both.

    Raises:
        SrdeployError: they do not measure alike.
    """
    masked = network.copy()
    apply_masks(masked.module, plan)
    found = {"masked": measure("masked", masked), "compact": measure("compact", small)}
    _must_measure_alike(found["masked"], found["compact"])
    return found


def _must_measure_alike(masked: dict[str, Any], compact: dict[str, Any]) -> None:
    """The benchmark's images are larger than the proof's: a last look at what was removed."""
    for name in (key for key in masked if key.startswith("psnr_")):
        before, after = float(masked[name]), float(compact[name])
        if before != after and not abs(before - after) <= PSNR_ROUNDING:
            raise SrdeployError(
                f"The masked network measures {before:.3f} dB and the compact one {after:.3f}: on "
                "images of that size it computes something else than on smaller ones, where both "
                "were equal; no network is written. Please report the architecture."
            )


def report_on(
    network: Network,
    grouping: Grouping,
    plan: Plan,
    options: PruneOptions,
    small: Network,
    quality: dict[str, dict[str, Any]],
) -> PruneReport:
    """What became of a network: sizes, and one row per group."""
    rows = []
    lost = {layer for part in plan.parts.values() for layer in part.layers}
    for group in grouping.groups:
        row = group.to_dict()
        pattern = excluded_by(group, options) if group.status != "untouchable" else None
        if pattern is not None:
            row |= {"status": "excluded", "why": [f"left alone by the pattern '{pattern}'"]}
        gone = len(plan.removed.get(group.name, [])) * group.block
        if lost.issuperset(group.layers):
            gone, row["why"] = row["channels"], ["the residual block that it is in is removed"]
        kept = row["channels"] - gone
        rows.append(row | {"kept": kept, "removed_ratio": round(gone / row["channels"], 4)})
    assert small.card.proof is not None
    # What single weights, a ranking over all groups or a budget leave of one is no matter of its
    # ratio.
    ranked = plan.method == "gassl" or plan.options.get("compare") == "global"
    by_ratio = bool(plan.removed) and not ranked and "budget" not in plan.options
    return PruneReport(
        plan,
        rows,
        count(network),
        count(small),
        small.card.proof,
        quality,
        departures(grouping, options) if by_ratio else [],
        unprunable_of(network, grouping),
    )
