"""The way out: certificates and proxy as planned, and nothing left of earlier ones."""

from __future__ import annotations

import pytest

from tests.acceptance.expectation import expect, expect_equal
from tests.acceptance.target import Target

APT = "/etc/apt/apt.conf.d/80llmhost-proxy"
ENVIRONMENT = "/etc/llmhost/egress.env"
RERUN = "run the tier's playbook again."


@pytest.mark.applied("egress")
def test_each_installed_certificate_is_trusted(target: Target) -> None:
    installed = target.lines("ls -1 /usr/local/share/ca-certificates | grep '^llmhost-.*[.]crt$' | sed 's/[.]crt$//'")
    trusted = target.lines("ls -1 /etc/ssl/certs | grep '^llmhost-.*[.]pem$' | sed 's/[.]pem$//'")
    expect_equal("certificates in the host's bundle", expected=installed, found=trusted, remedy=RERUN)
    listed = target.slice("egress").get("ca_certificates") or []
    expect(
        bool(installed) == bool(listed),
        "certificates of llmhost_ca_certificates",
        expected=listed or "none",
        found=installed or "none",
        remedy=RERUN,
    )


@pytest.mark.applied("egress")
def test_apt_uses_the_planned_proxy(target: Target) -> None:
    proxy = target.slice("egress").get("proxy") or {}
    wanted = bool(proxy.get("http") or proxy.get("https"))
    expect_equal(f"proxy file {APT}", expected=wanted, found=target.host.file(APT).exists, remedy=RERUN)


def test_a_password_of_the_proxy_is_readable_by_root_alone(target: Target) -> None:
    found = target.lines(f"find {APT} {ENVIRONMENT} -perm /go=rwx -exec grep -lE '://[^/\"]+@' {{}} + 2>/dev/null")
    expect(
        not found, "files with the proxy's password that others can read", expected="none", found=found, remedy=RERUN
    )


@pytest.mark.left_out("egress")
def test_a_skipped_step_leaves_no_proxy_and_no_certificates(target: Target) -> None:
    found = target.lines(f"ls -1 {APT} {ENVIRONMENT} /usr/local/share/ca-certificates/llmhost-*.crt 2>/dev/null")
    expect(not found, "files of the step egress", expected="none", found=found, remedy=RERUN)
