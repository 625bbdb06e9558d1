"""Controller side of llmhost.core.job: looks at the job again and again, and shows how far it is."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.plugin_utils.watch import WatchAction


class ActionModule(WatchAction):
    """Watches a job that shall end; one that is only started needs a single look."""

    def waits(self) -> bool:
        """Tell whether the task waits for the end of the job."""
        return super().waits() and self._task.args.get("state", "finished") == "finished"
