"""What no rule can follow: all that it reads is kept, so that its result cannot change.

Of an operation that reads nothing that can be removed, the result depends on the image and on the
kept weights alone: the compact network computes the same as the masked one, whatever the operation
does. Channels are followed again from the layers behind it. More is kept than has to be, never
less.

Where the values of the image decide what code runs next, that is not enough: for another image it
may be other code, which no trace has seen. Such networks are refused.
"""

from __future__ import annotations

import torch

from srdeploy.models.watch import tensors_in
from srdeploy.pruning.tracing.channel_labels import (
    ChannelLabels,
    Labelling,
    UnsupportedOperationError,
)
from srdeploy.pruning.tracing.rules.call import Call


def keep(labelling: Labelling, call: Call, what: str | None) -> None:
    """Keep all channels that an operation reads, and those behind the memory that it writes.

    Args:
        labelling: Its outputs, and what shares their memory, carry no channels from here on.
        call: An operation, after it has run.
        what: Why no rule follows it; None if it reads nothing that could be removed anyway.

    Raises:
        UnsupportedOperationError: its result may decide what code runs next.
    """
    read = tensors_in((call.original, call.kwargs))
    from_image = any(labelling.is_from_image(t) for t in read)
    if from_image and _decides_code(call):
        raise _refusal(
            labelling, call, "a value is read into Python, so control flow may depend on the image"
        )
    changed = [other for t in call.written for other in (t, *labelling.sharing(t))]
    if what is None:
        why = f"combined with what stays whole in {labelling.place}"
    else:
        why = f"read by {call.name} ({what}) in {labelling.place}"
        if any(not labelling.is_settled(t) for t in read):
            labelling.not_followed[call.name, str(labelling.place), what] = None
    for tensor in (*read, *changed):
        labelling.keep(tensor, why)
    if from_image:
        for tensor in (*changed, *call.tensors_out()):
            labelling.record(tensor, ChannelLabels.settled(tensor.shape))


def must_not_store(labelling: Labelling, call: Call) -> None:
    """What is kept in parameters and buffers is not to depend on the image.

    Raises:
        UnsupportedOperationError: the operation writes something into one that does.
    """
    changed = [other for t in call.written for other in (t, *labelling.sharing(t))]
    read = tensors_in((call.original, call.kwargs))
    if any(id(t) in labelling.names for t in changed) and any(map(labelling.is_from_image, read)):
        raise _refusal(labelling, call, "it writes into a parameter or buffer")


def keep_unfollowed_weights(labelling: Labelling, call: Call) -> None:
    """Parameters that an operation read as plain numbers, although a layer may cut them, stay."""
    for tensor in tensors_in((call.original, call.kwargs)):
        if labelling.is_stored(tensor) and not labelling.is_labelled(tensor):
            labelling.keep(tensor, f"used as fixed numbers by {call.name} in {labelling.place}")


def _decides_code(call: Call) -> bool:
    """Whether Python sees values: as numbers, or as the length of a result."""
    if call.name == "index":  # has the second tag for masks alone
        return any(t.dtype in (torch.bool, torch.uint8) for t in tensors_in(call.original[1:]))
    tags = call.func.tags
    if call.name == "is_nonzero":  # should have the first
        return True
    return torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags


def _refusal(labelling: Labelling, call: Call, what: str) -> UnsupportedOperationError:
    return UnsupportedOperationError(
        f"Cannot follow channels through '{call.name}' in {labelling.place} ({what}); "
        "this network cannot be pruned unless that layer is written differently."
    )
