"""The module "nvidia" that lies ready for a kernel, and the kernels that a host has."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.driver.wanted import OPEN, PROPRIETARY
from ansible_collections.llmhost.core.plugins.module_utils.files import list_names

_FLAVOURS = {"Dual MIT/GPL": OPEN, "NVIDIA": PROPRIETARY}


@dataclass(frozen=True)
class KernelModule:
    """A module on disk; ``signer`` is empty where nobody signed it."""

    kernel: str
    version: str
    flavour: str | None
    signer: str

    @classmethod
    def for_kernel(cls, kernel: str, run: RunCommand) -> KernelModule | None:
        """Return the module for a kernel, or None where there is none."""
        done = run(["modinfo", "-k", kernel, "nvidia"])
        fields: dict[str, str] = {}
        for line in done.stdout.splitlines() if done.rc == 0 else []:
            name, _colon, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
        if not fields.get("version"):
            return None
        flavour = _FLAVOURS.get(fields.get("license", ""))
        return cls(kernel, fields["version"], flavour, fields.get("signer", ""))


def kernels(root: str = "/") -> list[str]:
    """Return the kernels that the host could boot, the newest last, which the boot loader takes by default."""
    names = [name.removeprefix("vmlinuz-") for name in list_names(root, "boot") if name.startswith("vmlinuz-")]
    return sorted((name for name in names if os.path.isdir(os.path.join(root, "lib/modules", name))), key=_key)


def _key(kernel: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(word), "") if word.isdigit() else (-1, word) for word in re.split(r"[.-]", kernel))
