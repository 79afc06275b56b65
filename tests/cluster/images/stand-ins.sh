#!/usr/bin/env bash
# Images under the official names, with the official paths, where no image registry can be reached.
#   stand-ins.sh [base] [postgres] [kafka] [minio] [caddy]     all of them when none is named
# The last line printed for each is the image's name. Needs root, Go, Maven, and ../shared/cluster/cluster for the base.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
ROOT=$(cd ../../.. && pwd)
CLUSTER=${AIMIC_CLUSTER:-$ROOT/../shared/cluster/cluster}
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/aimic/images
DOCKER=/usr/bin/docker
BASE=python:3.11-slim-bookworm

say() { printf '%s\n' "$*" >&2; }

named() {  # named REPOSITORY FALLBACK: with the tag the chart names, so that the two can't drift apart
  local found=
  command -v helm >/dev/null && [ -e "$ROOT/helm/aimic/Chart.yaml" ] &&
    found=$("$ROOT/scripts/airgap.sh" --images 2>/dev/null | grep -E "(^|/)$1:" | head -1) || true
  echo "${found:-$1:$2}"
}

docker_up() {
  [ -x /usr/sbin/dockerd ] || apt-get -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends docker.io >/dev/null
  "$DOCKER" info >/dev/null 2>&1 && return
  mkdir -p "$CACHE" && setsid /usr/sbin/dockerd >"$CACHE/dockerd.log" 2>&1 </dev/null &
  for _ in $(seq 60); do "$DOCKER" info >/dev/null 2>&1 && return; sleep 1; done
  say "Docker did not come up: see $CACHE/dockerd.log"; exit 1
}

base() {
  mkdir -p /var/lib/aimic-cluster/log
  "$DOCKER" image inspect "$BASE" >/dev/null 2>&1 || "$CLUSTER" base "$BASE"
  echo "$BASE"
}

context() {  # context NAME: a fresh build context with this machine's own package sources
  rm -rf "$CACHE/$1" && mkdir -p "$CACHE/$1/apt"
  cp -a /etc/apt/apt.conf.d "$CACHE/$1/apt/"
  for part in sources.list sources.list.d; do [ ! -e "/etc/apt/$part" ] || cp -a "/etc/apt/$part" "$CACHE/$1/apt/"; done
}

build() {  # build IMAGE CONTEXT DOCKERFILE ARGUMENT...
  local image=$1 context=$2 file=$3; shift 3
  for name in http_proxy https_proxy no_proxy; do [ -z "${!name:-}" ] || set -- "$@" --build-arg "$name"; done
  "$DOCKER" build -q --network host -t "$image" -f "$file" --build-arg "BASE_IMAGE=$BASE" "$@" "$context" >/dev/null
}

has() {  # has IMAGE SHELL-COMMAND: the paths that the chart's scripts use are there, for any user
  "$DOCKER" run --rm --network none --read-only --tmpfs /tmp --entrypoint /bin/sh "$1" -c "$2" >/dev/null || { say "$1 lacks: $2"; exit 1; }
  echo "$1"
}

postgres() {
  local image; image=$(named postgres 15-bookworm)
  context postgres
  build "$image" "$CACHE/postgres" postgres/Dockerfile
  has "$image" 'cd /usr/lib/postgresql/15/bin && ./initdb --version && ./pg_ctl --version && ./postgres --version && ./psql --version && ./pg_isready --version && id -un 999'
}

kafka() {
  local image; image=$(named apache/kafka 4.1.1)
  context kafka
  mvn -q -B -f pom.xml dependency:copy-dependencies -DoutputDirectory="$CACHE/kafka/libs"
  ./kafka-scripts.sh "$CACHE/kafka/bin"
  build "$image" "$CACHE/kafka" kafka/Dockerfile
  has "$image" '/opt/kafka/bin/kafka-storage.sh random-uuid && test -x /opt/kafka/bin/kafka-server-start.sh'
}

program() {  # program NAME MODULE: from the caches of the tests and the cluster, else built
  local found
  for found in "$HOME/.cache/aimic-cluster/bin/$1" "$HOME/.cache/aimic/bin/$1" "$HOME/go/bin/$1"; do
    [ ! -x "$found" ] || { cp "$found" "$CACHE/$1/$1"; return; }
  done
  GOBIN=$CACHE/$1 CGO_ENABLED=0 go install "$2"
}

minio() {
  local image; image=$(named minio/minio RELEASE.2025-09-07T16-13-09Z)
  context minio
  program minio github.com/minio/minio@latest
  build "$image" "$CACHE/minio" binary/Dockerfile --build-arg PROGRAM=minio
  has "$image" 'minio --version'
}

caddy() {
  local image; image=$(named caddy 2.10-alpine)
  context caddy
  program caddy github.com/caddyserver/caddy/v2/cmd/caddy@latest
  build "$image" "$CACHE/caddy" binary/Dockerfile --build-arg PROGRAM=caddy
  has "$image" '/usr/bin/caddy version'
}

docker_up
[ $# -gt 0 ] || set -- base postgres kafka minio caddy
for one in "$@"; do "$one"; done
