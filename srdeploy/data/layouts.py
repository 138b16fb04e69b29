"""Where a data set's originals and inputs lie: the trees that people already have.

Read are, for a folder given as data:

* plain: images directly in it, with ``LR_bicubic/X2`` beside them or not;
* EDSR-PyTorch's benchmark sets: ``HR`` and ``LR_bicubic/X2/<name>x2.png``;
* EDSR-PyTorch's ``--dir_data``: ``DIV2K/DIV2K_train_HR`` and ``DIV2K_train_LR_bicubic/X2``, the
  same below ``DIV2K/bin`` (``sep`` caches), and ``benchmark/<set>``;
* BasicSR's pairs: ``GTmod12`` and ``LRbicx2``, ``GT`` and ``LQ``, ``DIV2K_train_HR_sub`` and
  ``DIV2K_train_LR_bicubic/X2_sub``.

A folder of their low-resolution inputs, named as if it held originals, is refused: a network would
be measured on, or learn from, images that were shrunk once before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from srdeploy.data.decoded import DECODED
from srdeploy.data.images import SUFFIXES, list_images
from srdeploy.errors import UserError

Use = Literal["measure", "train"]

_ORIGINALS = ("HR", "GTmod[0-9]*", "GT", "gt", "hr")
_INPUTS = ("LR_bicubic/X{s}", "LRbicx{s}", "LR/X{s}", "LR_x{s}", "X{s}", "LQ", "lq", "LR", "lr")
_SPLITS: dict[Use, tuple[str, ...]] = {"measure": ("valid", "val", "test"), "train": ("train",)}

_NAMED_INPUTS = [re.compile(end) for end in (*(f"[^\\W_]x{s}$" for s in range(2, 9)), "_LR$")]
"""``babyx2`` and ``img_001_SRF_2_LR``; what `srdeploy upscale` writes, ``baby_x2``, is none."""


@dataclass(frozen=True)
class DataLayout:
    """A data set on disk.

    Attributes:
        originals: Folder of the high-resolution images.
        inputs: Patterns of the folder of low-resolution images, ``{s}`` being the scale.
    """

    originals: Path
    inputs: tuple[Path, ...] = ()

    def inputs_folder(self, scale: int) -> Path | None:
        """The folder with inputs for a scale, or None where they are to be made."""
        folders = (Path(str(path).format(s=scale)) for path in self.inputs)
        return next((folder for folder in folders if _has_images(folder)), None)

    def inputs_for(self, originals: list[Path], scale: int) -> list[Path] | None:
        """The input of each original, or None where they are to be made.

        Raises:
            UserError: there is a folder for this scale, but an original has no input in it.
        """
        folder = self.inputs_folder(scale)
        if folder is None:
            return None
        there = {path.stem: path for path in list_images(folder)}
        found = []
        for path in originals:
            names = (f"{path.stem}x{scale}", path.stem)
            if (match := next((there[n] for n in names if n in there), None)) is None:
                raise UserError(
                    f"'{folder}' has no '{path.stem}x{scale}.png' for '{path}'; "
                    "add the file, or remove the folder to have all of them made."
                )
            found.append(match)
        return found


def find_layout(folder: str | Path, use: Use) -> DataLayout:
    """Recognise a folder given as data.

    Args:
        folder: What the user named.
        use: To measure or to train: of a tree that holds both, that part is taken.

    Raises:
        UserError: it holds several sets, none for this use, or inputs alone. A folder that holds
            nothing recognised is taken as plain.
    """
    root = Path(folder)
    if not root.is_dir():
        return DataLayout(root)
    if _has_images(root):
        _refuse_inputs(root, use)
        return DataLayout(root, (root / "LR_bicubic" / "X{s}",))
    if (pair := _pair(root)) is not None:
        return pair
    split = next(_splits(root, use), None)
    if split is not None:
        return split
    other: Use = "train" if use == "measure" else "measure"
    sets = _sets(root)
    if use == "measure" and len(sets) == 1:
        return find_layout(sets[0], use)
    if use == "measure" and sets:
        names = ", ".join(path.name for path in sets)
        raise UserError(f"'{root}' holds the sets {names}; name one of them, e.g. '{sets[0]}'.")
    if (found := next(_splits(root, other), None)) is not None:
        raise UserError(
            f"'{root}' holds images to {other} on ('{found.originals.name}') and none to {use} on; "
            "name that folder itself if you mean it."
        )
    _refuse_inputs(root, use)
    return DataLayout(root)


def _pair(root: Path) -> DataLayout | None:
    """``HR`` and ``LR_bicubic``, or BasicSR's names for them, side by side."""
    there = (path for name in _ORIGINALS for path in sorted(root.glob(name)))
    originals = next((path for path in there if _has_images(path)), None)
    if originals is None:
        return None
    return DataLayout(originals, tuple(root / name for name in _INPUTS))


