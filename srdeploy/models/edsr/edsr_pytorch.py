"""EDSR back to where it came from: state dicts that EDSR-PyTorch loads.

Our names of EDSR's tensors are EDSR-PyTorch's (github.com/sanghyun-son/EDSR-PyTorch), so little is
left to do: the mean shifts, which its model always has, and the container, which its users' torch
of 2019 must read.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch

from srdeploy.errors import UserError
from srdeploy.models.layers import MeanShift
from srdeploy.models.network import Network
from srdeploy.util.files import atomic_path

NAME = "edsr-pytorch"
"""What the command line calls this form."""


def edsr_pytorch_state(network: Network) -> OrderedDict[str, torch.Tensor]:
    """The tensors of a dense EDSR under EDSR-PyTorch's names, in its order, float32.

    Raises:
        UserError: another architecture, or a pruned network: EDSR-PyTorch builds its model from one
            width for all layers.
    """
    card = network.card
    if card.arch != "edsr":
        raise UserError(f"EDSR-PyTorch has no {card.arch} as srdeploy knows it; only edsr fits.")
    if card.pruned:
        raise UserError(
            "This network is pruned, and EDSR-PyTorch builds all layers equally wide; "
            "give a dense one."
        )
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    if card.mean_shift is None:  # its model always shifts: by nothing, then
        for name in ("sub_mean", "add_mean"):
            for key, value in MeanShift(card.value_range, (0.0,) * 3, 1).state_dict().items():
                state[f"{name}.{key}"] = value.float()
    for name, tensor in network.module.state_dict().items():
        state[name] = tensor.detach().float().contiguous()
    return state


def edsr_pytorch_options(network: Network) -> str:
    """The options with which EDSR-PyTorch builds the same model."""
    config, card = network.card.config, network.card
    options = {
        "model": "EDSR",
        "scale": card.scale,
        "n_resblocks": config["n_blocks"],
        "n_feats": config["n_feats"],
        "res_scale": f"{config['res_scale']:g}",
        "rgb_range": f"{card.value_range:g}",
    }
    return " ".join(f"--{name} {value}" for name, value in options.items())


def save_edsr_pytorch(network: Network, path: str | Path) -> None:
    """Write what ``--pre_train`` of EDSR-PyTorch takes.

    Raises:
        UserError: as :func:`edsr_pytorch_state`, or the path cannot be written to.
    """
    state = edsr_pytorch_state(network)
    with atomic_path(path) as temporary:
        torch.save(state, temporary, _use_new_zipfile_serialization=False)
