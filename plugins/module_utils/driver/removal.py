"""Taking the driver away again: what llmhost brought, and nothing that others need."""

from __future__ import annotations

import os
import re

from ansible_collections.llmhost.core.plugins.module_utils.driver.changes import is_of_driver
from ansible_collections.llmhost.core.plugins.module_utils.driver.settings import Settings
from ansible_collections.llmhost.core.plugins.module_utils.driver.transaction import HOLD_IS_OURS
from ansible_collections.llmhost.core.plugins.module_utils.driver.units import Units
from ansible_collections.llmhost.core.plugins.module_utils.driver.work import Work

# What belongs to a kernel and its start. The headers of one kernel are not needed by it.
_BOOT = re.compile(r"^(linux-(?!headers-\d)|initramfs|amd64-microcode|intel-microcode)")


class Removal:
    """Everything that llmhost made of a driver, undone."""

    def __init__(self, work: Work) -> None:
        """Take the host."""
        self._work = work

    def run(self) -> None:
        """Unpin the driver and take away what llmhost brought; a kernel stays, for the host boots from it."""
        work, host = self._work, self._work.host
        settings = Settings(None, paths=host.paths)
        Units(work, None).retire(settings)
        work.write(settings)
        held = sorted(set(work.record.held) & work.dpkg().held)
        if held:
            work.step(f"let go of {len(held)} packages", lambda: work.mark("unhold", held))
        work.complete()
        if words := self._words():
            work.step(" ".join(words), lambda: work.transact(words, lambda _changes: work.record))
        if host.state.read():
            work.step("forget the driver", lambda: host.state.write({}))
        if os.path.isdir(host.archives.directory):
            work.step("delete the kept package files", host.archives.remove)

    def _words(self) -> list[str]:
        """Return how to remove what llmhost brought; [] when nothing is left."""
        record, dpkg = self._work.record, self._work.dpkg()
        there = dpkg.there | dpkg.remains
        brought = {name for name in record.brought if name in there and (is_of_driver(name) or not _BOOT.match(name))}
        family = {name for name in brought if is_of_driver(name)}
        if self._work.check:
            return ["purge", *sorted(brought)] if brought else []
        # Somebody may have asked for one of the others since, or installed what needs it.
        asked = set(self._work.host.ask(["apt-mark", "showmanual"]).stdout.split()) - set(record.named)
        ours = family | (brought - asked)
        for names in dict.fromkeys(
            map(frozenset, (ours, {n for n in ours if not n.startswith("linux-headers")}, family))
        ):
            words = ["purge", *HOLD_IS_OURS, *sorted(names)]
            if names and not set(self._work.transaction(words).simulate().removed) - names:
                return words
        return []
