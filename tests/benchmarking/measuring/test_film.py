"""Networks in a video: what is counted, and where it cannot be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy.benchmarking.measuring.film import Filmed, dropped, film_figures
from srdeploy.devices.checked import CheckedModel
from srdeploy.devices.protocol import Turn
from srdeploy.errors import UserError
from srdeploy.measure.scenario import find_scenario
from srdeploy.runtime.bicubic_session import BicubicSession
from srdeploy.upscaling.image import Upscaler
from srdeploy.video.film import Film, write_film
from tests.benchmarking.material import measured
from tests.video import clips


@pytest.mark.parametrize(
    ("samples", "rate", "share"),
    [
        ([10.0] * 500, 30, 0.0),
        ([100.0] * 500, 30, 2 / 3),  # three come while one is made
        ([1000 / 30] * 500, 30, 0.0),
        ([10.0] * 30 + [1000.0] + [10.0] * 300, 30, 28 / 359),  # 30 come in that second, two wait
        ([50.0] * 400, 40, 0.5),
    ],
)
def test_frames_are_lost_where_none_can_wait(
    samples: list[float], rate: float, share: float
) -> None:
    assert dropped(samples, rate, waiting=2) == pytest.approx(share, abs=0.01)


def test_the_figures_of_a_video() -> None:
    scenario = find_scenario("video")
    assert scenario.frame_rate == 30
    one = measured([100.0] * 50, scenario=scenario, compute_ms=[80.0] * 50)
    found = film_figures(one)
    assert (found["fps"], found["fps_alone"]) == (10.0, 12.5)
    assert 0.6 < found["dropped"] < 0.7
    assert film_figures(measured([100.0] * 50)) == {}


def test_a_film_runs_again_and_again(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (49, 65, 3), dtype=np.uint8)
    path = tmp_path / "film.mkv"
    write_film(path, picture, 29.97)
    facts = clips.facts(path)
    assert (len(facts["frames"]), facts["size"]) == (48, (48, 64))
    assert facts["tags"] == {("yuv420p", 1, 1, 13, 1)}
    film = Film(path, Upscaler(BicubicSession(), 2))
    steps = [*film.run(0.0), *film.run(0.4)]
    assert len(steps) > 50  # it began again
    assert min(steps) > 0


class Alone:
    """A model without videos."""

    def turn(self, seconds: float) -> Turn:
        return Turn([1.0])

    def close(self) -> None:
        return None


def test_a_device_without_videos_says_so() -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    filmed = Filmed(CheckedModel(Alone(), "ssh://board"), picture, 30)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="'ssh://board' runs networks alone"):
        filmed.turn(1.0)
    filmed.close()
