"""Whether a service can reach its GPUs: on hosts whose driver is there, comes late, or never comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.boot import main
from ansible_collections.llmhost.core.plugins.module_utils.boot.gpus import Gpus
from ansible_collections.llmhost.core.plugins.module_utils.command import NOT_FOUND, CommandResult

DEVICES = "Character devices:\n  1 mem\n195 nvidia\n195 nvidiactl\n508 nvidia-uvm\n\nBlock devices:\n  7 loop\n"
NODES = ("nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1", "nvidia-modeset", "null")


class Host:
    """A host with time, and what happens to it when the nodes are asked for, or at a moment."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.now = 0.0
        self.at: dict[float, Callable[[], None]] = {}
        self.asked: list[list[str]] = []
        self.answer: Callable[[], None] = lambda: None
        (root / "dev").mkdir()
        (root / "proc/driver/nvidia").mkdir(parents=True)
        (root / "proc/devices").write_text("Character devices:\n  1 mem\n")

    def load(self, devices: str = DEVICES) -> None:
        (self.root / "proc/driver/nvidia/version").write_text("NVRM version: 580.178.04\n")
        (self.root / "proc/devices").write_text(devices)

    def add(self, *names: str) -> None:
        for name in names:
            (self.root / "dev" / name).touch()

    def run(self, argv: Sequence[str]) -> CommandResult:
        self.asked.append(list(argv))
        self.answer()
        return CommandResult(NOT_FOUND, "", "")

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.at.pop(self.now, lambda: None)()

    def wait(self, wanted: int = 1) -> str:
        gpus = Gpus(wanted, self.run, str(self.root / "dev"), str(self.root / "proc"))
        return gpus.wait(60, lambda: self.now, self.sleep)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_host_whose_driver_is_there_is_not_touched(host: Host) -> None:
    host.load()
    host.add(*NODES)
    assert (host.wait(2), host.now, host.asked) == ("", 0.0, [])


def test_nodes_that_are_missing_are_made_outside_of_the_service(host: Host) -> None:
    host.load()
    host.answer = lambda: host.add(*NODES)
    assert host.wait(2) == ""
    assert host.asked[0][0] == "systemd-run"
    assert "nvidia-modprobe -u -c=0 -c=1" in host.asked[0][-1]


def test_a_driver_that_comes_late_ends_the_start_once(host: Host) -> None:
    host.add(*NODES)
    host.at[3.0] = host.load
    assert host.wait(2).startswith("starts again")
    assert host.wait(2) == ""


@pytest.mark.parametrize(
    ("nodes", "missing"),
    [
        (("nvidiactl", "nvidia0", "nvidia1"), "/dev/nvidia-uvm."),
        (("nvidiactl", "nvidia-uvm", "nvidia0"), "1 of 2 GPUs (/dev/nvidia0 and so on)."),
        ((), "/dev/nvidiactl, /dev/nvidia-uvm, 2 of 2 GPUs (/dev/nvidia0 and so on)."),
    ],
)
def test_what_never_comes_is_named(host: Host, nodes: tuple[str, ...], missing: str) -> None:
    host.load()
    host.add(*nodes)
    said = host.wait(2)
    assert said.startswith(f"cannot reach its GPUs: not there: {missing}")
    assert "nvidia-smi" in said
    assert (host.now, len(host.asked)) == (60.0, 1)


def test_a_kernel_without_the_driver_is_named(host: Host) -> None:
    assert "the kernel has no NVIDIA driver loaded" in host.wait()


def test_the_step_fails_with_its_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Gpus, "wait", lambda _self: "cannot reach its GPUs")
    assert main.main(["gpus", "1"]) == 1
    assert capsys.readouterr().out == "cannot reach its GPUs\n"
    monkeypatch.setattr(Gpus, "wait", lambda _self: "")
    assert main.main(["gpus", "1"]) == 0
