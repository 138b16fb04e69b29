"""Does it hold? Hostile inputs by kind, networks of many minds, and every format damaged at random.

    python benchmarks/robustness.py [--mutations 2000] [--seed 0] [--only WORD ...] [--jobs 2]

``--only`` takes parts of kinds' and formats' names, and prints instead of writing the page. A
mutation is found again by its format, seed and number (``--one FORMAT NUMBER``).
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from multiprocessing import get_context
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # tests/, which proves the hostile pickles real

import srdeploy  # noqa: E402, F401  (switches telemetry off before anything is imported)

sys.path.insert(0, str(ROOT / "benchmarks"))
import hostile_cases  # noqa: E402
from fuzz_formats import FORMATS, Format  # noqa: E402
from fuzzing import mutations  # noqa: E402
from results_io import table, write  # noqa: E402
from sandbox import BATCH, FAULTS, HELD, SECONDS, outcomes  # noqa: E402

PATIENCE = "10"
"""Seconds that opening a file may take here; the default suits slow machines and large networks."""

SIZES = "networks that depend on the size"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=2000, help="of each format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="until something hangs")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--only", nargs="+", metavar="WORD")
    parser.add_argument("--one", nargs=2, metavar=("FORMAT", "NUMBER"), help="write one mutation")
    asked = parser.parse_args()
    if asked.one:
        return write_one(asked.one[0], int(asked.one[1]), asked.seed)
    with tempfile.TemporaryDirectory(prefix="cache") as cache:
        os.environ["SRDEPLOY_CACHE"] = cache
        os.environ["SRDEPLOY_PATIENCE"] = PATIENCE
        return try_all(asked)


def try_all(asked: argparse.Namespace) -> int:
    """Everything asked for; whether anything did not hold."""
    warm_up()
    begun = time.monotonic()
    chosen = [f for f in FORMATS if _asked_for(f.name, asked.only)]
    kinds = [kind for kind in hostile_cases.names() if _asked_for(kind, asked.only)]
    with ProcessPoolExecutor(asked.jobs, get_context("fork")) as pool:
        crafted = [(k, pool.submit(hostile, k, asked.seconds)) for k in kinds]
        damaged = [
            (f, pool.submit(fuzzed, f, asked.mutations, asked.seed, asked.seconds)) for f in chosen
        ]
        attacks = {kind: _told(kind, job.result()) for kind, job in crafted}
        fuzz = {one.name: _told(one.name, job.result()) for one, job in damaged}
    text = page(attacks, fuzz, asked)
    if asked.only:
        print(text)
    else:
        counted = {name: _counted(found) for name, found in fuzz.items()}
        data = {"hostile": attacks, "fuzzed": counted, "seed": asked.seed,
                "seconds": round(time.monotonic() - begun)}  # fmt: skip
        write("robustness", "Hostile and damaged inputs", text, data,
              "make robustness")  # fmt: skip
    return int(any(_faults(found) for found in (*attacks.values(), *fuzz.values())))


def _asked_for(name: str, words: list[str] | None) -> bool:
    return words is None or any(word.lower() in name.lower() for word in words)


def warm_up() -> None:
    """Import once what children would import again and again; nothing that starts threads runs."""
    with redirect_stderr(StringIO()):
        import coremltools  # noqa: F401
    import onnxruntime  # noqa: F401
    import torch
    import torch._dynamo

    import srdeploy.api
    import srdeploy.cli.main
    import srdeploy.models.importing.state_dict
    import srdeploy.runtime.open  # noqa: F401

    torch.set_num_threads(1)


def hostile(kind: str, seconds: float) -> list[dict[str, Any]]:
    """What became of each attack of a kind."""
    chosen = [case for case in hostile_cases.cases() if case.kind == kind]

    def item(number: int, folder: Path) -> str:
        return chosen[number].run(folder)

    limit = max(seconds, SECONDS)
    found = outcomes(len(chosen), item, limit, batch=10)
    return [{"name": c.name, "outcome": o} for c, o in zip(chosen, found, strict=True)]


def fuzzed(one: Format, count: int, seed: int, seconds: float) -> list[dict[str, Any]]:
    """What became of each mutation of a format's file."""
    if reason := one.missing():
        return [{"number": -1, "outcome": f"not tried: {reason}"}]
    with tempfile.TemporaryDirectory(prefix="format") as name:
        # Made in a child, so that this process stays as it was imported.
        made = outcomes(1, partial(_make, one, Path(name)), 300)
        if made != ["read"]:
            return [{"number": -1, "outcome": f"not tried: {made[0]}"}]
        original = (Path(name) / "content").read_text()
        place = Path((Path(name) / "place").read_text())
        good = place.read_bytes()

        def item(number: int, folder: Path) -> str:
            copy = mutation(good, seed, number)
            # Each child has the folder to itself: the files beside the damaged one stay.
            place_ = folder / "f" / place.relative_to(Path(name) / "f")
            _linked(Path(name) / "f", folder / "f", place)
            place_.write_bytes(copy)
            read = one.read(place_)
            if one.content is None or copy == good:
                return "read"
            return "as the original" if one.content(read) == original else "altered silently"

        found = outcomes(count, item, seconds)
    return [{"number": n, "outcome": outcome} for n, outcome in enumerate(found)]


