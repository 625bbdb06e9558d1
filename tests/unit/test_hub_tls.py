"""The hub client behind a network that shows certificates of an authority of its own."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.http_range import HttpClient
from ansible_collections.llmhost.core.plugins.module_utils.model.hub import Hub
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.tools.loopback_hub import LoopbackHub


def self_signed() -> tuple[str, str]:
    """Return a certificate for 127.0.0.1 and its key, as PEM texts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Yield the address of a hub that speaks TLS, and the certificate to trust."""
    certificate, key = self_signed()
    (tmp_path / "pair.pem").write_text(certificate + key)
    (tmp_path / "acme" / "toy").mkdir(parents=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pair.pem")
    hub = LoopbackHub(tmp_path)
    server = hub._servers[0]
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with hub:
        yield hub.url.replace("http:", "https:"), certificate


def test_authority_of_the_user_is_trusted(secured: tuple[str, str]) -> None:
    url, certificate = secured
    assert Hub(HttpClient(ca_certificates=[certificate]), url).repository("acme/toy", "main").name == "acme/toy"


def test_unknown_authority_is_named_as_the_trouble_and_not_tried_again(secured: tuple[str, str]) -> None:
    url, _ = secured
    pauses: list[float] = []
    with pytest.raises(ModelError, match="llmhost_ca_certificates") as caught:
        Hub(HttpClient(sleep=pauses.append), url).repository("acme/toy", "main")
    assert (caught.value.code, pauses) == ("hub.certificate", [])
