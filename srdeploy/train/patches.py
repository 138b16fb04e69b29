"""Random training patches: a function of (seed, iteration), so that a resumed run sees the same."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srdeploy.data.benchmark import Middle, Pair
from srdeploy.data.builtin import BUILTIN, TRAINING_IMAGES
from srdeploy.data.images import list_images
from srdeploy.data.layouts import find_layout
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.train.cache import LUMA_STEPS, PackedImages, open_folder
from srdeploy.train.processes import ALONE, Processes
from srdeploy.train.recipe import HELD_OUT, TrainRecipe
from srdeploy.util.strict import expand

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PatchBatch:
    """Inputs and targets ``[N, C, H, W]`` in the source's own type; ``gain`` times them is float.

    They stay small integers until they are on the device where they are used.
    """

    inputs: Tensor
    targets: Tensor
    gain: float

    def pinned(self) -> PatchBatch:
        """The same batch in page-locked memory, from which a GPU copies while it computes."""
        return PatchBatch(self.inputs.pin_memory(), self.targets.pin_memory(), self.gain)

    def to(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Inputs and targets as float32 in 0..value_range on ``device``, strides kept."""
        pair = (x.to(device, non_blocking=True) for x in (self.inputs, self.targets))
        inputs, targets = (x.to(torch.float32).mul_(self.gain) for x in pair)
        return inputs, targets


class PatchSource(Protocol):
    """Where batches come from; every call with the same iteration gives the same batch.

    Of several processes each gets its own share of it.

    Attributes:
        digest: Of the data and how it is cut.
        told: What it is, for people: ``800 images of HR``.
    """

    digest: str
    told: str

    def held_out(self, scale: int) -> list[Pair]:
        """What is kept from training to be measured (``validation: {data: held-out}``)."""

    def batch(self, iteration: int) -> PatchBatch:
        """The batch of one iteration, from 0; safe to call from several threads."""


@dataclass(frozen=True)
class _Pool:
    """What may be drawn at one scale: every image at least as large as a patch."""

    pairs: list[tuple[NDArray, NDArray]]  # input, target: [H, W, C]
    upto: NDArray[np.float64]  # cumulative probability of each pair
    ratio: int  # target pixels per input pixel


class FolderPatches:
    """Aligned patches from image folders, with one of the eight flips and rotations each.

    A pixel is drawn in proportion to its folder's weight, wherever it is (away from the borders).
    """

    def __init__(self, card: Card, recipe: TrainRecipe, processes: Processes = ALONE) -> None:
        """Open the folders, decoding them first if the cache does not hold them.

        Raises:
            UserError: a folder is missing or holds no images, no image is as large as a patch, or
                the scales are not the network's, or it does not take patches of this size; or the
                processes cannot share the batch equally.
        """
        if not card.pre_upscaled and recipe.scales != (card.scale,):
            raise UserError(
                f"The recipe trains at scales {list(recipe.scales)} but this network upscales by "
                f"{card.scale}; set `scales: [{card.scale}]`."
            )
        if (fitting := fitting_patch(card, recipe.patch)) != recipe.patch:
            raise UserError(
                f"The recipe trains on patches of {recipe.patch} pixels, but the sides of this "
                f"network's input are multiples of {card.size_multiple} and at least "
                f"{card.smallest}; set `patch: {fitting}`."
            )
        luma = card.channels == 1
        self._recipe, self._share = recipe, processes.share(recipe.batch)
        self._gain = card.value_range / 255.0 / (LUMA_STEPS if luma else 1)
        paths = [f.path for f in recipe.data.folders]
        opened = [
            open_folder(_path(path), recipe.scales, luma=luma, upscaled=card.pre_upscaled)
            for path in paths
        ]
        counts = [len(o.targets) for o in opened]
        check = recipe.validation
        held = check is not None and check.data == HELD_OUT
        self._held = held_out_of(counts) if held else [[] for _ in counts]
        if held and not any(self._held):
            raise UserError(
                f"Of {sum(counts)} training images none can be held out, which takes "
                f"{HELD_OUT_OF}; name a set to measure on (--eval-data DIR, or validation.data)."
            )
        self._opened = opened
        sources = [
            (o.targets, o.inputs, f.weight, out)
            for o, f, out in zip(opened, recipe.data.folders, self._held, strict=True)
        ]
        self._pools = [_pool(sources, scale, card, recipe.patch) for scale in recipe.scales]
        kind = f"{luma} {card.pre_upscaled}" + (f" without {self._held}" if held else "")
        contents = " ".join(o.digest for o in opened)
        self.digest = hashlib.sha256(f"{kind} {contents}".encode()).hexdigest()
        self.told = ", ".join(
            f"{count - len(out)} images of {Path(path).name or path}"
            + (f" ({len(out)} held out)" if out else "")
            for path, count, out in zip(paths, counts, self._held, strict=True)
        )

    def held_out(self, scale: int) -> list[Pair]:
        """See :class:`PatchSource`."""
        found: list[Pair] = []
        for folder, out in zip(self._opened, self._held, strict=True):
            inputs = folder.layout.inputs_for(folder.files, scale)
            for index in out:
                path, given = folder.files[index], inputs[index] if inputs else None
                found.append(Middle(path.stem, scale, path, given))
        return found

    def batch(self, iteration: int) -> PatchBatch:
        """See :class:`PatchSource`."""
        recipe = self._recipe
        n, p = recipe.batch, recipe.patch
        # A generator keyed by the iteration needs no state in checkpoints and no order of workers.
        random = np.random.default_rng((recipe.seed, iteration))
        draws = random.random((n, 3))
        turns = random.integers(8, size=n) if recipe.data.augment else np.zeros(n, np.int64)
        choices = random.integers(len(self._pools), size=n)
        # Every process draws for the whole batch, so that they agree without talking.
        draws, turns, choices = draws[self._share], turns[self._share], choices[self._share]
        first = self._pools[0]
        channels, kind = first.pairs[0][0].shape[2], first.pairs[0][0].dtype
        inputs = np.empty((len(draws), p, p, channels), kind)
        targets = np.empty((len(draws), p * first.ratio, p * first.ratio, channels), kind)
        for k in range(len(draws)):
            pool = self._pools[choices[k]]
            source, target = pool.pairs[int(np.searchsorted(pool.upto, draws[k, 0], "right"))]
            top = int(draws[k, 1] * (source.shape[0] - p + 1))
            left = int(draws[k, 2] * (source.shape[1] - p + 1))
            r = pool.ratio
            inputs[k] = turned(source[top : top + p, left : left + p], turns[k])
            corner = slice(top * r, (top + p) * r), slice(left * r, (left + p) * r)
            targets[k] = turned(target[corner], turns[k])
        return _as_batch(inputs, targets, self._gain, recipe.channels_last)


