"""Patches from an HDF5 file as VDSR's authors and their followers prepare them."""

from __future__ import annotations

import hashlib
import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from srdeploy.data.benchmark import Pair
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.train.patches import PatchBatch, PatchSource, turned
from srdeploy.train.processes import ALONE, Processes
from srdeploy.train.recipe import TrainRecipe
from srdeploy.util.strict import expand


class Hdf5Patches(PatchSource):
    """Patches of a file with ``data`` and ``label``: float ``[N, C, H, W]`` in 0..1.

    Every patch is seen once per pass over the file, in an order drawn anew for each pass.
    The file decides the patch size and the scales; the recipe's are not used.
    """

    def __init__(self, card: Card, recipe: TrainRecipe, processes: Processes = ALONE) -> None:
        """Open the file.

        Raises:
            UserError: h5py is not installed, the file is missing or no HDF5, or its datasets are
                not what this network can be trained on; or the processes cannot share the batch
                equally.
        """
        try:
            import h5py
        except ImportError as error:
            raise UserError(
                "Reading HDF5 patches needs h5py; install it with `pip install 'srdeploy[hdf5]'`."
            ) from error
        assert recipe.data.hdf5 is not None
        path = expand(recipe.data.hdf5)
        if not path.is_file():
            raise UserError(f"There is no file '{path}'.")
        try:
            file = h5py.File(path, "r")
            self._inputs, self._targets = file["data"], file["label"]
        except (OSError, KeyError) as error:
            raise UserError(
                f"'{path}' is no HDF5 file with the datasets `data` and `label`."
            ) from error
        ratio = 1 if card.pre_upscaled else card.scale
        _check(path, self._inputs.shape, self._targets.shape, card.channels, ratio)
        if len(self._inputs) < recipe.batch:
            raise UserError(
                f"'{path}' holds {len(self._inputs)} patches, fewer than one batch of "
                f"{recipe.batch}; use a smaller `batch`."
            )
        self.told = f"{len(self._inputs)} patches of {path.name}"
        self._recipe, self._share = recipe, processes.share(recipe.batch)
        self._gain = card.value_range
        self._order = lru_cache(maxsize=2)(self._draw_order)
        self._lock = threading.Lock()  # h5py handles are not thread-safe
        # Files reach many gigabytes: identity is the layout, the size and the first patch.
        identity = f"{path.stat().st_size} {self._inputs.shape} {self._targets.shape}".encode()
        self.digest = hashlib.sha256(identity + self._inputs[0].tobytes()).hexdigest()

    def batch(self, iteration: int) -> PatchBatch:
        """See :class:`PatchSource`."""
        recipe = self._recipe
        per_pass = len(self._inputs) // recipe.batch
        epoch, place = divmod(iteration, per_pass)
        order = self._order(epoch)
        # HDF5 reads a sorted selection in one pass over its chunks; order within a batch is free.
        chosen = np.sort(order[place * recipe.batch : (place + 1) * recipe.batch])[self._share]
        with self._lock:
            inputs, targets = self._inputs[chosen], self._targets[chosen]
        if recipe.data.augment:
            random = np.random.default_rng((recipe.seed, epoch, place))
            for k, which in enumerate(random.integers(8, size=recipe.batch)[self._share]):
                for patches in (inputs, targets):
                    patch = patches[k].transpose(1, 2, 0)
                    patches[k] = turned(patch, int(which)).transpose(2, 0, 1).copy()
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        tensors = [
            torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).contiguous(
                memory_format=layout
            )
            for x in (inputs, targets)
        ]
        return PatchBatch(tensors[0], tensors[1], self._gain)

    def held_out(self, scale: int) -> list[Pair]:
        """None: recipes with such a file hold nothing out."""
        return []

    def _draw_order(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self._recipe.seed, epoch)).permutation(len(self._inputs))


def _check(
    path: Path, inputs: tuple[int, ...], targets: tuple[int, ...], channels: int, ratio: int
) -> None:
    if len(inputs) != 4 or len(targets) != 4 or inputs[1] != channels or targets[1] != channels:
        raise UserError(
            f"'{path}' holds `data` {list(inputs)} and `label` {list(targets)}, but this network "
            f"takes [N, {channels}, H, W]."
        )
    n, _, height, width = inputs
    if targets[0] != n or targets[2:] != (height * ratio, width * ratio) or height != width:
        raise UserError(
            f"'{path}' pairs `data` {list(inputs)} with `label` {list(targets)}; square patches "
            f"whose labels are {ratio} times as large are needed."
        )
