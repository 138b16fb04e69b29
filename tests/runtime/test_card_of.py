"""Cards, read without running anything, of every kind of file."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from srdeploy.errors import UserError
from srdeploy.models.card import CARD_KEY
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.runtime.card_of import card_of_onnx, read_card_of
from srdeploy.runtime.tensorrt.sidecar import read_sidecar
from srdeploy.util.files import sha256
from tests.runtime.tensorrt.test_session import write_engine


def graph(path: Path, **metadata: str) -> Path:
    model = helper.make_model(helper.make_graph([], "g", [], []))
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path


def test_onnx(tmp_path: Path) -> None:
    card = create("ledsr", n_blocks=1, n_feats=4).card
    path = graph(tmp_path / "a.ONNX", other="{}", **{CARD_KEY: card.to_json()})
    assert read_card_of(path) == read_card_of(str(path)) == card
    bare = graph(tmp_path / "b.onnx", other="{}")
    assert card_of_onnx(bare) is None
    with pytest.raises(UserError, match=r"'.*b\.onnx' carries no srdeploy card, so nothing is kno"):
        read_card_of(bare)
    with pytest.raises(UserError, match=r"card in '.*c\.onnx' is not valid"):
        read_card_of(graph(tmp_path / "c.onnx", **{CARD_KEY: "{}"}))
    for content in (b"hello, hello, hello", path.read_bytes()[:-9]):
        (tmp_path / "d.onnx").write_bytes(content)
        with pytest.raises(UserError, match=r"'.*d\.onnx' is no ONNX file, or a truncated one"):
            read_card_of(tmp_path / "d.onnx")


def test_weights_beside_an_onnx_file_are_not_needed(tmp_path: Path) -> None:
    card = create("ledsr", n_blocks=1, n_feats=4).card
    model = onnx.load(graph(tmp_path / "a.onnx", **{CARD_KEY: card.to_json()}))
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[2])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="absent")
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    assert read_card_of(tmp_path / "a.onnx") == card


def test_engines(tmp_path: Path) -> None:
    path = write_engine(tmp_path / "net.engine")
    assert read_card_of(path) == read_sidecar(path).card
    assert read_sidecar(path).engine_sha256 == sha256(path)
    path.write_bytes(b"other")
    with pytest.raises(UserError, match="is not the engine that"):
        read_card_of(path)


def test_networks(tmp_path: Path) -> None:
    network = create("ledsr", n_blocks=1, n_feats=4)
    save_network(network, tmp_path / "net.safetensors")
    assert read_card_of(tmp_path / "net.safetensors").arch == "ledsr"
    (tmp_path / "net.pt").write_bytes(b"weights")
    for path in (tmp_path / "net.pt", tmp_path):
        with pytest.raises(UserError, match="carries no srdeploy card"):
            read_card_of(path)
    with pytest.raises(UserError, match=r"There is no file '.*absent\.pt'\."):
        read_card_of(tmp_path / "absent.pt")
