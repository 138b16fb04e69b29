"""What networks are here, and the cards in their files, read without importing PyTorch.

Whoever only sends a network somewhere, or hands it to a device, starts in a fraction of a second.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from safetensors import SafetensorError, safe_open

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY, Card


def shipped_networks() -> dict[str, Path]:
    """The networks that come with the package, by name."""
    folder = Path(str(resources.files("srdeploy") / "assets" / "networks"))
    return {file.stem: file for file in sorted(folder.glob("*.safetensors"))}


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


def read_card(path: str | Path) -> Card | None:
    """The card in a safetensors header, or None when the file is somebody else's.

    Raises:
        UserError: the file is missing, truncated or no safetensors file.
    """
    try:
        with safe_open(path, framework="np") as file:
            text = (file.metadata() or {}).get(CARD_KEY)
    except FileNotFoundError:
        raise UserError(f"There is no file '{path}'.") from None
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"'{path}' is not a readable safetensors file ({error}); it may be truncated."
        ) from error
    return None if text is None else Card.from_json(text, f"'{path}'")
