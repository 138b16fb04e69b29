"""The card of any artifact, read without running it."""

from __future__ import annotations

from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.runtime.table import LITERT, RUNTIMES
from srdeploy.util.files import require_file
from srdeploy.util.plugins import code_of


def read_card_of(path: str | Path) -> Card:
    """The card in a network file, ONNX file, CoreML package, TFLite or ``.smsr`` file, or beside an
    engine.

    Raises:
        UserError: nothing there, damaged, or a file that carries no card.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"There is no file '{path}'.")
    suffix = path.suffix.lower()
    reader = next(
        (row.card for row in RUNTIMES.values() if suffix in row.suffixes and row.card), None
    )
    card = _of_network(path) if reader is None else code_of(reader)(path)
    if card is None:
        raise UserError(
            f"'{path}' carries no srdeploy card, so nothing is known of how it was made; a "
            "checkpoint's story begins with `srdeploy import`."
        )
    return card


def card_of_onnx(path: Path) -> Card | None:
    """In the file's metadata."""
    import onnx
    from google.protobuf.message import DecodeError

    require_file(path)
    try:
        model = onnx.load(str(path), load_external_data=False)
        texts = {entry.key: entry.value for entry in model.metadata_props}
    except (DecodeError, OSError, ValueError) as error:  # ValueError: text that is none
        raise UserError(f"'{path}' is no ONNX file, or a truncated one.") from error
    text = texts.get(CARD_KEY)
    return None if text is None else Card.from_json(text, f"'{path}'")


def card_of_package(path: Path) -> Card:
    """In the package's metadata."""
    from srdeploy.runtime.coreml.package import read_package

    return read_package(path).card


def card_of_engine(path: Path) -> Card:
    """In the file beside the engine, whose content it knows."""
    from srdeploy.runtime.tensorrt.sidecar import read_sidecar, require_whole

    facts = read_sidecar(path)
    require_whole(path, facts)
    return facts.card


def card_of_tflite(path: Path) -> Card:
    """In the file's metadata."""
    from srdeploy.runtime.litert_file import read_card

    if not (found := LITERT.availability()):
        raise UserError(f"Reading '{path}' needs LiteRT: {found.reason}.")
    return read_card(path)


def card_of_smsr(path: Path) -> Card:
    """In the file, which is checked as a whole."""
    from srdeploy.sparse.model_file import read_model

    return read_model(path)[0]


def _of_network(path: Path) -> Card | None:
    from srdeploy.models.card_file import is_safetensors, read_card

    return read_card(path) if path.is_file() and is_safetensors(path) else None
