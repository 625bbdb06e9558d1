"""Install packages of the distribution on a host whose apt is in any state that a host is found in."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult, RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.files import list_names, read_text
from ansible_collections.llmhost.core.plugins.module_utils.host.lock_holder import LockHolder, find_holder

# In the order in which apt takes them.
LOCKS = (
    "var/lib/apt/lists/lock",
    "var/cache/apt/archives/lock",
    "var/lib/dpkg/lock-frontend",
    "var/lib/dpkg/lock",
)
# Nobody is there to answer: debconf, dpkg and ucf keep what the host has, and needrestart, which on Ubuntu 22.04 asks
# which services to restart, stays out of it.
ENVIRONMENT = {
    "APT_LISTCHANGES_FRONTEND": "none",
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    "NEEDRESTART_MODE": "l",
    "NEEDRESTART_SUSPEND": "1",
    "UCF_FORCE_CONFFOLD": "1",
}
_KEEP = ("--force-confdef", "--force-confold")
_APT_GET = (
    *("apt-get", "-q", "-y", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=0"),
    *(word for option in _KEEP for word in ("-o", f"Dpkg::Options::={option}")),
)

_LOCKED = re.compile(r"Could not get lock|locked by another process")
_INTERRUPTED = re.compile(r"dpkg was interrupted|dpkg --configure -a")
_BROKEN_LISTS = re.compile(
    r"Problem with MergeList|package lists or status file could not be|Unable to parse package|(Hash Sum|Size) mismatch"
    r"|404 +Not Found"
)
_REMEDIES = (
    (r"No space left|enough free space", "Make room on the filesystem of /var and run again."),
    (
        r"Temporary failure resolving|Could not resolve|Could not connect|Connection (timed out|refused)|unreachable",
        "The host reaches no source of packages: check its network and name server, and llmhost_proxy.",
    ),
    (
        r"Certificate|certificate|NO_PUBKEY|not signed|GPG error|not valid yet",
        "Check the clock of the host, llmhost_ca_certificates, and the keys of its package sources.",
    ),
    (
        r"(Unable to locate package|Package) '?(cuda-|libcublas)",
        "They are in NVIDIA's own repository: install its package cuda-keyring for Ubuntu 22.04, which adds that.",
    ),
    (
        r"Unable to locate package|no installation candidate",
        "Ubuntu's sources main and universe are needed, for a driver restricted and multiverse, too: see "
        "/etc/apt/sources.list on the host, and run apt-get update.",
    ),
    (
        r"404 +Not Found",
        "The source lists files that it does not have: it is being renewed, or a mirror lags. Run again in an hour, or "
        "name another mirror in /etc/apt/sources.list on the host.",
    ),
    (
        r"Bad return status for module build",
        "The module does not compile for this kernel: /var/lib/dkms/*/*/build/make.log on the host says why.",
    ),
    (r"unmet dependencies|held broken packages", "Mend the packages of the host first: `apt-get -f install` says how."),
    (r"error processing|Sub-process .*dpkg", "Mend that package first: `dpkg --configure -a` on the host says how."),
)


class PackagesError(Exception):
    """The packages cannot be installed; the text names them, the reason and the remedy."""


class BusyError(Exception):
    """Somebody else works with apt; the text says for what there is to wait."""

    def __init__(self, holder: LockHolder) -> None:
        super().__init__(f"{holder} to release apt's lock")


@dataclass
class Packages:
    """Packages wanted on the host below ``root``. ``run`` must not end a program that takes long."""

    names: Sequence[str]
    run: RunCommand
    root: str = "/"
    holder: Callable[[Sequence[str]], LockHolder | None] = find_holder
    actions: list[str] = field(default_factory=list)
    options: Sequence[str] = ()

    def missing(self) -> list[str]:
        """Return those that are not installed; one that is not configured counts as missing."""
        installed = parse_installed(read_text(self.root, "var/lib/dpkg/status") or "")
        return [name for name in self.names if name not in installed]

    def waiting_for(self) -> str:
        """Return for what there is to wait before apt can be used, for unattended-upgrades say; "" for nothing."""
        found = self._find_holder()
        return str(BusyError(found)) if found else ""

    def install(self) -> None:
        """Install what is missing. Raise BusyError when somebody came in between, PackagesError when it can't be."""
        self.repair_if_interrupted()
        if not self.has_lists():
            self.update()
        tried: set[str] = set()
        while missing := self.missing():
            done = self.apt_get("install", "--no-install-recommends", *missing)
            said = f"{done.stdout}\n{done.stderr}"
            # apt also fails when it cannot configure a package of somebody else that was broken before.
            if done.rc == 0 or not self.missing():
                return
            if not self.mend(said, tried):
                raise PackagesError(explain(missing, said))

    def mend(self, said: str, tried: set[str]) -> bool:
        """Do the next thing that may help apt, by what it said, and note it in ``tried``; False when none is left."""
        if _INTERRUPTED.search(said) and "repair" not in tried:
            tried.add("repair")
            self._repair()
        elif "update" not in tried:
            # Old lists name versions that the source no longer has, and dependencies that no longer fit.
            tried.add("update")
            self.update()
        elif _BROKEN_LISTS.search(said) and "lists" not in tried:
            # Fetching what has changed does not mend what is damaged.
            tried.add("lists")
            self._drop_lists()
            self.update()
        else:
            return False
        return True

    def repair_if_interrupted(self) -> None:
        """Finish an installation that was cut off: until then apt does nothing else."""
        if self._interrupted():
            self._repair()

    def has_lists(self) -> bool:
        """Tell whether apt knows the packages of any source."""
        return any("_Packages" in name for name in list_names(self.root, "var/lib/apt/lists"))

    def _interrupted(self) -> bool:
        """Tell whether dpkg was cut off: by its own test, which makes every later call of apt fail."""
        return any(name.isdigit() for name in list_names(self.root, "var/lib/dpkg/updates"))

    def _repair(self) -> None:
        # Whether it succeeds is seen at the installation: a package that is broken may be none of ours.
        self._do("dpkg", *_KEEP, "--configure", "-a")

    def _drop_lists(self) -> None:
        lists = os.path.join(self.root, "var/lib/apt/lists")
        for name in list_names(lists):
            path = os.path.join(lists, name)
            if name != "lock" and os.path.isfile(path):
                os.unlink(path)

    def update(self) -> None:
        """Fetch the lists. One source of several may be out of reach: what is wanted may be had without it."""
        self.apt_get("update")

    def mark(self, what: str, names: Sequence[str]) -> CommandResult:
        """Run apt-mark; raise BusyError when somebody else works with dpkg."""
        return self._do("apt-mark", what, *names)

    def apt_get(self, *arguments: str) -> CommandResult:
        """Run apt-get; raise BusyError when somebody else works with it."""
        return self._do(*_APT_GET, *self.options, *arguments)

    def _do(self, *command: str) -> CommandResult:
        usual = command[: len(_APT_GET)] == _APT_GET
        told = ("apt-get", *command[len(_APT_GET) + len(self.options) :]) if usual else command
        self.actions.append(" ".join(told))
        done = self.run(command)
        if done.rc != 0 and _LOCKED.search(f"{done.stdout}\n{done.stderr}"):
            raise BusyError(self._find_holder() or LockHolder(0))
        return done

    def _find_holder(self) -> LockHolder | None:
        return self.holder([os.path.join(self.root, lock) for lock in LOCKS])


def parse_installed(status: str) -> set[str]:
    """Return the packages that dpkg's status file says are installed as a whole."""
    return {
        found[1]
        for stanza in status.split("\n\n")
        if re.search(r"^Status: \S+ ok installed$", stanza, re.MULTILINE)
        and (found := re.search(r"^Package: (\S+)$", stanza, re.MULTILINE))
    }


def explain(names: Sequence[str], said: str) -> str:
    """Say why packages could not be installed, in apt's own last words, and what to do."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    words = [line for line in lines if line.startswith(("E:", "W:", "dpkg:"))] or lines
    remedy = next(
        (text for pattern, text in _REMEDIES if re.search(pattern, said)),
        f"Run `apt-get install {' '.join(names)}` on the host to see the whole story.",
    )
    told = "\n".join(f"  {line}" for line in words[-8:])
    return f"{', '.join(names)}: not installed, for apt says:\n{told}\n{remedy}"
