"""What the loop keeps while it trains: the best network, checkpoints, figures; what it drops."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.network import Network
from srdeploy.models.registry import create
from srdeploy.models.store import read_network
from srdeploy.train import loop
from srdeploy.train.hooks import Forward, StepHook
from srdeploy.train.interrupt import TrainingStopped
from srdeploy.train.journal import read_curve, read_metrics
from srdeploy.train.loop import starting_network, train
from srdeploy.train.patches import FolderPatches
from srdeploy.train.recipe import TrainRecipe
from srdeploy.train.run import Run

Make = Callable[..., TrainRecipe]


@dataclass
class Figures:
    """What an evaluation gives."""

    psnr: float

    def as_dict(self) -> dict[str, Any]:
        return {"psnr_y": self.psnr, "per_image": []}


@dataclass
class Exam:
    """Stands in for evaluation: gives the PSNRs written into it and keeps what was measured."""

    psnrs: list[float] = field(default_factory=list)
    seen: list[dict[str, Tensor]] = field(default_factory=list)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    @contextmanager
    def session(self, network: Network, threads: int) -> Iterator[Network]:
        yield network

    def evaluate(
        self, session: Network, data: Any, scale: int, protocol: Any, progress: bool
    ) -> Figures:
        self.seen.append({k: v.clone() for k, v in session.module.state_dict().items()})
        self.asked.append((str(data), scale, protocol))
        return Figures(self.psnrs[len(self.seen) - 1])


@pytest.fixture
def exam(monkeypatch: pytest.MonkeyPatch) -> Exam:
    made = Exam()
    monkeypatch.setattr(loop, "open_session", made.session)
    monkeypatch.setattr(loop, "evaluate", made.evaluate)
    return made


def watched(recipe: Make, **settings: Any) -> TrainRecipe:
    return recipe(**{"iterations": 8, "validation": {"data": "builtin", "every": 2}, **settings})


def assert_best(folder: Path, expected: dict[str, Tensor]) -> None:
    kept = read_network(folder / "best.safetensors").module.state_dict()
    for name, tensor in expected.items():
        assert torch.equal(kept[name], tensor), name


class StopAt(StepHook):
    """Asks the loop to stop after an iteration (from 0)."""

    def __init__(self, at: int = -1) -> None:
        self.at = at

    def after_step(self, module: nn.Module, iteration: int) -> None:
        if iteration == self.at:
            os.kill(os.getpid(), signal.SIGTERM)


# The best network.


@pytest.mark.parametrize(
    ("psnrs", "best"),
    [
        ([30.0, 32.0, 31.0, 32.0], 1),  # the first of equals
        ([33.0, 32.0, 31.0, 30.0], 0),
        ([30.0, 31.0, 32.0, 33.0], 3),
        ([-3.0, -2.0, -4.0, -5.0], 1),
    ],
)
def test_the_best_network_is_kept(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path, psnrs: list[float], best: int
) -> None:
    exam.psnrs = psnrs
    train(tiny, watched(recipe, ema=0.5), tmp_path)
    assert [e["psnr_y"] for e in read_metrics(tmp_path) if "psnr_y" in e] == psnrs
    assert_best(tmp_path, exam.seen[best])
    assert any(
        not torch.equal(exam.seen[best][name], other[name])
        for other in exam.seen[:best] + exam.seen[best + 1 :]
        for name in other
    )


@pytest.mark.parametrize(("later", "best"), [([31.0, 31.5], 1), ([31.0, 33.0], 3)])
def test_a_resumed_run_knows_its_best(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path, later: list[float], best: int
) -> None:
    exam.psnrs = [30.0, 32.0, *later]
    settings = watched(recipe)
    with pytest.raises(TrainingStopped):
        train(tiny, settings, tmp_path, hooks=[StopAt(3)])
    assert_best(tmp_path, exam.seen[1])
    train(tiny, settings, tmp_path, hooks=[StopAt()])
    assert len(exam.seen) == 4
    assert_best(tmp_path, exam.seen[best])


def test_starting_over_forgets_the_old_run(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    exam.psnrs = [40.0] * 4 + [20.0] * 4
    train(tiny, watched(recipe, seed=1), tmp_path)
    train(tiny, watched(recipe, seed=2), tmp_path, resume=False)
    assert [e["psnr_y"] for e in read_metrics(tmp_path) if "psnr_y" in e] == [20.0] * 4
    assert_best(tmp_path, exam.seen[4])
    train(tiny, recipe(iterations=2), tmp_path, resume=False)
    assert not (tmp_path / "best.safetensors").exists()


def test_measured_every_so_often_and_at_the_end(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    exam.psnrs = [30.0] * 3
    check = {"data": "~/set", "every": 3, "protocol": "y-crop4"}
    train(tiny, recipe(iterations=8, validation=check), tmp_path)
    measured = [e for e in read_metrics(tmp_path) if "psnr_y" in e]
    assert [e["iteration"] for e in measured] == [3, 6, 8]
    assert "per_image" not in measured[0]
    assert exam.asked == [(str(Path.home() / "set"), 2, "y-crop4")] * 3
    exam.seen, exam.asked = [], []
    asked = {"data": "builtin", "every": 8, "scale": 3}
    train(tiny, recipe(iterations=8, validation=asked), tmp_path, resume=False)
    assert exam.asked == [("builtin", 3, None)]


def test_nothing_is_measured_unasked(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    train(tiny, recipe(iterations=2), tmp_path)
    assert exam.seen == []


def test_the_journal_is_closed_however_it_ends(
    tiny: Network, recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Path] = []
    moved: list[Path] = []

    class Noted(loop.TrainingJournal):
        def advance(self) -> None:
            moved.append(self._path)
            super().advance()

        def close(self) -> None:
            closed.append(self._path)
            super().close()

    monkeypatch.setattr(loop, "TrainingJournal", Noted)
    train(tiny, recipe(iterations=1), tmp_path / "1")
    with pytest.raises(TrainingStopped):
        train(tiny, recipe(iterations=2), tmp_path / "2", hooks=[StopAt(0)])
    assert closed == [tmp_path / name / "metrics.jsonl" for name in "12"]
    assert moved == closed  # one iteration each


# Figures.


class Counting(StepHook):
    """The loss of iteration i (from 0) is i, plus nothing."""

    def adjust_loss(self, loss: Tensor, forward: Forward, iteration: int) -> Tensor:
        return loss * 0 + iteration

    def report(self, module: nn.Module, iteration: int) -> dict[str, float]:
        return {"told_at": iteration}


def test_reported_are_means_since_the_last_report(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    settings = recipe(
        iterations=10, log_every=4, schedule={"kind": "step", "every": 4, "factor": 0.1}
    )
    train(tiny, settings, tmp_path, hooks=[Counting()])
    entries = read_metrics(tmp_path)
    assert [e["iteration"] for e in entries] == [4, 8, 10]
    assert [e["loss"] for e in entries] == [1.5, 5.5, 8.5]
    assert [e["lr"] for e in entries] == pytest.approx([1e-3, 1e-4, 1e-5])
    assert [e["told_at"] for e in entries] == [3, 7, 9]


class Clock:
    """Each iteration takes a second, measuring a hundred."""

    def __init__(self) -> None:
        self.now = 1000.0

    def perf_counter(self) -> float:
        return self.now


class Ticking(StepHook):
    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def after_step(self, module: nn.Module, iteration: int) -> None:
        self.clock.now += 1.0


def test_times_leave_measuring_out_and_go_on_after_a_stop(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    exam.psnrs = [30.0] * 4
    plain = exam.evaluate

    def slow(*args: Any, **kwargs: Any) -> Figures:
        clock.now += 100.0
        return plain(*args, **kwargs)

    monkeypatch.setattr(loop, "evaluate", slow)
    monkeypatch.setattr(loop.time, "perf_counter", clock.perf_counter)
    settings = watched(recipe, log_every=4, batch=4)
    with pytest.raises(TrainingStopped):
        train(tiny, settings, tmp_path, hooks=[Ticking(clock), StopAt(3)])
    train(tiny, settings, tmp_path, hooks=[Ticking(clock), StopAt()])
    entries = [e for e in read_metrics(tmp_path) if "loss" in e]
    assert [e["seconds"] for e in entries] == [4.0, 8.0]
    assert [e["images_per_s"] for e in entries] == [4.0, 4.0]


def test_the_loaders_share_of_the_time(
    tiny: Network, recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    plain = FolderPatches.batch

    def slow(self: FolderPatches, iteration: int) -> Any:
        clock.now += 0.25
        return plain(self, iteration)

    monkeypatch.setattr(FolderPatches, "batch", slow)
    monkeypatch.setattr(loop.time, "thread_time", clock.perf_counter)
    monkeypatch.setattr(loop.time, "perf_counter", clock.perf_counter)
    train(tiny, recipe(iterations=8, log_every=4, batch=4), tmp_path, hooks=[Ticking(clock)])
    entries = read_metrics(tmp_path)
    assert [e["loader_wait"] for e in entries] == [0.2, 0.2]
    assert [e["loader_work"] for e in entries] == [0.2, 0.2]
    assert [e["images_per_s"] for e in entries] == [3.2, 3.2]
    assert [e["seconds"] for e in entries] == [5.0, 10.0]


# Checkpoints.


def saves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    at: list[int] = []
    plain = loop.save_state

    def noted(path: Path, state: Any, origin: Any) -> None:
        at.append(state.iteration)
        plain(path, state, origin)

    monkeypatch.setattr(loop, "save_state", noted)
    return at


@pytest.mark.parametrize(
    ("every", "at"),
    [
        ({"minutes": None}, [8]),
        ({"minutes": None, "iterations": 3}, [3, 6, 8]),
        ({"minutes": 2 / 60}, [2, 4, 6, 8]),
        ({"minutes": 3 / 60, "iterations": 2}, [2, 4, 6, 8]),
        ({"minutes": 100}, [8]),
    ],
)
def test_saved_by_count_or_by_the_clock(
    tiny: Network,
    recipe: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    every: dict[str, Any],
    at: list[int],
) -> None:
    clock = Clock()
    monkeypatch.setattr(loop.time, "perf_counter", clock.perf_counter)
    found = saves(monkeypatch)
    train(tiny, recipe(iterations=8, checkpoint=every), tmp_path, hooks=[Ticking(clock)])
    assert found == at


@pytest.mark.parametrize("resume", [True, False])
def test_a_stop_in_the_last_iteration_is_an_end(
    tiny: Network, recipe: Make, tmp_path: Path, resume: bool
) -> None:
    result = train(tiny, recipe(iterations=3), tmp_path / "1", hooks=[StopAt(2)], resume=resume)
    assert result.card.history[-1]["iterations"] == 3
    again = "repeat the command to go" if resume else "repeat the command (without --fresh) to go"
    with pytest.raises(TrainingStopped) as stopped:
        train(tiny, recipe(iterations=4), tmp_path / "2", hooks=[StopAt(1)], resume=resume)
    assert again in str(stopped.value)
    assert "after iteration 2 of 4" in str(stopped.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("where", ["first", "last", "hook"])
def test_weights_that_are_no_numbers(tiny: Network, recipe: Make, value: float, where: str) -> None:
    class Learning(StepHook):
        own = nn.Parameter(torch.zeros(2))

        def parameters(self) -> list[nn.Parameter]:
            return [self.own]

    hook = Learning()
    run = Run(tiny, recipe(), [hook])
    assert run.is_finite()
    bad = {"first": run.parameters[0], "last": run.parameters[-1], "hook": hook.own}[where]
    with torch.no_grad():
        bad[(-1,) * bad.dim()] = value
    assert not run.is_finite()


def test_a_network_of_nan_is_never_saved(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    """Its loss is told after the next report only; what is saved must be good before that."""

    class Spoil(StepHook):
        def after_step(self, module: nn.Module, iteration: int) -> None:
            if iteration == 3:
                with torch.no_grad():
                    next(p for p in module.parameters() if p.requires_grad).fill_(float("nan"))

    settings = recipe(iterations=8, checkpoint={"iterations": 2}, log_every=100)
    with pytest.raises(SrdeployError, match=r"before iteration 4: .*last good state is kept"):
        train(tiny, settings, tmp_path / "a", hooks=[Spoil()])
    state = torch.load(tmp_path / "a" / "checkpoint.pt", weights_only=True)["state"]
    assert state["iteration"] == 2
    assert all(bool(torch.isfinite(t).all()) for t in state["module"].values())
    late = recipe(iterations=4, log_every=100)
    with pytest.raises(SrdeployError, match=r"the loss is no longer finite; lower") as said:
        train(tiny, late, tmp_path / "b", hooks=[Spoil()])
    assert "kept" not in str(said.value)
    assert not (tmp_path / "b" / "checkpoint.pt").exists()


def test_a_loss_that_is_no_number_is_told_at_the_report(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    class Spoil(StepHook):
        def adjust_loss(self, loss: Tensor, forward: Forward, iteration: int) -> Tensor:
            return loss.detach() * float("nan") + 0 * loss if iteration == 1 else loss

        def before_step(self, module: nn.Module, iteration: int) -> None:
            module.zero_grad()

    settings = recipe(iterations=8, log_every=2, checkpoint={"minutes": None})
    with pytest.raises(SrdeployError, match="before iteration 2"):
        train(tiny, settings, tmp_path, hooks=[Spoil()])
    assert read_metrics(tmp_path) == []


# Around the run.


def test_the_callers_random_numbers_and_threads_are_left_alone(
    tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    threads = torch.get_num_threads()
    seen: list[int] = []

    class Look(StepHook):
        def before_step(self, module: nn.Module, iteration: int) -> None:
            seen.append(torch.get_num_threads())

    train(tiny, recipe(iterations=2, threads=threads + 1), tmp_path, hooks=[Look()])
    assert torch.equal(torch.rand(4), wanted)
    assert seen == [threads + 1] * 2
    assert torch.get_num_threads() == threads


def test_the_history_tells_the_run(
    tiny: Network, recipe: Make, photographs: Path, tmp_path: Path
) -> None:
    settings = recipe(iterations=3, batch=2, loss="l2", seed=7)
    entry = train(tiny, settings, tmp_path).card.history[-1]
    digest = FolderPatches(tiny.card, settings).digest
    assert entry == {
        "step": "train", "recipe": settings.digest()[:16], "data": digest[:16],
        "iterations": 3, "batch": 2, "loss": "l2", "seed": 7,
        "trained_on": f"4 images of {photographs.name}",
    }  # fmt: skip


def test_hooks_are_detached_however_it_ends(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    class Once(StepHook):
        attached = detached = 0

        def __init__(self, fails: bool) -> None:
            self.fails = fails

        def attach(self, module: nn.Module) -> None:
            self.attached += 1

        def detach(self) -> None:
            self.detached += 1

        def before_step(self, module: nn.Module, iteration: int) -> None:
            if self.fails:
                raise SrdeployError("no")

    for fails in (False, True):
        hook = Once(fails)
        try:
            train(tiny, recipe(iterations=2), tmp_path / str(fails), hooks=[hook])
        except SrdeployError:
            assert fails
        assert (hook.attached, hook.detached) == (1, 1)


def test_recipes_that_lack_something(tiny: Network, recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="names no teacher"):
        train(tiny, recipe(distill={"output": 0.5}), tmp_path)
    with pytest.raises(UserError, match="`quantise` is for `srdeploy finetune`"):
        train(tiny, recipe(quantise={}), tmp_path)
    with pytest.raises(UserError, match="without training its masks"):
        starting_network(recipe(network={"arch": "smsr"}))
    with pytest.raises(UserError, match=r"`sparsity` section is for the masks of SMSR"):
        train(create("ledsr", n_blocks=1, n_feats=4), recipe(sparsity={}), tmp_path)


# What is handed on.


class Break(StepHook):
    """Ends the process before an iteration (from 0), as a kill would."""

    def __init__(self, at: int = -1) -> None:
        self.at = at

    def before_step(self, module: nn.Module, iteration: int) -> None:
        if iteration == self.at:
            raise KeyboardInterrupt


def kept_of(network: Network) -> Any:
    return network.card.history[-1].get("kept")


def assert_is(network: Network, expected: dict[str, Tensor]) -> None:
    for name, tensor in network.module.state_dict().items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize(
    ("psnrs", "best"),
    [([34.25, 33.0, 34.0, 33.5, 33.7], 0), ([30.0, 31.0, 34.0, 33.5, 33.7], 4),
     ([30.0, 31.0, 32.0, 33.0, 34.0], 8)],
)  # fmt: skip
def test_fine_tuning_gives_the_best_the_start_among_them(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path, psnrs: list[float], best: int
) -> None:
    exam.psnrs = psnrs
    settings = watched(recipe, ema=0.5)
    result = train(tiny, settings, tmp_path, step="finetune")
    assert_is(result, exam.seen[best // 2])
    told = {"iteration": best, "psnr": max(psnrs), "data": "builtin", "start": psnrs[0]}
    assert kept_of(result) == {**told, "end": psnrs[-1]}
    curve = read_curve(tmp_path, settings.validation)
    assert [e["psnr_y"] for e in curve] == psnrs
    assert [e["iteration"] for e in curve] == [0, 2, 4, 6, 8]
    if best == 0:
        assert_is(result, tiny.module.state_dict())
    exam.seen = []
    again = train(tiny, settings, tmp_path, step="finetune")  # it is finished
    assert exam.seen == []
    assert kept_of(again) == kept_of(result)
    assert_is(again, result.module.state_dict())


def test_the_last_is_kept_if_that_is_asked(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    exam.psnrs = [34.0, 33.0, 32.0]
    check = {"data": "builtin", "every": 4, "keep": "last"}
    result = train(tiny, recipe(iterations=8, validation=check), tmp_path, step="finetune")
    assert_is(result, exam.seen[2])
    told = {"iteration": 8, "psnr": 32.0, "data": "builtin", "start": 34.0, "end": 32.0}
    assert kept_of(result) == told
    assert not (tmp_path / "best.safetensors").exists()


def test_from_scratch_there_is_no_start(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    exam.psnrs = [30.0, 32.0, 31.0, 31.5]
    result = train(tiny, watched(recipe), tmp_path)
    assert_is(result, exam.seen[1])
    assert kept_of(result) == {"iteration": 4, "psnr": 32.0, "data": "builtin", "end": 31.5}


def test_the_best_survives_a_kill(exam: Exam, tiny: Network, recipe: Make, tmp_path: Path) -> None:
    exam.psnrs = [30.0, 31.0, 34.0]
    settings = watched(recipe, checkpoint={"iterations": 2})
    with pytest.raises(KeyboardInterrupt):
        train(tiny, settings, tmp_path, hooks=[Break(5)], step="finetune")
    best = exam.seen[2]
    exam.seen, exam.psnrs = [], [33.0, 32.0]
    result = train(tiny, settings, tmp_path, hooks=[Break()], step="finetune")
    assert_is(result, best)
    told = {"iteration": 4, "psnr": 34.0, "data": "builtin", "start": 30.0, "end": 32.0}
    assert kept_of(result) == told


def test_what_another_run_left_is_no_candidate(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    """A run that was killed before its first checkpoint leaves a best network behind."""
    exam.psnrs = [40.0]
    with pytest.raises(KeyboardInterrupt):
        train(tiny, watched(recipe), tmp_path, hooks=[Break(1)], step="finetune")
    assert (tmp_path / "best.safetensors").exists()
    assert not (tmp_path / "checkpoint.pt").exists()
    exam.seen, exam.psnrs = [], [30.0, 31.0, 32.0, 33.0, 34.0]
    other = create("ledsr", scale=2, n_blocks=1, n_feats=4)
    result = train(other, watched(recipe), tmp_path, step="finetune")
    assert (kept_of(result)["iteration"], kept_of(result)["start"]) == (8, 30.0)


def test_by_another_set_the_start_is_measured_again(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    exam.psnrs = [30.0, 40.0, 39.0]
    with pytest.raises(TrainingStopped):
        train(tiny, watched(recipe), tmp_path, hooks=[StopAt(3)], step="finetune")
    exam.seen, exam.psnrs = [], [20.0, 21.0, 22.0]
    other = watched(recipe, validation={"data": "~/set", "every": 2})
    result = train(tiny, other, tmp_path, hooks=[StopAt()], step="finetune")
    assert_is(result, exam.seen[2])
    told = {"iteration": 8, "psnr": 22.0, "data": "set", "start": 20.0, "end": 22.0}
    assert kept_of(result) == told
    exam.seen, exam.psnrs = [], [25.0, 24.0]  # it is finished: nothing is left between the ends
    third = watched(recipe, validation={"data": "~/third", "every": 2})
    result = train(tiny, third, tmp_path, hooks=[StopAt()], step="finetune")
    assert_is(result, tiny.module.state_dict())
    assert kept_of(result)["iteration"] == 0


def test_a_module_trained_in_place_ends_as_it_is(
    exam: Exam, tiny: Network, recipe: Make, tmp_path: Path
) -> None:
    """A penalty would be undone by choosing where it is still small."""
    exam.psnrs = [34.0, 33.0, 32.0, 31.0]
    own = tiny.copy()
    result = train(own, watched(recipe), tmp_path, step="regularise", in_place=True)
    assert_is(result, exam.seen[3])
    assert_is(own, exam.seen[3])
    assert kept_of(result) is None
