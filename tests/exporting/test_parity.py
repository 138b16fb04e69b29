"""What is called equal is equal: at every size and batch, and however loud."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.export import check_parity, export_onnx
from srdeploy.exporting.parity import (
    QUIET,
    ROUNDING,
    UNSURE,
    Apart,
    Reference,
    check_parity_of,
    usual_probes,
)
from srdeploy.exporting.probe import TOLERANCE, run_torch
from srdeploy.exporting.range_folding import fold_range
from srdeploy.exporting.run import export
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph
from srdeploy.models.registry import create
from srdeploy.runtime.onnx.session import OnnxSession
from srdeploy.runtime.sizes import InputSizes
from tests.exporting.fickle import (
    Branch,
    Counted,
    InPlace,
    Loud,
    Particular,
    Plain,
    Single,
    network,
)

DEPENDS = [
    (Branch(-1, 48), "at input 152x136", "size of its input"),
    (Branch(-1, 100), "at input 152x136", "size of its input"),
    (Branch(-2, 100), "at input 152x136", "size of its input"),
    (Branch(-1, 300), "at input 392x24", "size of its input"),
    (Counted(), "at input 152x136", "size of its input"),
    (Branch(0, 1), "at input 20x24 in a batch of 2", "number of images"),
    (Branch(0, 3), "at input 20x24 in a batch of 4", "number of images"),
]


@pytest.mark.parametrize(("module", "where", "what"), DEPENDS)
def test_code_that_depends_on_the_shape_shows(
    module: nn.Module, where: str, what: str, tmp_path: Path
) -> None:
    net = network(module)
    export_onnx(net, tmp_path / "net.onnx", check=False)
    with pytest.raises(Apart) as refused:
        check_parity(net, tmp_path / "net.onnx")
    message = str(refused.value)
    assert where in message
    assert f"depends on the {what}: an `if` or a number computed from x.shape" in message
    assert "write it without, or try --exporter dynamo" in message
    assert "report" not in message  # it is no fault of ours
    assert refused.value.short == f"its code depends on the {what}"
    assert refused.value.exit_code == 1


ONE_SIZE = "one input size, 256x256 (choose another with --input)"


@pytest.mark.parametrize(
    ("module", "options", "did"),
    [
        (Branch(-1, 100), {}, f"{ONE_SIZE}, as its code depends on the size of its input"),
        (Branch(-1, 100), {"precision": "fp16"}, f"{ONE_SIZE}, as its code depends on the size"),
        (Branch(-1, 100), {"exporter": "dynamo"}, f"{ONE_SIZE}, as its code depends on the size"),
        (Branch(0, 1), {}, "one image at a time, as its code depends on the number of images"),
        (Counted(), {}, "by torch's dynamo exporter, as its code depends on the size of its input"),
    ],
)
def test_it_gets_the_best_file_that_it_can_have(
    module: nn.Module, options: dict[str, Any], did: str, tmp_path: Path
) -> None:
    net = network(module)
    report = export(net, "onnx", tmp_path / "net.onnx", **options)
    assert any(note.startswith(did) for note in report.notes)
    sizes = InputSizes(((256, 256),)) if did.startswith(ONE_SIZE) else None
    with OnnxSession(tmp_path / "net.onnx", threads=1) as session:
        assert session.sizes == sizes
        assert session.batch == (None if isinstance(module, Counted) else 1)
        assert session.card.history[-1].get("sizes") == (None if sizes is None else "256x256")
        x = photograph(net.card, (256, 256))
        tolerance = 1e-2 if options.get("precision") else 1e-5
        np.testing.assert_allclose(session.run(x), run_torch(net, x), atol=tolerance)


def test_one_size_that_is_asked_for(tmp_path: Path) -> None:
    report = export(network(Plain()), "onnx", tmp_path / "net.onnx", sizes="40x32")
    assert report.parity is not None
    assert report.parity.sizes == [(32, 40)]
    assert not any("one input size" in note for note in report.notes)
    with OnnxSession(tmp_path / "net.onnx", threads=1) as session:
        assert session.sizes == InputSizes(((32, 40),))
    for wrong in ("16..64", "16x16,24x24"):
        with pytest.raises(UserError, match="takes one size or any"):
            export(network(Plain()), "onnx", tmp_path / "net.onnx", sizes=wrong)


class Reader(Plain):
    """Does something else with dark images: of one size, one photograph would not show it."""

    threshold = 0.0

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        return torch.relu(y) if float(x[0, 0, 0, 0]) > self.threshold else torch.sigmoid(y)


def test_what_is_decided_by_pixels_is_not_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, card = Reader(), network(Plain()).card
    seen, other = (photograph(card, (32, 40), 2)[i, 0, 0, 0] for i in (0, 1))
    reader.threshold = float(seen + other) / 2
    with pytest.raises(SrdeployError, match="reads a value of the image into Python"):
        export(network(reader), "onnx", tmp_path / "net.onnx", sizes="40x32")
    monkeypatch.setattr("srdeploy.exporting.onnx.graph.pixel_read", lambda *_: None)  # unnoticed
    with pytest.raises(SrdeployError, match="depends on the pixels of its input"):
        export(network(reader), "onnx", tmp_path / "net.onnx", sizes="40x32")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_coreml_is_held_to_the_same(precision: str, tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    path = tmp_path / "net.mlpackage"
    with pytest.raises(SrdeployError, match=r"at input 40x24, .* depends on the size") as refused:
        export(network(Branch(-1, 30)), "coreml", path, precision=precision, sizes="24x24,40x24")
    assert "or export for the one size you will run (--input 480x270)" in str(refused.value)
    assert not list(tmp_path.iterdir())
    report = export(network(Branch(-1, 100)), "coreml", path, precision=precision, sizes="120x104")
    assert report.parity is not None
    assert report.parity.sizes == [(104, 120)]
    report = export(network(Branch(-1, 100)), "coreml", path, precision=precision)
    assert report.parity is not None
    assert report.parity.sizes == [(256, 256)]
    assert any(note.startswith(f"{ONE_SIZE}, as its code depends on") for note in report.notes)


@pytest.mark.parametrize(
    ("target", "ending", "options"),
    [
        ("onnx", ".onnx", {}),
        ("onnx", ".onnx", {"exporter": "dynamo"}),
        ("onnx", ".onnx", {"precision": "fp16"}),
        ("coreml", ".mlpackage", {}),
    ],
)
def test_a_network_that_writes_into_its_input(
    target: str, ending: str, options: dict[str, Any], tmp_path: Path
) -> None:
    if target == "coreml":
        pytest.importorskip("coremltools")
    report = export(network(InPlace()), target, tmp_path / f"net{ending}", **options)
    assert report.parity is not None
    assert report.parity.relative < (1e-3 if options.get("precision") else 1e-6)
    assert report.quality is not None
    assert abs(report.quality["drop"]) < 0.01


def test_asking_a_network_leaves_the_question_alone() -> None:
    net = network(InPlace())
    x = photograph(net.card, (16, 24))
    kept = x.copy()
    run_torch(net, x)
    assert (x == kept).all()


@pytest.mark.parametrize("exporter", ["trace", "dynamo"])
def test_outputs_of_billions_are_judged_by_what_rounding_does(
    exporter: Any, tmp_path: Path
) -> None:
    report = export_onnx(network(Loud()), tmp_path / "net.onnx", exporter=exporter)
    assert report.parity is not None
    assert report.parity.relative <= TOLERANCE
    assert report.parity.light < 1
    with OnnxSession(tmp_path / "net.onnx", threads=1) as session:
        x = photograph(session.card, (136, 152))
        found, expected = session.run(x), run_torch(network(Loud()), x)
    assert np.abs(expected).max() > 1e8
    assert np.abs(found - expected).max() > TOLERANCE * np.abs(expected).max()  # rounding alone


def test_rounding_excuses_rounding_and_nothing_more() -> None:
    reference = Reference.of(network(Loud(gain=2.0)))
    (probe, *_) = reference.probes
    assert reference.exact is not None
    right = reference.exact(reference.input(probe))
    own = np.abs(reference.expected(probe) - right).max()
    assert own > 0
    within, beyond = right.copy(), right.copy()
    within[0, 0, 0, 0] += 0.9 * own * ROUNDING
    beyond[0, 0, 0, 0] += 1.1 * own * ROUNDING
    reach = np.abs(right).max()
    assert reference.rounding_explains(probe, within) == (0.9 * own * ROUNDING <= UNSURE * reach)
    assert not reference.rounding_explains(probe, beyond)
    assert not reference.rounding_explains(probe, np.full_like(right, np.nan))
    reference.exact = None
    assert not reference.rounding_explains(probe, right)


class Normalised(Loud):
    """Dimming changes nothing for it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / x.amax((1, 2, 3), keepdim=True))