HELD_OUT_OF = 10
_MOST_HELD_OUT = 8


def held_out_of(counts: Sequence[int]) -> list[list[int]]:
    """Which images of each folder are held out: evenly spread, none where there are too few.

    Args:
        counts: Images of each folder.
    """
    total = sum(counts)
    wanted = min(_MOST_HELD_OUT, total // HELD_OUT_OF)
    places = [(2 * k + 1) * total // (2 * wanted) for k in range(wanted)]
    found, begin = [], 0
    for count in counts:
        found.append([place - begin for place in places if begin <= place < begin + count])
        begin += count
    return found


def count_images(folders: Sequence[str]) -> int:
    """Training images of folders, without decoding them.

    Raises:
        UserError: as :func:`srdeploy.train.cache.open_folder`, of what can be seen from outside.
    """
    layouts = [find_layout(_path(folder), "train") for folder in folders]
    return sum(len(list_images(layout.originals)) for layout in layouts)


def turned(patch: NDArray, which: int) -> NDArray:
    """A view of a square ``[H, W, ...]``: flip or rotation ``which``, 0 (none) to 7."""
    if which & 1:
        patch = patch[:, ::-1]
    if which & 2:
        patch = patch[::-1]
    return patch.swapaxes(0, 1) if which & 4 else patch


def _as_batch(inputs: NDArray, targets: NDArray, gain: float, channels_last: bool) -> PatchBatch:
    # [N, H, W, C] in memory *is* the channels-last layout of [N, C, H, W].
    pair = [torch.from_numpy(x).permute(0, 3, 1, 2) for x in (inputs, targets)]
    if not channels_last:
        pair = [x.contiguous() for x in pair]
    return PatchBatch(pair[0], pair[1], gain)


def fitting_patch(card: Card, patch: int) -> int:
    """The smallest patch that a network takes, of those that are at least as large as one."""
    return -(-max(patch, card.smallest) // card.size_multiple) * card.size_multiple


def _path(text: str) -> Path:
    return TRAINING_IMAGES if text == BUILTIN else expand(text)


def _pool(
    sources: list[tuple[PackedImages, dict[int, PackedImages], float, list[int]]],
    scale: int,
    card: Card,
    patch: int,
) -> _Pool:
    pairs, weights, small = [], [], 0
    for targets, inputs, weight, held_out in sources:
        for index in range(len(targets)):
            if index in held_out:
                continue
            height, width = (int(side) for side in inputs[scale].sizes[index])
            if min(height, width) < patch:
                small += 1
                continue
            pairs.append((inputs[scale][index], targets[index]))
            weights.append(weight * height * width)
    if not pairs:
        raise UserError(
            f"All {small} training images are smaller than a patch of {patch} input pixels at "
            f"scale {scale}; use larger images or a smaller `patch`."
        )
    if small:
        log.warning(
            "%d of %d training images are smaller than a patch of %d input pixels at scale %d "
            "and are left out.",
            small,
            small + len(pairs),
            patch,
            scale,
        )
    upto = np.cumsum(np.array(weights, np.float64))
    return _Pool(pairs, upto / upto[-1], 1 if card.pre_upscaled else scale)
