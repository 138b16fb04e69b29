"""Axes that can be written as one."""

import math

from srdeploy.exporting.axes import merged


def test_neighbours_are_one_axis() -> None:
    assert merged([(2, 3, 4)]) == [[0, 1, 2]]
    assert merged([(2, 3, 4), (2, 1, 4)]) == [[0], [1], [2]]
    assert merged([(2, 3, 1, 4)], own=[1]) == [[0], [1], [2, 3]]
    assert math.prod(len(run) for run in merged([(2, 3, 4, 5), (1, 1, 4, 5)])) == 4
