from __future__ import annotations

import datetime as dt
import stat
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="cryptography is not installed")

from srdeploy.devices.browser import certificate as module
from srdeploy.devices.browser.certificate import given_certificate, own_certificate
from srdeploy.errors import UserError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "cache"))


def test_one_of_our_own_is_kept_and_its_key_is_private() -> None:
    first = own_certificate("192.168.1.20")
    first.context()
    assert own_certificate("192.168.1.20") == first
    assert own_certificate("192.168.1.21").fingerprint != first.fingerprint
    assert stat.S_IMODE(first.key.stat().st_mode) == 0o600
    assert len(first.fingerprint.split(":")) == 32


def test_a_stale_one_of_our_own_is_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DAYS", 1)
    first = own_certificate("desk.local")
    monkeypatch.setattr(module, "DAYS", 90)
    renewed = own_certificate("desk.local")
    assert renewed.fingerprint != first.fingerprint
    assert own_certificate("desk.local") == renewed


def test_a_damaged_one_of_our_own_is_replaced() -> None:
    first = own_certificate("192.168.1.20")
    first.key.write_text("nothing")
    own_certificate("192.168.1.20").context()


def test_a_stale_one_of_the_users_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DAYS", -0.5)
    stale = own_certificate("192.168.1.20")
    with pytest.raises(UserError, match=r"expired on \d{4}-\d\d-\d\d.*renew it"):
        given_certificate(str(stale.path), str(stale.key))


def test_one_from_the_future_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return super().now(tz) + dt.timedelta(days=30)

    with monkeypatch.context() as patch:
        patch.setattr(module.dt, "datetime", Later)
        future = own_certificate("192.168.1.20")
    with pytest.raises(UserError, match="valid only from"):
        given_certificate(str(future.path), str(future.key))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o622])
def test_a_key_that_others_may_use_is_refused(mode: int) -> None:
    own = own_certificate("a.local")
    own.key.chmod(mode)
    given = given_certificate(str(own.path), str(own.key))
    with pytest.raises(UserError, match=rf"mode {mode:o}.*chmod 600 '{own.key}'"):
        given.context()
    own.key.chmod(0o400)
    given.context()


def test_one_of_our_own_whose_key_was_laid_open_is_replaced() -> None:
    first = own_certificate("a.local")
    first.key.chmod(0o644)
    second = own_certificate("a.local")
    assert second.fingerprint != first.fingerprint
    assert stat.S_IMODE(second.key.stat().st_mode) == 0o600


def test_what_is_no_pair_is_told(tmp_path: Path) -> None:
    one, other = own_certificate("a.local"), own_certificate("b.local")
    with pytest.raises(UserError, match="no certificate and its key"):
        given_certificate(str(one.path), str(other.key)).context()
    with pytest.raises(UserError, match="no certificate"):
        given_certificate(str(tmp_path / "none.pem"), str(one.key))
    with pytest.raises(UserError, match="is no certificate"):
        given_certificate(str(one.key), str(one.key))