def test_outputs_that_rounding_alone_moves_are_not_proven(tmp_path: Path) -> None:
    with pytest.raises(SrdeployError, match=r"rounding to float32 alone moves .* by \d") as refused:
        export_onnx(network(Normalised()), tmp_path / "net.onnx")
    assert "fine-tune it before it is exported" in str(refused.value)
    assert "depends on" not in str(refused.value)
    assert not list(tmp_path.iterdir())


class Exploding(Loud):
    """The same, and no number of it is folded into a weight, which would round that otherwise."""

    def forward(self, x: Tensor) -> Tensor:
        return self.mixed(x / x.amax((1, 2, 3), keepdim=True))


def test_outputs_that_rounding_alone_moves_are_compared_in_float64(tmp_path: Path) -> None:
    report = export(network(Exploding(6.0)), "onnx", tmp_path / "net.onnx")
    assert report.parity is not None
    assert report.parity.in_float64
    assert report.parity.relative > TOLERANCE  # rounding alone
    other = network(Exploding(6.0))
    with torch.no_grad():
        other.module.get_parameter("blocks.2.weight").mul_(1 + 1e-5)
    with pytest.raises(SrdeployError, match="rounding to float32 alone moves"):
        check_parity(other, tmp_path / "net.onnx")


def test_a_wrong_weight_shows_on_dimmed_photographs() -> None:
    net, other = network(Loud()), network(Loud())
    with torch.no_grad():
        other.module.get_parameter("blocks.2.weight").mul_(1.001)
    reference = Reference.of(net)
    assert max(reference.rounding(probe) or 0 for probe in reference.probes) > QUIET
    assert check_parity_of(reference, partial(run_torch, net), TOLERANCE, what="It").sizes
    with pytest.raises(SrdeployError, match="report this network"):
        check_parity_of(reference, partial(run_torch, other), TOLERANCE, what="It")


