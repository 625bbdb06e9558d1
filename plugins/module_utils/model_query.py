"""The question which model is meant, and its answer: from the record of this host, else from the model itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.hub import Hub
from ansible_collections.llmhost.core.plugins.module_utils.model import SCHEMA
from ansible_collections.llmhost.core.plugins.module_utils.model_folder import read_hub, read_local
from ansible_collections.llmhost.core.plugins.module_utils.model_reference import ModelReference
from ansible_collections.llmhost.core.plugins.module_utils.record import section, sections
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile


@dataclass(frozen=True)
class ModelQuery:
    """What a user asked for; the answer repeats it, so that it can be found again."""

    model: str
    revision: str
    endpoint: str

    def published(self, state_dir: str) -> dict[str, Any] | None:
        """Return the answer that led to a published model of this host, if there is one.

        A model that lies on the target is looked at again while it is there: that takes no network, and sees changes.
        """
        path = ModelReference.from_text(self.model).path
        if path and os.path.exists(path):
            return None
        for entry in sections(StateFile("models", state_dir).read(), "models"):
            model = section(entry, "model")
            if model.get("schema") == SCHEMA and model.get("request") == asdict(self):
                return dict(model)
        return None

    def read(self, connect: Callable[[], Hub]) -> dict[str, Any]:
        """Return the answer from the model itself; ``connect`` is called only for one on a hub."""
        reference = ModelReference.from_text(self.model)
        model = read_local(reference.path) if reference.path else read_hub(connect(), reference, self.revision)
        return model.as_dict(asdict(self))
