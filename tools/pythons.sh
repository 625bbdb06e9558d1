#!/bin/sh
# Prints the oldest and the newest Python at hand that llmhost supports, one path a line (one line if they are the same).
# `pythons.sh all` prints every version. Looks on PATH and in pyenv.
set -eu

candidates() {
  for minor in 10 11 12 13 14; do
    for path in "$(command -v "python3.$minor")" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3."$minor".*/bin/python3 "$(command -v python3)"; do
      # A pyenv shim is there for versions that are not: ask.
      if [ "$("$path" -c 'import ensurepip, sys; print(sys.version_info[1])' 2>/dev/null)" = "$minor" ]; then
        echo "$path"
        break
      fi
    done
  done
}

found=$(candidates)
[ -n "$found" ] || { echo "pythons: no Python 3.10 or newer with ensurepip is here" >&2; exit 1; }
if [ "${1:-}" = all ]; then
  echo "$found"
else
  echo "$found" | sed -n '1p;$p' | uniq
fi
