"""The names of NVIDIA's packages, and what a package's own description says of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

MODULES = "linux-modules-nvidia-"
HEADLESS = "nvidia-headless-no-dkms-"

# 580-server-open: the number, the flavour for servers, the open kernel modules.
_BRANCH = r"[5-9]\d{2}(?:-server)?"
_NVIDIA = re.compile(
    r"(?:lib)?nvidia-|linux-(?:modules|objects|signatures)-nvidia-|cuda-drivers|xserver-xorg-video-nvidia"
)
_DRIVER = re.compile(
    rf"nvidia-(?:driver|headless(?:-no-dkms)?|dkms|kernel-(?:common|source)|utils|compute-utils)-{_BRANCH}(?:-open)?"
    rf"|libnvidia-compute-{_BRANCH}|linux-modules-nvidia-.*|cuda-drivers(?:-\d{{3}})?|nvidia-open(?:-\d{{3}})?"
    r"|nvidia-(?:kernel-)?dkms(?:-open)?"
)
_KERNEL = re.compile(r"linux-(?:image-|headers-)?[a-z0-9][\w.+-]*")
_OFFERED = re.compile(
    rf"{HEADLESS}{_BRANCH}(?:-open)?|nvidia-kernel-common-{_BRANCH}|nvidia-headless-{_BRANCH}(?:-open)?"
    rf"|nvidia-utils-{_BRANCH}|nvidia-fabricmanager-\d{{3}}|nvidia-container-toolkit"
    r"|nvidia-driver-pinning-\d{3}|cuda-drivers(?:-\d{3})?|nvidia-open(?:-\d{3})?"
)
_TOOLKIT = re.compile(r"cuda-nvcc-(\d{1,2})-(\d{1,2})")
_UPSTREAM = re.compile(r"(?:\d+:)?(\d+(?:\.\d+)+)")


@dataclass(frozen=True)
class Stanza:
    """One package, as dpkg's status file or ``apt-cache show`` describe it."""

    version: str
    status: str
    depends: str
    from_ubuntu: bool
    replaced_by: str

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> Stanza:
        """Read the fields that matter here.

        A package without content depends on the one that takes its place, and on nothing else. Not each of them says
        that it is transitional, and apt need not have fetched descriptions.
        """
        depends = fields.get("Depends", "")
        family = re.match(r"[a-z-]+-(?=\d)", fields.get("Package", ""))
        dummy = family and re.fullmatch(rf"{re.escape(family[0])}[a-z0-9.+-]+", depends)
        return cls(
            version=fields.get("Version", ""),
            status=fields.get("Status", ""),
            depends=depends,
            from_ubuntu="ubuntu" in (fields.get("Origin", "") + fields.get("Maintainer", "")).lower(),
            replaced_by=depends if dummy else "",
        )

    @property
    def upstream(self) -> str:
        """The version without Ubuntu's part: 580.178.04."""
        found = _UPSTREAM.match(self.version)
        return found[1] if found else ""

    @property
    def built_for(self) -> str:
        """The version of the driver that modules were built for, where they say it."""
        found = re.search(r"\bnvidia-kernel-common-\S+ \(>= (\d+(?:\.\d+)+)", self.depends)
        return found[1] if found else ""

    @property
    def is_installed(self) -> bool:
        """Whether dpkg has installed it as a whole."""
        return re.fullmatch(r"\S+ ok installed", self.status) is not None

    @property
    def is_held(self) -> bool:
        """Whether dpkg is told to leave it as it is."""
        return self.status.startswith("hold ")


def parse_stanzas(text: str, keep: Callable[[str], bool] = bool) -> dict[str, Stanza]:
    """Return the packages of a status file, or of what ``apt-cache show`` writes, whose names are to be kept."""
    found = {}
    for block in text.split("\n\n"):
        name = re.match(r"\s*Package: (\S+)", block)
        if name and keep(name[1]) and name[1] not in found:
            lines = (line.partition(": ") for line in block.splitlines() if not line.startswith(" "))
            found[name[1]] = Stanza.from_fields({key: value.strip() for key, _, value in lines})
    return found


def is_nvidia(name: str) -> bool:
    """Whether a package is of NVIDIA's stack."""
    return _NVIDIA.match(name) is not None


def is_driver(name: str) -> bool:
    """Whether a package is a part of the driver, as tools and container runtimes are not."""
    return _DRIVER.fullmatch(name) is not None


def matters(name: str) -> bool:
    """Whether the package is of NVIDIA's, or a kernel or one of its metapackages."""
    return is_nvidia(name) or _KERNEL.fullmatch(name) is not None


def decides(name: str) -> bool:
    """Whether the candidate's version is of use to a plan: headless packages stand for their branch."""
    return _OFFERED.fullmatch(name) is not None and not name.startswith(("nvidia-kernel-common-", "nvidia-utils-"))


def of_driver(names: Iterable[str]) -> list[str]:
    """Return the packages by which a branch of the driver shows that it can be installed."""
    return [name for name in names if _OFFERED.fullmatch(name)]


def of_modules(names: Iterable[str], kernels: Sequence[str]) -> list[str]:
    """Return the packages with modules for these kernels or flavours of kernels."""
    wanted = re.compile(rf"{MODULES}{_BRANCH}(?:-open)?-(?:{'|'.join(map(re.escape, kernels))})")
    return [name for name in names if wanted.fullmatch(name)]


def toolkits(names: Iterable[str]) -> tuple[str, ...]:
    """Return the versions of CUDA whose compiler NVIDIA's own repository offers: 12.9."""
    found = (_TOOLKIT.fullmatch(name) for name in names)
    versions = sorted((int(match[1]), int(match[2])) for match in found if match)
    return tuple(f"{major}.{minor}" for major, minor in versions)


def branch_of_modules(name: str, kernel: str) -> str | None:
    """Return the branch of the modules for a kernel or a flavour of kernels: 580-server-open."""
    found = re.fullmatch(rf"{MODULES}({_BRANCH}(?:-open)?)-{re.escape(kernel)}", name)
    return found[1] if found else None


def transitional(offered: Mapping[str, Stanza]) -> dict[str, str]:
    """Return the branches that are packages without content, and which branch each of them installs."""
    targets = {
        name.removeprefix(HEADLESS): stanza.replaced_by.removeprefix(HEADLESS)
        for name, stanza in offered.items()
        if name.startswith(HEADLESS) and stanza.replaced_by.startswith(HEADLESS)
    }
    return {branch: _last(targets, branch) for branch in targets}


def _last(targets: Mapping[str, str], branch: str) -> str:
    """Follow one to the next: 550 gives 570, and that gives 580."""
    seen = {branch}
    while branch in targets and targets[branch] not in seen:
        branch = targets[branch]
        seen.add(branch)
    return branch
