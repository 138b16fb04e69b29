"""Fitting what is left of a network to what the dense one computed, layer by layer.

Each layer of the pruned network is solved for once, in the order in which they run, with the inputs
that the pruned network really produces by then: ridge least squares of weights and bias, towards
the weights that pruning left. No gradient is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from srdeploy.pruning.plan import Plan
from srdeploy.reconstruct.linear_form import LinearForm, has_form
from srdeploy.reconstruct.lockstep import Targets
from srdeploy.reconstruct.moments import Moments
from srdeploy.reconstruct.steps import FITTED, Steps
from srdeploy.reconstruct.sums import SumWatch, Term

RIDGE = 1e-3
"""Pull towards the weights that were there, in units of the inputs' mean second moment."""


@dataclass(frozen=True)
class LayerFit:
    """What refitting did to one layer.

    Attributes:
        layer: Its name.
        before: Mean squared error of its outputs relative to their power, with the weights that
            pruning left, and
        after: with the refitted ones.
    """

    layer: str
    before: float
    after: float


def refit(
    dense: nn.Module,
    small: nn.Module,
    plan: Plan,
    x: Tensor,
    *,
    ridge: float = RIDGE,
    on_layer: Callable[[LayerFit], None] = lambda fit: None,
    steps: Steps | None = None,
) -> list[LayerFit]:
    """Refit a pruned network in place.

    Layers that run once and can be written as matrices are refitted; frozen ones, and those whose
    weights serve twice, stay as they are.

    Args:
        dense: The network as it was before ``plan``.
        small: The compact one.
        plan: What was removed.
        x: Calibration images as the network reads them, ``[N, C, H, W]``.
        ridge: See :data:`RIDGE`.
        on_layer: Called after each layer.
        steps: Where the layers that are done are kept; those found there are not solved again.

    Returns:
        What became of each layer, in the order in which they run.
    """
    once, summed = _running_once(small, x[:1])
    layers = [name for name in once if _free(small.get_submodule(name))]
    summed = summed & set(layers)
    steps = steps or Steps()
    fits: list[LayerFit] = []
    waiting: dict[str, tuple[LinearForm, Tensor]] = {}
    solved: list[LayerFit] = []
    if (found := steps.read(FITTED)) is not None:
        small.load_state_dict(found[0])  # fitted layers, and the others as they are
        solved = [LayerFit(**one) for one in found[1]]

    def fit(name: str, form: LinearForm, given: Tensor, wanted: Tensor) -> Tensor:
        """Solve for a layer and return its new output."""
        if len(fits) < len(solved):
            fits.append(solved[len(fits)])
        else:
            fits.append(_solve(name, form, given, wanted, ridge))
            if steps.due():
                steps.write(FITTED, small.state_dict(), [asdict(one) for one in fits])
        on_layer(fits[-1])
        return type(form.module).forward(form.module, given)

    def on_sum(term: Term, other: Tensor) -> None:
        if term.layer in waiting:
            form, given = waiting.pop(term.layer)
            total = _kept(targets.take(term.layer), plan, term.layer, form)
            wanted = (total - other) / term.factor
            term.value.copy_(fit(term.layer, form, given, wanted) * term.factor)

    watch = SumWatch(on_sum)
    with ExitStack() as hooks:
        for name in layers:
            form = LinearForm(small.get_submodule(name))

            def ran(
                _: nn.Module,
                given: tuple[Tensor, ...],
                output: Tensor,
                name: str = name,
                form: LinearForm = form,
            ) -> Tensor:
                if name in summed:
                    waiting[name] = form, given[0].clone()
                    watch.follow(name, output)
                    return output
                wanted = _kept(targets.take(name), plan, name, form)
                return fit(name, form, given[0], wanted)

            hooks.callback(form.module.register_forward_hook(ran).remove)
        with Targets(dense, x, layers, summed) as targets, torch.no_grad(), watch:
            small(x.clone())
    if len(fits) > len(solved):
        steps.write(FITTED, small.state_dict(), [asdict(one) for one in fits])
    return fits


