"""The light steps of /opt/llmhost/boot/llmhost.pyz: services wait for them, and an archive holds no compiled code."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence

from ansible_collections.llmhost.core.plugins.module_utils.boot.gpus import Gpus
from ansible_collections.llmhost.core.plugins.module_utils.boot.notify import say
from ansible_collections.llmhost.core.plugins.module_utils.boot.place import Place
from ansible_collections.llmhost.core.plugins.module_utils.boot.read_ahead import read_beside
from ansible_collections.llmhost.core.plugins.module_utils.boot.waiting import reason_of_end, reason_to_wait
from ansible_collections.llmhost.core.plugins.module_utils.state import StateFile

# Errors of a disk that are older than this are not why the service has just ended.
RECENT_SECONDS = 600.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Take one step."""
    parser = argparse.ArgumentParser(prog="llmhost.pyz", description="Steps of the units of llmhost.")
    steps = parser.add_subparsers(dest="step", required=True)
    texts = {
        "ready": "say what the service waits for",
        "read": "bring the model into the page cache, beside the service",
        "ended": "say why the service has ended",
    }
    for name, text in texts.items():
        step = steps.add_parser(name, help=text)
        step.add_argument("model", help="path of the model that the service opens")
    gpus = steps.add_parser("gpus", help="wait for the devices of the GPUs, and say what is missing")
    gpus.add_argument("count", type=int, help="how many GPUs the service uses")
    options = parser.parse_args(arguments)
    if options.step == "gpus":
        return _speak(Gpus(options.count).wait())
    if options.step == "read":
        return read_beside(options.model)
    place = Place.from_record(StateFile("storage").read())
    if options.step == "ready":
        return _speak(reason_to_wait(place, options.model))
    result = os.environ.get("SERVICE_RESULT", "success")
    # After a condition that was not met everything is said already.
    if result != "exec-condition":
        _speak(reason_of_end(place, options.model, result != "success", since=time.monotonic() - RECENT_SECONDS))
    return 0


def _speak(reason: str) -> int:
    if reason:
        say(reason)
    return 1 if reason else 0
