#!/bin/sh
# install.sh EXTRA...: the pinned packages of these extras into /opt/aimic, without pip, caches or tests.
# What is new goes to /delta too, so that a later layer holds only what the layers below lack.
set -eu
# pip lives beside the environment, so that nothing has to be taken out of it again.
[ -x /opt/pip/bin/pip ] || { python3 -m venv /opt/pip && /opt/pip/bin/pip uninstall -q -y setuptools; }
[ -x /opt/aimic/bin/python ] || python3 -m venv --without-pip /opt/aimic
touch /tmp/before && sleep 1
if [ "$1" = project ]; then
  /opt/pip/bin/pip --python /opt/aimic/bin/python install -q --no-cache-dir --no-deps .
else
  python3 images/requirements.py "$@" >/tmp/wanted.txt
  /opt/pip/bin/pip --python /opt/aimic/bin/python install -q --no-cache-dir -c constraints.txt -r /tmp/wanted.txt
fi
# numpy's own testing helpers import a module of numpy/_core/tests.
find /opt/aimic -type d -name tests -not -path '*/numpy/_core/*' -prune -exec rm -rf {} +
rm -rf /opt/aimic/lib/python3*/site-packages/onnx/backend/test /opt/aimic/lib/python3*/site-packages/Crypto/SelfTest
rm -rf /opt/aimic/lib/python3*/site-packages/sqlalchemy/testing /opt/aimic/lib/python3*/site-packages/alembic/testing
# For type checkers and compilers.
find /opt/aimic \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' \) -delete
rm -rf /delta && mkdir /delta
cd /
[ "${DELTA:-no}" = no ] || find opt/aimic \( -type f -o -type l \) -cnewer /tmp/before -print0 | tar -c --null -T - | tar -x -C /delta
