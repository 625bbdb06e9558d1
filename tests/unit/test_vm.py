"""What virtual machines promise, as far as it needs none."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.tools import vm_hold
from tests.tools.qemu import NVME_MODEL, PROBE_STATUS, Qemu, QemuError, kvm_works
from tests.tools.vm import Machine, NvmeDisk, sweep
from tests.tools.vm_image.images import PORTS, hardware, without_comments
from tests.tools.vm_image.states import USER_DATA

CHECKOUT = Path(__file__).resolve().parents[2]
MOLECULE = CHECKOUT / "molecule"


def test_a_drive_has_a_serial_and_a_size() -> None:
    disk = NvmeDisk("models", "64 MiB")
    assert (disk.serial, disk.size_bytes) == ("VMMODELS", 64 << 20)


@pytest.mark.parametrize(("serial", "model", "firmware"), [("x" * 21, "", ""), ("", "x" * 41, ""), ("", "", "x" * 9)])
def test_a_drive_refuses_what_its_identity_has_no_room_for(serial: str, model: str, firmware: str) -> None:
    with pytest.raises(ValueError, match="at most 20 characters"):
        NvmeDisk("models", "64 MiB", serial=serial, model=model, firmware=firmware)


def test_every_drive_has_a_port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.tools.vm_image.images.accelerator", lambda cores: [])
    ports = [word for word in hardware(2048, 2, seed=True) if word.startswith("pcie-root-port")]
    assert len({port.split("addr=")[1].split(",")[0] for port in ports}) == PORTS >= 32
    assert len({port.split("chassis=")[1].split(",")[0] for port in ports}) == PORTS


def test_the_arguments_of_a_machine_name_no_place_of_this_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A saved state belongs to its arguments: a path in them would make it fit one machine."""
    monkeypatch.setattr("tests.tools.vm_image.images.accelerator", lambda cores: [])
    assert [word for word in hardware(2048, 2, seed=True) if "/" in word] == []


def test_a_machine_with_a_disk_of_its_own_boots_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []
    monkeypatch.setattr("tests.tools.vm.CACHE", tmp_path)
    monkeypatch.setattr("tests.tools.vm.overlay", lambda backing, _target: made.append(backing))
    monkeypatch.setattr("tests.tools.vm.saved", lambda *, live: SimpleNamespace(live=live, seed=__file__))
    machine = Machine("x", image=tmp_path / "own.qcow2")

    def launch(kept: SimpleNamespace, *, boots: bool) -> None:
        raise QemuError(f"boots: {boots}, restores: {kept.live}")

    monkeypatch.setattr(machine, "_launch", launch)
    with pytest.raises(QemuError, match="boots: True, restores: False"):
        machine.start()
    machine.stop()
    assert made == [tmp_path / "own.qcow2"]


def test_comments_make_no_new_image(tmp_path: Path) -> None:
    script = tmp_path / "x.sh"
    script.write_text("#!/bin/sh\n# why\n  # more\necho a # b\n")
    assert without_comments(script) == "echo a # b\n"


def test_cloud_init_gets_the_key() -> None:
    assert USER_DATA.startswith("#cloud-config\n")
    assert "ssh_authorized_keys: [KEY]" in USER_DATA.format(key="KEY")


def test_kvm_is_asked_and_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that opens and runs nothing is no KVM; neither is a QEMU that ends in another way."""
    answers = iter([0, 1, PROBE_STATUS])
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda *args, **options: subprocess.CompletedProcess(args, next(answers), b"", b""),
    )
    found = []
    for _ in range(3):
        kvm_works.cache_clear()
        found.append(kvm_works())
    kvm_works.cache_clear()
    assert found == [False, False, True]


def test_a_probe_that_hangs_is_no_kvm(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("qemu", 5)

    monkeypatch.setattr(os, "access", lambda path, mode: True)
    monkeypatch.setattr(subprocess, "run", hang)
    kvm_works.cache_clear()
    assert not kvm_works()
    kvm_works.cache_clear()


# Stands for QEMU: its memory holds serial, model and firmware of two drives, each written by itself so that no other
# copy of them is about. It says what the memory holds when it is told to.
TWO_DRIVES = """
import ctypes
memory = ctypes.create_string_buffer(b" " * 136)
view = memoryview(memory).cast("B")
for start, serial in ((0, b"ONE"), (68, b"TWO")):
    view[start:start + 3] = serial
    view[start + 20:start + 34] = b"QEMU NVMe Ctrl"
    view[start + 60:start + 63] = b"7.2"
