"""Training images without originals: what a teacher makes of them stands in their place.

A pruned or quantised network is to do what the dense one does. Of a network that was trained with a
discriminator, or on data that nobody has, no original says what that is: the teacher's output does,
on any images such as the network will be given. Each image is upscaled by the teacher once, in 8
bits, and kept with its result in the layout of EDSR's sets, so that a run on them is like any
other: what is held out of them measures the agreement with the teacher. The loss asks the teacher
itself about every patch: to what is flipped or turned a network does not do exactly the same.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from srdeploy.data.images import list_images, read_rgb, write_png
from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.models.digest import weights_sha256
from srdeploy.models.network import Network
from srdeploy.runtime.open import open_session
from srdeploy.runtime.session import Session
from srdeploy.train.patches import count_images, held_out_of
from srdeploy.upscaling.image import picture_of, upscale_picture
from srdeploy.util.files import atomic_path, cache_dir, sha256
from srdeploy.util.progress import track

_FORMAT = 1  # raise when other pixels would come of the same files


def taught_folder(folder: Path, teacher: Network, card: Card) -> Path:
    """A training set of images and of what a teacher makes of them, made unless it is kept.

    Args:
        folder: Images as the network is given them, not its originals.
        teacher: Of the same scale as the network, in colour.
        card: Of the network that will learn.

    Returns:
        A folder with ``HR`` and ``LR_bicubic/X<scale>``.

    Raises:
        UserError: there are no images, one cannot be read, or the networks do not take and give
            colour images, at one scale.
    """
    for one in (teacher.card, card):
        if one.channels != 3 or one.pre_upscaled:
            raise UserError(
                f"Images without originals are for colour networks that upscale; {one.arch} takes "
                "luma, or images upscaled beforehand: give originals as --train-data."
            )
    if teacher.card.scale != card.scale:
        raise UserError(
            f"The teacher upscales by {teacher.card.scale} and the network by {card.scale}; a "
            "teacher must take and give the same images."
        )
    files = list_images(folder)
    names = _names(files)
    told = f"format {_FORMAT} x{card.scale} {teacher.card.value_range}"
    total = hashlib.sha256(f"{told} {weights_sha256(teacher.module.state_dict())}".encode())
    for file in files:
        total.update(f"\n{file.name} {sha256(file)}".encode())
    made = cache_dir() / "taught" / total.hexdigest()[:24] / f"{folder.name or 'images'}-taught"
    if not made.is_dir():
        with (
            atomic_path(made) as temporary,
            open_session(teacher) as session,
            track(f"Upscaling {folder.name}", len(files)) as bar,
        ):
            for file, name in zip(files, names, strict=True):
                _write(session, file, temporary, name, card.scale)
                bar.update()
    return made


def _names(files: list[Path]) -> list[str]:
    """Names without endings, each once: ``a.jpg`` and ``a.png`` are two images."""
    stems = [file.stem for file in files]
    return [
        file.stem if stems.count(file.stem) == 1 else file.name.replace(".", "_") for file in files
    ]


def _write(session: Session, file: Path, folder: Path, name: str, scale: int) -> None:
    given = picture_of(read_rgb(file))
    result = upscale_picture(session, given, scale)
    write_png(folder / "HR" / f"{name}.png", result.pixels)
    write_png(folder / "LR_bicubic" / f"X{scale}" / f"{name}x{scale}.png", given.pixels)


def taught_settings(folders: list[Path], teacher: Network, card: Card) -> dict[str, Any]:
    """What a fine-tuning on such images is given beside its teacher.

    Where there are too few images to hold some out, all of them are watched, since the shipped
    originals would judge another task.

    Args:
        folders: Of images.
        teacher: As for :func:`taught_folder`.
        card: Likewise.

    Raises:
        UserError: as :func:`taught_folder`.
    """
    made = [str(taught_folder(folder, teacher, card)) for folder in folders]
    settings: dict[str, Any] = {"data": made, "output": 1.0}
    if not any(held_out_of([count_images(made)])):
        settings["eval_data"] = made[0]
    return settings
