"""Operations that merge elements: pooling, interpolation, sums, means and extremes."""

from __future__ import annotations

import numpy as np
import torch

from srdeploy.pruning.tracing.channel_labels import ChannelLabels, Labelling, NotFollowedError
from srdeploy.pruning.tracing.rules.call import Call, labels_of_first


def per_channel(labelling: Labelling, call: Call) -> None:
    """Pooling and interpolation: within a channel, never across."""
    labelled = labels_of_first(labelling, call)
    spatial = next(n for n in (1, 2, 3) if f"{n}d" in call.name)
    dim = len(labelled.shape) - 1 - spatial
    channels = labelling.channels(labelled, dim, f"resampled together in {labelling.place}")
    for position, out in enumerate(call.tensors_out()):
        clean = labelled.clean_channels(dim) * (1.0 if position == 0 else 0.0)  # then come indices
        labelling.record(out, ChannelLabels.broadcast(channels, dim, out.shape, clean))


def reduction(labelling: Labelling, call: Call) -> None:
    """Sums, means, extremes: over space they stay in a channel, over channels they mix them.

    Over a dimension made by stacking tensors they are elementwise operations on those tensors.
    """
    x = call.original[0]
    labelled = labels_of_first(labelling, call)
    dims = call.argument("dim")
    dims = [dims] if isinstance(dims, int) else list(dims or range(x.dim()))
    dims = sorted({dim % x.dim() for dim in dims})
    mixed = [dim for dim in dims if labelling.varies(labelled, dim)]
    labels, clean = labelled.labels, labelled.clean.amin(dims, keepdim=True)
    others = [d for d in range(x.dim()) if d not in dims and labelling.varies(labelled, d)]
    norm = call.name == "linalg_vector_norm" and call.argument("ord") > 0
    if norm and len(mixed) == 1:  # of the channels of a head: at the same place of every one
        for dim in others:
            nodes = labelled.nodes()
            why = f"at the same place of every norm in {labelling.place}"
            labelling.tie(nodes.take([0], dim), nodes, why)
        others = []
    if mixed and others:
        nodes = labelled.nodes()
        for dim in mixed:
            labelling.tie(
                nodes.take([0], dim), nodes, f"merged by {call.name} in {labelling.place}"
            )
    elif mixed and (norm or call.name == "sum"):  # like a convolution: zeros do not count
        dirty = torch.where(labelled.clean == 0, labels, 0.0)
        labelling.sets.freeze(
            dirty.numpy().astype(np.int64),
            f"removed, it would not be zero where {labelling.place} sums over channels",
        )
        labels, clean = torch.zeros_like(labels), torch.zeros_like(clean)
    elif mixed:
        labelling.freeze(x, f"mixed with others by {call.name} in {labelling.place}")
    nodes = labelling.sets.find(labels.numpy().astype(np.int64)).max(tuple(dims), keepdims=True)
    labels = torch.as_tensor(nodes, dtype=torch.float64)
    kept = [size for dim, size in enumerate(x.shape) if dim not in dims]
    for position, out in enumerate(call.tensors_out()):
        small = [t if out.dim() == x.dim() else t.squeeze(dims) for t in (labels, clean)]
        if out.dim() not in (x.dim(), len(kept)):
            raise NotFollowedError("a result of unexpected shape")
        known = small[1] if position == 0 else torch.zeros_like(small[1])  # then come indices
        labelling.record(out, ChannelLabels.of(small[0], known, out.shape))
