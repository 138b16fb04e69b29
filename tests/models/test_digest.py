"""What was saved is what is loaded, or nothing is: every bit of our own files counts."""

from __future__ import annotations

import random
import time
from itertools import islice
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from benchmarks.fuzzing import mutations
from srdeploy.cli.main import run
from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY
from srdeploy.models.card_file import has_digest, read_card, read_header
from srdeploy.models.digest import weights_sha256
from srdeploy.models.load import load_network
from srdeploy.models.registry import create
from srdeploy.models.store import read_network, save_network
from srdeploy.util.shipped import shipped_networks


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "n.safetensors"
    save_network(create("ledsr", n_blocks=1, n_feats=4), path)
    return path.read_bytes()


def content(path: Path) -> tuple[str, str]:
    network = load_network(path)
    return network.card.to_json(), weights_sha256(network.module.state_dict())


def loads_as_it_was_or_not_at_all(path: Path, data: bytes, original: tuple[str, str]) -> bool:
    path.write_bytes(data)
    try:
        found = content(path)
    except UserError:
        return False
    assert found == original
    return True


def header_length(whole: bytes) -> int:
    return 8 + int.from_bytes(whole[:8], "little")


@pytest.mark.parametrize("part", ["header", "weights"])
def test_flipped_bits(whole: bytes, part: str, tmp_path: Path) -> None:
    draw, path = random.Random(0), tmp_path / "n.safetensors"
    path.write_bytes(whole)
    original, header = content(path), header_length(whole)
    span = range(header) if part == "header" else range(header, len(whole))
    for _ in range(300):
        data = bytearray(whole)
        data[draw.choice(span)] ^= 1 << draw.randrange(8)
        loads_as_it_was_or_not_at_all(path, bytes(data), original)


def test_every_byte_of_the_header(whole: bytes, tmp_path: Path) -> None:
    """Keys of the metadata too: a card under another key would make the file a foreign one."""
    path = tmp_path / "n.safetensors"
    path.write_bytes(whole)
    original = content(path)
    start = whole.index(b"__metadata__")
    stop = whole.index(b'"', whole.index(b"srdeploy.weights.sha256")) + 80
    for place in range(start, min(stop, header_length(whole)), 3):
        data = bytearray(whole)
        data[place] ^= 1
        loads_as_it_was_or_not_at_all(path, bytes(data), original)


def test_other_damage(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    path.write_bytes(whole)
    original = content(path)
    for kind, data in islice(mutations(whole, 0), 320):
        if loads_as_it_was_or_not_at_all(path, data, original):
            assert data == whole, kind


def test_cut_short_anywhere(whole: bytes, tmp_path: Path) -> None:
    path, draw = tmp_path / "n.safetensors", random.Random(0)
    for length in (*range(20), *(draw.randrange(len(whole)) for _ in range(60)), len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            load_network(path)


def test_one_network_makes_one_file(tmp_path: Path) -> None:
    """Byte for byte, as often as it is saved; and text of any kind survives the sorting."""
    network = create("ledsr", n_blocks=1, n_feats=4)
    odd = 'é 漢 😀 \x00\x1f\x7f\u2028 " \\ / \b\f\n\r\t'
    network.card = network.card.step(step="import", file=odd)
    path, files = tmp_path / "n.safetensors", set()
    for _ in range(12):
        save_network(network, path)
        files.add(path.read_bytes())
    assert len(files) == 1
    assert read_network(path).card == network.card


def test_numbers_that_changed_are_told_from_a_card_that_did(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match="its network is not the one that was saved; copy or down"):
        read_network(path)
    path.write_bytes(whole.replace(b'\\"n_feats\\":4', b'\\"n_feats\\":5'))
    for read in (read_network, read_card):  # whoever reads no weights is not deceived either
        with pytest.raises(UserError, match="its network card is not the one that was saved"):
            read(path)


def test_a_card_or_digest_that_is_missing(whole: bytes, tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    path.write_bytes(whole)
    tensors, told = load_file(path), safe_open(path, "pt").metadata()
    assert len(told) == 3
    for key in told:
        save_file(tensors, path, {k: v for k, v in told.items() if k != key})
        with pytest.raises(UserError, match="is damaged"):
            load_network(path)


def test_files_of_srdeploy_0_1_are_read_and_told_apart(
    whole: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "n.safetensors"
    path.write_bytes(whole)
    tensors, told = load_file(path), safe_open(path, "pt").metadata()
    assert run(["inspect", str(path)]) == 0
    assert "weights: as they were saved" in capsys.readouterr().out
    old = tmp_path / "old.safetensors"
    save_file(tensors, old, {CARD_KEY: told[CARD_KEY]})
    assert content(old) == content(path)
    assert (has_digest(path), has_digest(old)) == (True, False)
    assert run(["inspect", str(old)]) == 0
    assert "weights: no digest in the file to check" in capsys.readouterr().out
    assert run(["explain", str(old)]) == 0
    explained = " ".join(capsys.readouterr().out.split())
    assert "whether the weights are those that were saved: the file has no digest" in explained
    save_file({"weight": torch.zeros(3)}, old)
    assert has_digest(old) is None


def test_explain_tells_no_story_of_damaged_weights(whole: bytes, tmp_path: Path, capsys) -> None:
    path = tmp_path / "n.safetensors"
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert run(["explain", str(path)]) == 2
    assert "is damaged" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("name", shipped_networks())
def test_shipped_networks_have_their_digest(name: str) -> None:
    path = shipped_networks()[name]
    header = read_header(path)
    assert header is not None
    assert header.weights_sha256 == weights_sha256(load_file(path))


def test_a_network_of_20_million_parameters_is_hashed_soon() -> None:
    tensors = {f"{i}": torch.zeros(256, 256, 3, 3) for i in range(34)}
    weights_sha256(tensors)
    began = time.thread_time()
    weights_sha256(tensors)
    assert time.thread_time() - began < 0.5  # .1 s where the processor knows SHA-256
