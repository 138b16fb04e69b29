"""The certificate that the page is served with: the user's own, or a self-signed one."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import ssl
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from srdeploy.errors import UserError
from srdeploy.util.files import atomic_path, cache_dir, require_private

if TYPE_CHECKING:
    from cryptography.x509 import Certificate as X509

DAYS = 90
_RENEW_BEFORE = dt.timedelta(days=2)  # a session must not outlive its certificate


@dataclass(frozen=True)
class Certificate:
    """A certificate in use.

    Attributes:
        path: PEM file of the certificate (or chain).
        key: PEM file of its private key.
        fingerprint: SHA-256 in hex with colons, as browsers show it.
        own: Made by us, so that browsers warn before the first visit.
    """

    path: Path
    key: Path
    fingerprint: str
    own: bool

    def context(self) -> ssl.SSLContext:
        """What a server needs.

        Raises:
            UserError: the two files do not belong together, or others may read the key.
        """
        require_private(self.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.path, self.key)
        except (ssl.SSLError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            raise UserError(
                f"'{self.path}' and '{self.key}' are no certificate and its key ({reason}); give "
                "the pair in PEM, the key without a password."
            ) from None
        return context


def given_certificate(path: str, key: str) -> Certificate:
    """The user's certificate.

    Raises:
        UserError: it cannot be read, has expired or is not valid yet.
    """
    loaded = _read(Path(path))
    now = dt.datetime.now(dt.timezone.utc)
    if now > loaded.not_valid_after_utc:
        raise UserError(
            f"The certificate '{path}' expired on {loaded.not_valid_after_utc:%Y-%m-%d}, browsers "
            "would refuse the page; renew it, or leave cert and key out to have one made."
        )
    if now < loaded.not_valid_before_utc:
        raise UserError(
            f"The certificate '{path}' is valid only from {loaded.not_valid_before_utc:%Y-%m-%d}; "
            "is this machine's clock right?"
        )
    return Certificate(Path(path), Path(key), _fingerprint(loaded), own=False)


def own_certificate(host: str) -> Certificate:
    """A self-signed certificate for an address, kept in the cache and renewed when stale.

    It is kept so that a phone which accepted it once does not ask again tomorrow.
    """
    folder = cache_dir() / "browser"
    path, key = folder / f"{_safe(host)}.pem", folder / f"{_safe(host)}.key"
    with suppress(UserError, OSError):
        loaded = _read(path)
        fresh = loaded.not_valid_after_utc - dt.datetime.now(dt.timezone.utc) > _RENEW_BEFORE
        if fresh and key.is_file() and host in _hosts(loaded):
            kept = Certificate(path, key, _fingerprint(loaded), own=True)
            kept.context()
            return kept
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    _make(host, path, key)
    return Certificate(path, key, _fingerprint(_read(path)), own=True)


def _make(host: str, path: Path, key_path: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "srdeploy")])
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    now = dt.datetime.now(dt.timezone.utc)
    # Apple's browsers ask for the names as alternatives, the server usage, and a short life.
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))  # phones' clocks may be behind
        .not_valid_after(now + dt.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    certificate = builder.sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_path.unlink(missing_ok=True)
    with os.fdopen(os.open(key_path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(secret)
    with atomic_path(path) as temporary:
        temporary.write_bytes(certificate.public_bytes(pem))


def _read(path: Path) -> X509:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"There is no certificate '{path}'.") from None
    except (ValueError, OSError):
        raise UserError(f"'{path}' is no certificate; give one in PEM.") from None


def _hosts(certificate: X509) -> list[str]:
    from cryptography import x509

    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = [str(one) for one in names.get_values_for_type(x509.IPAddress)]
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def _fingerprint(certificate: X509) -> str:
    from cryptography.hazmat.primitives import hashes

    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _safe(host: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "_" for c in host)
