"""What the packages of a host say about NVIDIA's driver: what is installed and held, and what apt could install.

Ubuntu builds the driver's modules for each kernel beforehand and signs them: ``linux-modules-nvidia-BRANCH-RELEASE``.
Such a package goes with one version of the driver alone, that of its build (``Depends: nvidia-kernel-common-BRANCH
(>= VERSION)``), so that its name in the index does not mean that it can be installed with the driver of today.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.files import list_names, read_text
from ansible_collections.llmhost.core.plugins.module_utils.host import kernel_packages
from ansible_collections.llmhost.core.plugins.module_utils.host.kernel_packages import KernelPackages
from ansible_collections.llmhost.core.plugins.module_utils.nvidia import package_names
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.package_names import Stanza

_LISTS, _STATUS = "var/lib/apt/lists", "var/lib/dpkg/status"
_RUNFILE = ("usr/bin/nvidia-uninstall", "usr/bin/nvidia-installer")
_STALE_SECONDS = 30 * 86400
# More names than that on one command line, and apt-cache would be asked in vain.
_MOST_NAMES = 2000


@dataclass(frozen=True)
class NvidiaPackages:
    """The fact ``nvidia.packages``."""

    installed: Mapping[str, str]
    held: tuple[str, ...]
    candidates: Mapping[str, str]
    transitional: Mapping[str, str]
    kernel: KernelPackages
    prebuilt: tuple[str, ...]
    newer_kernel: Mapping[str, str]
    source: str
    toolkits: tuple[str, ...]
    lists: bool
    lists_stale: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the plain dict that host_info returns."""
        return {
            "installed": dict(self.installed),
            "held": list(self.held),
            "candidates": dict(self.candidates),
            "transitional": dict(self.transitional),
            **self.kernel.as_dict(),
            "prebuilt": list(self.prebuilt),
            "newer_kernel": dict(self.newer_kernel),
            "source": self.source,
            "toolkits": list(self.toolkits),
            "lists": self.lists,
            "lists_stale": self.lists_stale,
        }


def read_packages(
    run_command: RunCommand, root: str, release: str, now: Callable[[], float] = time.time
) -> dict[str, Any]:
    """Return the facts of the host whose files are at ``root`` and whose kernel is ``release``.

    apt-cache is asked twice, for the names and for what it says of those that matter: a second on a slow machine.
    """
    status = package_names.parse_stanzas(read_text(root, _STATUS) or "", package_names.matters)
    installed = {name: stanza for name, stanza in status.items() if stanza.is_installed}
    lists = [name for name in list_names(root, _LISTS) if "_Packages" in name]
    names = _names(run_command) if lists else frozenset()
    metas = kernel_packages.metapackages(names, release)
    modules = package_names.of_modules(names, (release, *kernel_packages.flavours(metas)))
    headers = {f"linux-headers-{release}"} & names
    offered = _show(run_command, [*package_names.of_driver(names), *modules, *metas, *headers])
    empty = package_names.transitional(offered)
    kernel = KernelPackages.from_stanzas(release, installed, offered)
    return NvidiaPackages(
        installed={name: stanza.version for name, stanza in installed.items() if package_names.is_nvidia(name)},
        held=tuple(sorted(name for name, stanza in installed.items() if stanza.is_held)),
        candidates={
            name: stanza.version
            for name, stanza in sorted(offered.items())
            if not stanza.replaced_by and package_names.decides(name)
        },
        transitional=empty,
        kernel=kernel,
        prebuilt=tuple(branch for branch in _prebuilt(offered, release) if branch not in empty),
        newer_kernel={branch: kernel.meta for branch in _prebuilt(offered, kernel.flavour) if kernel.meta},
        source=_source(root, installed),
        toolkits=package_names.toolkits(names),
        lists=bool(lists),
        lists_stale=bool(lists) and all(now() - _changed(root, name) > _STALE_SECONDS for name in lists),
    ).as_dict()


def _names(run_command: RunCommand) -> frozenset[str]:
    done = run_command(["apt-cache", "pkgnames"])
    return frozenset(done.stdout.split()) if done.rc == 0 else frozenset()


def _show(run_command: RunCommand, names: Sequence[str]) -> dict[str, Stanza]:
    """Return what apt would install of the packages. One name that is unknown does not hide the others."""
    if not names:
        return {}
    asked = sorted(set(names))[:_MOST_NAMES]
    return package_names.parse_stanzas(run_command(["apt-cache", "show", "--no-all-versions", *asked]).stdout)


def _prebuilt(offered: Mapping[str, Stanza], kernel: str) -> Iterable[str]:
    """Return the branches that have modules for a kernel, or for the newest kernel of a flavour, to go with them."""
    if not kernel:
        return
    for name, stanza in sorted(offered.items()):
        branch = package_names.branch_of_modules(name, kernel)
        if branch is None or stanza.replaced_by:
            continue
        common = offered.get(f"nvidia-kernel-common-{branch.removesuffix('-open')}")
        if common is not None and stanza.built_for in ("", common.upstream):
            yield branch


def _source(root: str, installed: Mapping[str, Stanza]) -> str:
    """Return whose driver is installed. The container toolkit is always NVIDIA's, and no driver."""
    driver = [stanza for name, stanza in installed.items() if package_names.is_driver(name)]
    if driver:
        return "ubuntu" if all(stanza.from_ubuntu for stanza in driver) else "nvidia"
    return "runfile" if any(os.path.exists(os.path.join(root, path)) for path in _RUNFILE) else "none"


def _changed(root: str, name: str) -> float:
    try:
        return os.stat(os.path.join(root, _LISTS, name)).st_mtime
    except OSError:
        return 0.0
