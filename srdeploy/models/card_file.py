"""Files of networks, and the cards in them, read without importing PyTorch.

Whoever only sends a network somewhere, or hands it to a device, starts in a fraction of a second.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from srdeploy.errors import UserError, shown, unknown_name
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.hub_file import fetch, hub_file
from srdeploy.util.shipped import shipped_networks

_CARD_DIGEST = "srdeploy.card.sha256"
_WEIGHTS_DIGEST = "srdeploy.weights.sha256"


def find_file(name: str | Path) -> Path:
    """The file or folder of that name, else one on the hub, else that of a shipped network.

    Args:
        name: A path, ``hf:org/repo/file`` (:mod:`srdeploy.models.hub_file`), which is fetched where
            it is not here yet, or a name of :func:`srdeploy.util.shipped.shipped_networks`.

    Raises:
        UserError: there is none.
        SrdeployError: the hub cannot be reached.
    """
    file, shipped = Path(name), shipped_networks()
    if file.exists():
        return file
    if wanted := hub_file(name):
        return fetch(wanted)
    if str(name) in shipped:
        return shipped[str(name)]
    if file.suffix or len(file.parts) > 1:
        raise UserError(f"There is no file '{name}'.")
    raise unknown_name("file or shipped network", str(name), shipped)


def is_safetensors(path: Path) -> bool:
    """Whether the file begins like safetensors (a header length, then JSON) or is named so."""
    if path.suffix == ".safetensors":
        return True
    try:
        with open(path, "rb") as file:
            head = file.read(9)
    except OSError as error:
        raise UserError(f"Cannot read '{path}' ({error.strerror}).") from error
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32


@dataclass(frozen=True)
class Header:
    """What a file of ours says before its numbers.

    Attributes:
        card: The card, as it was saved.
        weights_sha256: Of the weights as they were saved
            (:func:`srdeploy.models.digest.weights_sha256`); None in files of srdeploy 0.1, which
            say nothing of it.
        shapes: Of every tensor, by name.
    """

    card: Card
    weights_sha256: str | None
    shapes: dict[str, tuple[int, ...]]


def card_metadata(card: Card, weights_sha256: str) -> dict[str, str]:
    """What a file's header says of a network: its card, and the digests of card and weights."""
    text = card.to_json()
    return {
        CARD_KEY: text,
        _CARD_DIGEST: hashlib.sha256(text.encode()).hexdigest(),
        _WEIGHTS_DIGEST: weights_sha256,
    }


def read_header(path: str | Path) -> Header | None:
    """What a safetensors file of ours says, or None when the file is somebody else's.

    Raises:
        UserError: the file is missing, truncated or no safetensors file, or the card is not the
            one that was saved.
    """
    try:
        with safe_open(path, framework="np") as file:
            told = file.metadata() or {}
            names = file.keys() if CARD_KEY in told else []
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except FileNotFoundError:
        raise UserError(f"There is no file '{path}'.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"'{path}' is not a readable safetensors file ({shown(error)}); it may be truncated."
        ) from error
    ours = {key for key in told if key.startswith("srdeploy")}
    if not ours:
        return None
    if ours == {CARD_KEY}:  # srdeploy 0.1
        return Header(Card.from_json(told[CARD_KEY], f"'{path}'"), None, shapes)
    digest = hashlib.sha256(told.get(CARD_KEY, "").encode()).hexdigest()
    if ours != {CARD_KEY, _CARD_DIGEST, _WEIGHTS_DIGEST} or told[_CARD_DIGEST] != digest:
        raise damaged(path, "network card")
    return Header(Card.from_json(told[CARD_KEY], f"'{path}'"), told[_WEIGHTS_DIGEST], shapes)


def damaged(path: str | Path, part: str) -> UserError:
    """The error for a file whose ``part`` is not what its digest says."""
    return UserError(
        f"'{path}' is damaged: its {part} is not the one that was saved; "
        "copy or download the file again."
    )


def read_card(path: str | Path) -> Card | None:
    """The card in a safetensors header, or None when the file is somebody else's.

    Raises:
        UserError: as :func:`read_header`.
    """
    header = read_header(path)
    return None if header is None else header.card


def has_digest(path: str | Path) -> bool | None:
    """Whether a file of ours says what its weights were; None for somebody else's file."""
    if not is_safetensors(Path(path)):
        return None
    header = read_header(path)
    return None if header is None else header.weights_sha256 is not None
