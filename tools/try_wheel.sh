#!/usr/bin/env bash
# The wheel as a stranger has it: in an environment of its own, with the lowest versions that pyproject.toml states,
# outside of this folder. The demo, then a model that leaves it.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(python3 tools/get_uv.py)
env=$PWD/build/wheel-env
rm -rf build/wheel && "$uv" build --quiet --wheel --out-dir build/wheel
"$uv" venv --quiet --clear --python 3.11 "$env"  # the lowest too
wheel=$(ls "$PWD"/build/wheel/hemoscope-*.whl)
"$uv" pip install --quiet --python "$env" --resolution lowest-direct "hemoscope[export,explain] @ file://$wheel"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cd "$place"
export HEMOSCOPE_CACHE=$place/cache
hemoscope() { echo "hemoscope $*"; "$env/bin/hemoscope" "$@"; }
hemoscope --version
hemoscope demo
hemoscope bundle demo/runs --out demo.hemo
hemoscope bundle verify demo.hemo
hemoscope predict demo.hemo demo/cells --out cells.csv
hemoscope differential demo.hemo demo/cells/neutrophil > /dev/null
hemoscope explain demo.hemo demo/cells/basophil/BA_00000[1-3].jpg > /dev/null
hemoscope export demo.hemo --out demo.onnx
