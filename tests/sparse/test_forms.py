"""Every form of SMSR gives what the network itself gives."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from srdeploy.models.smsr.dense import BicubicConv, DenseMasks
from srdeploy.models.smsr.pack import pack
from srdeploy.sparse.backend import choose_backend
from srdeploy.sparse.compiler import Unavailable
from srdeploy.sparse.costs import MARGIN, CostLine, FormCosts
from srdeploy.sparse.engine import SparseEngine
from srdeploy.sparse.gathered import GatheredModule
from srdeploy.sparse.native import load_kernel
from tests.sparse import nets

TOLERANCE = 0.01  # of 255: random weights round worse than trained ones (5e-5)
CASES = [
    {"density": 0.4},
    {"density": 0.0},
    {"density": 1.0},
    {"dense": (0, 0, 0)},
    {"dense": (12, 12, 12)},
    {"dense": (12, 0, 12)},
    {"dense": (0, 12, 4)},
    {"dense": (3, 12, 0), "scale": 3},
    {"scale": 4, "density": 0.1},
]


def backends() -> list[str]:
    """Those that this machine has."""
    try:
        load_kernel()
    except Unavailable:
        return ["torch"]
    return ["native", "torch"]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("form", ["rows", "dense"])
@pytest.mark.parametrize("backend", backends())
def test_engine_equals_network(case: dict, form: str, backend: str) -> None:
    module = nets.network(**case)
    engine = SparseEngine(module, backend=backend, form=form)
    for height, width, batch in ((24, 26, 1), (13, 9, 2), (1, 1, 1), (40, 31, 1)):
        x = nets.image(height, width, batch)
        with torch.inference_mode():
            expected = module(x)
        found = engine(x)
        assert found.shape == expected.shape
        assert float((found - expected).abs().max()) < TOLERANCE
        assert len(engine.choices) == batch * 2 * 3
        assert {choice.form for choice in engine.choices} == {form}


@pytest.mark.parametrize("backend", backends())
def test_modules_need_not_be_alike(backend: str) -> None:
    """As pruning leaves them; a module's features must not be laid out by another's widths."""
    module = nets.uneven()
    for form in ("rows", "dense"):
        engine = SparseEngine(module, backend=backend, form=form)
        for size in ((20, 33), (7, 6)):
            x = nets.image(*size)
            with torch.inference_mode():
                assert float((engine(x) - module(x)).abs().max()) < TOLERANCE


def test_cheaper_form_is_chosen() -> None:
    module = nets.network()
    engine = SparseEngine(module, backend=backends()[0])
    x = nets.image(30, 21)
    for full_ms, dense_ms in ((1.0, 2.0), (2.0, 0.1), (1.0, 0.4)):
        engine.costs = FormCosts(CostLine(0, 0), CostLine(full_ms, 0), CostLine(dense_ms, 0))
        with torch.inference_mode():
            assert float((engine(x) - module(x)).abs().max()) < TOLERANCE
        for choice in engine.choices:
            cheaper = "rows" if choice.density * full_ms <= MARGIN * dense_ms else "dense"
            assert choice.form == cheaper


@pytest.mark.parametrize("case", CASES, ids=str)
def test_dense_masks_equal_network(case: dict) -> None:
    module = nets.network(**case)
    for portable in (False, True):
        dense = DenseMasks(module, portable)
        for size in ((24, 26, 2), (13, 9, 1)):
            x = nets.image(*size)
            with torch.inference_mode():
                difference = (dense(x) - module(x)).abs().max()
            assert float(difference) < TOLERANCE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gathered_module_equals_dense_module(case: dict) -> None:
    module = nets.network(**case)
    for packed, dense in zip(pack(module), DenseMasks(module).body, strict=True):
        gathered = GatheredModule(packed)
        x = torch.randn(2, 12, 11, 14)
        for mask in (torch.zeros(2, 1, 11, 14), (torch.rand(2, 1, 11, 14) < 0.4).float()):
            with torch.inference_mode():
                difference = (gathered.masked(x, mask) - dense.masked(x, mask)).abs().max()
            assert float(difference) < 1e-5


def test_masks_really_divide() -> None:
    """The cases above would prove little if the masks were all alike."""
    engine = SparseEngine(nets.network(density=0.4), backend="torch", form="rows")
    engine(nets.image(24, 26))
    densities = {choice.density for choice in engine.choices}
    assert all(0.05 < density < 0.95 for density in densities)


def test_wrong_kernel_is_noticed() -> None:
    """A channel order that pack got wrong must show in the comparison."""
    module = nets.network()
    engine = SparseEngine(module, backend="torch", form="rows")
    x = nets.image(24, 26)
    with torch.no_grad():
        module.body[0].body.collect.weight.copy_(module.body[0].body.collect.weight.flip(1))
        difference = (engine(x) - module(x)).abs().max()
    assert float(difference) > TOLERANCE


def test_engine_reuses_memory_over_sizes() -> None:
    """Borders must be zero again when a smaller image follows a larger one."""
    module = nets.network()
    engine = SparseEngine(module, backend=backends()[0], form="rows")
    for size in ((30, 40), (9, 11), (30, 40), (17, 5)):
        x = nets.image(*size)
        with torch.inference_mode():
            assert float((engine(x) - module(x)).abs().max()) < TOLERANCE


def test_pruned_widths() -> None:
    """Layers of different widths, as pruning leaves them."""
    module = nets.network(dense=(4, 2, 1))
    widths = (9, 7, 12)
    with torch.no_grad():
        for one in module.mask_modules():
            before = 12
            for index, width in enumerate(widths):
                layer, channels = one.body.body[index], one.body.ch_mask[index]
                layer.weight = torch.nn.Parameter(layer.weight[:width, :before].clone())
                layer.out_channels, layer.in_channels = width, before
                channels.dense = torch.nn.Parameter(channels.dense[:, :width].clone())
                channels.sparse = torch.nn.Parameter(channels.sparse[:, :width].clone())
                before = width
            collect = one.body.collect
            collect.weight = torch.nn.Parameter(collect.weight[:, : sum(widths)].clone())
            collect.in_channels = sum(widths)
    x = nets.image(15, 18)
    for backend in backends():
        engine = SparseEngine(module, backend=backend, form="rows")
        with torch.inference_mode():
            assert float((engine(x) - module(x)).abs().max()) < TOLERANCE


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_as_convolution(scale: int) -> None:
    x = torch.rand(2, 3, 7, 9) * 255
    expected = functional.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)
    assert float((BicubicConv(scale)(x) - expected).abs().max()) < 1e-3


def test_unknown_names() -> None:
    with pytest.raises(ValueError, match="fast"):
        choose_backend("fast")
    with pytest.raises(ValueError, match="tiles"):
        SparseEngine(nets.network(), backend="torch", form="tiles")


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    load_kernel.cache_clear()
    try:
        found = choose_backend()
        assert found.name == "torch"
        assert "no-such-compiler" in found.reason
        with pytest.raises(Unavailable):
            choose_backend("native")
    finally:
        load_kernel.cache_clear()
