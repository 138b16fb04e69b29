from __future__ import annotations

import numpy as np
import torch

from srdeploy.models.registry import create
from srdeploy.runtime.torch_session import TorchSession


def test_agrees_with_the_module() -> None:
    network = create("edsr", scale=3, n_blocks=2, n_feats=8)
    x = np.random.default_rng(0).uniform(0, 255, (2, 3, 9, 7)).astype(np.float32)
    with torch.no_grad():
        expected = network.module(torch.from_numpy(x)).numpy()
    with TorchSession(network.copy()) as session:
        out = session.run(x)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    np.testing.assert_allclose(out, expected, atol=1e-3)


def test_threads_are_lent_for_the_run_only() -> None:
    network = create("vdsr", n_layers=3, n_feats=4)
    seen = []
    network.module.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    TorchSession(network, threads=before + 1).run(np.zeros((1, 1, 8, 8), np.float32))
    assert seen == [before + 1]
    assert torch.get_num_threads() == before


def test_dropout_and_batch_norm_are_off() -> None:
    network = create("vdsr", n_layers=3, n_feats=4)
    network.module.add_module("extra", torch.nn.Dropout())
    network.module.train()
    session = TorchSession(network)
    assert not any(module.training for module in network.module.modules())
    session.close()
