"""What lies next to the chosen network on the predicted front, and what it would take."""

from __future__ import annotations

from srdeploy.fitting.result import FitResult, Point


def next_better(result: FitResult) -> Point | None:
    """The fastest predicted network of a smaller error that is above the budget."""
    own = _chosen_error(result)
    found = [
        p for p in _front(result)
        if p.predicted_ms > result.budget_ms and _error(p) < own
    ]  # fmt: skip
    return min(found, key=lambda point: point.predicted_ms, default=None)


def next_cheaper(result: FitResult) -> Point | None:
    """The best predicted network that takes clearly less than the chosen one."""
    own = _chosen_error(result)
    found = [p for p in _front(result) if p.predicted_ms < 0.98 * result.predicted_ms]
    return min((p for p in found if _error(p) >= own), key=_error, default=None)


def for_more(result: FitResult) -> str:
    """What would have to change for more quality, in one sentence."""
    better = next_better(result)
    if better is None:
        return "No network of this kind that was considered is better."
    way = f"{better.runtime or 'its own runtime'} {better.precision}"
    return f"For more quality the budget would have to be {better.predicted_ms:.3g} ms ({way})."


def _front(result: FitResult) -> list[Point]:
    return [point for point in result.points if point.step == "front"]


def _chosen_error(result: FitResult) -> float:
    made = [
        p for p in result.points
        if p.step == "made" and p.precision == result.precision
        and p.predicted_ms == result.predicted_ms
    ]  # fmt: skip
    return min(map(_error, made), default=0.0)


def _error(point: Point) -> float:
    return float("inf") if point.error is None else point.error
