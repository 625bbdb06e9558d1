"""What the units of llmhost run on the host, without Ansible: /opt/llmhost/boot/llmhost.pyz STEP."""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections.abc import Sequence
from functools import partial

from ansible_collections.llmhost.core.plugins.module_utils.boot.notify import say
from ansible_collections.llmhost.core.plugins.module_utils.boot.place import Place
from ansible_collections.llmhost.core.plugins.module_utils.boot.read_ahead import read_beside
from ansible_collections.llmhost.core.plugins.module_utils.boot.storage_job import Host, StorageJob
from ansible_collections.llmhost.core.plugins.module_utils.boot.waiting import reason_of_end, reason_to_wait
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
# Errors of a disk that are older than this are not why the service has just ended.
RECENT_SECONDS = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Take one step."""
    parser = argparse.ArgumentParser(prog="llmhost.pyz", description="Steps of the units of llmhost.")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("storage", help="bring the storage and the model back")
    texts = {
        "ready": "say what the service waits for",
        "read": "bring the model into the page cache, beside the service",
        "ended": "say why the service has ended",
    }
    for name, text in texts.items():
        step = steps.add_parser(name, help=text)
        step.add_argument("model", help="path of the model that the service opens")
    options = parser.parse_args(arguments)
    if options.step == "read":
        return read_beside(options.model)
    place = Place.from_record(StateFile("storage").read())
    if options.step == "storage":
        host = Host(run=_run_long, restore_storage=_restore_storage, restore_swap=_restore_swap)
        return StorageJob(host, place, WantedModel.from_file()).run()
    if options.step == "ready":
        return _speak(reason_to_wait(place, options.model))
    result = os.environ.get("SERVICE_RESULT", "success")
    # After a condition that was not met everything is said already.
    if result != "exec-condition":
        _speak(reason_of_end(place, options.model, result != "success", since=time.monotonic() - RECENT_SECONDS))
    return 0


def _speak(reason: str) -> int:
    if reason:
        say(reason)
    return 1 if reason else 0


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
