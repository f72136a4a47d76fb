#!/bin/sh
# Full fine-tuning of a Llama 3 8B shape within 22 GiB: a model with random weights, four steps on one row of 512 random ids, and what came
# of it: seconds a step, peak memory beside the plan, bytes to and from the disk, and how many tensors moved. 46 GiB of disk in DIR.
#     bench/eight_billion.sh LOAM DIR [SHAPE] [MEMORY]
set -eu
loam=$(realpath "$1")
mkdir -p "$2" && cd "$2"
shape=${3:-llama-3-8b} memory=${4:-22GiB}

rm -rf base run && "$loam" init --like "$shape" --dtype bf16 --seed 1 -o base
sync # what init wrote is on the disk before the disk is measured
vocab=$(sed -n 's/.*"vocab_size": *\([0-9]*\).*/\1/p' base/config.json)
awk -v n="$vocab" 'BEGIN { srand(1); for (i = 0; i < 513; i++) printf "%d%s", int(rand() * n), i < 512 ? " " : "\n" }' > row.ids
"$loam" bench --limits

"$loam" train base --data row.ids -o run --seq 512 --batch 1 --steps 4 --dtype bf16 --optimizer-state 8bit --weights-only --keep 1 \
    --save-every 1000 --overfit-one-batch --lr 3e-4 --warmup 0 --schedule constant --clip 0 --memory "$memory" &
train=$!
while kill -0 $train 2> /dev/null; do
    sed -n 's/^VmHWM: *//p' /proc/$train/status > peak.new 2> /dev/null && [ -s peak.new ] && mv peak.new peak
    grep -h '^[rw][a-z]*_bytes' /proc/$train/io > disk.new 2> /dev/null && [ -s disk.new ] && mv disk.new disk
    sleep 1
done
wait $train
"$loam" bench --limits
echo "peak memory $(cat peak)" && cat disk
sed 's/.*"step": \([0-9]*\).*"loss": \([^,]*\).*"seconds": \([^,]*\).*"of_peak": \([^,]*\).*/step \1: loss \2, \3 s, \4 of the peak/' run/log.jsonl
"$loam" look weights base run --json > moved.json
python3 - <<'END'
import json
table = next(b for b in json.load(open('moved.json'))['blocks'] if b['kind'] == 'table')
moved = [row[table['columns'].index('moved')] for row in table['values']]
print(sum(m > 0 for m in moved), 'of', len(moved), 'tensors moved')
END
