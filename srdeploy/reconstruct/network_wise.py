"""Network-wise reconstruction: the pruned network learns what the dense one puts out.

The refit (:mod:`srdeploy.reconstruct.refit`) solves for one layer at a time. What it leaves is an
error that no layer can mend alone; here all of them follow the gradient of the output's error, on
the calibration images and without any high-resolution ones. Li et al. ("BRECQ: Pushing the Limit of
Post-Training Quantization by Block Reconstruction", ICLR 2021, section 3.2) name it so, among
reconstructions of layers, blocks and stages. Few-sample distillation is of the same kind (Li et
al., CVPR 2020). It needs no stream to cut blocks at, so it is for any network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from srdeploy.errors import UserError
from srdeploy.models.count import macs
from srdeploy.models.network import Network
from srdeploy.reconstruct.steps import LEARNED, Steps
from srdeploy.util.progress import track

RATE, WARMUP, FINAL = 2e-3, 20, 0.01
"""Adam's rate after a warm-up of so many steps; half a cosine brings it down to that share."""

BATCH, CLIP = 8, 1.0
"""Patches of a step, and the largest norm of its gradient."""

HELD_OUT = 8
"""Every so many-th patch is not learned from and decides whether the result is taken: a network
that is near the dense one already can come nearer on a few patches and go away on all others."""

UNASKED_MACS = 2e12
"""What all steps may cost where nobody asked for them, in MACs of the pruned network's forward
passes: about five minutes on a few CPU cores. A clock would make the result depend on the load."""


class WithoutGradientsError(UserError):
    """The network's code computes without gradients."""


@dataclass(frozen=True)
class OutputFit:
    """What network-wise reconstruction did.

    Attributes:
        before: Mean absolute difference of the output to the dense network's on the patches that
            were held out (of fewer than :data:`HELD_OUT`, on all), as a share of the value range,
        after: and the same at the end. Where it was not less, nothing was changed and both are
            equal.
    """

    before: float
    after: float


def fit_output(
    dense: nn.Module,
    small: nn.Module,
    x: Tensor,
    steps: int,
    value_range: float,
    *,
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
    kept: Steps | None = None,
) -> OutputFit:
    """Train a pruned network in place, by Adam on the absolute error of its output.

    Both are in evaluation mode: normalisation keeps its statistics, and masks are what they are in
    use. The same call with the same numbers gives the same weights.

    Args:
        dense: What it is to compute.
        small: The pruned network; parameters that are frozen stay.
        x: Calibration images as the network reads them, ``float32 [N, C, H, W]``.
        steps: How many; each looks at :data:`BATCH` patches.
        value_range: What pixels go up to.
        seed: Of the choice of patches.
        on_step: Called after each step, also for those that were done before.
        kept: Where the state is kept; what is found there is gone on from.

    Raises:
        WithoutGradientsError: the network's output has no gradient; nothing was changed.
    """
    with torch.no_grad():
        wanted = torch.cat([dense(part.clone()) for part in x.split(BATCH)])
    start = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    last = torch.arange(len(x)) % HELD_OUT == HELD_OUT - 1
    held = last if last.any() else ~last
    pool = (~last).nonzero().flatten()
    before = after = _error(small, x[held], wanted[held]) / value_range
    parameters = [p for p in small.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(parameters)
    kept = kept or Steps()
    done = _restored(kept, small, optimiser)
    for _ in range(done):
        on_step()
    for step in range(done, steps):
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, steps)
        generator = torch.Generator().manual_seed(seed * steps + step)
        chosen = pool[torch.randint(len(pool), (BATCH,), generator=generator)]
        with torch.enable_grad():
            error = (small(x[chosen]) - wanted[chosen]).abs().mean() / value_range
        if not error.requires_grad:
            raise WithoutGradientsError(
                "The network's code computes without gradients, so it cannot learn the dense "
                "network's output; give --network-wise 0."
            )
        optimiser.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimiser.step()
        on_step()
        if kept.due():
            kept.write(LEARNED, dict(_state(small, optimiser)), step + 1)
    if steps:
        after = _error(small, x[held], wanted[held]) / value_range
    if not after < before:  # not a number, or no better
        small.load_state_dict(start)
        after = before
    return OutputFit(before, after)


