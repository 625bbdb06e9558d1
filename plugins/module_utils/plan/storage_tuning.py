"""How the disks that llmhost claims are driven: for few large files that are read from end to end.

Measured with ``make bench-storage``: README.md, "How fast", has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.plan.disk import Disk
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB

# All that is under way while a file is read by one program from end to end. The 128 KiB that Linux starts with keep
# neither a fast disk busy nor one behind a network. Less than 512 KiB slowed plain reading down on the disk measured,
# more than 2 MiB a mapped file; and an array reads four of its chunks at once.
READ_AHEAD_BYTES = 2 * MIB


def storage_tuning(disks: Sequence[Disk], container: str = "none") -> dict[str, Any] | None:
    """Return the plan's ``storage.tuning`` for the disks to claim; None where nothing is to be set.

    A container shares the queues of its machine, and may not set them.
    """
    if not disks or container != "none":
        return None
    turns = any(disk.turns for disk in disks)
    return {
        # A disk without heads has no order to keep, and what sorts requests for it only costs time.
        "scheduler": "mq-deadline" if turns else "none",
        "read_ahead_bytes": READ_AHEAD_BYTES,
        "trim": not turns,
    }
