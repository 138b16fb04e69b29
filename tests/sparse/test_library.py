"""SMSR in C: it gives what the Python engine gives, whatever kernel, size, batch and threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.models.smsr.network import SMSR
from srdeploy.sparse import library
from srdeploy.sparse.calibrate import steps
from srdeploy.sparse.compiler import Unavailable
from srdeploy.sparse.engine import SparseEngine
from srdeploy.sparse.library import LoadedModel, build_steps, kernels_here, kernels_of
from srdeploy.sparse.model_file import model_bytes
from srdeploy.sparse.model_weights import model_weights
from tests.sparse import nets
from tests.sparse.published import published, set5
from tests.sparse.test_forms import CASES, TOLERANCE


def here() -> list[str]:
    """The kernels of this machine; none without a compiler."""
    try:
        return kernels_here()
    except Unavailable:
        return []


pytestmark = pytest.mark.skipif(not here(), reason="needs a C compiler")


def write(module: SMSR, path: Path, precision: str = "fp32") -> Path:
    """A model file of a network; the grids of its bytes are found on an image of the tests."""
    card = Card(
        arch="smsr", scale=module.scale, scales=(module.scale,), channels=3, value_range=255.0
    )
    grids = steps(module, [nets.image(24, 26)]) if precision == "int8" else []
    path.write_bytes(model_bytes(card, *model_weights(module, precision, grids)))
    return path


def largest_gap(module: SMSR, model: LoadedModel, x: torch.Tensor) -> float:
    """From what the network itself gives."""
    with torch.inference_mode():
        expected = module(x).numpy()
    found = model.run(x.numpy())
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max())


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("kernel", here())
def test_it_equals_the_network(case: dict, kernel: str, tmp_path: Path) -> None:
    module = nets.network(**case)
    with LoadedModel(write(module, tmp_path / "net.smsr"), 1, kernel) as model:
        assert (model.scale, model.kernel) == (module.scale, kernel)
        # Sizes follow each other in one memory: small after large, odd ones, batches.
        for height, width, batch in ((40, 31, 1), (13, 9, 2), (1, 1, 1), (2, 17, 1), (24, 26, 1)):
            x = nets.image(height, width, batch)
            assert largest_gap(module, model, x) < TOLERANCE


def test_kernels_and_threads_agree(tmp_path: Path) -> None:
    path = write(nets.network(), tmp_path / "net.smsr")
    x = nets.image(61, 47, 2).numpy()
    with LoadedModel(path, 1, here()[0]) as model:
        expected, told = model.run(x), model.choices
    assert all(0.05 < density < 0.95 and form == "rows" for density, form in told)
    for kernel in here():
        for threads in (1, 2, 5):
            with LoadedModel(path, threads, kernel) as model:
                found = model.run(x)
                assert np.abs(found - expected).max() < 1e-4 * 255
                assert model.choices == told
                if threads == 1:
                    assert np.array_equal(model.run(x), found)


def test_it_equals_the_engine(tmp_path: Path) -> None:
    """The same masks, and the same pixels but for rounding."""
    module = nets.network(scale=3)
    engine = SparseEngine(module, form="rows")
    x = nets.image(37, 52)
    expected = engine(x).numpy()
    with LoadedModel(write(module, tmp_path / "net.smsr"), 2) as model:
        assert np.abs(model.run(x.numpy()) - expected).max() < 1e-4 * 255
        densities = [density for density, _ in model.choices]
    assert densities == pytest.approx([engine.choices[0].density, engine.choices[3].density])


def test_widths_of_their_own(tmp_path: Path) -> None:
    """A pruned network: no two layers are alike, and modules differ."""
    module = nets.uneven()
    with LoadedModel(write(module, tmp_path / "net.smsr"), 2) as model:
        for size in ((20, 33), (7, 6)):
            assert largest_gap(module, model, nets.image(*size)) < TOLERANCE


def test_without_a_shift_of_colours(tmp_path: Path) -> None:
    module = nets.network()
    module.mean = None
    with LoadedModel(write(module, tmp_path / "net.smsr"), 1) as model:
        assert largest_gap(module, model, nets.image(9, 12)) < TOLERANCE


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_published_weights_on_set5(scale: int, shared_data: Path, tmp_path: Path) -> None:
    """Whole images and odd ones: the engine's masks, and its pixels to 1e-4 of 255.

    Of Set5 two images; tests/emulated has the runner on all of them.
    """
    module = published(shared_data, scale)
    engine = SparseEngine(module, form="rows")
    path = write(module, tmp_path / "net.smsr")
    for kernel in here():
        images = set5(shared_data, scale)[2::2]
        with LoadedModel(path, 2, kernel) as model:
            for image in images if kernel == here()[-1] else images[:1]:
                for x in (image, image[:, :, :-1, :-1]):
                    expected = engine(x).numpy()
                    assert np.abs(model.run(x.numpy()) - expected).max() < 1e-4 * 255
                    told = [density for density, _ in model.choices]
                    assert told == pytest.approx([c.density for c in engine.choices[::4]])


def test_what_cannot_be_had(tmp_path: Path) -> None:
    path = write(nets.network(), tmp_path / "net.smsr")
    with pytest.raises(UserError, match="This processor has no kernel 'sve'"):
        LoadedModel(path, 1, "sve")
    with pytest.raises(UserError, match="Threads must be 1 to 1024, not 0"):
        LoadedModel(path, 0)
    with pytest.raises(UserError, match=r"Cannot read '.*none\.smsr': No such file"):
        LoadedModel(tmp_path / "none.smsr", 1)
    with LoadedModel(path, 1) as model:
        model.close()


def test_memory_is_asked_for_before_it_is_taken(tmp_path: Path) -> None:
    path = write(nets.network(), tmp_path / "net.smsr")
    none = np.zeros(0, np.float32)
    with LoadedModel(path, 1) as model:
        run = model._library.smsr_run
        for height, width, told in (
            (16000, 16000, b"There is not enough memory: an image of 16000x16000 pixels takes"),
            (1 << 20, 1, b"An image of 1x1048576 pixels is larger than any that this can run."),
            (60000, 60000, b"is larger than any that this can run."),
        ):
            error = library.ctypes.create_string_buffer(400)
            assert run(model._net, none, 1, height, width, none, error) == -1
            assert told in error.value
        x = nets.image(5, 5).numpy()
        assert np.isfinite(model.run(x)).all()


def test_an_old_compiler_leaves_kernels_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flags of which it knows nothing: the quickest kernel is one of the others."""
    table = {"plain": [], here()[-1]: ["-mno-such-processor"]}
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path))
    monkeypatch.setattr(library, "kernels_of", lambda arch: table)
    library.load_library.cache_clear()
    try:
        with LoadedModel(write(nets.network(), tmp_path / "net.smsr"), 1) as model:
            assert model.kernel == kernels_here()[0] == kernels_here()[-1] == "plain"
    finally:
        library.load_library.cache_clear()


@pytest.mark.slow
def test_every_kernel_of_this_processor_is_compiled() -> None:
    steps = build_steps("cc", Path("/folder"), Path("/target"))
    words = [word for step in steps for word in step[0]]
    names = [word.partition("=")[2] for word in words if word.startswith("-DSRDEPLOY_KERNEL")]
    assert set(here()) <= set(names)
    assert [step[0][-1] for step in steps] == [*(f"/folder/{name}.o" for name in names), "/target"]
    assert kernels_of("x86_64")["avx2"] == ["-mavx2", "-mfma"]
    assert list(kernels_of("aarch64")) == ["neon", "dotprod", "i8mm", "bf16"]
    assert kernels_of("riscv64") == {"plain": []}
