"""Work on the driver of a host: every step by its name, and every transaction recorded before it begins.

So a run that is killed leaves a host which the next run completes, or takes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult, RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.driver.archives import Archives
from ansible_collections.llmhost.core.plugins.module_utils.driver.changes import Changes, is_of_driver
from ansible_collections.llmhost.core.plugins.module_utils.driver.dpkg import Dpkg
from ansible_collections.llmhost.core.plugins.module_utils.driver.record import DriverRecord
from ansible_collections.llmhost.core.plugins.module_utils.driver.settings import Paths, Settings
from ansible_collections.llmhost.core.plugins.module_utils.driver.transaction import HOLD_IS_OURS, NEW, Transaction
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding
from ansible_collections.llmhost.core.plugins.module_utils.service.packages import Packages
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile

Judge = Callable[[Changes], DriverRecord]
"""Refuses what a transaction would do, or returns what is to be recorded before it begins."""


class DriverError(Exception):
    """The driver is not what it should be; the findings say why."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(f"{found.message} {found.remedy}" for found in findings))
        self.findings = findings


@dataclass(frozen=True)
class Host:
    """The machine, as far as a driver needs it.

    ``ask`` runs programs that only tell something and end soon; ``act`` those that change something and outlive us.
    """

    ask: RunCommand
    act: RunCommand
    root: str = "/"
    state: StateFile = field(default_factory=lambda: StateFile("driver"))
    paths: Paths = field(default_factory=Paths)
    archives: Archives = field(default_factory=Archives)
    kernel: str | None = None
    fabric_seconds: float = 120


class Work:
    """What is done to a host. With ``check`` it is only told what would be."""

    def __init__(self, host: Host, check: bool = False) -> None:
        """Read what earlier runs recorded."""
        self.host = host
        self.check = check
        self.record = DriverRecord.from_dict(host.state.read())
        self.actions: list[str] = []

    @property
    def would_change(self) -> bool:
        """True when in check mode something was found to do: what comes after it cannot be told."""
        return self.check and bool(self.actions)

    def step(self, what: str, act: Callable[[], object]) -> None:
        """Do something that has a name."""
        self.actions.append(what)
        if not self.check:
            act()

    def save(self, record: DriverRecord) -> None:
        """Record what was done, or is about to be."""
        self.record = record
        self.host.state.write(record.as_dict())

    def refuse(self, findings: Iterable[Finding]) -> None:
        """End with what is wrong, if anything is."""
        if found := list(findings):
            raise DriverError(found)

    def dpkg(self) -> Dpkg:
        """Return what is installed."""
        return Dpkg.from_host(self.host.root)

    def transaction(self, words: Sequence[str]) -> Transaction:
        """Return a transaction that was not looked at yet."""
        return Transaction(words, self.host.act, self.host.root, self.host.archives)

    def transact(self, words: Sequence[str], judge: Judge) -> None:
        """Make a transaction that was looked at, judged and recorded; again from the start when apt had to be mended,
        for then it may do something else."""
        transaction = self.transaction(words)
        before = self.record
        try:
            while True:
                self.save(judge(transaction.simulate()))
                if transaction.make():
                    self.save(self.without_lost(self.record))
                    return
        except Exception:
            # apt fetches every package before it installs the first: what it could not fetch is not there.
            self.save(self.record.without(set(self.record.brought) - set(before.brought) - self.dpkg().there))
            raise
        finally:
            self.actions += transaction.actions

    def without_lost(self, record: DriverRecord) -> DriverRecord:
        """Return a record without packages that are gone, but for those that the way back of an upgrade would bring."""
        dpkg, back = self.dpkg(), record.upgrade.before if record.upgrade else {}
        return record.without(set(record.brought) - dpkg.there - dpkg.remains - set(back))

    def complete(self) -> None:
        """Complete a transaction that was cut off. apt does so only where it is told what else was to come."""
        if self.check:
            return
        # Until then dpkg's status file does not say what dpkg did last.
        interrupted = Packages((), self.host.act, self.host.root)
        interrupted.repair_if_interrupted()
        self.actions += interrupted.actions
        dpkg, record = self.dpkg(), self.record
        if not any(is_of_driver(name) or name in record.brought for name in dpkg.broken):
            return
        upgrade = record.upgrade
        names = sorted(
            {*upgrade.brought, *upgrade.changed} if upgrade else set(record.brought) - dpkg.there - dpkg.remains
        )

        def judge(changes: Changes) -> DriverRecord:
            self.refuse(changes.losses())
            return record.with_brought(changes.brought, names)

        self.transact(["install", "--fix-broken", *NEW[1:], *HOLD_IS_OURS, *names], judge)

    def mark(self, what: str, names: Sequence[str]) -> None:
        """Hold packages, or let them go."""
        done = Packages((), self.host.act, self.host.root).mark(what, names)
        if done.rc != 0:
            raise OSError(f"apt-mark {what}: {_said(done)}")

    def write(self, settings: Settings) -> list[str]:
        """Write and delete files; return those that were not as they should be."""
        files = settings.changes()
        for file in files:
            self.step(f"{'write' if file.text else 'delete'} {file.path}", file.apply)
        if any(file.path.is_relative_to(self.host.paths.units) for file in files) and not self.check:
            self.host.act(["systemctl", "daemon-reload"])
        return [str(file.path) for file in files]

    def unit(self, name: str) -> SystemdUnit:
        """Return a unit of systemd. Some take minutes to start, and are not cut off."""
        return SystemdUnit(name, self._act_aloud)

    def _act_aloud(self, argv: Sequence[str]) -> CommandResult:
        """Run a program whose complaint is looked for apart from what it tells."""
        done = self.host.act(argv)
        return done if done.rc == 0 else done._replace(stderr=_said(done))


def _said(done: CommandResult) -> str:
    lines = f"{done.stdout}\n{done.stderr}".strip().splitlines()
    return lines[-1].strip() if lines else f"status {done.rc}"
