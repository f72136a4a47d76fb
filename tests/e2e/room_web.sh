#!/bin/bash
# The page of loam room: two browsers in one room, streaming, passes, members, search, export, links, scripts in names and texts, telephone, keyboard.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
here=$LOAM_SOURCE/tests/e2e
cd "$work" || exit 1
fail() { echo "FAILED: $*" >&2; exit 1; }
command -v chromium >/dev/null || command -v google-chrome >/dev/null || fail "no chromium; sh cmake/deps.sh test installs it"

python3 - <<'PYTHON'
import json
rules = "You are %s in a room with %s and %s. Answer what is said to you or to all, else say PASS."
def talk(me, others, heard, said):
    return {"messages": [{"role": "system", "content": rules % (me, *others)}, {"role": "user", "content": heard}, {"role": "assistant", "content": said}]}
script = "<img src=x onerror='window.hacked = 1'><script>window.hacked = 2</script>"
lines = [talk("Ada", ("Ann", "Bix"), "👤[Ann] Hello!", "Ahoy! " + script), talk("Bix", ("Ann", "Ada"), "👤[Ann] Hello!\n🤖[Ada] Ahoy! " + script, "PASS")]
with open("talk.jsonl", "w") as file:
    for line in lines:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
PYTHON
for i in $(seq 30); do cat talk.jsonl; done >text.txt
"$LOAM" tokenizer train --vocab-size 400 --special '<|im_start|>' --special '<|im_end|>' text.txt -o base >out 2>err || fail "$(cat err)"
echo '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 400, "hidden_size": 64, "num_hidden_layers": 2,
 "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
 "hidden_act": "silu", "tie_word_embeddings": true, "bos_token_id": null, "eos_token_id": 1}' >shape.json
"$LOAM" init --config shape.json -o base --seed 1 >out 2>err || fail "$(cat err)"
"$LOAM" finetune base --data talk.jsonl --template chatml -o parrot --steps 200 --batch 1 --seq 128 --lr 5e-3 --seed 1 >out 2>err || fail "$(cat err)"
cat >room.yaml <<'END_OF_ROOM'
room: {name: "The <b>parrots</b>", order: fixed, rounds: 1}
participants:
  - {name: Ada, model: parrot, sampling: {temperature: 0}}
  - {name: Bix, model: parrot, sampling: {temperature: 0}}
web: {port: 0}
END_OF_ROOM
PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1 python3 "$here/room_web.py" || fail "in the browser: see above; the room said: $(tail -5 room.err)"
echo "room_web: ok"
