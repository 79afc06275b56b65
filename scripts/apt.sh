#!/usr/bin/env bash
# Install the Debian packages named, one run at a time (the servers' installation takes the same lock). A mirror that
# fails is asked three times.
#   scripts/apt.sh PACKAGE…
set -euo pipefail
if ! command -v apt-get > /dev/null || [ "$(id -u)" != 0 ]; then
  echo "This machine lacks $*, and only an administrator of a Debian machine can have it installed by us." >&2
  echo "Run: sudo apt-get install $*" >&2
  exit 1
fi
exec 9> /var/cache/apt/aimic.lock
flock 9
export DEBIAN_FRONTEND=noninteractive
apt=(apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
. "$(dirname "$0")/thrice.sh"
fetch() {
  # A list that could not be had is only a warning here, and the package unknown to the next line.
  "${apt[@]}" update -qq || true
  "${apt[@]}" install -y -qq --no-install-recommends "$@" > /dev/null
}
if ! thrice fetch "$@"; then
  echo "$* could not be installed; see above why. Is the network there? Run the same command again." >&2
  exit 1
fi
