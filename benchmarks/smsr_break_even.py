"""Where SMSR's sparse form begins to pay on this machine: both kernels, as a page and charts.

python benchmarks/smsr_break_even.py DATA [--threads 2]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from results_io import RESULTS, own_command, quiet, srdeploy, table, write


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path, help="folder with weights/")
    options.add_argument("--threads", type=int, default=2)
    asked = options.parse_args()
    network = str(asked.data / "weights/smsr/SMSR_X2_model_1000.pt")
    text, data = [], {}
    for kernel in ("native", "torch"):
        name = f"smsr-x2-break-even-{kernel}-fp32-cpu-{asked.threads}threads"
        arguments = ["bench", "sparse", network, "--kernel", kernel]
        arguments += ["--threads", str(asked.threads), "-o", str(RESULTS / f"{name}.svg")]
        found = data[kernel] = srdeploy(*arguments)
        text += [f"## {found['reason']}", _table(found["sizes"]), f"![chart]({name}.svg)"]
    page = "Masked layers of one module, ms, shortest of 7 runs in turns; masks are patches.\n\n"
    stem = f"smsr-x2-break-even-fp32-cpu-{asked.threads}threads"
    write(stem, "SMSR x2: where skipping pixels pays", page + "\n\n".join(text), data,
          own_command(asked.data))  # fmt: skip


def _table(sizes: list[dict]) -> str:
    densities = sizes[0]["densities"]
    shown_at = [n for n, d in enumerate(densities) if round(d * 100) % 20 == 0]
    header = ["size", "dense", *(f"{densities[n]:.0%}" for n in shown_at), "pays below"]
    return table(
        header,
        [
            [
                f"{one['side']}x{one['side']}",
                f"{one['dense_ms']:.2f}",
                *(f"{one['rows_ms'][n]:.2f}" for n in shown_at),
                f"{one['pays_below']:.0%}",
            ]
            for one in sizes
        ],
    )


if __name__ == "__main__":
    quiet()
    main()
