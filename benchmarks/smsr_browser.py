"""SMSR in a browser: the sparse ONNX file against the dense one in onnxruntime-web (WASM).

    python benchmarks/smsr_browser.py DATA [--threads 2] [--seconds 20] [--busy]

Both files are measured in turns by `srdeploy bench --device browser` in a headless Chromium of this
machine, on several images; PSNR is computed from the browser's own output. onnxruntime here is
measured on the same files, so that the page tells whether the browser or the form makes a
difference.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from results_io import own_command, quiet, srdeploy, table, write

from srdeploy.data.benchmark import open_benchmark
from srdeploy.data.images import write_png

FORMS = {"dense.onnx": "--dense-masks", "sparse.onnx": "--sparse"}


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("data", type=Path, help="folder with benchmark/ and weights/")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--seconds", type=float, default=20)
    asked = options.parse_args()
    weights = str(asked.data / "weights/smsr/SMSR_X2_model_1000.pt")
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [str(folder / form) for form in FORMS]
        for file, form in zip(files, FORMS.values(), strict=True):
            srdeploy("export", weights, form, "-o", file)
        for pair in open_benchmark(asked.data / "benchmark/Set5", 2):
            alone = folder / pair.name
            alone.mkdir()
            write_png(alone / f"{pair.name}.png", pair.hr())
            common = ["--eval-data", str(alone), "--scale", "2", "--threads", str(asked.threads)]
            common += ["--seconds", str(asked.seconds)]
            found[pair.name] = {
                "browser": _in_browser(files, common),
                "here": srdeploy("bench", *files, *common, "--runtime", "onnxruntime"),
            }
    write(f"smsr-x2-set5-browser-wasm-{asked.threads}threads",
          "SMSR x2 in a browser: the sparse ONNX file against the dense one", _text(found),
          found, own_command(asked.data))  # fmt: skip


def _in_browser(files: list[str], common: list[str]) -> Any:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(8)
    opener = threading.Thread(
        target=_visit, args=(f"http://127.0.0.1:{port}/{token}/",), daemon=True
    )
    opener.start()
    device = f"browser://127.0.0.1:{port}?backend=wasm&wait=120&token={token}"
    return srdeploy("bench", *files, *common, "--device", device)


def _visit(address: str) -> None:
    """Open the page once its port answers; the browser ends when the page is done with."""
    names = ("chromium", "google-chrome", "chromium-browser")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        sys.exit("There is no Chromium or Chrome here; install one.")
    port = int(address.split(":")[2].split("/")[0])
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.2)
    with tempfile.TemporaryDirectory() as profile:
        process = subprocess.Popen(
            [browser, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
             f"--user-data-dir={profile}", address],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while True:  # the server ends with the command
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) != 0:
                    break
            time.sleep(0.5)
        process.terminate()
        process.wait()


def _text(found: dict[str, dict[str, Any]]) -> str:
    header = ["image", "dense, browser", "sparse, browser", "dense over sparse, browser",
              "dense, here", "sparse, here", "dense over sparse, here",
              "PSNR dense / sparse, browser"]  # fmt: skip
    rows = []
    for image, where in found.items():
        cells: list[str] = []
        for place in ("browser", "here"):
            dense, sparse = (row["p50_ms"] for row in where[place])
            cells += [f"{dense:.1f}", f"{sparse:.1f}", f"{dense / sparse:.2f}"]
        quality = " / ".join(f"{row['psnr_y']:.3f}" for row in where["browser"])
        rows.append([image, *cells, quality])
    sizes = {image: where["browser"][0]["threads"] for image, where in found.items()}
    return (
        f"Milliseconds (p50), {next(iter(sizes.values()))} threads, both files in turns. The "
        "sparse file gathers the pixels inside the masks (NonZero, Gather, MatMul, ScatterND) in "
        "modules whose masks cover less than 40 % of the image, and computes the others "
        "everywhere.\n\n" + table(header, rows)
    )


if __name__ == "__main__":
    quiet()
    main()
