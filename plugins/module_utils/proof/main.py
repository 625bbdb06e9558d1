"""The program of the unit llmhost-proof: proves the GPUs of this host, and keeps what came of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ansible_collections.llmhost.core.plugins.module_utils.boot.kernel_log import records
from ansible_collections.llmhost.core.plugins.module_utils.command import run_command
from ansible_collections.llmhost.core.plugins.module_utils.proof import (
    memory_check,
    nccl_check,
    pair_check,
    product_check,
)
from ansible_collections.llmhost.core.plugins.module_utils.proof.proof import Host, Proof
from ansible_collections.llmhost.core.plugins.module_utils.proof.proof_table import as_text
from ansible_collections.llmhost.core.plugins.module_utils.proof.request import REQUEST, Request
from ansible_collections.llmhost.core.plugins.module_utils.proof.sensors import Sensors
from ansible_collections.llmhost.core.plugins.module_utils.proof.supervisor import Supervisor
from ansible_collections.llmhost.core.plugins.module_utils.proof.verdict import Verdict
from ansible_collections.llmhost.core.plugins.module_utils.proof.work import devices, work
from ansible_collections.llmhost.core.plugins.module_utils.state import DIRECTORY, StateFile

RECORD = "gpu_proof"
FILES = "/run/llmhost/llmhost-proof"

_WORKS = {
    "devices": devices,
    "memory": memory_check.steps,
    "product": product_check.steps,
    "pair": pair_check.steps,
    "rank": nccl_check.steps,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove the host, or do one piece of work for a proof."""
    parser = argparse.ArgumentParser(prog="llmhost-proof.pyz", description="Prove the GPUs of this host.")
    parser.add_argument("what", nargs="?", choices=["work"], help=argparse.SUPPRESS)
    parser.add_argument("--request", type=Path, default=Path(REQUEST), help=f"what to prove ({REQUEST})")
    parser.add_argument("--files", type=Path, default=Path(FILES), help=f"where progress and result go ({FILES})")
    parser.add_argument("--record", type=Path, default=Path(DIRECTORY), help=f"where the result is kept ({DIRECTORY})")
    options = parser.parse_args(arguments)
    if options.what == "work":
        return work(_WORKS)
    options.files.mkdir(parents=True, exist_ok=True)
    return _prove(Request.from_dict(json.loads(options.request.read_text(encoding="utf-8"))), options)


def _prove(request: Request, options: argparse.Namespace) -> int:
    # CUDA counts the GPUs by address, as everything here does; what the driver translates is not kept anywhere.
    environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_CACHE_DISABLE": "1"}
    supervisor = Supervisor([sys.executable, sys.argv[0], "work"], environment)

    def say(stage: str, done: int, total: int) -> None:
        progress = {"stage": stage, "done": done, "total": total, "unit": "steps", "updated": time.time()}
        _write(options.files / "progress.json", progress)

    host = Host(supervisor, lambda: Sensors(run_command), records, say)
    result = Proof(host, request).run()
    verdict = Verdict.from_result(result)
    result["findings"] = [finding.as_dict() for finding in verdict.findings]
    result["ok"] = verdict.healthy
    StateFile(RECORD, os.path.abspath(options.record)).write(result)
    print(as_text(verdict), flush=True)
    _write(options.files / "result.json", result | verdict.last_word())
    return 0 if verdict.healthy else 1


def _write(path: Path, data: dict[str, Any]) -> None:
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(data) + "\n", encoding="utf-8")
    os.replace(partial, path)
