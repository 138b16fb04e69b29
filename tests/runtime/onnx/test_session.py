from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from srdeploy.errors import UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.models.registry import create
from srdeploy.runtime.onnx import session as onnx_session
from srdeploy.runtime.onnx.file import GraphPort, NotComputed
from srdeploy.runtime.onnx.session import OnnxSession
from srdeploy.runtime.open import open_session


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    export_onnx(create("ledsr", scale=3, n_blocks=1, n_feats=4), path)
    return path


def strip_card(artifact: Path, path: Path) -> Path:
    model = onnx.load(artifact)
    del model.metadata_props[:]
    onnx.save(model, path)
    return path


def foreign(
    path: Path,
    shape: list[int | str],
    *,
    repeat: list[int] | None = None,
    dtype: int = TensorProto.FLOAT,
    n_outputs: int = 1,
) -> Path:
    """A graph that nobody labelled: nearest-neighbour upscaling, or identity."""
    scales = helper.make_tensor("scales", TensorProto.FLOAT, [4], repeat or [1, 1, 1, 1])
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], [f"y{i}"], mode="nearest")
        for i in range(n_outputs)
    ]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info(f"y{i}", dtype, [None] * 4) for i in range(n_outputs)],
        [scales],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


class Noted:
    """``onnxruntime.InferenceSession``: what it is made and run with."""

    made: list[tuple] = []

    def __init__(self, model: object, options: ort.SessionOptions, providers: list) -> None:
        self.made.append((model, options, providers))
        self.runs: list[tuple] = []

    def get_providers(self) -> list[str]:
        return ["CPUExecutionProvider"]

    def get_inputs(self) -> list:
        return [SimpleNamespace(name="in", type="tensor(float)", shape=["n", 3, "h", 10])]

    def get_outputs(self) -> list:
        return [SimpleNamespace(name="out", type="tensor(float16)", shape=["n", 3, "h", 20])]

    def get_modelmeta(self) -> object:
        card = create("ledsr", scale=2, n_blocks=1, n_feats=4).card
        return SimpleNamespace(custom_metadata_map={"srdeploy.card": card.to_json()})

    def run(self, names: list, feed: dict, options: ort.RunOptions) -> list:
        self.runs.append((names, list(feed), options))
        (x,) = feed.values()
        return [x.repeat(2, 2).repeat(2, 3)]


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(ort, "InferenceSession", Noted)
    monkeypatch.setattr(Noted, "made", [])
    (tmp_path / "net.onnx").touch()
    return tmp_path / "net.onnx"


