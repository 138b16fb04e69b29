"""What a GPU adds to training; on a CPU, as much of it as a CPU can show."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.train.hooks import StepHook
from srdeploy.train.interrupt import TrainingStopped
from srdeploy.train.loop import train
from srdeploy.train.patches import FolderPatches
from srdeploy.train.precision import exact_float32, mixed
from srdeploy.train.recipe import TrainRecipe
from srdeploy.train.run import Run

Make = Callable[..., TrainRecipe]

gpu = pytest.mark.gpu
needs_gpu = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch finds no NVIDIA GPU on this machine"
)


class Decay(StepHook):
    def __init__(self, stop_at: int = -1) -> None:
        self.stop_at = stop_at

    def before_step(self, module: nn.Module, iteration: int) -> None:
        if self.stop_at >= 0:
            if iteration == self.stop_at:
                os.kill(os.getpid(), signal.SIGTERM)
            return
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter.grad += 0.1 * parameter.detach()


def assert_close(a: Network, b: Network, rtol: float, atol: float) -> None:
    theirs = b.module.state_dict()
    for name, tensor in a.module.state_dict().items():
        torch.testing.assert_close(tensor, theirs[name], rtol=rtol, atol=atol, msg=name)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_training_is_the_same(
    tiny: Network, recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """The whole network is captured as one graph, pixel layers and autocast included."""
    settings = recipe(iterations=6, ema=0.9, precision=precision)
    plain = train(tiny, settings, tmp_path / "plain", hooks=[Decay()])
    graphs: list[torch.fx.GraphModule] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    compiler = partial(torch.compile, backend=backend, fullgraph=True)
    monkeypatch.setattr(torch, "compile", compiler)
    compiled = train(
        tiny, settings.model_copy(update={"compile": True}), tmp_path / "compiled", hooks=[Decay()]
    )
    assert len(graphs) == 1
    assert compiled.module.state_dict().keys() == plain.module.state_dict().keys()
    assert_close(compiled, plain, rtol=0, atol=0)


def test_compiling_may_be_switched_on_resuming(
    tiny: Network, recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    whole = train(tiny, recipe(iterations=6), tmp_path / "whole")
    with pytest.raises(TrainingStopped):
        train(tiny, recipe(iterations=6), tmp_path / "run", hooks=[Decay(stop_at=2)])
    resumed = train(tiny, recipe(iterations=6, compile=True), tmp_path / "run", hooks=[StepHook()])
    assert_close(resumed, whole, rtol=0, atol=0)


def test_optimisers_are_fused_and_layout_is_kept(tiny: Network, recipe: Make) -> None:
    settings = recipe()
    run = Run(tiny, settings, [])
    assert all(group["fused"] for group in run.optimiser.param_groups)
    batch = FolderPatches(tiny.card, settings).batch(0)
    inputs, targets = batch.to(torch.device("cpu"))
    for tensor in (inputs, targets, run.module.get_parameter("body.0.body.0.weight")):
        assert tensor.is_contiguous(memory_format=torch.channels_last)


def test_exact_float32_is_put_back() -> None:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    with exact_float32():
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.benchmark
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark) == before


@gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_gpu_follows_cpu(tiny: Network, recipe: Make, tmp_path: Path, precision: str) -> None:
    settings = recipe(iterations=20, ema=0.9, clip={"kind": "norm", "limit": 1.0})
    on_cpu = train(tiny, settings.model_copy(update={"device": "cpu"}), tmp_path / "cpu")
    faster = settings.model_copy(update={"device": "cuda", "precision": precision})
    on_gpu = train(tiny, faster, tmp_path / "gpu")
    tolerance = 1e-3 if precision == "fp32" else 2e-2
    assert_close(on_gpu, on_cpu, rtol=tolerance, atol=tolerance)


@gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize(
    "clip", [{}, {"kind": "norm", "limit": 1.0}, {"kind": "value", "limit": 1}]
)
def test_no_step_waits_for_the_gpu(
    tiny: Network, recipe: Make, precision: str, clip: dict[str, object]
) -> None:
    settings = recipe(device="cuda", ema=0.9, precision=precision, clip=clip)
    run = Run(tiny, settings, [])
    source = FolderPatches(tiny.card, settings)
    with exact_float32(), mixed(run.module, precision, run.device):
        run.advance(source.batch(0).pinned())
        torch.cuda.synchronize()
        try:
            torch.cuda.set_sync_debug_mode("error")
            for iteration in range(1, 4):
                run.advance(source.batch(iteration).pinned())
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert run.is_finite()


@gpu
@needs_gpu
def test_pinned_batches_keep_their_layout(tiny: Network, recipe: Make) -> None:
    batch = FolderPatches(tiny.card, recipe()).batch(3)
    pinned = batch.pinned()
    assert pinned.inputs.is_pinned()
    assert pinned.inputs.stride() == batch.inputs.stride()
    assert torch.equal(pinned.targets, batch.targets)


@gpu
@needs_gpu
def test_compiled_on_a_gpu(recipe: Make, tmp_path: Path) -> None:
    network = create("ledsr", scale=2, n_blocks=2, n_feats=16)
    settings = recipe(device="cuda", iterations=10, precision="bf16")
    plain = train(network, settings, tmp_path / "plain")
    compiled = train(network, settings.model_copy(update={"compile": True}), tmp_path / "compiled")
    assert_close(compiled, plain, rtol=2e-2, atol=2e-2)
