#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""Claim a blank disk for model files, or make a directory for them."""

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

DOCUMENTATION = r"""
module: claim_disk
short_description: Claim a blank disk for model files, or make a directory for them
version_added: 0.1.0
description:
  - Makes a filesystem on the disk that the plan names, mounts it by UUID through C(/etc/fstab), and records that in
    C(/etc/llmhost/state/storage.json).
  - A disk is written to only if every test proves, at that moment, that it is blank (no partition table, no signature,
    nothing mounted, no array, volume, pool or swap area), and only if it still is the disk that was planned. One that
    an earlier run made, or that carries O(label), is mounted as it is and never formatted.
  - A disk that shows no signature but does not read as zeros is refused without O(overwrite_unrecognised).
  - The filesystem is announced, by its UUID, before it is made. When a run is killed halfway, the next one waits for a
    mkfs that may still be running, recognises the half, and finishes the work.
  - The bare directory under the mount is sealed (mode 0000 and, where possible, immutable), so that nothing fills the
    root disk on a day when the disk does not come up.
options:
  state: {description: Whether the storage should be there., type: str, choices: [present, absent], default: present}
  kind: {description: A whole disk or a plain directory; needed to be present., type: str, choices: [disk, directory]}
  path: {description: "The mount point, or the directory; needed to be present.", type: path}
  device: {description: The whole disk by a lasting name; needed for O(kind=disk)., type: path}
  identity:
    description: Its C(serial), C(model), C(wwn) and C(size_bytes), as planned. A key that is null is not compared.
    type: dict
  filesystem: {description: What to make on a blank disk., type: str, choices: [ext4, xfs], default: ext4}
  label: {description: Label; XFS keeps 12 characters of it., type: str, default: llmhost-models}
  mount_options:
    description: Options in fstab.
    type: str
    default: defaults,noatime,nofail,x-systemd.device-timeout=30s
  overwrite_unrecognised:
    description: Also take a disk with data that no test recognises, such as plain dm-crypt; for a disk named by a user.
    type: bool
    default: false
  remove_data:
    description: With O(state=absent), also wipe the disk, or delete the directory if this module made it.
    type: bool
    default: false
  lock_timeout: {description: Seconds to wait for another run or its mkfs., type: int, default: 600}
author:
  - The llmhost maintainers
attributes:
  check_mode: {description: Judges the disk as always and says what it would do., support: full}
  diff_mode: {description: RV(actions) says what was done., support: none}
"""

EXAMPLES = r"""
- name: Claim the disk that the plan names
  llmhost.core.claim_disk:
    kind: disk
    device: /dev/disk/by-id/nvme-Samsung_SSD_980_PRO_1TB_S5GXNX0R000000
    identity: {serial: S5GXNX0R000000, size_bytes: 1000204886016}
    path: /srv/llmhost

- name: Give the disk up and keep what is on it
  llmhost.core.claim_disk:
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, in order.
  type: list
  elements: str
  returned: always
packages:
  description: What to install first. Nothing was done when there is any, and the disk was found fit to be claimed.
  type: list
  elements: str
  returned: always
uuid: {description: UUID of the filesystem; null where there is none (yet)., type: str, returned: when present}
storage: {description: What is recorded in storage.json., type: dict, returned: when present}
code: {description: "Name of the reason, such as C(storage.not_blank).", type: str, returned: on failure}
reasons: {description: Every reason against the disk., type: list, elements: str, returned: on failure}
"""

ARGUMENTS: dict[str, Any] = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "kind": {"type": "str", "choices": ["disk", "directory"]},
    "path": {"type": "path"},
    "device": {"type": "path"},
    "identity": {"type": "dict"},
    "filesystem": {"type": "str", "choices": ["ext4", "xfs"], "default": "ext4"},
    "label": {"type": "str", "default": "llmhost-models"},
    "mount_options": {"type": "str", "default": "defaults,noatime,nofail,x-systemd.device-timeout=30s"},
    "overwrite_unrecognised": {"type": "bool", "default": False},
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
        record = storage.directory(path)
    else:
        record = storage.claim(Claim.from_arguments(wanted, path))
    return {"uuid": record.uuid, "storage": record.as_dict()}


def main() -> None:
    """Make the storage what the arguments say."""
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        required_if=[("state", "present", ("kind", "path")), ("kind", "disk", ("device",))],
        supports_check_mode=True,
    )
    try:
        with hold("storage", module.params["lock_timeout"]) as lock:
            host = Host(lock.run, partial(read_disk, run_command=run_command), StateFile("storage"))
            storage = Storage(host, module.check_mode)
            result = apply(storage, module.params)
    except MissingToolError as package:
        module.exit_json(changed=False, actions=[], packages=[str(package)])
    except RefusedError as refusal:
        module.fail_json(msg=str(refusal), code=refusal.code, reasons=refusal.reasons)
    except (LockedError, OSError) as problem:
        module.fail_json(msg=f"the storage could not be set up: {problem}", code="storage.failed", reasons=[])
    module.exit_json(changed=bool(storage.actions), actions=storage.actions, packages=[], **result)


if __name__ == "__main__":
    main()
