#!/usr/bin/env bash
# Install AIMIC with the extras named in $1 (such as `all` or `dev`) into .venv, with the versions of constraints.txt.
# Does nothing when .venv already holds just that.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=$1

python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      python=$candidate
      break
    fi
  done
fi
if [ -z "$python" ]; then
  echo "AIMIC needs Python 3.11, 3.12 or 3.13; none was found. Install one, or name it: PYTHON=/path/to/python make …" >&2
  exit 1
fi

if ! "$python" -c 'import ensurepip' 2>/dev/null; then
  # Debian keeps the tools for virtual environments in a package of their own.
  scripts/apt.sh python3-venv
fi

# An interpreter that went away or changed makes the old environment useless.
if [ -e .venv ] && ! .venv/bin/python -V > /dev/null 2>&1; then
  rm -rf .venv
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv

stamp=$( { .venv/bin/python -V; cat pyproject.toml constraints.txt; } | sha256sum | cut -d' ' -f1)
have=$(cat .venv/.stamp 2>/dev/null || true)
# `dev` holds `all`.
if [ "$have" = "$extras $stamp" ] || [ "$have" = "dev $stamp" ]; then
  exit 0
fi
echo "Installing AIMIC ($extras) into .venv; torch with its CUDA parts takes a few minutes and about 6 GB …"
# One that was cut off while it was made has no pip.
.venv/bin/python -m pip --version > /dev/null 2>&1 || "$python" -m venv --clear .venv
# By the environment, so that it holds for what builds packages, too. Whatever pip does not try again itself, such as a
# file that is cut off, is tried here; what came whole is in its cache by then.
export PIP_DEFAULT_TIMEOUT=60
. scripts/thrice.sh
if ! thrice .venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
  --editable ".[$extras]"; then
  echo "Installing did not work; see above why. Is the network there? Run the same command again." >&2
  exit 1
fi
echo "$extras $stamp" > .venv/.stamp
