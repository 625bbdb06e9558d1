"""A directory for the models: on the best filesystem that the host has."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.finding import Finding, error, info, warning
from ansible_collections.llmhost.core.plugins.module_utils.plan.disk import Disk
from ansible_collections.llmhost.core.plugins.module_utils.plan.host_facts import Filesystem, HostFacts
from ansible_collections.llmhost.core.plugins.module_utils.plan.intent import DEFAULTS, Intent
from ansible_collections.llmhost.core.plugins.module_utils.size import format_gib

_NOT_FOR_MODELS = (["boot"], ["efi"], ["snap"], ["proc"], ["sys"], ["dev"], ["run"])


def directory_path(host: HostFacts, intent: Intent, need: int) -> str:
    """Return the directory: the one asked for, the one of an earlier run, or the best one."""
    if not intent.storage_path_is_default:
        return intent.storage_path
    return _known(host) or _best(host, need)


def is_ephemeral(host: HostFacts, path: str) -> bool:
    """Whether the directory lies on a disk that its cloud takes back when the machine stops."""
    filesystem = host.filesystem_of(path)
    return filesystem is not None and _is_ephemeral(host, filesystem)


def check_directory(host: HostFacts, intent: Intent, path: str, need: int) -> list[Finding]:
    """Return what a person should know about the directory."""
    filesystem = host.filesystem_of(path)
    asked = intent.storage_devices == () or intent.claim_disks is False or not intent.storage_path_is_default
    message = f"Models go into the directory {path}, {'as asked' if asked else 'because no spare disk was found'}."
    remedy = "" if asked else "Name a disk in llmhost_storage_devices to use it."
    findings = [info("storage.directory", message, remedy)]
    if filesystem is not None:
        findings += _check(host, filesystem, path, need)
    return findings


def _known(host: HostFacts) -> str:
    """Return the directory that an earlier run recorded."""
    state = host.storage_state
    return record.text(state, "path") if record.text(state, "kind") == "directory" else ""


def _best(host: HostFacts, need: int) -> str:
    """Return a directory on the largest filesystem that is local, writable, fast, and has the room if any has it."""
    default = str(DEFAULTS["storage_path"])
    usable = [fs for fs in host.filesystems if not (fs.read_only or fs.network) and not _is_for_boot(fs)]
    best = max(
        usable,
        key=lambda fs: (
            fs.available_bytes >= need,
            not fs.turns,
            not _is_ephemeral(host, fs),
            fs.size_bytes,
            fs.mountpoint == "/",
        ),
        default=None,
    )
    if best is None or best == host.filesystem_of(default):
        return default
    return default if best.mountpoint == "/" else f"{best.mountpoint.rstrip('/')}/llmhost"


def _is_for_boot(filesystem: Filesystem) -> bool:
    return filesystem.mountpoint.split("/")[1:2] in _NOT_FOR_MODELS


def _is_ephemeral(host: HostFacts, filesystem: Filesystem) -> bool:
    """Whether a tool of the cloud says so of the mount, or a disk below it is of that kind."""
    by_cloud = any(made.ephemeral and made.path == filesystem.mountpoint for made in host.cloud.mounts)
    return by_cloud or any(disk.ephemeral for disk in _below(host, filesystem))


def _below(host: HostFacts, filesystem: Filesystem) -> Iterator[Disk]:
    for disk in host.disks:
        paths = (disk.path, *(part.path for part in disk.contents))
        if filesystem.mountpoint in disk.all_mountpoints or filesystem.device in paths:
            yield disk


def _check(host: HostFacts, filesystem: Filesystem, path: str, need: int) -> Iterator[Finding]:
    where = f"{path} lies on {filesystem.mountpoint} ({filesystem.type})"
    if filesystem.read_only:
        remedy = "Remount it writable, or set llmhost_storage_path to another filesystem."
        yield error("storage.read_only", f"{where}, which is mounted read-only.", remedy)
    # On a host where an earlier run put files, free bytes say nothing: part of the need is on the disk already. The
    # download checks what is left to fetch.
    ours = _known(host) == path
    room, kind = (filesystem.size_bytes, "in all") if ours else (filesystem.available_bytes, "free")
    if room < need:
        message = f"{where} with {format_gib(room)} {kind}; model, swap and margin need {format_gib(need)}."
        remedy = f"Free {format_gib(need - room)}, add a disk, or set llmhost_storage_path to a larger filesystem."
        yield error("storage.too_small", message, remedy)
    if filesystem.network:
        yield warning("storage.network", f"{where}, which is reached over a network.", "Use a local disk.")
    if filesystem.turns:
        yield warning("storage.slow", f"{where}, on a disk that turns.", "Loading takes minutes; use an SSD.")
    if _is_ephemeral(host, filesystem):
        message = f"{where}, which loses its data when the machine is stopped."
        remedy = "The model is downloaded again then. Set llmhost_storage_path to another filesystem to keep it."
        yield warning("storage.ephemeral", message, remedy)
