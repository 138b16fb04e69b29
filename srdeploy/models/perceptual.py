"""LPIPS and DISTS: distances of two images in the features of networks trained on photographs.

LPIPS: Zhang, Isola, Efros, Shechtman, Wang, CVPR 2018, equation 1, version 0.1 on AlexNet. DISTS:
Ding, Ma, Wang, Simoncelli, TPAMI 2020, equations 5 to 8, on VGG16.

Where the weights come from: :mod:`srdeploy.quality.metric_weights`. Their files are read as data
(:mod:`srdeploy.models.importing`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from srdeploy.errors import UserError
from srdeploy.models.importing.state_dict import read_state_dict
from srdeploy.quality.metric_weights import DISTS, EXTRA, LPIPS, MetricWeights

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, in 0..1
_EPSILON = 1e-10


def lpips(result: NDArray[np.float64], original: NDArray[np.float64]) -> float:
    """LPIPS of two images in 0..255, ``[H, W]`` (as grey) or ``[H, W, 3]``; 0 if they are equal.

    Raises:
        ValueError: the shapes differ, or a side is shorter than 31 pixels.
        UserError: the weights are missing, or are not those of AlexNet.
    """
    a, b = _images(result, original, 31)
    network, weights = _lpips_network(*LPIPS.files())
    # The scaling of the published code: ImageNet's mean and deviation, for values in -1..1.
    shift, scale = _channels((-0.030, -0.088, -0.188)), _channels((0.458, 0.448, 0.450))
    found = 0.0
    with torch.no_grad():
        features = [_stages(network, (2 * x - 1 - shift) / scale, (2, 5, 8, 10, 12))
                    for x in (a, b)]  # fmt: skip
        for weight, one, other in zip(weights, *features, strict=True):
            difference = (_unit(one) - _unit(other)).square()
            found += float((difference * weight).sum(1).mean())
    return found


def dists(result: NDArray[np.float64], original: NDArray[np.float64]) -> float:
    """DISTS of two images in 0..255, ``[H, W]`` (as grey) or ``[H, W, 3]``; 0 if they are equal.

    The images are not resized before, as the paper does with large ones.

    Raises:
        ValueError: the shapes differ, or a side is shorter than 16 pixels.
        UserError: the weights are missing, or are not those of VGG16.
    """
    a, b = _images(result, original, 16)
    network, alpha, beta = _dists_network(*DISTS.files())
    mean, deviation = _channels(_MEAN), _channels(_DEVIATION)
    likeness, begin = 0.0, 0
    with torch.no_grad():
        features = [
            [x, *_stages(network, (x - mean) / deviation, (4, 9, 16, 23, 30))] for x in (a, b)
        ]
        for one, other in zip(*features, strict=True):
            weights = slice(begin, begin := begin + one.shape[1])
            texture, structure = _likeness(one.double(), other.double())
            likeness += float((alpha[weights] * texture + beta[weights] * structure).sum())
    return max(0.0, 1 - likeness / float((alpha + beta).sum()))


def _likeness(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Likeness of texture and of structure by channel: equations 6 and 7."""
    small = 1e-6
    mean_a, mean_b = a.mean((0, 2, 3)), b.mean((0, 2, 3))
    variance_a = a.square().mean((0, 2, 3)) - mean_a.square()
    variance_b = b.square().mean((0, 2, 3)) - mean_b.square()
    covariance = (a * b).mean((0, 2, 3)) - mean_a * mean_b
    texture = (2 * mean_a * mean_b + small) / (mean_a.square() + mean_b.square() + small)
    return texture, (2 * covariance + small) / (variance_a + variance_b + small)


def _images(result: NDArray, original: NDArray, smallest: int) -> tuple[Tensor, Tensor]:
    """Both as float32 ``[1, 3, H, W]`` in 0..1."""
    if result.shape != original.shape or min(result.shape[:2], default=0) < smallest:
        raise ValueError(
            f"cannot compare images of shapes {result.shape} and {original.shape}; sides must be "
            f"{smallest} pixels or more"
        )
    pair = []
    for image in (result, original):
        planes = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
        pair.append(torch.from_numpy(planes.transpose(2, 0, 1)[None] / 255.0).float())
    return pair[0], pair[1]


def _channels(values: Sequence[float]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def _unit(features: Tensor) -> Tensor:
    return features / (features.square().sum(1, keepdim=True).sqrt() + _EPSILON)


def _stages(network: nn.Sequential, x: Tensor, ends: Sequence[int]) -> list[Tensor]:
    """What comes out of the layers before each of some indices."""
    found = []
    for index, layer in enumerate(list(network)[: max(ends)], start=1):
        x = layer(x)
        if index in ends:
            found.append(x)
    return found


# Networks, with torchvision's numbering of their layers


class _L2Pool(nn.Module):
    """The root of a smoothed square at every second pixel (DISTS, section 3.1)."""

    def forward(self, x: Tensor) -> Tensor:
        """Halve height and width of ``[N, C, H, W]``."""
        line = torch.tensor([0.25, 0.5, 0.25])
        kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
        smooth = functional.conv2d(x.square(), kernel, stride=2, padding=1, groups=x.shape[1])
        return (smooth + 1e-12).sqrt()


def _alexnet() -> nn.Sequential:
    """The features of Krizhevsky, "One weird trick" (2014)."""
    layers: list[nn.Module] = []
    for n_in, n_out, kernel, stride, padding, pooled in (
        (3, 64, 11, 4, 2, True), (64, 192, 5, 1, 2, True), (192, 384, 3, 1, 1, False),
        (384, 256, 3, 1, 1, False), (256, 256, 3, 1, 1, False),
    ):  # fmt: skip
        layers += [nn.Conv2d(n_in, n_out, kernel, stride, padding), nn.ReLU()]
        layers += [nn.MaxPool2d(3, 2)] if pooled else []
    return nn.Sequential(*layers)


def _vgg16() -> nn.Sequential:
    """The features of Simonyan and Zisserman (2015), configuration D, with DISTS' pooling."""
    layers: list[nn.Module] = []
    n_in = 3
    for n_out, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU()]
            n_in = n_out
        layers.append(_L2Pool())
    return nn.Sequential(*layers)


@lru_cache(maxsize=2)
def _lpips_network(network: Path, weights: Path) -> tuple[nn.Sequential, list[Tensor]]:
    module = _filled(_alexnet(), network, LPIPS)
    found = read_state_dict(weights).tensors
    names = [f"lin{i}.model.1.weight" for i in range(5)]
    return module, [_wanted(found, name, weights) for name in names]


@lru_cache(maxsize=2)
def _dists_network(network: Path, weights: Path) -> tuple[nn.Sequential, Tensor, Tensor]:
    module = _filled(_vgg16(), network, DISTS)
    found = read_state_dict(weights).tensors
    alpha, beta = (_wanted(found, name, weights).double().flatten() for name in ("alpha", "beta"))
    return module, alpha, beta


def _filled(module: nn.Sequential, file: Path, source: MetricWeights) -> nn.Sequential:
    found = read_state_dict(file).tensors
    own = {
        name.removeprefix("features."): tensor
        for name, tensor in found.items()
        if name.startswith("features.")
    }
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise UserError(
            f"'{file}' does not hold {source.title} as torchvision publishes it; take its file "
            f"{source.network}."
        ) from error
    return module.eval().requires_grad_(False)


def _wanted(found: Mapping[str, Tensor], name: str, file: Path) -> Tensor:
    if name not in found:
        raise UserError(f"'{file}' has no '{name}'; install its package again: {EXTRA}.")
    return found[name]
