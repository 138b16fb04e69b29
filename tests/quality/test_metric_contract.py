"""Every metric of the table keeps the contract, and what breaks it is found."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from srdeploy.quality.metrics import METRICS, Metric
from srdeploy.testing.metrics import check_metric


@pytest.mark.parametrize("name", METRICS)
def test_the_table(name: str) -> None:
    if (reason := METRICS[name].missing()) is not None:
        pytest.skip(f"{name}: {reason}")
    check_metric(name)


def mae(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape or not a.size:
        raise ValueError("shapes")
    return float(np.abs(a - b).mean())


def unlike(a: np.ndarray, b: np.ndarray) -> float:
    return mae(a, b) + float(np.mean(b > 100) if not np.array_equal(a, b) else 0)


def changing(a: np.ndarray, b: np.ndarray) -> float:
    a -= b
    return float(np.abs(a).mean())


ROW: dict[str, Any] = {
    **{"name": "own", "title": "Own", "unit": "levels", "digits": 2, "function": mae},
    **{"low": 0.0, "high": 255.0, "higher_is_better": False},
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"function": "tests.quality.test_metric_contract:mae"}, None),
        ({"symmetric": False, "function": unlike, "high": 256.0}, None),
        ({"function": unlike, "high": 256.0}, "one way and"),
        (
            {"function": lambda a, b: float(np.abs(a - b).mean())},
            r"of shapes \(2, 2\) and \(1, 2\)",
        ),
        ({"function": lambda a, b: mae(a, b) + 1}, "of equal images is 1.0, not 0.0"),
        ({"function": lambda a, b: mae(a, b) * np.nan}, "of equal images is nan"),
        ({"function": lambda a, b: mae(a, b) ** 2}, "outside its range"),
        ({"function": lambda a, b: mae(a, b) * 0}, "of different images is 0.0"),
        ({"function": lambda a, b: np.inf if mae(a, b) else 0.0}, "of different images is inf"),
        ({"function": lambda a, b: -mae(a, b)}, "outside its range"),
        ({"higher_is_better": True}, "of equal images is 0.0, not 255.0"),
        ({"smallest": 4}, r"of shapes \(3, 5\) and \(3, 5\) is 0.0"),
        ({"function": changing}, "changes the images|of equal images"),
        ({"title": "SSIM", "unit": ""}, "two metrics are headed 'SSIM'"),
        ({"title": ""}, "has no title"),
        ({"low": 1.0, "high": 1.0}, "ranges from"),
        ({"name": "other"}, "the row 'own' is called 'other'"),
    ],
)
def test_what_breaks_the_contract(
    changes: dict[str, Any], words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(METRICS, "own", Metric(**(ROW | changes)))
    if words is None:
        check_metric("own")
        return
    with pytest.raises(AssertionError, match=words):
        check_metric("own")
