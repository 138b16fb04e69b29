"""Which rule follows which operation. What one without a row reads is kept whole."""

from __future__ import annotations

import torch

from srdeploy.pruning.tracing.rules.call import Call, Rule, no_rule
from srdeploy.pruning.tracing.rules.elements import copy, glu, pointwise
from srdeploy.pruning.tracing.rules.layers import convolution, linear
from srdeploy.pruning.tracing.rules.merges import per_channel, reduction
from srdeploy.pruning.tracing.rules.norms import batch_norm, group_norm, layer_norm, softmax
from srdeploy.pruning.tracing.rules.products import attention, einsum, matmul
from srdeploy.pruning.tracing.rules.shape_operations import (
    as_strided,
    channel_shuffle,
    constant,
    cut,
    gather,
    im2col,
    like,
    pad,
    pick,
    pixel_shuffle,
    roll,
    same,
    structural,
    unfold,
    view,
)

_NAMES: dict[Rule, str] = {
    convolution: "convolution _convolution conv2d",
    linear: "linear addmm mm",
    batch_norm: "native_batch_norm _native_batch_norm_legit "
    "_native_batch_norm_legit_no_training _batch_norm_no_update",
    group_norm: "native_group_norm",
    layer_norm: "native_layer_norm",
    softmax: "_softmax _log_softmax",
    matmul: "matmul __matmul__",
    einsum: "einsum",
    attention: "scaled_dot_product_attention",
    pointwise: "_prelu_kernel prelu where masked_fill hardswish rsub floor_divide fill zero",
    glu: "glu",
    copy: "copy",
    same: "clone contiguous _to_copy detach alias lift_fresh",
    like: "zeros_like ones_like full_like empty_like rand_like randn_like",
    constant: "new_zeros new_ones new_empty new_full",
    structural: "permute transpose t expand unsqueeze squeeze flip reflection_pad1d "
    "reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d "
    "repeat cat stack pixel_unshuffle movedim",
    im2col: "im2col",
    as_strided: "as_strided",
    pad: "constant_pad_nd",
    roll: "roll",
    unfold: "unfold",
    pick: "index index_select",
    gather: "gather",
    cut: "slice select narrow split unsafe_split split_with_sizes unbind",
    view: "view _unsafe_view _reshape_alias reshape",
    pixel_shuffle: "pixel_shuffle",
    channel_shuffle: "channel_shuffle native_channel_shuffle",
    per_channel: "avg_pool1d avg_pool2d avg_pool3d max_pool2d_with_indices "
    "max_pool3d_with_indices _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_avg_pool2d "
    "adaptive_max_pool2d adaptive_max_pool3d upsample_nearest1d upsample_nearest2d "
    "upsample_nearest3d _upsample_nearest_exact1d _upsample_nearest_exact2d upsample_linear1d "
    "upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d _upsample_bilinear2d_aa "
    "_upsample_bicubic2d_aa",
    no_rule: "equal",  # which torch calls elementwise
    reduction: "mean sum amax amin max min var std linalg_vector_norm",
}
_RULES = {name: rule for rule, names in _NAMES.items() for name in names.split()}

READS_WEIGHT = {"convolution", "_convolution", "conv2d", "linear", "addmm", "mm"}
"""Operations that issue channels even when what they read carries none."""


def rule_for(call: Call) -> Rule:
    """The rule of an operation (:func:`no_rule` when its effect on channels is unknown)."""
    known = _RULES.get(call.name)
    overload = call.func._overloadname
    if overload == "dtype":  # a view of the bits
        return no_rule
    if (known is None or overload == "other") and _is_pointwise(call):
        return pointwise
    return known or no_rule


def _is_pointwise(call: Call) -> bool:
    """Whether torch tags it so; some only in the form that is not in place."""
    packet = getattr(torch.ops.aten, call.name, None)
    plain = getattr(packet, call.func._overloadname, call.func)
    return torch.Tag.pointwise in call.func.tags or torch.Tag.pointwise in plain.tags
