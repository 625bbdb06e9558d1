"""A company's certificates are checked, named by their hash, and kept apart from everyone else's."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.service.certificates import (
    CertificateError,
    TrustStore,
    certificates_from_files,
)

FIXTURES = Path(__file__).parent.parent / "fixtures" / "certificates"
FIRST = (FIXTURES / "first.pem").read_text()
SECOND = (FIXTURES / "second.pem").read_text()


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    (tmp_path / "usr/local/share/ca-certificates").mkdir(parents=True)
    (tmp_path / "etc/ssl/certs").mkdir(parents=True)
    return TrustStore(tmp_path)


def refresh(store: TrustStore) -> None:
    """Do what update-ca-certificates does."""
    trusted = store.root / "etc/ssl/certs"
    for link in trusted.glob("*.pem"):
        link.unlink()
    files = sorted((store.root / "usr/local/share/ca-certificates").glob("*.crt"))
    for file in files:
        (trusted / f"{file.stem}.pem").symlink_to(file)
    (trusted / "ca-certificates.crt").write_text("".join(file.read_text() for file in files))


def names(store: TrustStore) -> set[str]:
    return {path.name for path in (store.root / "usr/local/share/ca-certificates").iterdir()}


def apply(store: TrustStore, files: dict[str, str]) -> int:
    changes = store.changes(certificates_from_files(files))
    for change in changes:
        change.apply()
    return len(changes)


def test_each_certificate_of_a_bundle_gets_its_own_file() -> None:
    found = certificates_from_files({"/etc/Company CA.pem": f"a comment\n{FIRST}{SECOND}"})
    assert len({item.file_name for item in found}) == 2
    assert all(item.file_name.startswith("llmhost-company-ca-") and item.file_name.endswith(".crt") for item in found)
    assert {ssl.PEM_cert_to_DER_cert(item.pem) for item in found} == {
        ssl.PEM_cert_to_DER_cert(text) for text in (FIRST, SECOND)
    }


def test_the_same_certificate_twice_is_installed_once() -> None:
    found = certificates_from_files({"a.pem": FIRST, "b.pem": FIRST.replace("\n", "\r\n")})
    assert [item.file_name.rsplit("-", 1)[0] for item in found] == ["llmhost-a"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "no certificate"),
        ("not PEM at all", "no certificate"),
        (FIRST[:300], "cut off"),
        (FIRST + SECOND[:300], "cut off"),
        (FIRST.replace("MII", "???", 1), "damaged"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "damaged"),
        (FIRST + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no certificate"),
        ("x" * (2 << 20), "larger than"),
    ],
)
def test_a_file_that_cannot_be_trusted_is_named_with_the_reason(content: str, reason: str) -> None:
    with pytest.raises(CertificateError, match=rf"^company\.pem: .*{reason}"):
        certificates_from_files({"company.pem": content})


def test_files_follow_the_list_and_others_stay(store: TrustStore) -> None:
    foreign = store.root / "usr/local/share/ca-certificates/company.crt"
    foreign.write_text(SECOND)
    assert apply(store, {"a.pem": FIRST, "b.pem": SECOND}) == 2
    assert apply(store, {"a.pem": FIRST, "b.pem": SECOND}) == 0
    assert apply(store, {"b.pem": SECOND}) == 1
    assert {name.split("-")[1] for name in names(store) - {foreign.name}} == {"b"}
    assert apply(store, {}) == 1
    assert names(store) == {foreign.name}


def test_a_changed_file_is_written_again(store: TrustStore) -> None:
    apply(store, {"a.pem": FIRST})
    (file,) = (store.root / "usr/local/share/ca-certificates").iterdir()
    file.write_text(SECOND)
    assert apply(store, {"a.pem": FIRST}) == 1
    file.chmod(0o600)
    assert apply(store, {"a.pem": FIRST}) == 1
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_run_killed_before_the_bundle_was_made_shows(store: TrustStore) -> None:
    wanted = certificates_from_files({"a.pem": FIRST})
    assert not store.is_current(wanted)
    apply(store, {"a.pem": FIRST})
    assert not store.is_current(wanted)
    assert store.refresh_command(wanted) == [str(store.tool)]
    refresh(store)
    assert store.is_current(wanted)


def test_a_removed_certificate_needs_a_fresh_bundle(store: TrustStore) -> None:
    apply(store, {"a.pem": FIRST})
    refresh(store)
    apply(store, {})
    assert not store.is_current([])
    assert store.refresh_command([])[1:] == ["--fresh"]
    refresh(store)
    assert store.is_current([])
