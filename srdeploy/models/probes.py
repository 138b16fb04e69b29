"""What a claim about a network is checked on: photographs, at sizes on which the network runs.

Every proof and every parity check that says "these two compute the same" runs here. Inputs are
pieces of the shipped photographs, because noise drives attention and normalisation far from where
they work. They are of several sizes, one of them as large as real images, because code may depend
on the size; a network that has a smallest size or a size multiple of its own decides which sizes
these become. No tensor is ever handed to a network twice, because a network may write into it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srdeploy.data.builtin import BENCHMARK_IMAGES
from srdeploy.data.images import read_rgb, rgb_to_y
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.models.module_path import ModulePath

Size = tuple[int, int]
"""Height and width in pixels."""

PROBE_SIZES: tuple[Size, ...] = ((12, 12), (24, 20), (17, 29), (136, 152))
"""What is probed: tiny, small and even, small and odd, and as large as real images. Tall, wide and
square, so that swapped sides show."""

BATCH_SIZE = 2
"""How many images are probed at once, beside single ones."""

_PHOTOGRAPHS = ("astronaut.png", "coffee.png", "chelsea.png")  # in colour: swapped channels show
_OWN_MULTIPLES = (*range(1, 11), *range(12, 25, 2), 28, 32, 36, 40, 48, 56, 64, 128)
_GROWTH = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
_LARGEST = 256  # side to which small sizes grow in search of one that runs

_Result = TypeVar("_Result")


class CannotRunError(UserError):
    """The network's own code failed on an input; the sentence names the layer and the reason."""


def photograph(card: Card, size: Size, batch: int = 1) -> NDArray[np.float32]:
    """A new array of natural images, as the network wants them.

    The images of a batch differ. Sizes beyond the photographs are filled by mirroring.

    Args:
        card: Says channels and range. One channel is luma, four are RGB and luma.
        size: Height and width.
        batch: How many.

    Returns:
        ``[batch, card.channels, height, width]`` in 0..card.value_range, contiguous.
    """
    crops = [_crop(_photographs()[i % len(_PHOTOGRAPHS)], size, i) for i in range(batch)]
    pixels = np.stack(crops).astype(np.float64)
    luma = rgb_to_y(pixels)[..., None]
    planes = luma if card.channels == 1 else np.concatenate([pixels, luma], axis=-1)
    scaled = planes[..., : card.channels] * (card.value_range / 255.0)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32)


@lru_cache(maxsize=1)
def _photographs() -> tuple[NDArray[np.uint8], ...]:
    return tuple(read_rgb(BENCHMARK_IMAGES / name) for name in _PHOTOGRAPHS)


def _crop(image: NDArray[np.uint8], size: Size, number: int) -> NDArray[np.uint8]:
    """The most detailed of nine pieces; each round through the photographs takes another one.

    Every other round is upside down, as an image larger than the photographs has one piece only.
    """
    turn = number // len(_PHOTOGRAPHS)
    image = image[:: -1 if turn % 2 else 1]
    short = [max(0, wanted - have) for wanted, have in zip(size, image.shape, strict=False)]
    if any(short):
        image = np.pad(image, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
    tops, lefts = (
        [have * step // 4 for step in (1, 2, 3)]
        for have in (image.shape[0] - size[0], image.shape[1] - size[1])
    )
    pieces = [image[y : y + size[0], x : x + size[1]] for y in tops for x in lefts]
    pieces.sort(key=lambda piece: float(piece[..., 1].std()), reverse=True)
    return pieces[turn % len(pieces)]


def run(module: nn.Module, x: Tensor) -> Any:
    """What a network answers, without gradients; ``x`` stays as it is whatever the network does.

    Raises:
        CannotRunError: its code fails on this input.
    """
    place = ModulePath()
    try:
        with place.following(module), torch.no_grad():
            return module(x.clone())
    except Exception as error:  # whatever the network's own code raises
        raise cannot_run(x.shape, place, error) from error


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode for a while, and every part back into its own."""
    training = {layer: layer.training for layer in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for layer, mode in training.items():
            layer.training = mode


def cannot_run(shape: Iterable[int], place: ModulePath, error: Exception) -> CannotRunError:
    """The sentence for a network that fails on an input."""
    detail = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return CannotRunError(
        f"The network cannot be run on an image of shape {list(shape)}: {place} fails ({detail})."
    )


def fit_size(
    attempt: Callable[[Size], _Result], wanted: Size, multiple: int = 1
) -> tuple[Size, _Result]:
    """The smallest size near the wanted one that a network runs on, and what came of it.

    Tried are the wanted size, then larger ones: rounded up to multiples that the network may need,
    grown to a smallest size that it may have, and squares.

    Args:
        attempt: Runs the network on an image of a size; CannotRunError where it cannot.
        wanted: Height and width.
        multiple: Both must be multiples of this.

    Raises:
        CannotRunError: none works; the sentence is that of the first attempt.
    """
    first: CannotRunError | None = None
    for size in _candidates(wanted, multiple):
        try:
            return size, attempt(size)
        except CannotRunError as error:
            first = first or error
    assert first is not None
    largest = max(map(max, _candidates(wanted, multiple)))
    raise CannotRunError(f"{str(first).rstrip('.')}, nor on any size tried up to {largest}.")


def fit_sizes(module: nn.Module, card: Card, wanted: Iterable[Size] = PROBE_SIZES) -> list[Size]:
    """The wanted sizes as a network runs on them, without repetitions.

    Args:
        module: In float32 and evaluation mode.
        card: Says channels, range and the multiple of sides.
        wanted: Heights and widths. One that the network cannot be given, and nothing near it, is
            left out (a network of one fixed size).

    Raises:
        CannotRunError: the network runs on none; the sentence is that of the first attempt.
    """
    found: dict[Size, None] = {}
    first: CannotRunError | None = None
    for size in wanted:
        try:
            fitting, _ = fit_size(
                lambda s: run(module, torch.from_numpy(photograph(card, s))),
                size,
                card.size_multiple,
            )
            found[fitting] = None
        except CannotRunError as error:
            first = first or error
    if not found and first is not None:
        raise first
    return list(found)


def _candidates(wanted: Size, multiple: int) -> list[Size]:
    largest = max(_LARGEST, 2 * max(wanted), multiple)
    found: dict[Size, None] = {}
    for growth in _GROWTH:
        for own in _OWN_MULTIPLES:
            step = math.lcm(own, multiple)
            height, width = (math.ceil(side * growth / step) * step for side in wanted)
            for size in ((height, width), (max(height, width),) * 2):
                if max(size) <= largest:
                    found[size] = None
    height, width = (math.ceil(side / multiple) * multiple for side in wanted)
    others = sorted(found.keys() - {(height, width)}, key=lambda s: (s[0] * s[1], s))
    return [(height, width), *others]