@pytest.mark.parametrize("threads", [3, None])
def test_what_a_session_is_made_with(
    noted: Path, threads: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    session = OnnxSession(noted, threads=threads)
    ((model, options, providers),) = Noted.made
    assert model == str(noted)
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (threads or 5, 1)
    assert session.threads == (threads or 5)
    assert not options.enable_mem_pattern
    assert options.log_severity_level == 4
    assert options.execution_mode == ort.ExecutionMode.ORT_SEQUENTIAL
    assert providers == [("CPUExecutionProvider", {})]
    assert session.providers == ["CPUExecutionProvider"]
    assert str(session.sizes) == "10x1..10x1048576"
    inner = session._session
    y = session.run(np.zeros((1, 3, 4, 10), np.float32))
    assert y.shape == (1, 3, 8, 20)
    ((names, fed, run_options),) = inner.runs
    assert (names, fed) == (["out"], ["in"])
    assert run_options.log_severity_level == 4
    assert not run_options.terminate
    session._stop()
    assert run_options.terminate
    session.close()
    assert session._session is None


@pytest.mark.parametrize(
    ("name", "ort_name", "options"),
    [
        ("cuda", "CUDAExecutionProvider", {}),
        ("tensorrt", "TensorrtExecutionProvider", {}),
        ("coreml", "CoreMLExecutionProvider", {}),
        ("directml", "DmlExecutionProvider", {}),
        ("openvino", "OpenVINOExecutionProvider",
         {"device_type": "CPU", "num_of_threads": "3"}),
    ],
)  # fmt: skip
def test_a_provider_comes_before_the_cpu_and_is_checked(
    name: str, ort_name: str, options: dict, noted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[tuple] = []

    def check(session: object, asked: str, path: Path) -> tuple[str, ...]:
        checked.append((asked, path))
        return ("it leaves two",)

    monkeypatch.setattr(onnx_session, "check_placement", check)
    monkeypatch.setattr(ort, "get_available_providers", lambda: [ort_name, "CPUExecutionProvider"])
    asked: list[object] = []
    monkeypatch.setattr(onnx_session, "ask_for_placement", asked.append)
    kind = getattr(onnx_session, f"Onnx{name.title()}Session")
    session = kind(noted, threads=3)
    assert Noted.made[0][2] == [(ort_name, options), ("CPUExecutionProvider", {})]
    assert asked == [Noted.made[0][1]]
    assert checked == [(ort_name, noted)]
    assert session.notes == ("it leaves two",)
    assert (session.runtime, session.provider) == (f"onnxruntime-{name}", name)
    checked.clear(), asked.clear()
    plain = OnnxSession(noted)
    assert (checked, asked, plain.notes) == ([], [], ())


def test_what_a_provider_refuses(noted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ""

    def fails(*arguments: object, **options: object) -> object:
        raise RuntimeError(said)

    monkeypatch.setattr(ort, "InferenceSession", fails)
    said = "fallback to CPU EP has been explicitly disabled"
    with pytest.raises(UserError, match=r"cpu provider does not take all of 'net\.onnx'; leave"):
        OnnxSession(noted)
    said = "[E] : 9 : NOT_IMPLEMENTED : Could not find Conv"
    with pytest.raises(UserError, match=r"onnxruntime [\d.]+ can load \(Could not find Conv\); it"):
        OnnxSession(noted)
    tensor = helper.make_tensor("w", TensorProto.BFLOAT16, [1], [1.0])
    graph = helper.make_graph([], "g", [], [], [tensor])
    onnx.save(helper.make_model(graph), noted)
    with pytest.raises(NotComputed, match="is in bf16, for which onnxruntime"):
        OnnxSession(noted)
    said = "another error"
    with pytest.raises(UserError, match="is not an ONNX file"):
        OnnxSession(noted)
    said = "NOT_IMPLEMENTED"
    graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0]))
    onnx.save(helper.make_model(graph), noted)
    with pytest.raises(UserError, match="is not an ONNX file"):
        OnnxSession(noted)


def test_types_of_ends() -> None:
    for kind, ours in (("float", "float32"), ("float16", "float16"), ("int8", "a tensor(int8)")):
        value = SimpleNamespace(name="x", type=f"tensor({kind})", shape=[1, "h"])
        assert onnx_session._end(value) == GraphPort("x", ours, (1, "h"))


def test_runs_our_own(artifact: Path) -> None:
    with open_session(artifact, threads=1) as session:
        y = session.run(np.zeros((2, 3, 5, 7), np.float32))
        assert (session.runtime, session.threads, session.card.scale) == ("onnxruntime", 1, 3)
    assert y.shape == (2, 3, 15, 21)
    assert y.dtype == np.float32


def test_threads_do_not_change_the_answer(artifact: Path) -> None:
    x = np.random.default_rng(0).random((1, 3, 32, 32), np.float32) * 255
    with OnnxSession(artifact, threads=1) as one, OnnxSession(artifact, threads=2) as two:
        np.testing.assert_allclose(one.run(x), two.run(x), atol=1e-3)


