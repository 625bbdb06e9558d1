"""The sizing engine against llama.cpp itself: twenty generated models, really served, their logs and their RAM.

The runtime is the archive that the role inference installs; where there is none yet, the role builds it first. The
error table is printed at the end of the run.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_cpp import LlamaSettings, allocate
from ansible_collections.llmhost.core.plugins.module_utils.llama_cpp.llama_log import parse_llama_log
from ansible_collections.llmhost.core.plugins.module_utils.model.byte_source import LocalFile
from ansible_collections.llmhost.core.plugins.module_utils.model.gguf import GgufHeader
from ansible_collections.llmhost.core.plugins.module_utils.shape.gguf_shape import shape_from_gguf
from ansible_collections.llmhost.core.plugins.module_utils.size import MIB
from ansible_collections.llmhost.core.plugins.module_utils.sizing.plan_check import TOTAL, Row, compare, table
from ansible_collections.llmhost.core.plugins.module_utils.weights.tensor_groups import weights_from_gguf

from tests.bed.runtime import archive
from tests.tools.architectures import SMALL, write
from tests.tools.bed import BED_DIR, Bed

SCRIPT = Path(__file__).parents[1] / "tools" / "serve_and_measure.py"
PROGRAM = "/opt/sizing/bin/llama-server"
SETTINGS = {
    "two slots": LlamaSettings(8192, 2),
    "q8_0 cells": LlamaSettings(12288, 1, "q8_0", "q8_0"),
    "no flash attention": LlamaSettings(4096, 1, flash_attention=False),
    "shared cells": LlamaSettings(4096, 4, kv_unified=True, micro_batch=256),
    "odd context": LlamaSettings(5000, 3, micro_batch=1024),
    "whole windows": LlamaSettings(8192, 1, swa_full=True),
}
# name: architecture and the quantisation of its file. One is repacked for the processor at load.
MODELS = {name: (name, "Q8_0") for name in SMALL} | {"llama Q4_0": ("llama", "Q4_0"), "qwen3 F16": ("qwen3", "F16")}

# More tokens than are computed at once, so that every page of the compute buffer is written. That takes a while, and
# is asked with the first of the settings only.
LONG_QUESTION, QUESTION = "one two three four five " * 26, "one two"

# A log has two decimals of a MiB for each buffer, and no load has more than eight.
ROUNDING_BYTES = 8 * MIB // 200
EXACT = ("KV cache", "recurrent state")
MOST_OVER_PERCENT = 6.0
MOST_WEIGHTS_PERCENT = 0.5


@dataclass
class Served:
    """A bed with the runtime, and what has been measured in it."""

    bed: Bed
    rows: list[tuple[str, str, Row]] = field(default_factory=list)
    resident: list[tuple[str, str, Row]] = field(default_factory=list)

    def run(self, model: Path, settings: list[LlamaSettings]) -> list[dict[str, Any]]:
        """Serve a model with each of the settings."""
        questions = [LONG_QUESTION] + [QUESTION] * len(settings)
        runs = [
            {"arguments": arguments(f"{BED_DIR}/{model.name}", one), "question": question}
            for one, question in zip(settings, questions, strict=False)
        ]
        done = self.bed.exec("python3", "/opt/sizing/serve.py", PROGRAM, stdin=json.dumps(runs))
        found = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(found) == len(settings), done.stderr
        return found


def arguments(model: str, settings: LlamaSettings) -> list[str]:
    """Return the server's arguments, those that a plan would give it."""
    words = f"--ctx-size {settings.total_context} --parallel {settings.parallel} --batch-size {settings.batch}"
    words += f" --ubatch-size {settings.micro_batch} --flash-attn {'on' if settings.flash_attention else 'off'}"
    words += f" --cache-type-k {settings.cell_type_k} --cache-type-v {settings.cell_type_v} --load-mode mmap"
    words += " --kv-unified" if settings.kv_unified else " --no-kv-unified"
    words += " --swa-full" if settings.swa_full else ""
    words += " --fit off --threads 2 --no-ui --offline --log-verbosity 4"
    return ["--model", model, *words.split()]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Served]:
    with Bed(f"llmhost-bed-sizing-{os.getpid()}").running() as bed:
        bed.put(archive(bed, tmp_path_factory.mktemp("sizing")), "/opt/sizing/archive.tar.gz")
        bed.shell("tar -xzf /opt/sizing/archive.tar.gz -C /opt/sizing --strip-components 1")
        bed.put(SCRIPT, "/opt/sizing/serve.py")
        made = Served(bed)
        yield made
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("", error_table(made), sep="\n")


