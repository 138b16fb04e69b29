from __future__ import annotations

import numpy as np

from srdeploy.runtime.bicubic_session import BicubicSession


def test_the_baseline_is_a_network_that_changes_nothing() -> None:
    with BicubicSession() as session:
        card = session.card
        assert (card.arch, card.channels, card.value_range) == ("bicubic", 3, 255.0)
        assert card.scales == (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)
        assert card.scale == 2
        assert (card.pre_upscaled, card.network_scale, card.luma_only) == (True, 1, False)
        assert card.receptive_field == 1
        assert (session.runtime, session.threads) == ("numpy", 1)
        x = np.random.default_rng(0).random((1, 3, 4, 5), np.float32)
        np.testing.assert_array_equal(session.run(x), x)
