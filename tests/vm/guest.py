"""In the machine: run llmhost's own modules many times in one process, and build states of disks.

Usage: guest.py, with a list of calls as JSON on its input: {"module": NAME, "arguments": {…}, "environment": {…}} or
{"script": SHELL, "device": PATH, "number": N, "patches": [[OFFSET, BASE64]…]}. It answers with a list as long.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent


def call(module: str, arguments: dict[str, Any], environment: dict[str, str]) -> Any:
    """Run a module as Ansible would, in a process of its own, and return what it says."""
    read, write = os.pipe()
    if child := os.fork():
        os.close(write)
        with open(read, encoding="utf-8") as answers:
            text = answers.read().strip()
        os.waitpid(child, 0)
        return json.loads(text) if text.startswith("{") else {"failed": True, "msg": text or "no answer", "code": ""}
    os.dup2(write, 1)
    os.dup2(write, 2)
    os.environ.update(environment)
    basic = importlib.import_module("ansible.module_utils.basic")
    vars(basic)["_ANSIBLE_ARGS"] = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode()
    vars(basic)["_ANSIBLE_PROFILE"] = "legacy"
    importlib.import_module(f"ansible_collections.llmhost.core.plugins.modules.{module}").main()
    os._exit(0)


def build(script: str, device: str, number: int, patches: list[tuple[int, str]]) -> dict[str, Any]:
    """Bring a disk into a state."""
    environment = {**os.environ, "D": device, "N": str(number)}
    done = subprocess.run(
        ["sh", "-euc", script or "true"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if patches:
        with open(device, "r+b") as disk:
            for offset, data in patches:
                disk.seek(offset)
                disk.write(base64.b64decode(data))
    return {"rc": done.returncode, "text": done.stdout + done.stderr}


def main() -> None:
    """Answer the calls in their order."""
    sys.path.insert(0, str(ROOT))
    # As on any target: the package's own beginning needs all of ansible-core.
    package = types.ModuleType("ansible")
    package.__path__ = [str(ROOT / "ansible")]
    package.__file__ = str(ROOT / "ansible/__init__.py")
    sys.modules["ansible"] = package
    answers = []
    for one in json.load(sys.stdin):
        if "module" in one:
            answers.append(call(one["module"], one["arguments"], one.get("environment", {})))
        else:
            answers.append(build(one["script"], one["device"], one["number"], one["patches"]))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
