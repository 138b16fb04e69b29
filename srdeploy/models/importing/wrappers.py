"""What training scripts put around a network's tensors, and what they keep beside them.

One file often holds the raw and the averaged weights, the discriminator, the networks that losses
need, and counters. Which of them is the network is told by the names that trainers use, whether
they are keys of nested dictionaries (BasicSR, neosr: ``params_ema``) or the first components of the
tensors' names (Lightning, MMagic: ``generator_ema.conv_first.weight``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import torch

AVERAGED = (
    *("params_ema", "params-ema", "state_dict_ema", "model_ema", "generator_ema", "net_g_ema"),
    *("netG_ema", "g_ema", "ema_model", "ema"),
)
"""What trainers call weights that were averaged over the iterations."""

PREFERRED = (
    *AVERAGED,
    *("params", "state_dict", "model_state_dict", "model", "net", "net_g", "netG", "model_g"),
    *("generator", "G", "g", "online_model", "network", "weights", "module", "_orig_mod"),
)
"""What trainers call the network, best first."""

_COMPANION = re.compile(
    r"(net_?|model_?)?d(is|isc)?|.*discriminator.*|.*loss.*|criterion.*|cri_.*|vgg.*|lpips.*|dists.*"
    r"|.*metric.*|.*perceptual.*|psnr.*|ssim.*",
    re.IGNORECASE,
)
"""Names of what is trained or asked beside the network: discriminators, losses, metrics."""

_DEEPEST = 8


def rank(path: Sequence[str]) -> list[int]:
    """Sort key of the keys that lead to some tensors: the likeliest network first."""
    order = {name: i for i, name in enumerate(PREFERRED)}
    beside = len(order) + 1
    return [beside if _COMPANION.fullmatch(key) else order.get(key, len(order)) for key in path]


def networks_in(tensors: Mapping[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """What may be the network among named tensors, the likeliest last.

    First all tensors under their own names, then without each layer of what a trainer put around
    and beside them. A part of the tensors is a network only where all others are known companions:
    of two networks that work together neither is taken for the whole.
    """
    current = dict(tensors)
    yield current
    for _ in range(_DEEPEST):
        if (name := _network_name(current)) is None:
            return
        prefix = f"{name}."
        current = {
            key.removeprefix(prefix): tensor
            for key, tensor in current.items()
            if key.startswith(prefix)
        }
        yield current


def _network_name(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """The first component that all names have, but for companions; None where there is none."""
    parts: dict[str, set[str]] = {}
    for key, tensor in tensors.items():
        first, dot, rest = key.partition(".")
        if not dot and tensor.dim() == 0:
            continue  # a counter: n_averaged, step_counter
        parts.setdefault(first, set()).add(rest)
    known = sorted((name for name in parts if name in PREFERRED), key=PREFERRED.index)
    if not known or "" in parts[known[0]]:
        return None
    best, *_ = known
    others = (name for name in parts if name != best and not _COMPANION.fullmatch(name))
    # The raw weights beside the averaged ones have the same names.
    return best if all(name in known and parts[name] == parts[best] for name in others) else None