def _make(one: Format, folder: Path, number: int, scratch: Path) -> str:
    (folder / "f").mkdir()
    place = one.make(folder / "f")
    read = one.read(place)
    (folder / "place").write_text(str(place))
    (folder / "content").write_text("" if one.content is None else one.content(read))
    return "read"


def _linked(source: Path, target: Path, damaged: Path) -> None:
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path != damaged:
            os.link(path, copy)


def mutation(good: bytes, seed: int, number: int) -> bytes:
    """Mutation ``number`` of a file: a child's share is one run of the generator."""
    share = mutations(good, seed * 1_000_003 + number // BATCH)
    return next(itertools.islice(share, number % BATCH, None))[1]


def write_one(name: str, number: int, seed: int) -> int:
    """Write a mutated file beside the others of its format into a new folder, and say where."""
    one = next(f for f in FORMATS if f.name == name)
    folder = Path(tempfile.mkdtemp(prefix="mutation"))
    place = one.make(folder)
    place.write_bytes(mutation(place.read_bytes(), seed, number))
    print(place)
    return 0


def _told(name: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    faults = Counter(_kind(one["outcome"]) for one in _faults(found))
    told = ", ".join(f"{count} {kind}" for kind, count in faults.items())
    print(f"{name}: {len(found)} tried, {told or 'all held'}", file=sys.stderr, flush=True)
    return found


def _kind(outcome: str) -> str:
    return outcome.partition(":")[0]


def _counted(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How often each outcome came, and whatever did not hold, in full: the seed gives the rest."""
    return {
        "outcomes": dict(Counter(_kind(one["outcome"]) for one in found)),
        "faults": _faults(found),
    }


def _faults(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if _kind(one["outcome"]) not in (*HELD, "not tried")]


def page(
    attacks: dict[str, list[dict[str, Any]]],
    fuzz: dict[str, list[dict[str, Any]]],
    asked: argparse.Namespace,
) -> str:
    """The page's text."""
    held = [
        [kind, len(found), len(found) - len(_faults(found))]
        for kind, found in attacks.items() if kind != SIZES
    ]  # fmt: skip
    parts = [INTRODUCTION.format(seconds=asked.seconds)]
    if held:
        parts += ["## Hostile inputs", table(["kind", "tried", "held"], held)]
    if sizes := attacks.get(SIZES):
        rows = [[one["name"], one["outcome"]] for one in sizes]
        parts += ["## Networks that depend on the size", NETWORKS, table(["", "outcome"], rows)]
    rows = []
    for name, found in fuzz.items():
        if found[0]["number"] < 0:
            rows.append([name, found[0]["outcome"], *["-"] * (len(FAULTS) + 2)])
            continue
        count = Counter(_kind(one["outcome"]) for one in found)
        own = next(f for f in FORMATS if f.name == name).content is not None
        faults = [count[kind] if own or kind != FAULTS[-1] else "-" for kind in FAULTS]
        good = count["read"] + count["as the original"]
        rows.append([name, len(found), count["refused"], good, *faults])
    if rows:
        header = ["format", "mutations", "refused", "read", *FAULTS]
        parts += ["## Every format, damaged", FUZZ.format(seed=asked.seed), table(header, rows)]
    everything = {**attacks, **fuzz}
    left = [
        f"* {name}: {one.get('name', one.get('number'))}: `{one['outcome'][:200]}`"
        for name, found in everything.items() for one in _first_of_each(_faults(found))
    ]  # fmt: skip
    parts += ["## What did not hold", "\n".join(left) or "Nothing."]
    return "\n\n".join(parts)


def _first_of_each(faults: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of faults that look the same, the first: the rest are in the JSON."""
    seen: dict[str, dict[str, Any]] = {}
    for one in faults:
        place = one["outcome"].rpartition("(")[2] if "(" in one["outcome"] else one["outcome"]
        seen.setdefault(_kind(one["outcome"]) + place, one)
    return list(seen.values())


INTRODUCTION = """Each input is read in a child process with 2 GB of address space beyond what the
libraries take, {seconds:g} s of time, and a canary: every program that is started, every connection
and every write outside the input's own folder is seen through Python's audit hook. Held means: read
for what it is, or refused with one sentence and nothing left behind. Opening may take 10 s
(`SRDEPLOY_PATIENCE`), where 120 s are the default."""

NETWORKS = """Code that computes one thing at some sizes and another at others, through the command
line. `prune` and `export` must refuse each: what is proven at one size would be wrong at the next.
"""

FUZZ = """A small good file of each format, mutated (`benchmarks/fuzzing.py`, seed {seed}): bits
flipped, bytes replaced, cut, doubled, left out, moved, lengths and numbers replaced. A mutation may
be read, since much of a picture or a text is free to differ; in our own format it must be refused
unless the weights are those of the original. An internal error is any exception that is not an
error of ours with its sentence."""


if __name__ == "__main__":
    sys.exit(main())
