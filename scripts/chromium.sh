#!/usr/bin/env bash
# Chromium for the browser tests, from Debian's packages, when the machine has none.
set -euo pipefail
if [ ! -x /usr/bin/chromium ]; then
  echo "Installing Chromium for the browser tests …"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null
fi
