"""The acceptance suite's own parts: its report, its messages, and its way to a port of the target."""

from __future__ import annotations

import json
import socket
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.acceptance.expectation import expect_equal
from tests.acceptance.report import Check, Report
from tests.acceptance.target import Secret
from tests.acceptance.tunnel import Tunnel, UnreachableError, relay_command

REPORT = Report(
    "gpu1",
    "intermediate",
    "org/model:Q4_K_M",
    (
        Check("api", "a question is answered", "passed", figures={"speed": "31.0 tokens/s"}),
        Check("swap", "the swap is active", "skipped", "the plan skips swap: a container"),
        Check("service", "the service is active", "failed", "state of the service\n  expected: active"),
    ),
)


def test_the_table_is_aligned_and_names_the_figures() -> None:
    lines = REPORT.as_text().splitlines()
    assert lines[0] == "Acceptance of gpu1 (tier intermediate, model org/model:Q4_K_M): 1 passed, 1 failed, 1 skipped"
    rows = lines[2:6]
    assert (
        len({row.index(word) for row, word in zip(rows, ("result", "passed", "skipped", "failed"), strict=True)}) == 1
    )
    assert rows[1].endswith("speed 31.0 tokens/s")
    assert rows[2].endswith("the plan skips swap: a container")


def test_a_failure_is_told_in_full() -> None:
    assert "service: the service is active\nstate of the service\n  expected: active\n" in REPORT.as_text()


def test_the_files_are_left(tmp_path: Path) -> None:
    REPORT.write(tmp_path / "gpu1")
    data = json.loads((tmp_path / "gpu1/report.json").read_text())
    assert data["counts"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert data["checks"][0]["figures"] == {"speed": "31.0 tokens/s"}
    assert (tmp_path / "gpu1/report.txt").read_text() == REPORT.as_text()


def test_a_report_without_checks_says_so() -> None:
    assert "no check was made" in Report("a", "b", "c", ()).as_text()


def test_a_failed_check_names_thing_expected_found_and_remedy() -> None:
    with pytest.raises(AssertionError, match=r"(?s)mode of x.*expected: 600.*found: +644.*remedy: +chmod"):
        expect_equal("mode of x", expected=600, found=644, remedy="chmod 600 x")


def test_a_secret_does_not_show_in_a_failed_comparison() -> None:
    assert "hunter2" not in repr(Secret("hunter2"))


def test_each_kind_of_target_gets_its_relay() -> None:
    local = relay_command(SimpleNamespace(NAME="local"), "127.0.0.1", 8080)
    assert local[0] == "python3"
    assert local[-2:] == ["127.0.0.1", "8080"]
    docker = relay_command(SimpleNamespace(NAME="docker", name="bed"), "127.0.0.1", 8080)
    assert docker[:4] == ["docker", "exec", "--interactive", "bed"]
    assert docker[4:] == local
    with pytest.raises(UnreachableError, match="salt"):
        relay_command(SimpleNamespace(NAME="salt", hostname="bed"), "127.0.0.1", 8080)


def test_ssh_carries_the_relay_as_one_word() -> None:
    ssh = pytest.importorskip("testinfra.backend.ssh")
    command = relay_command(ssh.SshBackend("user@gpu1:2222"), "127.0.0.1", 8080)
    assert command[0] == "ssh"
    assert "gpu1" in command
    assert command[-1].startswith("python3 -c ")
    assert command[-1].endswith(" 127.0.0.1 8080")


def test_a_tunnel_carries_both_directions_to_their_ends() -> None:
    payload = bytes(range(256)) * 4096

    def echo(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        command = relay_command(SimpleNamespace(NAME="local"), "127.0.0.1", server.getsockname()[1])
        with Tunnel([sys.executable, *command[1:]]) as tunnel:
            assert exchange(tunnel.port, payload) == payload


def test_a_client_is_told_when_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = relay_command(SimpleNamespace(NAME="local"), "127.0.0.1", port)
    with Tunnel([sys.executable, *command[1:]]) as tunnel:
        assert exchange(tunnel.port, b"") == b""


def exchange(port: int, payload: bytes) -> bytes:
    """Send all, and return all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        threading.Thread(target=client.sendall, args=(payload,), daemon=True).start()
        answer = b""
        while len(answer) < len(payload) or not payload:
            data = client.recv(65536)
            if not data:
                break
            answer += data
        return answer
