"""Read a part of a file over HTTP, by a company's proxy if need be, with a bounded number of retries."""

from __future__ import annotations

import http.client
import ipaddress
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, TypeVar
from urllib.parse import urlsplit

from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.service.egress import ALWAYS_DIRECT, Proxy

ATTEMPTS = 4  # without any progress between them
MOST_ATTEMPTS = 20
LONGEST_PAUSE = 60.0  # a server that asks for more patience gets an error instead
CHUNK = 2**16
PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
NETWORK = "Check the network of the target, llmhost_hub_endpoint and llmhost_proxy."

T = TypeVar("T")


class HttpStatusError(Exception):
    """The server answered with an error that a retry does not mend."""

    def __init__(self, status: int, reason: str = "") -> None:
        """Keep what the server said; hubs give a reason in a header."""
        super().__init__(f"HTTP status {status}")
        self.status = status
        self.reason = reason


class _PassingError(Exception):
    """Trouble that may be over after a pause, and the code of the error if it is not."""

    def __init__(self, reason: str, code: str = "hub.unreachable", pause: float | None = None) -> None:
        super().__init__(reason)
        self.code = code
        self.pause = pause


class HttpClient:
    """Fetches URLs or parts of them; counts the bytes that it has read."""

    def __init__(
        self,
        proxy: Proxy | None = None,
        ca_certificates: Sequence[str] = (),
        timeout: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Build an opener that knows HTTP only, the proxy, and the certificates (PEM texts) beside the system's."""
        self.bytes_fetched = 0
        self._timeout = timeout
        self._sleep = sleep
        self._opener = urllib.request.OpenerDirector()
        handlers: list[urllib.request.BaseHandler] = [
            _ChosenProxy(proxy) if proxy and proxy.wanted else urllib.request.ProxyHandler(),
            urllib.request.UnknownHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=_tls_context(ca_certificates)),
            urllib.request.HTTPDefaultErrorHandler(),
            _Redirects(),
            urllib.request.HTTPErrorProcessor(),
        ]
        for handler in handlers:
            self._opener.add_handler(handler)

    def get(self, url: str, headers: Mapping[str, str], limit: int) -> bytes:
        """Return a whole body of at most ``limit`` bytes."""

        def fetch() -> bytes:
            with self._open(url, headers) as response:
                expected = response.length or 0
                body = bytearray()
                self._receive(response, body, limit + 1)
            if len(body) < min(expected, limit):
                raise _PassingError("the connection was cut")
            return bytes(body)

        body = self._persist(url, fetch, lambda: 0)
        if len(body) > limit:
            raise ModelError("hub.answer", f"{_host(url)} answers with more than {limit} bytes", NETWORK)
        return body

    def read_range(self, url: str, headers: Mapping[str, str], begin: int, end: int, size: int) -> bytes:
        """Return bytes ``begin`` to ``end`` of a file of ``size`` bytes; go on where a connection broke off."""
        part = bytearray()

        def fetch() -> bytes:
            position = begin + len(part)
            with self._open(url, {**headers, "Range": f"bytes={position}-{end - 1}"}) as response:
                if response.status == 206:
                    _check_range(url, response.headers.get("Content-Range") or "", position, size)
                else:
                    # The server ignores ranges: pass over what came before, and hang up after what is needed.
                    self._receive(response, bytearray(), position)
                self._receive(response, part, end - begin)
            if len(part) < end - begin:
                raise _PassingError("the connection was cut")
            return bytes(part)

        return self._persist(url, fetch, lambda: len(part))

    def size(self, url: str, headers: Mapping[str, str]) -> int:
        """Return the size of a file, as the answer to a request for its first byte tells it."""

        def fetch() -> int:
            with self._open(url, {**headers, "Range": "bytes=0-0"}) as response:
                found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range") or "")
                total = found[2] if found else response.headers.get("Content-Length") or ""
            if not total.isdecimal():
                raise ModelError("hub.answer", f"{_host(url)} does not tell the size of a file", NETWORK)
            return int(total)

        return self._persist(url, fetch, lambda: 0)

    @contextmanager
    def _open(self, url: str, headers: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        """Yield the response; turn whatever goes wrong, until the last byte is read, into errors of this module."""
        try:
            request = urllib.request.Request(url, headers={**headers, "Accept-Encoding": "identity"})
            with self._opener.open(request, timeout=self._timeout) as response:
                yield response
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in PASSING_STATUS:
                raise HttpStatusError(error.code, error.headers.get("X-Error-Code") or "") from error
            code = "hub.rate_limited" if error.code == 429 else "hub.unavailable"
            raise _PassingError(
                f"HTTP status {error.code}", code, _retry_after(error.headers.get("Retry-After"))
            ) from error
        except (OSError, http.client.HTTPException) as error:
            cause = getattr(error, "reason", error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                message = f"the certificate of {_host(url)} is not trusted: {cause.verify_message}"
                remedy = "Add the authority that signed it to llmhost_ca_certificates."
                raise ModelError("hub.certificate", message, remedy) from error
            raise _PassingError(str(cause) or type(cause).__name__) from error
        except ValueError as error:
            message = f"{url} is no address that can be asked: {error}"
            raise ModelError("hub.address", message, "Correct llmhost_hub_endpoint.") from error

    def _receive(self, response: IO[bytes], into: bytearray, length: int) -> None:
        while len(into) < length:
            chunk = response.read(min(CHUNK, length - len(into)))
            if not chunk:
                return
            self.bytes_fetched += len(chunk)
            into += chunk

    def _persist(self, url: str, fetch: Callable[[], T], progress: Callable[[], int]) -> T:
        """Try again after trouble that may pass; progress earns new attempts, though not without end."""
        failures, reached = 0, progress()
        for _ in range(MOST_ATTEMPTS):
            try:
                return fetch()
            except _PassingError as error:
                last = error
            failures = 1 if progress() > reached else failures + 1
            reached = progress()
            pause = 0.5 * 2 ** (failures - 1) if last.pause is None else last.pause
            if failures == ATTEMPTS or pause > LONGEST_PAUSE:
                break
            self._sleep(pause)
        wait = f" and asks for {last.pause:.0f} s of patience" if last.pause else ""
        remedy = (
            NETWORK if last.code == "hub.unreachable" else "Run it again later; a token raises the limits of a hub."
        )
        raise ModelError(last.code, f"{_host(url)} cannot be read: {last}{wait}", remedy) from last


class _ChosenProxy(urllib.request.ProxyHandler):
    """The proxy that the user set, for all but the hosts that are reached without one."""

    def __init__(self, proxy: Proxy) -> None:
        super().__init__({scheme: url for scheme, url in (("http", proxy.http), ("https", proxy.https)) if url})
        self._direct = (*ALWAYS_DIRECT, *proxy.no_proxy)

    def proxy_open(self, req: urllib.request.Request, proxy: str, type: str) -> http.client.HTTPResponse | None:
        """Let the next handler connect directly, or send the request to the proxy."""
        if is_direct(urlsplit(f"//{req.host}").hostname or "", self._direct):
            return None
        return super().proxy_open(req, proxy, type)


def is_direct(host: str, direct: Sequence[str]) -> bool:
    """Say whether a host is reached without the proxy: it is listed, or lies in a listed domain or network."""
    for entry in direct:
        domain = entry.lower().removeprefix("*").removeprefix(".")
        if entry == "*" or host == domain or host.endswith(f".{domain}"):
            return True
        with suppress(ValueError):
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
    return False


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and shows a token to no other host than the one it was meant for."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the next request, without the credentials if it goes elsewhere."""
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and _origin(newurl) != _origin(req.full_url):
            following.remove_header("Authorization")
        return following


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _host(url: str) -> str:
    """Return the part of a URL that may be shown: a redirect's query may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _tls_context(ca_certificates: Sequence[str]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    for certificate in ca_certificates:
        try:
            context.load_verify_locations(cadata=certificate)
        except (ssl.SSLError, ValueError) as error:
            message = f"a certificate of llmhost_ca_certificates cannot be read: {error}"
            raise ModelError("hub.certificate", message, "Give files in the PEM format.") from error
    return context


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of patience that a server asks for; the form with a date is left to the usual pauses."""
    text = (value or "").strip()
    return float(text) if text.isdecimal() and len(text) < 10 else None


def _check_range(url: str, content_range: str, begin: int, size: int) -> None:
    found = CONTENT_RANGE.fullmatch(content_range)
    if not found or int(found[1]) != begin:
        message = f"{_host(url)} sent another part of the file than the one asked for"
        raise ModelError("hub.answer", message, NETWORK)
    if found[2] not in ("*", str(size)):
        message = f"{_host(url)} has a file of {found[2]} bytes where its list says {size}"
        raise ModelError("hub.answer", message, "Run it again; pin llmhost_model_revision if the repository changes.")
