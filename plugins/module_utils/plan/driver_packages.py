"""The packages of a driver, of its kernel, and what has to be held: one set that is installed and changed together."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_branch import Branch
from ansible_collections.llmhost.core.plugins.module_utils.plan.driver_facts import OPEN, DriverFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import Intent

UBUNTU, DKMS, NVIDIA = "ubuntu", "ubuntu-dkms", "nvidia"

# Kernels of clouds are 6.8 where nothing is said, and 5.15 by name; those of other machines the other way round.
_OLD_SERIES = "5.15."
_BY_NAME = re.compile(r"(generic|lowlatency|nvidia)$")


@dataclass(frozen=True)
class PackageSet:
    """What is installed in one transaction. ``kernel``: the metapackage of another kernel, which is ``release``."""

    source: str
    packages: tuple[str, ...]
    hold: tuple[str, ...]
    version: str | None
    kernel: str | None = None
    release: str = ""


def ubuntu_set(facts: DriverFacts, intent: Intent, branch: Branch) -> tuple[PackageSet, list[Finding]]:
    """Return Ubuntu's packages: what is installed already, else signed modules for the running kernel, else for a newer
    one of its kind, else sources to compile."""
    packages, word = facts.packages, branch.word
    running = f"linux-modules-nvidia-{word}-{facts.release}"
    wants_dkms = intent.driver_source == DKMS
    if f"nvidia-headless-{word}" in packages.installed and intent.driver_source != UBUNTU:
        return _dkms(facts, branch), []
    if {running, f"nvidia-headless-no-dkms-{word}"} <= packages.installed.keys() and not wants_dkms:
        return _prebuilt(facts, branch, (running, *_own_meta(facts, word))), []
    if not packages.known:
        flavour = packages.kernel_flavour or usual_flavour(facts.release)
        meta = f"linux-image-{flavour}"
        return _prebuilt(facts, branch, (meta, f"linux-modules-nvidia-{word}-{flavour}"), meta), []
    if wants_dkms:
        return _dkms(facts, branch), _check_dkms(facts)
    flavour = f"linux-modules-nvidia-{word}-{packages.kernel_flavour}"
    if word in packages.prebuilt:
        return _prebuilt(facts, branch, _for_running(facts, word, running, flavour)), []
    if word in packages.newer_kernel and _is_booted(facts, packages.kernel_latest):
        kernel = packages.newer_kernel[word]
        metas = dict.fromkeys((*packages.kernel_packages, kernel))
        made = _prebuilt(facts, branch, (*metas, flavour), kernel, packages.kernel_latest)
        return made, [_newer_kernel(facts, branch, made)]
    return _dkms(facts, branch), _no_modules(facts, intent, branch)


def nvidia_set(facts: DriverFacts, branch: Branch) -> tuple[PackageSet, list[Finding]]:
    """Return the packages of NVIDIA's repository, which compile the modules on the host."""
    offered = {**facts.packages.candidates, **facts.packages.installed}
    name = f"nvidia-open-{branch.number}" if branch.flavour == OPEN else f"cuda-drivers-{branch.number}"
    pinning = f"nvidia-driver-pinning-{branch.number}"
    names = (*((pinning,) if pinning in offered else ()), name, f"linux-headers-{facts.release}")
    made = PackageSet(NVIDIA, names, tuple(sorted({*names[:-1], *facts.packages.kernel_packages})), None)
    findings = _check_dkms(facts)
    if name not in offered:
        message = f"llmhost_driver_source is nvidia; apt on this host knows no {name}."
        remedy = (
            "Add NVIDIA's repository for Ubuntu 22.04 (its package cuda-keyring) and run apt-get update, or take auto."
        )
        findings.append(error("driver.no_repository", message, remedy))
    return made, findings


def usual_flavour(release: str) -> str:
    """Return the flavour that a kernel is of, by its release alone: generic, generic-hwe-22.04, aws, aws-lts-22.04."""
    suffix = re.sub(r"^[\d.]+-\d+-", "", release)
    if not re.fullmatch(r"[a-z][a-z0-9-]*", suffix):
        return "generic"
    if _BY_NAME.match(suffix):
        return suffix if release.startswith(_OLD_SERIES) else f"{suffix}-hwe-22.04"
    return f"{suffix}-lts-22.04" if release.startswith(_OLD_SERIES) else suffix


