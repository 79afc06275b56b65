#!/usr/bin/env bash
# One folder with all that an installation without the internet needs: images, chart, weights, checksums, a loader.
#   scripts/airgap.sh FOLDER [HELM-OPTION...]     for instance -f helm/aimic/values-production.yaml
#   scripts/airgap.sh --images [HELM-OPTION...]   only says which images the chart names
# AIMIC_WEIGHTS_DIR names the folder of start weights; without it the bundle has none, and says so.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CHART=$ROOT/helm/aimic
DOCKER=/usr/bin/docker
[ -x "$DOCKER" ] || DOCKER=docker

say() { printf '%s\n' "$*" >&2; }

images() {  # both ways to scale trainers run the same image, so the fixed one is asked: it needs no KEDA
  local options=("$@")
  [ $# -gt 0 ] || options=(-f "$CHART/values-small.yaml")
  helm template aimic "$CHART" "${options[@]}" | sed -n 's/^[- ]*image: *"\{0,1\}\([^" ]*\)"\{0,1\} *$/\1/p' | sort -u
}

loader() {
  cat <<'EOF'
#!/bin/sh
# load.sh [REGISTRY]: check the bundle, load its images, and push them to the site's own registry if one is named.
set -eu
cd "$(dirname "$0")"
sha256sum --quiet -c SHA256SUMS || { echo "The bundle is damaged: copy it again." >&2; exit 1; }
if command -v docker >/dev/null; then docker load -i images.tar; else ctr -n k8s.io images import images.tar; fi
[ $# -gt 0 ] || exit 0
command -v docker >/dev/null || { echo "Pushing needs docker; the images are in this node only." >&2; exit 1; }
while read -r image; do
  docker tag "$image" "$1/$image" && docker push "$1/$image"
done <images.txt
EOF
}

weights() {  # weights FOLDER
  [ -n "${AIMIC_WEIGHTS_DIR:-}" ] || { say "AIMIC_WEIGHTS_DIR is not set: the bundle has no start weights"; return 0; }
  mkdir -p "$1/weights" && cp -RL "$AIMIC_WEIGHTS_DIR/." "$1/weights/"
}

bundle() {
  local folder=$1 list; shift
  mkdir -p "$folder"
  images "$@" >"$folder/images.txt"
  mapfile -t list <"$folder/images.txt"
  [ ${#list[@]} -gt 0 ] || { say "the chart names no image"; exit 1; }
  "$DOCKER" save -o "$folder/images.tar" "${list[@]}"
  helm package "$CHART" -d "$folder" >/dev/null
  weights "$folder"
  loader >"$folder/load.sh" && chmod +x "$folder/load.sh"
  (cd "$folder" && find . -type f ! -name SHA256SUMS -print0 | sort -z | xargs -0 sha256sum >SHA256SUMS)
  say "$folder: ${#list[@]} images, $(du -sh "$folder" | cut -f1)"
}

case ${1:-} in
  --images) shift; images "$@" ;;
  "" | -*) sed -n '2,5p' "$0" | cut -c3- >&2; exit 2 ;;
  *) bundle "$@" ;;
esac
