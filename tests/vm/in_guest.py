"""What a test asks inside a machine: what the module there would find and do, without Ansible, which is slow there."""

from __future__ import annotations

import errno
import json
import mmap
import os
import sys
import time
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.command import run_command
from ansible_collections.llmhost.core.plugins.module_utils.host.host import read_host
from ansible_collections.llmhost.core.plugins.module_utils.host.memory import parse_swaps
from ansible_collections.llmhost.core.plugins.module_utils.lock import hold
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.fstab import Fstab
from ansible_collections.llmhost.core.plugins.module_utils.storage.swap import Host, Swap, SwapPlan


def facts() -> dict[str, Any]:
    """Return what host_info says."""
    return read_host(run_command)


def swap(*plans: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Do what the module swap_file does for one plan after the other, and what the boot does for None."""
    return [_swap(plan) for plan in plans]


def _swap(plan: dict[str, Any] | None) -> dict[str, Any]:
    with hold("swap", 60) as lock:
        made, refused = Swap(Host(lock.run, StateFile("swap"))), ""
        try:
            if plan is None:
                made.restore()
            else:
                made.apply(SwapPlan(**plan))
        except RefusedError as refusal:
            refused = str(refusal)
    areas = {area.path: [area.size_bytes, area.priority] for area in parse_swaps(Path("/proc/swaps").read_text())}
    fstab = [entry.source for entry in Fstab.from_file().entries if entry.fstype == "swap"]
    return {"actions": made.actions, "refused": refused, "areas": areas, "fstab": fstab}


def private_mapping(path: str) -> str:
    """Map a file as safetensors does for torch, privately and writable; return what the kernel says to that."""
    with open(path, "rb") as file:
        try:
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY).close()
        except OSError as reason:
            return errno.errorcode[reason.errno or 0]
    return "mapped"


def fill(mebibytes: int, kept: str | None) -> str:
    """Write to so much memory, all of it different; with ``kept``, say so in that file, and keep it."""
    taken = [os.urandom(2**20) for _ in range(mebibytes)]
    if kept is not None:
        Path(kept).touch()
        time.sleep(3600)
    return f"filled {len(taken)}"


def main(name: str, argument: str) -> None:
    """Answer one question as JSON."""
    asked: dict[str, Any] = {"facts": facts, "swap": swap, "private_mapping": private_mapping, "fill": fill}
    print(json.dumps(asked[name](*json.loads(argument))))


if __name__ == "__main__":
    main(*sys.argv[1:])
