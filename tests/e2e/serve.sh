#!/bin/bash
# The program loam serve: its standard output, signals, and what it refuses at the start. The examples of docs/serving.md are run by guides.sh.
set -u
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
fail() { echo "FAILED: $*" >&2; exit 1; }
command -v curl >/dev/null || fail "no curl; sh cmake/deps.sh test installs it"

for i in $(seq 60); do echo "the quick brown fox number $i jumps over the lazy dog and says hello"; done >text.txt
"$LOAM" tokenizer train --vocab-size 300 --special '<|im_start|>' --special '<|im_end|>' text.txt -o loam-quickstart >out 2>err || fail "$(cat err)"
echo '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2,
 "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 65536, "rms_norm_eps": 1e-5,
 "hidden_act": "silu", "tie_word_embeddings": true, "bos_token_id": null, "eos_token_id": null}' >shape.json
"$LOAM" init --config shape.json -o loam-quickstart --seed 1 >out 2>err || fail "$(cat err)"
printf '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' >talk.jsonl
"$LOAM" finetune loam-quickstart --data talk.jsonl --template chatml -o tuned --steps 1 --batch 1 --seq 32 >out 2>err || fail "$(cat err)"
cp tuned/tokenizer_config.json tuned/chat_template.jinja loam-quickstart/ 2>/dev/null

# One line of standard output: the address.
start() {
    : >url    # the one before had an address too
    "$LOAM" serve loam-quickstart --port 0 --threads 1 "$@" >url 2>err &
    server=$!
    for i in $(seq 200); do [ -s url ] && break; sleep 0.05; done
    url=$(cat url)
    [[ $url =~ ^http://127\.0\.0\.1:[0-9]+$ ]] || fail "its address: $url $(cat err)"
}
ask() { curl -sS "$url/v1/completions" -H 'Content-Type: application/json' -d "{\"prompt\": \"hello\", \"temperature\": 0, \"ignore_eos\": true, $1}"; }

# SIGTERM: what runs is finished, what is new is not taken, and the program ends with 0.
start --verbose
ask '"max_tokens": 20000' >long.json &
client=$!
for i in $(seq 200); do curl -s "$url/metrics" | grep -q '^loam_sequences_running{.*} 1' && break; sleep 0.02; done
kill -TERM $server
sleep 0.2
curl -sS "$url/health" >out 2>&1 && fail "a new connection was taken: $(cat out)"
wait $client || fail "the running answer was cut off"
grep -q '"completion_tokens":20000' long.json || fail "not the whole answer: $(head -c 300 long.json)"
wait $server || fail "status after SIGTERM: $?"
grep -q 'POST /v1/completions 200' err || fail "--verbose: $(cat err)"

# A second signal, or the end of --drain, does not wait.
start
ask '"max_tokens": 60000' >long.json 2>/dev/null &
for i in $(seq 200); do curl -s "$url/metrics" | grep -q '^loam_sequences_running{.*} 1' && break; sleep 0.02; done
kill -INT $server
sleep 0.3
kill -INT $server
wait $server || fail "status after two signals: $?"
grep -q 'cut off' err || fail "it does not say that it cut answers off: $(cat err)"
start --drain 0
ask '"max_tokens": 60000' >long.json 2>/dev/null &
for i in $(seq 200); do curl -s "$url/metrics" | grep -q '^loam_sequences_running{.*} 1' && break; sleep 0.02; done
kill -TERM $server
wait $server || fail "status with --drain 0: $?"

# What it refuses at the start, with the reason.
start
taken=${url##*:}
refused() {
    local words=$1 status=$2 found
    shift 2
    timeout 20 "$LOAM" serve "$@" >out 2>err2
    found=$?
    [ $found = "$status" ] || fail "serve $*: status $found, wanted $status: $(cat err2)"
    grep -qF -- "$words" err2 || fail "serve $*: no '$words' in: $(cat err2)"
}
refused "in use" 1 loam-quickstart --port "$taken"
refused "no-such-model" 1 no-such-model
refused "two models" 2 loam-quickstart loam-quickstart
refused "--memory" 1 loam-quickstart --memory 1KiB --port 0
refused "no-keys" 1 loam-quickstart --keys no-keys --port 0
refused "65535" 2 loam-quickstart --port 70000
kill -TERM $server
wait $server
