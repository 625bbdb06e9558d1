"""One transaction of apt, looked at before it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult, RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.driver.archives import Archives
from ansible_collections.llmhost.core.plugins.module_utils.driver.changes import Changes
from ansible_collections.llmhost.core.plugins.module_utils.service.packages import Packages, explain

NEW = ("install", "--no-install-recommends")
# A held package is left alone by everybody else's transaction, and not by the one that changes the whole set.
HOLD_IS_OURS = ("-o", "APT::Ignore-Hold=true", "--allow-change-held-packages")


class TransactionError(Exception):
    """apt refuses; the text holds its words and a remedy."""


@dataclass
class Transaction:
    """What to ask of apt: words such as ``install NAME`` or ``purge NAME``. Each way to mend it is tried once."""

    words: Sequence[str]
    run: RunCommand
    root: str = "/"
    archives: Archives = field(default_factory=Archives)

    def __post_init__(self) -> None:
        """Take apt as every other role has it: its locks, an interrupted dpkg, its settings."""
        self._apt = Packages(self.words[1:], self.run, self.root, options=self.archives.options)
        self._tried: set[str] = set()

    @property
    def actions(self) -> list[str]:
        """Return what was done, simulations apart."""
        return [action for action in self._apt.actions if " --simulate " not in action]

    def simulate(self) -> Changes:
        """Return what it would do, with the lists at hand, or with new ones where those do not do."""
        self.archives.prepare()
        self._apt.repair_if_interrupted()
        if not self._apt.has_lists():
            self.update()
        while (done := self._apt.apt_get("--simulate", *self.words)).rc != 0:
            self._mend(done)
        return Changes.from_simulation(done.stdout)

    def update(self) -> None:
        """Fetch the lists of what there is now."""
        self._tried.add("update")
        self._apt.update()

    def make(self) -> bool:
        """Do it, and tell whether it is done; if not, something was mended and it has to be looked at again.

        What apt downloads stays on the host, for the way back.
        """
        done = self._apt.apt_get(*self.words)
        if done.rc == 0:
            return True
        self._mend(done)
        return False

    def attempt(self) -> bool:
        """Do it if it can be done, and tell whether it could."""
        self.archives.prepare()
        return self._apt.apt_get(*self.words).rc == 0

    def _mend(self, done: CommandResult) -> None:
        said = f"{done.stdout}\n{done.stderr}"
        if not self._apt.mend(said, self._tried):
            raise TransactionError(explain(self._names, said))

    @property
    def _names(self) -> list[str]:
        options = {word for at, word in enumerate(self.words) if self.words[at - 1] == "-o"}
        return [word for word in self.words[1:] if not word.startswith("-") and word not in options]