def learned(
    network: Network,
    small: Network,
    x: Tensor,
    images: str,
    usual: int,
    asked: bool,
    *,
    kept: Steps | None = None,
) -> tuple[Network, str]:
    """Train a pruned network so, and enter it on the card.

    Args:
        network: The dense one.
        small: The pruned one; its weights are overwritten.
        x: Calibration images as the network reads them, ``float32 [N, C, H, W]``.
        images: What they are called.
        usual: Steps.
        asked: Whether someone asked for so many. If not, a large network makes as many as
            :data:`UNASKED_MACS` allow, and one that computes without gradients none.
        kept: Where the state is kept; what is found there is gone on from.

    Returns:
        The network with the step on its card, and a remark where fewer steps were made or nothing
        was taken; without gradients ``small`` as it was.

    Raises:
        WithoutGradientsError: the network's output has no gradient, and steps were asked for.
    """
    count = usual if asked else _affordable(usual, macs(small, *x.shape[2:]))
    try:
        with track("network-wise", count) as bar:
            fit = fit_output(
                network.module, small.module, x, count, small.card.value_range,
                on_step=bar.update, kept=kept,
            )  # fmt: skip
    except WithoutGradientsError:
        if asked:
            raise
        left_out = "network-wise reconstruction was left out: the network's code computes without "
        return small, f"{left_out}gradients"
    errors = {"error_before": fit.before, "error_after": fit.after}
    told = {key: float(f"{error:.4g}") for key, error in errors.items()}
    fewer = {"usual_steps": usual} if count < usual else {}
    card = small.card.step(
        step="network-wise", images=images, patches=len(x), steps=count, lr=RATE, **fewer, **told
    )
    remarks = {
        f"network-wise reconstruction made {count} steps instead of {usual}, as the network is "
        f"large; --network-wise {usual} makes all": count < usual,
        "network-wise reconstruction came no nearer to the dense network on images that it did not "
        "learn from, so nothing of it was taken": count and fit.after == fit.before,
    }
    return replace(small, card=card), "; ".join(said for said, holds in remarks.items() if holds)


def _affordable(steps: int, cost: int) -> int:
    return max(1, min(steps, int(UNASKED_MACS / (BATCH * cost)))) if cost else steps


def _rate(step: int, steps: int) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
    return RATE * (FINAL + (1 - FINAL) * cosine) * min(1.0, (step + 1) / WARMUP)


@torch.no_grad()
def _error(module: nn.Module, x: Tensor, wanted: Tensor) -> float:
    pairs = zip(x.split(BATCH), wanted.split(BATCH), strict=True)
    total = sum(float((module(a.clone()) - b).abs().sum(dtype=torch.float64)) for a, b in pairs)
    return total / wanted.numel()


def _state(small: nn.Module, optimiser: torch.optim.Adam) -> Iterator[tuple[str, Tensor]]:
    """All that decides the steps to come, as tensors with names."""
    for name, tensor in small.state_dict().items():
        yield f"network.{name}", tensor
    for index, values in optimiser.state_dict()["state"].items():
        for key, tensor in values.items():
            yield f"adam.{index}.{key}", tensor


def _restored(kept: Steps, small: nn.Module, optimiser: torch.optim.Adam) -> int:
    """Take over what was kept; how many steps that were."""
    found = kept.read(LEARNED)
    if found is None:
        return 0
    tensors, done = found
    small.load_state_dict(_of("network", tensors))
    state: dict[int, dict[str, Any]] = {}
    for name, tensor in _of("adam", tensors).items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
    return int(done)


def _of(part: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    prefix = f"{part}."
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
