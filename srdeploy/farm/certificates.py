"""The farm's own certificates: one authority, and one certificate per host, signed by it.

Both ends of every connection show one. Names of hosts are in the certificates for people; what
counts on the wire is the authority's signature, so that hosts may change their addresses.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srdeploy.errors import UserError
from srdeploy.farm.settings import FarmFile, split_address
from srdeploy.util.files import atomic_path, require_private

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

AUTHORITY_DAYS = 3650
HOST_DAYS = 365
SOON_DAYS = 14
"""A certificate that ends within so many days is mentioned."""


@dataclass(frozen=True)
class Issued:
    """What :func:`issue` wrote for a host.

    Attributes:
        host: Its name.
        folder: To be copied to that host and to no other.
        until: When its certificate ends.
        new: Made now; False where a fresh one was there and was left alone.
    """

    host: str
    folder: Path
    until: dt.datetime
    new: bool


def issue(
    folder: str | Path,
    hosts: Sequence[str],
    scheduler: str | None = None,
    *,
    days: int = HOST_DAYS,
    renew: bool = False,
) -> list[Issued]:
    """Make the authority if there is none, and a folder per host with all that it needs.

    A host's folder holds ``farm.yaml``, ``ca.pem``, ``host.pem`` and ``host.key``; the authority's
    key stays in ``folder``. Hosts that have a certificate keep it unless it is to be renewed; a
    ``farm.yaml`` that is there is never touched.

    Args:
        folder: Where the authority lives.
        hosts: Names or addresses, the scheduler's and the clients' too.
        scheduler: ``HOST[:PORT]`` for new ``farm.yaml``; default: what another host's says.
        days: Life of new certificates.
        renew: Replace those that are there.

    Raises:
        UserError: nothing to do, a host that is no name, an authority that ended or is not
            complete, or a folder that cannot be written to.
    """
    root = Path(folder)
    if not hosts:
        raise UserError("Name at least one host: `srdeploy farm certs lab --hosts bench1,laptop`.")
    for host in hosts:
        split_address(host if ":" not in host else f"[{host}]")
    scheduler = scheduler or _scheduler_of(root)
    if scheduler is None:
        raise UserError("Say where the scheduler will be: --scheduler HOST[:PORT].")
    split_address(scheduler)
    authority, key = _authority(root)
    return [_host(root, host, scheduler, authority, key, days, renew) for host in hosts]


def check(farm: FarmFile) -> str | None:
    """See that a host's certificate can be shown before anything is connected.

    Returns:
        A remark if it ends soon, else None.

    Raises:
        UserError: one of the files is missing or none of its kind, has ended or not begun, or
            they do not belong together; or others may read the key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization

    authority, own = _read(farm.ca), _read(farm.certificate)
    renew = "renew it where the farm's authority is: `srdeploy farm certs DIR --renew --hosts ...`"
    for path, one in ((farm.ca, authority), (farm.certificate, own)):
        if _now() > one.not_valid_after_utc:
            raise UserError(
                f"The certificate '{path}' expired on {one.not_valid_after_utc:%Y-%m-%d}; {renew}."
            )
        if _now() < one.not_valid_before_utc:
            raise UserError(
                f"The certificate '{path}' is valid only from {one.not_valid_before_utc:%Y-%m-%d}; "
                "is this machine's clock right?"
            )
    try:
        own.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        raise UserError(
            f"'{farm.certificate}' was not issued by the authority of '{farm.ca}'; copy both from "
            "the folder that `srdeploy farm certs` made for this host."
        ) from None
    try:
        key = serialization.load_pem_private_key(farm.key.read_bytes(), None)
    except FileNotFoundError:
        raise UserError(f"There is no key '{farm.key}'.") from None
    except PermissionError:
        raise UserError(f"The key '{farm.key}' cannot be read: permission denied.") from None
    except (ValueError, TypeError):
        raise UserError(f"'{farm.key}' is no private key in PEM without a password.") from None
    require_private(farm.key)
    if _public(key.public_key()) != _public(own.public_key()):
        raise UserError(f"'{farm.key}' is not the key of '{farm.certificate}'.")
    left = own.not_valid_after_utc - _now()
    if left < dt.timedelta(days=SOON_DAYS):
        return f"The certificate '{farm.certificate}' ends in {left.days} days; {renew}."
    return None


