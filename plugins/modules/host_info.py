#!/usr/bin/python
"""Ansible module: what a machine is, before anything is installed on it. Its documentation is in host_info.yml."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.command import run_command
from ansible_collections.llmhost.core.plugins.module_utils.host.host import read_host


def main() -> None:
    """Read the facts; there is nothing to choose and nothing to change."""
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, host=read_host(run_command))


if __name__ == "__main__":
    main()
