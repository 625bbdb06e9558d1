"""Waiting for a server: ready, still loading, dead, or somebody else."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.service.server import Answer, health, owner, resident_bytes
from ansible_collections.llmhost.core.plugins.module_utils.service.server_wait import Probe, ServerError, ServerWait
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit

RUNNING = "LoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nNRestarts=0\nResult=success\n"
FAILED = "LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\nExecMainStatus=1\n"
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
OURS, OTHERS = 990, 0


def waiting(
    states: list[str], answers: list[int], uids: list[int | None], load_bytes: int = 0, probe: Probe | None = None
) -> ServerWait:
    """Build a wait that meets the given states, answers and owners of the port one after the other."""
    now = [0.0]

    def run(command: list[str]) -> tuple[int, str, str]:
        return 0, states.pop(0) if len(states) > 1 else states[0], ""

    def sleep(seconds: float) -> None:
        now[0] += seconds

    probe = replace(
        probe or Probe(),
        health=lambda host, port: Answer(answers.pop(0) if len(answers) > 1 else answers[0]),
        owner=lambda host, port: uids.pop(0) if len(uids) > 1 else uids[0],
        resident=lambda pid: 600,
        sleep=sleep,
        clock=lambda: now[0],
    )
    return ServerWait(SystemdUnit("llmhost-x", run), "127.0.0.1", 8080, OURS, load_bytes, probe)


def test_it_waits_through_loading_until_the_server_is_ready() -> None:
    assert waiting([RUNNING], [503, 503, 200], [None, OURS]).wait(5) == {"running": False, "progress": {}}


def test_it_says_how_much_of_the_model_is_in_memory() -> None:
    report = waiting([RUNNING], [503], [OURS], load_bytes=1000).wait(1)
    assert report["running"]
    assert {key: report["progress"][key] for key in ("stage", "done", "total", "unit")} == {
        "stage": "load the model",
        "done": 600,
        "total": 1000,
        "unit": "bytes",
    }


@pytest.mark.parametrize(
    "state",
    [
        FAILED,
        RUNNING.replace("NRestarts=0", "NRestarts=1"),
        "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nNRestarts=0\n",
        "LoadState=loaded\nActiveState=inactive\nSubState=dead\n",
    ],
)
def test_a_server_that_died_is_noticed_at_once(state: str) -> None:
    with pytest.raises(ServerError, match="died while it started") as caught:
        waiting([RUNNING, state], [0], [None]).wait(60)
    assert caught.value.unit_failed


@pytest.mark.parametrize(("state", "unit_failed"), [(RUNNING, False), (FAILED, True)])
def test_a_port_that_is_taken_names_who_has_it(state: str, unit_failed: bool) -> None:
    with pytest.raises(ServerError, match=r"port 8080 of 127.0.0.1 is taken by a process of user root") as caught:
        waiting([state], [200], [OTHERS]).wait(60)
    assert caught.value.unit_failed is unit_failed


@pytest.mark.parametrize(
    ("table", "local", "host", "uid"),
    [
        ("tcp", "0100007F:1F90", "127.0.0.1", 990),
        ("tcp", "0100007F:1F90", "0.0.0.0", 990),
        ("tcp", "00000000:1F90", "192.0.2.1", 990),
        ("tcp", "0100007F:1F91", "127.0.0.1", None),
        ("tcp", "0200007F:1F90", "127.0.0.1", None),
        ("tcp6", "00000000000000000000000000000000:1F90", "127.0.0.1", 990),
        ("tcp6", "0000000000000000FFFF00000100007F:1F90", "127.0.0.1", 990),
        ("tcp6", "00000000000000000000000001000000:1F90", "::1", 990),
    ],
)
def test_owner_of_a_port(tmp_path: Path, table: str, local: str, host: str, uid: int | None) -> None:
    (tmp_path / "net").mkdir()
    line = f"   0: {local} 00000000:0000 0A 00000000:00000000 00:00000000 00000000   990        0 12345 1 0\n"
    (tmp_path / "net" / table).write_text(HEAD + line + line.replace(" 0A ", " 01 ").replace("990", "991") + "bad\n")
    assert owner(host, 0x1F90, str(tmp_path)) == uid


def test_nobody_has_a_port_when_the_tables_are_missing(tmp_path: Path) -> None:
    assert owner("127.0.0.1", 8080, str(tmp_path)) is None


def test_memory_of_a_process(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/statm").write_text("100 60 10 1 0 5 0\n")
    assert resident_bytes(7, 4096, str(tmp_path)) == 60 * 4096
    assert resident_bytes(8, 4096, str(tmp_path)) == 0


class Loading(http.server.BaseHTTPRequestHandler):
    """Says what the server of llama.cpp says while it loads."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()
        self.wfile.write(b'{"error":{"code":503,"message":"Loading model"}}')

    def log_message(self, format: str, *args: object) -> None:
        """Keep the output of the tests clean."""


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Loading)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_health_is_asked_past_any_proxy(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert health("0.0.0.0", port) == Answer(503, "Loading model")


def test_no_answer_is_an_answer(port: int) -> None:
    assert health("127.0.0.2", port).status == 0
