"""Why nvidia-smi failed: its exit status, or what it wrote, as a finding with a remedy."""

from __future__ import annotations

import re

from ansible_collections.llmhost.core.plugins.module_utils.command import NOT_FOUND, TIMED_OUT, CommandResult
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, warning
from ansible_collections.llmhost.core.plugins.module_utils.nvidia.smi_text import plain

NO_DEVICE = 6
NO_DRIVER = 9
NO_LIBRARY = 12
MISMATCH = 18

_KERNEL_LOG = "`dmesg | grep -E 'NVRM|Xid'` on the host tells what the driver ran into."
_LONGEST = 300
# A line of the table, or its header; not that of a GPU that does not answer.
_ROW = re.compile(r"(index|[0-9]+), (?!.*\[GPU (is lost|requires reset)\])")

# The manual page of nvidia-smi has those up to 15; the others are NVML's, which it passes on.
_STATUSES: dict[int, tuple[str, str, str]] = {
    2: (
        "refused",
        "it does not know an argument that every driver since 535 knows",
        "Look which nvidia-smi comes first in PATH, and install the nvidia-utils package of the driver's own branch.",
    ),
    3: ("not_supported", "the GPU does not support what was asked", _KERNEL_LOG),
    4: (
        "no_permission",
        "this user may not use the GPUs",
        "Become root, or give this user access to the device nodes /dev/nvidia*.",
    ),
    6: (
        "no_device",
        "the driver runs and drives no GPU",
        "The modules may not know this GPU: the open ones drive Turing and newer, the proprietary ones nothing from "
        f"Blackwell on, and branches after 580 nothing older than Turing. {_KERNEL_LOG}",
    ),
    8: (
        "no_power",
        "a GPU has no power by its own cables",
        "Switch the machine off and connect every power plug of the GPU.",
    ),
    9: ("no_driver", "the driver is not loaded", "`modprobe nvidia` on the host tells why."),
    10: (
        "timeout",
        "a GPU did not answer in time",
        f"Switch the machine off and on; if it comes back, the GPU or its slot is at fault. {_KERNEL_LOG}",
    ),
    11: (
        "interrupt",
        "the interrupts of a GPU do not arrive",
        f"Update the firmware of the board, or move the GPU to another slot. {_KERNEL_LOG}",
    ),
    12: (
        "no_library",
        "its library libnvidia-ml.so.1 is not there",
        "Install the libnvidia-compute package of the branch and flavour that nvidia-utils has.",
    ),
    13: (
        "old_library",
        "its library is older than it is",
        "Two drivers are mixed on this host: remove the one that is not wanted, and `ldconfig -p | grep nvidia-ml` "
        "shows where the library comes from.",
    ),
    14: (
        "inforom",
        "the infoROM of a GPU is corrupt",
        "The GPU may still compute, but its maker should look at it: error counts and serial number are lost.",
    ),
    15: (
        "lost",
        "a GPU has fallen off the bus",
        f"Switch the machine off and on. If it comes back, look at power supply, riser and temperature. {_KERNEL_LOG}",
    ),
    16: ("reset_required", "a GPU has to be reset", "Stop what uses it, then `nvidia-smi --gpu-reset`, or reboot."),
    17: ("system", "the operating system refused the library something", _KERNEL_LOG),
    18: (
        "mismatch",
        "its library and the loaded kernel module are of different versions",
        "Reboot, so that the module of the installed packages is loaded.",
    ),
    19: ("in_use", "a GPU is in use by something that lets nobody else to it", _KERNEL_LOG),
    20: ("memory", "it ran out of memory", "Free memory on the host."),
    TIMED_OUT: (
        "hangs",
        "it did not end",
        f"A GPU or its driver hangs, which only a reboot ends. {_KERNEL_LOG}",
    ),
}
_OTHER = ("failed", "no status of its manual page tells why", _KERNEL_LOG)

# What it writes is clearer than its status, which for some of these has not always been the same.
_WORDS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"driver/library version mismatch", re.IGNORECASE), MISMATCH),
    (re.compile(r"insufficient permissions", re.IGNORECASE), 4),
    (re.compile(r"GPU is lost|fallen off the bus|unable to determine the device handle", re.IGNORECASE), 15),
    (re.compile(r"couldn't communicate with the NVIDIA driver", re.IGNORECASE), NO_DRIVER),
    (re.compile(r"couldn't find libnvidia-ml|library not found", re.IGNORECASE), NO_LIBRARY),
    (re.compile(r"no devices were found", re.IGNORECASE), NO_DEVICE),
    (re.compile(r"infoROM is corrupted", re.IGNORECASE), 14),
    (re.compile(r"requires reset|reset required", re.IGNORECASE), 16),
)


def status_of(result: CommandResult) -> int:
    """Return the status that the output means; 0 where all went well.

    Words count with status 0 too: a GPU that is lost beside others that answer does not always make it fail.
    """
    text = "\n".join(_lines(result))
    return next((status for words, status in _WORDS if words.search(text)), result.rc)


def complaint(result: CommandResult) -> str:
    """Return what nvidia-smi wrote when it failed, in one line; empty when it did not fail."""
    return "" if status_of(result) == 0 else " ".join(_lines(result))[:_LONGEST]


def _lines(result: CommandResult) -> list[str]:
    """Return what it wrote, without its table."""
    lines = [line.strip() for line in plain(result.stderr + "\n" + result.stdout).splitlines()]
    return [line for line in lines if line and not _ROW.match(line)]


def judge_status(result: CommandResult) -> Finding | None:
    """Return the finding for a failure; None when nvidia-smi is not there, or went well."""
    status = status_of(result)
    if status in (0, NOT_FOUND):
        return None
    name, reason, remedy = _STATUSES.get(status, _OTHER)
    said = complaint(result)
    ended = f"was killed by signal {-result.rc}" if result.rc < 0 else f"ended with status {result.rc}"
    message = f"nvidia-smi {ended}: {reason}." + (f' It says "{said}"' if said else "")
    return warning(f"facts.nvidia_smi_{name}", message, remedy)
