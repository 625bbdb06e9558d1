#!/bin/sh
# Unit tests and syntax checks with the oldest and the newest Python at hand, and the newest ansible-core that each takes.
set -eu
cd "$(dirname "$0")/.."

tools/pythons.sh "$@" | while read -r python; do
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  venv="$PWD/.cache/venvs/$version"
  VENV="$venv" PYTHON="$python" tools/setup.sh dev
  echo "unit-all: Python $version, $("$venv/bin/ansible" --version | sed 1q)"
  "$venv/bin/python" -m pytest tests/unit </dev/null
  for playbook in playbooks/*.yml; do
    "$venv/bin/ansible-playbook" --syntax-check -i inventories/demo "$playbook" >/dev/null </dev/null
  done
done
