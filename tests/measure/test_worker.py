from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srdeploy.measure.worker import Worker, peak_mb, serve
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
    opened, fed, first, warm, turn, memory, ran = talk(
        opening(network),
        {"do": "feed", "path": str(tmp_path / "x.npy")},
        {"do": "first"},
        {"do": "warm", "runs": 2, "seconds": 0},
        {"do": "turn", "seconds": 0.01},
        {"do": "memory"},
        {"do": "run", "path": str(tmp_path / "x.npy"), "to": str(tmp_path / "y.npy")},
    )
    assert Card.from_json(opened["card"]).arch == "ledsr"
    assert (opened["runtime"], opened["threads"]) == ("torch", 1)
    assert opened["load_ms"] > 0
    assert fed["input"] == [1, 3, 8, 8]
    assert first["first_ms"] > 0
    assert warm == {"ok": True, "notes": opened["notes"]}
    assert sum(turn["samples_ms"]) >= 10
    assert memory["peak_mb"] == pytest.approx(peak_mb(), rel=0.5)
    assert ran == {"ok": True}
    assert np.load(tmp_path / "y.npy").shape == (1, 3, 16, 16)


def test_errors_leave_it_serving(network: Path) -> None:
    absent, good, strange = talk(opening("absent.onnx"), opening(network), {"do": "dance"})
    assert absent["ok"] is False
    assert "There is no file 'absent.onnx'" in absent["error"]
    assert good["ok"] is True
    assert strange["error"].startswith("KeyError")


def test_peak_is_a_high_water_mark() -> None:
    if peak_mb() is None:
        pytest.skip("this system does not tell a process its peak memory")
    code = (
        "from srdeploy.measure.worker import peak_mb; import numpy as np; a = peak_mb(); "
        "x = np.ones(100_000_000, np.uint8); b = peak_mb(); del x; print(a, b, peak_mb())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    before, during, after = (float(number) for number in answer.stdout.split())
    assert during - before == pytest.approx(100, abs=10)
    assert after == pytest.approx(during, abs=5)  # the kernel counts in batches
    assert before < peak_mb()  # a bare interpreter's own, not this process's
