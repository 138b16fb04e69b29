"""Prune without training: choose, remove, prove, refit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from srdeploy.compacting.proof import prove_equal
from srdeploy.compacting.run import (
    Measure,
    PruneReport,
    measure_removal,
    prune_oneshot,
    report_on,
)
from srdeploy.compacting.shorten import shortened
from srdeploy.compacting.surgery import compact
from srdeploy.errors import SrdeployError
from srdeploy.models.dense import with_dense_noted
from srdeploy.models.folding import folded
from srdeploy.models.network import Network
from srdeploy.pruning.depth import (
    blocks_asked,
    grouping_without,
    named,
    outermost,
    without_blocks,
)
from srdeploy.pruning.methods.oneshot import plan_oneshot
from srdeploy.pruning.methods.table import Method
from srdeploy.pruning.options import PruneOptions, nothing_to_prune, removals
from srdeploy.pruning.plan import Plan, make_plan
from srdeploy.pruning.tracing.groups import Grouping, find_groups
from srdeploy.pruning.tracing.residual_blocks import ResidualBlock, find_residual_blocks
from srdeploy.reconstruct.allocate import allocations
from srdeploy.reconstruct.budget import Budget
from srdeploy.reconstruct.calibration import Calibration
from srdeploy.reconstruct.choice import choose_by_cost
from srdeploy.reconstruct.network_wise import learned
from srdeploy.reconstruct.refit import RIDGE, LayerFit, refit
from srdeploy.reconstruct.rotate import rotate_streams
from srdeploy.reconstruct.steps import CHOSEN, Steps, origin_of
from srdeploy.util.progress import track

GAIN = 0.9
"""Error on the calibration images, relative to that of one ratio for all, from which on a budget is
shared out otherwise: what fits these images a little better may fit others worse."""


def prune_at_once(
    network: Network,
    method: Method,
    options: PruneOptions,
    calibration: Calibration | None = None,
    measure: Measure | None = None,
    *,
    refits: bool = False,
    budget: Budget | None = None,
    folder: Path | None = None,
    resume: bool = True,
) -> tuple[Network, PruneReport]:
    """Prune by a method that does not train.

    Args:
        network: Left as it is.
        method: A row of :data:`~srdeploy.pruning.methods.table.METHODS` that is not ``trained``.
        options: What to remove; a method that chooses by cost uses neither ``criterion`` nor
            ``seed``.
        calibration: What it is run on; default: up to 112 pieces of shipped images.
        measure: If given, called for the dense, masked, compact and refitted network.
        refits: Refit what a ``scored`` method leaves, as the others do anyway.
        budget: For a ``reconstructed`` method: what the network may cost, in place of a ratio.
        folder: Where such a method keeps what is done until all is; the same call goes on from it,
        resume: unless this is False.

    Raises:
        UserError: options that fit no layer, nothing to prune, or no images.
        SrdeployError: compaction would change the network's output, or its measured quality.
    """
    network = folded(with_dense_noted(network))
    calibration = calibration or Calibration()
    if method.kind == "reconstructed":
        if not resume:
            Steps(folder).clear()
        small, report = prune_by_cost(
            network, options, calibration, measure,
            rotate=method.rotates, budget=budget, folder=folder,
        )  # fmt: skip
    elif not refits:
        small, report = prune_oneshot(network, options, measure, method)
    else:
        grouping = find_groups(network)
        plan = plan_oneshot(network, options, grouping, method)
        x = calibration.inputs(network)
        small, report = _remove_and_refit(
            network, network, grouping, plan, options, calibration, x, measure, Steps()
        )
    return shortened(small), report


def prune_by_cost(
    network: Network,
    options: PruneOptions,
    calibration: Calibration | None = None,
    measure: Measure | None = None,
    *,
    rotate: bool = False,
    budget: Budget | None = None,
    folder: Path | None = None,
) -> tuple[Network, PruneReport]:
    """Remove the channels that cost least and refit the rest; nothing is trained.

    Args:
        network: Left as it is.
        options: What to remove; ``criterion`` and ``seed`` are not used.
        calibration: What it is run on; default: up to 112 pieces of shipped images.
        measure: If given, called for the dense, masked, compact and refitted network.
        rotate: Give linear streams the basis in which their last channels matter least, first.
        budget: What the network may cost; the ratio of ``options`` is then not used. Groups lose
            what costs least for what it saves, where that comes clearly nearer to the dense network
            on the calibration images, else all the same share.
        folder: Where the choice and the layers that are fitted are kept until all are; the same
            call goes on from there. It is taken away at the end.

    Raises:
        UserError: options that fit no layer, nothing to prune, or no images.
        SrdeployError: compaction would change the network's output, or its measured quality.
    """
    network = folded(network)
    calibration = calibration or Calibration()
    grouping = find_groups(network)
    settings = options.model_dump(mode="json", exclude={"criterion", "seed"})
    blocks = blocks_asked(network, options)
    if budget is not None:
        settings |= budget.settings()
    elif not blocks and not removals(grouping, options):
        raise nothing_to_prune(grouping, options)
    x = calibration.inputs(network)
    how: dict[str, Any] = {
        "rotate": rotate,
        "network_wise": calibration.network_wise,
        "steps_asked": calibration.steps_asked,
    }
    if budget is not None and budget.ways:
        how["ways"] = [dict(one) for one in budget.ways]
    steps = _steps(network, x, settings | how, folder)
    chooser = _Chooser(network, grouping, settings, x, rotate, tuple(blocks))
    turned, plan = _chosen_once(network, steps, lambda: chooser.best(options, budget))
    made = _remove_and_refit(
        network, turned, grouping, plan, options, calibration, x, measure, steps
    )
    steps.clear()
    return made


def choose_start(
    network: Network,
    grouping: Grouping,
    counts: Mapping[str, int],
    calibration: Calibration,
    folder: Path,
    *,
    rotate: bool = False,
) -> tuple[Network, dict[str, list[int]]]:
    """Where a method that trains begins: what goes costs least, in a network turned for that.

    Args:
        network: Left as it is.
        grouping: Its groups.
        counts: Group name to number of atoms that go.
        calibration: What it is run on.
        folder: Where the choice is kept; the same call finds it there.
        rotate: Rotate the linear streams.

    Returns:
        A network that computes the same, and group name to the atoms that go.

    Raises:
        UserError: no images.
    """
    x = calibration.inputs(network)
    steps = _steps(network, x, {"counts": dict(counts), "rotate": rotate}, folder)
    chooser = _Chooser(network, grouping, {}, x, rotate)
    turned, plan = _chosen_once(network, steps, lambda: chooser.chosen(counts))
    return turned, plan.removed


def _chosen_once(
    network: Network, steps: Steps, choose: Callable[[], tuple[Network, Plan]]
) -> tuple[Network, Plan]:
    """What is kept of an earlier choice, or a new one, kept."""
    found = steps.read(CHOSEN)
    if found is not None and (kept := _as_chosen(network, *found)) is not None:
        return kept
    steps.clear()  # what was fitted belongs to what was chosen with it
    turned, plan = choose()
    facts = {"plan": plan.model_dump(mode="json"), "history": turned.card.history}
    steps.write(CHOSEN, turned.module.state_dict(), facts)
    return turned, plan


def _steps(network: Network, x: Tensor, settings: dict[str, Any], folder: Path | None) -> Steps:
    if folder is None:
        return Steps()
    tensors = {**network.module.state_dict(), "calibration inputs": x}
    return Steps(folder, origin_of(tensors, {**settings, "card": network.card.to_json()}))


def _as_chosen(
    network: Network, tensors: dict[str, Tensor], facts: dict[str, Any]
) -> tuple[Network, Plan] | None:
    """What :class:`_Chooser` chose, from what was kept of it; None if that is another network."""
    turned = network.copy()
    try:
        turned.module.load_state_dict(tensors)
        prove_equal(network.module, turned.module, network.card, dtype=torch.float32)
    except (RuntimeError, SrdeployError):
        return None
    card = turned.card.model_copy(update={"history": facts["history"]})
    return replace(turned, card=card), Plan.model_validate(facts["plan"])


@dataclass(frozen=True)
class _Chooser:
    """Chooses what goes of a network.

    Attributes:
        network: Left as it is.
        grouping: Its groups.
        settings: For the plan.
        x: Calibration inputs.
        rotate: Rotate the linear streams.
        blocks: Residual blocks that go in any case.
    """

    network: Network
    grouping: Grouping
    settings: dict[str, Any]
    x: Tensor
    rotate: bool
    blocks: tuple[ResidualBlock, ...] = ()

    def best(self, options: PruneOptions, budget: Budget | None) -> tuple[Network, Plan]:
        """The network to remove channels from, and which."""
        if budget is not None and budget.ways:
            ways: Sequence[Mapping[str, int]] = budget.ways
        else:
            less = without_blocks(self.network, self.blocks)
            left = grouping_without(self.grouping, self.blocks)
            if budget is None:
                return self.chosen(removals(left, options))
            inputs = self.x.split(1)
            ways = allocations(less, left, options, budget, inputs, rotate=self.rotate)
        tried = [self.chosen(counts) for counts in ways]
        errors = [_error(self.network, turned, plan, self.x) for turned, plan in tried]
        best = min(range(len(tried)), key=errors.__getitem__)
        return tried[best if errors[best] < GAIN * errors[0] else 0]

    def chosen(self, counts: Mapping[str, int]) -> tuple[Network, Plan]:
        """The network, rotated where that is asked for and possible, and what goes of it.

        Args:
            counts: How many atoms each group loses, by name; and 1 for a residual block that goes.
        """
        blocks = outermost([*self.blocks, *self._named(counts)])
        left = grouping_without(self.grouping, blocks)
        counts = {g.name: counts[g.name] for g in left.groups if counts.get(g.name)}
        turned, cut = self.network, dict[str, list[int]]()
        if self.rotate:
            turned, record = rotate_streams(turned, self.grouping, counts, self.x.split(1))
            if record is not None:
                names = record.pop("streams")
                streams = [group for group in self.grouping.groups if group.name in names]
                layers = [group.layers[0] for group in streams]
                card = turned.card.step(step="rotate", streams=layers, **record)
                turned = replace(turned, card=card)
                cut = {g.name: [*range(len(g.atoms))][-counts[g.name] :] for g in streams}
        others = {name: count for name, count in counts.items() if name not in cut}
        less = without_blocks(turned, blocks)
        removed, _ = choose_by_cost(less.module, left, others, self.x.split(1))
        method = "reconstruct" if self.rotate else "obs"
        return turned, make_plan(left, cut | removed, method, self.settings | named(blocks), blocks)

    def _named(self, counts: Mapping[str, int]) -> list[ResidualBlock]:
        groups = {group.name for group in self.grouping.groups}
        named = {name for name, count in counts.items() if count} - groups
        if not named:
            return []
        return [b for b in find_residual_blocks(self.network).blocks if b.name in named]


def removal_error(
    network: Network, grouping: Grouping, counts: Mapping[str, int], x: Tensor, *, rotate: bool
) -> float:
    """Mean squared difference that a choice leaves in the output, by the layer-wise refit alone.

    Args:
        network: Folded; left as it is.
        grouping: Its groups.
        counts: How many atoms each group loses, by name; and 1 for a residual block that goes.
        x: Inputs that it is chosen, refitted and measured on.
        rotate: Rotate the linear streams.
    """
    return _error(network, *_Chooser(network, grouping, {}, x, rotate).chosen(counts), x)


def _error(network: Network, turned: Network, plan: Plan, x: Tensor) -> float:
    """Mean squared error of the output on some inputs, removed and refitted."""
    small = compact(turned, plan)
    refit(turned.module, small.module, plan, x)
    with torch.no_grad():
        return float((small.module(x.clone()) - network.module(x.clone())).square().mean())


def refit_to(
    network: Network, small: Network, plan: Plan, calibration: Calibration | None = None
) -> Network:
    """A pruned network, refitted to the dense one.

    Args:
        network: The dense one; where it was rotated, both compute the same.
        small: What compaction made of it; its weights are overwritten.
        plan: What was removed.
        calibration: What both are run on; default: shipped images.

    Returns:
        ``small`` with the step on its card.

    Raises:
        UserError: no images.
    """
    calibration = calibration or Calibration()
    return _refitted(network, small, plan, calibration, calibration.inputs(network))


def _remove_and_refit(
    network: Network,
    turned: Network,
    grouping: Grouping,
    plan: Plan,
    options: PruneOptions,
    calibration: Calibration,
    x: Tensor,
    measure: Measure | None,
    steps: Steps,
) -> tuple[Network, PruneReport]:
    small = compact(turned, plan)
    quality: dict[str, dict[str, Any]] = {}
    if measure is not None:
        quality["dense"] = measure("dense", network)
        quality |= measure_removal(turned, plan, small, measure)
    small = _refitted(turned, small, plan, calibration, x, steps)
    if measure is not None:
        quality["refit"] = measure("refit", small)
        small = _with_psnr(small, quality["compact"], quality["refit"])
    remark = ""
    if calibration.network_wise:
        before = small
        small, remark = learned(
            turned, small, x, Path(calibration.images).name,
            calibration.network_wise, calibration.steps_asked, kept=steps,
        )  # fmt: skip
        if measure is not None and small is not before:
            quality["network-wise"] = measure("network-wise", small)
            small = _with_psnr(small, quality["refit"], quality["network-wise"])
    report = report_on(network, grouping, plan, options, small, quality)
    return small, replace(report, remarks=[*report.remarks, *([remark] if remark else [])])


def _refitted(
    network: Network,
    small: Network,
    plan: Plan,
    calibration: Calibration,
    x: Tensor,
    steps: Steps | None = None,
) -> Network:
    with track("refit", sum(1 for _ in small.module.modules())) as bar:

        def done(fit: LayerFit) -> None:
            bar.update()

        fits = refit(network.module, small.module, plan, x, on_layer=done, steps=steps)
    images = Path(calibration.images).name
    step = {"images": images, "patches": len(x), "ridge": RIDGE, "layers": len(fits)}
    return replace(small, card=small.card.step(step="refit", **step))


def _with_psnr(small: Network, before: dict[str, Any], after: dict[str, Any]) -> Network:
    """The network with the PSNR before and after its latest step on the card."""
    *others, step = small.card.history
    step = step | _psnr("before", before) | _psnr("after", after)
    return replace(small, card=small.card.model_copy(update={"history": [*others, step]}))


def _psnr(when: str, figures: dict[str, Any]) -> dict[str, Any]:
    found = {key: value for key, value in figures.items() if key.startswith("psnr_")}
    return {f"{key}_{when}": round(value, 3) for key, value in found.items()}
