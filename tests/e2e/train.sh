#!/bin/bash
# Runs from the outside: what data show says is what is trained on, SIGUSR1 saves, a resumed run names what differs, a full disk
# and a second run in one directory are told apart, measure makes a point of a failure, look losses draws.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
export XDG_CACHE_HOME=$work/cache
fail() { echo "FAILED: $*" >&2; exit 1; }
says() { grep -qF -- "$1" "$2" || fail "$2 lacks '$1': $(cat "$2")"; }
python() { python3 -c "import json,sys; $1" "${@:2}" || fail "python: $1"; }

cat > config.json <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 288, "hidden_size": 32, "intermediate_size": 48,
 "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
 "tie_word_embeddings": true, "initializer_range": 0.1, "bos_token_id": null, "eos_token_id": 267}
JSON
"$LOAM" init --config config.json -o base --seed 5 2>err || fail "init: $(cat err)"
cp "$LOAM_SOURCE/tests/golden/templates/byte_tokenizer.json" base/tokenizer.json
cp "$LOAM_SOURCE/tests/golden/templates/chatml.jinja" base/chat_template.jinja
for i in $(seq 1 40); do
    echo "{\"messages\": [{\"role\": \"user\", \"content\": \"say $i\"}, {\"role\": \"assistant\", \"content\": \"number $i it is\"}]}"
done > chat.jsonl
cat >> chat.jsonl <<END
{"messages": [{"role": "user", "content": "nobody answers this"}]}
{"messages": [{"role": "user", "content": "$(printf 'long %.0s' $(seq 1 60))"}, {"role": "assistant", "content": "too late"}]}
{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "$(printf 'on and %.0s' $(seq 1 40))"}]}
END

# --- data show
"$LOAM" data show chat.jsonl --model base --seq 128 --limit 2 >shown 2>err || fail "data show: $(cat err)"
says '«number 1 it is<|im_end|>»' shown
says '41 of 43 used' shown
says '1 cut at 128 positions' shown
says '1 left out: nothing in them is trained on' shown
says '1 left out: all that is trained on lies behind the first 128 positions' shown
"$LOAM" data show chat.jsonl --model base --seq 128 --limit 1 --json >shown.json 2>err || fail "data show --json: $(cat err)"
python 'd=json.load(open("shown.json")); f=d["files"][0]
assert (f["samples"],f["cut"],f["unanswered"],f["out_of_reach"])==(41,1,1,1), f
assert d["samples"]==41==sum(b["samples"] for b in d["histogram"]), d
assert d["shown"][0]["parts"][1]=={"text":"number 1 it is<|im_end|>","trained":True}, d["shown"]'
if command -v script >/dev/null; then
    TERM=xterm NO_COLOR= script -qec "$LOAM data show chat.jsonl --model base --seq 128 --limit 1" /dev/null >coloured </dev/null
    says $'\e[32mnumber 1 it is<|im_end|>\e[0m' coloured
    TERM=xterm NO_COLOR=1 script -qec "$LOAM data show chat.jsonl --model base --seq 128 --limit 1" /dev/null >plain </dev/null
    grep -q $'\e' plain && fail "colours though NO_COLOR is set"
fi
"$LOAM" data show chat.jsonl >out 2>err && fail "data show without a model"
says '--model' err
head -c 7 chat.jsonl > broken.jsonl
"$LOAM" data show broken.jsonl --model base >out 2>err && fail "data show of a broken file"
says 'broken.jsonl:1' err

# --- a file larger than what a run may hold: 24 MB of text, which are 96 MB of ids
for i in $(seq 1 1000); do echo "line $i of a text that is read in parts and never as a whole"; done > part
for i in $(seq 1 400); do cat part; done > large.txt
"$LOAM" train base --data large.txt -o stream --steps 2 --batch 1 --seq 64 >out 2>err || fail "train on a large file: $(cat err)"
python 'm=[json.loads(l)["memory_bytes"] for l in open("stream/log.jsonl")]
assert max(m) < 48 << 20, m'
"$LOAM" train base --data large.txt -o again --steps 2 --batch 1 --seq 64 >out 2>err || fail "the same again: $(cat err)"
says 'encoded before' err
rm -r large.txt stream again cache

