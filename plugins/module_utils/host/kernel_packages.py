"""The packages of the running kernel: which metapackage it came with, and which kernel that would bring today."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.nvidia.package_names import Stanza

_RELEASE = re.compile(r"(\d+\.\d+)\.\d+-\d+-([a-z][a-z0-9-]*)")
# Ubuntu 22.04's ways to a kernel: its own, that of newer releases, and where a cloud is on the newer one by default,
# the old one. linux-image-virtual brings the kernel of linux-image-generic without the drivers of real machines.
_TRACKS = ("", "-hwe-22.04", "-lts-22.04")
_SAME_KERNEL = {"virtual": "generic"}


@dataclass(frozen=True)
class KernelPackages:
    """``flavour``: as modules are named after it. ``latest``: the release that ``meta`` brings now.

    ``packages``: the metapackages that bring kernels to this host; those are installed, but where there is none.
    ``images``: the releases of this flavour that are installed, the oldest first. ``headers``: whether those of the
    running kernel can be had.
    """

    flavour: str
    meta: str
    latest: str
    packages: tuple[str, ...]
    images: tuple[str, ...]
    headers: bool

    @classmethod
    def from_stanzas(
        cls, release: str, installed: Mapping[str, Stanza], offered: Mapping[str, Stanza]
    ) -> KernelPackages:
        """Choose the metapackage that is installed for the series of the running kernel, else the one that fits it."""
        suffix = _parts(release)[1]
        metas = [name for name in (*_metas(suffix), *_metas("virtual")) if name in offered or name in installed]
        metas = [name for name in metas if _parts(_brings(offered.get(name, installed.get(name))))[1] == suffix]
        best = max(metas, key=lambda name: _rank(name, release, installed, offered), default="")
        track = best.removeprefix("linux-image-")
        own = tuple(name for name in (f"linux-{track}", best, f"linux-headers-{track}") if name in installed)
        header = f"linux-headers-{release}"
        return cls(
            flavour=_modules_flavour(track),
            meta=best,
            latest=_brings(offered.get(best)),
            packages=own if best in own else tuple(filter(None, (best,))),
            images=tuple(sorted(_images(installed, suffix), key=_order)),
            headers=header in offered or header in installed,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the members that the fact ``nvidia.packages`` has of it."""
        return {
            "kernel_flavour": self.flavour,
            "kernel_latest": self.latest,
            "kernel_packages": list(self.packages),
            "kernel_images": list(self.images),
            "headers": self.headers,
        }


def metapackages(names: frozenset[str], release: str) -> list[str]:
    """Return the metapackages that could bring newer kernels of the same flavour."""
    return [name for name in (*_metas(_parts(release)[1]), *_metas("virtual")) if name in names]


def flavours(metas: Iterable[str]) -> list[str]:
    """Return the flavours of kernels that metapackages bring, as packages of modules are named after them."""
    return sorted({_modules_flavour(name.removeprefix("linux-image-")) for name in metas})


def _parts(release: str) -> tuple[str, str]:
    found = _RELEASE.fullmatch(release)
    return (found[1], found[2]) if found else ("", "")


def _metas(suffix: str) -> list[str]:
    return [f"linux-image-{suffix}{track}" for track in _TRACKS] if suffix else []


def _modules_flavour(track: str) -> str:
    name, dash, rest = track.partition("-")
    return _SAME_KERNEL.get(name, name) + dash + rest


def _brings(meta: Stanza | None) -> str:
    """Return the release of the kernel that a metapackage depends on."""
    found = re.search(r"\blinux-image-(\d\S*?)(?=[ ,|]|$)", meta.depends) if meta else None
    return found[1] if found else ""


def _rank(
    name: str, release: str, installed: Mapping[str, Stanza], offered: Mapping[str, Stanza]
) -> tuple[bool, bool, bool, bool, bool]:
    """Of the metapackages of one kind: one that brings no older kernel than the running one, as the newest is booted;
    then one of its series, one that is installed, and rather that of real machines."""
    brings = _brings(offered.get(name, installed.get(name)))
    fits = _parts(brings)[0] == _parts(release)[0]
    newer = _order(brings) >= _order(release)
    return newer, fits and name in installed, name in installed, fits, "virtual" not in name


def _images(installed: Mapping[str, Stanza], suffix: str) -> Iterable[str]:
    for name in installed:
        found = re.fullmatch(r"linux-image-(?:unsigned-)?(\d.*)", name)
        if found and suffix and _parts(found[1])[1] == suffix:
            yield found[1]


def _order(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release))
