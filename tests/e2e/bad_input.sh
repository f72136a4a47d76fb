#!/bin/bash
# What a person can get wrong, and what broken files do: a message with the file, the place, what was found and what to do; the right
# status; nothing written half. Each line of the table at the end is a command, its status, and words its message must have.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
chmod 755 "$work"
failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }

# says STATUS WORDS... -- ARGUMENTS...: one line on standard error, nothing on standard output, no place in the source.
says() {
    local wanted=$1 words=() status
    shift
    while [ "$1" != -- ]; do words+=("$1"); shift; done
    shift
    timeout 60 "$LOAM" "$@" >out 2>err </dev/null
    status=$?
    [ $status = "$wanted" ] || fail "loam $*: status $status, wanted $wanted: $(cat err)"
    [ -s out ] && fail "loam $*: wrote on standard output: $(head -c 200 out)"
    [ "$(grep -c '^loam: ' err)" = 1 ] || fail "loam $*: wanted one complaint: $(cat err)"
    for word in "${words[@]}"; do
        grep -qF -- "$word" err || fail "loam $*: wanted '$word' in: $(cat err)"
    done
}

for i in $(seq 60); do echo "the quick brown fox number $i says hello"; done >text.txt
"$LOAM" tokenizer train --vocab-size 300 --special '<|im_start|>' --special '<|im_end|>' text.txt -o model 2>err || fail "tokenizer: $(cat err)"
cat >shape.json <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 64,
 "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
 "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true}
JSON
"$LOAM" init --config shape.json -o model --seed 1 2>err || fail "init: $(cat err)"

python3 - <<'PYTHON'
import json, pathlib, shutil, struct
weights = pathlib.Path("model/model.safetensors").read_bytes()
size = struct.unpack("<Q", weights[:8])[0]
header = json.loads(weights[8:8 + size])
body = weights[8 + size:]
def model(name, data=None, config=None, tokenizer=None):
    shutil.copytree("model", name)
    for file, text in (("model.safetensors", data), ("config.json", config), ("tokenizer.json", tokenizer)):
        if text is not None:
            pathlib.Path(name, file).write_bytes(text if isinstance(text, bytes) else text.encode())
def packed(changed, data=body):
    text = json.dumps(changed).encode()
    return struct.pack("<Q", len(text)) + text + data
def with_tensor(**fields):
    changed = json.loads(json.dumps(header))
    changed["model.norm.weight"].update(fields)
    return packed(changed)
shape = pathlib.Path("shape.json").read_text()
begin = header["model.norm.weight"]["data_offsets"][0]
model("w-empty", b"")
model("w-cut", weights[:5000])
model("w-long-header", struct.pack("<Q", 2 ** 62) + b"{}")
model("w-past-end", struct.pack("<Q", len(weights)) + weights[8:])
model("w-overlap", with_tensor(data_offsets=[begin - 256, begin]))
model("w-negative", with_tensor(data_offsets=[-256, 0]))
model("w-overflow", with_tensor(shape=[2 ** 62, 2 ** 62]))
model("w-dtype", with_tensor(dtype="F99"))
model("w-integers", with_tensor(dtype="I32"))
model("w-surplus", packed({**header, "nobody.weight": {"dtype": "F32", "shape": [0], "data_offsets": [len(body), len(body)]}}))
model("w-deep", struct.pack("<Q", 5000000) + b'{"a":' * 1000000)
model("c-deep", config="[" * 1000000)
model("c-empty", config="")
model("c-unknown", config='{"architectures": ["MambaForCausalLM"], "model_type": "mamba"}')
model("c-relu", config=shape.replace("silu", "relu"))
model("c-wide", config=shape.replace('"hidden_size": 64', '"hidden_size": 96'))
model("c-huge", config=shape.replace('"hidden_size": 64', '"hidden_size": 1e300'))
model("c-missing", config=shape.replace('"hidden_size": 64,', ""))
tokenizer = json.loads(pathlib.Path("model/tokenizer.json").read_text())
vocabulary = tokenizer["model"]["vocab"]
last = next(k for k, v in vocabulary.items() if v == 299)
vocabulary[last] = 1000
model("t-hole", tokenizer=json.dumps(tokenizer))
vocabulary[last] = 100
model("t-twice", tokenizer=json.dumps(tokenizer))
model("t-cut", tokenizer=pathlib.Path("model/tokenizer.json").read_text()[:2000])
model("t-none")
pathlib.Path("t-none/tokenizer.json").unlink()
model("small", config=shape.replace("300", "280"), data=packed(header))
talk = '{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
pathlib.Path("talk.jsonl").write_text(talk * 8)
pathlib.Path("middle.jsonl").write_text(talk * 3 + '{"messages":[{"role":"user","content":\n' + talk * 3)
pathlib.Path("role.jsonl").write_text(talk + '{"messages":[{"role":"wizard","content":"a"}]}\n')
pathlib.Path("silent.jsonl").write_text('{"messages":[{"role":"user","content":"a"}]}\n')
pathlib.Path("latin.jsonl").write_bytes(talk.encode() + b'{"messages":[{"role":"user","content":"\xe9"}]}\n')
pathlib.Path("deep.jsonl").write_text(talk + '{"messages":' + "[" * 100000 + "\n")
pathlib.Path("long.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "fox " * 3000},
                                                                {"role": "assistant", "content": "b"}]}) + "\n")
