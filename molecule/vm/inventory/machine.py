#!/usr/bin/env python3
"""Tells Ansible where the machine of this scenario listens, once it is up: a port that was free."""

import json
import os
from pathlib import Path

NAME = "llmhost-molecule-vm"
CHECKOUT = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("LLMHOST_CACHE", CHECKOUT / ".cache"))

facts = CACHE / "vm" / f"{NAME}.json"
variables = json.loads(facts.read_text()) if facts.exists() else {}
print(json.dumps({"beds": {"hosts": [NAME]}, "_meta": {"hostvars": {NAME: variables}}}))
