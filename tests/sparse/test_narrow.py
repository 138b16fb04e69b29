"""Numbers of 16 and 8 bits in C: every kernel gives the same bytes, and what a network computes."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from srdeploy.sparse.compiler import SOURCES, build_library
from srdeploy.sparse.library import PORTABLE, LoadedModel, load_library
from tests.sparse import nets
from tests.sparse.test_library import here, write

pytestmark = pytest.mark.skipif(not here(), reason="needs a C compiler")

Bytes = NDArray[np.uint8]


@pytest.fixture(scope="module")
def check() -> ctypes.CDLL:
    """The test's own C function, linked with the library."""
    source, library = Path(__file__).with_name("narrow_check.c"), load_library()._name
    flags = ["-std=gnu11", "-O1", "-fPIC", "-shared", f"-I{PORTABLE}"]
    made = build_library(
        "check",
        [source, SOURCES / "kernel.h", *sorted(PORTABLE.glob("*.h"))],
        lambda cc, _, target: [[[cc, *flags, str(source), library, "-o", str(target)]]],
    )
    found = ctypes.CDLL(str(made))
    array, size = np.ctypeslib.ndpointer, ctypes.c_int64
    real, numbers = ctypes.c_float, array(np.uint8)
    found.check_bytes.argtypes = [
        ctypes.c_char_p, ctypes.c_int, array(np.float32), size, size, real, size, real, numbers,
        numbers, size, array(np.int32), size, size, array(np.float64),
    ]  # fmt: skip
    return found


def by_numpy(
    x: Bytes, matrix: NDArray[np.float32], step: np.float32, zero: int, inverse: np.float32,
    rows: NDArray[np.int32], line: int,
) -> tuple[Bytes, NDArray[np.float64]]:  # fmt: skip
    """The same by whole numbers, then one float32 operation after the other."""
    n_in = len(matrix) // 9
    scaled = matrix * step
    factor = np.abs(scaled).max(0) / np.float32(127)
    weights = np.rint(scaled / factor).astype(np.int64)
    shifts = [(t // 3 - 1) * line + t % 3 - 1 for t in range(9)]
    patches = np.concatenate([x[rows + shift, :n_in] for shift in shifts], 1).astype(np.int64)
    y = ((patches - zero) @ weights).astype(np.float32) * factor
    y = np.maximum(y, 0)
    return np.rint(np.clip(y * inverse, 0, 255)).astype(np.uint8), y.astype(np.float64).sum(0)


@pytest.mark.parametrize(
    ("n_in", "n_out", "zero"), [(1, 1, 0), (7, 5, 128), (64, 64, 128), (64, 20, 0), (33, 100, 0)]
)
def test_every_kernel_gives_the_same_bytes(
    check: ctypes.CDLL, n_in: int, n_out: int, zero: int
) -> None:
    chance = np.random.default_rng(n_in)
    line, height, ld = 40, 30, 112
    x = chance.integers(0, 256, (line * (height + 2) + 20, ld), np.uint8)
    matrix = chance.standard_normal((9 * n_in, n_out)).astype(np.float32)
    step, inverse = np.float32(0.37), np.float32(0.6 / n_in**0.5)
    every = np.arange(line + 1, line * (height + 1) - 1, dtype=np.int32)
    kept = chance.random(len(every)) < np.repeat([0.3, 1.0, 0.9], len(every) // 3 + 1)[: len(every)]
    rows = every[kept]
    expected, total = by_numpy(x, matrix, step, zero, inverse, rows, line)
    assert 0.1 < (expected > 0).mean() < 0.99
    for kernel in here():
        for threads in (1, 3):
            out = np.full_like(x, 77)
            sums = np.zeros(4096)
            done = check.check_bytes(
                kernel.encode(), threads, matrix, n_in, n_out, step, zero, inverse, x, out, ld,
                rows, len(rows), line, sums,
            )  # fmt: skip
            assert done == 0
            assert np.array_equal(out[rows, :n_out], expected), kernel
            assert (out[rows, n_out:] == 0).all()
            assert (np.delete(out, rows, 0) == 77).all()
            np.testing.assert_allclose(sums[:n_out], total, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize("kernel", here())
def test_a_network_in_few_bits(precision: str, kernel: str, tmp_path: Path) -> None:
    """Against itself in fp32, on masks of every kind: the masks agree but for a few pixels."""
    modules = [nets.network(dense=(5, 0, 12)), nets.uneven()]
    limit = {"fp16": 0.05, "bf16": 0.3, "int8": 0.5}[precision]
    for module in modules:
        exact = write(module, tmp_path / "exact.smsr")
        narrow = write(module, tmp_path / "narrow.smsr", precision)
        with LoadedModel(exact, 1) as one, LoadedModel(narrow, 2, kernel) as other:
            assert other.precision == precision
            for size in ((40, 31, 1), (13, 9, 2), (1, 1, 1), (24, 26, 1)):
                x = nets.image(*size).numpy()
                gap = np.abs(one.run(x) - other.run(x))
                assert gap.mean() < limit
                if x[0, 0].size > 500:
                    told = [[d for d, _ in model.choices] for model in (one, other)]
                    assert told[1] == pytest.approx(told[0], abs=0.03)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_threads_change_nothing_but_the_order_of_sums(precision: str, tmp_path: Path) -> None:
    path = write(nets.uneven(), tmp_path / "net.smsr", precision)
    x = nets.image(61, 47).numpy()
    for kernel in here():
        with LoadedModel(path, 1, kernel) as model:
            expected = model.run(x)
            assert np.array_equal(model.run(x), expected)
        with LoadedModel(path, 4, kernel) as model:
            assert np.abs(model.run(x) - expected).max() < 0.05
