#!/usr/bin/python
"""Ansible module: what a machine is, before anything is installed on it. Its documentation is in host_info.yml."""

from __future__ import annotations

from functools import partial

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.command import run_command
from ansible_collections.llmhost.core.plugins.module_utils.host.cloud_init import CloudInit
from ansible_collections.llmhost.core.plugins.module_utils.host.host import read_host
from ansible_collections.llmhost.core.plugins.module_utils.wait import wait_until_free

REMEDY = (
    "`cloud-init status --long` on the host tells where it is; run again when it has ended, or, if it never will "
    "because its user data started something that stays, after `systemctl stop cloud-final`."
)


def main() -> None:
    """Read the facts; there is little to choose and nothing to change."""
    module = AnsibleModule(
        argument_spec={
            "settled": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 1800},
            "poll": {"type": "int", "default": 5},
            "nvidia": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    if module.params["settled"] and not module.check_mode:
        look = partial(CloudInit.from_host, "/", run_command)
        waiting_for = wait_until_free(lambda: look().waiting_for, module.params["poll"])
        if waiting_for:
            module.exit_json(changed=False, running=True, waiting_for=waiting_for, remedy=REMEDY)
    module.exit_json(changed=False, running=False, host=read_host(run_command, asked=module.params["nvidia"]))


if __name__ == "__main__":
    main()
