"""Certificates that a company adds to the ones a host trusts.

Each certificate becomes a file of its own: ``update-ca-certificates`` skips a file that holds several. The file's name
carries the hash of the certificate, so a name always means the same bytes and a stale file shows by its name alone.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

PREFIX = "llmhost-"
LIMIT_BYTES = 1 << 20  # a bundle of every public authority is a quarter of this

_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_LABELS = ("CERTIFICATE", "X509 CERTIFICATE")


class CertificateError(ValueError):
    """A file that cannot be trusted as it is; the message names the file and what to do."""


@dataclass(frozen=True)
class Certificate:
    """One certificate, and the name its file has on the host."""

    file_name: str
    pem: str

    @classmethod
    def from_der(cls, source: str, der: bytes) -> Certificate:
        """Name a certificate after the file it came from and its own hash."""
        stem = re.sub(r"[^a-z0-9]+", "-", Path(source).stem.lower()).strip("-") or "certificate"
        digest = hashlib.sha256(der).hexdigest()[:12]
        return cls(f"{PREFIX}{stem}-{digest}.crt", ssl.DER_cert_to_PEM_cert(der))


def certificates_from_files(files: Mapping[str, str]) -> list[Certificate]:
    """Read every certificate of PEM texts by file name; the same certificate twice is installed once."""
    found: dict[bytes, Certificate] = {}
    for name, content in files.items():
        for der in _decode(name, content):
            found.setdefault(der, Certificate.from_der(name, der))
    return list(found.values())


def _decode(name: str, content: str) -> list[bytes]:
    """Return the certificates of one PEM file as DER, each proved readable by OpenSSL."""
    remedy = "llmhost_ca_certificates needs PEM files of certificates (-----BEGIN CERTIFICATE-----)."
    if len(content) > LIMIT_BYTES:
        raise CertificateError(f"{name}: larger than 1 MiB, which no list of certificates is. {remedy}")
    blocks = list(_BLOCK.finditer(content))
    if "PRIVATE KEY-----" in content:
        raise CertificateError(f"{name}: holds a private key, which must stay where it is. {remedy}")
    if content.count("-----BEGIN ") != len(blocks):
        raise CertificateError(f"{name}: cut off in the middle of a certificate. {remedy}")
    certificates = [block[0] for block in blocks if block[1] in _LABELS]
    if not certificates:
        raise CertificateError(f"{name}: no certificate in it. {remedy}")
    return [_to_der(name, position, text) for position, text in enumerate(certificates, start=1)]


def _to_der(name: str, position: int, block: str) -> bytes:
    try:
        der = ssl.PEM_cert_to_DER_cert(block.replace("X509 CERTIFICATE", "CERTIFICATE"))
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except (ValueError, OSError) as failure:  # base64 errors are the one, ssl.SSLError is the other
        raise CertificateError(
            f"{name}: certificate {position} of the file is damaged: not a readable X.509 certificate. "
            "Export it again in PEM form."
        ) from failure
    return der


@dataclass(frozen=True)
class TrustStore:
    """The certificates of llmhost among those of a host; ``root`` is ``/`` outside tests."""

    root: Path = Path("/")

    @property
    def _sources(self) -> Path:
        return self.root / "usr/local/share/ca-certificates"

    @property
    def _trusted(self) -> Path:
        return self.root / "etc/ssl/certs"

    @property
    def tool(self) -> Path:
        """Return the program that makes the bundle; absent until the package ca-certificates is installed."""
        return self.root / "usr/sbin/update-ca-certificates"

    def _files(self, wanted: Sequence[Certificate]) -> list[TextFile]:
        return [TextFile(self._sources / item.file_name, item.pem, 0o644) for item in wanted]

    def _stale(self, wanted: Sequence[Certificate]) -> list[TextFile]:
        """Return our files that are no longer wanted; a file without our prefix is never ours."""
        keep = {item.file_name for item in wanted}
        return [TextFile(path) for path in sorted(self._sources.glob(f"{PREFIX}*.crt")) if path.name not in keep]

    def changes(self, wanted: Sequence[Certificate]) -> list[TextFile]:
        """Return the files that have to be written or deleted."""
        return [file for file in self._files(wanted) if not file.is_current()] + self._stale(wanted)

    def is_current(self, wanted: Sequence[Certificate]) -> bool:
        """Tell whether the bundle agrees with the files: a run killed in between leaves it behind them."""
        links = {path.stem for path in self._trusted.glob(f"{PREFIX}*.pem")}
        if links != {Path(item.file_name).stem for item in wanted}:
            return False
        bundle = TextFile(self._trusted / "ca-certificates.crt").read() if wanted else ""
        return all(item.pem in bundle for item in wanted)

    def refresh_command(self, wanted: Sequence[Certificate]) -> list[str]:
        """Return the command that makes the bundle; links to deleted files go away only with ``--fresh``."""
        keep = {Path(item.file_name).stem for item in wanted}
        stale = any(path.stem not in keep for path in self._trusted.glob(f"{PREFIX}*.pem"))
        return [str(self.tool), *(["--fresh"] if stale else [])]
