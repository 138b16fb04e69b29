"""One stage of a run: whether it is current, and making it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from srdeploy.errors import UserError
from srdeploy.exporting.report import tool_versions
from srdeploy.line.card import (
    BEGUN,
    StageCard,
    hashes,
    key_of,
    read_stage_card,
    write_stage_card,
)
from srdeploy.line.digest import content, digest_of
from srdeploy.util.files import atomic_path, discard

Kind = Literal["current", "resume", "run", "blocked"]

_TOOLS = ("torch", "nni", "onnx", "onnxruntime")


@dataclass(frozen=True)
class StageState:
    """What a run would do about a stage.

    Attributes:
        kind: ``current``: nothing; ``resume``: go on where it stopped; ``run``: make it (anew);
            ``blocked``: it cannot be made.
        why: In a few words.
    """

    kind: Kind
    why: str


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        name: Of its folder: a number that sorts, and what it holds.
        what: In one line.
        how: Every setting that decides the result.
        outputs: Files and packages it leaves in its folder.
        work: Makes them in the given folder and returns what it found out; finds there what an
            interrupted attempt with the same key has left.
        inputs: What comes from outside the run: name to file or folder.
        parents: Names of the stages it is made from.
        check: Raises UserError where this machine cannot do it.
        keep: What survives in the folder when settings change.
    """

    name: str
    what: str
    how: dict[str, Any]
    outputs: tuple[str, ...]
    work: Callable[[Path], dict[str, Any]]
    inputs: Mapping[str, Callable[[], Path]] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    check: Callable[[], None] = lambda: None
    keep: tuple[str, ...] = ()

    @cached_property
    def input_hashes(self) -> dict[str, str]:
        """Content hash of what comes from outside.

        Raises:
            UserError: something is not there.
        """
        return {name: content(path()) for name, path in self.inputs.items()}

    def state(self, folder: Path, parents: Mapping[str, str | None]) -> StageState:
        """What a run would do.

        Args:
            folder: Of this stage.
            parents: Content hash of each parent; None for one that will be made first.
        """
        card = read_stage_card(folder)
        known = {name: digest for name, digest in parents.items() if digest is not None}
        try:
            key = key_of(self.name, self.how, self.input_hashes, known)
            if card is not None and card.key == key and len(known) == len(parents):
                return self._current(card, folder)
            self.check()
        except UserError as error:
            return StageState("blocked", str(error))
        if _begun(folder) == key and len(known) == len(parents):
            return StageState("resume", "stopped on the way")
        if card is None:
            return StageState("run", "not made yet")
        return StageState("run", self._changed(card, parents))

    def _current(self, card: StageCard, folder: Path) -> StageState:
        found = hashes(folder, list(card.outputs))
        for name, digest in card.outputs.items():
            if name not in found:
                return StageState("run", f"{name} is gone")
            if found[name] != digest:
                return StageState("run", f"{name} was changed")
        return StageState("current", "nothing changed")

    def _changed(self, card: StageCard, parents: Mapping[str, str | None]) -> str:
        old, new = _flat(card.how), _flat(self.how)
        settings = [
            f"{key}: {_told(old.get(key))} -> {_told(new.get(key))}"
            for key in dict.fromkeys((*old, *new))
            if old.get(key) != new.get(key)
        ]
        inputs = [
            f"{name} changed"
            for name in dict.fromkeys((*card.inputs, *self.input_hashes))
            if card.inputs.get(name) != self.input_hashes.get(name)
        ]
        before = [
            f"after {name}" if digest is None else f"{name} changed"
            for name, digest in parents.items()
            if digest is None or card.parents.get(name) != digest
        ]
        reasons = [*settings, *inputs, *before]
        return ", ".join(reasons[:3]) + (f" and {len(reasons) - 3} more" if reasons[3:] else "")

    def make(self, root: Path, parents: Mapping[str, str], *, resume: bool) -> StageCard:
        """Do the work in the stage's folder and write the card.

        Args:
            root: The run's folder: nothing outside it is cleared.
            parents: Content hash of each parent.
            resume: Go on from what an interrupted attempt has left, instead of starting over.
        """
        key = key_of(self.name, self.how, self.input_hashes, dict(parents))
        folder = root / self.name
        if not resume:
            _clear(folder, root, self.keep)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / BEGUN) as temporary:
            temporary.write_text(key, encoding="ascii")
        started = time.perf_counter()
        figures = self.work(folder)
        outputs = hashes(folder, list(self.outputs))
        card = StageCard(
            stage=self.name,
            what=self.what,
            how=self.how,
            inputs=self.input_hashes,
            parents=dict(parents),
            key=key,
            outputs=outputs,
            sha256=digest_of(outputs),
            figures=figures,
            seconds=round(time.perf_counter() - started, 2),
            made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            tools=tool_versions(_TOOLS),
        )
        write_stage_card(folder, card)
        discard(folder / BEGUN, root)
        return card


def _begun(folder: Path) -> str | None:
    try:
        return (folder / BEGUN).read_text(encoding="ascii")
    except OSError:
        return None


def _clear(folder: Path, root: Path, keep: tuple[str, ...]) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in keep:
            discard(path, root)


def _flat(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}.{key}" if prefix else key)
    return found


def _told(value: Any) -> str:
    text = "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