pathlib.Path("empty.txt").write_text("")
pathlib.Path("ids.ids").write_text("1 2 3\n4 5 x\n")
pathlib.Path("big.ids").write_text("1 2 3\n4 5 300\n")
pathlib.Path("recipe.yaml").write_text("model: model\nlearning_rate: 3\n")
pathlib.Path("weights.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 2 ** 60, 2 ** 60))
PYTHON

# Words on the command line.
says 2 "unknown command 'fly'" --help -- fly
says 2 "unknown option '--wings'" --help -- train model --wings
says 2 "--out" missing -- train model --data text.txt
says 2 "--steps" "found -3" "wanted 1 to" -- train model --data text.txt -o run --steps -3
says 2 "--steps" "too large" -- train model --data text.txt -o run --steps 99999999999999999999
says 2 "--lr" "'abc'" -- train model --data text.txt -o run --lr abc
says 2 "--lr" "'0,5'" -- train model --data text.txt -o run --lr 0,5
says 2 "--temperature" "found -1" -- generate model --prompt fox --temperature -1
says 2 "--top-p" "found 2" -- generate model --prompt fox --top-p 2
says 2 "--schedule" "'wavy'" cosine -- train model --data text.txt -o run --schedule wavy
says 2 "id 900" "0 to 299" -- generate model --ids "1 2 900"
says 2 "'x'" "token ids" -- generate model --ids "1 x"
says 2 "gpt9" gpt2 -- init --like gpt9 -o fresh
says 2 "holds a model already" -- init --config shape.json -o model
says 2 "learning_rate" "recipe.yaml:2" -- train --recipe recipe.yaml --data text.txt -o run
# Files that are not there, empty, or no place to write.
says 1 "nowhere.txt" "No such file" -- train model --data nowhere.txt -o run
says 1 "empty.txt" "empty file" -- train model --data empty.txt -o run --steps 2
says 1 "empty.txt" "empty file" -- eval model --data empty.txt
says 1 "nowhere" -- generate nowhere --prompt fox
says 1 "text.txt" -- init --config shape.json -o text.txt/below
# Weights.
for case in "w-empty:cut short" "w-cut:cut short" "w-long-header:header" "w-past-end:header" "w-overlap:model.norm.weight" \
    "w-negative:found '-', wanted an offset" "w-overflow:model.norm.weight" "w-dtype:F99" "w-integers:model.norm.weight" \
    "w-surplus:nobody.weight" "w-deep:nesting" "weights.gguf:weights.gguf"; do
    says 1 "${case%%:*}" "${case#*:}" -- generate "${case%%:*}" --prompt fox --max-tokens 2
done
for case in w-empty w-cut w-long-header w-past-end w-overlap w-negative w-overflow w-dtype w-deep; do
    says 1 "$case/model.safetensors" -- look weights $case/model.safetensors
done
# Configurations and tokenizers.
for case in "c-deep:512 levels" "c-empty:empty" "c-unknown:mamba" "c-relu:relu" "c-wide:[300, 96]" "c-huge:hidden_size" \
    "c-missing:hidden_size" "t-hole:1000" "t-twice:100" "t-cut:tokenizer.json" "t-none:tokenizer"; do
    says 1 "${case%%:*}" "${case#*:}" -- generate "${case%%:*}" --prompt fox --max-tokens 2
done
says 1 280 -- finetune small --data talk.jsonl --template chatml --steps 2 -o run
# Data.
says 1 "middle.jsonl:4:" -- finetune model --data middle.jsonl --template chatml --steps 2 -o run
says 1 "role.jsonl:2:" wizard -- finetune model --data role.jsonl --template chatml --steps 2 -o run
says 1 "latin.jsonl:2:" -- finetune model --data latin.jsonl --template chatml --steps 2 -o run
says 1 "deep.jsonl:2:" nesting -- finetune model --data deep.jsonl --template chatml --steps 2 -o run
says 1 "silent.jsonl" "nothing to train on" -- finetune model --data silent.jsonl --template chatml --steps 2 -o run
says 1 "long.jsonl" "nothing to train on" "--seq" -- finetune model --data long.jsonl --template chatml --steps 2 -o run
says 1 "<|eot_id|>" "--add-tokens" -- finetune model --data talk.jsonl --template llama3 --steps 2 -o run
says 1 "--template" -- finetune model --data talk.jsonl --steps 2 -o run
says 1 "ids.ids:2" "'x'" -- train model --data ids.ids --steps 2 -o run
says 1 "big.ids:2" 300 -- train model --data big.ids --steps 2 -o run
[ -e run ] && fail "a run that was refused left $(ls run)"

# No room: a file may have 64 KiB and no more. What was begun is taken away again.
(ulimit -f 64; "$LOAM" init --config shape.json -o full >out 2>err)
[ $? = 1 ] || fail "full disk: status"
grep -q "full/model.safetensors: there is no room" err || fail "full disk: $(cat err)"
[ -z "$(ls full 2>/dev/null)" ] || fail "full disk: left $(ls full)"
"$LOAM" generate model --prompt fox --max-tokens 2 >/dev/full 2>err && fail "wrote into a full device"
grep -q "standard output cannot be written" err || fail "full device: $(cat err)"

# Nor is a checkpoint ever half there. (That the last whole one stays, tests/train/test_resume.c shows.)
(ulimit -f 64; "$LOAM" train model --data text.txt -o other --steps 2 --batch 1 --seq 32 --save-every 1 >out 2>err)
[ $? = 1 ] || fail "no room for a checkpoint: status"
grep -q "no room" err || fail "no room for a checkpoint: $(cat err)"
[ -z "$(ls other/checkpoints 2>/dev/null)" ] || fail "half a checkpoint: $(ls other/checkpoints)"

# No permission. Root may do all, so as somebody else.
if [ "$(id -u)" = 0 ] && setpriv --reuid 65534 --clear-groups "$LOAM" --version >/dev/null 2>&1; then
    mkdir locked && chmod 755 locked && cp shape.json locked/ && cp text.txt locked/secret.txt && chmod 600 locked/secret.txt
    setpriv --reuid 65534 --clear-groups "$LOAM" init --config shape.json -o locked/model >out 2>err
    [ $? = 1 ] || fail "no permission to write: status"
    grep -q "locked/model.*Permission denied" err || fail "no permission to write: $(cat err)"
    setpriv --reuid 65534 --clear-groups "$LOAM" tokenizer train --vocab-size 300 locked/secret.txt -o /tmp/never >out 2>err
    [ $? = 1 ] || fail "no permission to read: status"
    grep -q "secret.txt.*Permission denied" err || fail "no permission to read: $(cat err)"
fi
exit $failed
