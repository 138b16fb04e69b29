"""Products in one thread."""

import time

import numpy as np
import pytest

from srdeploy.video.product import product

SHAPES = [(3, 3, 1 << 20), (16, 40, 5000), (5000, 40, 16), (1, 3, 7)]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_product_and_takes_one_thread(shape: tuple[int, int, int]) -> None:
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    left = rng.standard_normal((rows, inner), dtype=np.float32)
    right = rng.standard_normal((columns, inner), dtype=np.float32).T
    out = np.full((rows, columns), np.nan, np.float32)
    whole, own = time.process_time(), time.thread_time()
    for _ in range(3):
        product(left, right, out)
    whole, own = time.process_time() - whole, time.thread_time() - own
    np.testing.assert_allclose(out, left.astype(float) @ right.astype(float), rtol=0, atol=2e-4)
    assert whole <= 1.3 * own + 0.02  # other threads had nothing to do
