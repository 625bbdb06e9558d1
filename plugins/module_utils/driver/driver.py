"""The driver of the GPUs, made what the plan says, step by step.

What a transaction of apt will do is recorded before it begins, so that a run that is killed leaves a host which the
next run completes, or takes back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.driver.archives import Archives
from ansible_collections.llmhost.core.plugins.module_utils.driver.changes import Changes, is_of_driver
from ansible_collections.llmhost.core.plugins.module_utils.driver.dpkg import Dpkg
from ansible_collections.llmhost.core.plugins.module_utils.driver.health import health, load, without_gpu
from ansible_collections.llmhost.core.plugins.module_utils.driver.record import DriverRecord, Upgrade
from ansible_collections.llmhost.core.plugins.module_utils.driver.settings import (
    FABRIC_UNIT,
    PERSISTENCE_UNIT,
    POWER_UNIT,
    Paths,
    Settings,
)
from ansible_collections.llmhost.core.plugins.module_utils.driver.state import UPGRADE, DriverState
from ansible_collections.llmhost.core.plugins.module_utils.driver.transaction import HOLD_IS_OURS, Transaction
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import KEPT, OPEN, UBUNTU, Wanted
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile

NEW = ("install", "--no-install-recommends")


class DriverError(Exception):
    """The driver is not what it should be; the findings say why."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("\n".join(f"{found.message} {found.remedy}" for found in findings))
        self.findings = findings


@dataclass(frozen=True)
class Host:
    """The machine, as far as a driver needs it; ``apt`` runs programs that outlive this process."""

    run: RunCommand
    apt: RunCommand
    root: str = "/"
    state: StateFile = field(default_factory=lambda: StateFile("driver"))
    paths: Paths = field(default_factory=Paths)
    archives: Archives = field(default_factory=Archives)
    kernel: str | None = None


