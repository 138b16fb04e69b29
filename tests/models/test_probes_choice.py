"""Which photographs and sizes are probed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.models import (
    probes,
)


@pytest.mark.parametrize(("channels", "value_range"), [(1, 1.0), (3, 255.0), (4, 1.0), (3, 2.0)])
def test_photographs(channels: int, value_range: float) -> None:
    card: Any = SimpleNamespace(channels=channels, value_range=value_range)
    x = probes.photograph(card, (20, 30), 3)
    assert (x.shape, x.dtype) == ((3, channels, 20, 30), np.float32)
    assert x.flags.c_contiguous
    assert 0.5 * value_range < x.max() <= value_range
    assert x.min() >= 0
    scaled = probes.photograph(SimpleNamespace(channels=4, value_range=value_range), (20, 30), 3)  # type: ignore[arg-type]
    np.testing.assert_array_equal(x, scaled[:, :channels] if channels > 1 else scaled[:, 3:])
    assert not np.array_equal(x[0], x[1])


def test_many_photographs_differ_even_where_there_is_one_piece() -> None:
    card: Any = SimpleNamespace(channels=3, value_range=255.0)
    for size in ((16, 16), (700, 700)):
        x = probes.photograph(card, size, 6)
        assert len({image.tobytes() for image in x}) == 6


def test_candidates_begin_with_the_size_itself_and_grow() -> None:
    found = probes._candidates((17, 29), 1)
    assert found[0] == (17, 29)
    areas = [h * w for h, w in found[1:]]
    assert areas == sorted(areas)
    assert max(map(max, found)) <= 256
    assert {(18, 30), (32, 32), (128, 128)} <= set(found)
    found = probes._candidates((17, 29), 4)
    assert found[0] == (20, 32)
    assert all(h % 4 == 0 == w % 4 for h, w in found)
    assert max(map(max, probes._candidates((136, 152), 1))) <= 304
    assert probes._candidates((12, 12), 300)[0] == (300, 300)


def test_the_probes_are_small_odd_large_tall_and_wide() -> None:
    sizes = probes.PROBE_SIZES
    assert min(map(min, sizes)) <= 12
    assert max(map(min, sizes)) >= 128
    assert any(h % 2 and w % 2 for h, w in sizes)
    assert {(h > w) - (h < w) for h, w in sizes} == {-1, 0, 1}
    assert probes.BATCH_SIZE > 1
