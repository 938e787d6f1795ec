#!/bin/bash
# usage: gpu.sh PART
set -u
rm -rf .site; pip install -q --no-index --no-deps --target .site .whl/*.whl 2>&1 | tail -1
export PYTHONPATH=$PWD/.site:$PWD HF_HUB_OFFLINE=1 UNSLOTH_DISABLE_STATISTICS=1 JUPYTER_PATH=$PWD/.site/share/jupyter
case $1 in
a) timeout 575 python3 -m helpers.record --only 06,kernels,decoding --fresh --out $OUT/rec.json --build /tmp/rec-build 2>&1 | tail -40;;
b) timeout 560 python3 -m helpers.run --only 00,01,02,03,04,08,10 --model-id mistral-7b-shape --build $OUT/shape 2>&1 | tail -30;;
bx) :
   MODEL=mistral-7b-shape timeout 270 python3 -m helpers.run --help >/dev/null
   timeout 270 python3 -m helpers.run --only 10 --model-id mistral-7b-shape --build $OUT/ten 2>&1 | tail -20;;
c) timeout 575 python3 -m benchmarks.finetune_bench --shapes 1x512 --processes 2 $OUT/small.json 2>&1 | tail -40;;
esac
