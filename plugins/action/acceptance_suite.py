"""All of llmhost.core.acceptance_suite: it runs on the controller."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from ansible.plugins.action import ActionBase

PIPE = "LLMHOST_BECOME_PASSWORD_FD"
# The names under which an inventory may keep the password of sudo.
PASSWORDS = ("ansible_become_password", "ansible_become_pass", "ansible_sudo_pass")


class ActionModule(ActionBase):
    """Runs a command on the controller, which finds the password for sudo in a pipe."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset({"argv", "chdir", "inventory"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the suite to its end."""
        super().run(tmp, task_vars)
        given = self._task.args
        environment = {**os.environ, "ANSIBLE_INVENTORY": given["inventory"]}
        password = self._password(task_vars or {})
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as pipe:
            with os.fdopen(writer, "wb") as end:
                end.write(password.encode())
            if password:
                environment[PIPE] = str(reader)
            done = subprocess.run(
                [str(word) for word in given["argv"]],
                cwd=given["chdir"],
                env=environment,
                pass_fds=(pipe.fileno(),),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
        report = {"changed": False, "rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        if done.returncode in (0, 1):
            return report
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-20:]
        return report | {"failed": True, "msg": "\n".join(["The acceptance suite could not be run:", *said])}

    def _password(self, task_vars: dict[str, Any]) -> str:
        """Return the password of the inventory, else the one that was typed at the beginning of the run."""
        kept = next((task_vars[name] for name in PASSWORDS if task_vars.get(name)), "")
        return str(self._templar.template(kept) if kept else self._play_context.become_pass or "")
