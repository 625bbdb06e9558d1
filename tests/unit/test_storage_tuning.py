"""The queues of the claimed disks: what the plan wants, what is changed, and that all of it comes back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk import Disk
from ansible_collections.llmhost.core.plugins.module_utils.plan.storage_tuning import storage_tuning
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.tuning import Step, Tuner, Tuning

UUID, ARRAY = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
SSD = Disk.from_facts({"path": "/dev/nvme0n1", "transport": "nvme"})
TURNING = Disk.from_facts({"path": "/dev/sda", "transport": "sata", "rotational": True})
WANTED = Tuning("none", 8 << 20, trim=True)


@pytest.mark.parametrize(
    ("disks", "container", "tuning"),
    [
        ([], "none", None),
        ([SSD], "docker", None),
        ([SSD], "none", {"scheduler": "none", "read_ahead_bytes": 2 << 20, "trim": True}),
        ([SSD, SSD], "none", {"scheduler": "none", "read_ahead_bytes": 2 << 20, "trim": True}),
        ([TURNING], "none", {"scheduler": "mq-deadline", "read_ahead_bytes": 2 << 20, "trim": False}),
        ([SSD, TURNING], "none", {"scheduler": "mq-deadline", "read_ahead_bytes": 2 << 20, "trim": False}),
    ],
)
def test_plans(disks: Sequence[Disk], container: str, tuning: dict[str, object] | None) -> None:
    assert storage_tuning(disks, container) == tuning
    assert (Tuning.from_arguments(tuning) is None) is (tuning is None)


class Machine:
    """Block devices that are files here, their queues in a sysfs of its own, and a systemctl that keeps a link."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.commands: list[str] = []
        self.timer = root / "etc/timers.target.wants/fstrim.timer"
        self.timer.parent.mkdir(parents=True)
        (root / "lib").mkdir()
        (root / "lib/fstrim.timer").touch()
        self.rules = root / "90.rules"
        self.state = StateFile("tuning", str(root / "etc/llmhost/state"))
        self.tuner = Tuner(
            self.run, self.state, str(root / "sys"), str(self.rules), str(root / "etc"), str(root / "lib")
        )

    def run(self, argv: Sequence[str]) -> CommandResult:
        self.commands.append(" ".join(argv))
        if argv[1] == "enable":
            self.timer.touch()
        else:
            self.timer.unlink()
        return CommandResult(0, "", "")

    def queue(self, device: str) -> Path:
        number = os.stat(device).st_rdev
        return self.root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}/queue"

    def add(self, device: str, **knobs: str) -> str:
        self.queue(device).mkdir(parents=True)
        for knob, value in knobs.items():
            (self.queue(device) / knob).write_text(value + "\n")
        return device

    def value(self, device: str, knob: str) -> str:
        return (self.queue(device) / knob).read_text().strip()

    def choose(self) -> None:
        """Show the scheduler of DISK among its choices, as the kernel does."""
        knob = self.queue(DISK) / "scheduler"
        if (word := knob.read_text().strip()) in ("none", "mq-deadline"):
            knob.write_text("[none] mq-deadline\n" if word == "none" else "none [mq-deadline]\n")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def do(steps: Sequence[Step], machine: Machine | None = None) -> list[str]:
    for _, act in steps:
        act()
        if machine:
            machine.choose()
    return [what for what, _ in steps]


# Device nodes that every machine has, to stand for disks.
DISK, OTHER = "/dev/null", "/dev/zero"


def test_sets_what_differs_and_nothing_the_second_time(machine: Machine) -> None:
    machine.add(DISK, scheduler="[mq-deadline] kyber none", read_ahead_kb="128")
    asked = machine.tuner.apply(WANTED, UUID, DISK)
    assert machine.value(DISK, "read_ahead_kb") == "128"
    assert not machine.rules.exists()

    assert do(asked) == [
        f"write {machine.rules}",
        f"set scheduler of {DISK} to none",
        f"set read_ahead_kb of {DISK} to 8192",
        "enable fstrim.timer",
    ]
    assert machine.value(DISK, "read_ahead_kb") == "8192"
    assert machine.commands == ["systemctl enable --now fstrim.timer"]
    machine.choose()
    assert machine.tuner.apply(WANTED, UUID, DISK) == []


