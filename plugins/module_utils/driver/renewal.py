"""A newer driver, with the way back at hand; and that way."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from ansible_collections.llmhost.core.plugins.module_utils.driver.changes import Changes
from ansible_collections.llmhost.core.plugins.module_utils.driver.driver import Driver
from ansible_collections.llmhost.core.plugins.module_utils.driver.record import DriverRecord, Upgrade
from ansible_collections.llmhost.core.plugins.module_utils.driver.repack import repack
from ansible_collections.llmhost.core.plugins.module_utils.driver.transaction import (
    HOLD_IS_OURS,
    NEW,
    TransactionError,
)
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import OPEN, UBUNTU, Wanted
from ansible_collections.llmhost.core.plugins.module_utils.driver.work import DriverError
from ansible_collections.llmhost.core.plugins.module_utils.finding import error

_KERNEL = re.compile(r"^linux-image-(?:unsigned-)?(\d[\w.+-]*)$")
_FOR_ONE_KERNEL = re.compile(r"^linux-modules-nvidia-.*-(\d+\.\d+\.\d+-\d+-[\w-]+)$")
_FIRMWARE = re.compile(r"^nvidia-firmware-.*-\d+\.\d+")
_WORDS = (*NEW, "--purge", *HOLD_IS_OURS)
# What the package of a running kernel asks before it goes. Where nobody answers, it takes the answer that is stored.
_QUESTION = "linux-base linux-base/removing-running-kernel boolean"


class Renewal:
    """Changes driver, libraries and kernel together, and takes that back."""

    def __init__(self, driver: Driver) -> None:
        """Take the driver of a host."""
        self._driver = driver
        self._work = driver.work
        self._wanted = driver.wanted

    def upgrade(self) -> str:
        """Bring everything that is pinned to its newest; return why a restart is needed."""
        if not self._wanted.is_ours:
            reason = "the driver was there before llmhost, which only checks it: it is not upgraded."
            remedy = "Upgrade it where it came from, or let llmhost take it over: llmhost_driver_source: ubuntu."
            self._work.refuse([error("driver.not_ours", reason, remedy)])
        if self._work.check:
            self._work.actions.append("upgrade the driver, if there is a newer one")
            return ""
        self._work.complete()
        self._work.transaction(_WORDS).update()
        names, changes = self._newest()
        if not changes.is_empty:
            names += self._outdated(changes)
            self._work.transact([*_WORDS, *names], partial(self._judge, names))
        return self._driver.prove()

    def go_back(self) -> str:
        """Take back an upgrade that is not proved; return why a restart is needed."""
        if upgrade := self._work.record.upgrade:
            self._go_on()
            self._take_back(upgrade)
        self._driver.hold()
        if self._work.would_change:
            return ""
        return self._driver.use(self._as_found())

    # -- forward --------------------------------------------------------------------------------------------------

    def _newest(self) -> tuple[list[str], Changes]:
        """Return what to install, with what a kernel needs that comes along, and what apt would do then."""
        known = set(self._work.dpkg().versions) & set(self._wanted.hold)
        names = list(dict.fromkeys([*self._wanted.transaction, *sorted(known)]))
        try:
            return self._with_companions(names)
        except TransactionError:
            # The newest driver may have no modules for this kernel any more. They go then, for those of a newer one.
            fewer = [name for name in names if not _FOR_ONE_KERNEL.match(name)]
            if fewer == names:
                raise
            names, changes = self._with_companions(fewer)
            if not any(_FOR_ONE_KERNEL.match(name) for name in (*changes.brought, *changes.changed)):
                raise
            return names, changes

    def _with_companions(self, names: list[str]) -> tuple[list[str], Changes]:
        """Add what a kernel needs that comes along: its metapackage brings no modules of the driver."""
        changes = self._look(names)
        kernels = [match[1] for name in changes.brought if (match := _KERNEL.match(name))]
        needed = [name for kernel in kernels for name in self._wanted.packages_for_kernel(kernel)]
        more = [name for name in needed if name not in {*names, *changes.brought}]
        return ([*names, *more], self._look([*names, *more])) if more else (names, changes)

    def _outdated(self, changes: Changes) -> list[str]:
        """Return what nothing else takes away, as words: firmware, whose name has its version, and modules for kernels
        that are neither in use nor the next ones. They would keep those kernels on the disk for ever."""
        state = self._driver.look()
        used = (state.kernel, state.next_kernel)
        names = set(self._work.record.brought) & set(self._work.dpkg().versions) - set(changes.changed)
        brought = any(_FIRMWARE.match(name) for name in changes.brought)
        ours = f"nvidia-firmware-{self._wanted.branch}-"
        modules = {name for name in names if (match := _FOR_ONE_KERNEL.match(name)) and match[1] not in used}
        firmware = {name for name in names if _FIRMWARE.match(name) and (brought or not name.startswith(ours))}
        old = modules | firmware
        return [f"{name}-" for name in sorted(old - set(changes.removed))]

    def _look(self, names: Iterable[str]) -> Changes:
        return self._work.transaction([*_WORDS, *names]).simulate()

    def _judge(self, names: Iterable[str], changes: Changes) -> DriverRecord:
        self._work.refuse(changes.objections(self._wanted))
        before = {**{name: pair[0] for name, pair in changes.changed.items()}, **changes.removed}
        self._bring_way_back(before)
        record = self._work.record
        upgrade = (record.upgrade or Upgrade()).joined(before, changes.brought, changes.changed)
        return replace(record.with_brought(changes.brought, names), upgrade=upgrade)

    def _bring_way_back(self, before: dict[str, str]) -> None:
        """Fetch or make what is not kept on the host; without a way back nothing is upgraded.

        Ubuntu's archive has only the newest of each, so that a kernel's metapackage of some months ago is nowhere.
        """
        archives, host, lost = self._work.host.archives, self._work.host, []
        archives.prepare()
        for name, version in before.items():
            if archives.find(name, version):
                continue
            words = ["install", "--reinstall", "--download-only", *HOLD_IS_OURS, f"{name}={version}"]
            if not (self._work.transaction(words).attempt() and archives.find(name, version)):
                made = repack(name, version, archives.directory, host.act, host.root)
                lost += [] if made else [f"{name} {version}"]
        if lost:
            reason = f"no package file of {', '.join(lost)} is to be had: a bad upgrade could not be taken back."
            remedy = f"Put them into {archives.directory}, or upgrade the driver by hand (apt-mark unhold)."
            self._work.refuse([error("driver.no_way_back", reason, remedy)])

    # -- back -----------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Complete what was cut off: from half a change apt finds no way back, from a whole one it does."""
        with contextlib.suppress(TransactionError, DriverError):
            self._work.complete()

    def _take_back(self, upgrade: Upgrade) -> None:
        work, dpkg = self._work, self._work.dpkg()
        if work.check:
            work.actions += [f"install {name} {version}" for name, version in upgrade.before.items()]
            return
        away = [f"{name}-" for name in upgrade.brought if name in dpkg.there]
        if away or any(dpkg.versions.get(name) != version for name, version in upgrade.before.items()):
            # All of it by name: where a change was cut off, apt finds no solution by itself.
            back = [self._file(name, version) for name, version in upgrade.before.items()]
            self._answer("false")
            try:
                words = [*_WORDS, "--fix-broken", "--allow-downgrades", *back, *away]
                work.transact(words, lambda _changes: work.record)
            finally:
                self._answer("true")
        work.save(replace(work.record.without(upgrade.brought), upgrade=None))

    def _answer(self, answer: str) -> None:
        """Say whether the removal of the running kernel is to be given up: yes is what every host has."""
        self._work.host.act(["sh", "-c", f"echo {_QUESTION} {answer} | debconf-set-selections"])

    def _file(self, name: str, version: str) -> str:
        return self._work.host.archives.find(name, version) or f"{name}={version}"

    def _as_found(self) -> Wanted:
        """Return a plan that asks for no branch: whatever was good before is good now."""
        state = self._driver.look()
        module = state.next_boot or state.running
        flavour = module.flavour if module else None
        return Wanted(UBUNTU, "", flavour or OPEN, modules=self._wanted.modules)
