"""Looks from the controller at something on the target that takes long, and shows how far it is."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.llmhost.core.plugins.module_utils.service.progress import (
    Progress,
    ProgressMeter,
    duration,
)
from ansible_collections.llmhost.core.plugins.module_utils.service.wait_meter import WaitMeter

display = Display()


class WatchAction(ActionBase):
    """Calls the module of the task until it no longer says ``running``.

    One look is one call of a few seconds, so no connection has to live for hours. The module returns ``running`` and
    ``progress``; its arguments hold ``unit`` and, if they like, ``timeout``.
    """

    TRANSFERS_FILES = False
    DEFAULT_TIMEOUT = 0
    _supports_check_mode = True
    _supports_async = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._meter = ProgressMeter()

    def waits(self) -> bool:
        """Tell whether the task waits at all; a subclass may say no."""
        return not self._task.check_mode

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Look until there is nothing left to wait for, or the time is over."""
        super().run(tmp, task_vars)
        begun = time.monotonic()
        while True:
            report: dict[str, Any] = self._execute_module(module_args=dict(self._task.args), task_vars=task_vars)
            if not self.waits() or report.get("failed") or not report.get("running"):
                return report
            # The module has accepted the arguments by now, so this is a number.
            now, timeout = time.monotonic(), int(self._task.args.get("timeout", self.DEFAULT_TIMEOUT))
            self._show(self.line(report, now), task_vars)
            if 0 < timeout <= now - begun:
                return report | {"failed": True, "msg": self.late(report, timeout)}

    def line(self, report: dict[str, Any], now: float) -> str | None:
        """Return what is to be shown of a report, if anything."""
        text = self._meter.line(_progress(report), now)
        return None if text is None else f"{self._task.args['unit']}  {text}"

    def late(self, report: dict[str, Any], timeout: int) -> str:
        """Say that the time is over."""
        return (
            f"{self._task.args['unit']} is not done after {timeout} s: the wait ends here, the work goes on. "
            "Run the playbook again to join it, or give it more time."
        )

    def _show(self, line: str | None, task_vars: dict[str, Any] | None) -> None:
        if line is not None:
            host = (task_vars or {}).get("inventory_hostname", "host")
            display.display(f"  [{host}] {line}")


class WaitAction(WatchAction):
    """Calls the module until nothing on the host is in its way any more.

    While something is, the report says ``running``, what it is (``waiting_for``) and what a person can do (``remedy``).
    """

    DEFAULT_TIMEOUT = 1800

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waited = WaitMeter()

    def line(self, report: dict[str, Any], now: float) -> str | None:
        """Return what is waited for, now and then."""
        return self._waited.line(str(report.get("waiting_for")), now)

    def late(self, report: dict[str, Any], timeout: int) -> str:
        """Say what was waited for in vain, and the way on, which the module knows."""
        return f"Still waiting for {report.get('waiting_for')} after {duration(timeout)}. {report.get('remedy', '')}"


def _progress(report: dict[str, Any]) -> Progress | None:
    progress = report.get("progress")
    return Progress.from_dict(progress) if isinstance(progress, dict) and progress else None