def test_all_comes_back_as_it_was_found(machine: Machine) -> None:
    machine.add(DISK, scheduler="[mq-deadline] kyber none", read_ahead_kb="128")
    do(machine.tuner.apply(WANTED, UUID, DISK), machine)
    # What the first run found is what counts.
    do(machine.tuner.apply(replace(WANTED, read_ahead_bytes=4 << 20), UUID, DISK), machine)

    assert len(do(machine.tuner.remove())) == 5
    assert (machine.value(DISK, "scheduler"), machine.value(DISK, "read_ahead_kb")) == ("mq-deadline", "128")
    assert not machine.rules.exists()
    assert not machine.timer.exists()
    assert machine.state.read() == {}
    assert machine.tuner.remove() == []


def test_a_plan_without_tuning_takes_an_earlier_one_back(machine: Machine) -> None:
    machine.add(DISK, scheduler="none", read_ahead_kb="128")
    do(machine.tuner.apply(WANTED, UUID, DISK))
    do(machine.tuner.apply(None, UUID, DISK))
    assert machine.value(DISK, "read_ahead_kb") == "128"
    assert not machine.rules.exists()


def test_the_rules_know_an_array_and_its_members_by_what_is_on_them(machine: Machine) -> None:
    machine.add(DISK, scheduler="none", read_ahead_kb="1024")
    machine.add(OTHER, scheduler="[none]", read_ahead_kb="128")
    steps = do(machine.tuner.apply(WANTED, UUID, DISK, ARRAY, [OTHER]))
    assert [step for step in steps if step.startswith("set")] == [
        f"set read_ahead_kb of {DISK} to 8192",
        f"set read_ahead_kb of {OTHER} to 8192",
    ]
    lines = machine.rules.read_text().splitlines()[1:]
    assert len(lines) == 4
    assert all(
        ('ENV{ID_FS_UUID}=="' + uuid) in line for uuid, line in zip((UUID, UUID, ARRAY, ARRAY), lines, strict=True)
    )
    assert 'ATTR{queue/read_ahead_kb}="8192"' in lines[1]


@pytest.mark.parametrize(
    "knobs",
    [
        {},  # no queue at all
        {"scheduler": "[bfq] kyber", "read_ahead_kb": "8192"},  # a kernel without that scheduler
        {"scheduler": "none", "read_ahead_kb": "8192"},  # an array: nothing to choose
    ],
)
def test_a_knob_that_is_not_there_is_left_alone(machine: Machine, knobs: dict[str, str]) -> None:
    machine.add(DISK, **knobs)
    machine.timer.touch()
    assert do(machine.tuner.apply(WANTED, UUID, DISK)) == [f"write {machine.rules}"]


def test_a_timer_that_was_on_or_is_masked_stays(machine: Machine) -> None:
    machine.timer.touch()
    do(machine.tuner.apply(WANTED, UUID, DISK))
    do(machine.tuner.remove())
    assert machine.timer.exists()

    machine.timer.unlink()
    (machine.root / "etc/fstrim.timer").symlink_to(os.devnull)
    do(machine.tuner.apply(WANTED, UUID, DISK))
    assert machine.commands == []


def test_a_kill_between_any_two_steps_loses_nothing(machine: Machine) -> None:
    machine.add(DISK, scheduler="[mq-deadline] none", read_ahead_kb="128")
    for count in range(1, 5):
        do(machine.tuner.apply(WANTED, UUID, DISK)[:count], machine)
    for count in range(1, 4):
        do(machine.tuner.remove()[:count], machine)
    do(machine.tuner.remove(), machine)
    assert (machine.value(DISK, "scheduler"), machine.value(DISK, "read_ahead_kb")) == ("none [mq-deadline]", "128")
    assert not machine.timer.exists()


def test_a_kernel_that_refuses_is_named(machine: Machine) -> None:
    machine.add(DISK, read_ahead_kb="128")
    steps = machine.tuner.apply(replace(WANTED, trim=False), UUID, DISK)
    knob = machine.queue(DISK) / "read_ahead_kb"
    knob.unlink()
    knob.mkdir()
    with pytest.raises(RefusedError, match="read_ahead_kb could not be set to 8192") as refusal:
        do(steps)
    assert refusal.value.code == "storage.tuning_failed"
