"""Memory, swap and the limits of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.host.cgroup import Limits, parse_membership, parse_quota
from ansible_collections.llmhost.core.plugins.module_utils.host.memory import Memory, Swap, parse_meminfo, parse_swaps

from tests.unit.machine import Machine

KIB = 1024
MEMINFO = """\
MemTotal:       65773060 kB
MemFree:         1000000 kB
MemAvailable:   60000000 kB
SwapTotal:       8388604 kB
HugePages_Total:       0
DirectMap4k:      100000 kB
"""
SWAPS = """\
Filename				Type		Size		Used		Priority
/dev/nvme0n1p3                          partition	8388604		12		-2
/srv/my\\040models/swapfile              file		1048572		0		10
"""


def test_memory(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.write({"proc/meminfo": MEMINFO, "proc/swaps": SWAPS, "proc/sys/vm/overcommit_memory": "2\n"})
    memory, findings = Memory.from_proc(machine.path("proc"), 8 << 30)
    assert findings == []
    assert memory.as_dict() == {
        "total_bytes": 65773060 * KIB,
        "available_bytes": 60000000 * KIB,
        "cgroup_limit_bytes": 8 << 30,
        "overcommit": 2,
        "swap_total_bytes": 8388604 * KIB,
        "swaps": [
            {
                "path": "/dev/nvme0n1p3",
                "type": "partition",
                "size_bytes": 8388604 * KIB,
                "used_bytes": 12 * KIB,
                "priority": -2,
            },
            {
                "path": "/srv/my models/swapfile",
                "type": "file",
                "size_bytes": 1048572 * KIB,
                "used_bytes": 0,
                "priority": 10,
            },
        ],
    }


def test_a_limit_above_the_memory_is_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.write({"proc/meminfo": MEMINFO})
    assert Memory.from_proc(machine.path("proc"), 1 << 50)[0].cgroup_limit_bytes is None


def test_no_proc_is_a_finding(tmp_path: Path) -> None:
    memory, (finding,) = Memory.from_proc(str(tmp_path))
    assert (memory.total_bytes, memory.overcommit, memory.swaps) == (0, 0, [])
    assert finding.code == "facts.meminfo_unreadable"


def test_old_kernels_do_not_tell_what_is_available(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.write({"proc/meminfo": "MemTotal: 100 kB\nMemFree: 40 kB\n"})
    assert Memory.from_proc(machine.path("proc"))[0].available_bytes == 40 * KIB


def test_odd_lines_are_left_out() -> None:
    assert parse_meminfo("MemTotal: x kB\nMemFree 3 kB\nA: 1 kB\nB: 2\n") == {"A": KIB}
    assert parse_swaps("heading\n/a file 1 x 2\n/b file 1\n/c file 1 2 3 4\n") == []
    assert parse_swaps("heading\n/a file 1 2 3\n") == [Swap("/a", "file", 1024, 2048, 3)]


@pytest.mark.parametrize(
    ("membership", "files", "memory", "cpus"),
    [
        ("0::/", {"memory.max": "max", "cpu.max": "max 100000"}, None, None),
        ("0::/", {"memory.max": "8589934592", "cpu.max": "250000 100000"}, 8 << 30, 2.5),
        # The group of process 1 may be below the one that has the limit.
        ("0::/init.scope", {"memory.max": "8589934592", "init.scope/memory.max": "max"}, 8 << 30, None),
        ("0::/a/b", {"a/b/memory.max": "200", "a/memory.max": "100", "a/b/cpu.max": "100 100"}, 100, 1.0),
        ("0::/../..", {"memory.max": "100"}, 100, None),
        ("", {"memory.max": "100"}, 100, None),
    ],
)
def test_limits_of_version_2(
    tmp_path: Path, membership: str, files: dict[str, str], memory: int | None, cpus: float | None
) -> None:
    machine = Machine(tmp_path)
    machine.write({"proc/1/cgroup": membership + "\n", "sys/fs/cgroup/cgroup.controllers": "memory cpu"})
    machine.write({f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert Limits.from_sysfs(machine.path("sys"), machine.path("proc")) == Limits(memory, cpus)


@pytest.mark.parametrize(
    ("files", "memory", "cpus"),
    [
        ({"memory/memory.limit_in_bytes": "9223372036854771712", "cpu/cpu.cfs_quota_us": "-1"}, None, None),
        ({"memory/docker/x/memory.limit_in_bytes": "4096"}, 4096, None),
        # A container sees its own group as the root, whatever the path says.
        ({"memory/memory.limit_in_bytes": "8192"}, 8192, None),
        ({"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, None, 1.5),
        ({"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "0"}, None, None),
        ({}, None, None),
    ],
)
def test_limits_of_version_1(tmp_path: Path, files: dict[str, str], memory: int | None, cpus: float | None) -> None:
    machine = Machine(tmp_path)
    machine.write({"proc/1/cgroup": "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/\n"})
    machine.write({f"sys/fs/cgroup/{name}": text for name, text in files.items()})
    assert Limits.from_sysfs(machine.path("sys"), machine.path("proc")) == Limits(memory, cpus)


def test_membership() -> None:
    text = "12:cpu,cpuacct:/a\n1:name=systemd:/b:c\n0::/d\nodd\n3:x\n"
    assert parse_membership(text) == {"cpu": "/a", "cpuacct": "/a", "name=systemd": "/b:c", "": "/d"}


@pytest.mark.parametrize(("text", "cpus"), [("max 100", None), ("50 100", 0.5), ("", None), ("1 2 3", None)])
def test_quota(text: str, cpus: float | None) -> None:
    assert parse_quota(text) == cpus
