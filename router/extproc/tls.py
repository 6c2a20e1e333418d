"""Certificates of the gRPC server: its own, one from files that are read anew, clients' CA.

The Endpoint Picker Protocol's gateways speak TLS to a picker and verify nothing, so that a picker
without a certificate makes one for itself. Behind Envoy's unix socket there is no TLS: its library
(nine megabytes) is imported by those who use it.
"""

import ipaddress
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc

from fleet.clock import Clock

_log = logging.getLogger(__name__)

CERTIFICATE_FILE, KEY_FILE = "tls.crt", "tls.key"
"""Names inside the folder, those of a Kubernetes Secret of type kubernetes.io/tls."""

_COMMON_NAME = "headrace"
_VALID_FOR = timedelta(days=3650)  # the reference picker's ten years; nobody verifies it
_CLOCK_SKEW = timedelta(hours=1)


class CertificateError(Exception):
    """A certificate cannot be used; the message names the file and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """How the TCP port is secured.

    Attributes:
        folder: Holds tls.crt and tls.key, or None for a certificate made at start.
        reload: Take files that have changed from the next connection on.
        client_ca_file: Certificates that a client's must be signed by, or None: any client.
        made: Without a folder: a (key, certificate) in PEM that was made before, so that all
            workers of a router show the same; None: make one.
    """

    folder: Path | None = None
    reload: bool = True
    client_ca_file: Path | None = None
    made: tuple[bytes, bytes] | None = field(default=None, repr=False)


class Certificates:
    """The certificate in force, and the way to the next one."""

    def __init__(self, settings: TlsSettings, clock: Clock) -> None:
        """Read or make the first certificate.

        Raises:
            CertificateError: When a file is missing or of no use.
        """
        self._folder = settings.folder
        self._reload = settings.reload and settings.folder is not None
        self._client_ca: bytes | None = None
        self._complaint = ""
        if settings.client_ca_file is not None:
            self._client_ca = _client_ca(settings.client_ca_file)
        if self._folder is None:
            self._pair = settings.made or self_signed(epoch_seconds=clock.epoch_seconds())
            self._seen: object = None
        else:
            self._seen = _fingerprint(self._folder)
            self._pair = read_pair(self._folder)

    @property
    def certificate(self) -> bytes:
        """The certificate (chain) in force, PEM."""
        return self._pair[1]

    def credentials(self) -> grpc.ServerCredentials:
        """For a port of a gRPC server; asked anew with each connection when files are reloaded."""
        required = self._client_ca is not None
        if not self._reload:
            return grpc.ssl_server_credentials([self._pair], self._client_ca, required)
        return grpc.dynamic_ssl_server_credentials(
            self._configuration(), self._renewed, require_client_authentication=required
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC before each handshake, on a thread of its own; None keeps the last one.

        Files are replaced one after the other, so a pair that does not fit is looked at again
        with the next connection, and until then the last good one serves.
        """
        folder = self._folder
        if folder is None:
            return None
        try:
            seen = _fingerprint(folder)
            if seen == self._seen:
                return None
            self._pair = read_pair(folder)
        except CertificateError as error:
            if str(error) != self._complaint:  # connections may come by the hundred
                self._complaint = str(error)
                _log.warning("the old certificate stays in force: %s", error)
            return None
        self._seen, self._complaint = seen, ""
        _log.info("a new certificate is in force")
        return self._configuration()

    def _configuration(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([self._pair], self._client_ca)


def self_signed(*, epoch_seconds: float) -> tuple[bytes, bytes]:
    """(key, certificate) in PEM, made now for this machine's loopback names."""
    from cryptography import x509  # noqa: PLC0415 - see the module
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415 - see the module
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - see the module
    from cryptography.x509.oid import NameOID  # noqa: PLC0415 - see the module

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _COMMON_NAME)])
    now = datetime.fromtimestamp(epoch_seconds, UTC)
    names = x509.SubjectAlternativeName(
        [
            x509.DNSName("localhost"),
            x509.DNSName(_COMMON_NAME),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + _VALID_FOR)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoded_key = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return encoded_key, certificate.public_bytes(serialization.Encoding.PEM)


def read_pair(folder: Path) -> tuple[bytes, bytes]:
    """(key, certificate chain) in PEM from a folder, checked to belong together.

    Raises:
        CertificateError: When a file is missing, unreadable or not of the other.
    """
    from cryptography import x509  # noqa: PLC0415 - see the module
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - see the module
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - see the module

    key_pem, chain_pem = _bytes_of(folder / KEY_FILE), _bytes_of(folder / CERTIFICATE_FILE)
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{folder / KEY_FILE}: is not a private key in PEM.") from error
    try:
        certificate, *_ = x509.load_pem_x509_certificates(chain_pem)
    except ValueError as error:
        raise CertificateError(
            f"{folder / CERTIFICATE_FILE}: is not a certificate in PEM."
        ) from error
    if certificate.public_key() != key.public_key():
        raise CertificateError(f"{folder}: {CERTIFICATE_FILE} and {KEY_FILE} do not fit.")
    return key_pem, chain_pem


def _client_ca(path: Path) -> bytes:
    from cryptography import x509  # noqa: PLC0415 - see the module

    pem = _bytes_of(path)
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateError(f"{path}: is not a certificate in PEM.") from error
    return pem


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path}: cannot be read: {error.strerror}.") from error


def _fingerprint(folder: Path) -> tuple[tuple[int, int, int], ...]:
    """What changes when a file does, also behind the links of a mounted Secret."""
    try:
        stats = [(folder / name).stat() for name in (CERTIFICATE_FILE, KEY_FILE)]
    except OSError as error:
        raise CertificateError(f"{folder}: cannot be read: {error.strerror}.") from error
    return tuple((stat.st_ino, stat.st_mtime_ns, stat.st_size) for stat in stats)