# --- a run; SIGUSR1; a directory in use; resumed with other settings
"$LOAM" finetune base --data chat.jsonl -o run --steps 30000 --batch 2 --seq 128 --save-every 100000 --warmup 10% --lr 1e-4 \
    >out 2>err & run=$!
for i in $(seq 1 200); do [ -s run/log.jsonl ] && break; sleep 0.05; done
[ -s run/log.jsonl ] || fail "no step in ten seconds: $(cat err)"
grep -q '^warmup: 3000$' run/run.yaml || fail "10% of 30000 steps: $(grep warmup run/run.yaml)"
"$LOAM" finetune -o run --resume >out2 2>err2 && fail "two runs in one directory"
says 'another run is going on' err2
kill -USR1 $run
for i in $(seq 1 200); do ls run/checkpoints/step-*/state.json >/dev/null 2>&1 && break; sleep 0.05; done
ls run/checkpoints/step-*/state.json >/dev/null || fail "SIGUSR1 saved nothing: $(cat err)"
kill -0 $run || fail "SIGUSR1 ended the run"
kill -TERM $run
wait $run && fail "a stopped run says it is done"
says 'saved as asked' err
says 'stopped on request' err
"$LOAM" finetune -o run --resume --lr 2e-4 >out 2>err
[ $? = 2 ] || fail "resumed with another lr"
says "lr was '0.0001' and is '0.0002'" err
cp chat.jsonl other.jsonl; echo >> chat.jsonl; head -3 other.jsonl >> chat.jsonl
"$LOAM" finetune -o run --resume >out 2>err && fail "resumed with other data"
says '--allow-changes' err
mv base gone
"$LOAM" finetune -o run --resume >out 2>err && fail "resumed with other data"
says '--allow-changes' err
mv gone base
done=$(tail -1 run/log.jsonl | python3 -c 'import json,sys; print(json.load(sys.stdin)["step"] + 5)')
"$LOAM" finetune -o run --resume --steps "$done" --lr 2e-4 --allow-changes >out 2>err || fail "--allow-changes: $(cat err)"
says "lr was '0.0001' and is '0.0002'" err
says 'gives other samples' err

# --- what it looks like
"$LOAM" look losses run >curve 2>err || fail "look losses: $(cat err)"
says 'run loss' curve
"$LOAM" look losses run --json | python 'd=json.load(sys.stdin); assert d[0]["name"]=="run loss" and len(d[0]["steps"])==len(d[0]["values"])>4'
"$LOAM" look losses run --key nothing >out 2>err && fail "a key that is not there"
"$LOAM" look losses run --svg 'a "curve'"'"'.svg' 2>err || fail "--svg: $(cat err)"
says '<svg' 'a "curve'"'"'.svg'
mkdir without && ln -s "$LOAM" without/loam    # no gnuplot: plainer, and drawn all the same
PATH=$work/without loam look losses run --svg plain.svg 2>err || fail "--svg without gnuplot: $(cat err)"
says 'run loss' plain.svg
python 'import xml.dom.minidom as m; d=m.parse("plain.svg"); assert d.getElementsByTagName("polyline")'
"$LOAM" look losses run --html >curves.html 2>err || fail "look losses --html: $(cat err)"
says '<svg' curves.html

# --- the line that shows how far a run is, on a narrow terminal: no word and no number of it is cut
for columns in 44 60 80 120; do
    TERM=xterm script -qec "stty cols $columns; $LOAM finetune base --data other.jsonl -o narrow$columns --steps 40 --batch 1 --seq 64" /dev/null \
        >narrow </dev/null || fail "a run on a terminal: $(cat narrow)"
    python 'import re
lines=[re.sub(r"\x1b\[[0-9;]*[A-Za-z]","",l) for l in re.split(r"[\r\n]+",open("narrow",encoding="utf-8").read())]
lines=[l for l in lines if l.startswith("training ")]
assert lines, "nothing drawn"
for l in lines:
    assert len(l) < int(sys.argv[1]), l
    assert re.fullmatch(r"training \[[#.]+\] +\d+%( loss \S+)?(  lr \S+e[-+]\d\d)?(  norm \S+)?(  \d+ tokens/s)?(  \d+% of peak)?(  .* left)? ?", l), l' $columns
