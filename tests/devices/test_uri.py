"""Device URIs, taken apart; and the kinds that they may begin with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.devices import table
from srdeploy.devices.artifact import card_of, onnx_of
from srdeploy.devices.errors import (
    DeviceError,
    DeviceFull,
    DeviceLost,
    DeviceRefused,
    DeviceUnfit,
)
from srdeploy.devices.protocol import Job, Loaded
from srdeploy.devices.session import DeviceSession
from srdeploy.devices.uri import DeviceUri
from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.runtime.table import Availability


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("ssh://Me%40x@Orin-A", {"user": "Me@x", "host": "Orin-A"}),
        ("ssh://me:secret@orin:22", {"user": "me", "host": "orin", "port": 22}),
        ("ssh://@orin", {"host": "orin"}),
        ("qai-hub://Samsung Galaxy S24", {"kind": "qai-hub", "host": "Samsung Galaxy S24"}),
        ("ssh://[fe80::1]:2222", {"host": "fe80::1", "port": 2222}),
        ("ssh://orin/", {"host": "orin"}),
        ("ssh://orin?a=&b=1%202", {"host": "orin", "options": {"a": "", "b": "1 2"}}),
        ("browser?ort=x", {"kind": "browser", "options": {"ort": "x"}}),
        ("fake://?ms=5", {"kind": "fake", "options": {"ms": "5"}}),
        ("adb?x=a://b", {"kind": "adb", "options": {"x": "a://b"}}),
        ("", {"kind": ""}),
    ],
)
def test_uris_come_apart(text: str, parts: dict[str, Any]) -> None:
    found = DeviceUri.parse(text)
    assert found == DeviceUri(text, **{"kind": "ssh", **parts})


@pytest.mark.parametrize("text", ["ssh://orin:65536", "ssh://orin:x", "ssh://[orin", "ssh://a/b"])
def test_no_device(text: str) -> None:
    with pytest.raises(UserError, match="is no device"):
        DeviceUri.parse(text)


def test_options_that_choose_code_are_told_apart() -> None:
    text = "ssh://a?dir=x&trtexec=y&config=z&python=p&ort=o&precision=fp16"
    assert DeviceUri.parse(text).code_options == ["trtexec", "config", "python", "ort"]
    assert DeviceUri.parse("ssh://a?dir=x").code_options == []


def test_unknown_options_offer_the_nearest() -> None:
    DeviceUri.parse("ssh://a?dir=x").check_options(iter(["port", "dir"]))
    with pytest.raises(UserError, match="option of ssh devices named 'dri'; did you mean 'dir'"):
        DeviceUri.parse("ssh://a?dri=x").check_options(["port", "dir"])


@pytest.mark.parametrize("kind", table.KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_has_an_example_of_itself(kind: table.Kind) -> None:
    assert DeviceUri.parse(kind.example).kind == kind.name
    assert table.KINDS[kind.name] is kind


def test_what_a_kind_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    here = SimpleNamespace(availability=lambda: Availability(True, ""))
    gone = SimpleNamespace(availability=lambda: Availability(False, "pip install x"))

    def kind(*modules: Any, program: str | None = None) -> Availability:
        return table.Kind("k", "t", "k", "m:C", program, "install it", modules).availability()

    assert kind() == Availability(True, "needs nothing more")
    assert kind(here, here) == Availability(True, "needs nothing more")
    assert kind(here, gone) == Availability(False, "pip install x")
    monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}" if name == "ssh" else None)
    assert kind(program="ssh") == Availability(True, "ssh found")
    assert kind(program="adb") == Availability(False, "adb is not on PATH: install it")
    assert kind(gone, program="ssh") == Availability(False, "pip install x")


@pytest.mark.parametrize(
    ("error", "code", "of_the_device"),
    [(DeviceRefused, 2, True), (DeviceUnfit, 2, True), (DeviceFull, 1, True), (DeviceLost, 1, True),
     (DeviceError, 1, True), (UserError, 2, False)],
)  # fmt: skip
def test_whose_fault_an_error_is(error: Any, code: int, of_the_device: bool) -> None:
    assert error("x").exit_code == code
    assert issubclass(error, DeviceError) == of_the_device


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


@pytest.mark.parametrize(("threads", "said"), [(3, 3), (None, 1)])
def test_a_loaded_model_is_a_session(threads: int | None, said: int) -> None:
    card = create("ledsr", n_blocks=1, n_feats=4).card
    model: Any = SimpleNamespace(
        loaded=Loaded(card=card, runtime="trt", threads=threads), run=lambda x: x * 2
    )
    session = DeviceSession(model)
    assert (session.runtime, session.threads, session.card) == ("trt", said, card)
    assert session._run(np.ones(2, np.float32)).tolist() == [2, 2]
