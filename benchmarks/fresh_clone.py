"""The README's two commands in a fresh clone with an empty environment and an empty cache, timed.

python benchmarks/fresh_clone.py
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from results_io import quiet, table, write

ROOT = Path(__file__).parents[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        clone, empty = Path(name) / "srdeploy", Path(name) / "empty"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("SRDEPLOY", "VIRTUAL_ENV"))
        }
        environment = kept | {"XDG_CACHE_HOME": str(empty)}
        rows, raw = [], {}
        for target in (".venv/.run", "demo", ".venv/.dev", "test"):
            started = time.perf_counter()
            done = subprocess.run(
                ["make", target], cwd=clone, env=environment, capture_output=True, text=True
            )
            seconds = time.perf_counter() - started
            print(done.stdout[-6000:], done.stderr[-3000:])
            output = done.stdout.replace(f"{clone}/", "")
            raw[target] = {"seconds": seconds, "code": done.returncode, "output": output}
            rows.append([f"`make {target}`", done.returncode, f"{seconds:.0f}"])
    ends = [line for line in raw["test"]["output"].splitlines() if " passed" in line]
    tail = raw["demo"]["output"].split("x2, LR")[-1].rstrip()
    text = (
        "`make demo` and `make test` make their environments themselves; these are timed apart "
        "(they install from the package index).\n\n"
        + table(["step", "exit code", "seconds"], rows)
        + f"\n\nTests: {ends[-1] if ends else 'see the JSON'}.\n\n"
        + f"The demo ends in:\n\n```\nx2, LR{tail}\n```"
    )
    write("fresh-clone-2cpu", "Fresh clone, empty environment", text, raw,
          "python benchmarks/fresh_clone.py")  # fmt: skip


if __name__ == "__main__":
    quiet()
    main()
