"""Mixed precision that leaves grey levels intact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@contextmanager
def exact_float32() -> Iterator[None]:
    """Within it float32 convolutions on a GPU are float32, and cuDNN tries out its algorithms.

    PyTorch lets cuDNN round the inputs of float32 convolutions to TF32's 10 bits of mantissa, which
    is an eighth of a grey level near white. Here ``fp32`` means what it says and the layers that
    :func:`mixed` keeps in float32 are exact; who wants speed asks for ``bf16``.
    """
    # Patches have one size, so that an algorithm tried once serves the whole run.
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=False):
        yield


@contextmanager
def mixed(module: nn.Module, precision: str, device: torch.device) -> Iterator[None]:
    """Run forward passes in ``precision``, except where pixels enter and leave the network.

    In bfloat16 the step between neighbouring values near white is one whole grey level, so the
    frozen convolutions (the mean shift), the first and the last convolution compute in float32.
    """
    if precision == "fp32":
        yield
        return
    guarded = _pixel_layers(module)
    try:
        for layer in guarded:
            layer.forward = _in_float32(layer.forward, device.type)  # type: ignore[method-assign]
        yield
    finally:
        for layer in guarded:
            del layer.__dict__["forward"]


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The autocast region of one forward pass."""
    dtype = DTYPES.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


def _pixel_layers(module: nn.Module) -> list[nn.Module]:
    convs = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    frozen = [m for m in convs if not m.weight.requires_grad]
    # Registration order is execution order in every network of this field.
    trained = [m for m in convs if m.weight.requires_grad]
    return list(dict.fromkeys([*frozen, *trained[:1], *trained[-1:]]))


def _in_float32(forward: Callable[..., Tensor], device: str) -> Callable[..., Tensor]:
    def wrapped(x: Tensor, *args: Any) -> Tensor:
        with torch.autocast(device, enabled=False):
            return forward(x.float(), *args)

    return wrapped
