"""host_info as a whole: nothing that a host says makes it fail, and the module returns what it documents."""

from __future__ import annotations

import json
import os
import string
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.host import (
    capabilities,
    cgroup,
    cloud,
    cpu,
    host,
    memory,
    pcie,
    signatures,
    sockets,
    system,
)
from ansible_collections.llmhost.core.plugins.module_utils.host.lsblk import LsblkError, list_block_devices, parse_lsblk
from ansible_collections.llmhost.core.plugins.module_utils.host.mounts import Mounts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.machine import NOTHING_FOUND, Machine, lsblk

ROOT = Path(__file__).parents[2]

# Text that looks like what the parsers expect, and text that does not.
TEXT = st.text() | st.text("0123456789abcdefx:=./ \t\n\\\"'-_[]{}kB,")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: (
        st.lists(children)
        | st.dictionaries(
            st.sampled_from(["blockdevices", "signatures", "children", "size", "kname", "path", "mountpoints", "type"])
            | st.text(string.ascii_lowercase),
            children,
        )
    ),
    max_leaves=20,
)
PARSERS: dict[str, Callable[[str], object]] = {
    "blkid": signatures.parse_blkid,
    "cgroup": cgroup.parse_membership,
    "cpuinfo": cpu.parse_cpuinfo,
    "meminfo": memory.parse_meminfo,
    "mountinfo": Mounts.from_mountinfo,
    "os_release": system.parse_os_release,
    "passwd": sockets.parse_passwd,
    "quota": cgroup.parse_quota,
    "speed": pcie.parse_speed,
    "status": capabilities.parse_status,
    "swaps": memory.parse_swaps,
    "tcp": sockets.parse_tcp,
    "unit": sockets.parse_unit,
    "waagent": cloud.parse_waagent,
}
FILES = (
    "etc/fstab",
    "etc/os-release",
    "etc/passwd",
    "etc/waagent.conf",
    "etc/llmhost/state/swap.json",
    "proc/1/cgroup",
    "proc/1/comm",
    "proc/1/environ",
    "proc/cpuinfo",
    "proc/driver/nvidia/version",
    "proc/mdstat",
    "proc/meminfo",
    "proc/net/tcp",
    "proc/net/tcp6",
    "proc/self/mountinfo",
    "proc/self/status",
    "proc/self/uid_map",
    "proc/swaps",
    "proc/sys/vm/overcommit_memory",
    "run/cloud-init/cloud-id",
    "run/cloud-init/instance-data.json",
    "run/cloud-init/status.json",
    "sys/bus/pci/devices/0000:01:00.0/class",
    "sys/bus/pci/devices/0000:01:00.0/device",
    "sys/bus/pci/devices/0000:01:00.0/max_link_speed",
    "sys/bus/pci/devices/0000:01:00.0/max_link_width",
    "sys/bus/pci/devices/0000:01:00.0/numa_node",
    "sys/bus/pci/devices/0000:01:00.0/vendor",
    "sys/class/dmi/id/sys_vendor",
    "sys/devices/system/cpu/cpu0/topology/thread_siblings_list",
    "sys/fs/cgroup/cpu.max",
    "sys/fs/cgroup/memory.max",
    "sys/module/nvidia/version",
    "var/lib/dkms/nvidia",
)


@pytest.mark.parametrize("parser", PARSERS)
@given(text=TEXT)
def test_parsers_take_any_text(parser: str, text: str) -> None:
    PARSERS[parser](text)


@given(text=TEXT | JSON.map(json.dumps))
def test_lsblk_gives_devices_or_one_error(text: str) -> None:
    try:
        devices = parse_lsblk(text)
    except LsblkError:
        return
    assert all(device.size_bytes >= 0 for top in devices for device in top.walk())


@given(text=TEXT | JSON.map(json.dumps))
def test_wipefs_gives_signatures_or_one_error(text: str) -> None:
    try:
        found = signatures.parse_wipefs(text)
    except ValueError:
        return
    assert len({signature.type for signature in found}) == len(found)
    assert (found == ()) is (json.loads(text)["signatures"] == [])


@pytest.mark.parametrize("text", ["[" * 100_000, '{"blockdevices":' * 100_000])
def test_json_without_a_bottom(text: str) -> None:
    with pytest.raises(LsblkError):
        parse_lsblk(text)
    with pytest.raises(ValueError, match="nested too deeply"):
        signatures.parse_wipefs(text)


PROGRAMS = ("lsblk", "wipefs", "blkid", "systemd-detect-virt", "nvidia-smi", "modinfo", "dkms")
RESULTS = st.builds(CommandResult, st.integers(-15, 255), TEXT | JSON.map(json.dumps), TEXT)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    contents=st.lists(st.binary(max_size=60) | TEXT.map(lambda text: text.encode(errors="replace")), min_size=3),
    programs=st.dictionaries(st.sampled_from(PROGRAMS), RESULTS),
)
def test_any_host_gives_facts(tmp_path: Path, contents: list[bytes], programs: dict[str, CommandResult]) -> None:
    machine = Machine(tmp_path, programs)
    machine.write(dict.fromkeys(FILES, ""))
    for at, path in enumerate(FILES):
        (tmp_path / path).write_bytes(contents[at % len(contents)])
    facts = host.read_host(machine.run_command, str(tmp_path))
    json.dumps(facts)
    assert all(finding["code"].startswith("facts.") for finding in facts["findings"])
    assert not any(disk["blank"] for disk in facts["disks"])


