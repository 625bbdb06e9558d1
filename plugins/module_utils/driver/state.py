"""The state of a driver on a host: what lies on the disk, what is loaded, and whether the two are one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.driver.kernel_module import KernelModule, kernels
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import UBUNTU_DKMS, Wanted
from ansible_collections.llmhost.core.plugins.module_utils.files import list_names, read_word
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error
from ansible_collections.llmhost.core.plugins.module_utils.host.gpu import Gpu

_LIBRARY = re.compile(r"^libnvidia-ml\.so\.(\d+\.[\d.]+)$")
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib")
UPGRADE = "playbooks/upgrade_driver.yml"


@dataclass(frozen=True)
class DriverState:
    """What there is. ``running`` and ``next_boot`` are the modules for the kernel that runs and for the newest one."""

    kernel: str
    next_kernel: str
    running: KernelModule | None
    next_boot: KernelModule | None
    library: str
    loaded: str
    nouveau: bool
    gpus: int

    @classmethod
    def from_host(cls, run: RunCommand, root: str = "/", kernel: str | None = None) -> DriverState:
        """Look at the host whose files are below ``root``."""
        release = kernel or os.uname().release
        installed = kernels(root)
        newest = installed[-1] if installed else release
        running = KernelModule.for_kernel(release, run)
        return cls(
            kernel=release,
            next_kernel=newest,
            running=running,
            next_boot=running if newest == release else KernelModule.for_kernel(newest, run),
            library=next((found for folder in _LIBRARIES if (found := _library(root, folder))), ""),
            loaded=read_word(root, "sys/module/nvidia/version"),
            nouveau=os.path.isdir(os.path.join(root, "sys/module/nouveau")),
            gpus=_count_gpus(os.path.join(root, "sys/bus/pci/devices")),
        )

    @property
    def version(self) -> str:
        """Return the version of the driver on the disk: for the running kernel, else for the next one."""
        module = self.running or self.next_boot
        return module.version if module else ""

    def reboot_reason(self, wanted: Wanted) -> str:
        """Return why only a restart brings the driver into use; "" when none is needed, or none would help."""
        if wanted.in_container:
            return ""
        if self.loaded and self.running and self.loaded != self.running.version:
            return f"the module {self.loaded} is loaded, and {self.running.version} is installed"
        if self.running is None and self.next_boot and self.next_kernel != self.kernel:
            return f"the driver has modules for the kernel {self.next_kernel}, and {self.kernel} runs"
        if self.nouveau and self.gpus and not self.loaded:
            return "nouveau drives the GPUs"
        return ""

    def findings(self, wanted: Wanted) -> Iterator[Finding]:
        """Yield what of the result on the disk is not what the plan wants. A container has no modules on its disk."""
        if wanted.in_container:
            return
        modules = {module for module in (self.running, self.next_boot) if module}
        if not modules:
            yield error(
                "driver.no_module",
                f"neither the running kernel {self.kernel} nor {self.next_kernel} has a module of the driver.",
                f"Install modules for one of them, or a kernel that has them: {UPGRADE}.",
            )
        elif self.next_boot is None:
            yield error(
                "driver.no_module_for_next_boot",
                f"the next boot takes the kernel {self.next_kernel}, for which the driver has no module.",
                f"Run {UPGRADE}, or remove that kernel.",
            )
        for module in sorted(modules, key=lambda found: found.kernel):
            yield from _judge(module, wanted)
            if self.library != module.version and wanted.is_ours:
                yield error(
                    "driver.library_mismatch",
                    f"libnvidia-ml is of version {self.library or 'none'}, the module for {module.kernel} of "
                    f"{module.version}: every program would end with a version mismatch.",
                    f"Run {UPGRADE}, which changes both together.",
                )


def _judge(module: KernelModule, wanted: Wanted) -> Iterator[Finding]:
    where = f"the module for the kernel {module.kernel}"
    if wanted.number and not module.version.startswith(f"{wanted.number}."):
        yield error(
            "driver.other_branch",
            f"{where} is of version {module.version}, the plan wants the branch {wanted.branch}.",
            f"Run {UPGRADE}, or set llmhost_driver_branch to the branch that is there.",
        )
    if wanted.is_ours and module.flavour not in (None, wanted.flavour):
        yield error(
            "driver.other_flavour",
            f"{where} is the {module.flavour} one, the plan wants the {wanted.flavour} one.",
            f"Run {UPGRADE}.",
        )
    if wanted.secure_boot and not module.signer:
        built = " It was compiled here, which Secure Boot does not take." if wanted.source == UBUNTU_DKMS else ""
        yield error(
            "driver.not_signed",
            f"{where} is not signed, and the host boots securely: the kernel would refuse it.{built}",
            "Take Ubuntu's signed modules (llmhost_driver_source: ubuntu), or switch Secure Boot off in the firmware.",
        )


def _library(root: str, folder: str) -> str:
    names = list_names(root, folder)
    return next((match[1] for name in reversed(names) if (match := _LIBRARY.match(name))), "")


def _count_gpus(devices: str) -> int:
    return sum(Gpu.from_sysfs(os.path.join(devices, name)) is not None for name in list_names(devices))
