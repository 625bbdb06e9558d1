"""The model as the planner sees it: the fields of ``model_info`` that decide something beside its size."""

from __future__ import annotations

from dataclasses import dataclass

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.record import Record


@dataclass(frozen=True)
class ModelFacts:
    """What a model is called, where it comes from and which file is given to the runtime."""

    request: str
    source: str
    repo: str
    commit: str
    path: str
    format: str
    quantization: str
    total_bytes: int
    first_file: str
    chat_template: bool
    pinned: bool
    planned_only: bool

    @classmethod
    def from_facts(cls, facts: Record) -> ModelFacts:
        """Read the result of ``model_info``."""
        files = record.sections(facts, "files")
        return cls(
            request=record.text(record.section(facts, "request"), "model"),
            source=record.text(facts, "source", "local"),
            repo=record.text(facts, "repo"),
            commit=record.text(facts, "commit"),
            path=record.text(facts, "path"),
            format=record.text(facts, "format", "unknown"),
            quantization=record.text(facts, "quantization", "unknown"),
            total_bytes=record.integer(facts, "total_bytes"),
            first_file=record.text(files[0], "name") if files else "",
            chat_template=record.flag(facts, "chat_template"),
            pinned=record.flag(facts, "pinned"),
            planned_only=record.flag(facts, "planned_only"),
        )