def _now() -> dt.datetime:
    return dt.datetime.now(dt.timezone.utc)


def _scheduler_of(root: Path) -> str | None:
    for path in sorted(root.glob("*/farm.yaml")):
        from srdeploy.farm.settings import read_farm

        return read_farm(path).scheduler
    return None


def _authority(root: Path) -> tuple[Certificate, Any]:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    path, key_path = root / "ca.pem", root / "ca.key"
    if not path.exists() and not key_path.exists():
        key = _new_key()
        name = _name("srdeploy farm")
        builder = _builder(name, name, key, AUTHORITY_DAYS)
        builder = builder.add_extension(x509.BasicConstraints(True, 0), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
        _write(path, key_path, _signed(builder, key), key)
    authority = _read(path)
    if _now() > authority.not_valid_after_utc:
        raise UserError(
            f"The farm's authority '{path}' expired on {authority.not_valid_after_utc:%Y-%m-%d}; "
            "begin a new one in an empty folder and copy the new folders to all hosts."
        )
    require_private(key_path)
    try:
        return authority, serialization.load_pem_private_key(key_path.read_bytes(), None)
    except (OSError, ValueError):
        raise UserError(
            f"The authority's key '{key_path}' is missing or cannot be read; without it no more "
            "certificates can be issued."
        ) from None


def _host(
    root: Path, host: str, scheduler: str, authority: Certificate, key: Any, days: int, renew: bool
) -> Issued:
    import yaml
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.x509.oid import ExtendedKeyUsageOID

    folder = root / host.replace(":", "_")
    path = folder / "host.pem"
    new = renew or not path.exists()
    if new:
        own = _new_key()
        try:
            subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            subject = x509.DNSName(host)
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        left = authority.not_valid_after_utc - _now()
        builder = _builder(_name(host), authority.subject, own, min(days, left.days))
        for extension, critical in (
            (x509.SubjectAlternativeName([subject]), False),
            (x509.BasicConstraints(False, None), True),
            (_usage(signs_certificates=False), True),
            (x509.ExtendedKeyUsage(usages), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False),
        ):
            builder = builder.add_extension(extension, critical)
        _write(path, folder / "host.key", _signed(builder, key), own)
    with atomic_path(folder / "ca.pem") as temporary:
        temporary.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    farm = folder / "farm.yaml"
    if not farm.exists():
        with atomic_path(farm) as temporary:
            temporary.write_text(yaml.safe_dump({"scheduler": scheduler}), encoding="utf-8")
    return Issued(host, folder, _read(path).not_valid_after_utc, new)


def _new_key() -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _name(text: str) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(subject: Any, issuer: Any, key: Any, days: int) -> Any:
    from cryptography import x509

    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - dt.timedelta(hours=1))  # hosts' clocks differ
        .not_valid_after(_now() + dt.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
    )


def _usage(signs_certificates: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _signed(builder: Any, key: Any) -> Certificate:
    from cryptography.hazmat.primitives import hashes

    return builder.sign(key, hashes.SHA256())


def _write(path: Path, key_path: Path, certificate: Certificate, key: Any) -> None:
    """The key first, readable by its owner only: a certificate without its key is of no use."""
    from cryptography.hazmat.primitives import serialization

    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with atomic_path(path) as temporary:
        temporary.write_bytes(certificate.public_bytes(pem))
        key_path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(key_path, flags, 0o600), "wb") as stream:
            stream.write(secret)


def _read(path: Path) -> Certificate:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"There is no certificate '{path}'; `srdeploy farm certs` makes them."
        ) from None
    except (ValueError, OSError):
        raise UserError(f"'{path}' is no certificate in PEM.") from None


def _public(key: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