class Driver:
    """Brings packages, pins them, loads the modules and judges the result."""

    def __init__(self, host: Host, wanted: Wanted, check: bool = False) -> None:
        """Read what earlier runs recorded; with ``check``, only say what would be done."""
        self._host = host
        self._wanted = wanted
        self._check = check
        self._record = DriverRecord.from_dict(host.state.read())
        self.actions: list[str] = []
        self.version = ""

    # -- what is asked for ----------------------------------------------------------------------------------------

    def missing(self) -> list[str]:
        """Return the packages that are not there."""
        return self._dpkg().missing(self._wanted.transaction)

    def apply(self, upgrade: bool = False) -> str:
        """Make the driver what the plan says; return why a restart is needed, "" when the driver is in use."""
        words = self._upgrade() if upgrade else self._install()
        # Before the packages come: the fabric manager's starts itself as soon as it is installed.
        changed = self._write_settings(Settings(self._wanted, self._pinned(), self._host.paths))
        if words:
            self._transact(words)
        self._hold()
        if self._check and self.actions:
            return ""
        self._enable_units()
        return self._use(self._wanted, self._state(), changed)

    def go_back(self) -> str:
        """Take back an upgrade that is not proved; return why a restart is needed."""
        if upgrade := self._record.upgrade:
            self._take_back(upgrade)
        self._hold()
        if self._check and self.actions:
            return ""
        state = self._state()
        module = state.next_boot or state.running
        as_found = Wanted(UBUNTU, "", module.flavour or OPEN if module else OPEN, modules=self._wanted.modules)
        return self._use(as_found, state, [])

    def _take_back(self, upgrade: Upgrade) -> None:
        dpkg = self._dpkg()
        back = [self._file(name, v) for name, v in upgrade.before.items() if dpkg.versions.get(name) != v]
        away = [f"{name}-" for name in upgrade.brought if name in dpkg.versions or name in dpkg.broken]
        if self._check:
            self.actions += [f"install {name} {version}" for name, version in upgrade.before.items()]
            return
        if back or away:
            self._let_kernel_go()
            self._transact([*NEW, *HOLD_IS_OURS, "--allow-downgrades", *back, *away])
        kept = set(self._record.brought) - set(upgrade.brought)
        self._save(replace(self._record, upgrade=None, brought=tuple(sorted(kept))))

    def needs_apt(self, state: str) -> bool:
        """Tell whether packages will change: then whoever holds apt's locks is waited for first."""
        if state == "present":
            return bool(self.missing())
        return state == "upgraded" or bool(self._record.upgrade if state == "returned" else self._record.brought)

    def remove(self) -> None:
        """Unpin the driver and take away what llmhost brought; a kernel stays, for the host boots from it."""
        self._stop_units()
        self._write_settings(Settings(None, paths=self._host.paths))
        held = sorted(set(self._record.held) & self._dpkg().held)
        if held:
            self._step(f"let go of {len(held)} packages", lambda: self._mark("unhold", held))
        if words := self._purge_words():
            self._step("remove the driver", lambda: self._transact(words))
        if self._host.state.read():
            self._step("forget the driver", lambda: self._host.state.write({}))
        if os.path.isdir(self._host.archives.directory):
            self._step("delete the kept package files", self._host.archives.remove)

    # -- use ------------------------------------------------------------------------------------------------------

    def _state(self) -> DriverState:
        state = DriverState.from_host(self._host.run, self._host.root, self._host.kernel)
        self.version = state.version
        return state

    def _use(self, wanted: Wanted, state: DriverState, changed: list[str]) -> str:
        """Judge what is on the disk, load it and judge it again; return why only a restart can do that."""
        self._refuse(state.findings(wanted))
        if reason := state.reboot_reason():
            return reason
        self._load(state)
        if state.gpus and not self._check:
            self._start_for_gpus(changed)
            self._refuse(health(state, self._host.run, self._host.root))
        self._prove()
        return ""

    # -- packages -------------------------------------------------------------------------------------------------

    def _install(self) -> list[str]:
        """Return how to install what is missing, looked at and recorded; [] when nothing is."""
        missing = self.missing()
        if self._check and missing:
            self.actions.append(f"install {' '.join(missing)}")
        if self._check or not missing:
            return []
        # What is there already goes along: in one transaction apt sees that finished modules make DKMS needless.
        words = [*NEW, *self._wanted.transaction]
        changes = self._transaction(words).simulate()
        if self._record.good and changes.is_another_driver:
            self._refuse([self._deliberate()])
        self._judge(changes)
        self._save(self._record.with_brought(changes.brought))
        return words

    def _upgrade(self) -> list[str]:
        """Return how to bring everything to its newest, with the way back at hand; [] when it is."""
        if self._check:
            self.actions.append("upgrade the driver, if there is a newer one")
            return []
        known = set(self._dpkg().versions) & set(self._wanted.hold)
        words = [*NEW, *HOLD_IS_OURS, *dict.fromkeys([*self._wanted.transaction, *sorted(known)])]
        transaction = self._transaction(words)
        transaction.update()
        changes = transaction.simulate()
        if changes.is_empty:
            return []
        self._judge(changes)
        before = {**{name: pair[0] for name, pair in changes.changed.items()}, **changes.removed}
        self._bring_way_back(before)
        upgrade = (self._record.upgrade or Upgrade()).joined(before, changes.brought)
        self._save(replace(self._record.with_brought(changes.brought), upgrade=upgrade))
        return words

    def _bring_way_back(self, before: dict[str, str]) -> None:
        """Fetch what is not kept on the host; without a way back nothing is upgraded."""
        archives = self._host.archives
        archives.prepare()
        lost = []
        for name, version in before.items():
            if not archives.find(name, version):
                words = ["install", "--reinstall", "--download-only", *HOLD_IS_OURS, f"{name}={version}"]
                fetched = self._transaction(words).attempt()
                lost += [] if fetched and archives.find(name, version) else [f"{name} {version}"]
        if lost:
            reason = f"no package file of {', '.join(lost)} is to be had: a bad upgrade could not be taken back."
            remedy = f"Put them into {archives.directory}, or upgrade the driver by hand (apt-mark unhold)."
            self._refuse([error("driver.no_way_back", reason, remedy)])

    def _purge_words(self) -> list[str]:
        """Return how to remove what llmhost brought, and nothing that others need; [] when nothing is left."""
        if self._check:
            there = sorted(set(self._record.brought) & set(self._dpkg().versions))
            return ["purge", *there] if there else []
        installed = set(self._dpkg().versions)
        asked = set(self._host.run(["apt-mark", "showmanual"]).stdout.split())
        brought = {name for name in self._record.brought if name in installed and not _is_of_boot(name)}
        family = {name for name in brought if is_of_driver(name)}
        for names in (family | (brought - asked), family):
            words = ["purge", *HOLD_IS_OURS, *sorted(names)]
            if names and not set(self._transaction(words).simulate().removed) - names:
                return words
        return []

    def _let_kernel_go(self) -> None:
        """Allow the removal of the running kernel, which its package refuses where nobody can answer."""
        answer = "linux-base linux-base/removing-running-kernel boolean false"
        self._host.run(["sh", "-c", f"echo {answer} | debconf-set-selections"])

    def _judge(self, changes: Changes) -> None:
        self._refuse(changes.objections(self._wanted))

    def _file(self, name: str, version: str) -> str:
        return self._host.archives.find(name, version) or f"{name}={version}"

    def _transaction(self, words: list[str]) -> Transaction:
        return Transaction(words, self._host.apt, self._host.root, self._host.archives)

    def _transact(self, words: list[str]) -> None:
        transaction = self._transaction(words)
        try:
            transaction.make()
        finally:
            self.actions += transaction.actions

    def _deliberate(self) -> Finding:
        return error(
            "driver.upgrade_is_deliberate",
            f"the plan wants another driver ({self._wanted.branch}) than the one that llmhost has proved on this host.",
            f"Change it with {UPGRADE}, which goes back if the new one fails.",
        )

    # -- pins -----------------------------------------------------------------------------------------------------

    def _pinned(self) -> tuple[str, ...]:
        """Return the packages that are pinned by name: kernels, and what the plan names beside the driver's own."""
        return tuple(name for name in self._wanted.hold if not is_of_driver(name))

    def _hold(self) -> None:
        dpkg = self._dpkg()
        ours = {name for name in dpkg.versions if is_of_driver(name)} if self._wanted.source != KEPT else set()
        names = ours | (set(self._wanted.hold) & set(dpkg.versions))
        loose = sorted(names - dpkg.held)
        held = tuple(sorted((set(self._record.held) & set(dpkg.versions)) | set(loose)))
        if loose:
            self._step(f"hold {' '.join(loose)}", lambda: self._mark("hold", loose))
        if not self._check:
            self._save(replace(self._record, held=held))

    def _mark(self, what: str, names: list[str]) -> None:
        done = self._host.apt(["apt-mark", what, *names])
        if done.rc != 0:
            raise OSError(f"apt-mark {what}: {done.stdout.strip() or done.complaint}")

    # -- files and units ------------------------------------------------------------------------------------------

    def _write_settings(self, settings: Settings) -> list[str]:
        """Write and delete files; return those that were not as they should be."""
        files = settings.changes()
        for file in files:
            self._step(f"{'write' if file.text else 'delete'} {file.path}", file.apply)
        if any(file.path.is_relative_to(self._host.paths.units) for file in files) and not self._check:
            self._host.run(["systemctl", "daemon-reload"])
        return [str(file.path) for file in files]

    def _units(self) -> Iterator[SystemdUnit]:
        named = {
            PERSISTENCE_UNIT: self._wanted.persistence,
            POWER_UNIT: bool(self._wanted.power_limit_watts),
            FABRIC_UNIT: bool(self._wanted.fabric_manager),
        }
        yield from (SystemdUnit(name, self._host.run) for name, is_wanted in named.items() if is_wanted)

    def _enable_units(self) -> None:
        """Let the units start with the host."""
        for unit in self._units():
            state = unit.state()
            if state.exists and not state.enabled:
                self._step(f"enable {unit.name}", unit.enable)

    def _start_for_gpus(self, changed: list[str]) -> None:
        for unit in self._units():
            state = unit.state()
            stale = any(unit.name in path for path in changed)
            if state.exists and (stale or state.active != "active"):
                self._step(f"start {unit.name}", unit.restart)

    def _load(self, state: DriverState) -> None:
        if not state.gpus:
            self._refuse(without_gpu(state, self._host.run))
            return
        loaded = os.path.join(self._host.root, "sys/module")
        for name in self._wanted.modules:
            if not os.path.isdir(os.path.join(loaded, name)):
                self._step(f"load {name}", partial(self._must_load, name))

    def _must_load(self, name: str) -> None:
        self._refuse(load(name, self._host.run))

    def _stop_units(self) -> None:
        for name in (POWER_UNIT, PERSISTENCE_UNIT):
            unit = SystemdUnit(name, self._host.run)
            files = Settings(None, paths=self._host.paths).files
            ours = any(name in str(file.path) and file.path.exists() for file in files)
            if ours and unit.state().exists:
                self._step(f"stop {name}", unit.stop_and_disable)

    # -- steps ----------------------------------------------------------------------------------------------------

    def _prove(self) -> None:
        """What is in use now is the last good set; older package files are of no use any more."""
        versions = self._dpkg().versions
        good = {name: version for name, version in versions.items() if is_of_driver(name)}
        if not self._check:
            self._save(replace(self._record, good=good, upgrade=None))
            self._host.archives.keep_only(versions)

    def _refuse(self, findings: Iterable[Finding]) -> None:
        if found := list(findings):
            raise DriverError(found)

    def _dpkg(self) -> Dpkg:
        return Dpkg.from_host(self._host.root)

    def _save(self, record: DriverRecord) -> None:
        self._record = record
        self._host.state.write(record.as_dict())

    def _step(self, what: str, act: Callable[[], object]) -> None:
        self.actions.append(what)
        if not self._check:
            act()


def _is_of_boot(name: str) -> bool:
    """Tell whether a package belongs to a kernel and its start; those of the driver for it do not."""
    return name.startswith(("linux-", "initramfs", "amd64-microcode", "intel-microcode")) and not is_of_driver(name)
