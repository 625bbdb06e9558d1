"""The role multi_gpu on a host whose CUDA driver has no GPUs: the unit runs the proof, and its result is kept.

The driver computes, lies and hangs as /etc/fake.env says (tests/tools/fake_cuda). What is proved is small, as the
processor computes it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bed.conftest import LOCAL_CERTIFICATES, Target
from tests.tools.bed import CHECKOUT, Bed
from tests.tools.fake_libraries import compiled

A, B = "0000:1a:00.0", "0000:1b:00.0"
UNIT = "llmhost-proof"
RECORD = "/etc/llmhost/state/gpu_proof.json"
FILES = CHECKOUT / "roles/multi_gpu/files"

# The same request, in a size that a processor computes in a moment.
SHRINK = """
import json
asked = json.load(open("/etc/llmhost/proof.json"))
asked |= {"transfer_bytes": 1 << 16, "chunk_bytes": 4 << 20, "reserve_bytes": 1 << 20, "matrix_size": 128}
asked |= {"measure_ms": 1, "step_seconds": 4}
json.dump(asked, open("/run/llmhost/llmhost-proof/small.json", "w"))
"""
DROP_IN = """[Service]
EnvironmentFile=/etc/fake.env
ExecStartPre=/usr/bin/python3 /srv/fake/shrink.py
ExecStart=
ExecStart=/usr/bin/python3 /opt/llmhost/proof/llmhost-proof.pyz --request /run/llmhost/llmhost-proof/small.json
"""
SMI = """#!/bin/sh
echo "00000000:1A:00.0, 61, 1800, 2100, 340.00, 350.00, 0x0000000000000004"
echo "00000000:1B:00.0, 64, 1790, 2100, 345.00, 350.00, 0x0000000000000000"
"""
# What the kernel shows of the driver; these folders are there on every kernel.
KERNEL = f"""
mount -t tmpfs tmpfs /sys/module && mkdir /sys/module/nvidia
mount -t tmpfs tmpfs /proc/driver
for gpu in {A} {B}; do
  mkdir -p /proc/driver/nvidia/gpus/$gpu
  printf 'Model: \\t\\t A card\\nGPU UUID: \\t GPU-%s\\n' $gpu > /proc/driver/nvidia/gpus/$gpu/information
done
"""
RESET = f"""
systemctl stop {UNIT} 2>/dev/null || true
systemctl reset-failed {UNIT} 2>/dev/null || true
rm -rf /etc/llmhost /opt/llmhost /run/llmhost /etc/systemd/system/{UNIT}.service
systemctl daemon-reload
"""
TRACES = """
find /etc /opt /run -xdev -iname '*llmhost*' -not -path '/run/lock/*' -not -path '/run/systemd/*' \
  -not -path '/etc/systemd/system/*.d*' -print