def _running_once(module: nn.Module, x: Tensor) -> tuple[list[str], set[str]]:
    """Layers that run exactly once, in order, and those whose output goes straight into a sum."""
    runs: dict[str, int] = {}
    summed: set[str] = set()
    watch = SumWatch(lambda term, other: summed.add(term.layer))  # type: ignore[func-returns-value]
    with ExitStack() as hooks, torch.no_grad(), watch:
        for name, layer in module.named_modules():
            if has_form(layer):

                def ran(_: nn.Module, given: object, output: Tensor, name: str = name) -> None:
                    runs[name] = runs.get(name, 0) + 1
                    watch.follow(name, output)

                hooks.callback(layer.register_forward_hook(ran).remove)
        module(x.clone())
    shared = _shared(module)
    return [name for name, count in runs.items() if count == 1 and name not in shared], summed


def _shared(module: nn.Module) -> set[str]:
    """Layers whose weight or bias is another's, too."""
    owners: dict[int, set[str]] = {}
    for name, layer in module.named_modules():
        for tensor in layer._parameters.values():
            if tensor is not None:
                owners.setdefault(id(tensor), set()).add(name)
    return {name for names in owners.values() if len(names) > 1 for name in names}


def _free(layer: nn.Module) -> bool:
    return all(parameter.requires_grad for parameter in layer.parameters(recurse=False))


def _kept(target: Tensor, plan: Plan, name: str, form: LinearForm) -> Tensor:
    """The part of a dense target that the pruned layer still puts out."""
    kept = plan.keep.get(f"{name}.weight", {}).get(form.output_dim)
    if kept is None:
        return target
    dim = -1 if isinstance(form.module, nn.Linear) else 1
    return target.index_select(dim, torch.tensor(kept))


def _solve(name: str, form: LinearForm, given: Tensor, wanted: Tensor, ridge: float) -> LayerFit:
    """Write the ridge solution into the layer.

    With the columns ``u`` extended by a one for the bias, the change ``D`` of ``[W b]`` solves
    ``D (U U' + R) = (T - [W b] U) U'``, R being diagonal and zero for the bias.
    """
    matrix, bias = form.matrix(), form.bias()
    has_bias = isinstance(form.module.bias, Tensor)
    groups, outs, size = matrix.shape
    moments = Moments.zero(groups, size)
    cross = torch.zeros(groups, outs, size + 1, dtype=torch.float64)
    power = error = 0.0
    for sample, target in zip(given.split(1), wanted.split(1), strict=True):
        columns, goal = form.columns(sample), form.outputs(target)
        residual = goal - (matrix.float() @ columns + bias.float()[:, :, None])
        moments.add(columns)
        cross[:, :, :size] += (residual @ columns.mT).double()
        cross[:, :, size] += residual.sum(-1, dtype=torch.float64)
        power += float(goal.double().square().sum())
        error += float(residual.double().square().sum())
    count = moments.count
    system = torch.zeros(groups, size + 1, size + 1, dtype=torch.float64)
    system[:, :size, :size] = moments.second
    system[:, :size, size] = system[:, size, :size] = moments.first
    system[:, size, size] = count
    cut = size + 1 if has_bias else size
    system, cross = system[:, :cut, :cut] / count, cross[:, :, :cut] / count
    pull = ridge * moments.second.diagonal(dim1=1, dim2=2).mean(-1) / count
    damped = system.clone()
    damped.diagonal(dim1=1, dim2=2)[:, :size] += pull[:, None].clamp_min(1e-12)
    change = torch.linalg.solve(damped, cross.mT).mT
    gain = 2 * (change * cross).sum() - ((change @ system) * change).sum()
    if gain > 0:
        new_bias = bias + change[:, :, size] if has_bias else bias
        form.assign(matrix + change[:, :, :size], new_bias)
    after = error - max(float(gain), 0.0) * count
    total = power or 1.0
    return LayerFit(name, error / total, max(after, 0.0) / total)
