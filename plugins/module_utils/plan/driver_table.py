"""The driver in the plan's table."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.record import Record

_SOURCES = {
    "ubuntu": "signed modules of Ubuntu's archive",
    "ubuntu-dkms": "modules compiled on the host from Ubuntu's sources",
    "nvidia": "NVIDIA's repository, modules compiled on the host",
    "kept": "the one that is there, only checked",
}


def driver_rows(driver: Record) -> Iterator[tuple[str, str]]:
    """Return a label and a text for each row."""
    if not driver:
        return
    branch, flavour = record.text(driver, "branch"), record.text(driver, "flavour")
    version = record.text(driver, "version")
    name = f"{branch} {flavour}".strip() + (f", version {version}" if version else "")
    yield "driver", f"{name}: {_SOURCES.get(record.text(driver, 'source'), '')}"
    if packages := record.texts(driver, "packages"):
        yield "packages", " ".join(packages)
    if hold := record.texts(driver, "hold"):
        yield "held", " ".join(hold)
    if kernel := record.text(driver, "kernel"):
        yield "kernel", f"of {kernel}"
    yield "reboot", _reboot(record.section(driver, "reboot"))
    if watts := record.optional_integer(driver, "power_limit_watts"):
        yield "power", f"{watts} W for each GPU"
    if fabric := record.text(driver, "fabric_manager"):
        yield "nvswitch", fabric
    if record.flag(driver, "container_toolkit"):
        yield "toolkit", "nvidia-container-toolkit"


def _reboot(reboot: Record) -> str:
    if not record.flag(reboot, "needed"):
        return "not needed as far as is known"
    allowed = "" if record.flag(reboot, "allowed") else "; this run does not do it"
    return f"needed: {record.text(reboot, 'why')}{allowed}"