def test_torch_is_not_imported(artifact: Path) -> None:
    code = (
        "import sys; from srdeploy.runtime.open import open_session; "
        f"open_session({str(artifact)!r}).close(); print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "False", answer.stderr


def test_card_inferred_from_a_foreign_file(artifact: Path, tmp_path: Path) -> None:
    path = strip_card(artifact, tmp_path / "foreign.onnx")
    with OnnxSession(path, value_range=255.0) as session:
        card = session.card
        assert (card.scale, card.channels, card.value_range) == (3, 3, 255.0)
        assert (card.arch, card.pre_upscaled, card.luma_only) == ("onnx", False, False)
        assert session.run(np.zeros((1, 3, 4, 6), np.float32)).shape == (1, 3, 12, 18)


def test_pre_upscaled_luma_from_a_foreign_file(tmp_path: Path) -> None:
    path = foreign(tmp_path / "vdsr.onnx", [1, 1, "h", "w"])
    with OnnxSession(path, value_range=1.0, scale=4) as session:
        assert session.card.pre_upscaled
        assert session.card.luma_only
        assert (session.card.scale, session.card.network_scale) == (4, 1)


def test_half_precision_input(tmp_path: Path) -> None:
    path = foreign(
        tmp_path / "h.onnx", ["n", 3, "h", "w"], repeat=[1, 1, 2, 2], dtype=TensorProto.FLOAT16
    )
    with OnnxSession(path, value_range=1.0) as session:
        y = session.run(np.full((1, 3, 4, 4), 0.5, np.float32))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, np.full((1, 3, 8, 8), 0.5, np.float32))


def test_fixed_size_is_told(tmp_path: Path) -> None:
    path = foreign(tmp_path / "fixed.onnx", [1, 3, 8, 8], repeat=[1, 1, 2, 2])
    with (
        OnnxSession(path, value_range=1.0) as session,
        pytest.raises(UserError, match="takes 1x3x8x8 only, not 1x3x9x8"),
    ):
        session.run(np.zeros((1, 3, 9, 8), np.float32))


def test_value_range_must_be_given(artifact: Path, tmp_path: Path) -> None:
    path = strip_card(artifact, tmp_path / "foreign.onnx")
    with pytest.raises(UserError, match=r"no srdeploy card .* give the value range"):
        OnnxSession(path)


def test_scale_must_be_given_or_agree(artifact: Path, tmp_path: Path) -> None:
    same_size = foreign(tmp_path / "same.onnx", [1, 3, "h", "w"])
    with pytest.raises(UserError, match="give the scale"):
        OnnxSession(same_size, value_range=1.0)
    path = strip_card(artifact, tmp_path / "foreign.onnx")
    with pytest.raises(UserError, match="upscales by 3, not by 2"):
        OnnxSession(path, value_range=255.0, scale=2)


def test_bad_files(artifact: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.onnx"
    truncated.write_bytes(artifact.read_bytes()[:-200])
    text = tmp_path / "text.onnx"
    text.write_text("not a network")
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    for path in (truncated, text, empty):
        with pytest.raises(UserError, match="is not an ONNX file that onnxruntime") as caught:
            OnnxSession(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="There is no file"):
        OnnxSession(tmp_path / "absent.onnx")


def test_broken_card(artifact: Path, tmp_path: Path) -> None:
    model = onnx.load(artifact)
    model.metadata_props[0].value = '{"arch": "ledsr"}'
    onnx.save(model, tmp_path / "broken.onnx")
    with pytest.raises(UserError, match=r"card in '.*broken.onnx' is not valid"):
        OnnxSession(tmp_path / "broken.onnx")


def test_not_a_super_resolution_network(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="1 inputs and 2 outputs"):
        OnnxSession(foreign(tmp_path / "two.onnx", [1, 3, 8, 8], n_outputs=2), value_range=1.0)
    with pytest.raises(UserError, match=r"laid out \[N, H, W, C\] \(shape 1x8x8x3\)"):
        OnnxSession(foreign(tmp_path / "nhwc.onnx", [1, 8, 8, 3]), value_range=1.0)
    with pytest.raises(UserError, match="takes a tensor"):
        OnnxSession(foreign(tmp_path / "u8.onnx", [1, 3, 8, 8], dtype=TensorProto.UINT8))
    uneven = foreign(tmp_path / "uneven.onnx", [1, 3, 8, 8], repeat=[1, 1, 2, 3])
    with pytest.raises(UserError, match="no upscaling by a whole number"):
        OnnxSession(uneven, value_range=1.0)


def test_unknown_provider(artifact: Path) -> None:
    with pytest.raises(UserError, match=r"provider named 'cudda'.*did you mean 'cuda'"):
        open_session(artifact, provider="cudda")
