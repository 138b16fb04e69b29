"""The process that runs one artifact: ``python -m srdeploy.measure.worker``.

It reads one JSON request per line from stdin and answers each with one JSON line on stdout:
``{"ok": true, ...}`` or ``{"ok": false, "error": sentence}``. Requests, in their order:

    {"do": "open", "artifact", "runtime", "threads", "options"}
               -> card, runtime, runtime_version, provider, precision, notes, threads, load_ms
    {"do": "feed", "path"}                    the input tensor, a .npy file of float32 [N, C, H, W]
    {"do": "first"}                                              -> first_ms
    {"do": "warm", "runs", "seconds"}                            -> notes, once more
    {"do": "turn", "seconds"}                                    -> samples_ms
    {"do": "film", "path", "seconds"}    frames of a video, and as many runs of the fed tensor
                                                    -> samples_ms, compute_ms
    {"do": "memory"}                                             -> peak_mb
    {"do": "run", "path", "to"}               one untimed run, from one .npy file to another

It ends when stdin does. Between requests it blocks, so that artifacts can take turns on a quiet
machine. Only the runtime that the artifact needs is imported.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from srdeploy.errors import SrdeployError
from srdeploy.measure.timing import Clock, take_samples, take_turn, time_run, wall_clock
from srdeploy.runtime.footprint import peak
from srdeploy.runtime.onnx.providers import provider_name
from srdeploy.runtime.session import Session
from srdeploy.runtime.table import RUNTIMES
from srdeploy.util.memory import available

if TYPE_CHECKING:
    from srdeploy.video.film import Film


def peak_mb() -> float | None:
    """Peak resident memory in MB (10^6 bytes), libraries included; None where unknown."""
    found = peak()
    return None if found is None else round(found / 1e6, 1)


Answer = dict[str, Any]


class Worker:
    """The requests, as methods: each takes a request's fields and returns an answer's."""

    def __init__(self, clock: Clock = wall_clock) -> None:
        self._clock = clock
        self._session: Session | None = None
        self._x: np.ndarray | None = None
        self._expected_ms = 0.0
        self._film: Film | None = None

    def handle(self, request: dict[str, Any]) -> Answer:
        """Serve one request.

        Raises:
            SrdeployError: the artifact cannot be opened, run or evaluated.
        """
        fields = dict(request)
        actions: dict[str, Callable[..., Answer]] = {
            "open": self._open,
            "feed": self._feed,
            "first": self._first,
            "warm": self._warm,
            "turn": self._turn,
            "film": self._film_turn,
            "memory": self._memory,
            "run": self._run_once,
        }
        return actions[fields.pop("do")](**fields)

    def _open(
        self,
        artifact: str,
        runtime: str | None,
        threads: int | None,
        options: dict[str, Any],
    ) -> Answer:
        def load() -> None:
            from srdeploy.runtime.open import open_session

            self._session = open_session(artifact, runtime=runtime, threads=threads, **options)

        load_ms = time_run(load, self._clock)
        session = self._opened()
        providers = getattr(session, "providers", None)
        return {
            "card": session.card.to_json(),
            "runtime": session.runtime,
            "runtime_version": runtime_version(session.runtime),
            "provider": provider_name(providers[0]) if providers else None,
            "precision": session.precision,
            "notes": list(session.notes),
            "threads": session.threads,
            "load_ms": load_ms,
        }

    def _feed(self, path: str) -> Answer:
        self._x = np.load(path)
        return {"input": list(self._x.shape)}

    def _first(self) -> Answer:
        self._expected_ms = time_run(self._run, self._clock)
        return {"first_ms": self._expected_ms}

    def _warm(self, runs: int, seconds: float) -> Answer:
        samples = take_samples(self._run, min_runs=runs, min_seconds=seconds, clock=self._clock)
        self._expected_ms = median(samples) if samples else self._expected_ms
        return {"notes": list(self._opened().notes)}

    def _turn(self, seconds: float) -> Answer:
        samples = take_turn(
            self._run, seconds=seconds, expected_ms=self._expected_ms, clock=self._clock
        )
        self._expected_ms = median(samples)
        return {"samples_ms": samples}

    def _film_turn(self, path: str, seconds: float) -> Answer:
        if self._film is None:
            from srdeploy.upscaling.image import Upscaler
            from srdeploy.video.film import Film

            room = (available() or 0) // 2 or None
            self._film = Film(Path(path), Upscaler(self._opened(), memory=room))
        samples = self._film.run(seconds / 2)
        alone = take_samples(self._run, min_runs=len(samples), min_seconds=0, clock=self._clock)
        return {"samples_ms": samples, "compute_ms": alone}

    def _memory(self) -> Answer:
        return {"peak_mb": peak_mb()}

    def _run_once(self, path: str, to: str) -> Answer:
        np.save(to, self._opened().run(np.load(path)))
        return {}

    def _run(self) -> None:
        assert self._x is not None
        self._opened().run(self._x)

    def _opened(self) -> Session:
        assert self._session is not None
        return self._session


def runtime_version(runtime: str) -> str | None:
    """The installed version of a runtime; None where the table does not know it."""
    row = RUNTIMES.get(runtime)
    return row.module.version() if row else None


def serve(requests: Iterable[str], reply: Callable[[Answer], None], worker: Worker) -> None:
    """Answer requests until they end; a failed one leaves the worker ready for the next."""
    for line in requests:
        try:
            reply({"ok": True, **worker.handle(json.loads(line))})
        except SrdeployError as error:
            reply({"ok": False, "error": str(error)})
        except Exception as error:
            reason = " ".join(str(error).split()) or "no reason given"
            reply({"ok": False, "error": f"{type(error).__name__}: {reason}"})


def main() -> None:
    """Serve stdin. Whatever libraries print goes to stderr: stdout carries answers only."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def reply(answer: Answer) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    serve(sys.stdin, reply, Worker())


if __name__ == "__main__":
    main()
