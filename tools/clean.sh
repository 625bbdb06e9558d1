#!/bin/sh
# Removes what make made in this checkout: its containers, machines, caches and environment. Docker's images stay (docker rmi).
set -eu
cd "$(dirname "$0")/.."

if [ -d .cache/beds ] && docker info >/dev/null 2>&1; then
  for bed in .cache/beds/*/; do
    [ ! -d "$bed" ] || python3 tests/tools/bed.py down "$(basename "$bed")"
  done
fi
for machine in .cache/vm/*.pid; do
  [ ! -e "$machine" ] || .venv/bin/python -m tests.tools.vm_hold down "$(basename "$machine" .pid)"
done
rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis reports ./*.tar.gz
find . -name __pycache__ -type d -prune -exec rm -rf {} +