def test_a_network_of_particular_sizes(tmp_path: Path) -> None:
    net = network(Particular())
    assert all(min(p.size) >= 40 and not (p.size[0] | p.size[1]) % 8 for p in usual_probes(net))
    report = export(net, "onnx", tmp_path / "net.onnx")
    assert report.parity is not None
    assert max(max(size) for size in report.parity.sizes) >= 128
    pytest.importorskip("coremltools")
    assert export(net, "coreml", tmp_path / "net.mlpackage").parity is not None


def test_a_network_of_one_image_makes_a_file_of_one_image(tmp_path: Path) -> None:
    export(network(Single()), "onnx", tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    for end in (model.graph.input[0], model.graph.output[0]):
        assert end.type.tensor_type.shape.dim[0].dim_value == 1
    with OnnxSession(tmp_path / "net.onnx", threads=1) as session:
        x = photograph(session.card, (30, 22))
        np.testing.assert_allclose(session.run(x), run_torch(network(Single()), x), atol=1e-5)


def test_a_fault_of_ours_is_called_one() -> None:
    reference = Reference.of(network(Plain()))

    def wrong(x: NDArray[np.float32]) -> NDArray[np.float32]:
        return reference.answer(x) + np.float32(0.1)

    with pytest.raises(SrdeployError, match="report this network, it is a fault in the export"):
        check_parity_of(reference, wrong, TOLERANCE, what="The file")


@pytest.mark.parametrize("harm", ["shape", "run"])
def test_a_file_that_runs_at_one_size_only(harm: str) -> None:
    reference = Reference.of(network(Plain()))

    def baked(x: NDArray[np.float32]) -> NDArray[np.float32]:
        y = reference.answer(x)
        if x.shape[2:] == (24, 20):
            return y
        if harm == "run":
            raise UserError("'net' failed on {it}.")
        return y[..., :48, :40]

    words = "does not run on 29x17, unlike torch" if harm == "run" else "makes of 29x17 an image"
    with pytest.raises(SrdeployError, match=f"{words}.* depends on the size of its input"):
        check_parity_of(reference, baked, TOLERANCE, what="The file")


def test_an_fp32_artifact_that_loses_on_images_is_refused(tmp_path: Path) -> None:
    """What no probe shows, the images that it is measured on do: they are 36 pixels high."""

    class Content(Plain):
        def forward(self, x: Tensor) -> Tensor:
            image = nn.functional.interpolate(x, scale_factor=2.0, mode="nearest")
            return image if x.shape[-2] != 36 else image * 0.9 + 0.05

    class Hidden(Content):  # it reads a pixel, so its ways cannot be looked at
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x + 0 * float(x[0, 0, 0, 0]))

    with pytest.raises(SrdeployError, match=r"In fp32 the artifact has .* another one") as refused:
        export(network(Hidden()), "onnx", tmp_path / "net.onnx")
    assert "report" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_an_older_file_stays_when_the_new_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"older")
    with pytest.raises(SrdeployError):
        export(network(Normalised()), "onnx", tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").read_bytes() == b"older"
    assert [p.name for p in tmp_path.iterdir()] == ["net.onnx"]


def test_sparse_and_fine_tuned_forms_are_held_to_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    smsr = create("smsr", n_modules=1, n_layers=2, n_feats=8)
    report = export_onnx(smsr, tmp_path / "net.onnx", sparse=True)
    assert report.parity is not None
    assert (136, 152) in report.parity.sizes


def test_folding_names_the_size_at_which_it_fails() -> None:
    class Ranged(Branch):
        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            y = torch.sigmoid(y) if x.shape[-1] > 100 else torch.relu(y)
            return nn.functional.pixel_shuffle(self.last(y), 2)

    module = Ranged(-1, 100)
    module.last = nn.Conv2d(12, 12, 3, padding=1)
    net = network(module)
    net = Network(net.module, net.card.model_copy(update={"value_range": 255.0}))
    with pytest.raises(SrdeployError, match="at input 152x136, though not at a smaller") as refused:
        fold_range(net)
    assert "report" not in str(refused.value)
