#!/usr/bin/env bash
# Chromium for the browser tests, from Debian's packages, when the machine has none.
set -euo pipefail
if [ ! -x /usr/bin/chromium ]; then
  echo "Installing Chromium for the browser tests …"
  "$(dirname "$0")/apt.sh" chromium fonts-dejavu-core
fi
