from __future__ import annotations

import sys
from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.progress import track
from srdeploy.train.journal import Journal, read_metrics


def open_journal(folder: Path, iteration: int, tensorboard: bool = False) -> Journal:
    with track("test", 10) as bar:
        return Journal(folder, iteration, bar, tensorboard)


def test_resuming_drops_what_will_be_written_again(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, 0)
    for iteration in (5, 10, 15):
        journal.write(iteration, loss=1.0)
    with open(tmp_path / "metrics.jsonl", "a") as stream:
        stream.write('{"iteration": 20, "lo')
    assert [e["iteration"] for e in read_metrics(tmp_path)] == [5, 10, 15]
    open_journal(tmp_path, 10).write(12, psnr_y=30.0)
    assert [e["iteration"] for e in read_metrics(tmp_path)] == [5, 10, 12]


def test_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    journal = open_journal(tmp_path, 0, tensorboard=True)
    journal.write(5, loss=1.0, protocol="text is not plotted")
    journal.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert events.Scalars("loss")[0].step == 5


def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="tensorboard: false"):
        open_journal(tmp_path, 0, tensorboard=True)
