#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""Keep a swap file of the size that the plan says."""

from __future__ import annotations

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.lock import LockedError, hold
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile
from ansible_collections.llmhost.core.plugins.module_utils.storage.claim import RefusedError
from ansible_collections.llmhost.core.plugins.module_utils.storage.swap import Host, Swap, SwapPlan

DOCUMENTATION = r"""
module: swap_file
short_description: Keep a swap file of the size that the plan says
version_added: 0.1.0
description:
  - Makes a swap file without holes and with mode 0600, uses it, and enters it in C(/etc/fstab); records that in
    C(/etc/llmhost/state/swap.json). On btrfs the file is not copied on write and lies in a subvolume of its own.
  - When the size changes, the new file is made beside the old one and takes its place; where there is no room for both,
    the old one goes first. The old one is left as it is when memory can't take back what is swapped out.
  - The file is known by the label in its swap header. Swap of anybody else is never touched.
  - A filesystem that can't hold a swap file safely is refused, with the reason.
options:
  state: {description: Whether llmhost keeps a swap file., type: str, choices: [present, absent], default: present}
  path: {description: Where the file is; needed to be present., type: path}
  size_bytes:
    description: Its size, rounded up to whole pages. V(0) takes the file of llmhost away, and only that.
    type: int
  priority: {description: Areas with a higher priority are used first., type: int, default: 10}
  swappiness:
    description:
      - C(vm.swappiness), now and after every boot. Without it the kernel's value is left alone, or set back.
      - Where it can't be written, as in most containers, only C(/etc/sysctl.d/60-llmhost.conf) is.
    type: int
  overcommit_memory:
    description: C(vm.overcommit_memory), in the same way. V(1) lets files larger than memory be mapped privately.
    type: int
    choices: [0, 1, 2]
  ephemeral:
    description:
      - Whether the disk comes back empty after a stop. Then C(/etc/fstab) gets no line, which would fail at boot; the
        unit that makes the disk again makes the swap file again, too, from the record.
    type: bool
    default: false
  lock_timeout: {description: Seconds to wait for another run., type: int, default: 600}
author:
  - The llmhost maintainers
attributes:
  check_mode: {description: Says what it would do. A directory that does not exist yet is not judged., support: full}
  diff_mode: {description: RV(actions) says what was done., support: none}
"""

EXAMPLES = r"""
- name: Keep 16 GiB of swap beside the models
  llmhost.core.swap_file:
    path: /srv/llmhost/swapfile
    size_bytes: 17179869184
    swappiness: 10

- name: Take the swap file away
  llmhost.core.swap_file:
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be done in check mode, in order.
  type: list
  elements: str
  returned: always
code: {description: "Name of the reason, such as C(swap.filesystem).", type: str, returned: on failure}
"""


def main() -> None:
    """Make the swap file what the arguments say."""
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "path": {"type": "path"},
            "size_bytes": {"type": "int"},
            "priority": {"type": "int", "default": 10},
            "swappiness": {"type": "int"},
            "overcommit_memory": {"type": "int", "choices": [0, 1, 2]},
            "ephemeral": {"type": "bool", "default": False},
            "lock_timeout": {"type": "int", "default": 600},
        },
        required_if=[("state", "present", ("path", "size_bytes"))],
        supports_check_mode=True,
    )
    wanted = module.params
    if wanted["state"] == "present" and (wanted["size_bytes"] < 0 or 0 < wanted["size_bytes"] < MIB):
        module.fail_json(msg=f"size_bytes: {wanted['size_bytes']} is no size for swap. It is 0 or at least 1 MiB.")
    try:
        with hold("swap", wanted["lock_timeout"]) as lock:
            swap = Swap(Host(lock.run, StateFile("swap")), module.check_mode)
            if wanted["state"] == "absent":
                swap.remove()
            else:
                path = os.path.join(os.path.realpath(os.path.dirname(wanted["path"])), os.path.basename(wanted["path"]))
                named = ("size_bytes", "priority", "swappiness", "overcommit_memory", "ephemeral")
                swap.apply(SwapPlan(path, **{name: wanted[name] for name in named}))
    except RefusedError as refusal:
        module.fail_json(msg=str(refusal), code=refusal.code)
    except (LockedError, OSError) as problem:
        module.fail_json(msg=f"the swap file could not be set up: {problem}", code="swap.failed")
    module.exit_json(changed=bool(swap.actions), actions=swap.actions)


if __name__ == "__main__":
    main()
