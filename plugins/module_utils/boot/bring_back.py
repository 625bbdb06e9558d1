"""The step of the unit llmhost-storage: the only one that needs to know how disks and swap are made."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import partial

from ansible_collections.llmhost.core.plugins.module_utils.boot.place import Place
from ansible_collections.llmhost.core.plugins.module_utils.boot.storage_job import Host, StorageJob
from ansible_collections.llmhost.core.plugins.module_utils.boot.wanted_model import WantedModel
from ansible_collections.llmhost.core.plugins.module_utils.command import CommandResult, run_command
from ansible_collections.llmhost.core.plugins.module_utils.host.disks import read_disk
from ansible_collections.llmhost.core.plugins.module_utils.lock import hold
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.storage import Host as StorageHost
from ansible_collections.llmhost.core.plugins.module_utils.storage.storage import Storage
from ansible_collections.llmhost.core.plugins.module_utils.storage.swap import Host as SwapHost
from ansible_collections.llmhost.core.plugins.module_utils.storage.swap import Swap

LOCK_SECONDS = 3600.0


def main() -> int:
    """Bring the storage and the model back."""
    place = Place.from_record(StateFile("storage").read())
    host = Host(run=_run_long, restore_storage=_restore_storage, restore_swap=_restore_swap)
    return StorageJob(host, place, WantedModel.from_file()).run()


def _restore_storage() -> list[str]:
    with hold("storage", LOCK_SECONDS) as lock:
        reader = partial(read_disk, run_command=run_command)
        storage = Storage(StorageHost(lock.run, reader, StateFile("storage")))
        storage.restore()
        return storage.actions


def _restore_swap() -> list[str]:
    with hold("swap", LOCK_SECONDS) as lock:
        swap = Swap(SwapHost(lock.run, StateFile("swap")))
        swap.restore()
        return swap.actions


def _run_long(argv: Sequence[str]) -> CommandResult:
    """Run a program for as long as it takes; a download takes hours."""
    done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL)
    return CommandResult(done.returncode, "", "")
