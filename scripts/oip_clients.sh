#!/usr/bin/env bash
# Existing clients of the Open Inference Protocol, for tests/serving/test_oip_clients.py, in an environment of their own:
# they want an older protobuf than we do. Prints the Python that has them. Cached beside the servers of the tests.
set -euo pipefail
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
pins=$root/tests/serving/oip/requirements.txt

cache=${AIMIC_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/aimic}
name=$( { "$python" -V; cat "$pins"; } | sha256sum | cut -c1-12)
place=$cache/oip-clients-$name
mkdir -p "$cache"
# Two runs at once must not install over each other; one that was broken off is begun anew.
exec 9> "$place.lock"
flock 9
if [ ! -e "$place/complete" ]; then
  echo "Installing existing clients of the Open Inference Protocol …" >&2
  rm -rf "$place"
  "$python" -m venv --without-pip "$place"
  . "$root/scripts/thrice.sh"
  if ! thrice "$python" -m pip --quiet --disable-pip-version-check --python "$place/bin/python" \
    install --only-binary :all: --no-compile --requirement "$pins" >&2; then
    echo "They could not be installed; see above why. Is the network there? Run the same command again." >&2
    exit 1
  fi
  touch "$place/complete"
fi
echo "$place/bin/python"
