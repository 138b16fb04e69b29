"""How artifacts become what the native runner takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from srdeploy.devices.protocol import Job
from srdeploy.devices.shell import native_load as module
from srdeploy.devices.shell.native_load import load_native, native_runtime
from srdeploy.errors import UserError
from srdeploy.measure.measurement import DeviceFacts
from srdeploy.models.registry import create
from srdeploy.models.store import save_network
from srdeploy.runtime.table import RUNTIMES
from srdeploy.sparse.model_file import read_model
from tests.sparse import nets
from tests.sparse.test_library import write

FACTS = DeviceFacts(kind="adb", model="x", arch="aarch64", cpus=8)


class Link:
    name = "board"


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What models are made of, and what their network's file holds at that time."""
    found: list[dict[str, Any]] = []

    def model(link: Any, files: Any, **given: Any) -> None:
        assert (link, files) == (Link, "files")
        net = given["network"].files.get("net")
        found.append({**given, "read": net and read_model(net)})

    monkeypatch.setattr(module, "NativeModel", model)
    monkeypatch.setattr(
        module, "runner_for", lambda arch, name, vulkan: (arch, name, *["vulkan"] * vulkan)
    )
    return found


def load(job: Job, precision: str = "fp32", facts: DeviceFacts = FACTS) -> None:
    load_native(job, Link, "files", facts, precision)  # type: ignore[arg-type]


def test_what_runs_what() -> None:
    assert native_runtime(Job("net.smsr")) == "sparse"
    assert native_runtime(Job("NET.SMSR")) == "sparse"
    assert native_runtime(Job("net.onnx")) == native_runtime(Job("net.safetensors")) == "ncnn"
    assert native_runtime(Job("net.safetensors", runtime="sparse")) == "sparse"


@pytest.mark.parametrize(
    ("asked", "cpus", "threads", "precision", "runtime"),
    [(None, None, 1, "fp32", None), (None, 8, 8, "bf16", "ncnn"), (3, 8, 3, "fp16", "ncnn-vulkan")],
)
def test_for_ncnn(
    made: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch,
    asked: int | None, cpus: int | None, threads: int, precision: str, runtime: str | None,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "card_of", lambda job: f"card of {job.artifact}")
    monkeypatch.setattr(module, "onnx_of", lambda job, folder: folder.is_dir() and job.artifact)
    monkeypatch.setattr(
        "srdeploy.devices.native_build.native_model", lambda onnx, card: (onnx, "bin")
    )
    facts = DeviceFacts(kind="adb", model="x", arch="aarch64", cpus=cpus)
    load(Job("net", threads=asked, timeout_seconds=77, runtime=runtime), precision, facts)
    (found,) = made
    network = found.pop("network")
    files = {"param": "net", "bin": "bin"}
    assert (network.runtime, network.files) == (runtime or "ncnn", files)
    by_vulkan = ("vulkan",) if runtime == "ncnn-vulkan" else ()
    assert found == {
        "runner": ("aarch64", "board", *by_vulkan), "card": "card of net", "threads": threads,
        "precision": precision, "timeout": 77, "read": None,
    }  # fmt: skip


def test_smsr_is_written_on_the_way(made: list[dict[str, Any]], tmp_path: Path) -> None:
    network = create("smsr", n_modules=1, n_layers=2, n_feats=8, mask_feats=4, reduction=4)
    save_network(network, tmp_path / "net.safetensors")
    load(Job(str(tmp_path / "net.safetensors"), runtime="sparse"))
    (found,) = made
    card, sizes = found["read"]
    assert card == found["card"]
    assert (found["network"].runtime, found["precision"], sizes.trunk) == ("sparse", "fp32", 8)
    assert not found["network"].files["net"].exists()  # it was a temporary one


def test_a_model_file_goes_as_it_is(made: list[dict[str, Any]], tmp_path: Path) -> None:
    path = write(nets.network(), tmp_path / "net.smsr")
    load(Job(str(path)))
    assert made[0]["network"].files == {"net": path}
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="is truncated or altered"):
        load(Job(str(path)))


@pytest.mark.skipif(not RUNTIMES["ncnn"].availability(), reason="pip install 'srdeploy[native]'")
def test_a_pair_of_ncnn_goes_as_it_is(
    made: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from srdeploy.exporting.ncnn.export import export_ncnn

    path, weights = tmp_path / "net.param", tmp_path / "net.bin"
    export_ncnn(create("vdsr", n_layers=3, n_feats=4), path)
    load(Job(str(path), runtime="ncnn-vulkan"))
    assert made[0]["network"].files == {"param": path, "bin": weights}
    assert made[0]["card"].arch == "vdsr"
    Path(f"{path}.json").unlink()  # now it is a stranger's, whose scale is told
    load(Job(str(path), options={"scale": 3}))
    assert (made[1]["card"].scale, made[1]["card"].pre_upscaled) == (3, True)
    path.write_text(path.read_text().replace(" 6=", " 8=2 6=", 1))
    monkeypatch.setattr(module, "card_of", lambda job: None)
    load(Job(str(path)), "int8")
    assert made[2]["precision"] == "fp32"
    with pytest.raises(UserError, match="is in int8, which GPUs do not run"):
        load(Job(str(path), runtime="ncnn-vulkan"))


def test_what_cannot_be(tmp_path: Path, made: list[dict[str, Any]]) -> None:
    save_network(create("ledsr", n_blocks=1, n_feats=4), tmp_path / "net.safetensors")
    with pytest.raises(UserError, match="runs SMSR networks, this one is ledsr"):
        load(Job(str(tmp_path / "net.safetensors"), runtime="sparse"))
    with pytest.raises(UserError, match="by Vulkan in fp32 or fp16, not in int8"):
        load(Job("net.onnx", runtime="ncnn-vulkan"), "int8")
    with pytest.raises(UserError, match="by Vulkan in fp32 or fp16, not in bf16"):
        load(Job("net.onnx", runtime="ncnn-vulkan"), "bf16")
    path = write(nets.network(), tmp_path / "net.smsr", "bf16")
    with pytest.raises(UserError, match="is computed in bf16, not in fp16"):
        load(Job(str(path)), "fp16")
    with pytest.raises(UserError, match="cannot become ONNX again"):
        load(Job(str(path), runtime="ncnn"))
    with pytest.raises(UserError, match="no file"):
        load(Job(str(tmp_path / "none.smsr")))
