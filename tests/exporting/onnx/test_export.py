from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from srdeploy import __version__
from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx import graph as onnx_graph
from srdeploy.exporting.onnx.export import check_parity, export_onnx
from srdeploy.models.card import CARD_KEY, Card
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.runtime.onnx.session import OnnxSession
from srdeploy.util.files import sha256

SMALL: dict[str, dict[str, Any]] = {
    "vdsr": {"n_layers": 4, "n_feats": 8},
    "edsr": {"n_blocks": 2, "n_feats": 8, "res_scale": 0.1},
    "ledsr": {"n_blocks": 2, "n_feats": 8},
    "rirsr": {"n_groups": 2, "n_blocks": 1, "n_feats": 8},
}


def network_of(module: nn.Module, scale: int = 2, **facts: Any) -> Network:
    card = Card(
        arch="tests:own", scale=scale, scales=(scale,), channels=3, value_range=1.0, **facts
    )
    return Network(module.eval(), card)


def sizes(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("arch", SMALL)
def test_every_architecture_equals_torch(arch: str, scale: int, tmp_path: Path) -> None:
    network = create(arch, scale=scale, **SMALL[arch])
    report = export_onnx(network, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")

    assert report.parity is not None
    assert report.parity.relative < 1e-6
    assert report.sha256 == sha256(tmp_path / "net.onnx")
    assert report.bytes == (tmp_path / "net.onnx").stat().st_size
    shuffles = [n for n in model.graph.node if n.op_type == "DepthToSpace"]
    assert len(shuffles) == {"vdsr": 0, "ledsr": 1}.get(arch, 2 if scale == 4 else 1)
    for node in shuffles:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert attributes == {"mode": b"CRD", "blocksize": attributes["blocksize"]}
    factor = "" if arch == "vdsr" else f"*{scale}"
    channels = network.card.channels
    assert sizes(model.graph.input[0]) == ["N", channels, "H", "W"]
    assert sizes(model.graph.output[0]) == ["N", channels, f"H{factor}", f"W{factor}"]
    assert [model.graph.input[0].name, model.graph.output[0].name] == ["lr", "sr"]


def test_file_is_self_contained_lean_and_labelled(tmp_path: Path) -> None:
    network = create("edsr", **SMALL["edsr"])
    export_onnx(network, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx", load_external_data=False)

    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
    assert not any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)
    used = {name for node in model.graph.node for name in node.input}
    assert {t.name for t in model.graph.initializer} <= used
    # The residual scaling is folded into the weights, which keep their layers' names.
    assert {n.op_type for n in model.graph.node} == {"Conv", "Relu", "Add", "DepthToSpace"}
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    original = network.module.state_dict()
    scaled = 0.1 * original["body.0.body.2.weight"].numpy()
    np.testing.assert_allclose(weights["body.0.body.2.weight"], scaled, rtol=1e-6)
    assert set(weights) | {"add_mean.weight"} == set(original)  # equal to sub_mean.weight
    assert (model.producer_name, model.producer_version) == ("srdeploy", __version__)
    assert [p.key for p in model.metadata_props] == [CARD_KEY]
    assert "/body/body.0/body/body.0/Conv" in {n.name for n in model.graph.node}


def test_card_survives_with_the_export_in_its_history(tmp_path: Path) -> None:
    network = create("ledsr", scale=3, **SMALL["ledsr"])
    export_onnx(network, tmp_path / "net.onnx")
    with OnnxSession(tmp_path / "net.onnx", threads=1) as session:
        card = session.card
    assert card.model_copy(update={"history": []}) == network.card
    (step,) = card.history
    assert (step["step"], step["target"], step["opset"]) == ("export", "onnx", 17)
    assert step["tools"]["torch"] == version("torch")


@pytest.mark.parametrize("exporter", ["trace", "dynamo"])
def test_equal_networks_give_equal_bytes(exporter: onnx_graph.Exporter, tmp_path: Path) -> None:
    network = create("edsr", **SMALL["edsr"])
    for name in ("a.onnx", "b.onnx"):
        export_onnx(network.copy(), tmp_path / name, exporter=exporter, opset=18)
    assert sha256(tmp_path / "a.onnx") == sha256(tmp_path / "b.onnx")


@pytest.mark.parametrize(("exporter", "opset"), [("trace", 13), ("trace", 21), ("dynamo", 18)])
def test_operator_sets(exporter: onnx_graph.Exporter, opset: int, tmp_path: Path) -> None:
    network = create("edsr", scale=3, **SMALL["edsr"])
    report = export_onnx(network, tmp_path / "net.onnx", opset=opset, exporter=exporter)
    model = onnx.load(tmp_path / "net.onnx")
    assert [o.version for o in model.opset_import if o.domain == ""] == [opset] == [report.opset]
    assert report.operators["DepthToSpace"] == 1
    assert sizes(model.graph.output[0]) == ["N", 3, "H*3", "W*3"]


@pytest.mark.parametrize(("exporter", "opset"), [("trace", 12), ("trace", 99), ("dynamo", 17)])
def test_operator_set_out_of_range(
    exporter: onnx_graph.Exporter, opset: int, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"set {opset} is not offered"):
        export_onnx(create("ledsr"), tmp_path / "net.onnx", opset=opset, exporter=exporter)


class Gated(nn.Module):
    """What networks of the user's own bring: unshuffle, gate, chunk, PReLU, transposed conv."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.PixelUnshuffle(2)
        self.head = nn.Conv2d(12, 8, 3, padding=1)
        self.act = nn.PReLU(8)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up = nn.ConvTranspose2d(8, 12, 4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.head(self.down(x)))
        a, b = (y * self.gate(y)).chunk(2, dim=1)
        y = self.depthwise(torch.cat([b, a], dim=1))
        return nn.functional.pixel_shuffle(self.up(y), 2)


def test_foreign_operations_and_size_multiple(tmp_path: Path) -> None:
    report = export_onnx(network_of(Gated(), size_multiple=2), tmp_path / "net.onnx")
    assert report.parity is not None
    assert report.parity.sizes == [(24, 20), (18, 30), (136, 152)]
    assert report.operators["DepthToSpace"] == 1  # a functional shuffle is seen too
    assert report.operators["ConvTranspose"] == 1


class BakedSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Conv2d(3, 12, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Python arithmetic on a size is a constant to the tracer.
        offset = float(x.shape[-1]) / 100
        return nn.functional.pixel_shuffle(self.up(x), 2) + offset


class Decomposition(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.linalg.svdvals(x)[..., :1, None] * 0 + x
        return y.repeat_interleave(2, 2).repeat_interleave(2, 3)


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = Decomposition()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def test_baked_in_size_gives_a_file_of_one_size(tmp_path: Path) -> None:
    network = network_of(BakedSize())
    report = export_onnx(network, tmp_path / "net.onnx", exporter="trace")
    assert report.parity is not None
    assert report.parity.sizes == [(256, 256)]
    model = onnx.load(tmp_path / "net.onnx")
    sides = [
        [d.dim_value for d in end.type.tensor_type.shape.dim]
        for end in (model.graph.input[0], model.graph.output[0])
    ]
    s = network.card.scale
    assert sides == [[1, 3, 256, 256], [1, 3, 256 * s, 256 * s]]


def test_failure_keeps_the_older_file(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"older")
    with pytest.raises(SrdeployError):
        export_onnx(network_of(Decomposition()), tmp_path / "net.onnx", exporter="trace")
    assert (tmp_path / "net.onnx").read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_card_that_lies_about_scale(tmp_path: Path) -> None:
    network = create("ledsr", scale=2, **SMALL["ledsr"])
    liar = Network(network.module, network.card.model_copy(update={"scale": 3}))
    with pytest.raises(SrdeployError, match="card promises 1x3x72x60"):
        export_onnx(liar, tmp_path / "net.onnx")


def test_network_torch_cannot_export(tmp_path: Path) -> None:
    with pytest.raises(SrdeployError) as refused:
        export_onnx(network_of(Around()), tmp_path / "net.onnx")
    message = str(refused.value)
    assert "torch's trace exporter refuses this network (linalg_svdvals in 'body': " in message
    assert ". Nor can there be an ONNX file of the one size 256x256: torch's dynamo" in message
    assert message.endswith("; replace what is named in the network's code.")
    assert "try --exporter" not in message  # both were
    assert list(tmp_path.iterdir()) == []


def test_what_trace_refuses_dynamo_is_asked_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*arguments: Any, **options: Any) -> None:
        raise onnx_graph.Refused("trace", "no such operator")

    network = create("ledsr", **SMALL["ledsr"])
    monkeypatch.setattr(onnx_graph, "traced_part", refuses)
    report = export_onnx(network, tmp_path / "net.onnx")
    assert report.parity is not None
    assert report.parity.relative < 1e-6
    assert report.opset == 18
    assert (
        "by torch's dynamo exporter, as torch's trace exporter refuses it (no such operator)"
        in report.notes
    )
    for options in ({"exporter": "trace"}, {"opset": 17}):
        with pytest.raises(SrdeployError, match=r"no such operator\); try --exporter dynamo"):
            export_onnx(network, tmp_path / "other.onnx", **options)  # type: ignore[arg-type]
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


@pytest.mark.parametrize("harm", ["mode", "gone"])
def test_lost_shuffle_is_noticed(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simplify = onnx_graph.simplified_graph

    def harmful(model: onnx.ModelProto) -> onnx.ModelProto:
        simplified = simplify(model)
        for node in simplified.graph.node:
            if node.op_type == "DepthToSpace" and harm == "mode":
                del node.attribute[[a.name for a in node.attribute].index("mode")]
            elif node.op_type == "DepthToSpace":
                node.op_type = "Reshape"
        return simplified

    monkeypatch.setattr(onnx_graph, "simplified_graph", harmful)
    message = "DCR order" if harm == "mode" else "did not become DepthToSpace"
    with pytest.raises(SrdeployError, match=message):
        export_onnx(create("ledsr", scale=3, **SMALL["ledsr"]), tmp_path / "net.onnx")


def test_parity_check_tells_colour_order_apart(tmp_path: Path) -> None:
    """The check alone must catch DCR for CRD, at the scale where mistakes hide least."""
    network = create("ledsr", scale=3, **SMALL["ledsr"])
    export_onnx(network, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    for node in model.graph.node:
        if node.op_type == "DepthToSpace":
            del node.attribute[[a.name for a in node.attribute].index("mode")]
    onnx.save(model, tmp_path / "net.onnx")
    with pytest.raises(SrdeployError, match="differs from torch"):
        check_parity(network, tmp_path / "net.onnx")


def test_a_precision_that_is_too_coarse_is_told_from_a_fault(tmp_path: Path) -> None:
    torch.manual_seed(1)
    untrained = create("vdsr", n_layers=3, n_feats=2)
    with pytest.raises(SrdeployError, match=r"in fp32 they agree, so mixed is too coarse"):
        export_onnx(untrained, tmp_path / "net.onnx", precision="mixed")
    assert not list(tmp_path.iterdir())


def test_unchecked_export_says_so(tmp_path: Path) -> None:
    report = export_onnx(create("ledsr", **SMALL["ledsr"]), tmp_path / "net.onnx", check=False)
    assert report.parity is None
    assert report.notes == ["parity with torch was not checked (check=False)"]
