#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""Claim blank disks for model files, or make a directory for them. Its documentation is in claim_disk.yml."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.command import run_command
from ansible_collections.llmhost.core.plugins.module_utils.host.disks import read_disk
from ansible_collections.llmhost.core.plugins.module_utils.lock import LockedError, hold
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import Claim, RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.storage import Host, MissingToolError, Storage
from ansible_collections.llmhost.core.plugins.module_utils.storage.tuning import Tuner

ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "kind": {"type": "str", "choices": ["disk", "directory"]},
    "path": {"type": "path"},
    "devices": {
        "type": "list",
        "elements": "dict",
        "options": {"device": {"type": "path", "required": True}, "identity": {"type": "dict"}},
    },
    "raid": {
        "type": "dict",
        "options": {
            "level": {"type": "int", "choices": [0], "default": 0},
            "name": {"type": "str", "default": "llmhost-models"},
            "chunk_bytes": {"type": "int", "default": 524288},
        },
    },
    "filesystem": {"type": "str", "choices": ["ext4", "xfs"], "default": "ext4"},
    "label": {"type": "str", "default": "llmhost-models"},
    "mount_options": {"type": "str", "default": "defaults,noatime,nofail,x-systemd.device-timeout=30s"},
    "overwrite_unrecognised": {"type": "bool", "default": False},
    "ephemeral": {"type": "bool", "default": False},
    "tuning": {"type": "dict"},
    "remove_data": {"type": "bool", "default": False},
    "lock_timeout": {"type": "int", "default": 600},
}


def apply(storage: Storage, wanted: dict[str, Any]) -> dict[str, Any]:
    """Do what the arguments say and return what there is then."""
    if wanted["state"] == "absent":
        storage.remove(wanted["remove_data"])
        return {}
    path = os.path.realpath(wanted["path"])
    if wanted["kind"] == "directory":
        record = storage.directory(path, wanted["ephemeral"])
    else:
        record = storage.claim(Claim.from_arguments(wanted, path))
    return {"uuid": record.uuid, "storage": record.as_dict()}


def main() -> None:
    """Make the storage what the arguments say."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "present", ("kind", "path")), ("kind", "disk", ("devices",))],
        supports_check_mode=True,
    )
    several = len(module.params["devices"] or []) > 1
    if several != bool(module.params["raid"]) and module.params["kind"] == "disk":
        module.fail_json(msg="one device needs no raid, several need one", code="storage.raid", reasons=[])
    try:
        with hold("storage", module.params["lock_timeout"]) as lock:
            tuner = Tuner(run_command, StateFile("tuning"))
            host = Host(lock.run, partial(read_disk, run_command=run_command), StateFile("storage"), tuner=tuner)
            storage = Storage(host, module.check_mode)
            result = apply(storage, module.params)
    except MissingToolError as missing:
        module.exit_json(changed=False, actions=[], packages=missing.packages)
    except RefusedError as refusal:
        module.fail_json(msg=str(refusal), code=refusal.code, reasons=refusal.reasons)
    except (LockedError, OSError) as problem:
        module.fail_json(msg=f"the storage could not be set up: {problem}", code="storage.failed", reasons=[])
    module.exit_json(changed=bool(storage.actions), actions=storage.actions, packages=[], **result)


if __name__ == "__main__":
    main()