print("ready", flush=True)
input()
print(memory.raw.decode()[:136], end="")
"""
MODEL, FIRMWARE = "Samsung SSD 980 PRO 1TB", "5B2QGXA7"


def test_a_model_is_written_after_its_serial_and_nowhere_else() -> None:
    command = [sys.executable, "-c", TWO_DRIVES]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        machine = object.__new__(Qemu)
        machine.process = process  # type: ignore[assignment]
        with pytest.raises(QemuError, match="does not keep the model") as raised:
            machine.name_models({"TWO": (MODEL, FIRMWARE), "THREE": ("Model", "1")})
        memory, _ = process.communicate("\n")
    assert "THREE" in str(raised.value)
    assert "TWO" not in str(raised.value)
    assert memory[:68] == "ONE".ljust(20) + NVME_MODEL.decode() + "7.2".ljust(8)
    assert memory[68:] == "TWO".ljust(20) + MODEL.ljust(40) + FIRMWARE.ljust(8)


def test_a_machine_that_does_not_run_says_so() -> None:
    with pytest.raises(QemuError, match="machine x does not run"):
        Machine("x").power_cut()


def test_what_a_killed_test_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    for name in ("killed", "running", "not_ours"):
        (tmp_path / name).mkdir()
    (tmp_path / "killed/lock").touch()
    with (tmp_path / "running/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sweep(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["not_ours", "running"]


def test_a_drive_is_read_from_a_line() -> None:
    disk = vm_hold.parse_drive("models,2 GiB,Samsung SSD 980 PRO, 1TB")
    assert (disk.name, disk.size_bytes, disk.model) == ("models", 2 << 30, "Samsung SSD 980 PRO, 1TB")
    assert vm_hold.parse_drive("a,1G").model == NvmeDisk("a", "1G").model


def test_the_holder_finds_the_program_above_it() -> None:
    """Started by a shell that was started by a program of this name."""
    code = "import sys; from tests.tools.vm_hold import owner; print(owner(sys.argv[1]))"
    script = f"{sys.executable} -c '{code}' {Path(sys.executable).name}; true"
    done = subprocess.run(["sh", "-c", script], check=False, capture_output=True, text=True, cwd=CHECKOUT)
    assert done.stdout.strip() == str(os.getpid()), done.stderr


def test_the_holder_refuses_to_have_nobody_to_end_with() -> None:
    with pytest.raises(QemuError, match="nobody to end with"):
        vm_hold.owner("no-such-program")


def test_a_machine_that_nobody_holds_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number in the file that is another program's by now is left alone."""
    monkeypatch.setattr(vm_hold, "CACHE", tmp_path)
    (tmp_path / "vm").mkdir()
    other = subprocess.Popen(["sleep", "60"])
    try:
        vm_hold.pid_file("x").write_text(str(other.pid))
        vm_hold.down("x")
        assert other.poll() is None
        assert not vm_hold.pid_file("x").exists()
    finally:
        other.kill()
        other.wait()


def test_qemu_ends_with_the_process_that_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when that one is killed: a program that stands for QEMU, and a parent that gets SIGKILL."""
    program = tmp_path / "qemu"
    program.write_text(
        "#!/usr/bin/env python3\n"
        "import os, pathlib, socket, sys, time\n"
        "if '--version' in sys.argv: print('QEMU emulator version 0'); sys.exit()\n"
        f"pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "fd = next(int(word.rpartition('=')[2]) for word in sys.argv if 'fd=' in word)\n"
        "qmp = socket.socket(fileno=fd)\n"
        'qmp.sendall(b\'{"QMP": {}}\\n{"return": {}}\\n\')\n'
        "time.sleep(60)\n"
    )
    program.chmod(0o755)
    code = (
        "import os, signal, pathlib; from tests.tools import qemu\n"
        f"qemu.BINARY = {str(program)!r}\n"
        f"qemu.Qemu([], pathlib.Path({str(tmp_path)!r}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False, cwd=CHECKOUT)
    pid = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 30
    while vm_hold._started(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert vm_hold._started(pid) == ""


@pytest.mark.parametrize("scenario", ["vm", "vm-nvidia"])
def test_the_inventory_of_molecule_says_where_the_machine_listens(scenario: str, tmp_path: Path) -> None:
    def ask() -> dict[str, Any]:
        program = Path(sys.executable).with_name("ansible-inventory")
        command = [str(program), "-i", str(MOLECULE / scenario / "inventory"), "--host", f"llmhost-molecule-{scenario}"]
        environment = {**os.environ, "LLMHOST_CACHE": str(tmp_path)}
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=CHECKOUT)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    assert "ansible_port" not in ask()
    (tmp_path / "vm").mkdir()
    (tmp_path / f"vm/llmhost-molecule-{scenario}.json").write_text('{"ansible_port": 2222}')
    found = ask()
    assert (found["ansible_port"], found["ansible_connection"], found["llmhost_tier"]) == (2222, "ssh", "intermediate")
