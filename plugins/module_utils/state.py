"""What the roles made on this host: one JSON file each under /etc/llmhost/state."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.text_file import TextFile

DIRECTORY = "/etc/llmhost/state"


@dataclass(frozen=True)
class StateFile:
    """The record of one role."""

    name: str
    directory: str = DIRECTORY

    @property
    def path(self) -> str:
        """Return where the record is."""
        return os.path.join(self.directory, f"{self.name}.json")

    def read(self) -> dict[str, Any]:
        """Return the record; one that is absent or broken records nothing."""
        try:
            data = json.loads(TextFile(Path(self.path)).read() or "{}")
        except (ValueError, RecursionError):
            return {}
        return data if isinstance(data, dict) else {}

    def write(self, data: dict[str, Any]) -> bool:
        """Record ``data`` in one step and tell whether that changed the file; an empty record is no file."""
        text = json.dumps(data, indent=2, sort_keys=True) + "\n" if data else ""
        file = TextFile(Path(self.path), text, 0o640)
        if file.is_current():
            return False
        if data:
            os.makedirs(os.path.dirname(self.directory), mode=0o750, exist_ok=True)
        file.apply()
        return True
