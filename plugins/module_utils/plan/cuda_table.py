"""The CUDA toolkit in the plan's table."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.llmhost.core.plugins.module_utils import record
from ansible_collections.llmhost.core.plugins.module_utils.record import Record

_SOURCES = {"wheels": "wheels of the Python package index", "nvidia": "NVIDIA's repository"}


def cuda_rows(cuda: Record) -> Iterator[tuple[str, str]]:
    """Return a label and a text for each row."""
    if not cuda:
        return
    capabilities = ", ".join(f"{one[:-1]}.{one[-1:]}" for one in record.texts(cuda, "capabilities"))
    source = _SOURCES.get(record.text(cuda, "source"), "")
    yield "cuda", f"{record.text(cuda, 'toolkit')} for compute capability {capabilities}, from {source}"
