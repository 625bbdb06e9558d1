#!/bin/sh
# Removes what make made in this checkout: its containers, caches and environment. Docker's images stay (docker rmi).
set -eu
cd "$(dirname "$0")/.."

if [ -d .cache/beds ] && docker info >/dev/null 2>&1; then
  for bed in .cache/beds/*/; do
    [ ! -d "$bed" ] || python3 tests/tools/bed.py down "$(basename "$bed")"
  done
fi
rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis reports ./*.tar.gz
find . -name __pycache__ -type d -prune -exec rm -rf {} +