def _for_running(facts: DriverFacts, word: str, running: str, flavour: str) -> tuple[str, ...]:
    """Return modules for the running kernel, and for that of the next boot where that is another one."""
    packages = facts.packages
    pending = any(_order(image) > _order(facts.release) for image in packages.kernel_images)
    if not pending and packages.kernel_latest != facts.release:
        return (running,)  # the metapackage would bring a newer kernel, which nobody asked for
    if word not in packages.newer_kernel:
        return (running,)
    return (*(packages.kernel_packages if pending else ()), running, flavour)


def _is_booted(facts: DriverFacts, release: str) -> bool:
    """Whether the next boot takes this kernel: the boot loader takes the newest that is installed."""
    return all(_order(release) >= _order(image) for image in (*facts.packages.kernel_images, facts.release))


def _order(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)[:4]]


def _own_meta(facts: DriverFacts, word: str) -> list[str]:
    """Return the metapackage of the modules where it is installed."""
    name = f"linux-modules-nvidia-{word}-{facts.packages.kernel_flavour}"
    return [name] if name in facts.packages.installed else []


def _prebuilt(
    facts: DriverFacts, branch: Branch, before: tuple[str, ...], kernel: str | None = None, release: str = ""
) -> PackageSet:
    driver = (f"nvidia-headless-no-dkms-{branch.word}", f"nvidia-utils-{branch.name}")
    modules = [name for name in before if name.startswith("linux-modules-nvidia-")]
    version = _version(facts, f"nvidia-headless-no-dkms-{branch.word}")
    packages = tuple(dict.fromkeys((*before, *driver)))
    return PackageSet(
        UBUNTU, packages, _hold(facts, branch, [*modules, *driver, kernel or ""]), version, kernel, release
    )


def _dkms(facts: DriverFacts, branch: Branch) -> PackageSet:
    driver = (f"nvidia-headless-{branch.word}", f"nvidia-dkms-{branch.word}", f"nvidia-utils-{branch.name}")
    packages = (f"linux-headers-{facts.release}", *driver)
    return PackageSet(DKMS, packages, _hold(facts, branch, driver), _version(facts, driver[0]))


def _hold(facts: DriverFacts, branch: Branch, named: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    """Return what may change together only: driver, libraries and the metapackages that bring kernels."""
    parts = [
        *(f"{name}-{branch.name}" for name in ("libnvidia-cfg1", "libnvidia-compute", "nvidia-compute-utils")),
        f"nvidia-kernel-common-{branch.name}",
        f"nvidia-kernel-source-{branch.word}",
    ]
    return tuple(sorted({*parts, *facts.packages.kernel_packages, *filter(None, named)}))


def _version(facts: DriverFacts, name: str) -> str | None:
    """Return NVIDIA's part of the version that is installed, or that would be."""
    full = facts.packages.installed.get(name) or facts.packages.candidates.get(name)
    return full.partition("-")[0].rpartition(":")[2] if full else None


def _newer_kernel(facts: DriverFacts, branch: Branch, made: PackageSet) -> Finding:
    message = (
        f"Ubuntu has no signed modules of driver {branch.name} {made.version or ''} for the running kernel "
        f"{facts.release}; {made.kernel} brings {made.release or 'a newer one'} that has them."
    ).replace("  ", " ")
    remedy = "Nothing to do but a reboot. To keep this kernel, set llmhost_driver_source: ubuntu-dkms."
    return info("driver.newer_kernel", message, remedy)


def _no_modules(facts: DriverFacts, intent: Intent, branch: Branch) -> list[Finding]:
    message = f"Ubuntu has no signed modules of driver {branch.name} for kernels like {facts.release}"
    if intent.driver_source == UBUNTU:
        remedy = "Boot a kernel of linux-image-generic, or set llmhost_driver_source: ubuntu-dkms to compile them."
        return [error("driver.no_modules", f"{message}.", remedy)]
    found = info("driver.dkms", f"{message}: they are compiled on the host, at every change of the kernel.", "")
    return [*([] if facts.secure_boot else [found]), *_check_dkms(facts)]


def _check_dkms(facts: DriverFacts) -> list[Finding]:
    findings = []
    if facts.secure_boot:
        message = (
            "Secure Boot is on: the kernel takes only signed modules, and the key for those that are compiled on the "
            "host must be confirmed by a person at its screen."
        )
        remedy = "Boot a kernel of linux-image-generic, for which Ubuntu signs modules, or turn Secure Boot off."
        findings.append(error("driver.secure_boot", message, remedy))
    if facts.packages.known and not facts.packages.headers:
        message = f"apt has no linux-headers-{facts.release}, without which no module is compiled for this kernel."
        remedy = "Boot a kernel of Ubuntu's archive, such as that of linux-image-generic."
        findings.append(error("driver.no_headers", message, remedy))
    return findings
