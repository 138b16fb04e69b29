"""Gradient clipping by value, by norm, and by VDSR's adjustable rule."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from srdeploy.train.recipe import Clip


def clip_gradients(parameters: Sequence[nn.Parameter], clip: Clip, lr: float) -> None:
    """Clip the parameters' gradients in place; ``lr`` is the rate of the step about to be taken.

    ``value``: each entry to +-limit. ``norm``: all together to an L2 norm of at most limit.
    ``adjustable``: each entry to +-limit/lr (Kim et al., VDSR, CVPR 2016, section 3.2).
    """
    if clip.limit is None:
        return
    if clip.kind == "norm":
        nn.utils.clip_grad_norm_(parameters, clip.limit)
    else:
        limit = clip.limit / lr if clip.kind == "adjustable" else clip.limit
        nn.utils.clip_grad_value_(parameters, limit)
