"""Model files of strangers: Python and C refuse the same ones, in the same words."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.sparse.library import LoadedModel
from srdeploy.sparse.model_file import Sizes, model_bytes, read_model, require_room
from srdeploy.sparse.model_weights import model_weights
from tests.sparse import nets
from tests.sparse.test_library import here

HEADER = struct.Struct("<8s4I")
CARD = Card(arch="smsr", scale=2, scales=(2,), channels=3, value_range=255.0)


@pytest.fixture(scope="module")
def whole() -> bytes:
    """A sound file."""
    return model_bytes(CARD, *model_weights(nets.network()))


def signed(content: bytes) -> bytes:
    """With the digest that belongs to it."""
    return content[:-32] + hashlib.sha256(content[:-32]).digest()


def refused(path: Path, content: bytes, *, by_c: bool = True) -> str:
    """The sentence with which both readers refuse it."""
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_model(path)
    if by_c and here():
        with pytest.raises(UserError) as again:
            LoadedModel(path, 1)
        assert str(again.value) == str(caught.value)
    return str(caught.value)


def test_what_was_written_is_read(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.smsr"
    path.write_bytes(whole)
    card, sizes = read_model(path)
    assert card == CARD
    assert (sizes.scale, sizes.head, sizes.trunk, sizes.collect) == (2, 12, 12, 12)
    assert sizes.modules == ((4, 4, 3, ((12, 5), (12, 3), (12, 0))),) * 2
    assert len(whole) < 1.1 * 4 * sizes.floats()[0]


@pytest.mark.parametrize("length", [0, 7, 23, 24, 31, 200, -33, -32, -1])
def test_truncated(whole: bytes, length: int, tmp_path: Path) -> None:
    told = refused(tmp_path / "net.smsr", whole[:length])
    kind = "is no model file" if 0 <= length < 24 else "is truncated or altered"
    assert kind in told


def test_longer(whole: bytes, tmp_path: Path) -> None:
    assert "is truncated or altered" in refused(tmp_path / "net.smsr", whole + b"\0")


def test_altered(whole: bytes, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for place in chance.integers(24, len(whole), 20):
        content = bytearray(whole)
        content[place] ^= 1 << chance.integers(8)
        assert "is truncated or altered; copy it again." in refused(tmp_path / "x.smsr", content)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        (0, b"srd-smsx", "is no model file of SMSR; write one with"),
        (1, 1, "is of another version of srdeploy; export it again"),
        (1, 3, "is of another version of srdeploy; export it again"),
        (2, 0xFFFFFFFC, "is truncated or altered"),
        (2, 3, "is truncated or altered"),
        (3, 0xFFFFFFFF, "is truncated or altered"),
        (4, 0xFFFFFFFF, "is truncated or altered"),
        (4, 0x3FFFFFFF, "is truncated or altered"),
    ],
)
def test_headers(whole: bytes, field: int, value: object, told: str, tmp_path: Path) -> None:
    head = list(HEADER.unpack(whole[:24]))
    head[field] = value
    assert told in refused(tmp_path / "net.smsr", signed(HEADER.pack(*head) + whole[24:]))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((0, n) for n in (-1, 3, 4, 1 << 30)),  # precision; of int8 the steps are missing
        *((1, n) for n in (0, -1, 9, 1 << 30)),  # scale
        *((2, n) for n in (0, 1, 3, 65, -5, 0x7FFFFFFF)),  # modules
        *((3, n) for n in (0, 2, 33, -1)),  # layers
        *((n, value) for n in (4, 5, 6, 7, 8, 9, 10) for value in (0, 13, 4097, -1, -(1 << 31))),
        *((11, value) for value in (-1, 13, 4, 4097)),  # dense channels of 12
    ],
)
def test_sizes_that_are_none(whole: bytes, place: int, value: int, tmp_path: Path) -> None:
    """Signed by whoever made it, so that the digest does not tell."""
    start = 24 + HEADER.unpack(whole[:24])[2] + 4 * place
    content = whole[:start] + struct.pack("<i", value) + whole[start + 4 :]
    path = tmp_path / "net.smsr"
    if (place, value) == (11, 4):  # which channels are dense is the network's own affair
        path.write_bytes(signed(content))
        assert read_model(path)[1].modules[0][3][0] == (12, 4)
        return
    assert "is no model file of SMSR" in refused(path, signed(content))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(whole: bytes, value: float, tmp_path: Path) -> None:
    content = whole[:-36] + struct.pack("<f", value) + whole[-32:]
    assert "is no model file of SMSR" in refused(tmp_path / "net.smsr", signed(content))


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-13, 1e13, float("nan")])
def test_steps_that_are_none(value: float, tmp_path: Path) -> None:
    """What bytes are multiples of is in a file of int8 beside the weights."""
    module = nets.network()
    grids = [torch.full((4,), 0.5)] * 2
    sizes, weights = model_weights(module, "int8", grids)
    first, second = sizes.steps()
    assert (weights[first] == 0.5).all()
    assert (weights == 0.5).sum() >= 8
    for place in (first.start, second.stop - 1):
        altered = weights.copy()
        altered[place] = value
        content = model_bytes(CARD, sizes, altered)
        assert "is no model file of SMSR" in refused(tmp_path / "net.smsr", content)
    (tmp_path / "net.smsr").write_bytes(model_bytes(CARD, sizes, weights))
    assert read_model(tmp_path / "net.smsr")[1].precision == "int8"


@pytest.mark.parametrize(
    ("card", "told"),
    [
        (b"{}", "The network card in .* is not valid"),
        (b"\xff\xff", "is no model file of SMSR"),
        (CARD.model_copy(update={"scale": 3, "scales": (3,)}).to_json().encode(), "is no model"),
        (CARD.model_copy(update={"arch": "edsr"}).to_json().encode(), "is no model file"),
        (CARD.model_copy(update={"channels": 1}).to_json().encode(), "is no model file"),
    ],
)
def test_cards_of_another_network(whole: bytes, card: bytes, told: str, tmp_path: Path) -> None:
    head = list(HEADER.unpack(whole[:24]))
    rest = whole[24 + head[2] :]
    card += b" " * (-len(card) % 4)
    head[2] = len(card)
    path = tmp_path / "net.smsr"
    path.write_bytes(signed(HEADER.pack(*head) + card + rest))
    with pytest.raises(UserError, match=told):  # C does not read the card
        read_model(path)


def test_what_packing_would_blow_up_is_refused(tmp_path: Path) -> None:
    """A narrow output takes a whole vector: sixteen times its size in the file."""
    layer = ((2048, 1),) * 2
    sizes = Sizes(2, 1, 2048, 1, ((1, 1, 1, layer),) * 1)
    count, packed = sizes.floats()
    assert packed > 1 << 26
    weights = np.zeros(count, np.float32)
    with pytest.raises(UserError, match="is larger than any SMSR network"):
        require_room(sizes, weights, "This network")


def test_folders_and_pipes_are_no_files(tmp_path: Path) -> None:
    with pytest.raises(UserError):
        read_model(tmp_path)
    with pytest.raises(UserError):
        read_model(tmp_path / "none.smsr")
    if here():
        with pytest.raises(UserError, match=r"is no model file|Is a directory"):
            LoadedModel(tmp_path, 1)
        with pytest.raises(UserError, match="is no model file"):
            LoadedModel("/dev/zero", 1)


def test_any_bytes_at_all(whole: bytes, tmp_path: Path) -> None:
    """Numbers changed at random and signed: refused, or run to an end."""
    chance = np.random.default_rng(1)
    start = 24 + HEADER.unpack(whole[:24])[2]
    path, ran = tmp_path / "net.smsr", 0
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(chance.integers(1, 4)):
            place = int(chance.integers(start, start + 24 * 4))
            content[place] = int(chance.integers(256))
        path.write_bytes(signed(bytes(content)))
        try:
            read_model(path)
        except UserError:
            if here():
                with pytest.raises(UserError):
                    LoadedModel(path, 1)
            continue
        if here():
            with LoadedModel(path, 1) as model:
                model.run(nets.image(6, 5).numpy())
            ran += 1
    assert ran < 75
