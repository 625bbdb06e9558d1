"""Measured cases of sizing: what a model really took, read from public logs, and the settings it ran with.

A file is a JSON object with ``cases``. A case has ``model``, ``engine``, ``arch`` (facts of the log), ``format``,
``ctx``, ``parallel``, ``kv_dtype``, ``reported`` (MiB by part, for vLLM GiB), ``source`` and ``certainty``; it may also
have ``build`` (month of the engine's sources), ``metadata`` (keys of the GGUF header), ``config`` (a name in
configs.json), ``cpu_expert_layers``, ``swa_full``, ``mix`` (``own``: a mix of quantisations that is its publisher's)
and ``exceptions`` (part to reason).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "sizing"
LLAMA, FORK, VLLM = "llama.cpp", "ik_llama.cpp", "vLLM"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

# The first build of a month, from the release dates of llama.cpp; and pull requests by the month they were merged in.
BUILDS = (
    (1000, "2023-08"),
    (1300, "2023-10"),
    (1460, "2023-11"),
    (1595, "2023-12"),
    (1750, "2024-01"),
    (2040, "2024-02"),
    (2310, "2024-03"),
    (2580, "2024-04"),
    (2780, "2024-05"),
    (3055, "2024-06"),
    (3275, "2024-07"),
    (3500, "2024-08"),
    (3650, "2024-09"),
    (3860, "2024-10"),
    (4000, "2024-11"),
    (4240, "2024-12"),
    (4400, "2025-01"),
    (4610, "2025-02"),
    (4800, "2025-03"),
    (5010, "2025-04"),
    (5240, "2025-05"),
    (5560, "2025-06"),
    (5790, "2025-07"),
    (6060, "2025-08"),
    (6340, "2025-09"),
    (6660, "2025-10"),
    (6910, "2025-11"),
    (7210, "2025-12"),
    (7600, "2026-01"),
    (7900, "2026-02"),
    (8190, "2026-03"),
    (8600, "2026-04"),
    (9000, "2026-05"),
)
PULL_REQUESTS = ((13194, "2025-05"), (17000, "2025-11"), (19000, "2026-01"), (21000, "2026-04"), (23000, "2026-05"))


@dataclass(frozen=True)
class Case:
    """One case; ``facts`` are as in the file."""

    facts: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Name of the case."""
        return str(self.facts.get("id", "?"))

    @property
    def engine(self) -> str:
        """Which engine ran."""
        text = str(self.facts.get("engine", ""))
        return VLLM if "vllm" in text.lower() else FORK if "ik_llama" in text else LLAMA

    @property
    def version(self) -> str:
        """The version of vLLM."""
        found = re.search(r"(\d+\.\d+(?:\.\d+)?)", str(self.facts.get("engine", "")))
        return found.group(1) if found else ""

    @property
    def month(self) -> str:
        """The month of the sources of llama.cpp, ``ik-`` before it for the fork."""
        return ("ik-" if self.engine == FORK else "") + (str(self.facts.get("build", "")) or self._guessed_month())

    @property
    def era(self) -> str:
        """The version or the year, for the summary."""
        return ".".join(self.version.split(".")[:2]) if self.engine == VLLM else self.month

    @property
    def arch(self) -> Mapping[str, Any]:
        """Facts of the architecture."""
        return self.section("arch")

    @property
    def reported(self) -> Mapping[str, Any]:
        """What the log said."""
        return self.section("reported")

    def section(self, key: str) -> Mapping[str, Any]:
        """Return a nested object, empty where there is none."""
        found = self.facts.get(key)
        return found if isinstance(found, Mapping) else {}

    def number(self, key: str, default: int = 0) -> int:
        """Return a whole number; None and what is missing give the default."""
        found = self.facts.get(key)
        return int(found) if isinstance(found, (int, float, str)) and str(found).strip() else default

    def exception(self, part: str) -> str:
        """Return why a part is not held against the rules, or nothing."""
        return str(self.section("exceptions").get(part, ""))

    def _guessed_month(self) -> str:
        text = str(self.facts.get("engine", "")).lower()
        dated = re.search(rf"({'|'.join(MONTHS)})[a-z]*\.? (20\d\d)", text)
        if dated:
            return f"{dated.group(2)}-{MONTHS.index(dated.group(1)) + 1:02}"
        numbered = re.search(r"\bb(\d{4,5})\b", text)
        if numbered:
            return _before(BUILDS, int(numbered.group(1)))
        merged = re.search(r"pr (\d{4,5})", text)
        if merged:
            return _before(PULL_REQUESTS, int(merged.group(1)))
        year = re.search(r"(20\d\d)", text)
        return f"{year.group(1)}-05" if year else "2026-05"


def _before(table: Iterable[tuple[int, str]], number: int) -> str:
    return [month for first, month in table if first <= number][-1]


def read_cases(paths: Iterable[Path] = ()) -> list[Case]:
    """Return the cases of the files, of all fixtures where none is named."""
    files = list(paths) or [path for path in sorted(FIXTURES.glob("*.json")) if path.name != "configs.json"]
    return [Case(facts) for path in files for facts in json.loads(path.read_text())["cases"]]


def read_configs() -> dict[str, Mapping[str, Any]]:
    """Return the fields of public config.json files that decide sizes, by repository."""
    path = FIXTURES / "configs.json"
    return dict(json.loads(path.read_text())["configs"]) if path.exists() else {}
