"""Model files of SMSR as a runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srdeploy.errors import UserError
from srdeploy.models.card import Card
from srdeploy.runtime import sparse_file_session
from srdeploy.runtime.card_of import read_card_of
from srdeploy.runtime.open import open_session
from srdeploy.sparse.compiler import Unavailable
from tests.sparse import nets
from tests.sparse.test_library import here, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(nets.network(), tmp_path / "net.smsr")


@pytest.mark.skipif(not here(), reason="needs a C compiler")
def test_it_is_opened_by_its_ending(path: Path) -> None:
    for runtime in (None, "sparse"):
        with open_session(path, runtime=runtime, threads=2) as session:
            assert (session.runtime, session.precision, session.threads) == ("sparse", "fp32", 2)
            assert session.notes == (f"sparse form in C, kernel {here()[-1]}",)
            x = nets.image(9, 12, 2).numpy()
            first = session.run(x)
            assert first.shape == (2, 3, 18, 24)
            kept = first.copy()
            assert session.notes[1].startswith(
                "latest image, pixels inside the mask and form of every module: "
            )
            assert session.notes[1].count("% rows") == 2
            session.run(x * 0)
            assert np.array_equal(first, kept)  # the caller's own
    with pytest.raises(UserError, match="The runtime torch cannot run"):
        open_session(path, runtime="torch")


def test_its_card_needs_no_compiler(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise Unavailable("there is no C compiler (cc, gcc, clang)")

    monkeypatch.setattr(sparse_file_session, "LoadedModel", none)
    assert isinstance(read_card_of(path), Card)
    with pytest.raises(UserError, match=r"needs a C compiler \(there is no C compiler .*install"):
        open_session(path)
