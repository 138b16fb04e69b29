"""The published SMSR and the images it is measured on, where the shared data is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from srdeploy.data.images import read_rgb
from srdeploy.models.load import load_network
from srdeploy.models.registry import create
from srdeploy.models.smsr.network import SMSR


def published(shared: Path, scale: int) -> SMSR:
    """The published x2 network; for x3 and x4, of which none is here, its body with a tail of
    random weights: masks and features are real ones.
    """
    module = load_network(shared / "weights" / "smsr" / "SMSR_X2_model_1000.pt").module
    assert isinstance(module, SMSR)
    if scale == 2:
        return module.eval()
    torch.manual_seed(scale)
    made = create("smsr", scale=scale).module
    assert isinstance(made, SMSR)
    body = {k: v for k, v in module.state_dict().items() if not k.startswith("tail.")}
    assert not made.load_state_dict(body, strict=False).unexpected_keys
    return made.eval()


def set5(shared: Path, scale: int) -> list[torch.Tensor]:
    """The low-resolution images of Set5, ``[1, 3, H, W]`` in 0..255."""
    folder = shared / "benchmark" / "Set5" / "LR_bicubic" / f"X{scale}"
    images = [read_rgb(path) for path in sorted(folder.glob("*.png"))]
    return [
        torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), np.float32))[None]
        for image in images
    ]
