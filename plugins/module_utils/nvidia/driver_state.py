"""The state of the NVIDIA driver on a host: what is loaded, what is on disk, and what it left in /dev."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils.command import RunCommand
from ansible_collections.llmhost.core.plugins.module_utils.files import list_names, read_text, read_word

MODULES = ("nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm", "nouveau")
OPEN, PROPRIETARY = "open", "proprietary"

# Where Ubuntu, container runtimes and machines of other makes keep the library.
LIBRARY_DIRECTORIES = (
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/local/nvidia/lib64",
)
LIBRARY = "libnvidia-ml.so.1"

_VERSION = re.compile(r"(?<![\w.])([0-9]{3,4}\.[0-9]{1,3}(?:\.[0-9]{1,3})?)(?![\w.])", re.ASCII)
_FILE_VERSION = re.compile(r"\Alibnvidia-ml\.so\.([0-9]{3,4}\.[0-9.]+)\Z", re.ASCII)
_CUDA = re.compile(r"\bCUDA(?: UMD)? version\s*:\s*([0-9]{1,3}\.[0-9]{1,3})", re.IGNORECASE)
# Version 2 of dkms writes "nvidia, 580.95.05, …", version 3 "nvidia/580.95.05, …".
_DKMS = re.compile(r"\A(nvidia[\w-]*)(?:/|,\s*)([^,:/\s]+)(?:,\s*([^,:\s]+))?(?:,\s*[^,:\s]+)?:\s*(\w+)", re.ASCII)


@dataclass(frozen=True)
class DkmsModule:
    """A module that DKMS builds; ``kernel`` is empty while it was built for none."""

    module: str
    version: str
    kernel: str
    state: str


@dataclass(frozen=True)
class DriverState:
    """The three versions that have to agree, and the rest of a healthy driver. None where something is not there."""

    loaded_version: str | None
    module_version: str | None
    library_version: str | None
    library_path: str | None
    flavour: str | None
    modules: tuple[str, ...]
    device_nodes: tuple[str, ...]
    dkms: tuple[DkmsModule, ...]

    @classmethod
    def from_host(cls, run_command: RunCommand, root: str = "/") -> DriverState:
        """Read the state of the machine whose files are at ``root``."""
        said = read_text(root, "proc/driver/nvidia/version") or ""
        on_disk = parse_modinfo(_modinfo(run_command))
        library = find_library(root)
        loaded = read_word(root, "sys/module/nvidia/version")
        return cls(
            loaded_version=loaded or parse_version(said),
            module_version=on_disk.get("version"),
            library_version=library_version(library),
            library_path=library,
            flavour=parse_flavour(said) or _flavour_of_license(on_disk.get("license", "")),
            modules=tuple(name for name in MODULES if os.path.isdir(os.path.join(root, "sys/module", name))),
            device_nodes=tuple(f"/dev/{name}" for name in list_names(root, "dev") if name.startswith("nvidia")),
            dkms=_dkms(run_command, root),
        )


def parse_version(text: str) -> str | None:
    """Return the version in a /proc/driver/nvidia/version."""
    match = _VERSION.search(text)
    return match[1] if match else None


def parse_flavour(text: str) -> str | None:
    """Return the flavour of the module that wrote a /proc/driver/nvidia/version."""
    if "NVIDIA" not in text or "Kernel Module" not in text:
        return None
    return OPEN if "Open Kernel Module" in text else PROPRIETARY


def parse_modinfo(text: str) -> dict[str, str]:
    """Return the fields of ``modinfo``, the first of each name."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and value.strip():
            fields.setdefault(name.strip(), value.strip())
    return fields


def parse_dkms(text: str) -> tuple[DkmsModule, ...]:
    """Return the modules of NVIDIA in ``dkms status``."""
    found = (_DKMS.match(line.strip()) for line in text.splitlines())
    return tuple(DkmsModule(match[1], match[2], match[3] or "", match[4]) for match in found if match)


def parse_cuda_version(text: str) -> str | None:
    """Return the newest CUDA that the driver serves, from ``nvidia-smi --version``: its words changed with 610."""
    match = _CUDA.search(text)
    return match[1] if match else None


def find_library(root: str = "/") -> str | None:
    """Return the path of NVIDIA's management library."""
    paths = (os.path.join(root, directory, LIBRARY) for directory in LIBRARY_DIRECTORIES)
    return next((path for path in paths if os.path.exists(path)), None)


def library_version(path: str | None) -> str | None:
    """Return the version in the name of the file that the library's link leads to."""
    match = _FILE_VERSION.match(os.path.basename(os.path.realpath(path))) if path else None
    return match[1] if match else None


def _modinfo(run_command: RunCommand) -> str:
    done = run_command(["modinfo", "nvidia"])
    return done.stdout if done.rc == 0 else ""


def _flavour_of_license(text: str) -> str | None:
    return {"NVIDIA": PROPRIETARY, "Dual MIT/GPL": OPEN}.get(text)


def _dkms(run_command: RunCommand, root: str) -> tuple[DkmsModule, ...]:
    """Ask DKMS only where it has a tree of NVIDIA's: it takes a second, and most hosts have none."""
    trees = [name for name in list_names(root, "var/lib/dkms") if name.startswith("nvidia")]
    return parse_dkms(run_command(["dkms", "status"]).stdout) if trees else ()
