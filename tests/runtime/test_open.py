from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.export.onnx import export_onnx
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.runtime.open import open_session
from srdeploy.runtime.pixels import upscale_rgb
from srdeploy.runtime.table import split_runtime


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
