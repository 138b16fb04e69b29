"""What is a name, a file or a factor; which weights are noted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from srdeploy.errors import UserError
from srdeploy.models import (
    load,
)
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
    ("path", "noted"),
    [(f"a/{load.PREFERRED[0]}", True), (load.PREFERRED[3], True), (load.PREFERRED[4], False),
     ("", False), (f"{load.PREFERRED[0]}/a", False)],
)  # fmt: skip
def test_averaged_weights_are_noted(path: str, noted: bool) -> None:
    assert bool(load._choice(SimpleNamespace(path=path))) == noted  # type: ignore[arg-type]
