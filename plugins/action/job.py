"""Controller side of llmhost.core.job: looks at the job again and again, and shows how far it is."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.llmhost.core.plugins.module_utils.job import progress_of
from ansible_collections.llmhost.core.plugins.module_utils.progress import ProgressMeter

display = Display()


class ActionModule(ActionBase):
    """Runs the module until the job has ended; one look is one call, so no connection stays open for hours."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Look until the job no longer runs, or the time is over."""
        super().run(tmp, task_vars)
        waits = self._task.args.get("state", "finished") == "finished" and not self._task.check_mode
        meter, begun = ProgressMeter(), time.monotonic()
        while True:
            report = self._look(task_vars)
            if not waits or report.get("failed") or not report.get("running"):
                return report
            now, timeout = time.monotonic(), int(self._task.args.get("timeout", 0))
            self._show(meter.line(progress_of(report), now), task_vars)
            if 0 < timeout <= now - begun:
                return report | {"failed": True, "msg": self._late(timeout)}

    def _look(self, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        report: dict[str, Any] = self._execute_module(
            module_name="llmhost.core.job", module_args=dict(self._task.args), task_vars=task_vars
        )
        return report

    def _show(self, line: str | None, task_vars: dict[str, Any] | None) -> None:
        if line is not None:
            host = (task_vars or {}).get("inventory_hostname", "host")
            display.display(f"  [{host}] {self._task.args['unit']}  {line}")

    def _late(self, timeout: int) -> str:
        return (
            f"{self._task.args['unit']} still runs after {timeout} s: the wait ends here, the job goes on. "
            "Run the playbook again to join it, or give a longer timeout."
        )