done

# --- what ends far above guessing says so; what does not, does not
"$LOAM" finetune base --data chat.jsonl -o wild --steps 12 --batch 1 --seq 64 --lr 50 --warmup 0 --schedule constant --clip 0 >out 2>err || fail "wild: $(cat err)"
grep -q 'the run has diverged; a smaller --lr than 50' err || fail "a run that diverged says nothing: $(cat out err)"
"$LOAM" finetune base --data chat.jsonl -o tame --steps 2 --batch 1 --seq 64 >out 2>err || fail "tame: $(cat err)"
grep -q diverged err && fail "a run of two steps is said to have diverged: $(cat err)"
rm -rf wild tame

# --- measure: each point a process; one that is refused is a line too
mkdir tmp && export TMPDIR=$work/tmp
"$LOAM" measure base --seq 32,64,512 --batch 1,2 --steps 3 --csv m.csv --json >m.json 2>err || fail "measure: $(cat err)"
python 'd=json.load(open("m.json")); assert len(d)==6
for p in d:
    ok=p["settings"]["seq"]<=256
    assert p["outcome"]==("ok" if ok else "refused"), p
    if ok: assert p["planned_bytes"]>0 and p["measured_bytes"]>0 and p["tokens_per_second"]>0
    else: assert "512" in p["message"] and p["tokens_per_second"] is None, p'
[ "$(wc -l < m.csv)" = 7 ] || fail "the table: $(cat m.csv)"
"$LOAM" measure base --seq 32,64 --steps 2 --offload optimizer,weights --fused-step --csv c.csv >out 2>err || fail "measure: $(cat err)"
python 'import csv
rows=list(csv.DictReader(open("c.csv"))); assert [r["offload"] for r in rows]==["optimizer,weights"]*2 and all(r["outcome"]=="ok" for r in rows), rows'
"$LOAM" measure base --seq 32,64 --dtype f32,bf16 --steps 2 --chart c.svg >out 2>err || fail "the axis: $(cat err)"
grep -q '>seq<' c.svg || fail "the chart is not over seq"
"$LOAM" measure base --dtype f32,bf16 --chart d.svg >out 2>err && fail "a chart without numbers"
grep -q 'several numbers' err && [ ! -s out ] || fail "a chart without numbers: $(cat err out)"
[ -z "$(ls tmp)" ] || fail "measure left $(ls tmp)"
mkdir bare && cp config.json bare
"$LOAM" measure bare --seq 32 --steps 2 >out 2>err || fail "measure without weights: $(cat err)"
"$LOAM" measure base --seq 32, >out 2>err && fail "an empty value"

# --- a disk that fills: a file system of 4 MiB, where one can be made
if unshare -rm true 2>/dev/null; then
    unshare -rm bash -c '
        mkdir small && mount -t tmpfs -o size=4m none small || exit 77
        "$0" finetune base --data other.jsonl -o small/run --steps 60 --batch 2 --seq 128 --save-every 5 --keep 50 >out 2>err && exit 1
        grep -q "checkpoints of" err || { cat err; exit 2; }
        "$0" finetune base --data other.jsonl -o small/run --steps 60 --batch 2 --seq 128 --save-every 5 --keep 1 >out 2>err || { cat err; exit 3; }
        rm -rf small/run
        "$0" finetune base --data other.jsonl -o small/run --steps 2000 --batch 2 --seq 64 --save-every 10 --keep 1 >out 2>err & run=$!
        for i in $(seq 1 400); do ls small/run/checkpoints/step-*/state.json >/dev/null 2>&1 && break; sleep 0.01; done
        kill -STOP $run
        head -c 4000k /dev/zero > small/filler 2>/dev/null
        kill -CONT $run
        wait $run && exit 4
        grep -q "go on with --resume\|make room" err || { cat err; exit 5; }
        rm small/filler
        "$0" finetune -o small/run --resume --steps 2000 >out 2>err || { cat err; du -ab small; df -B1 small; exit 6; }
    ' "$LOAM"
    status=$?
    [ $status = 0 ] || [ $status = 77 ] || fail "a full disk, status $status"
fi
echo done
