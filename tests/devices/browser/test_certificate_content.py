"""What is in a certificate of our own, how long it is good, and who may read its key."""

from __future__ import annotations

import datetime as dt
import ipaddress
import runpy
import stat
import sys
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="cryptography is not installed")

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from srdeploy.devices.browser import certificate as module
from srdeploy.devices.browser.certificate import (
    _fingerprint,
    _safe,
    given_certificate,
    own_certificate,
)
from srdeploy.errors import UserError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SRDEPLOY_CACHE", str(tmp_path / "a" / "cache"))
    return tmp_path / "a" / "cache"


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


@pytest.mark.parametrize("host", ["192.168.1.20", "fe80::1", "desk.local"])
def test_what_browsers_ask_of_it(host: str) -> None:
    own = own_certificate(host)
    made = read(own.path)
    now = dt.datetime.now(dt.timezone.utc)
    assert abs(made.not_valid_before_utc - (now - dt.timedelta(days=1))) < dt.timedelta(minutes=1)
    assert abs(made.not_valid_after_utc - (now + dt.timedelta(days=90))) < dt.timedelta(minutes=1)
    found = {extension.oid._name: extension for extension in made.extensions}
    assert {name: extension.critical for name, extension in found.items()} == {
        "subjectAltName": False, "basicConstraints": True, "extendedKeyUsage": False,
    }  # fmt: skip
    assert not found["basicConstraints"].value.ca
    assert list(found["extendedKeyUsage"].value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    (name,) = found["subjectAltName"].value
    kind = x509.DNSName if host == "desk.local" else x509.IPAddress
    assert type(name) is kind
    assert name.value == (host if kind is x509.DNSName else ipaddress.ip_address(host))
    assert made.subject == made.issuer
    assert own.own
    assert own.fingerprint == _fingerprint(made)
    assert own.context().minimum_version == module.ssl.TLSVersion.TLSv1_2


def test_only_its_owner_reads_it(cache: Path) -> None:
    (cache / "browser").mkdir(parents=True, mode=0o755)
    own = own_certificate("desk")
    assert own.path == cache / "browser" / "desk.pem"
    assert own.key == cache / "browser" / "desk.key"
    assert stat.S_IMODE((cache / "browser").stat().st_mode) == 0o700
    assert stat.S_IMODE(own.key.stat().st_mode) == 0o600


@pytest.mark.parametrize(("days", "kept"), [(3, True), (2, False)])
def test_it_outlives_every_session(monkeypatch: pytest.MonkeyPatch, days: int, kept: bool) -> None:
    monkeypatch.setattr(module, "DAYS", days)
    first = own_certificate("desk")
    monkeypatch.setattr(module, "DAYS", 90)
    assert (own_certificate("desk") == first) == kept


def test_one_for_another_host_or_without_its_key_is_replaced(cache: Path) -> None:
    first, other = own_certificate("desk"), own_certificate("other")
    first.path.write_bytes(other.path.read_bytes())
    first.key.write_bytes(other.key.read_bytes())
    again = own_certificate("desk")
    assert again.fingerprint not in (first.fingerprint, other.fingerprint)
    again.key.unlink()
    assert own_certificate("desk").fingerprint != again.fingerprint
    last = own_certificate("desk")
    last.path.write_text("damaged")
    assert own_certificate("desk").fingerprint != last.fingerprint


def at(moment: dt.datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    class Then(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> dt.datetime:
            return moment

    monkeypatch.setattr(module.dt, "datetime", Then)


def test_a_users_certificate_is_good_from_its_first_second_to_its_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = own_certificate("desk")
    made, second = read(own.path), dt.timedelta(seconds=1)
    words = (str(own.path), str(own.key))
    for good in (made.not_valid_before_utc, made.not_valid_after_utc):
        at(good, monkeypatch)
        given = given_certificate(*words)
        assert (given.own, given.fingerprint) == (False, own.fingerprint)
        assert (given.path, given.key) == (own.path, own.key)
    at(made.not_valid_before_utc - second, monkeypatch)
    with pytest.raises(UserError, match=r"is valid only from \d{4}-\d\d-\d\d; is this machine's"):
        given_certificate(*words)
    at(made.not_valid_after_utc + second, monkeypatch)
    with pytest.raises(UserError, match=r"expired on \d{4}-\d\d-\d\d, browsers would refuse"):
        given_certificate(*words)


def test_what_is_no_certificate(tmp_path: Path) -> None:
    for path, sentence in (
        (tmp_path / "none.pem", "There is no certificate"),
        (tmp_path, "is no certificate; give one in PEM"),
    ):
        with pytest.raises(UserError, match=sentence):
            given_certificate(str(path), "key")
    own = own_certificate("desk")
    (tmp_path / "no.key").write_text("nothing")
    (tmp_path / "no.key").chmod(0o600)
    with pytest.raises(UserError, match="are no certificate and its key"):
        given_certificate(str(own.path), str(tmp_path / "no.key")).context()


def test_names_of_files() -> None:
    assert _safe("desk-1.lan") == "desk-1.lan"
    assert _safe("fe80::1/..\\") == "fe80__1_.._"


def test_cryptography_is_asked_for_only_with_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("cryptography", "cryptography.x509"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "own_certificate" in runpy.run_path(module.__file__, run_name="fresh")
