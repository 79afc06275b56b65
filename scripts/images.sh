#!/usr/bin/env bash
# Build the images of all services or of some, check each, and list its parts in build/sbom.
#   scripts/images.sh [ingest] [dashboard] [trainer] [inference]
# BASE_IMAGE names another Python 3.11 base on Debian 12; AIMIC_IMAGES a prefix other than "aimic".
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DOCKER=/usr/bin/docker
[ -x "$DOCKER" ] || DOCKER=docker
PREFIX=${AIMIC_IMAGES:-aimic}
BASE_IMAGE=${BASE_IMAGE:-python:3.11-slim-bookworm}
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)
CREATED=$(git log -1 --format=%cI 2>/dev/null || echo unknown)
TOOLS=${XDG_CACHE_HOME:-$HOME/.cache}/aimic/sbom

say() { printf '%s\n' "$*" >&2; }

limit_mb() {  # what an image may take unpacked; the size of torch is not ours to bound
  case $1 in ingest) echo 400 ;; dashboard) echo 700 ;; *) echo 0 ;; esac
}

build() {  # the revision comes after the layers of packages, so they are reused from commit to commit
  "$DOCKER" build -q --network host -f "services/$1/Dockerfile" -t "$2" --build-arg "BASE_IMAGE=$BASE_IMAGE" \
    --build-arg "VERSION=$VERSION" --build-arg "REVISION=$REVISION" --build-arg "CREATED=$CREATED" . >/dev/null
}

inside() {  # inside IMAGE PROGRAM ARGUMENT...: as the chart runs it, and with no network at all
  local image=$1 program=$2; shift 2
  "$DOCKER" run --rm --network none --read-only --tmpfs /tmp --tmpfs /data --user 10001:10001 --cap-drop ALL \
    --security-opt no-new-privileges --entrypoint "$program" "$image" "$@"
}

check() {  # it starts, is who it should be, and holds neither an installer nor a compiler
  inside "$2" /opt/aimic/bin/python -c "import os, services.$1.app; assert os.getuid() == 10001"
  inside "$2" /bin/sh -c '! command -v pip gcc cc make' || { say "$2 holds an installer or a compiler"; return 1; }
}

size() {
  local mb most
  mb=$(($("$DOCKER" image inspect --format '{{.Size}}' "$2") / 1000000)) most=$(limit_mb "$1")
  say "$2: $mb MB"
  [ "$most" -eq 0 ] || [ "$mb" -le "$most" ] || { say "$2 is larger than the $most MB it may take"; return 1; }
}

sbom() {  # cyclonedx-py reads the packages' own descriptions, copied out of the image; dpkg says the rest
  [ -x "$TOOLS/bin/cyclonedx-py" ] || { python3 -m venv "$TOOLS" && "$TOOLS/bin/pip" install -q 'cyclonedx-bom>=7,<8'; }
  local work; work=$(mktemp -d)
  mkdir -p build/sbom "$work/packages"
  inside "$2" /bin/sh -c 'cd /opt/aimic/lib/python3*/site-packages && tar -c ./*.dist-info' | tar -x -C "$work/packages"
  printf '#!/bin/sh\nprintf '\''["%s"]'\''\n' "$work/packages" >"$work/python" && chmod +x "$work/python"
  "$TOOLS/bin/cyclonedx-py" environment --of JSON -o "build/sbom/$1.cdx.json" "$work/python"
  inside "$2" dpkg-query -W >"build/sbom/$1.debian.txt"
  rm -rf "$work"
}

[ $# -gt 0 ] || set -- ingest dashboard inference trainer
for service in "$@"; do
  image=$PREFIX/$service:$VERSION
  say "building $image"
  build "$service" "$image"
  size "$service" "$image"
  check "$service" "$image"
  sbom "$service" "$image"
done
