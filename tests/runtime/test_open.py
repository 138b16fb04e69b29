from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.runtime import open as open_module
from srdeploy.runtime.onnx.file import NotComputed
from srdeploy.runtime.open import open_session, scale_of
from srdeploy.runtime.pixels import upscale_rgb
from srdeploy.runtime.table import Availability, Runtime, split_runtime


def test_a_network_is_copied() -> None:
    network = create("ledsr", n_blocks=1, n_feats=4)
    x = np.full((1, 3, 6, 6), 100, np.float32)
    with open_session(network, threads=1) as session:
        first = session.run(x)
        for parameter in network.module.parameters():
            parameter.data.zero_()
        np.testing.assert_array_equal(session.run(x), first)
        assert (session.runtime, session.threads, session.card) == ("torch", 1, network.card)


@pytest.mark.parametrize("runtime", [None, "torch"])
def test_a_file_of_ours(tmp_path: Path, runtime: str | None) -> None:
    network = create("ledsr", n_blocks=1, n_feats=4)
    save_network(network, tmp_path / "net.safetensors")
    x = np.full((1, 3, 6, 6), 100, np.float32)
    for path in (tmp_path / "net.safetensors", str(tmp_path / "net.safetensors")):
        with open_session(path, runtime=runtime) as session, open_session(network) as direct:
            np.testing.assert_array_equal(session.run(x), direct.run(x))


def test_bicubic_returns_what_arrives_upscaled() -> None:
    with open_session("bicubic") as session:
        assert session.card.pre_upscaled
        x = np.random.default_rng(0).uniform(0, 255, (1, 3, 5, 7)).astype(np.float32)
        np.testing.assert_array_equal(session.run(x), x)
        assert upscale_rgb(session, np.zeros((5, 7, 3), np.uint8), 3).shape == (15, 21, 3)


def test_runtimes_that_do_not_fit(tmp_path: Path) -> None:
    network = create("ledsr", n_blocks=1, n_feats=4)
    with pytest.raises(UserError, match="did you mean 'onnxruntime'"):
        open_session(network, runtime="onnxruntim")
    with pytest.raises(UserError, match="onnxruntime cannot run this ledsr network"):
        open_session(network, runtime="onnxruntime")
    with pytest.raises(UserError, match=r"torch cannot run '.*net\.onnx', onnxruntime can"):
        open_session(tmp_path / "net.onnx", runtime="torch")


def test_missing_files_are_named(tmp_path: Path) -> None:
    for name in ("absent.onnx", "absent.safetensors", "absent.pth"):
        with pytest.raises(UserError, match="absent"):
            open_session(tmp_path / name)


def test_an_artifact_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_onnx(create("edsr", n_blocks=1, n_feats=4), tmp_path / "net.onnx", check=False)
    monkeypatch.setattr("srdeploy.models.card_file.fetch", lambda wanted: tmp_path / wanted.file)
    with open_session("hf:org/repo/net.onnx@onnxruntime") as session:
        assert (session.card.arch, session.runtime) == ("edsr", "onnxruntime")
    assert scale_of("hf:org/repo/net.onnx") == 2


def test_torch_stays_out_of_other_runtimes() -> None:
    code = (
        "import sys, srdeploy.runtime.open, srdeploy.runtime.pixels; print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_a_runtime_named_with_the_file(tmp_path: Path) -> None:
    export_onnx(create("ledsr", n_blocks=1, n_feats=4), tmp_path / "net.onnx", check=False)
    named = f"{tmp_path / 'net.onnx'}@onnx-reference"
    assert split_runtime(named) == (str(tmp_path / "net.onnx"), "onnx-reference")
    with open_session(named, runtime="onnxruntime") as session:  # the nearer word counts
        assert session.runtime == "onnx-reference"
    with pytest.raises(UserError, match="no runtime named 'onnx-referenze'"):
        open_session(f"{tmp_path / 'net.onnx'}@onnx-referenze")
    (tmp_path / "net@torch").write_bytes((tmp_path / "net.onnx").read_bytes())
    assert split_runtime(str(tmp_path / "net@torch")) == (str(tmp_path / "net@torch"), None)
    assert split_runtime("absent@home.onnx") == ("absent@home.onnx", None)
    assert split_runtime("net.onnx@GPU") == ("net.onnx", "onnxruntime-cuda")


def test_a_runtime_of_engines_that_onnxruntime_has_inside(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    for asked, told in (
        ("tensorrt", "write onnxruntime-tensorrt, or export"),
        ("litert", "out, or"),
    ):
        with pytest.raises(UserError, match=told):
            open_session(tmp_path / "net.onnx", runtime=asked)


class _Counted:
    """A session of another runtime; how many are open is counted."""

    open = 0
    precision = "bf16"
    card = None

    def __init__(self, *arguments: object, **options: object) -> None:
        type(self).open += 1

    def close(self) -> None:
        type(self).open -= 1


@pytest.mark.parametrize(("named", "opened"), [(None, 1), ("onnxruntime", 0)])
def test_a_fallback_is_opened_only_where_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str | None, opened: int
) -> None:
    def opens(row: Runtime, path: object, threads: object, **foreign: object) -> object:
        if row.name == "onnxruntime":
            raise NotComputed("it does not compute bf16")
        return _Counted()

    monkeypatch.setattr(_Counted, "open", 0)
    monkeypatch.setattr(open_module, "_open_artifact", opens)
    monkeypatch.setattr(Runtime, "availability", lambda row: Availability(True, ""))
    (tmp_path / "net.onnx").touch()
    if named is None:
        assert isinstance(open_session(tmp_path / "net.onnx"), _Counted)
    else:
        with pytest.raises(NotComputed):
            open_session(tmp_path / "net.onnx", runtime=named)
    assert _Counted.open == opened


def test_an_artifact_that_cannot_be_opened_here_tells_its_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_onnx(create("ledsr", n_blocks=1, n_feats=4, scale=3), tmp_path / "net.onnx", check=False)

    def fails(*arguments: object, **options: object) -> object:
        raise UserError("It was built for another machine.")

    monkeypatch.setattr(open_module, "open_session", fails)
    assert scale_of(tmp_path / "net.onnx") == 3
    assert scale_of(f"{tmp_path / 'net.onnx'}@onnxruntime") == 3
    assert scale_of("edsr-s-x2") == 2
    (tmp_path / "foreign.onnx").touch()
    with pytest.raises(UserError, match="another machine"):
        scale_of(tmp_path / "foreign.onnx")
