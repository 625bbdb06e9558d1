#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""Wait until the service that serves a model answers."""

from __future__ import annotations

import pwd

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.service.server_wait import ServerError, ServerWait
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit

DOCUMENTATION = r"""
module: wait_for_server
short_description: Wait until a service answers its health address
version_added: 0.1.0
description:
  - Asks C(/health) on the target until the answer is 200. While a server reads its model it answers 503; an action
    plugin on the controller shows how far it is.
  - Fails at once when the unit dies or is restarted by systemd, with the last lines of its journal, and when somebody
    else listens on the port.
options:
  unit:
    description: Name of the unit, with or without C(.service).
    type: str
    required: true
  user:
    description: The system user that the service runs as. Whoever else listens on the port is not the service.
    type: str
    required: true
  host:
    description: Address that the service listens on.
    type: str
    default: 127.0.0.1
  port:
    description: Port that the service listens on.
    type: int
    required: true
  load_bytes:
    description: Size of what the service reads before it answers, to show how far it is. 0 for unknown.
    type: int
    default: 0
  timeout:
    description: Give up after so many seconds. 0 waits for ever.
    type: int
    default: 0
  poll:
    description: Seconds between two looks from the controller, which is also the pace of the lines shown.
    type: int
    default: 5
author:
  - The llmhost maintainers
attributes:
  check_mode:
    description: Does not wait; the unit need not exist.
    support: full
"""

EXAMPLES = r"""
- name: Wait until the model is served
  llmhost.core.wait_for_server:
    unit: llmhost-inference
    user: llmhost-inference
    port: 8080
    load_bytes: 18456789012
"""

RETURN = r"""
running:
  description: Whether there is still something to wait for.
  type: bool
  returned: success
progress:
  description: How far the service has read its model.
  type: dict
  returned: success
journal:
  description: The last 30 lines of the journal of the unit.
  type: list
  elements: str
  returned: when the service died
"""


def main() -> None:
    """Wait for at most one look's time."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "user": {"type": "str", "required": True},
            "host": {"type": "str", "default": "127.0.0.1"},
            "port": {"type": "int", "required": True},
            "load_bytes": {"type": "int", "default": 0},
            "timeout": {"type": "int", "default": 0},
            "poll": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    params = module.params
    if module.check_mode:
        module.exit_json(changed=False, running=False, progress={})
    try:
        uid = pwd.getpwnam(params["user"]).pw_uid
    except KeyError:
        module.fail_json(msg=f"there is no user {params['user']}: the service cannot have been started.")
    unit = SystemdUnit(params["unit"], module.run_command)
    server = ServerWait(unit, params["host"], params["port"], uid, params["load_bytes"])
    try:
        module.exit_json(changed=False, **server.wait(params["poll"]))
    except ServerError as failure:
        journal = unit.journal() if failure.unit_failed else []
        module.fail_json(msg="\n".join([str(failure), *(f"  {line}" for line in journal)]), journal=journal)


if __name__ == "__main__":
    main()
