"""The hub client against a hub on the loopback interface, in fair weather and foul."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.model.http_range import HttpClient, is_direct
from ansible_collections.llmhost.core.plugins.module_utils.model.hub import (
    Hub,
    RemoteFile,
    Repository,
    checked_endpoint,
)
from ansible_collections.llmhost.core.plugins.module_utils.model.model_error import ModelError
from ansible_collections.llmhost.core.plugins.module_utils.service.egress import Proxy

from tests.tools.loopback_hub import LoopbackHub

REPO = "acme/toy"
BYTES = bytes(number * 7 % 251 for number in range(300_000))


class Naps:
    """Pauses that take no time, and are remembered."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / REPO / "part"
    folder.mkdir(parents=True)
    (folder / "a b.gguf").write_bytes(BYTES)
    (tmp_path / REPO / "README.md").write_text("read me")
    return tmp_path


@pytest.fixture
def hub(root: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub(root, cdn=("127.0.0.1", 0), tokens={"hf_good": "tester"}) as running:
        yield running


def settings(root: Path, content: str) -> None:
    (root / REPO / ".hub.json").write_text(content)


def client_of(hub: LoopbackHub, token: str = "", naps: Naps | None = None, timeout: float = 5) -> Hub:
    return Hub(HttpClient(timeout=timeout, sleep=naps or Naps()), hub.url, token)


def open_file(hub: LoopbackHub, naps: Naps | None = None, timeout: float = 5) -> RemoteFile:
    client = client_of(hub, naps=naps, timeout=timeout)
    return client.file(client.repository(REPO, "main"), "part/a b.gguf")


def code_of(client: Hub, revision: str = "main", repo: str = REPO) -> str:
    with pytest.raises(ModelError) as caught:
        client.repository(repo, revision)
    assert caught.value.remedy
    assert "hf_" not in str(caught.value)
    return caught.value.code


def test_repository_is_read_at_its_commit(hub: LoopbackHub, root: Path) -> None:
    settings(root, '{"license": "mit", "gated": "auto"}')
    repository = client_of(hub).repository(REPO, "main")
    assert (len(repository.commit), repository.gated, repository.private, repository.license) == (
        40,
        "auto",
        False,
        "mit",
    )
    large, small = repository.files["part/a b.gguf"], repository.files["README.md"]
    assert (large.size_bytes, len(large.sha256 or "")) == (300_000, 64)
    assert (small.size_bytes, small.sha256, len(small.git_oid or "")) == (7, None, 40)
    assert client_of(hub).repository(REPO, repository.commit) == repository


def test_parts_are_read_and_nothing_more(hub: LoopbackHub) -> None:
    file = open_file(hub)
    assert file.size == len(BYTES)
    assert file.read(100, 5000) == BYTES[100:5000]
    assert file.read(299_990, 300_000) == BYTES[-10:]
    assert file.read(7, 7) == b""
    assert hub.log.as_dict()["bytes_served"] == 4910


def test_token_is_shown_to_the_hub_but_not_to_the_content_network(hub: LoopbackHub) -> None:
    client = client_of(hub, "hf_good")
    client.file(client.repository(REPO, "main"), "part/a b.gguf").read(0, 10)
    shown = {entry["path"].split("/")[2]: entry["authenticated"] for entry in hub.log.as_dict()["requests"]}
    assert shown == {"models": True, "toy": True, "cdn": False}


def test_range_that_is_ignored_still_gives_the_part(hub: LoopbackHub) -> None:
    hub.faults.set([{"kind": "no_range", "times": 0}])
    assert open_file(hub).read(1000, 3000) == BYTES[1000:3000]


def test_cut_connection_is_resumed_where_it_broke(hub: LoopbackHub) -> None:
    hub.faults.set([{"kind": "cut", "match": "cdn", "at": 150_000}])
    file, naps = open_file(hub, naps := Naps()), naps
    assert file.read(0, 300_000) == BYTES
    ranges = [entry["range"] for entry in hub.log.as_dict()["requests"] if "cdn" in entry["path"]]
    assert ranges == ["bytes=0-299999", "bytes=150000-299999"]
    assert naps.taken == [0.5]


def test_stall_ends_with_the_timeout(hub: LoopbackHub) -> None:
    file = open_file(hub, timeout=0.2)
    hub.faults.set([{"kind": "stall", "match": "cdn", "at": 1000}])
    assert file.read(0, 3000) == BYTES[:3000]


def test_hub_that_never_recovers_is_given_up(hub: LoopbackHub) -> None:
    file = open_file(hub, naps := Naps())
    hub.faults.set([{"kind": "status", "match": "resolve", "status": 503, "times": 0}])
    with pytest.raises(ModelError, match="503") as caught:
        file.read(0, 10)
    assert caught.value.code == "hub.unavailable"
    assert naps.taken == [0.5, 1.0, 2.0]


def test_the_hub_is_given_the_patience_it_asks_for(hub: LoopbackHub) -> None:
    hub.faults.set([{"kind": "status", "match": "api", "status": 429, "retry_after": 7}])
    assert client_of(hub, naps=(naps := Naps())).repository(REPO, "main").name == REPO
    assert naps.taken == [7]


def test_too_much_patience_is_an_error(hub: LoopbackHub) -> None:
    hub.faults.set([{"kind": "status", "match": "api", "status": 429, "retry_after": 3600, "times": 0}])
    assert code_of(client_of(hub, naps=(naps := Naps()))) == "hub.rate_limited"
    assert naps.taken == []


def test_repository_that_does_not_exist(hub: LoopbackHub) -> None:
    assert code_of(client_of(hub), repo="acme/none") == "model.not_found"
    assert code_of(client_of(hub, "hf_good"), repo="acme/none") == "model.not_found"


def test_revision_that_does_not_exist(hub: LoopbackHub) -> None:
    assert code_of(client_of(hub), revision="v9/x") in ("model.revision_not_found", "model.not_found")
    assert code_of(client_of(hub), revision="v9") == "model.revision_not_found"


def test_private_repository_needs_a_token(hub: LoopbackHub, root: Path) -> None:
    settings(root, '{"private": true}')
    assert code_of(client_of(hub)) == "model.not_found"
    assert client_of(hub, "hf_good").repository(REPO, "main").private is True


def test_wrong_token_is_said_to_be_wrong(hub: LoopbackHub) -> None:
    assert code_of(client_of(hub, "hf_wrong")) == "hub.token_refused"


@pytest.mark.parametrize("token", ["", "hf_good"])
def test_gated_repository_says_where_to_accept_its_terms(hub: LoopbackHub, root: Path, token: str) -> None:
    settings(root, '{"gated": "manual", "allow": ["somebody"]}')
    client = client_of(hub, token)
    repository = client.repository(REPO, "main")
    assert repository.gated == "manual"
    with pytest.raises(ModelError, match=f"Accept its terms at {hub.url}/{REPO}") as caught:
        client.file(repository, "part/a b.gguf").read(0, 10)
    assert caught.value.code == "model.gated"


@pytest.mark.parametrize(("status", "code"), [(401, "hub.token_needed"), (403, "hub.forbidden"), (418, "hub.status")])
def test_other_refusals_are_explained(hub: LoopbackHub, status: int, code: str) -> None:
    hub.faults.set([{"kind": "status", "match": "api", "status": status}])
    assert code_of(client_of(hub)) == code


def test_no_network_to_the_hub() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert code_of(Hub(HttpClient(timeout=1, sleep=Naps()), url)) == "hub.unreachable"


@pytest.mark.parametrize(
    "address", ["", "huggingface.co", "file:///etc", "ftp://hub", "http://", "http://a:b", "http://a b"]
)
def test_address_that_is_no_hub(address: str) -> None:
    with pytest.raises(ModelError) as caught:
        checked_endpoint(address)
    assert caught.value.code == "hub.address"


def test_endpoint_loses_its_last_slash() -> None:
    assert checked_endpoint("https://mirror.example/hub/ ") == "https://mirror.example/hub"


@pytest.mark.parametrize(
    "certificate", ["no PEM at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_certificate_that_cannot_be_read(certificate: str) -> None:
    with pytest.raises(ModelError) as caught:
        HttpClient(ca_certificates=[certificate])
    assert caught.value.code == "hub.certificate"


class _Scripted(http.server.BaseHTTPRequestHandler):
    """Answers each request with what the test wrote down."""

    script: ClassVar[list[tuple[int, dict[str, str], bytes]]] = []
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Send the next answer; the last one is for all further requests."""
        self.asked.append(self.path)
        status, headers, body = self.script[0] if len(self.script) == 1 else self.script.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def scripted() -> Iterator[tuple[str, type[_Scripted]]]:
    handler = type("Handler", (_Scripted,), {"script": [], "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"sha": "main", "siblings": []}', b'{"sha": 7}', b'{"sha": "%s"}' % (b"a" * 40)],
)
def test_answers_that_are_none(scripted: tuple[str, type[_Scripted]], body: bytes) -> None:
    url, handler = scripted
    handler.script[:] = [(200, {}, body)]
    assert code_of(Hub(HttpClient(sleep=Naps()), url)) in ("model.invalid", "hub.answer")


def test_odd_entries_of_an_answer_are_passed_over() -> None:
    siblings: list[Any] = [
        None,
        {},
        {"rfilename": "../x"},
        {"rfilename": "/x"},
        {"rfilename": "a.gguf", "size": -1, "lfs": 3},
    ]
    answer = {"sha": "a" * 40, "siblings": siblings, "tags": ["license:mit"], "cardData": None, "gated": True}
    repository = Repository.from_api(REPO, answer)
    assert list(repository.files) == ["a.gguf"]
    assert repository.files["a.gguf"].size_bytes is None
    assert (repository.license, repository.gated) == ("mit", "manual")


@pytest.mark.parametrize(
    ("card", "expected"),
    [({"license": "other", "license_name": "qwen"}, "qwen"), ({"license": ["mit", "bsd"]}, "mit, bsd"), ({}, None)],
)
def test_licence_of_the_card(card: dict[str, Any], expected: str | None) -> None:
    assert Repository.from_api(REPO, {"sha": "a" * 40, "siblings": [], "cardData": card}).license == expected


def test_wrong_part_is_not_taken_for_the_right_one(scripted: tuple[str, type[_Scripted]]) -> None:
    url, handler = scripted
    client = HttpClient(sleep=Naps())
    for content_range in ("bytes 5-9/10", "bytes 0-4/99", "nonsense", ""):
        handler.script[:] = [(206, {"Content-Range": content_range}, b"12345")]
        with pytest.raises(ModelError) as caught:
            client.read_range(url, {}, 0, 5, 10)
        assert caught.value.code == "hub.answer"


@pytest.mark.parametrize(
    ("answer", "size"),
    [((206, {"Content-Range": "bytes 0-0/4711"}, b"x"), 4711), ((200, {"Content-Length": "12"}, b"123456789012"), 12)],
)
def test_size_is_asked_for_where_the_list_has_none(
    scripted: tuple[str, type[_Scripted]], answer: tuple[int, dict[str, str], bytes], size: int
) -> None:
    url, handler = scripted
    handler.script[:] = [answer]
    assert HttpClient(sleep=Naps()).size(f"{url}/file", {}) == size


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://["])
def test_redirect_to_something_else_than_http_is_not_followed(
    scripted: tuple[str, type[_Scripted]], target: str
) -> None:
    url, handler = scripted
    handler.script[:] = [(302, {"Location": target}, b"")]
    with pytest.raises(ModelError):
        Hub(HttpClient(sleep=Naps()), url).repository(REPO, "main")


def test_endless_redirects_end(scripted: tuple[str, type[_Scripted]]) -> None:
    url, handler = scripted
    handler.script[:] = [(302, {"Location": url}, b"")]
    with pytest.raises(ModelError):
        Hub(HttpClient(sleep=Naps()), url).repository(REPO, "main")


def test_answer_without_end_is_not_read_to_it(scripted: tuple[str, type[_Scripted]]) -> None:
    url, handler = scripted
    handler.script[:] = [(200, {}, b"x" * 5000)]
    with pytest.raises(ModelError, match="more than 1000 bytes"):
        HttpClient(sleep=Naps()).get(url, {}, 1000)


def test_proxy_is_asked_for_other_hosts_than_those_without(scripted: tuple[str, type[_Scripted]]) -> None:
    url, handler = scripted
    handler.script[:] = [(200, {}, b"from the proxy")]
    client = HttpClient(Proxy.from_settings({"http": url, "no_proxy": ["direct.invalid"]}), sleep=Naps())
    assert client.get("http://hub.invalid/x", {}, 100) == b"from the proxy"
    assert handler.asked == ["http://hub.invalid/x"]
    with pytest.raises(ModelError) as caught:
        client.get("http://direct.invalid/x", {}, 100)
    assert caught.value.code == "hub.unreachable"
    assert client.get(f"{url}/loopback", {}, 100) == b"from the proxy"
    assert handler.asked[-1] == "/loopback"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("hub.example.com", True),
        ("example.com", True),
        ("badexample.com", False),
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("cdn.other", True),
        ("hub.other", False),
    ],
)
def test_hosts_without_a_proxy(host: str, expected: bool) -> None:
    assert is_direct(host, (".example.com", "10.0.0.0/8", "cdn.other")) is expected
    assert is_direct(host, ("*",))
