#!/usr/bin/python
# Copyright: the llmhost maintainers
# Apache License 2.0 (see LICENSE)
"""Start a long job on the target, or wait for it."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.llmhost.core.plugins.module_utils.service.job import Job
from ansible_collections.llmhost.core.plugins.module_utils.service.unit import SystemdUnit, UnitError

DOCUMENTATION = r"""
module: job
short_description: Start a long job that is a systemd unit, or wait for it
version_added: 0.1.0
description:
  - A long job (a download, a compilation) runs as a systemd unit on the target. A run of Ansible that is killed loses
    nothing; the next run joins the job.
  - While it waits, an action plugin on the controller shows a line for each step of the job, and none when nothing
    changed.
  - The job tells how far it is in C(/run/llmhost/<unit>/progress.json), and how it ended in
    C(/run/llmhost/<unit>/result.json). Both are optional.
options:
  unit:
    description: Name of the unit, with or without C(.service).
    type: str
    required: true
  state:
    description:
      - V(started) starts the unit unless it runs, and does not wait. A unit that runs from an older text of its file is
        stopped first.
      - V(finished) waits until the unit no longer runs, and fails if the unit failed.
    type: str
    choices: [started, finished]
    default: finished
  timeout:
    description: Give up the wait after so many seconds. The job itself goes on. 0 waits for ever.
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
    description: Changes nothing and does not wait; the unit need not exist.
    support: full
  diff_mode:
    description: There is nothing to show.
    support: none
"""

EXAMPLES = r"""
- name: Start the model download
  llmhost.core.job:
    unit: llmhost-model-fetch
    state: started

- name: Wait for the model download
  llmhost.core.job:
    unit: llmhost-model-fetch
    state: finished
    timeout: 86400
"""

RETURN = r"""
running:
  description: Whether the job still runs.
  type: bool
  returned: always
progress:
  description: The last report of the job, or an empty dict.
  type: dict
  returned: always
result:
  description: What the job left in its C(result.json), or an empty dict.
  type: dict
  returned: always
journal:
  description: The last 30 lines of the journal of the unit.
  type: list
  elements: str
  returned: when the job failed
"""


def main() -> None:
    """Start the job or wait for it, as the arguments say."""
    module = AnsibleModule(
        argument_spec={
            "unit": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "finished"], "default": "finished"},
            "timeout": {"type": "int", "default": 0},
            "poll": {"type": "int", "default": 5},
        },
        supports_check_mode=True,
    )
    job = Job(SystemdUnit(module.params["unit"], module.run_command))
    report = job.report()
    starting = module.params["state"] == "started" and (not report.running or report.outdated)
    if module.check_mode:
        module.exit_json(changed=starting, **report.as_dict())
    if not report.state.exists:
        module.fail_json(msg=f"{job.unit.name}: there is no such unit. Run the role that installs it first.")
    if starting:
        try:
            job.start()
        except UnitError as problem:
            module.fail_json(msg=str(problem))
        report = job.report()
    elif module.params["state"] == "finished":
        report = job.wait(module.params["poll"])
        if report.state.failed:
            module.fail_json(**job.failure(report), **report.as_dict())
    module.exit_json(changed=starting, **report.as_dict())


if __name__ == "__main__":
    main()