def test_a_host_that_tells_nothing(tmp_path: Path) -> None:
    facts = host.read_host(Machine(tmp_path).run_command, str(tmp_path))
    assert {finding["code"] for finding in facts["findings"]} == {
        "facts.cpuinfo_unreadable",
        "facts.detect_virt_failed",
        "facts.lsblk_failed",
        "facts.meminfo_unreadable",
        "facts.mounts_unreadable",
        "facts.os_release_unreadable",
        "facts.sockets_unreadable",
    }
    assert all(finding["remedy"] for finding in facts["findings"])
    assert facts["proof"] is None
    assert facts["state"] == {name: {} for name in host.STATES}


@pytest.mark.parametrize(
    ("content", "record", "findings"),
    [('{"a": 1}', {"a": 1}, 0), ("", {}, 1), ("[]", {}, 1), ("{", {}, 1), ("[" * 100_000, {}, 1)],
)
def test_records_of_the_roles(tmp_path: Path, content: str, record: dict[str, Any], findings: int) -> None:
    (tmp_path / "models.json").write_text(content)
    state, found = host.read_state(str(tmp_path))
    assert state["models"] == record
    assert [finding.code for finding in found] == ["facts.state_unreadable"] * findings


def documented() -> dict[str, Any]:
    """Return the module's own description of what it returns."""
    text = (ROOT / "plugins/modules/host_info.yml").read_text()
    returned: dict[str, Any] = yaml.safe_load(text)["RETURN"]
    return returned


TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "dict": (dict,),
    "float": (float, int),
    "int": (int,),
    "list": (list,),
    "str": (str,),
}


def compare(value: Any, description: dict[str, Any], where: str) -> None:
    """Check that a value is what its description says, member by member."""
    assert description["description"], where
    if value is None:
        return
    kind = description["type"]
    assert issubclass(type(value), TYPES[kind]), where
    assert (type(value) is bool) is (kind == "bool"), where
    entries: list[Any] = value if kind == "list" else [value]
    for entry in entries:
        if kind == "list":
            assert isinstance(entry, TYPES[description["elements"]]), where
        if "contains" in description:
            assert set(entry) == set(description["contains"]), where
            for name, member in description["contains"].items():
                compare(entry[name], member, f"{where}.{name}")


def workstation(root: Path) -> Machine:
    """Return a machine that has at least one of everything."""
    machine = Machine(root, {**NOTHING_FOUND, "lsblk": lsblk({})})
    pci = "sys/bus/pci/devices/0000:01:00.0"
    machine.write(
        {
            "dev/nvme0n1": "",
            "etc/fstab": "/dev/xvdb /mnt auto comment=cloudconfig\n/swapfile none swap comment=cloudconfig\n",
            "proc/net/tcp": "heading\n0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 7 1\n",
            "proc/swaps": "heading\n/swapfile file 1024 0 -2\n",
            "proc/self/mountinfo": "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n21 20 8:2 / /mnt rw - ext4 /dev/xvdb rw\n",
            "sys/block/nvme0n1/device/transport": "pcie\n",
            "sys/block/nvme0n1/device/device/max_link_width": "4\n",
            f"{pci}/vendor": "0x10de\n",
            f"{pci}/device": "0x2204\n",
            f"{pci}/class": "0x030000\n",
            f"{pci}/max_link_width": "16\n",
            f"{pci}/max_link_speed": "16.0 GT/s PCIe\n",
        }
    )
    return machine


def test_everything_returned_is_documented(tmp_path: Path) -> None:
    facts = host.read_host(workstation(tmp_path).run_command, str(tmp_path))
    description = documented()["host"]
    for name in ("filesystems", "disks", "gpus", "listening", "findings"):
        assert facts[name], name
    assert facts["gpus"][0]["pcie"]
    assert facts["disks"][0]["pcie"]
    assert facts["memory"]["swaps"]
    assert facts["cloud"]["mounts"]
    assert facts["cloud"]["swaps"]
    compare(facts, description, "host")


def test_the_module_itself() -> None:
    """Run the module by ansible on this very machine, whatever that is."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible")),
            *("localhost", "--inventory", "localhost,", "--connection", "local", "--check"),
            *("--extra-vars", f"ansible_python_interpreter={sys.executable}"),
            *("--module-name", "llmhost.core.host_info"),
        ],
        capture_output=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"},
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout.partition("=> ")[2])
    assert result["changed"] is False
    compare(result["host"], documented()["host"], "host")
    assert result["host"]["kernel"]["release"] == os.uname().release
    assert result["host"]["memory"]["total_bytes"] > 0


def test_lsblk_is_asked_for_a_tree(tmp_path: Path) -> None:
    """Without it partitions stand beside their disk, which then seems to have none."""
    machine = Machine(tmp_path, {"lsblk": lsblk({})})
    list_block_devices(machine.run_command, ["/dev/nvme0n1"])
    (call,) = machine.calls
    assert "--tree=KNAME" in call
    assert call[call.index("--output") + 1].split(",")[0] == "KNAME"
