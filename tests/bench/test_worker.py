from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.bench.memory import peak_mb
from srdeploy.bench.worker import Worker, serve
from srdeploy.data.benchmark import open_benchmark
from srdeploy.models.card import Card
from srdeploy.models.registry import create
from srdeploy.models.store import save_network


def talk(*requests: dict[str, Any]) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = []
    serve([json.dumps(request) for request in requests], answers.append, Worker())
    return answers


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("worker") / "net.safetensors"
    save_network(create("ledsr", n_blocks=1, n_feats=4), path)
    return path


def opening(artifact: object) -> dict[str, Any]:
    return {"do": "open", "artifact": str(artifact), "runtime": None, "threads": 1, "options": {}}


def test_a_whole_conversation(network: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3, 8, 8), np.float32))
    opened, fed, first, warm, turn, memory, quality = talk(
        opening(network),
        {"do": "feed", "path": str(tmp_path / "x.npy")},
        {"do": "first"},
        {"do": "warm", "runs": 2, "seconds": 0},
        {"do": "turn", "seconds": 0.01},
        {"do": "memory"},
        {"do": "quality", "data": "builtin", "scale": 2, "protocol": None},
    )
    assert Card.from_json(opened["card"]).arch == "ledsr"
    assert (opened["runtime"], opened["threads"]) == ("torch", 1)
    assert opened["load_ms"] > 0
    assert fed["input"] == [1, 3, 8, 8]
    assert first["first_ms"] > 0
    assert warm == {"ok": True}
    assert sum(turn["samples_ms"]) >= 10
    assert memory["peak_mb"] == pytest.approx(peak_mb(), rel=0.5)
    assert quality["quality"]["n_images"] == len(open_benchmark("builtin", 2))
    assert "per_image" not in quality["quality"]
    assert quality["quality"]["protocol"].startswith("psnr[y, crop=2")


def test_errors_leave_it_serving(network: Path) -> None:
    absent, good, strange = talk(opening("absent.onnx"), opening(network), {"do": "dance"})
    assert absent["ok"] is False
    assert "There is no file 'absent.onnx'" in absent["error"]
    assert good["ok"] is True
    assert strange["error"].startswith("KeyError")


def test_peak_is_a_high_water_mark() -> None:
    before = peak_mb()
    if before is None:
        pytest.skip("this system does not tell a process its peak memory")
    block = np.ones(60_000_000, np.uint8)
    during = peak_mb()
    assert during is not None
    size = block.nbytes / 1e6
    del block
    after = peak_mb()
    assert after is not None
    assert after >= during >= before
    assert during > size
