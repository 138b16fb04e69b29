"""The GPU form: in Triton's interpreter here, on a GPU where there is one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton", reason="pip install triton (torch's CUDA builds bring it)")

INTERPRETED = """
import torch
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
print("equal")
"""


def test_equals_the_network_in_the_interpreter() -> None:
    """In a process of its own: Triton decides when it is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", INTERPRETED], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "equal"


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
