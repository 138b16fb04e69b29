"""Engines in a session: refusals and data flow against fakes, the real thing where there is one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.registry import create
from srdeploy.runtime.open import open_session
from srdeploy.runtime.table import TENSORRT_RTX
from srdeploy.runtime.tensorrt.cuda import Cuda, Gpu, find_gpu
from srdeploy.runtime.tensorrt.session import TensorrtRtxSession, TensorrtSession, require_device
from srdeploy.runtime.tensorrt.sidecar import (
    ShapeProfile,
    Sidecar,
    Tensor,
    sidecar_path,
    this_platform,
)
from srdeploy.util.files import sha256
from tests.runtime.fake_cuda import FakeDriver

PROFILE = ShapeProfile(min=(1, 3, 4, 4), opt=(1, 3, 6, 6), max=(1, 3, 8, 8))


def write_engine(path: Path, dtype: str = "float32", **changes: Any) -> Path:
    path.write_bytes(b"engine")
    ends = {name: Tensor(name=name, dtype=dtype, shape=(-1, 3, -1, -1)) for name in ("lr", "sr")}
    facts: dict[str, Any] = {
        "builder": "tensorrt", "version": "10.3.0", "platform": this_platform(),
        "capabilities": ("8.9",), "engine_sha256": sha256(path), "onnx": "net.engine.onnx",
        "onnx_sha256": "", "precision": "fp32", "convolutions": {"fp32": 1}, "profile": PROFILE,
        "input": ends["lr"], "output": ends["sr"], "verified": True, "verification": "",
        "layers": {}, "card": create("ledsr", scale=2, n_blocks=1, n_feats=4).card, "tools": {},
    }  # fmt: skip
    sidecar_path(path).write_text(Sidecar(**(facts | changes)).to_json())
    return path


class FakeContext:
    """Doubles pixels by repetition, on the fake driver's memory."""

    def __init__(self, driver: FakeDriver, dtype: type) -> None:
        self.driver, self.dtype = driver, dtype
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shape = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        n, c, h, w = self.shape
        return (n, c, 2 * h, 2 * w)

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def execute_async_v3(self, stream: int) -> bool:
        x = np.frombuffer(self.driver.memory[self.addresses["lr"]], self.dtype)
        y = x.reshape(self.shape).repeat(2, 2).repeat(2, 3)
        self.driver.memory[self.addresses["sr"]] = y.tobytes()
        return True


def fake_api(driver: FakeDriver, version: str = "10.3.0", dtype: type = np.float32) -> Any:
    context = FakeContext(driver, dtype)
    engine = SimpleNamespace(create_execution_context=lambda: context)

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, data: bytes) -> Any:
            if version.startswith("broken"):
                self.logger.log("Severity.ERROR", "magic\n tag mismatch")
                return None
            return engine

    return SimpleNamespace(__version__=version, ILogger=object_logger(), Runtime=Runtime)


def object_logger() -> type:
    class ILogger:
        def __init__(self) -> None:
            pass

    return ILogger


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_run_copies_there_and_back(dtype: str, tmp_path: Path) -> None:
    path, driver = write_engine(tmp_path / "net.engine", dtype), FakeDriver()
    api = fake_api(driver, dtype=np.dtype(dtype).type)
    with TensorrtSession(path, cuda=Cuda(driver), api=api) as session:
        for size in (4, 8, 6):
            x = np.arange(3 * size * size, dtype=np.float32).reshape(1, 3, size, size)
            y = session.run(x)
            np.testing.assert_array_equal(y, x.repeat(2, 2).repeat(2, 3))
            assert y.dtype == np.float32
        assert len(driver.memory) == 2  # one buffer an end, grown and kept
        with pytest.raises(UserError, match="takes 1x3x4x4 to 1x3x8x8, not 1x3x9x8"):
            session.run(np.zeros((1, 3, 9, 8), np.float32))
        assert (session.runtime, session.gpu.name) == ("tensorrt", "Fake RTX")
    assert driver.memory == {}
    session.close()


