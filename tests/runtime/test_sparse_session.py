"""The runtime ``sparse``: on small networks, and on the published one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.models.load import load_network
from srdeploy.models.registry import create
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.open import open_session
from tests.sparse.test_library import here


def test_opens_by_name_and_says_what_it_chose() -> None:
    network = create("smsr", n_modules=1, n_feats=8, mask_feats=4, reduction=4)
    x = np.random.default_rng(0).random((2, 3, 11, 8), np.float32) * 255
    with open_session(network, runtime="sparse", threads=1) as session:
        found = session.run(x)
        assert session.runtime == "sparse"
        assert len(session.notes) == 2
        assert "masked layers" in session.notes[1]
    with open_session(network, threads=1) as session:
        assert session.runtime == "torch"
        assert float(np.abs(session.run(x) - found).max()) < 0.01


def test_refuses_other_networks() -> None:
    with pytest.raises(UserError, match="edsr"):
        open_session(create("edsr", n_blocks=1, n_feats=4), runtime="sparse")


@pytest.mark.skipif(not here(), reason="needs a C compiler")
def test_precisions() -> None:
    network = create("smsr", n_modules=1, n_feats=8, mask_feats=4, reduction=4)
    x = np.random.default_rng(0).random((1, 3, 11, 8), np.float32) * 255
    with open_session(network, runtime="sparse", threads=1) as session:
        assert session.precision == "fp32"
        exact = session.run(x)
    with pytest.raises(UserError, match="no precision of the runtime sparse named 'fp61'"):
        open_session(network, runtime="sparse", precision="fp61")
    with pytest.raises(UserError, match="only a network in a sparse runtime takes another"):
        open_session(network, precision="bf16")
    for precision in ("fp16", "bf16", "int8"):
        with open_session(network, runtime="sparse", threads=1, precision=precision) as session:
            assert (session.runtime, session.precision) == ("sparse", precision)
            found = session.run(x)
            assert "kernel" in session.notes[0]
        assert 0 < np.abs(found - exact).max() < 4


@pytest.mark.skipif(not here(), reason="needs a C compiler")
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_little_is_lost_on_set5(shared_data: Path, precision: str) -> None:
    """At most .05 dB of 37.991."""
    network = load_network(shared_data / "weights/smsr/SMSR_X2_model_1000.pt")
    with open_session(network, runtime="sparse", precision=precision) as session:
        quality = evaluate(session, shared_data / "benchmark/Set5", 2, progress=False)
    assert quality.psnr_y > 37.991 - {"bf16": 0.003, "int8": 0.03}[precision]


@pytest.mark.slow
@pytest.mark.skipif(not here(), reason="needs a C compiler")
@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_little_is_lost_on_b100(shared_data: Path, precision: str) -> None:
    """At most .05 dB of 32.163."""
    network = load_network(shared_data / "weights/smsr/SMSR_X2_model_1000.pt")
    with open_session(network, runtime="sparse", precision=precision) as session:
        quality = evaluate(session, shared_data / "benchmark/B100", 2, progress=False)
    assert quality.psnr_y > 32.163 - 0.03


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["torch", "sparse"])
def test_published_quality(shared_data: Path, runtime: str) -> None:
    network = load_network(shared_data / "weights/smsr/SMSR_X2_model_1000.pt")
    with open_session(network, runtime=runtime) as session:
        quality = evaluate(session, shared_data / "benchmark/Set5", 2, progress=False)
    assert quality.psnr_y == pytest.approx(37.99, abs=0.01)
