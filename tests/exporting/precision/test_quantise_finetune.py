"""Fine-tuning for 8 bits and the export of it: what torch learned under is what the graph does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.exporting.onnx.export import export_onnx
from srdeploy.exporting.precision import write as stage
from srdeploy.exporting.precision.graph import constant, layers_of, with_outputs
from srdeploy.exporting.precision.quantise_finetune import calibrated, finetune_int8, steps_apart
from srdeploy.exporting.precision.quantise_graph import quantise
from srdeploy.exporting.precision.quantise_names import from_card, is_stale, to_card
from srdeploy.exporting.precision.quantise_ranges import runner
from srdeploy.exporting.probe import OUTPUT, run_torch
from srdeploy.models.card import Card
from srdeploy.models.network import Network
from srdeploy.models.probes import photograph
from srdeploy.models.quantised import Quantised, Range
from srdeploy.models.registry import create
from srdeploy.models.store import read_network, save_network
from srdeploy.quality.result import Quality
from srdeploy.runtime.inputs import network_inputs
from srdeploy.runtime.onnx.session import OnnxSession
from srdeploy.runtime.open import open_session
from srdeploy.train import loop
from srdeploy.train.fake_quant import as_rounded
from srdeploy.train.recipe import Quantise, TrainRecipe

LEARNED = "ranges as fine-tuning for 8 bits learned them"
NETWORKS: dict[str, dict[str, Any]] = {
    "vdsr": {"n_layers": 4, "n_feats": 4},
    "edsr": {"n_blocks": 2, "n_feats": 4, "res_scale": 0.1},  # its factor is folded into weights
    "ledsr": {"n_blocks": 2, "n_feats": 4},
    "rirsr": {"n_groups": 1, "n_blocks": 2, "n_feats": 4},
}


def made(arch: str, scale: int = 2, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return create(arch, scale=scale, **NETWORKS[arch])


def graph_of(network: Network, folder: Path, **options: Any) -> onnx.ModelProto:
    path = folder / "net.onnx"
    export_onnx(network, path, check=False, **options)
    return onnx.load(path)


def with_card(
    network: Network, model: onnx.ModelProto, chosen: set[str], seed: int, activations: Any
) -> Network:
    """A network with random intervals for the chosen layers of its graph on its card."""
    draw = np.random.default_rng(seed)
    tensors = {t for x in layers_of(model) if x.name in chosen for t in (*x.inputs, x.output)}
    reach = network.card.value_range
    ranges = {
        t: Range(-reach * float(draw.uniform(0, 1)), reach * float(draw.uniform(0.01, 2)))
        for t in sorted(tensors)
    }
    quantised = to_card(model, network, chosen, ranges, activations)
    return Network(network.module, network.card.model_copy(update={"quantised": quantised}))


@given(
    arch=st.sampled_from(sorted(NETWORKS)),
    scale=st.sampled_from([2, 4]),
    activations=st.sampled_from(["uint8", "int8"]),
    seed=st.integers(0, 99),
    share=st.sampled_from([0.3, 1.0]),
)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_torch_rounds_what_the_graph_rounds(
    tmp_path: Path, arch: str, scale: int, activations: Any, seed: int, share: float
) -> None:
    """Any layers, any intervals: every rounded tensor within one step, given equal inputs."""
    network = made(arch, scale, seed)
    model = graph_of(network, tmp_path)
    inner = [x.name for x in layers_of(model)[1:-1]]
    if arch == "edsr" and share < 1:  # a factor between a float layer and an 8-bit sum: refused
        share = 1.0
    draw = np.random.default_rng(seed).random(len(inner))
    chosen = {name for name, value in zip(inner, draw, strict=True) if value < share}
    if not chosen:
        return
    network = with_card(network, model, chosen, seed, activations)
    apart = steps_apart(network, model, photograph(network.card, (16, 12)))
    assert max(apart.values()) <= 1.01
    assert set(apart) == set(network.card.quantised.ranges)  # type: ignore[union-attr]


def test_the_comparison_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = calibrated(made("ledsr"), Quantise())
    model = graph_of(network, tmp_path)
    x = photograph(network.card, (16, 12))
    assert max(steps_apart(network, model, x).values()) <= 1.01
    from srdeploy.exporting.precision import quantise_finetune as module

    def other(card: Quantised) -> Any:  # torch would clip where the graph does not
        ranges = {name: (low / 2, high / 2) for name, (low, high) in card.ranges.items()}
        return fixed(card.model_copy(update={"ranges": ranges}))

    fixed = module.fixed
    monkeypatch.setattr(module, "fixed", other)
    assert max(steps_apart(network, model, x).values()) > 10
    with pytest.raises(SrdeployError, match="rounds otherwise than its exported graph"):
        calibrated(made("ledsr"), Quantise())


@pytest.mark.parametrize("arch", ["ledsr", "vdsr"])
def test_the_file_computes_what_was_trained(arch: str, tmp_path: Path) -> None:
    """The artifact as it ships, on integers, against the rounded network in torch."""
    network = calibrated(made(arch), Quantise())
    path = tmp_path / "net.onnx"
    export_onnx(network, path, precision="int8", check=False)
    inputs = network_inputs("builtin", network.card, patches=4)
    plain, rounded = network.copy(), as_rounded(network.copy())
    unit = network.card.value_range / 255
    with OnnxSession(path, threads=1) as session:
        for x in inputs:
            found = session.run(x)
            noise = np.abs(run_torch(plain, x) - found).mean()
            apart = np.abs(run_torch(rounded, x) - found)
            # Next to all agree to the bit; a value between two steps may fall to either side, and
            # one step of one tensor is about a pixel's here.
            assert apart.mean() < 0.1 * noise
            assert apart.max() < 2 * unit


def test_calibration_is_what_a_plain_export_does(tmp_path: Path) -> None:
    """Before any training, the two ways to 8 bits give the same graph."""
    network = made("edsr")
    plain = graph_of(network, tmp_path, precision="int8")
    start = graph_of(calibrated(network, Quantise()), tmp_path, precision="int8")
    assert [node.op_type for node in plain.graph.node] == [n.op_type for n in start.graph.node]
    for tensor in plain.graph.initializer:
        np.testing.assert_allclose(
            constant(plain.graph, tensor.name).astype(float),
            constant(start.graph, tensor.name).astype(float),
            rtol=1e-6,
            err_msg=tensor.name,
        )


def recipe(**changes: Any) -> TrainRecipe:
    values: dict[str, Any] = {
        "data": {"folders": ["builtin"]}, "scales": [2], "patch": 12, "batch": 2, "iterations": 6,
        "threads": 1, "workers": 0, "log_every": 3, "quantise": {"lr": 0.02},
        "optimiser": {"kind": "adam", "lr": 1e-3}, "distill": {"output": 1.0},
    }  # fmt: skip
    return TrainRecipe.model_validate(values | changes)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Network:
    folder = tmp_path_factory.mktemp("run")
    result = finetune_int8(made("ledsr"), recipe(), folder)
    save_network(result, folder / "tuned.safetensors")
    return read_network(folder / "tuned.safetensors")


@pytest.mark.parametrize("better", ["start", "end"])
def test_the_network_that_is_kept_has_the_ranges_of_its_weights(
    better: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    figures = [31.0, 30.0] if better == "start" else [30.0, 31.0]

    def evaluate(session: Any, *_: Any, **__: Any) -> Quality:
        seen.append(session.run(np.full((1, 3, 16, 16), 100.0, np.float32)))
        mean = {"psnr": figures[len(seen) - 1], "ssim": 0.9}
        return Quality(figures=mean, colour="y", protocol="psnr[y]", n_images=1)

    monkeypatch.setattr(loop, "evaluate", evaluate)
    network = made("ledsr")
    settings = recipe(iterations=2, validation={"data": "builtin", "every": 2})
    result = finetune_int8(network, settings, tmp_path)
    assert result.card.history[-1]["kept"]["iteration"] == (0 if better == "start" else 2)
    assert not is_stale(result)
    before = calibrated(network, Quantise())
    assert (result.card.quantised == before.card.quantised) == (better == "start")
    with open_session(as_rounded(before)) as session:  # what is measured first is in 8 bits
        x = np.full((1, 3, 16, 16), 100.0, np.float32)
        np.testing.assert_array_equal(seen[0], session.run(x))


def test_export_takes_the_learned_ranges_and_calibrates_nothing(
    tuned: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = calibrated(made("ledsr"), Quantise()).card.quantised
    found = tuned.card.quantised
    assert before is not None
    assert found is not None
    assert before.layers == found.layers
    assert before.ranges != found.ranges
    assert tuned.card.history[-1]["quantise"] == "int8, uint8 activations"

    def never(*_: object) -> None:
        raise AssertionError("calibrated")

    monkeypatch.setattr(stage, "watch", never)
    monkeypatch.setattr(stage, "network_inputs", never)
    path = tmp_path / "net.onnx"
    report = export_onnx(tuned, path, precision="int8")
    assert LEARNED in " ".join(report.notes)
    assert report.quality is not None
    model = onnx.load(path)
    plain = graph_of(tuned, tmp_path)
    trained = from_card(plain, tuned)
    assert trained is not None
    for layer in layers_of(plain):
        if layer.name in trained.layers:
            low, high = found.ranges[trained.names[layer.output]]
            scale, zero = Range(low, high).grid("uint8")
            assert constant(model.graph, f"{layer.output}_scale") == scale
            assert constant(model.graph, f"{layer.output}_zero") == zero


def test_asking_for_calibration_gets_it(tuned: Network, tmp_path: Path) -> None:
    report = export_onnx(
        tuned, tmp_path / "net.onnx", precision="int8", calibration_method="minmax", check=False
    )
    assert any(note.startswith("ranges by minmax from") for note in report.notes)


def test_mixed_calibrates_only_what_was_not_learned(tuned: Network, tmp_path: Path) -> None:
    report = export_onnx(tuned, tmp_path / "net.onnx", precision="mixed", max_drop=5.0)
    assert LEARNED in " ".join(report.notes)
    assert any("more tensors by mse" in note for note in report.notes)


def test_changed_weights_make_the_card_stale(tuned: Network, tmp_path: Path) -> None:
    changed = tuned.copy()
    with torch.no_grad():
        changed.module.get_parameter("body.2.weight").mul_(1.5)
    report = export_onnx(changed, tmp_path / "net.onnx", precision="int8", check=False)
    assert any("changed after fine-tuning for 8 bits" in note for note in report.notes)
    assert any(note.startswith("ranges by mse from") for note in report.notes)


def test_another_grid_than_was_trained_is_refused(tuned: Network, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fine-tuned for uint8 activations, not int8"):
        export_onnx(tuned, tmp_path / "net.onnx", precision="int8", activations="int8")
    assert not (tmp_path / "net.onnx").exists()


def test_float_exports_do_not_mind(tuned: Network, tmp_path: Path) -> None:
    for precision in ("fp32", "fp16"):
        report = export_onnx(tuned, tmp_path / "net.onnx", precision=precision, check=False)
        assert not any("8 bits" in note for note in report.notes)


def test_tuning_again_goes_on_from_what_was_learned(tuned: Network) -> None:
    assert calibrated(tuned, Quantise()).card.quantised == tuned.card.quantised
    symmetric = calibrated(tuned, Quantise(activations="int8")).card.quantised
    assert symmetric is not None
    assert symmetric.activations == "int8"


class Twice(nn.Module):
    """One layer used twice: its weights have one name in torch and two places in the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1)
        self.tail = nn.Conv2d(4, 12, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(torch.relu(self.body(self.head(x))))
        return torch.pixel_shuffle(self.tail(y), 2)


class Shallow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Conv2d(3, 12, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.pixel_shuffle(self.only(x), 2)


@pytest.mark.parametrize(
    ("module", "sentence"),
    [(Twice, "cannot be fine-tuned for 8 bits"), (Shallow, "nothing to fine-tune for 8 bits")],
)
def test_networks_that_cannot(module: type[nn.Module], sentence: str) -> None:
    torch.manual_seed(0)
    card = Card(arch="own:net", scale=2, scales=(2,), channels=3, value_range=255.0)
    with pytest.raises(SrdeployError, match=sentence):
        calibrated(Network(module().eval(), card), Quantise())


@pytest.mark.slow
def test_each_layer_alone_on_integers(shared_data: Path, tmp_path: Path) -> None:
    """Real weights: onnxruntime's integer kernels stay within one step of torch, layer by layer."""
    from srdeploy.models.load import load_network

    network = calibrated(
        load_network(shared_data / "weights" / "edsr_mlperf" / "edsr_f32b5_x2_pytorch.pt"),
        Quantise(),
    )
    model = graph_of(network, tmp_path)
    trained = from_card(model, network)
    assert trained is not None
    x = network_inputs("builtin", network.card, patches=1)[0]
    for layer in layers_of(model):
        if layer.name not in trained.layers:
            continue
        graph = quantise(model, [layer.name], trained.ranges)
        result = f"{layer.output}_dq"
        watched = with_outputs(graph, [result])
        step = float(trained.ranges[layer.output].grid("uint8")[0])
        integers, floats = (runner(watched, fuse=fuse)(x) for fuse in (True, False))
        apart = np.abs(integers[result] - floats[result]) / step
        # A sum's inputs are float here, and either may fall to another step before it is added.
        steps = [float(trained.ranges[t].grid("uint8")[0]) for t in layer.inputs if layer.is_sum]
        assert apart.max() <= 1.01 + sum(steps) / step, layer.name
        assert (apart > 0.5).mean() < 0.01, layer.name
        assert integers[OUTPUT].shape == floats[OUTPUT].shape
