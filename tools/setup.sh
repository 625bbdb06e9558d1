#!/bin/sh
# Makes a Python environment from the hash-pinned requirements and remembers which ones it holds.
# Usage: setup.sh run|dev    (run: what the playbooks need; dev: that and what builds and tests need)
# PYTHON names another interpreter than python3, VENV another place than .venv.
set -eu

kind=$1
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
venv=${VENV:-$root/.venv}

say() { echo "setup: $*" >&2; }
fail() { say "$*"; exit 1; }
sha() { sha256sum "$root/requirements/$1.txt" | cut -c 1-16; }
stamp() { echo "$venv/.llmhost-$1-$(sha "$1")"; }

"$venv/bin/python" -c '' 2>/dev/null || rm -rf "$venv"
# dev holds all of run.
for have in "$kind" dev; do
  [ ! -e "$(stamp "$have")" ] || exit 0
done

command -v "$python" >/dev/null ||
  fail "$python is not here. Install Python 3.10 or newer (Debian, Ubuntu: apt-get install python3 python3-venv)."
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
  fail "$("$python" --version) is too old: llmhost needs 3.10 or newer. Name another: make PYTHON=python3.12 …"

if [ ! -x "$venv/bin/python" ]; then
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    say "$python cannot make environments: Debian and Ubuntu split python3-venv from Python"
    "$root/tools/apt_install.sh" python3-venv
  fi
  "$python" -m venv "$venv"
fi

say "installing requirements/$kind.txt into $venv (a minute or two the first time)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$root/requirements/$kind.txt"
rm -f "$venv"/.llmhost-"$kind"-*
touch "$(stamp "$kind")"
