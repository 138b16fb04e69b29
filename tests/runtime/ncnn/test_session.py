"""Networks of ncnn, as torch computes them, on the CPU and through Vulkan; strangers' files."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.exporting.probe import run_torch
from srdeploy.exporting.range_folding import change_range
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.card_of import read_card_of
from srdeploy.runtime.ncnn.pair import card_of_pair, pair_digest, read_pair
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import RUNTIMES

if not (can := RUNTIMES["ncnn"].availability()):
    pytest.skip(can.reason, allow_module_level=True)

from srdeploy.exporting.ncnn.export import export_ncnn


@pytest.fixture(scope="module")
def network() -> Network:
    return create("ledsr", scale=3, n_blocks=1, n_feats=8)


@pytest.fixture(scope="module")
def made(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ncnn") / "net.param"
    export_ncnn(network, path)
    return path


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Path:
    for file in made.parent.iterdir():
        shutil.copy(file, tmp_path / file.name)
    return tmp_path / "net.param"


@pytest.fixture
def foreign(copied: Path) -> Path:
    """As strangers hand a network on: without our description."""
    Path(f"{copied}.json").unlink()
    return copied


def _equals_torch(path: Path, network: Network, **options: Any) -> None:
    inner = change_range(network, 1.0).network
    with open_session(path, threads=1, **options) as session:
        for shape in ((1, 3, 16, 24), (2, 3, 17, 9)):
            x = np.random.default_rng(0).random(shape, np.float32)
            np.testing.assert_allclose(session.run(x), run_torch(inner, x), atol=1e-5)


def test_equals_torch_at_any_size_and_batch(made: Path, network: Network) -> None:
    _equals_torch(made, network)
    with open_session(made, threads=1) as session:
        assert (session.runtime, session.precision, session.threads) == ("ncnn", "fp32", 1)
        assert (session.card.arch, session.card.value_range) == ("ledsr", 1.0)
    assert read_card_of(made) == session.card


def test_equals_torch_through_vulkan(made: Path, network: Network) -> None:
    if not (can := RUNTIMES["ncnn-vulkan"].availability()):
        pytest.skip(can.reason)
    _equals_torch(made, network, runtime="ncnn-vulkan")
    with open_session(f"{made}@ncnn-vulkan") as session:
        assert session.runtime == "ncnn-vulkan"
        assert session.notes[0].startswith("Vulkan device: ")


def test_what_a_gpu_computes_halves_in_is_not_guessed(copied: Path) -> None:
    """ncnn's Python module shows no tensor that is on the GPU."""
    if not (can := RUNTIMES["ncnn-vulkan"].availability()):
        pytest.skip(can.reason)
    told = Path(f"{copied}.json")
    with open_session(f"{copied}@ncnn-vulkan") as session:
        assert session.precision == "fp32"
    told.write_text(told.read_text().replace('"precision": "fp32"', '"precision": "fp16"', 1))
    with open_session(f"{copied}@ncnn-vulkan") as session:
        assert session.precision is None


def test_a_stranger_s_network_shows_its_scale(foreign: Path, network: Network) -> None:
    _equals_torch(foreign, network)
    with open_session(foreign) as session:
        assert (session.card.scale, session.card.channels) == (3, 3)
        assert "--value-range 255" in session.notes[-1]
    with open_session(foreign, value_range=255) as session:
        assert session.card.value_range == 255
        assert not session.notes
    assert card_of_pair(foreign) is None


def test_a_stranger_s_network_of_one_size(tmp_path: Path) -> None:
    path = tmp_path / "net.param"
    export_ncnn(create("vdsr", n_layers=3, n_feats=4), path)
    Path(f"{path}.json").unlink()
    with open_session(path, scale=2) as session:
        card = session.card
        assert (card.pre_upscaled, card.scale, card.network_scale) == (True, 2, 1)
        assert (card.channels, card.luma_only) == (1, True)


def test_files_that_do_not_belong_together_are_refused(copied: Path) -> None:
    weights = copied.with_suffix(".bin")
    whole = weights.read_bytes()
    before = pair_digest(copied)
    weights.write_bytes(whole[:-8])
    assert pair_digest(copied) != before
    with pytest.raises(UserError, match=r"net.bin' is not the file that 'net.param.json'"):
        open_session(copied)
    weights.unlink()
    with pytest.raises(UserError, match=r"has no 'net.bin' beside it"):
        open_session(copied)


@pytest.mark.parametrize("kept", [0, 100, -8])
def test_truncated_weights_of_a_stranger_are_refused(foreign: Path, kept: int) -> None:
    weights = foreign.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"truncated|cannot load"):
        open_session(foreign)


def test_weights_that_would_fill_memory_are_refused(foreign: Path) -> None:
    text = foreign.read_text()
    first = next(word for word in text.split() if word.startswith("6="))
    foreign.write_text(text.replace(first, "6=2000000000", 1))
    with pytest.raises(UserError, match="truncated"):
        open_session(foreign)


@pytest.mark.parametrize(
    ("old", "new"), [("1=3 11=3", "1=1 11=1"), ("0=8 ", "0=4 "), ("6=576", "6=288")]
)
def test_weights_for_other_channels_are_refused(old: str, new: str, foreign: Path) -> None:
    """A convolution would read channels that are not there."""
    lines = foreign.read_text().splitlines()
    number = [n for n, line in enumerate(lines) if "6=576" in line][1]
    assert old in lines[number]
    lines[number] = lines[number].replace(old, new)
    foreign.write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match="not for the channels that it reads"):
        open_session(foreign)


def test_a_layer_that_ncnn_does_not_know_is_refused(foreign: Path) -> None:
    foreign.write_text(foreign.read_text().replace("PixelShuffle ", "PixelShuffel "))
    with pytest.raises(UserError, match="does not know"):
        open_session(foreign)


def test_a_description_that_is_none_is_refused(copied: Path) -> None:
    described = Path(f"{copied}.json")
    told = json.loads(described.read_text())
    described.write_text(json.dumps(told | {"output": "nowhere"}))
    with pytest.raises(UserError, match="names tensors that"):
        open_session(copied)
    described.write_text(described.read_text()[:50])
    with pytest.raises(UserError, match="does not describe an ncnn network"):
        read_pair(copied)
    with described.open("wb") as file:
        file.truncate(1 << 25)
    with pytest.raises(UserError, match="too large"):
        read_pair(copied)
