"""A loaded model as a session."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from srdeploy.devices.protocol import Loaded
from srdeploy.devices.session import DeviceSession
from srdeploy.models.registry import create


@pytest.mark.parametrize(("threads", "said"), [(3, 3), (None, 1)])
def test_a_loaded_model_is_a_session(threads: int | None, said: int) -> None:
    card = create("ledsr", n_blocks=1, n_feats=4).card
    model: Any = SimpleNamespace(
        loaded=Loaded(card=card, runtime="trt", threads=threads), run=lambda x: x * 2
    )
    session = DeviceSession(model)
    assert (session.runtime, session.threads, session.card) == ("trt", said, card)
    assert session._run(np.ones(2, np.float32)).tolist() == [2, 2]
