"""Listening sockets and their owners."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.sockets import (
    Listener,
    parse_passwd,
    parse_tcp,
    parse_unit,
    read_listeners,
)

from tests.unit.machine import Machine

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
V4 = "00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid} 0 {inode} 1 0 100 0 0 10 0\n"
V6 = V4.replace("00000000:0000", "0" * 32 + ":0000", 1)


def line(local: str, inode: int, state: str = "0A", uid: int = 0) -> str:
    shape = V6 if len(local) > 20 else V4
    return f"   0: {local} " + shape.format(state=state, uid=uid, inode=inode)


TCP = HEADING + line("0100007F:1F90", 101, uid=998) + line("00000000:0016", 102) + line("0100007F:A000", 103, "01")
TCP6 = HEADING + line("0" * 32 + ":0016", 104) + line("00000000000000000000000001000000:1F90", 105)


def test_sockets_have_owners(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.write(
        {"proc/net/tcp": TCP, "proc/net/tcp6": TCP6, "etc/passwd": "root:x:0:0::/:/bin/sh\nllm:x:998:9::/:\n"}
    )
    machine.write(
        {
            "proc/1/comm": "systemd\n",
            "proc/1/cgroup": "0::/init.scope\n",
            "proc/70/comm": "sshd\n",
            "proc/70/cgroup": "1:name=systemd:/system.slice/ssh.service\n0::/system.slice/ssh.service\n",
            "proc/80/comm": "llama-server\n",
            "proc/80/cgroup": "0::/system.slice/llmhost-inference.service\n",
            "proc/80/fd/0": "",
        }
    )
    for path, target in (("1/fd/5", 102), ("70/fd/3", 102), ("80/fd/7", 101), ("1/fd/6", 104)):
        machine.link(f"proc/{path}", f"socket:[{target}]")
    listeners, findings = read_listeners(machine.path("proc"), machine.path("etc"))
    assert findings == []
    assert listeners == [
        Listener("0.0.0.0", 22, "root", "sshd", "ssh.service"),
        Listener("::", 22, "root", "systemd", "init.scope"),
        Listener("127.0.0.1", 8080, "llm", "llama-server", "llmhost-inference.service"),
        Listener("::1", 8080, "root", None, None),
    ]


def test_no_proc_is_a_finding(tmp_path: Path) -> None:
    listeners, (finding,) = read_listeners(str(tmp_path), str(tmp_path))
    assert listeners == []
    assert finding.code == "facts.sockets_unreadable"


@pytest.mark.parametrize("local", ["0100007F", "zz:1", "0100007F:zz", "0100:1F90", "0100007F:0000", "0100007F:10000"])
def test_odd_addresses_are_left_out(local: str) -> None:
    assert parse_tcp(HEADING + line(local, 1)) == []


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/ssh.service", "ssh.service"),
        ("0::/system.slice/docker-1.scope/init.scope", "init.scope"),
        ("0::/user.slice/user-0.slice/user@0.service/app.slice/x.service/nested", "x.service"),
        ("0::/", None),
        ("", None),
    ],
)
def test_unit(text: str, unit: str | None) -> None:
    assert parse_unit(text) == unit


def test_passwd() -> None:
    assert parse_passwd("root:x:0:0:root:/root:/bin/sh\n# comment\nx:y:z:w\n") == {0: "root"}
