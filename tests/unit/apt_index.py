"""apt of Ubuntu 22.04 as it answered in November 2026: what ``apt-cache`` says about NVIDIA's packages and kernels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.llmhost.core.plugins.module_utils.command import NOT_FOUND, CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.host.nvidia_packages import read_packages

from tests.unit.hosts import Facts
from tests.unit.machine import FIXTURES

LISTS = "var/lib/apt/lists/mirror_dists_jammy_restricted_binary-amd64_Packages"


def jammy() -> dict[str, str]:
    """Return the recorded descriptions by the name of the package."""
    text = (FIXTURES / "apt_cache_show_jammy.txt").read_text()
    return {block.split("\n", 1)[0].removeprefix("Package: "): block for block in text.strip().split("\n\n")}


class Apt:
    """``apt-cache`` with an index of packages."""

    def __init__(self, index: dict[str, str] | None = None) -> None:
        self.index = jammy() if index is None else index
        self.calls: list[list[str]] = []

    def run(self, argv: Sequence[str]) -> CommandResult:
        """Answer as apt-cache does: it shows what it knows, and ends with 100 where it knows nothing."""
        self.calls.append(list(argv))
        if argv[0] != "apt-cache":
            return CommandResult(NOT_FOUND, "", "")
        if argv[1] == "pkgnames":
            return CommandResult(0, "\n".join(self.index), "")
        shown = [self.index[name] for name in argv[3:] if name in self.index]
        return (
            CommandResult(0, "\n\n".join(shown) + "\n", "") if shown else CommandResult(100, "", "E: No packages found")
        )


def status(
    *names: str, hold: Sequence[str] = (), version: str = "", maintainer: str = "", index: Apt | None = None
) -> str:
    """Return a status file of dpkg in which these packages are installed, in the versions of the index."""
    known = (index or Apt()).index
    blocks = []
    for name in names:
        found = re.search(r"^Version: (.*)$", known.get(name, ""), re.MULTILINE)
        depends = re.search(r"^Depends: .*$", known.get(name, ""), re.MULTILINE)
        selection = "hold" if name in hold else "install"
        by = maintainer or "Ubuntu Developers <developers@lists.ubuntu.com>"
        fields = [f"Package: {name}", f"Status: {selection} ok installed", f"Maintainer: {by}"]
        fields += [f"Version: {version or (found[1] if found else '1.0')}", *filter(None, [depends and depends[0]])]
        blocks.append("\n".join([*fields, "Description: one", " more", ""]))
    return "\n".join(blocks)


def look(root: Path, release: str, dpkg: str = "", lists: bool = True, apt: Apt | None = None) -> Facts:
    """Return the fact ``nvidia.packages`` of a machine with this kernel and this status file of dpkg."""
    for path, text in {"var/lib/dpkg/status": dpkg, **({LISTS: ""} if lists else {})}.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    return read_packages((apt or Apt()).run, str(root), release)
