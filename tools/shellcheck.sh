#!/bin/sh
# Runs shellcheck over every shell script; where it is not installed, sees at least whether they parse.
set -eu
cd "$(dirname "$0")/.."

scripts() { git ls-files -co --exclude-standard '*.sh' '.ci/run'; }

if command -v shellcheck >/dev/null; then
  scripts | xargs shellcheck
else
  echo "shellcheck is not here (apt-get install shellcheck): checking only that the scripts parse" >&2
  scripts | xargs -n 1 bash -n
fi
