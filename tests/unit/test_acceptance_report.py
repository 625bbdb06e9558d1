"""The acceptance suite's own parts: its report, its messages, and its way to a port of the target."""

from __future__ import annotations

import json
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.plan.plan_schema import PLAN, STEPS
from ansible_collections.llmhost.core.plugins.module_utils.proof.verdict import Verdict
from ansible_collections.llmhost.core.plugins.module_utils.sizing.allocation import Allocation, DeviceBytes
from ansible_collections.llmhost.core.plugins.module_utils.sizing.plan_check import Row

from tests.acceptance.allocation import (
    CALCULATOR,
    JOURNAL,
    Seen,
    memory_arguments,
    seen_allocation,
    service_memory,
)
from tests.acceptance.expectation import expect_equal
from tests.acceptance.report import Check, Report
from tests.acceptance.target import Secret, Target
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


def test_planned_and_seen_memory_is_a_table_and_a_difference_over_six_percent_a_finding() -> None:
    plain, off = Row("host", "total", 104 << 20, 100 << 20), Row("GPU0", "total", 90 << 20, 100 << 20)
    text = replace(REPORT, memory=(plain,)).as_text()
    assert "host    total       104.00    100.00       +4.00  +4.00\n\nNo total is off by more than 6 %." in text
    report = replace(REPORT, memory=(plain, off))
    assert "GPU0: the plan is 10.0 MiB (10.0 %) under what was allocated" in report.as_text()
    assert [finding["code"] for finding in report.as_dict()["findings"]] == ["memory.planned_under"]
    assert report.as_dict()["memory"][0]["difference_bytes"] == 4 << 20
    assert "Memory" not in REPORT.as_text()


def test_what_the_gpus_proved_is_a_table() -> None:
    one, other = "0000:01:00.0", "0000:41:00.0"
    ways = [
        {"way": way, "from": source, "to": target, "outcome": "ok", "gbs": 50.5}
        for way in ("staged", "copy", "read", "write")
        for source, target in ((one, other), (other, one))
    ]
    gpus = [{"pci_address": address, "memory": {"outcome": "ok"}} for address in (one, other)]
    result = {"devices": {"outcome": "ok"}, "gpus": gpus, "pairs": [{"a": one, "b": other, "transfers": ways}]}
    report = replace(REPORT, proof=Verdict.from_result(result))
    assert "GPUs, as they were proved\ngpu   address " in report.as_text()
    assert "GPU1  50.5 direct  -\n" in report.as_text()
    assert json.loads(json.dumps(report.as_dict()))["proof"] == result
    assert (REPORT.as_dict()["proof"], "proved" in REPORT.as_text()) == ({}, False)


ARGUMENTS = ["--model", "/m x.gguf", "--port", "80", "--swa-full"]
RUNTIME = {"arguments": ARGUMENTS, "environment": {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "user": "llmhost-inference"}
MEMORY = {"engine": "llama_cpp", "runtime": RUNTIME}
RAW = "llama_server: initializing\nload_tensors: CPU_Mapped model buffer size = 7.00 MiB\n"


def target_with(answers: dict[str, str], plan: dict[str, Any]) -> tuple[Target, list[str]]:
    """A target whose commands answer by the first word that they hold, and the commands that were run."""
    commands: list[str] = []

    def run(command: str, *arguments: str) -> SimpleNamespace:
        whole = command % arguments if arguments else command
        commands.append(whole)
        stdout = next((answer for word, answer in answers.items() if word in whole), "")
        return SimpleNamespace(rc=0, stdout=stdout, stderr="")

    host: Any = SimpleNamespace(run=run)
    return Target(host, "gpu1", plan), commands


def test_the_journal_of_this_start_says_what_was_allocated() -> None:
    target, commands = target_with({"InvocationID": "abc\n", "journalctl": RAW}, MEMORY)
    seen = seen_allocation(target)
    assert seen is not None
    assert (seen.source, seen.allocation.host.weights_bytes) == (JOURNAL, 7 << 20)
    assert any("_SYSTEMD_INVOCATION_ID=abc" in command for command in commands)


def test_a_journal_that_says_nothing_is_replaced_by_the_calculator() -> None:
    answers = {
        "InvocationID": "abc",
        "MainPID": "42",
        "readlink": "/opt/x/bin/llama-server\n",
        "fit-print": "Host 7 2 1\n",
    }
    target, commands = target_with(answers, MEMORY)
    seen = seen_allocation(target)
    assert seen is not None
    assert (seen.source, seen.allocation.host.logged_bytes) == (CALCULATOR, 10 << 20)
    environment, program = "env CUDA_DEVICE_ORDER=PCI_BUS_ID", "/opt/x/bin/llama-fit-params"
    assert commands[-1] == f"{environment} {program} --model /m x.gguf --swa-full --fit-print on 2>/dev/null"


def test_where_nothing_says_it_there_is_none() -> None:
    target, _ = target_with({"MainPID": "42"}, MEMORY)
    assert seen_allocation(target) is None
    target, _ = target_with({"journalctl": "nothing of memory"}, {"engine": "vllm"})
    assert seen_allocation(target) is None


def test_vllm_is_read_from_its_own_log() -> None:
    line = "INFO 04-24 16:33:00 [gpu_model_runner.py:1316] Model loading took 14.5 GiB and 3.65 seconds"
    target, _ = target_with({"journalctl": line}, {"engine": "vllm"})
    seen = seen_allocation(target)
    assert seen is not None
    assert seen.allocation.gpus[0].weights_bytes == 29 << 29


def test_the_calculator_is_given_nothing_but_what_decides_about_memory() -> None:
    arguments = ["--model", "m", "--alias", "--swa-full-name", "--host", "::", "--parallel", "2", "--no-kv-unified"]
    assert memory_arguments([*arguments, "--metrics", "--swa-full"]) == [
        "--model",
        "m",
        "--parallel",
        "2",
        "--swa-full",
    ]


def test_what_the_calculator_cannot_tell_is_not_compared() -> None:
    planned = Allocation((DeviceBytes("GPU0", 5, 4, 0, 3, 2, 1),), DeviceBytes("host", 9, 8, 7, 6, 5, 4))
    whole, _ = Seen(planned, JOURNAL).comparable(planned)
    assert whole == planned
    for part in Seen(planned, CALCULATOR).comparable(planned):
        assert [device.logged_bytes for device in part.devices] == [9, 24]


def test_the_memory_of_the_service_is_what_is_resident_and_what_is_swapped() -> None:
    rows = "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  2048 kB\nPss: 9 kB\nSwap:  1024 kB\n"
    target, _ = target_with({"MainPID": "42", "smaps_rollup": rows}, MEMORY)
    assert service_memory(target) == 3 << 20


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


@pytest.mark.parametrize("step", STEPS)
def test_each_step_finds_its_section_of_the_plan(step: str) -> None:
    sections = {name: {"section": name} for name in PLAN}
    found = Target(SimpleNamespace(), "gpu1", plan=sections).slice(step)
    assert found["section"] in PLAN, f"the plan has no section for the step {step}"
