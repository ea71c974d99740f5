#!/usr/bin/env bash
# The wheel as a stranger has it: in an environment of its own, with the lowest versions that pyproject.toml states (torch
# and torchvision, some GB, are those of the lock), outside of this folder. Two small networks, their report, and a model that leaves it.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(python3 tools/get_uv.py)
env=$PWD/build/wheel-env
rm -rf build/wheel && "$uv" build --quiet --wheel --out-dir build/wheel
"$uv" venv --quiet --clear --python 3.11 "$env"  # the lowest too
wheel=$(ls "$PWD"/build/wheel/hemoscope-*.whl)
# To the resolver the requirements of a wheel are not direct ones, so that they are resolved from pyproject.toml.
lowest=$PWD/build/lowest.txt
"$uv" pip compile --quiet --resolution lowest-direct --python-version 3.11 --extra export --extra explain --extra serve \
  --no-annotate pyproject.toml | grep -v '^torch\|^torchvision\|^nvidia-\|^triton\|^cuda-' > "$lowest"
"$uv" export --quiet --frozen --no-hashes --no-emit-project | grep '^torch\(vision\)\?==' >> "$lowest"
"$uv" pip install --quiet --python "$env" --constraint "$lowest" "hemoscope[export,explain,serve] @ file://$wheel"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
export HEMOSCOPE_CACHE=$place/cache
hemoscope() { echo "hemoscope $*"; "$env/bin/hemoscope" "$@"; }
hemoscope --version
hemoscope data synth cells --per-class 48 --size-px 128
hemoscope benchmark --data cells --arch mobilenet_v2,resnet18 --recipe demo --epochs 4
hemoscope report runs --data cells
hemoscope bundle runs --out small.hemo
hemoscope bundle verify small.hemo
hemoscope evaluate small.hemo --data cells
hemoscope predict small.hemo cells --out cells.csv
hemoscope differential small.hemo cells/neutrophil > /dev/null
hemoscope explain small.hemo cells/basophil/BA_00000[1-3].jpg > /dev/null
hemoscope export small.hemo --out small.onnx
echo "a very long password" | hemoscope store user add ada --role administrator
"$env/bin/hemoscope" serve small.hemo --port 0 > address & server=$!
trap 'kill "$server"; rm -rf "$place"' EXIT
until [ -s address ]; do kill -0 "$server"; sleep 0.2; done
"$env/bin/python" -c "import sys, urllib.request as r; print(r.urlopen(sys.argv[1] + 'readyz').read())" "$(tail -n 1 address)"
hemoscope store backup review.zip
