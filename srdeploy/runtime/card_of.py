"""The card of any artifact, read without running it."""

from __future__ import annotations

from pathlib import Path

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY, Card


def read_card_of(path: str | Path) -> Card:
    """The card in a network file, ONNX file, CoreML package, TFLite file or beside an engine.

    Raises:
        UserError: nothing there, damaged, or a file that carries no card.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"There is no file '{path}'.")
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        card = _of_onnx(path)
    elif suffix == ".mlpackage":
        from srdeploy.runtime.coreml_package import read_package

        card = read_package(path).card
    elif suffix == ".engine":
        from srdeploy.runtime.trt_sidecar import read_sidecar, require_whole

        facts = read_sidecar(path)
        require_whole(path, facts)
        card = facts.card
    elif suffix == ".tflite":
        card = _of_tflite(path)
    else:
        card = _of_network(path)
    if card is None:
        raise UserError(
            f"'{path}' carries no srdeploy card, so nothing is known of how it was made; a "
            "checkpoint's story begins with `srdeploy import`."
        )
    return card


def _of_onnx(path: Path) -> Card | None:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except (DecodeError, OSError) as error:
        raise UserError(f"'{path}' is no ONNX file, or a truncated one.") from error
    texts = {entry.key: entry.value for entry in model.metadata_props}
    text = texts.get(CARD_KEY)
    return None if text is None else Card.from_json(text, f"'{path}'")


def _of_tflite(path: Path) -> Card:
    from srdeploy.runtime.litert_session import read_card
    from srdeploy.runtime.table import LITERT

    if not (found := LITERT.availability()):
        raise UserError(f"Reading '{path}' needs LiteRT: {found.reason}.")
    return read_card(path)


def _of_network(path: Path) -> Card | None:
    from srdeploy.models.importing.state_dict import is_safetensors
    from srdeploy.models.store import read_card

    return read_card(path) if path.is_file() and is_safetensors(path) else None
