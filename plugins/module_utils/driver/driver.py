"""The driver of the GPUs, made what the plan says: installed, pinned, loaded and proved."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

from ansible_collections.llmhost.core.plugins.module_utils.driver.changes import Changes, is_of_driver
from ansible_collections.llmhost.core.plugins.module_utils.driver.health import load, settled_health, without_gpu
from ansible_collections.llmhost.core.plugins.module_utils.driver.record import DriverRecord
from ansible_collections.llmhost.core.plugins.module_utils.driver.settings import Settings
from ansible_collections.llmhost.core.plugins.module_utils.driver.state import UPGRADE, DriverState
from ansible_collections.llmhost.core.plugins.module_utils.driver.transaction import HOLD_IS_OURS, NEW
from ansible_collections.llmhost.core.plugins.module_utils.driver.units import Units
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import Wanted
from ansible_collections.llmhost.core.plugins.module_utils.driver.work import Work
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error


class Driver:
    """Brings packages, pins them, loads the modules and judges the result."""

    def __init__(self, work: Work, wanted: Wanted) -> None:
        """Take what is to be made true, and the host."""
        self.work = work
        self.wanted = wanted
        self.version = ""
        self._units = Units(work, wanted)
        self._written: list[str] = []

    def missing(self) -> list[str]:
        """Return the packages that are not there, or not as a whole; of a driver that is only checked none."""
        dpkg = self.work.dpkg()
        ours = is_of_driver if self.wanted.is_ours else self.work.record.brought.__contains__
        broken = sorted(name for name in dpkg.broken if ours(name))
        return list(dict.fromkeys([*dpkg.missing(self.wanted.transaction), *broken]))

    def apply(self) -> str:
        """Make the driver what the plan says; return why a restart is needed, "" when the driver is in use."""
        self.work.complete()
        missing = self.missing()
        if self.work.check and missing:
            self.work.actions.append(f"install {' '.join(missing)}")
        elif missing:
            # What is there already goes along: in one transaction apt sees that finished modules make DKMS needless.
            ours = HOLD_IS_OURS if self.work.record.held else ()
            self.work.transact([*NEW, *ours, *self.wanted.transaction], self._judge)
        return self.prove()

    def prove(self) -> str:
        """Pin what is there, take it into use and judge it. After an upgrade that is not what the plan names."""
        self._write_settings()
        self.hold()
        if self.work.would_change:
            return ""
        self._units.enable()
        return self.use(self.wanted)

    def use(self, wanted: Wanted) -> str:
        """Judge what is on the disk, load it and judge it again; return why only a restart can do that."""
        state = self.look()
        self.work.refuse(state.findings(wanted))
        if reason := state.reboot_reason(wanted):
            return reason
        if self.work.check:
            return ""
        self._load(state, wanted)
        if state.gpus or wanted.in_container:
            self._units.start(self._written)
            host = self.work.host
            self.work.refuse(settled_health(state, wanted, host.ask, host.root, host.fabric_seconds))
        self._keep()
        return ""

    def look(self) -> DriverState:
        """Return what lies on the disk and what is loaded."""
        state = DriverState.from_host(self.work.host.ask, self.work.host.root, self.work.host.kernel)
        self.version = state.version
        return state

    def hold(self) -> None:
        """Keep everybody else's transactions from what may only change as one."""
        dpkg, work = self.work.dpkg(), self.work
        ours = {name for name in dpkg.versions if is_of_driver(name)} if self.wanted.is_ours else set()
        names = ours | (set(self.wanted.hold) & set(dpkg.versions))
        loose = sorted(names - dpkg.held)
        if loose and not work.check:
            # Before it is done, or one that is killed in between would never be let go again.
            held = (set(work.record.held) & set(dpkg.versions)) | set(loose)
            work.save(replace(work.record, held=tuple(sorted(held))))
        if loose:
            work.step(f"hold {' '.join(loose)}", lambda: work.mark("hold", loose))

    def _judge(self, changes: Changes) -> DriverRecord:
        """Refuse what must not be done. The settings come first: the fabric manager starts itself once it is there."""
        record = self.work.record
        if record.good and changes.is_another_driver:
            self.work.refuse([self._deliberate()])
        self.work.refuse(changes.objections(self.wanted))
        self._write_settings()
        record = record.with_brought(changes.brought, self.wanted.transaction)
        return replace(record, kept=not self.wanted.is_ours and not record.good)

    def _deliberate(self) -> Finding:
        return error(
            "driver.upgrade_is_deliberate",
            f"the plan wants another driver ({self.wanted.branch}) than the one that llmhost has proved on this host.",
            f"Change it with {UPGRADE}, which goes back if the new one fails.",
        )

    def _write_settings(self) -> None:
        pinned = tuple(name for name in self.wanted.hold if not is_of_driver(name))
        settings = Settings(self.wanted, pinned, self.work.host.paths)
        self._units.retire(settings)
        self._written += self.work.write(settings)

    def _load(self, state: DriverState, wanted: Wanted) -> None:
        act = self.work.host.act
        if wanted.in_container:
            return
        if not state.gpus:
            self.work.refuse(without_gpu(state, act))
            return
        loaded = os.path.join(self.work.host.root, "sys/module")
        absent = [name for name in wanted.modules if not os.path.isdir(os.path.join(loaded, name))]
        for name in absent:
            self.work.step(f"load {name}", partial(self._must_load, name))
        if absent:
            act(["udevadm", "settle", "--timeout=60"])  # udev makes the device nodes

    def _must_load(self, name: str) -> None:
        self.work.refuse(load(name, self.work.host.act))

    def _keep(self) -> None:
        """What is in use now is the last good set; older package files are of no use any more."""
        if not self.wanted.is_ours:
            return
        versions = self.work.dpkg().versions
        good = {name: version for name, version in versions.items() if is_of_driver(name)}
        self.work.save(self.work.without_lost(replace(self.work.record, good=good, upgrade=None)))
        self.work.host.archives.keep_only(versions)
