"""What control groups leave to this machine: memory and processor time, by version 1 or 2 of the interface."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from ansible_collections.llmhost.core.plugins.module_utils.files import parse_int, read_text, read_word

# Version 1 writes "no limit" as the largest multiple of the page size below 2^63.
_NO_LIMIT = 1 << 60


_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class Limits:
    """The tightest limits that hold for every process of the machine; None where there is none."""

    memory_bytes: int | None
    cpus: float | None

    @classmethod
    def from_sysfs(cls, sysfs: str = "/sys", proc: str = "/proc") -> Limits:
        """Return the limits of process 1: those of its container, or of the whole machine.

        The process that reads this may sit in the scope of a login, whose limits are not those of a service.
        """
        root = os.path.join(sysfs, "fs/cgroup")
        text = read_text(proc, "1/cgroup") or read_text(proc, "self/cgroup") or ""
        paths = parse_membership(text)
        if os.path.exists(os.path.join(root, "cgroup.controllers")):
            groups = _ancestry(root, paths.get("", "/"))
            return cls(_least(_bytes(group, "memory.max") for group in groups), _least(map(_quota_v2, groups)))
        memory = _ancestry(os.path.join(root, "memory"), paths.get("memory", "/"))
        cpu = _ancestry(os.path.join(root, "cpu"), paths.get("cpu", "/"))
        return cls(_least(_bytes(group, "memory.limit_in_bytes") for group in memory), _least(map(_quota_v1, cpu)))


def parse_membership(text: str) -> dict[str, str]:
    """Return the group of each controller in a /proc/PID/cgroup; version 2 has one group, of the controller ""."""
    groups = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if number and colon and path.startswith("/"):
            groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


def parse_quota(text: str) -> float | None:
    """Return the processors in the ``<quota> <period>`` of version 2; None for ``max`` and for what is no quota."""
    words = text.split()
    if len(words) != 2:
        return None
    quota, period = parse_int(words[0]), parse_int(words[1])
    return _ratio(quota, period)


def _ancestry(root: str, path: str) -> list[str]:
    """Return the directory of a group and of all above it; a container may see only its own, as the root."""
    names = [name for name in path.split("/") if name not in ("", ".", "..")]
    return [os.path.join(root, *names[:depth]) for depth in range(len(names), -1, -1)]


def _least(limits: Iterable[_Number | None]) -> _Number | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _bytes(group: str, name: str) -> int | None:
    limit = parse_int(read_word(group, name))
    return limit if limit is not None and 0 < limit < _NO_LIMIT else None


def _quota_v2(group: str) -> float | None:
    return parse_quota(read_word(group, "cpu.max"))


def _quota_v1(group: str) -> float | None:
    return _ratio(parse_int(read_word(group, "cpu.cfs_quota_us")), parse_int(read_word(group, "cpu.cfs_period_us")))


def _ratio(quota: int | None, period: int | None) -> float | None:
    if not quota or not period or not 0 < quota < _NO_LIMIT or not 0 < period < _NO_LIMIT:
        return None
    return quota / period
