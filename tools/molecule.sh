#!/bin/sh
# Runs the molecule scenarios named, or all of them, and says how each ended.
# Molecule's state lies in .cache; run from the checkout's root, where it finds the scenarios.
set -u
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/.venv/bin:$PATH"
export MOLECULE_EPHEMERAL_DIRECTORY

[ $# -gt 0 ] || set -- default self
passed=0
failed=0
for scenario in "$@"; do
  MOLECULE_EPHEMERAL_DIRECTORY="$PWD/.cache/molecule/$scenario"
  if molecule test --scenario-name "$scenario"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "molecule: scenario $scenario FAILED"
  fi
done
echo "molecule: $passed scenarios passed, $failed failed"
[ "$failed" -eq 0 ]
