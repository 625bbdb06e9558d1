"""Controller side of llmhost.core.wait_for_server: shows how far the server has read its model."""

from __future__ import annotations

from ansible_collections.llmhost.core.plugins.plugin_utils.watch import WatchAction


class ActionModule(WatchAction):
    """Watches a server that starts."""
