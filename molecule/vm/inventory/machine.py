#!/usr/bin/env python3
"""Tells Ansible where the machine of a scenario listens, once it is up: a port that was free."""

import json
import os
from pathlib import Path

# The scenario is the one that this file, or a link to it, lies in.
HERE = Path(__file__).absolute()
NAME = f"llmhost-molecule-{HERE.parents[1].name}"
CHECKOUT = HERE.parents[3]
CACHE = Path(os.environ.get("LLMHOST_CACHE", CHECKOUT / ".cache"))

facts = CACHE / "vm" / f"{NAME}.json"
variables = json.loads(facts.read_text()) if facts.exists() else {}
print(json.dumps({"beds": {"hosts": [NAME]}, "_meta": {"hostvars": {NAME: variables}}}))
