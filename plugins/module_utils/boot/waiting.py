"""Why the service does not serve: for ``systemctl status``, in words, before it starts and after it has ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from ansible_collections.llmhost.core.plugins.module_utils.boot.kernel_log import disk_errors, records
from ansible_collections.llmhost.core.plugins.module_utils.boot.place import Place
from ansible_collections.llmhost.core.plugins.module_utils.boot.wanted_model import fetch_state

BY_ITSELF = "The service starts by itself then."
BACK = "by itself when the disk comes back."


def reason_to_wait(
    place: Place, model_path: str, fetching: Callable[[], str] = fetch_state, proc: str = "/proc"
) -> str:
    """Say what the service waits for; nothing when it can start."""
    if trouble := place.trouble(proc):
        return f"waits for the storage: {trouble}. {BY_ITSELF}"
    if not os.path.exists(model_path):
        state = fetching()
        after = f"; {state}" if state else ""
        return f"waits for the model: {model_path} is not there{after}. {_end(state)}"
    return ""


def reason_of_end(
    place: Place,
    model_path: str,
    failed: bool,
    log: Callable[[], Iterable[str]] = records,
    proc: str = "/proc",
    since: float = 0.0,
) -> str:
    """Say why the service has ended, where its storage is the reason; nothing where it is not."""
    # systemd ends the service before it unmounts what has lost its disk.
    if missing := place.missing_disks():
        lost = f"{'; '.join(missing)} of {place.path}"
        return f"ended, because the host no longer has the disk {lost}. It starts again {BACK}"
    if reason := reason_to_wait(place, model_path, proc=proc):
        return f"ended and {reason}"
    errors = disk_errors([disk.kernel_name for disk in place.disks], log(), since) if failed else []
    if errors:
        names = "; ".join(disk.words for disk in place.disks if any(disk.kernel_name in error for error in errors))
        return (
            f"ended, and the disk of {place.path} has errors ({names or 'see dmesg'}). The kernel says: {errors[-1]}. "
            "Replace the disk, or name another in llmhost_storage_devices, and run the playbook again."
        )
    return ""


def _end(state: str) -> str:
    if "failed" in state or not state:
        return "See systemctl status llmhost-storage llmhost-model-fetch, or run the playbook again."
    return BY_ITSELF
