#!/bin/bash
# What waits for a GPU, in the order of what it is worth: tests, speed, then training for what time is left.
#
#     scripts/gpu_suite.sh OUT MINUTES [RECIPE [START_FROM]]
#
# OUT gets the logs, the speed tables and, every two minutes, the newest weights (in parts of 15 MB:
# `cat denoiser.* > denoiser.safetensors`). The steps of the recipe's last stage are set from the pace of
# its first 60, so that it ends in time. Needs only this repository's requirements; PyAV is not used.
set -u
out=$1 minutes=$2 recipe=${3:-training/lingen_training/recipes/lingen-mini-gpu.toml} start=${4:-models/lingen_models/weights/lingen-mini}
ends=$(($(date +%s) + minutes * 60))
mkdir -p "$out"
export PYTHONPATH=$PWD:$PWD/models:$PWD/playground:$PWD/plugins:$PWD/training${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
work=${WORK:-$PWD/runs/gpu}
mkdir -p "$work"

nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader >"$out/gpu.txt"
timeout 240 python3 -m pytest -q -p no:cacheprovider tests/models/test_gpu.py tests/models/test_kernels.py >"$out/tests.txt" 2>&1
tail -n 3 "$out/tests.txt"
timeout 150 python3 benchmarks/scans.py --heads 80 --state 128 --lengths 35904,143616 --dtypes bfloat16 --rounds 5 --output "$out" >"$out/scans.txt" 2>&1
tail -n 8 "$out/scans.txt"
timeout 180 python3 -m lingen_training.bench --device cuda --lengths 4,10,17,34,60,128,256,512,1024 --limit 20 --output "$out/bench" >"$out/bench.txt" 2>&1
tail -n 12 "$out/bench.txt"
timeout 900 python3 -m lingen_training.bench --preset paper --device cuda --rounds 1 --limit 40 --output "$out/paper" >"$out/paper.txt" 2>&1
tail -n 12 "$out/paper.txt"

train() {  # RECIPE SECONDS
    timeout --signal=INT --kill-after=20 "$2" python3 - "$1" "$work" "$start" >>"$out/train.txt" 2>&1 <<'PYTHON'
import os
import sys
from pathlib import Path
from lingen_training.trainer import train

recipe, out, start = map(Path, sys.argv[1:])
train(recipe, out, device=os.environ.get("DEVICE", "cuda"), start_from=start, report=lambda line: print(line, flush=True))
PYTHON
}

keep() {
    for part in denoiser text_encoder; do
        [ -f "$work/$part.safetensors" ] && split -b 15000000 -d "$work/$part.safetensors" "$out/$part."
    done
    cp -f "$work"/*.jsonl "$out"/ 2>/dev/null
}

# The pace: latents are rendered and encoded first, which is not counted.
cp "$recipe" "$work/begin.toml"
train "$work/begin.toml" 600 &
pid=$!
until grep -qE ' 60/[0-9]+ ' "$out/train.txt" 2>/dev/null || ! kill -0 $pid 2>/dev/null; do sleep 1; done
pkill -INT -P $pid; wait $pid
pace=$(grep -E ' 60/[0-9]+ ' "$out/train.txt" | tail -n 1 | grep -oE '[0-9.]+ s/step' | cut -d' ' -f1)
left=$((ends - $(date +%s) - 60))
steps=$(python3 -c "print(max(100, int(0.92 * $left / max($pace, 1e-3))))")
echo "pace $pace s/step, $left s left: $steps steps" | tee -a "$out/train.txt"
python3 - "$recipe" "$work/timed.toml" "$steps" <<'PYTHON'
import re
import sys
from pathlib import Path

source, target, steps = sys.argv[1:]
text = Path(source).read_text()
last = text.rindex("[[stage]]")
Path(target).write_text(text[:last] + re.sub(r"(?m)^steps = \d+", f"steps = {steps}", text[last:], count=1))
PYTHON
rm -f "$work"/*.state.safetensors "$work"/*.jsonl
train "$work/timed.toml" "$left" &
pid=$!
while kill -0 $pid 2>/dev/null; do sleep 5; done
keep
tail -n 3 "$out/train.txt"
