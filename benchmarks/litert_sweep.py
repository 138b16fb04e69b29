"""Every architecture and shipped network in LiteRT: what its delegates take, parity and PSNR.

    python benchmarks/litert_sweep.py DATA [--only NAME ...]

DATA holds weights/ and benchmark/. Architectures without published weights there are small, with
random weights, of which parity alone tells something. What was made is kept in runs/litert_sweep,
and an interrupted sweep goes on with the network that it was at.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from results_io import table, write
from swept import PUBLISHED, RUNS, SHIPPED, network_of

from srdeploy.errors import SrdeployError
from srdeploy.exporting.litert.accept import DELEGATES, check_file
from srdeploy.exporting.run import export
from srdeploy.exporting.targets import LITERT_PRECISIONS
from srdeploy.models.network import Network
from srdeploy.models.registry import ARCHITECTURES

FOLDER = RUNS / "litert_sweep"
SIDE, SMALL_SIDE = 128, 64
"""Height and width of the files; of networks with random weights, which see no benchmark images."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with weights/ and benchmark/")
    parser.add_argument("--only", nargs="+", metavar="NAME")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # for the process of one network
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(tried(asked.one, asked.data)))
        return
    names = [*SHIPPED, *PUBLISHED, *(f"{name} (random)" for name in ARCHITECTURES)]
    raw = []
    for name in names:
        kept = FOLDER / f"{_file(name)}.json"
        if not kept.exists() and (asked.only is None or name in asked.only):
            kept.parent.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, __file__, str(asked.data), "--one", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            kept.write_text(done.stdout.splitlines()[-1])
        if kept.exists():
            raw.append(json.loads(kept.read_text()))
    report(raw, len(names))


def _file(name: str) -> str:
    return name.replace(" ", "-")


def tried(name: str, data: Path) -> dict[str, Any]:
    """One network in each precision."""
    folder = FOLDER / _file(name)
    folder.mkdir(parents=True, exist_ok=True)
    network = network_of(name, data)
    trained = not name.endswith("(random)")
    found: dict[str, Any] = {"network": name, "trained": trained}
    for precision in LITERT_PRECISIONS:
        if precision == "mixed" and name not in SHIPPED:
            continue  # random weights have no quality to keep, and large networks take an hour
        kept = folder / f"{precision}.json"
        if not kept.exists():
            kept.write_text(json.dumps(one(network, precision, folder, data if trained else None)))
        found[precision] = json.loads(kept.read_text())
    return found


def one(network: Network, precision: str, folder: Path, data: Path | None) -> dict[str, Any]:
    """One file, its parity, what delegates refuse of it, and what it loses on Set5."""
    path = folder / f"{precision}.tflite"
    multiple = network.card.size_multiple
    side = -(-(SIDE if data is not None else SMALL_SIDE) // multiple) * multiple
    options: dict[str, Any] = {"sizes": f"{side}x{side}"}
    if data is not None and precision != "fp32":
        options["data"] = str(data / "benchmark" / "Set5")
    try:
        made = export(network, "litert", path, precision=precision, **options)
    except SrdeployError as error:
        return {"error": str(error)}
    assert made.parity is not None
    accepted = check_file(path)
    return {
        "parity": made.parity.relative,
        "bytes": made.bytes,
        "operations": sum(accepted.operations.values()),
        "refused": {one: [str(op) for op in accepted.by(one)] for one in DELEGATES},
        "quality": made.quality if data is not None else None,
        "float_layers": [row["layer"] for row in made.layers if row["precision"] == "fp32"],
    }


def report(raw: list[dict[str, Any]], planned: int) -> None:
    """The page."""
    rows, failed = list[list[Any]](), list[str]()
    outside = dict.fromkeys(DELEGATES, 0)
    for network in raw:
        for precision in LITERT_PRECISIONS:
            if (told := network.get(precision)) is None:
                continue
            if "error" in told:
                failed.append(f"- {network['network']}, {precision}: {told['error']}")
                continue
            for delegate in DELEGATES:
                outside[delegate] += len(told["refused"][delegate])
                failed += [
                    f"- {network['network']}, {precision}, {delegate}: {op}"
                    for op in dict.fromkeys(told["refused"][delegate])
                ]
            quality = told["quality"]
            rows.append([
                network["network"], precision, f"{told['bytes'] / 1024:,.0f}", told["operations"],
                *(len(told["refused"][delegate]) for delegate in DELEGATES),
                len(told["float_layers"]) if precision in ("int8", "mixed") else "-",
                f"{told['parity']:.0e}",
                f"{quality['psnr_fp32']:.2f}" if quality else "-",
                f"{-quality['drop']:+.3f}" if quality else "-",
            ])  # fmt: skip
    header = [
        "network", "precision", "KiB", "operations", *(f"outside {one}" for one in DELEGATES),
        "layers in fp32", "parity", "Set5 dB", "change",
    ]  # fmt: skip
    tried_in_all = sum(precision in network for network in raw for precision in LITERT_PRECISIONS)
    counted = ", ".join(f"{count} for {one}" for one, count in outside.items())
    text = (
        f"**{len(rows)} of {tried_in_all} "
        f"files were written and run**, of {len(raw)} of {planned} networks. **Operations outside "
        f"the accept lists of the delegates: {counted}.** The lists are those of LiteRT's GPU "
        "delegate and of NNAPI 1.3 (`srdeploy/exporting/litert/accept.py`), read off the files; no "
        f"phone was there. Files take {SIDE}x{SIDE}, of random weights "
        f"{SMALL_SIDE}x{SMALL_SIDE}. *parity*: the largest difference from torch "
        "over the value range, through LiteRT's interpreter on the CPU. Set5 under each network's "
        "protocol, its images cut or continued to the file's size; of fp32 it is measured on the "
        "shipped images, where it must lose nothing. Networks with random weights have no PSNR, "
        "and 8 bits no parity that tells anything. *mixed* may lose 0.05 dB, and was tried on the "
        "shipped networks.\n\n" + table(header, rows)
    )
    if failed:
        text += "\n\n## What did not work\n\n" + "\n".join(failed)
    write("litert-sweep", "LiteRT", text, raw, "python benchmarks/litert_sweep.py DATA")


if __name__ == "__main__":
    main()
