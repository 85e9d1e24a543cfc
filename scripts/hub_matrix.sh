#!/usr/bin/env bash
# Test models that diffusers runs with the oldest and the newest versions of its packages.
#
#     scripts/hub_matrix.sh            # all rows
#     scripts/hub_matrix.sh 0.35.2     # one row, by its version of diffusers
#
# Each row gets a throw-away environment on top of that of $PYTHON (default: python), which has lingen, its
# tests and PyTorch; PyTorch stays as it is. Needs a package index. Ends with 1 where a row failed.
# Old versions of diffusers cannot be imported beside a new torchao: $PYTHON must not have the extra `quantize`
# for their rows.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# diffusers, the other packages, and the tests that apply to those versions. Old versions warn of newer packages,
# which is no fault here (-W default).
rows=(
  "0.35.2 transformers==5.0.0,peft==0.18.0,accelerate==1.0.0 test_wan.py,test_skyreels.py"
  "0.36.0 transformers==5.0.0,peft==0.18.0,accelerate==1.0.0 test_wan.py,test_sana.py"
  "0.37.0 transformers==5.0.0,peft==0.18.0,accelerate==1.0.0 test_wan.py,test_sana.py,test_helios.py,test_ltx.py"
  "newest transformers,peft,accelerate,huggingface_hub ."
)

failed=()
for row in "${rows[@]}"; do
  read -r version packages tests <<<"$row"
  if [[ $# -gt 0 && $1 != "$version" ]]; then continue; fi
  place=$folder/$version
  "$python" -m venv "$place"
  # What the environment itself has comes first, then what $PYTHON has.
  "$python" -c 'import sys; print(*filter(None, sys.path), sep="\n")' \
    >"$("$place/bin/python" -c 'import site; print(site.getsitepackages()[0])')/parent.pth"
  "$python" -m pip freeze --exclude-editable 2>/dev/null | grep -iE '^(torch|numpy|triton)==' \
    >"$place/constraints" || true
  diffusers=diffusers
  [[ $version == newest ]] || diffusers="diffusers==$version"
  "$place/bin/python" -m pip install --quiet --upgrade --upgrade-strategy only-if-needed \
    --constraint "$place/constraints" "$diffusers" ${packages//,/ }
  "$place/bin/python" - <<'PY'
from importlib.metadata import version

for name in ("diffusers", "transformers", "huggingface_hub", "accelerate", "peft", "torch"):
    print(f"{name} {version(name)}", end="  ")
print()
PY
  files=()
  for one in ${tests//,/ }; do files+=("tests/cli/hub/$one"); done
  if ! "$place/bin/python" -m pytest -n 0 -q -W default "${files[@]}"; then failed+=("$version"); fi
done
[[ ${#failed[@]} -eq 0 ]] || { echo "failed: ${failed[*]}" >&2; exit 1; }
