"""How a host reaches the outside: a company's proxy, and the bundle of certificates that programs trust.

Pure text and dictionaries; ``certificates.py`` holds the certificates themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"

# A service of this host is never asked for through a proxy, whatever the user's list says.
ALWAYS_DIRECT = ("localhost", "127.0.0.1", "::1")

# Python's ssl and httpx read the first, requests and older hub clients the second, pip the third.
TRUST_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT")

_UNSAFE = re.compile(r"[\s\"'\\`;{}\x00-\x1f\x7f]")
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


class EgressError(ValueError):
    """A proxy setting that cannot work; the message never holds the credentials."""


@dataclass(frozen=True)
class Proxy:
    """The proxies for plain and for TLS addresses, and the hosts that are reached without one."""

    http: str = ""
    https: str = ""
    no_proxy: tuple[str, ...] = field(default=())

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any] | None) -> Proxy:
        """Read ``llmhost_proxy``; ``https`` falls back to ``http``, as it does in apt."""
        settings = settings or {}
        unknown = sorted(set(settings) - {"http", "https", "no_proxy"})
        if unknown:
            raise EgressError(f"llmhost_proxy has no key {unknown[0]!r}: it knows http, https and no_proxy.")
        http = _address("http", settings.get("http") or "")
        https = _address("https", settings.get("https") or "") or http
        return cls(http, https, _direct_hosts(settings.get("no_proxy") or ()))

    @property
    def wanted(self) -> bool:
        """Tell whether there is any proxy at all."""
        return bool(self.http or self.https)

    @property
    def has_credentials(self) -> bool:
        """Tell whether a file that names the proxy holds a secret."""
        return any("@" in urlsplit(address).netloc for address in (self.http, self.https))

    def environment(self) -> dict[str, str]:
        """Return the variables in both spellings: tools disagree on which of them they read."""
        if not self.wanted:
            return {}
        direct = ",".join(dict.fromkeys((*ALWAYS_DIRECT, *self.no_proxy)))
        values = {"HTTP_PROXY": self.http, "HTTPS_PROXY": self.https, "NO_PROXY": direct}
        given = {name: value for name, value in values.items() if value}
        return {**given, **{name.lower(): value for name, value in given.items()}}

    def apt_configuration(self) -> str:
        """Return the text of a file for ``apt.conf.d``, empty when there is no proxy.

        apt knows exact host names only, so domains (``.example.com``), patterns and networks stay out.
        """
        if not self.wanted:
            return ""
        lines = ["// Written by llmhost (role egress) from llmhost_proxy."]
        exact = [host for host in self.no_proxy if _HOST_NAME.fullmatch(host)]
        for scheme, address in (("http", self.http), ("https", self.https)):
            if address:
                lines.append(f'Acquire::{scheme}::Proxy "{address}";')
                lines += [
                    f'Acquire::{scheme}::Proxy::{host} "DIRECT";' for host in dict.fromkeys(("localhost", *exact))
                ]
        return "\n".join(lines) + "\n"


def environment(proxy: Mapping[str, Any] | None, ca_certificates: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment that pip and the hub client need on the target.

    The trust variables are given only when certificates are listed: without any, each program's own bundle serves,
    and a bare host may have no system bundle at all.
    """
    trust = dict.fromkeys(TRUST_VARIABLES, BUNDLE) if ca_certificates else {}
    return {**Proxy.from_settings(proxy).environment(), **trust}


def environment_file(variables: Mapping[str, str]) -> str:
    """Return the variables as a systemd ``EnvironmentFile``, empty when there are none."""
    if not variables:
        return ""
    lines = [f'{name}="{value}"' for name, value in sorted(variables.items())]
    return "\n".join(["# Written by llmhost (role egress).", *lines]) + "\n"


def without_credentials(address: str) -> str:
    """Return a proxy's address as it may be shown."""
    return re.sub(r"//[^/]*@", "//***@", address)


def _address(key: str, address: Any) -> str:
    """Return a checked proxy address; the characters refused here would end a quoted string in a file we write."""
    if not address:
        return ""
    if not isinstance(address, str):
        raise EgressError(f"llmhost_proxy.{key} must be an address such as http://proxy.example.com:3128.")
    shown = without_credentials(address)
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or _UNSAFE.search(address):
        raise EgressError(
            f"llmhost_proxy.{key} is {shown!r}: not an address such as http://proxy.example.com:3128. "
            "Write special characters of a user name or password percent-encoded."
        )
    return address


def _direct_hosts(hosts: Any) -> tuple[str, ...]:
    """Return the hosts without a proxy, from a list or from the comma-separated text that people copy."""
    names = hosts.split(",") if isinstance(hosts, str) else [str(host) for host in hosts]
    cleaned = tuple(name.strip() for name in names if name.strip())
    for name in cleaned:
        if _UNSAFE.search(name):
            raise EgressError(f"llmhost_proxy.no_proxy has {name!r}: a host name, a domain or a network is needed.")
    return cleaned
