"""A session that runs every image in the form that is fastest for it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from srdeploy.errors import UserError
from srdeploy.models.whole_means import Pooling, WholeMeans
from srdeploy.runtime.cpu import cpu_model
from srdeploy.runtime.dispatch import Choice, card_of_dispatch, read_plan
from srdeploy.runtime.open import open_session
from srdeploy.runtime.session import Session


class DispatchSession(Session):
    """The artifacts of a dispatch file; each is opened when it is first chosen."""

    runtime: ClassVar[str] = "dispatch"

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        """Read a file.

        Args:
            path: A ``.dispatch`` that ``srdeploy bench sparse`` wrote.
            threads: CPU threads; default as in :func:`srdeploy.runtime.session.default_threads`.

        Raises:
            UserError: the file is none or artifacts are missing; later, where one of them cannot
                be opened.
        """
        self._path = Path(path)
        self._plan = read_plan(self._path)
        super().__init__(card_of_dispatch(self._path), threads)
        self._open: dict[str, Session] = {}
        self._latest = self._session(self._plan.choices[0])
        self._told = ""
        here = cpu_model(), self.threads
        self._elsewhere = here != (self._plan.cpu, self._plan.threads)

    @property
    def notes(self) -> tuple[str, ...]:  # type: ignore[override]
        """What ran the latest image, and whether the file was measured elsewhere."""
        found = [self._told] if self._told else []
        if self._elsewhere:
            found.append(
                f"the choices were measured on {self._plan.cpu} with {self._plan.threads} threads; "
                "measure again here"
            )
        return (*found, *self._latest.notes)

    @property
    def pooling(self) -> Pooling | None:
        """Of the form that skips pixels, which then runs all tiles."""
        return self._session(self._plan.choices[0]).pooling

    def run_given(self, x: NDArray[np.float32], means: WholeMeans) -> NDArray[np.float32]:
        """The first form, as dense artifacts cannot be given means."""
        return self._session(self._plan.choices[0]).run_given(x, means)

    def _run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        density = self._plan.density(x, self.card.value_range)
        choice = self._plan.choose(x.shape[0] * x.shape[2] * x.shape[3], density)
        self._latest = self._session(choice)
        self.precision = self._latest.precision
        self._told = f"{choice.form}, as about {density:.0%} of pixels were expected inside masks"
        return self._latest.run(x)

    def _session(self, choice: Choice) -> Session:
        if choice.file not in self._open:
            path = self._path.parent / choice.file
            session = open_session(path, runtime=choice.runtime, threads=self.threads)
            if session.card.scale != self.card.scale or session.sizes is not None:
                session.close()
                raise UserError(
                    f"'{self._path}' names '{choice.file}', which is not of the same network or "
                    "takes some sizes only; write it again."
                )
            self._open[choice.file] = session
        return self._open[choice.file]

    def close(self) -> None:
        """Close all of them."""
        for session in self._open.values():
            session.close()
