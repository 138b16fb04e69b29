from __future__ import annotations

from srdeploy.fitting.neighbours import for_more, next_better, next_cheaper
from tests.reporting.material import fit_result


def test_neighbours_on_the_front_are_told() -> None:
    result = fit_result()
    better, cheaper = next_better(result), next_cheaper(result)
    assert better is not None
    assert cheaper is not None
    assert (better.predicted_ms, cheaper.predicted_ms) == (40.0, 20.0)
    assert "40 ms (onnxruntime fp32)" in for_more(result)
    best = result.model_copy(update={"budget_ms": 50.0})
    assert next_better(best) is None
    assert "No network" in for_more(best)