@pytest.mark.parametrize(
    ("builder", "built", "here", "fits"),
    [
        ("tensorrt", "10.3.0", "10.3.0", True),
        ("tensorrt", "10.3.0", "10.3.0.26", False),
        ("tensorrt", "10.3.0", "10.4.0", False),
        ("tensorrt_rtx", "1.7.1.116", "1.7.1.116", True),
        ("tensorrt_rtx", "1.7.1.116", "1.7.1.117", True),
        ("tensorrt_rtx", "1.7.1.116", "1.7.1.115", False),
        ("tensorrt_rtx", "1.9", "1.10", True),
        ("tensorrt_rtx", "1.10", "1.9", False),
        ("tensorrt_rtx", "1.7", "2.0", True),
    ],
)
def test_versions_that_run_an_engine(builder: str, built: str, here: str, fits: bool) -> None:
    facts: Any = SimpleNamespace(
        capabilities=("8.6", "8.9"), platform=this_platform(), builder=builder, version=built
    )
    gpu = Gpu("Some RTX", "8.9", "12.4", 1024)
    if fits:
        require_device(Path("a.engine"), facts, gpu, here)
    else:
        with pytest.raises(UserError) as caught:
            require_device(Path("a.engine"), facts, gpu, here)
        assert str(caught.value) == (
            f"'a.engine' was built by {builder} {built}, and {here} is installed; run `srdeploy "
            "rebuild a.engine` here."
        )


@pytest.mark.parametrize(
    ("low", "high", "sizes"),
    [((4, 6), (4, 6), "6x4"), ((4, 6), (4, 8), "6x4..8x4"), ((4, 6), (5, 6), "6x4..6x5")],
)
def test_sizes_are_those_of_the_profile(
    low: tuple[int, int], high: tuple[int, int], sizes: str, tmp_path: Path
) -> None:
    profile = ShapeProfile(min=(1, 3, *low), opt=(1, 3, *low), max=(1, 3, *high))
    path, driver = write_engine(tmp_path / "net.engine", profile=profile), FakeDriver()
    with TensorrtSession(path, cuda=Cuda(driver), api=fake_api(driver)) as session:
        assert str(session.sizes) == sizes
        assert session.sizes is not None
        assert session.sizes.fixed == (low == high)
        assert session.threads == 1
    told = TensorrtSession(path, threads=4, cuda=Cuda(driver), api=fake_api(driver))
    assert told.threads == 4
    told.close()


def test_runs_that_fail(tmp_path: Path) -> None:
    path, driver = write_engine(tmp_path / "net.engine"), FakeDriver()
    api = fake_api(driver)
    x = np.zeros((1, 3, 4, 6), np.float32)
    with TensorrtSession(path, cuda=Cuda(driver), api=api) as session:
        context = session._context
        session.run(x)
        names = sorted(context.addresses)
        assert names == ["lr", "sr"]
        sizes = {name: len(driver.memory[context.addresses[name]]) for name in names}
        assert sizes == {"lr": 4 * 72, "sr": 4 * 288}
        kept = dict(context.addresses)
        session.run(x[:, :, :, :4])
        assert context.addresses == kept  # what is large enough is used again
        context.execute_async_v3 = lambda stream: False
        with pytest.raises(SrdeployError, match=r"failed on an input of shape \(1, 3, 4, 6\)"):
            session.run(x)
        context.set_input_shape = lambda name, shape: False
        with pytest.raises(SrdeployError, match=r"refuses the shape .* that its profile holds"):
            session.run(x)


def test_what_an_engine_gives_no_reason_for(tmp_path: Path) -> None:
    path, driver = write_engine(tmp_path / "net.engine", version="10"), FakeDriver()
    api = fake_api(driver, "10")
    api.Runtime = lambda logger: SimpleNamespace(deserialize_cuda_engine=lambda data: None)
    with pytest.raises(UserError, match=r"on this Fake RTX \(no reason given\); run `srdeploy"):
        TensorrtSession(path, cuda=Cuda(driver), api=api)
    engine = SimpleNamespace(create_execution_context=lambda: None)

    def runtime(logger: Any) -> Any:
        logger.log("Severity.WARNING", "only a warning")
        logger.log("Severity.INTERNAL_ERROR", "out of " + "x" * 300)
        logger.log("Severity.ERROR", "second")
        return SimpleNamespace(deserialize_cuda_engine=lambda data: engine)

    api.Runtime = runtime
    with pytest.raises(UserError) as caught:
        TensorrtSession(path, cuda=Cuda(driver), api=api)
    assert f"(out of {'x' * 193})" in str(caught.value)
    assert driver.calls[-1] == "cuDevicePrimaryCtxRelease_v2"


