from __future__ import annotations

import math
import sys
import types
from pathlib import Path

import pytest

from srdeploy.errors import UserError
from srdeploy.train.journal import TrainingJournal, psnr_of, read_curve, read_metrics
from srdeploy.train.recipe import Validation
from srdeploy.util.progress import track


def open_journal(folder: Path, iteration: int, tensorboard: bool = False) -> TrainingJournal:
    with track("test", 10) as bar:
        return TrainingJournal(folder, iteration, bar, tensorboard)


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


def test_tensorboard_drops_what_will_be_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int]] = []
    scalars: list[tuple[str, float, int]] = []
    closed: list[bool] = []

    class Writer:
        def __init__(self, folder: str, purge_step: int) -> None:
            made.append((folder, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            scalars.append((name, value, step))

        def close(self) -> None:
            closed.append(True)

    fake = types.ModuleType("torch.utils.tensorboard")
    fake.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", fake)
    journal = open_journal(tmp_path, 10, tensorboard=True)
    assert made == [(str(tmp_path / "tensorboard"), 11)]
    journal.write(12, loss=0.5, steps=3, protocol="text")
    assert scalars == [("loss", 0.5, 12), ("steps", 3, 12)]
    journal.close()
    assert closed == [True]


def test_what_stands_below_the_bar(tmp_path: Path) -> None:
    shown: list[dict[str, str]] = []

    class Bar:
        def update(self, count: int, **values: str) -> None:
            assert count == 1
            shown.append(values)

    journal = TrainingJournal(tmp_path, 0, Bar(), False)  # type: ignore[arg-type]
    journal.advance()
    journal.write(1, lr=0.1, loss=2.0, density=1 / 3, seconds=9)
    journal.advance()
    journal.write(2, loss=1.0, psnr_y=30.12345)
    journal.advance()
    assert shown == [
        {},
        {"loss": "2", "density": "0.3333", "lr": "0.1"},
        {"psnr_y": "30.12", "loss": "1", "density": "0.3333", "lr": "0.1"},
    ]
    assert list(shown[2]) == ["psnr_y", "loss", "density", "lr"]


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    good = b'{"step": 1, "loss": 0.5}'
    lines = [good, b'{"step": "\xff"}', b"7", b"[" * 100_000, b'{"step": 2, "lo', good]
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join(lines))
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}] * 2


def test_measurements_of_one_kind_by_iteration(tmp_path: Path) -> None:
    check = Validation(data="Set5", every=1, scale=2)
    journal = open_journal(tmp_path, 0)
    journal.write(2, loss=1.0)
    journal.write(2, what="Set5, x2", psnr_y=31.0, protocol="p")
    journal.write(2, what="Set5", psnr_y=41.0, protocol="p")
    journal.write(0, what="Set5, x2", psnr_rgb=math.inf, protocol="p")
    curve = read_curve(tmp_path, check)
    assert [(entry["iteration"], psnr_of(entry)) for entry in curve] == [(0, math.inf), (2, 31.0)]
    assert read_curve(tmp_path, None) == []
