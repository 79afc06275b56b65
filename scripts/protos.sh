#!/bin/sh
# Generates the gRPC stubs in aimic/rpc/v1 and aimic/rpc/oip from proto/. With --check it changes nothing and fails
# when the committed stubs differ from what the definitions give.
#   PYTHON=.venv/bin/python scripts/protos.sh [--check]
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

# The directory below proto/ is the import path, so that the generated imports are absolute.
"$python" -m grpc_tools.protoc --proto_path="$root/proto" \
    --python_out="$made" --pyi_out="$made" --grpc_python_out="$made" \
    aimic/rpc/v1/inference.proto

# The Open Inference Protocol is not ours: its clients bring messages of the same names and register them in the pool
# that all of a process share. Ours live in a pool of their own, so that both can be in one process.
"$python" -m grpc_tools.protoc --proto_path="aimic/rpc/oip=$root/proto/inference" \
    --python_out="$made" --pyi_out="$made" --grpc_python_out="$made" \
    aimic/rpc/oip/open_inference_grpc.proto
sed -i 's/_descriptor_pool\.Default()/_descriptor_pool.DescriptorPool()/' "$made"/aimic/rpc/oip/*_pb2.py

status=0
for file in "$made"/aimic/rpc/*/*; do
    target=$root/${file#"$made"/}
    if [ "${1:-}" != --check ]; then
        cp "$file" "$target"
    elif ! diff -u "$target" "$file"; then
        status=1
    fi
done
if [ $status -ne 0 ]; then
    echo "The committed stubs differ from proto/. Run scripts/protos.sh and commit the result." >&2
fi
exit $status
