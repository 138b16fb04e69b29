"""The stages of a run, and its recovery."""

from __future__ import annotations

from pathlib import Path

import pytest

from srdeploy.reporting.data import ReportData
from srdeploy.reporting.run_folder import RunFolder
from srdeploy.reporting.sections.stages import stages
from srdeploy.reporting.sources import Evidence
from tests.golden import by_tags, same_as

GOLDEN = Path(__file__).parents[1] / "golden"


def page_of(*runs: RunFolder) -> str:
    return stages(ReportData(Evidence(runs=list(runs)))) or ""


def run(name: str, quality: dict, *cards: dict) -> RunFolder:
    return RunFolder(Path("runs") / name, list(cards), quality)


def told(psnr: float, **changes: object) -> dict[str, object]:
    return {"psnr_y": psnr, "protocol": "p", "data": "d", **changes}


def tuned(*curve: dict) -> dict:
    return {"stage": "40_tuned", "figures": {"curve": list(curve)}}


def point(iteration: object, psnr: object, **more: object) -> dict:
    return {"iteration": iteration, "psnr_y": psnr, **more}


def test_stages_and_the_recovery_are_drawn() -> None:
    curve = [point(10, 30, protocol="v"), point(20, 31.5), point(30, 31.25)]
    one = run("one<", {"dense": told(33.4), "pruned": told(29.1), "tuned": told(33.0)},
              {"stage": "10_model"}, tuned(*curve))  # fmt: skip
    page = page_of(one)
    same_as(GOLDEN / "stage_quality.html", by_tags(page))
    assert page_of(one, one) == 2 * page


@pytest.mark.parametrize(
    ("quality", "cards", "parts"),
    [
        ({}, [], 0),
        ({"dense": told(33)}, [], 0),
        ({"dense": told(33), "tuned": told(32, data="e")}, [], 0),
        ({"dense": told(33), "tuned": told(32)}, [], 1),
        ({}, [tuned()], 0),
        ({}, [{"stage": "40_tuned"}], 0),
        ({}, [tuned(point(1, 30))], 0),
        ({}, [tuned(point(1, 30), point(2, None))], 0),
        ({}, [tuned(point(1, 30), point("2", 31))], 0),
        ({}, [tuned(point(1, 30), {"iteration": 2, "psnr_rgb": 31.0})], 1),
        ({}, [{**tuned(point(1, 30), point(2, 31)), "stage": "30_other"}], 0),
        ({}, [{**tuned(point(1, 30), point(2, 31)), "stage": "50_other"}], 0),
    ],
)
def test_what_is_not_known_is_not_drawn(quality: dict, cards: list[dict], parts: int) -> None:
    assert page_of(run("one", quality, *cards)).count("<figure") == parts
