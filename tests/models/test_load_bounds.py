"""What is a name, a file or a factor; which weights are noted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from srdeploy.errors import UserError
from srdeploy.models import (
    load,
)
from srdeploy.models.importing.state_dict import StateDict
from srdeploy.models.network import Network
from srdeploy.models.registry import create


@pytest.fixture
def edsr() -> Network:
    return create("edsr", n_blocks=1, n_feats=4)


@pytest.mark.parametrize(("scale", "sense"), [(0, False), (1, True), (16, True), (17, False)])
def test_factors_that_make_sense(scale: int, sense: bool) -> None:
    with pytest.raises(UserError) as caught:
        load.load_network("edsr-s-x2", scale=scale)
    assert ("makes no sense" not in str(caught.value)) == sense
    assert ("upscales by 2, not by" in str(caught.value)) == sense


def test_names_are_told_from_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.onnx").write_bytes(b"x")
    (tmp_path / "b.mlpackage").mkdir()
    for name, told in (
        ("edsr-s-x", "did you mean 'edsr-s-x"),
        ("d/edsr-s-x2", "There is no file 'd/edsr-s-x2'"),
        ("edsr.onnx", "There is no file"),
        ("a.onnx", "is an ONNX file; give the network"),
        ("b.mlpackage", "is a CoreML file"),
        (".", "is a folder"),
    ):
        with pytest.raises(UserError, match=told):
            load.load_network(name)


@pytest.mark.parametrize(
    ("path", "beside", "noted"),
    [("a/params_ema", (), "averaged weights under 'a/params_ema'"),
     ("ema", ("x",), "averaged weights under 'ema'"),
     ("net_g", ("net_d", "vgg"), "under 'net_g', not under 'net_d' and 'vgg'"),
     ("params", (), None), ("", (), None), ("params_ema/a", (), None)],
)  # fmt: skip
def test_a_choice_of_weights_is_noted(
    path: str, beside: tuple[str, ...], noted: str | None
) -> None:
    told = load._choice(StateDict({}, path, beside))
    assert len(told) == (noted is not None)
    assert noted is None or noted in told[0]


def test_the_card_says_what_was_stored_in_half_precision(tmp_path: Path, edsr: Network) -> None:
    file = tmp_path / "half.safetensors"
    save_file({k: v.bfloat16() for k, v in edsr.module.state_dict().items()}, file)
    loaded = load.load_network(file)
    assert loaded.card.history[0]["stored_as"] == "bfloat16"
    assert next(loaded.module.parameters()).dtype == torch.float32
    torch.save(edsr.module.state_dict(), tmp_path / "full.pth")
    assert "stored_as" not in load.load_network(tmp_path / "full.pth").card.history[0]
