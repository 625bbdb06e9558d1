#!/bin/sh
# Every linter, one after another; fails at the end if one failed, so that one run shows all there is to mend.
set -u
cd "$(dirname "$0")/.." || exit 1
PATH="$PWD/.venv/bin:$PATH"
status=0

check() { # NAME COMMAND…
  name=$1
  shift
  if "$@"; then
    echo "lint: $name passed"
  else
    echo "lint: $name FAILED"
    status=1
  fi
}

check ruff ruff check --quiet .
check "ruff format" ruff format --quiet --check .
check "mypy, collection" mypy -p ansible_collections.llmhost.core.plugins
check "mypy, tests" mypy tests
check yamllint yamllint --strict .
check shellcheck tools/shellcheck.sh
check ansible-lint ansible-lint --offline -q
exit "$status"