@pytest.mark.parametrize(
    ("changes", "version", "reason"),
    [
        ({"capabilities": ("8.7",)}, "10.3.0", r"capability 8\.7, and this Fake RTX has 8\.9; run"),
        ({"platform": "linux-sparc"}, "10.3.0", "was built on linux-sparc"),
        ({}, "10.4.0", r"built by tensorrt 10\.3\.0, and 10\.4\.0 is installed; run `srdeploy reb"),
        ({"version": "broken"}, "broken", r"cannot load .* \(magic tag mismatch\); run `srdeploy"),
    ],
)
def test_the_wrong_machine_is_refused(
    changes: dict[str, Any], version: str, reason: str, tmp_path: Path
) -> None:
    path, driver = write_engine(tmp_path / "net.engine", **changes), FakeDriver()
    with pytest.raises(UserError, match=reason) as caught:
        TensorrtSession(path, cuda=Cuda(driver), api=fake_api(driver, version))
    assert "\n" not in str(caught.value)
    assert driver.calls[-1] == "cuDevicePrimaryCtxRelease_v2"


def test_rtx_engines_run_under_later_versions(tmp_path: Path) -> None:
    path = write_engine(tmp_path / "net.engine", builder="tensorrt_rtx", version="1.7.1.116")
    driver = FakeDriver()
    TensorrtRtxSession(path, cuda=Cuda(driver), api=fake_api(driver, "1.10.0")).close()
    with pytest.raises(UserError, match=r"and 1\.6\.1 is installed"):
        TensorrtRtxSession(path, cuda=Cuda(driver), api=fake_api(driver, "1.6.1"))
    with pytest.raises(UserError, match="is an engine of tensorrt_rtx, not tensorrt"):
        TensorrtSession(path)


def test_truncated_foreign_and_lonely_engines(tmp_path: Path) -> None:
    path = write_engine(tmp_path / "net.engine")
    path.write_bytes(b"eng")
    with pytest.raises(UserError, match=r"is not the engine that 'net\.engine\.json' describes"):
        open_session(path)
    sidecar_path(path).unlink()
    with pytest.raises(UserError, match="nothing is known of what it needs"):
        open_session(path)
    with pytest.raises(UserError, match="There is no file"):
        open_session(tmp_path / "absent.engine")


def test_the_runtime_follows_the_sidecar(tmp_path: Path) -> None:
    path = write_engine(tmp_path / "net.engine")
    with pytest.raises(UserError, match=r"onnxruntime cannot run .* tensorrt can"):
        open_session(path, runtime="onnxruntime")
    if find_gpu() is None:
        with pytest.raises(UserError, match=r"no NVIDIA driver here|finds no GPU"):
            open_session(path)


@pytest.fixture
def real_engine(tmp_path: Path) -> Path:
    """An engine of TensorRT-RTX for the GPU at hand."""
    gpu = find_gpu()
    if gpu is None:
        pytest.skip("there is no NVIDIA GPU here")
    if not (found := TENSORRT_RTX.availability()):
        pytest.skip(found.reason)
    from srdeploy.exporting.tensorrt.export import export_trt_rtx
    from srdeploy.exporting.tensorrt.toolkit import RTX_CAPABILITIES

    if gpu.capability not in RTX_CAPABILITIES:
        pytest.skip(f"TensorRT-RTX does not build for this {gpu.name} ({gpu.capability})")
    path = tmp_path / "net.engine"
    network = create("edsr", scale=3, n_blocks=1, n_feats=8)
    report = export_trt_rtx(network, path, sizes="16..64", capabilities=(gpu.capability,))
    assert report.parity is not None
    assert report.parity.relative < 1e-4
    return path


@pytest.mark.gpu
def test_real_engine_equals_its_onnx(real_engine: Path) -> None:
    x = np.random.default_rng(0).uniform(0, 255, (1, 3, 40, 56)).astype(np.float32)
    with (
        open_session(real_engine) as ours,
        open_session(f"{real_engine}.onnx", threads=1) as reference,
    ):
        np.testing.assert_allclose(ours.run(x), reference.run(x), atol=0.03)
        assert ours.runtime == "tensorrt_rtx"
