from __future__ import annotations

import pytest
from pydantic import ValidationError

from srdeploy.fitting.table import KindTable, LatencyTable
from srdeploy.fitting.uses import LayerKind

KIND = LayerKind((3, 3), 1, 1.0, "Relu")


def _ms(a: int, b: int) -> float:
    return 0.1 + 0.01 * a + 0.02 * b + 0.003 * a * b


def _table() -> KindTable:
    narrow, wide = (8, 24, 32), (8, 24, 32, 64)
    return KindTable(
        kind=KIND,
        narrow=narrow,
        wide=wide,
        pair_ms=tuple(tuple(_ms(*sorted((a, b))) for b in wide) for a in narrow),
        base_ms=tuple(0.5 + 0.1 * a for a in narrow),
    )


@pytest.mark.parametrize(("inputs", "outputs"), [(8, 8), (16, 16), (16, 48), (40, 8)])
def test_between_the_grid_points_a_convolution_is_bilinear(inputs: int, outputs: int) -> None:
    low, high = sorted((inputs, outputs))
    exact = inputs != outputs or low in (8, 24, 32)  # the grid is folded along its diagonal
    expected = pytest.approx(0.5 * _ms(low, high), rel=1e-9 if exact else 0.05)
    assert _table().layer_ms(inputs, outputs, block=8) == expected


def test_widths_are_filled_up_to_blocks_and_none_takes_nothing() -> None:
    table = _table()
    assert table.layer_ms(17, 30, 8) == table.layer_ms(24, 32, 8)
    assert table.layer_ms(0, 32, 8) == 0
    assert table.around_ms(25, 8) == pytest.approx(0.5 + 0.1 * 32)


def test_wider_layers_never_take_less_where_none_was_measured_to() -> None:
    table = _table()
    times = [[table.layer_ms(a, b, 8) for b in range(1, 65)] for a in range(1, 65)]
    assert all(row == sorted(row) for row in times)
    assert all(list(column) == sorted(column) for column in zip(*times, strict=True))


def test_a_table_is_plain_data() -> None:
    table = LatencyTable(
        device="local", model="a board", runtime=None, version="1.2", precision="fp32",
        threads=None, input=(32, 48), block=8, kinds=(_table(),),
    )  # fmt: skip
    assert LatencyTable.model_validate_json(table.model_dump_json()) == table
    assert table.of(KIND) == _table()
    assert table.of(LayerKind((1, 1), 1, 1.0, "")) is None


def test_a_table_with_holes_is_refused() -> None:
    with pytest.raises(ValidationError, match="every pair"):
        KindTable(kind=KIND, narrow=(8,), wide=(8, 16), pair_ms=((1.0,),), base_ms=(1.0,))
