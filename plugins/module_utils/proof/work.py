"""A process of its own for everything that may hang: it takes one step after the other and says so, line by line.

The first line names the steps, then each step has a line when it begins and one when it has ended. After a step that
failed the process ends: an error of CUDA spoils the context, and what is left is for a fresh process.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from ansible_collections.llmhost.core.plugins.module_utils.proof.cuda import LIBRARY, Cuda, CudaError

Step = tuple[str, Callable[[], dict[str, Any]]]
Steps = Callable[[Cuda, Mapping[str, Any]], Iterator[Step]]

OK, WRONG, HANG, ERROR = "ok", "wrong", "hang", "error"
NOT_GRANTED, NOT_TRIED = "not_granted", "not_tried"


def work(kinds: Mapping[str, Steps], source: TextIO = sys.stdin, sink: TextIO = sys.stdout) -> int:
    """Do what the request on the input asks for."""
    request = json.load(source)
    # Should whoever waits for this process be gone, the kernel ends it; Python's own handler would never run in a hang.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(int(request.get("alarm_seconds", 3600)))

    def say(**line: Any) -> None:
        print(json.dumps(line), file=sink, flush=True)

    try:
        cuda = Cuda(request.get("cuda", LIBRARY))
        steps = list(kinds[request["kind"]](cuda, request))
    except CudaError as problem:
        say(error=str(problem), remedy=problem.remedy, status=problem.status)
        return 1
    say(steps=[name for name, _action in steps])
    for name, action in steps:
        if name in request.get("skip", ()):
            continue
        say(begin=name)
        try:
            result = action()
        except CudaError as problem:
            said = {"outcome": ERROR, "message": str(problem), "remedy": problem.remedy, "status": problem.status}
            say(end=name, data=said)
            return 1
        say(end=name, data=result)
    return 0


def devices(cuda: Cuda, _request: Mapping[str, Any]) -> Iterator[Step]:
    """Say which GPUs CUDA shows."""
    yield "devices", lambda: {"outcome": OK, "addresses": cuda.addresses(), "cuda_version": cuda.version}
