"""The service: it runs as planned, as its own user, in its sandbox, and listens where it should."""

from __future__ import annotations

import re

import pytest

from tests.acceptance.expectation import Figure, expect, expect_equal
from tests.acceptance.target import SERVICE, Target

LOOK = f"systemctl status {SERVICE}; journalctl -u {SERVICE}"
RERUN = "run the tier's playbook again."

pytestmark = pytest.mark.applied("inference")


def test_the_service_is_active_and_enabled(target: Target) -> None:
    expect_equal(f"state of {SERVICE}", expected="active", found=target.unit_property("ActiveState"), remedy=LOOK)
    expect_equal(
        f"start of {SERVICE} at boot",
        expected="enabled",
        found=target.unit_property("UnitFileState"),
        remedy=f"systemctl enable {SERVICE}, or {RERUN}",
    )


def test_the_service_did_not_fall_over_on_its_way(target: Target) -> None:
    expect_equal(f"restarts of {SERVICE}", expected="0", found=target.unit_property("NRestarts"), remedy=LOOK)


def test_the_process_runs_as_its_own_user(target: Target) -> None:
    user = target.slice("inference")["user"]
    found = target.output("stat", "--format=%U", f"/proc/{target.main_pid}").strip()
    expect_equal(f"user of process {target.main_pid}", expected=user, found=found, remedy=RERUN)
    number = int(target.output("id", "--user", user))
    expect(0 < number < 1000, f"number of user {user}", expected="a system user", found=number, remedy=RERUN)


def test_the_process_runs_with_the_planned_arguments(target: Target) -> None:
    words = target.output("cat", f"/proc/{target.main_pid}/cmdline").rstrip("\0").split("\0")[1:]
    planned = [str(word) for word in target.slice("inference")["arguments"]]
    remaining = iter(words)
    missing = [word for word in planned if word not in remaining]
    expect(not missing, f"arguments of {SERVICE}", expected=planned, found=words, remedy=RERUN)


def test_the_process_has_the_planned_environment(target: Target) -> None:
    planned = target.slice("inference")["environment"]
    if not planned:
        pytest.skip("the plan asks for none")
    words = target.as_service("cat", f"/proc/{target.main_pid}/environ").split("\0")
    found = dict(word.split("=", 1) for word in words if word.split("=", 1)[0] in planned)
    expect_equal(f"environment of {SERVICE}", expected=planned, found=found, remedy=RERUN)


def test_the_runtime_is_the_planned_build(target: Target) -> None:
    archive = target.slice("inference")["archive"]
    program = target.as_service("readlink", "--canonicalize", f"/proc/{target.main_pid}/exe").strip()
    expect(archive in program.split("/"), "program of the service", expected=archive, found=program, remedy=RERUN)


def test_the_model_was_brought_in_beside_the_server(target: Target) -> None:
    if not target.plan["host_memory"]["read_ahead"]:
        pytest.skip("the plan reads around the page cache, which has no room for the model")
    found = target.unit_property("ExecStartPost")
    expect(
        " read " in found and "status=0" in found,
        "reader beside the server",
        expected="status=0",
        found=found,
        remedy=LOOK,
    )


def test_nobody_but_root_changes_the_programs(target: Target) -> None:
    found = target.lines("find /opt/llmhost ! -type l \\( ! -user root -o -perm /go=w \\)")
    expect(not found, "programs below /opt/llmhost open to change", expected="none", found=found[:5], remedy=RERUN)


def test_the_sandbox_is_tight(target: Target, pytestconfig: pytest.Config, figure: Figure) -> None:
    limit = pytestconfig.getoption("--exposure-limit")
    text = target.shell(f"systemd-analyze security --no-pager {SERVICE}")
    score = re.search(r"exposure level for .*?: ([0-9.]+)", text)
    assert score, f"systemd-analyze security gave no score for {SERVICE}"
    figure("exposure", score[1])
    expect(
        float(score[1]) <= limit, f"exposure of {SERVICE}", expected=f"at most {limit}", found=score[1], remedy=RERUN
    )


def test_the_process_listens_only_where_planned(target: Target) -> None:
    part = target.slice("inference")
    host = f"[{part['host']}]" if ":" in part["host"] else part["host"].replace("localhost", "127.0.0.1")
    sockets = target.as_service("ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes").splitlines()
    rows = [line for line in sockets if f"pid={target.main_pid}," in line]
    found = sorted({row.split()[3] for row in rows})
    planned = f"{host}:{part['port']}"
    expect_equal(f"sockets of {SERVICE}", expected=[planned], found=found, remedy=f"is the port taken? {LOOK}")


def test_the_service_is_closed_to_the_outside(target: Target) -> None:
    part = target.slice("inference")
    if part["host"] not in ("127.0.0.1", "::1", "localhost"):
        pytest.skip(f"the plan opens {part['host']}:{part['port']}")
    probe = f"timeout 3 bash -c 'exec 3<>/dev/tcp/%s/{part['port']}'"
    addresses = target.shell("hostname --all-ip-addresses").split()
    open_on = [address for address in addresses if target.host.run(probe % address).rc == 0]
    expect(not open_on, f"port {part['port']} from outside", expected="closed", found=open_on, remedy=RERUN)


def test_the_memory_limit_is_the_planned_one(target: Target) -> None:
    planned = target.slice("inference").get("memory_max_bytes")
    wanted = str(planned) if planned else "infinity"
    expect_equal(f"MemoryMax of {SERVICE}", expected=wanted, found=target.unit_property("MemoryMax"), remedy=RERUN)
