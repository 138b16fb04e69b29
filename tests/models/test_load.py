"""Every kind of file goes in by one door."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models import card_file
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.util.files import sha256
from srdeploy.util.shipped import shipped_networks


@pytest.fixture
def edsr() -> Network:
    return create("edsr", n_blocks=1, n_feats=4)


def foreign(network: Network, path: Path) -> Path:
    torch.save({"state_dict": network.module.state_dict(), "epoch": 7}, path)
    return path


def test_our_own_file(edsr: Network, tmp_path: Path) -> None:
    save_network(edsr, tmp_path / "a.safetensors")
    loaded = load_network(tmp_path / "a.safetensors", arch="edsr", scale=2)
    assert loaded.card == edsr.card


def test_a_foreign_file_tells_how_it_was_understood(edsr: Network, tmp_path: Path) -> None:
    path = foreign(edsr, tmp_path / "model_best.pt")
    (entry,) = load_network(path).card.history
    assert entry["step"] == "import"
    assert entry["file"] == "model_best.pt"
    assert entry["sha256"] == sha256(path)
    assert entry["recognised_as"] == "EDSR, CVPRW 2017"
    assert any("res_scale 1.0" in note for note in entry["assumed"])
    assert entry["ignored"] == []


def test_import_then_save_then_load_changes_nothing(edsr: Network, tmp_path: Path) -> None:
    imported = load_network(foreign(edsr, tmp_path / "a.pt"), res_scale=0.5)
    save_network(imported, tmp_path / "a.safetensors")
    again = load_network(tmp_path / "a.safetensors")
    assert again.card == imported.card
    x = torch.rand(1, 3, 7, 8) * 255
    with torch.no_grad():
        assert torch.equal(again.module(x), imported.module(x))


def test_averaged_weights_are_noted(edsr: Network, tmp_path: Path) -> None:
    state = edsr.module.state_dict()
    torch.save({"params": state, "params_ema": state}, tmp_path / "a.pt")
    assert "params_ema" in str(load_network(tmp_path / "a.pt").card.history[0]["assumed"])


def test_vdsr_changes_its_factor(tmp_path: Path) -> None:
    save_network(create("vdsr", n_layers=3, n_feats=2), tmp_path / "v.safetensors")
    network = load_network(tmp_path / "v.safetensors", scale=4)
    assert network.card.scale == network.card.config["scale"] == network.module.scale == 4
    with pytest.raises(UserError, match="upscales by 2, 3, 4, not by 7"):
        load_network(tmp_path / "v.safetensors", scale=7)


def test_a_shipped_network_by_name(
    edsr: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "edsr-s-x2.safetensors"
    save_network(edsr, file)
    monkeypatch.setattr(card_file, "shipped_networks", lambda: {"edsr-s-x2": file})
    assert load_network("edsr-s-x2").card == edsr.card
    with pytest.raises(UserError, match="did you mean 'edsr-s-x2'"):
        load_network("edsr-s-x5")


@pytest.mark.parametrize("name", sorted(shipped_networks()))
def test_every_shipped_network_loads(name: str) -> None:
    assert load_network(name).card.quality


@pytest.mark.parametrize(
    ("name", "content", "options", "sentence"),
    [
        ("none.pt", None, {}, "There is no file"),
        ("sub/none", None, {}, "There is no file"),
        ("empty.pt", b"", {}, "is empty"),
        ("notes.txt", b"hello there, this is text", {}, "not a readable torch checkpoint"),
        ("a.safetensors", b"not at all", {}, "not a readable safetensors file"),
        ("net.onnx", b"\x08\x07", {}, "is an ONNX file; give the network it was exported from"),
        ("empty.pt", b"", {"arch": "edrs"}, "did you mean 'edsr'"),
        ("empty.pt", b"", {"scale": 0}, "Scale 0"),
    ],
)
def test_bad_input(name: str, content: bytes | None, options, sentence: str, tmp_path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=sentence) as caught:
        load_network(path, **options)
    assert "\n" not in str(caught.value)


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        load_network(tmp_path)


def test_another_architecture_was_asked_for(edsr: Network, tmp_path: Path) -> None:
    save_network(edsr, tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="is of architecture edsr, not vdsr"):
        load_network(tmp_path / "a.safetensors", arch="vdsr")


@pytest.mark.parametrize("arch", ["vdsr", "edsr", "ledsr", "rirsr"])
def test_damaged_files_end_in_a_sentence(arch: str, tmp_path: Path) -> None:
    """Whatever a flipped byte does to names and shapes, only UserError comes out."""
    config = {"vdsr": {"n_layers": 3, "n_feats": 2}, "rirsr": {"n_groups": 1}}.get(arch, {})
    if arch != "vdsr":
        config = {**config, "n_blocks": 1, "n_feats": 2}
    whole = foreign(create(arch, **config), tmp_path / "a.pt").read_bytes()
    torch.save(
        torch.load(tmp_path / "a.pt"), tmp_path / "b.pt", _use_new_zipfile_serialization=False
    )
    legacy = (tmp_path / "b.pt").read_bytes()
    generator = random.Random(0)
    refused = 0
    for i in range(300):
        data = bytearray(legacy if i % 3 else whole)
        for _ in range(generator.choice([1, 2, 4])):
            data[generator.randrange(len(data))] = generator.randrange(256)
        (tmp_path / "c.pt").write_bytes(data)
        try:
            load_network(tmp_path / "c.pt")
        except UserError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("file", "recognised_as"),
    [
        ("vdsr/model_epoch_50.pth", "VDSR, CVPR 2016"),
        ("edsr_mlperf/edsr_f32b5_x2_pytorch.pt", "MLPerf Mobile EDSR"),
    ],
)
def test_published_files(file: str, recognised_as: str, shared_data: Path) -> None:
    network = load_network(shared_data / "weights" / file)
    assert network.card.history[0]["recognised_as"] == recognised_as


def test_published_tflite(shared_data: Path) -> None:
    with pytest.raises(UserError, match="TensorFlow Lite"):
        load_network(shared_data / "weights" / "edsr_mlperf" / "edsr_f32b5_fp32.tflite")
