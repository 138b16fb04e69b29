"""What is in the certificates, and the days at which each sentence begins."""

from __future__ import annotations

import datetime as dt
import ipaddress
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from srdeploy.errors import UserError
from srdeploy.farm import certificates
from srdeploy.farm.certificates import check, issue
from srdeploy.farm.settings import read_farm


def read(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def days(one: x509.Certificate) -> float:
    now = dt.datetime.now(dt.timezone.utc)
    return (one.not_valid_after_utc - now).total_seconds() / 86400


def name(of: x509.Name) -> str:
    return str(of.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def test_the_authority_signs_and_a_host_does_not(tmp_path: Path) -> None:
    (issued,) = issue(tmp_path, ["fe80::1"], "sched")
    authority, own = read(tmp_path / "ca.pem"), read(tmp_path / "fe80__1" / "host.pem")
    assert (issued.host, issued.folder, issued.new) == ("fe80::1", tmp_path / "fe80__1", True)
    assert issued.until == own.not_valid_after_utc
    assert (name(authority.subject), name(authority.issuer)) == ("srdeploy farm",) * 2
    assert (name(own.subject), name(own.issuer)) == ("fe80::1", "srdeploy farm")
    assert days(authority) == pytest.approx(3650, abs=0.1)
    assert days(own) == pytest.approx(365, abs=0.1)
    for one, signs in ((authority, True), (own, False)):
        begins = dt.datetime.now(dt.timezone.utc) - one.not_valid_before_utc
        assert dt.timedelta(minutes=59) < begins < dt.timedelta(minutes=70)  # hosts' clocks differ
        basic = one.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = one.extensions.get_extension_for_class(x509.KeyUsage)
        assert (basic.critical, usage.critical) == (True, True)
        assert (basic.value.ca, basic.value.path_length) == (signs, 0 if signs else None)
        assert (usage.value.key_cert_sign, usage.value.crl_sign) == (signs, signs)
        assert usage.value.digital_signature is not signs
        for other in (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
        ):
            assert getattr(usage.value, other) is False
        key = one.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
        one.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    extended = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(extended) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    alternative = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert alternative.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("fe80::1")]
    issue(tmp_path, ["bench1"])
    alternative = (
        read(tmp_path / "bench1" / "host.pem")
        .extensions.get_extension_for_class(x509.SubjectAlternativeName)
        .value
    )
    assert alternative.get_values_for_type(x509.DNSName) == ["bench1"]
    assert read_farm(tmp_path / "bench1").scheduler == "sched"


def test_a_host_never_outlives_its_authority(tmp_path: Path) -> None:
    issue(tmp_path, ["short"], "sched", days=7)
    issue(tmp_path, ["long"], days=9999)
    assert days(read(tmp_path / "short" / "host.pem")) == pytest.approx(7, abs=0.1)
    authority, own = read(tmp_path / "ca.pem"), read(tmp_path / "long" / "host.pem")
    assert own.not_valid_after_utc <= authority.not_valid_after_utc
    assert days(own) > 3640


@pytest.mark.parametrize(
    ("ahead", "told"), [(14.1, None), (13.9, "ends in 13 days"), (0.5, "ends in 0 days")]
)
def test_an_end_that_is_near_is_mentioned(
    ahead: float, told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue(tmp_path, ["a"], "sched", days=100)
    farm = read_farm(tmp_path / "a")
    now = dt.datetime.now(dt.timezone.utc) + dt.timedelta(days=100 - ahead)
    monkeypatch.setattr(certificates, "_now", lambda: now)
    remark = check(farm)
    assert (remark is None) if told is None else (told in str(remark))


def test_keys_and_requests_that_do_not_serve(tmp_path: Path) -> None:
    issue(tmp_path, ["a"], "sched:1")
    for hosts, scheduler in ((["a b"], None), (["ok"], "x:y")):
        with pytest.raises(UserError, match="no address"):
            issue(tmp_path, hosts, scheduler)
    assert not (tmp_path / "ok").exists()
    issue(tmp_path, ["b"], "other:2")  # its own file says the new one
    assert read_farm(tmp_path / "b").scheduler == "other:2"
    (tmp_path / "ca.key").write_bytes(b"none")
    with pytest.raises(UserError, match="is missing or cannot be read"):
        issue(tmp_path, ["c"])
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(UserError, match="There is no certificate"):
        issue(tmp_path, ["c"])  # half an authority is not begun anew
