"""The GPU form: in Triton's interpreter here, on a GPU where there is one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from srdeploy.errors import UserError
from srdeploy.models.registry import create
from srdeploy.runtime.open import open_session

pytest.importorskip("triton", reason="pip install triton (torch's CUDA builds bring it)")

INTERPRETED = """
import numpy as np
import torch
from srdeploy.errors import UserError
from srdeploy.exporting.probe import run_torch
from srdeploy.models.probes import photograph
from srdeploy.models.registry import create
from srdeploy.runtime.open import open_session
from srdeploy.sparse.gpu import GpuSMSR, list_pixels
from tests.sparse import nets
for case in ({"density": 0.4}, {"density": 0.0}, {"density": 1.0, "dense": (0, 0, 0)},
             {"dense": (12, 12, 12)}, {"dense": (0, 12, 4), "scale": 3}):
    module = nets.network(**case)
    sparse = GpuSMSR(module)
    for size in ((13, 9, 2), (16, 20, 1)):
        x = nets.image(*size)
        with torch.inference_mode():
            difference = float((sparse(x) - module(x)).abs().max())
        assert difference < 0.01, (case, size, difference)
mask = torch.tensor([0, 1, 1, 0, 1], dtype=torch.bool)
listed, count = list_pixels(mask)
assert int(count) == 3 and listed[:3].tolist() == [1, 2, 4]
network = create("smsr", scale=2, n_modules=1)
with open_session(network, runtime="sparse-cuda") as session:
    x = photograph(network.card, (13, 9))
    assert np.abs(session.run(x) - run_torch(network, x)).max() < 0.01 * network.card.value_range
    assert session.precision == "fp32" and "interpreter" in session.notes[0]
for what, options in (("edsr", {}), ("smsr", {"precision": "int8"})):
    try:
        open_session(create(what, scale=2), runtime="sparse-cuda", **options)
    except UserError as error:
        print(error)
print("equal")
"""


def test_equals_the_network_in_the_interpreter() -> None:
    """In a process of its own: Triton decides when it is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    *refused, last = done.stdout.strip().splitlines()
    assert last == "equal"
    assert "sparse-cuda runs SMSR networks" in refused[0]
    assert "known: fp16, fp32" in refused[1]


@pytest.mark.skipif(torch.cuda.is_available(), reason="an NVIDIA GPU is here")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(UserError, match=r"sparse-cuda cannot run here: .*NVIDIA|built for CUDA"):
        open_session(create("smsr", scale=2, n_modules=1), runtime="sparse-cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="an NVIDIA GPU is here")
def test_the_gpu_check_skips_by_name() -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "gpu_check.py"
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert len(lines) == 5
    assert all("skipped" in line and "finds no NVIDIA GPU" in line for line in lines)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_equals_the_network_without_synchronising(dtype: torch.dtype) -> None:
    from srdeploy.models.smsr.dense import DenseMasks
    from srdeploy.sparse.gpu import GpuSMSR
    from tests.sparse import nets

    module = nets.network()
    x = nets.image(40, 56, 2).to("cuda", dtype)
    sparse = GpuSMSR(module).to("cuda", dtype)
    dense = DenseMasks(module).to("cuda", dtype)
    with torch.inference_mode():
        sparse(x)  # compiles
        torch.cuda.set_sync_debug_mode("error")
        try:
            found = sparse(x)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        difference = (found - dense(x)).abs().float()
    assert float(difference.mean()) < (0.01 if dtype == torch.float32 else 1.0)
