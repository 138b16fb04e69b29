"""The card and the ONNX file of a job's artifact."""

from __future__ import annotations

from typing import Any

import pytest

from srdeploy.devices.artifact import card_of, onnx_of
from srdeploy.devices.protocol import Job
from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.models.store import save_network


def test_the_card_of_a_jobs_artifact(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert card_of(Job("edsr-s-x2")).arch == "ledsr"
    save_network(create("vdsr", n_layers=3, n_feats=4), tmp_path / "v.safetensors")
    assert card_of(Job("v.safetensors")).arch == "vdsr"
    found = card_of(Job("v.safetensors", options={"arch": "vdsr", "scale": 3}))
    assert (found.arch, found.scale) == ("vdsr", 3)
    with pytest.raises(UserError, match="architecture vdsr, not edsr"):
        card_of(Job("v.safetensors", options={"arch": "edsr"}))
    with pytest.raises(UserError):
        card_of(Job("nothing.onnx"))


def test_the_onnx_of_a_jobs_artifact(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_network(create("vdsr", n_layers=3, n_feats=4), tmp_path / "v.safetensors")
    made = onnx_of(Job("v.safetensors", options={"scale": 3, "value_range": 5}), tmp_path / ".")
    assert made.name == "v.onnx"
    assert card_of(Job(str(made))).scale == 3
    assert onnx_of(Job(str(made)), tmp_path) == made
    (tmp_path / "a.tflite").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot become ONNX again"):
        onnx_of(Job("a.tflite"), tmp_path)
    for name in ("no.tflite", "no.onnx", "no.engine"):
        with pytest.raises(UserError, match=f"There is no file '{name}'"):
            onnx_of(Job(name), tmp_path)