def _splits(root: Path, use: Use) -> Iterator[DataLayout]:
    """``DIV2K_train_HR`` and its kind, in the folder, in ``DIV2K`` below it, and in its caches."""
    for place in (root, root / "bin", root / "DIV2K", root / "DIV2K" / "bin"):
        if not place.is_dir():
            continue
        for split in _SPLITS[use]:
            for ending in ("", "_sub"):
                for originals in sorted(place.glob(f"*_{split}_HR{ending}")):
                    if _has_images(originals):
                        base = originals.name.removesuffix(f"HR{ending}")
                        inputs = place / f"{base}LR_bicubic" / f"X{{s}}{ending}"
                        yield DataLayout(originals, (inputs,))


def _sets(root: Path) -> list[Path]:
    """The benchmark sets in a folder, or in ``benchmark`` below it."""
    for place in (root / "benchmark", root):
        if place.is_dir():
            found = [path for path in sorted(place.iterdir()) if path.is_dir() and _pair(path)]
            if found:
                return found
    return []


def _refuse_inputs(root: Path, use: Use) -> None:
    """A folder of inputs is no data set.

    Raises:
        UserError: it is one by its place in a known tree, or by the names of its images.
    """
    here = Path(os.path.abspath(root))
    two = here.parent.parent, f"{here.parent.name}/{here.name}"
    for place, tail in ((here.parent, here.name), two):
        if (originals := _originals_of(place, tail)) is not None:
            given = place if _means(place, use, originals) else originals
            named = [originals, given]
            if not root.is_absolute():  # as the user names folders
                named = [Path(os.path.relpath(path)) for path in named]
            raise UserError(
                f"'{root}' holds the low-resolution inputs of '{named[0]}', not originals; give "
                f"'{named[1]}' instead."
            )
    names = sorted(path.stem for path in _images(root))
    if any(name.endswith("_LR") for name in names) and any(n.endswith("_HR") for n in names):
        raise UserError(
            f"'{root}' holds originals and inputs together ('{names[0]}'...); copy the originals, "
            "*_HR, into a folder of their own and give that."
        )
    if len(names) > 1 and any(all(map(ending.search, names)) for ending in _NAMED_INPUTS):
        raise UserError(
            f"'{root}' holds low-resolution inputs by their names ('{names[0]}'...), not "
            "originals; give the folder of the originals."
        )


def _originals_of(place: Path, tail: str) -> Path | None:
    """The originals whose inputs lie in ``tail`` of a folder, if that is what they are."""
    pair = _pair(place)
    patterns = ("LR_bicubic", *(pattern.format(s="[2-9]") for pattern in _INPUTS))
    if pair is not None and any(re.fullmatch(pattern, tail) for pattern in patterns):
        return pair.originals
    if (split := re.fullmatch(r"(.+_)LR_[a-z]+(?:/X[2-9](_sub)?)?", tail)) is None:
        return None
    originals = place / f"{split[1]}HR{split[2] or ''}"
    return originals if _has_images(originals) else None


def _means(place: Path, use: Use, originals: Path) -> bool:
    """Whether these originals are used where that folder is given."""
    try:
        return find_layout(place, use).originals == originals
    except UserError:
        return False


def _has_images(folder: Path) -> bool:
    return any(_images(folder))


def _images(folder: Path) -> Iterator[Path]:
    """The pictures and decoded images directly in a folder; none where there is no folder."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.suffix.lower() in (*SUFFIXES, *DECODED) and not path.name.startswith("."):
            yield path
