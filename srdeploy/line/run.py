"""Run a recipe: every stage that is not current, each in its folder, resumable anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from srdeploy.errors import SrdeployError, UserError
from srdeploy.line.artifacts import Artifacts
from srdeploy.line.card import StageCard, read_stage_card
from srdeploy.line.code import own_arch, require_arch
from srdeploy.line.networks import Networks
from srdeploy.line.recipe import Line
from srdeploy.line.stage import Stage, StageState
from srdeploy.reporting.run_folder import RECIPE, stage_cards
from srdeploy.train.interrupt import TrainingStopped
from srdeploy.util.files import atomic_path


class LineStopped(SrdeployError):
    """The run was interrupted and can be resumed; the command line exits with 130."""

    exit_code = 130


@dataclass(frozen=True)
class Planned:
    """A stage and what a run would do about it.

    Attributes:
        stage: It.
        state: As things stand.
    """

    stage: Stage
    state: StageState


@dataclass(frozen=True)
class Done:
    """A stage that is complete.

    Attributes:
        stage: It.
        state: What was found before.
        card: What lies there now.
    """

    stage: Stage
    state: StageState
    card: StageCard


def stages_of(line: Line, root: Path, allow_code: bool = False) -> list[Stage]:
    """The stages of a recipe, in order.

    Raises:
        UserError: the network cannot be read, its code may not be imported, or settings that do
            not fit it.
    """
    networks = Networks(line, root, allow_code)
    return [*networks.stages(), *Artifacts(networks).stages()]


def plan_line(line: Line, root: Path, *, allow_code: bool = False) -> list[Planned]:
    """What a run would do; nothing is written, and no code of the recipe's is imported.

    A stage whose parents will be made anew counts as to be run: whether it must be is known once
    they are there. Of a network of the user's own code only the names of the stages are known.

    Args:
        line: The recipe.
        root: The run's folder.
        allow_code: Whether the run would be let have code of its own run.

    Raises:
        UserError: as :func:`stages_of`.
    """
    if (arch := own_arch(line)) is None:
        return _planned(stages_of(line, root, allow_code), root)
    state = StageState("run", f"known once {arch} is imported, which a dry run does not do")
    try:
        require_arch(line, allow_code)
    except UserError as error:
        state = StageState("blocked", str(error))
    networks = Networks(line, root, allow_code)
    first = [Planned(stage, state) for stage in networks.outline()]
    return first + _planned(Artifacts(networks).stages(), root)


def _planned(stages: Sequence[Stage], root: Path) -> list[Planned]:
    planned: list[Planned] = []
    contents: dict[str, str | None] = {}
    for stage in stages:
        folder = root / stage.name
        state = stage.state(folder, {name: contents.get(name) for name in stage.parents})
        planned.append(Planned(stage, state))
        card = read_stage_card(folder)
        current = state.kind == "current" and card is not None
        contents[stage.name] = card.sha256 if current and card else None
    return planned


def left_over(stages: Sequence[Stage], root: Path) -> list[str]:
    """Folders of stages that the recipe no longer has."""
    known = {stage.name for stage in stages}
    found = stage_cards(root) if root.is_dir() else []
    return [path.parent.name for path in found if path.parent.name not in known]


def run_line(
    line: Line,
    root: Path,
    *,
    again: str,
    allow_code: bool = False,
    on_stage: Callable[[Stage, StageState], None] = lambda stage, state: None,
    on_done: Callable[[Done], None] = lambda done: None,
) -> list[Done]:
    """Make every stage that is not current.

    Args:
        line: The recipe.
        root: The run's folder.
        again: The command that resumes, for the sentence after an interruption.
        allow_code: Import and run what the recipe names (:mod:`srdeploy.line.code`).
        on_stage: Called before each stage, also those that are skipped.
        on_done: Called after each.

    Raises:
        UserError: something that a stage needs is not there: told before any work begins; or
            another process is running in this folder.
        LineStopped: interrupted; what is complete is kept, and training resumes.
        SrdeployError: a stage failed.
    """
    for planned in _planned(stages_of(line, root, allow_code), root):
        if planned.state.kind == "blocked":
            raise UserError(f"{planned.stage.name}: {planned.state.why}")
    done: list[Done] = []
    with _alone(root):
        with atomic_path(root / RECIPE) as temporary:
            temporary.write_text(as_yaml(line), encoding="utf-8")
        contents: dict[str, str] = {}
        for stage in stages_of(line, root, allow_code):
            parents = {name: contents[name] for name in stage.parents}
            state = stage.state(root / stage.name, parents)
            on_stage(stage, state)
            card = _make(stage, state, root, parents, again)
            contents[stage.name] = card.sha256
            done.append(Done(stage, state, card))
            on_done(done[-1])
    return done


def _make(
    stage: Stage, state: StageState, root: Path, parents: dict[str, str], again: str
) -> StageCard:
    folder = root / stage.name
    try:
        if state.kind == "current" and (card := read_stage_card(folder)) is not None:
            return card
        return stage.make(root, parents, resume=state.kind == "resume")
    except (KeyboardInterrupt, TrainingStopped) as stop:
        raise LineStopped(
            f"Stopped in {stage.name}; what is finished is kept: `{again}` goes on from there."
        ) from stop
    except SrdeployError as error:
        raise type(error)(f"{stage.name}: {error}") from error


def as_yaml(line: Line) -> str:
    """A recipe as text, every name resolved."""
    values: dict[str, Any] = line.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Keep a second process out of the folder; the lock ends with the process that holds it."""
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"The run folder '{root}' is a file; choose another.") from None
    try:
        import fcntl
    except ImportError:  # not on Windows: there, two runs at once are the user's to avoid
        yield
        return
    with open(root / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(
                f"Another process is running in '{root}'; wait for it, or choose another --run-dir."
            ) from None
        lock.write(str(os.getpid()))
        lock.flush()
        yield
