"""One command, four real kinds of device: this machine, a host behind sshd, a phone, a browser.

All on loopback: a real sshd, the real adbd with Android's shell, a real headless Chromium, and a
farm of scheduler, worker and client with mutual TLS.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import srdeploy as sr
from srdeploy.data.builtin import BENCHMARK_IMAGES
from srdeploy.data.images import list_images, read_rgb, write_png
from srdeploy.util.files import cache_dir
from tests.devices.browser.real_browser import ort_web, start_browser  # noqa: F401
from tests.devices.ssh.loopback import Loopback, require_openssh
from tests.emulated.phone import PORTS, Phone
from tests.emulated.runner import require_runner
from tests.emulated.test_adb import phone  # noqa: F401

pytest.importorskip("distributed")

from benchmarks.farm_lab import Lab, free_port, lab

pytestmark = pytest.mark.emulated

KINDS = ("local", "ssh", "adb", "browser")
TOKEN = "a-page-that-stays-open"


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    """A Linux host without trtexec: the static native runner's."""
    require_openssh()
    host = Loopback(tmp_path_factory.mktemp("board"), programs=(), version="")
    yield host
    host.stop()


@pytest.fixture(scope="module")
def shop(phone: Phone, board: Loopback, ort_web: Path) -> Iterator[Lab]:  # noqa: F811
    runner = require_runner("x86_64")
    page = free_port()
    options = f"backend=wasm&ort={ort_web}&token={TOKEN}&wait=120&patience=60"
    entries: list[dict[str, Any]] = [
        {"uri": "local", "name": "desk", "tags": ["x86"]},
        {"uri": board.uri, "name": "board", "tags": ["linux"]},
        {"uri": f"adb://{phone.serial(PORTS[0])}", "name": "pixel", "tags": ["pixel-8"]},
        {"uri": f"browser://127.0.0.1:{page}?{options}", "name": "tablet", "tags": ["tablet"]},
    ]
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{phone.client}{os.pathsep}{path}"
    try:
        with lab(devices=4, processes=1, port=free_port(), entries=entries) as one:
            linked = one.folder / "cache" / runner.relative_to(cache_dir())
            linked.parent.mkdir(parents=True)
            linked.symlink_to(runner.resolve())
            one.start_all()
            one.wait_for_devices()
            yield one
    finally:
        os.environ["PATH"] = path


@pytest.fixture
def person(shop: Lab) -> Iterator[Any]:
    """Somebody who opens the page once, when the worker says where, and leaves it open."""
    driver = start_browser()
    done = threading.Event()

    def open_the_page() -> None:
        while not done.wait(0.2):
            if found := re.search(r"http://127\.0\.0\.1:\d+/\S+", shop.log("worker0")):
                with suppress(Exception):
                    driver.get(found[0])
                    return

    thread = threading.Thread(target=open_the_page)
    thread.start()
    yield driver
    done.set()
    thread.join()
    driver.quit()


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The shipped network, and what is left of it without half its channels."""
    dense = sr.load("edsr-s-x2")
    folder = tmp_path_factory.mktemp("nets")
    paths = [folder / "dense.onnx", folder / "pruned.onnx"]
    for path, network in zip(paths, (dense, sr.prune(dense, 0.5)), strict=True):
        sr.export(network, path)
    return paths


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set") / "crops"
    folder.mkdir()
    for path in list_images(BENCHMARK_IMAGES)[:2]:
        write_png(folder / path.name, np.ascontiguousarray(read_rgb(path)[:96, :128]))
    return folder


def test_one_command_measures_on_all_kinds(
    shop: Lab, person: Any, artifacts: list[Path], pictures: Path, tmp_path: Path
) -> None:
    rows = measure(shop, artifacts, pictures, tmp_path / "results.sqlite")
    assert [row["error"] for row in rows] == [None] * 8
    if page := os.environ.get("SRDEPLOY_TEST_ROWS"):
        Path(page).write_text(json.dumps(rows))
    assert [row["device"] for row in rows] == [
        name for name in ("desk", "board", "pixel", "tablet") for _ in artifacts
    ]
    assert {row["device"]: row["runtime"] for row in rows} == {
        "desk": "onnxruntime",
        "board": "ncnn",
        "pixel": "ncnn",
        "tablet": "browser (wasm)",
    }
    for dense, pruned in zip(rows[::2], rows[1::2], strict=True):
        assert dense["session"] == pruned["session"]  # they took turns, so this ratio is fair
    for column in (rows[::2], rows[1::2]):  # the same network puts out the same on all of them
        assert max(row["psnr_y"] for row in column) - min(row["psnr_y"] for row in column) < 0.01
    # Another command, and nobody touches the tablet: its page has stayed.
    again = measure(shop, artifacts[1:], pictures, tmp_path / "again.sqlite", kinds=("browser",))
    assert [row["error"] for row in again] == [None]


def measure(
    shop: Lab, artifacts: list[Path], pictures: Path, store: Path, kinds: tuple[str, ...] = KINDS
) -> list[dict[str, Any]]:
    """The command, as a user types it."""
    words = ["bench", *map(str, artifacts), "--farm", str(shop.folder / "client")]
    words += ["--devices", ",".join(kinds), "--store", str(store), "--data", str(pictures)]
    words += ["--scale", "2", "--seconds", "0.5", "--threads", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "srdeploy", *words], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, f"{done.stderr}\n{shop.log('worker0')}"
    return json.loads(done.stdout)
