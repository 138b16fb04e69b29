from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.onnx.lower import choose_form, lower_pixel_shuffle
from srdeploy.models.registry import create
from srdeploy.runtime.onnx.session import OnnxSession

FORMS = ["crd", "reshape", "deconv"]


def shuffle_model(
    scale: int, channels: int, kind: int = TensorProto.FLOAT, fixed: bool = False
) -> onnx.ModelProto:
    sides = [5, 7] if fixed else ["H", "W"]
    node = helper.make_node("DepthToSpace", ["lr"], ["sr"], name="up", mode="CRD", blocksize=scale)
    graph = helper.make_graph(
        [node],
        "shuffle",
        [helper.make_tensor_value_info("lr", kind, ["N", channels * scale**2, *sides])],
        [helper.make_tensor_value_info("sr", kind, ["N", channels, None, None])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    onnx.checker.check_model(model, full_check=True)
    return ort.InferenceSession(model.SerializeToString()).run(None, {"lr": x})[0]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(("scale", "channels"), [(2, 1), (3, 3), (3, 5), (4, 3)])
@pytest.mark.parametrize("form", FORMS)
def test_the_same_bits_as_torch(form: str, scale: int, channels: int, fixed: bool) -> None:
    # Every value is its own place, so a single misplaced pixel shows.
    x = np.arange(2 * channels * scale**2 * 35, dtype=np.float32).reshape(2, -1, 5, 7)
    expected = torch.pixel_shuffle(torch.from_numpy(x), scale).numpy()
    lowered = lower_pixel_shuffle(shuffle_model(scale, channels, fixed=fixed), form)
    np.testing.assert_array_equal(run(lowered, x), expected)


@pytest.mark.parametrize("form", FORMS)
def test_whole_network_at_x3_rgb_on_integers(form: str, tmp_path: Path) -> None:
    """Integer weights and pixels: every sum is exact, so equality is equality of bits."""
    network = create("edsr", scale=3, n_blocks=1, n_feats=8)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.module.parameters():
            parameter.copy_(torch.randint(-1, 2, parameter.shape, generator=generator).float())
    report = export_onnx(network, tmp_path / "net.onnx", pixel_shuffle=form)
    x = torch.randint(0, 8, (1, 3, 9, 6), generator=generator).float()
    with OnnxSession(tmp_path / "net.onnx", threads=1) as session, torch.inference_mode():
        np.testing.assert_array_equal(session.run(x.numpy()), network.module(x).numpy())
        assert session.card.history[-1]["pixel_shuffle"] == form
    assert ("DepthToSpace" in report.operators) == (form == "crd")
    assert report.operators.get("ConvTranspose", 0) == (form == "deconv")


@pytest.mark.parametrize("opset", [13, 21])
def test_rank_stays_at_four(opset: int, tmp_path: Path) -> None:
    network = create("ledsr", scale=3, n_blocks=1, n_feats=4)
    export_onnx(network, tmp_path / "net.onnx", opset=opset, pixel_shuffle="reshape")
    inferred = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "net.onnx"))
    ranks = {len(v.type.tensor_type.shape.dim) for v in inferred.graph.value_info}
    assert max(ranks) == 4


def test_half_precision_keeps_its_type() -> None:
    lowered = lower_pixel_shuffle(shuffle_model(3, 3, TensorProto.FLOAT16), "deconv")
    (weight,) = lowered.graph.initializer
    assert numpy_helper.to_array(weight).dtype == np.float16
    x = np.arange(27 * 35, dtype=np.float16).reshape(1, 27, 5, 7)
    expected = torch.pixel_shuffle(torch.from_numpy(x), 3).numpy()
    np.testing.assert_array_equal(run(lowered, x), expected)


def test_unknown_form_and_unknown_channels() -> None:
    with pytest.raises(UserError, match="did you mean 'reshape'"):
        lower_pixel_shuffle(shuffle_model(2, 3), "reshap")
    model = shuffle_model(2, 3)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "C"
    with pytest.raises(SrdeployError, match="channels that 'up' shuffles"):
        lower_pixel_shuffle(model, "deconv")
    assert lower_pixel_shuffle(model, "crd") == model


def ticking(*milliseconds: float) -> Callable[[], float]:
    """A clock under which the forms take these times, round after round."""
    now, calls = [0.0], [0]

    def clock() -> float:
        if calls[0] % 2:
            now[0] += milliseconds[(calls[0] // 2) % len(milliseconds)] / 1e3
        calls[0] += 1
        return now[0]

    return clock


def test_auto_takes_the_fastest_and_the_default_on_a_tie() -> None:
    model = shuffle_model(3, 3)
    fastest = choose_form(model, FORMS, (8, 8), clock=ticking(3, 2, 1))
    assert fastest.form == "deconv"
    assert "deconv 1.00 ms" in fastest.note()
    assert choose_form(model, FORMS, (8, 8), clock=ticking(1, 0.97, 2)).form == "crd"
    away = choose_form(model, ["reshape", "crd"], (8, 8), measure=False)
    assert (away.form, away.milliseconds) == ("reshape", {})
    assert "its runtime is not here" in away.note()


def test_auto_in_an_export_says_what_it_measured(tmp_path: Path) -> None:
    network = create("ledsr", scale=3, n_blocks=1, n_feats=4)
    report = export_onnx(network, tmp_path / "net.onnx", pixel_shuffle="auto")
    (note,) = report.notes
    assert "measured in onnxruntime" in note
    assert all(form in note for form in FORMS)