@pytest.mark.parametrize("name", MODELS)
def test_what_is_planned_is_what_the_server_allocates(served: Served, name: str) -> None:
    architecture, quantization = MODELS[name]
    path = write(served.bed.directory / f"{architecture}-{quantization}.gguf", SMALL[architecture](), quantization)
    header = GgufHeader.from_source(LocalFile(str(path)))
    shape = shape_from_gguf(header.metadata, header.tensors)
    weights = weights_from_gguf(header.tensors, shape)
    wrong = []
    try:
        for (label, settings), run in zip(SETTINGS.items(), served.run(path, [*SETTINGS.values()]), strict=True):
            assert run["answer"], f"{label}: no answer\n{run['log'][-2000:]}"
            planned = allocate(shape, weights, settings, gpus=0)
            rows = compare(planned, parse_llama_log(run["log"]).allocation)
            resident = Row("host", "resident", planned.host.total_bytes, run["answered"]["rss"])
            served.rows += [(name, label, row) for row in rows]
            served.resident.append((name, label, resident))
            if broken := [row for row in rows if not kept(row)] or [row for row in [resident] if not kept(row)]:
                wrong.append(f"{label}: {', '.join(row.part for row in broken)}\n{table([*rows, resident])}")
    finally:
        path.unlink()
    assert not wrong, "\n\n".join(wrong)


def kept(row: Row) -> bool:
    """Whether a figure is as good as promised: caches to the log's last digit, the total never under."""
    difference, percent = row.difference_bytes, row.percent or 0.0
    if row.part in EXACT:
        return abs(difference) <= ROUNDING_BYTES
    if row.part == "weights":
        return abs(difference) <= ROUNDING_BYTES or abs(percent) <= MOST_WEIGHTS_PERCENT
    if row.part == TOTAL:
        return difference >= -ROUNDING_BYTES and percent <= MOST_OVER_PERCENT
    # The parts of the computation are in the total; pages that were never written are not resident.
    return row.part != "resident" or difference >= 0


def error_table(served: Served) -> str:
    """Return median and worst error of each part, and of each model's total, with their sign."""
    if not served.rows:
        return "nothing was served"
    lines = [f"{'what':22}{'loads':>6}{'median %':>10}{'lowest %':>10}{'highest %':>10}{'worst MiB':>11}"]
    parts = dict.fromkeys(row.part for _, _, row in served.rows)
    for part in parts:
        lines.append(error_line(part, [row for _, _, row in served.rows if row.part == part]))
    lines.append(error_line("resident", [row for _, _, row in served.resident]))
    for name in dict.fromkeys(name for name, _, _ in served.rows):
        totals = [row for model, _, row in served.rows if model == name and row.part == TOTAL]
        lines.append(error_line(f"total of {name}", totals))
    return "\n".join(lines)


def error_line(name: str, rows: list[Row]) -> str:
    """Return one line of the table; positive is planned and not used."""
    percents = [row.percent or 0.0 for row in rows]
    worst = max((row.difference_bytes for row in rows), key=abs) / MIB
    figures = (statistics.median(percents), min(percents), max(percents))
    return f"{name:22}{len(rows):6}" + "".join(f"{figure:+10.2f}" for figure in figures) + f"{worst:+11.2f}"
