#!/usr/bin/env bash
# Test video files with other versions of PyAV, PyTorch or any package than $PYTHON has (default: python).
#
#     scripts/try_versions.sh av==18.1.0
#     PYTHON=python3.12 scripts/try_versions.sh 'av==19.*'
#     scripts/try_versions.sh 'torch==2.15.*' -- tests/models tests/training    # gigabytes, where an index has only CUDA builds
#
# The packages go into a throw-away environment on top of that of $PYTHON, which has lingen and its tests; mypy
# reads their stubs there. Needs a package index. PyAV 19 needs Python 3.12.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}
packages=() tests=(tests/media tests/cli/test_foreign.py tests/cli/test_extend.py tests/cli/test_sound_kept.py tests/cli/test_output_formats.py)
while [[ $# -gt 0 ]]; do
  if [[ $1 == -- ]]; then tests=("${@:2}"); break; fi
  packages+=("$1")
  shift
done
[[ ${#packages[@]} -gt 0 ]] || { sed -n '4,6s/^# *//p' "$0" >&2; exit 2; }
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

"$python" -m venv "$place"
site=$("$place/bin/python" -c 'import site; print(site.getsitepackages()[0])')
# What the environment itself has comes first, then what $PYTHON has.
"$python" -c 'import sys; print(*filter(None, sys.path), sep="\n")' >"$site/parent.pth"
"$place/bin/python" -m pip install --quiet --upgrade --upgrade-strategy only-if-needed "${packages[@]}"
"$place/bin/python" -c 'import av, torch; print("av", av.__version__, " torch", torch.__version__)'
"$place/bin/python" -m mypy --python-executable "$place/bin/python" --cache-dir "$place/mypy"
"$place/bin/python" -m pytest -n 0 -q "${tests[@]}"
