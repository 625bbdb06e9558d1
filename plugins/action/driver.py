"""Controller side of llmhost.core.driver: shows who holds the locks of apt that it waits for."""

from __future__ import annotations

from typing import Any

from ansible_collections.llmhost.core.plugins.plugin_utils.watch import WaitAction


class ActionModule(WaitAction):
    """Calls the module until apt is free. What a call has changed before it had to wait counts at the end, too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._changed = False

    def _execute_module(self, **kwargs: Any) -> dict[str, Any]:
        report: dict[str, Any] = super()._execute_module(**kwargs)
        self._changed = self._changed or bool(report.get("changed"))
        return report | {"changed": self._changed}
