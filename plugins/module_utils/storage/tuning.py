"""How the claimed disks are driven: their queues, and the weekly trim; those of our filesystem, and no others.

A rule of udev says it for every boot. It knows a disk by the UUID of the filesystem on it (that of the array, on a
member of one): no other disk matches, whatever its name or slot, and this one does not either once the filesystem is
gone. The same values are written to sysfs at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.files import read_word
from ansible_collections.llmhost.core.plugins.module_utils.record import flag, integer, section, text
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

RULES = "/etc/udev/rules.d/90-llmhost-storage.rules"
TIMER = "fstrim.timer"
KIB = 1 << 10

_HEADING = "# Written by llmhost (role model_storage): the disks of the models, known by what was made on them.\n"
_RULE = (
    'ACTION!="remove", SUBSYSTEM=="block", ENV{{ID_FS_UUID}}=="{uuid}", TEST=="queue/{knob}", '
    'ATTR{{queue/{knob}}}="{value}"\n'
)

Step = tuple[str, Callable[[], object]]


@dataclass(frozen=True)
class Tuning:
    """What the plan wants of the queues, and whether the filesystem is trimmed each week."""

    scheduler: str
    read_ahead_bytes: int
    trim: bool

    @classmethod
    def from_arguments(cls, data: Mapping[str, Any] | None) -> Tuning | None:
        """Read the plan's ``tuning``; None leaves everything as it is."""
        if not data:
            return None
        return cls(text(data, "scheduler"), integer(data, "read_ahead_bytes"), flag(data, "trim"))

    @property
    def knobs(self) -> dict[str, str]:
        """The files below a disk's ``queue``, and what to write into them."""
        return {"scheduler": self.scheduler, "read_ahead_kb": str(self.read_ahead_bytes // KIB)}

    def rules(self, uuids: Iterable[str]) -> str:
        """Return the text of the rules for what carries these UUIDs."""
        lines = (
            _RULE.format(uuid=uuid, knob=knob, value=value) for uuid in uuids for knob, value in self.knobs.items()
        )
        return _HEADING + "".join(lines)


@dataclass(frozen=True)
class Queue:
    """The queue of a block device; ``device`` is its path, by a lasting name."""

    device: str
    sysfs: str = "/sys"

    def value(self, knob: str) -> str:
        """Return what is set; "" where the device has no such knob. A scheduler's choices stand beside it."""
        words = read_word(self._path(knob)).split()
        chosen = [word.strip("[]") for word in words if word.startswith("[")]
        return (chosen or words or [""])[0]

    def changes(self, knobs: Mapping[str, str]) -> dict[str, str]:
        """Return the knobs that the device has and that are set otherwise."""
        return {
            knob: value
            for knob, value in knobs.items()
            if self._offers(knob, value) and self.value(knob) not in ("", value)
        }

    def turn(self, knob: str, value: str) -> None:
        """Set a knob."""
        try:
            Path(self._path(knob)).write_text(value, encoding="ascii")
        except OSError as problem:
            reason = f"{self.device}: {knob} could not be set to {value} ({problem.strerror})."
            raise RefusedError("storage.tuning_failed", f"{reason} Look at the kernel's log; then run again.") from None

    def _offers(self, knob: str, value: str) -> bool:
        words = [word.strip("[]") for word in read_word(self._path(knob)).split()]
        return bool(words) if knob != "scheduler" else value in words

    def _path(self, knob: str) -> str:
        try:
            number = os.stat(self.device).st_rdev
        except OSError:
            return os.devnull
        return f"{self.sysfs}/dev/block/{os.major(number)}:{os.minor(number)}/queue/{knob}"


@dataclass(frozen=True)
class Tuner:
    """Tells, step by step, what is to be done; the caller does it, or only says so in check mode.

    What was found is recorded before it is changed, so that it comes back with ``remove``.
    """

    run: RunCommand
    state: StateFile
    sysfs: str = "/sys"
    rules: str = RULES
    etc: str = "/etc/systemd/system"
    lib: str = "/lib/systemd/system"

    def apply(
        self,
        tuning: Tuning | None,
        uuid: str | None,
        device: str,
        array_uuid: str | None = None,
        members: Sequence[str] = (),
    ) -> list[Step]:
        """Return the steps to the tuning of the filesystem ``uuid`` on ``device``: a disk, or an array of members."""
        if tuning is None:
            return self.remove()
        queues = [Queue(path, self.sysfs) for path in (device, *members)]
        steps: list[Step] = []
        rules = TextFile(Path(self.rules), tuning.rules(one for one in (uuid, array_uuid) if one))
        if not rules.is_current():
            steps.append((f"write {self.rules}", rules.apply))
        for queue in queues:
            steps += self._turns(queue, queue.changes(tuning.knobs))
        if tuning.trim and not self._trims() and self._may_trim():
            steps.append((f"enable {TIMER}", self._trim))
        return steps

    def remove(self) -> list[Step]:
        """Return the steps back to what was found."""
        found = self.state.read()
        steps: list[Step] = []
        if os.path.lexists(self.rules):
            steps.append((f"delete {self.rules}", TextFile(Path(self.rules)).apply))
        for device in section(found, "queues"):
            queue, before = Queue(device, self.sysfs), section(section(found, "queues"), device)
            steps += self._turns(queue, queue.changes({knob: str(value) for knob, value in before.items()}), back=True)
        if flag(found, "trim") and self._trims():
            steps.append((f"disable {TIMER}", partial(self._systemctl, "disable")))
        if found:
            steps.append(("forget how the disks were set", partial(self.state.write, {})))
        return steps

    def _turns(self, queue: Queue, changes: Mapping[str, str], back: bool = False) -> list[Step]:
        def turn(knob: str, value: str) -> None:
            if not back:
                self._remember(queue, knob)
            queue.turn(knob, value)

        return [
            (f"set {knob} of {queue.device} to {value}", partial(turn, knob, value)) for knob, value in changes.items()
        ]

    def _remember(self, queue: Queue, knob: str) -> None:
        """Record what a knob was set to, unless an earlier run already has, before it set our value."""
        known = self.state.read()
        queues = section(known, "queues")
        before = {knob: queue.value(knob), **section(queues, queue.device)}
        self.state.write({**known, "queues": {**queues, queue.device: before}})

    def _trims(self) -> bool:
        return os.path.lexists(f"{self.etc}/timers.target.wants/{TIMER}")

    def _may_trim(self) -> bool:
        """Whether the timer is there, and no administrator has masked it."""
        return os.path.exists(f"{self.lib}/{TIMER}") and not os.path.lexists(f"{self.etc}/{TIMER}")

    def _trim(self) -> None:
        self.state.write({**self.state.read(), "trim": True})
        self._systemctl("enable")

    def _systemctl(self, verb: str) -> None:
        done = self.run(["systemctl", verb, "--now", TIMER])
        if done.rc != 0:
            raise RefusedError("storage.systemd", f"systemctl {verb} {TIMER}: {done.stderr.strip() or done.complaint}")
