"""The model that the fetcher was last asked for: is it here, and how far is it?"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.record import integer, sections, text
from ansible_collections.llmhost.core.plugins.module_utils.service.published_model import model_name

REQUEST = "/etc/llmhost/model-fetch.json"
FETCH_FILES = "/run/llmhost/llmhost-model-fetch"


@dataclass(frozen=True)
class WantedModel:
    """The request of the fetcher; an empty one wants nothing."""

    request: Mapping[str, Any]

    @classmethod
    def from_file(cls, path: str = REQUEST) -> WantedModel:
        """Read the request."""
        return cls(read_dict(path))

    @property
    def cache_path(self) -> str:
        """Return the folder of all models."""
        return text(self.request, "cache_path")

    def is_here(self) -> bool:
        """Tell whether every file has its name; the fetcher gives names only to files whose checksum was right."""
        folder = Path(self.cache_path) / ("models--" + model_name(self.request).replace("/", "--"))
        snapshot = folder / "snapshots" / text(self.request, "commit")
        return all(
            _size(snapshot / text(f, "name")) == integer(f, "size_bytes") for f in sections(self.request, "files")
        )


def fetch_state(folder: str = FETCH_FILES) -> str:
    """Say how far the fetcher is, or why it gave up; nothing when it has said nothing."""
    result, progress = read_dict(os.path.join(folder, "result.json")), read_dict(os.path.join(folder, "progress.json"))
    if result.get("ok") is False:
        return f"the last try to fetch it failed: {text(result, 'message')} {text(result, 'remedy')}".strip()
    done, total = integer(progress, "done"), integer(progress, "total")
    if result or not total:
        return ""
    return f"llmhost-model-fetch is bringing it ({100 * done // total} %)"


def read_dict(path: str) -> dict[str, Any]:
    """Return the dict in a JSON file; empty when there is none, or it makes no sense."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
