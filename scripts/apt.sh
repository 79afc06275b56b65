#!/usr/bin/env bash
# Install the Debian packages named, one run at a time (the servers' installation takes the same lock).
#   scripts/apt.sh PACKAGE…
set -euo pipefail
if ! command -v apt-get > /dev/null || [ "$(id -u)" != 0 ]; then
  echo "This machine lacks $*, and only an administrator of a Debian machine can have it installed by us." >&2
  echo "Run: sudo apt-get install $*" >&2
  exit 1
fi
exec 9> /var/cache/apt/aimic.lock
flock 9
apt-get -o DPkg::Lock::Timeout=300 update -qq
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" > /dev/null