"""


@pytest.fixture(scope="module")
def gpu_bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("libraries")
    with Bed(f"llmhost-proof-{os.getpid()}").running() as bed:
        for certificate in LOCAL_CERTIFICATES.glob("*.crt"):
            bed.put(certificate, str(certificate))
        bed.shell("update-ca-certificates >/dev/null 2>&1")
        bed.put(compiled("libcuda", folder), "/usr/lib/x86_64-linux-gnu/libcuda.so.1")
        bed.put(compiled("libnccl", folder), "/srv/fake/libnccl.so.2")
        bed.write("/srv/fake/shrink.py", SHRINK)
        bed.write(f"/etc/systemd/system/{UNIT}.service.d/fake.conf", DROP_IN)
        bed.write("/usr/bin/nvidia-smi", SMI)
        bed.shell(f"chmod 755 /usr/bin/nvidia-smi; ldconfig; {KERNEL}")
        yield bed


class GpuHost(Target):
    """The container as a host with two GPUs."""

    def behave(self, cuda: str = "gpus=2 peer", nccl: str = "", version: str = "580.178.04") -> None:
        """Say how driver and NCCL behave from now on."""
        self.bed.write("/etc/fake.env", f'FAKE_CUDA="{cuda}"\nFAKE_NCCL="{nccl}"\n')
        self.bed.write("/sys/module/nvidia/version", f"{version}\n")

    def have_nccl(self) -> None:
        """Put the NCCL without GPUs where the role would install the real one."""
        wanted = (FILES / "nccl-cu13.txt").read_text()
        digest = subprocess.run(["sha256sum"], input=wanted, capture_output=True, text=True, check=True).stdout[:12]
        place = f"/opt/llmhost/nccl-{digest}"
        self.bed.write(f"{place}/requirements.txt", wanted)
        library = f"{place}/lib/python3.10/site-packages/nvidia/nccl/lib"
        self.shell(f"mkdir -p {place}/bin {library}; ln -sf /usr/bin/python3 {place}/bin/python")
        self.shell(f"cp /srv/fake/libnccl.so.2 {library}/")

    def record(self) -> dict[str, Any]:
        """Return what the last proof found."""
        found: dict[str, Any] = json.loads(self.read(RECORD))
        return found

    def runs(self) -> int:
        """Return how often the unit has been started."""
        said = self.shell(f"journalctl -u {UNIT} -o cat --no-pager | grep -c '^Starting Prove' || true")
        return int(said)


@pytest.fixture
def host(gpu_bed: Bed, tmp_path: Path) -> GpuHost:
    gpu_bed.shell(RESET)
    proof = {"gpus": [A, B], "environment": {"NCCL_P2P_LEVEL": "PHB"}, "burn_in_seconds": 3, "nccl": "cu13"}
    ways = [{"a": A, "b": B, "path": "pcie", "gbs": 0.0}]
    planned = {"proof": proof, "expected": ways, "peers": "proved", "environment": {}, "custom_all_reduce": True}
    target = GpuHost(gpu_bed, tmp_path, {"multi_gpu": {"order": [A, B], **planned}})
    target.behave()
    target.have_nccl()
    return target


def test_check_mode_on_an_empty_host_changes_nothing(host: GpuHost) -> None:
    host.shell("rm -rf /opt/llmhost")
    outcome = host.succeed("multi_gpu", "--check")
    assert outcome.changed > 0
    assert host.shell(TRACES) == ""


def test_gpus_are_proved_once_and_again_with_another_driver(host: GpuHost) -> None:
    runs = host.runs()
    outcome = host.succeed("multi_gpu")
    assert outcome.changed > 0
    found = host.record()
    assert (found["ok"], found["findings"]) == (True, [])
    assert found["driver_version"] == "580.178.04"
    assert found["uuids"] == {A: f"GPU-{A}", B: f"GPU-{B}"}
    assert {gpu["product"]["outcome"] for gpu in found["gpus"]} == {"ok"}
    assert found["gpus"][1]["sensors"]["temperature_max"] == 64
    assert {transfer["outcome"] for transfer in found["pairs"][0]["transfers"]} == {"ok"}
    assert found["all_reduce"]["with_peer"]["environment"] == {"NCCL_P2P_LEVEL": "PHB"}
    assert found["all_reduce"]["with_peer"]["outcome"] == "ok"
    assert host.shell(f"stat -c '%a %U' {RECORD}") == "640 root"
    assert host.runs() == runs + 1
    assert "direct" in host.shell(f"journalctl -u {UNIT} -o cat --no-pager")

    again = host.succeed("multi_gpu")
    assert (again.changed, again.executed) == (0, 2)
    assert host.succeed("multi_gpu", "--check").changed == 0
    assert host.runs() == runs + 1

    host.behave(version="595.91.07")
    outcome = host.succeed("multi_gpu")
    assert outcome.changed > 0
    assert host.record()["driver_version"] == "595.91.07"
    assert host.runs() == runs + 2


@pytest.mark.parametrize("fault", ["wrong=read", "hang=copy"])
def test_direct_transfers_that_fail_end_no_run(host: GpuHost, fault: str) -> None:
    host.behave(f"gpus=2 peer {fault}")
    host.succeed("multi_gpu")
    found = host.record()
    assert found["ok"]
    assert [finding["code"] for finding in found["findings"]] == ["proof.peer"]
    assert host.succeed("multi_gpu").changed == 0


def test_a_sum_that_hangs_with_peer_access_is_kept(host: GpuHost) -> None:
    host.behave(nccl="peer hang=reduce")
    host.succeed("multi_gpu")
    ways = host.record()["all_reduce"]
    assert {name: way["outcome"] for name, way in ways.items()} == {"without_peer": "ok", "with_peer": "hang"}


def test_a_gpu_that_is_broken_ends_the_run_until_it_is_mended(host: GpuHost) -> None:
    host.behave("gpus=2 peer wrong=host")
    outcome = host.play("multi_gpu")
    assert outcome.rc != 0
    assert f"The GPU at {A} changes data on its way" in outcome.failure["msg"]
    assert "Seat card and riser anew" in outcome.failure["msg"]
    assert host.record()["ok"] is False
    assert host.play("multi_gpu").rc != 0
    host.behave()
    host.succeed("multi_gpu")
    assert host.record()["ok"]


def test_a_driver_that_does_not_start_is_said(host: GpuHost) -> None:
    host.behave("gpus=2 fail=cuInit:999")
    assert "nvidia-uvm" in host.play("multi_gpu").failure["msg"]


def test_a_run_that_is_killed_leaves_a_proof_that_the_next_one_waits_for(host: GpuHost) -> None:
    host.plan["multi_gpu"]["proof"]["burn_in_seconds"] = 15
    runs = host.runs()
    started = start(host)
    wait_for(host, f"systemctl is-active {UNIT}", "activating")
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    host.succeed("multi_gpu")
    assert host.record()["ok"]
    assert host.runs() == runs + 1


def test_a_proof_that_is_killed_is_made_again(host: GpuHost) -> None:
    host.plan["multi_gpu"]["proof"]["burn_in_seconds"] = 15
    started = start(host)
    wait_for(host, "cat /run/llmhost/llmhost-proof/progress.json", "under load")
    host.shell(f"systemctl kill --signal=KILL {UNIT}")
    assert started.wait() != 0
    assert host.shell(f"ls {RECORD} 2>/dev/null || true") == ""
    host.plan["multi_gpu"]["proof"]["burn_in_seconds"] = 0
    host.succeed("multi_gpu")
    assert host.record()["ok"]


def test_the_acceptance_report_shows_what_was_proved(host: GpuHost) -> None:
    host.succeed("multi_gpu")
    model = {"request": {"model": "x/y"}}
    plan = {"tier": "intermediate", "model": model, "steps": {"multi_gpu": {"action": "apply"}}, **host.plan}
    host.bed.write("/etc/llmhost/plan.json", json.dumps(plan))
    suite = [sys.executable, "-m", "pytest", "-q", "tests/acceptance/test_multi_gpu.py", "-p", "no:cacheprovider"]
    command = [*suite, f"--hosts=docker://{host.bed.name}", f"--report-dir={host.directory}"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = (host.directory / "report.txt").read_text()
    assert "GPUs, as they were proved" in report
    assert f"GPU1  {B}  ok" in report
    assert " direct" in report

    host.behave(version="595.91.07")
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert "driver of the proof" in done.stdout
    host.shell(f"rm {RECORD}")
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert "the record of a proof" in done.stdout


def test_removal_leaves_nothing_and_may_be_done_twice(host: GpuHost) -> None:
    host.succeed("multi_gpu")
    assert host.succeed("multi_gpu", "--check", entry="remove").changed == 1
    assert host.succeed("multi_gpu", entry="remove").changed == 1
    # The folders are the tier's, and go with it.
    assert host.shell(TRACES).split() == ["/etc/llmhost", "/opt/llmhost", "/run/llmhost"]
    assert host.shell("find /etc/llmhost /opt/llmhost /run/llmhost -type f") == ""
    assert host.succeed("multi_gpu", entry="remove").changed == 0


def test_removal_from_a_host_without_the_step(host: GpuHost) -> None:
    host.shell("rm -rf /opt/llmhost")
    host.plan = {"multi_gpu": None}
    assert host.succeed("multi_gpu", entry="remove").changed == 0


def start(host: GpuHost) -> subprocess.Popen[str]:
    """Start a run that is to be killed; the one before has left its files."""
    code = "import sys; from tests.bed.test_multi_gpu import again; again(*sys.argv[1:])"
    arguments = [host.bed.name, str(host.directory), json.dumps(host.plan)]
    return subprocess.Popen([sys.executable, "-c", code, *arguments], cwd=CHECKOUT, text=True, start_new_session=True)


def again(name: str, folder: str, plan: str) -> None:
    """Run the role, in a process of its own."""
    sys.exit(GpuHost(Bed(name), Path(folder), json.loads(plan)).play("multi_gpu").rc)


def wait_for(host: GpuHost, command: str, words: str) -> None:
    """Wait until a command says so."""
    end = time.monotonic() + 60
    while words not in host.shell(f"{command} 2>/dev/null || true"):
        assert time.monotonic() < end, f"{command} never said {words}"
        time.sleep(0.2)
