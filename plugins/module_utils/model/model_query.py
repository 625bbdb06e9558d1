"""The question which model is meant, and its answer: from the record of this host, else from the model itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.model.hub import Hub
from ansible_collections.llmhost.core.plugins.module_utils.model.model import SCHEMA
from ansible_collections.llmhost.core.plugins.module_utils.model.model_folder import read_hub, read_local
from ansible_collections.llmhost.core.plugins.module_utils.model.model_reference import ModelReference
from ansible_collections.llmhost.core.plugins.module_utils.model.quantization import same_label
from ansible_collections.llmhost.core.plugins.module_utils.record import section, sections, text
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile


@dataclass(frozen=True)
class ModelQuery:
    """What a user asked for; the answer repeats it, so that it can be found again.

    ``variant`` is what a plan chose among several: a quantisation, or the first file of one.
    """

    model: str
    revision: str
    endpoint: str
    variant: str = ""

    def published(self, state_dir: str) -> dict[str, Any] | None:
        """Return the answer that led to a published model of this host, if there is one.

        Without a variant that is the variant which was published. A model that lies on the target is looked at again
        while it is there: that takes no network, and sees changes.
        """
        reference = ModelReference.from_text(self.model)
        if reference.path and any(os.path.exists(path) for path in (reference.path, reference.whole_path)):
            return None
        for entry in sections(StateFile("models", state_dir).read(), "models"):
            model = section(entry, "model")
            if model.get("schema") == SCHEMA and self._is_asked_in(model):
                return dict(model)
        return None

    def read(self, connect: Callable[[], Hub]) -> dict[str, Any]:
        """Return the answer from the model itself; ``connect`` is called only for one on a hub."""
        reference = ModelReference.from_text(self.model)
        if reference.path:
            model = read_local(reference, self.variant)
        else:
            model = read_hub(connect(), reference, self.revision, self.variant)
        return model.as_dict(asdict(self))

    def _is_asked_in(self, model: Mapping[str, Any]) -> bool:
        """Say whether a recorded answer is one to this question."""
        asked = section(model, "request")
        if any(asked.get(key) != value for key, value in asdict(self).items() if key != "variant"):
            return False
        if not self.variant or asked.get("variant") == self.variant:
            return True
        files = sections(model, "files")
        return same_label(text(model, "quantization"), self.variant) or any(
            file.get("name") == self.variant for file in files[:1]
        )
