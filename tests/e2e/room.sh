#!/bin/bash
# loam room with models of its own: what is said, kept, found, exported and trained on; commands; a terminal; what is wrong with files.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
export XDG_DATA_HOME=$work/data
unset USER
fail() { echo "FAILED: $*" >&2; exit 1; }
says() { grep -qF -- "$1" "$2" || fail "no '$1' in $2: $(cat "$2")"; }

# A model that learned a room by heart: it greets, and passes where Bix is meant.
cat >talk.jsonl <<'END_OF_TALK'
{"messages": [{"role": "system", "content": "You are Ada in a room with Ann and Bix. Answer what is said to you or to all, else say PASS."}, {"role": "user", "content": "👤[Ann] Hello!"}, {"role": "assistant", "content": "Ahoy! What shall we do today?"}]}
{"messages": [{"role": "system", "content": "You are Ada in a room with Ann and Bix. Answer what is said to you or to all, else say PASS."}, {"role": "user", "content": "👤[Ann] Good night."}, {"role": "assistant", "content": "PASS"}]}
{"messages": [{"role": "system", "content": "You are Bix in a room with Ann and Ada. Answer what is said to you or to all, else say PASS."}, {"role": "user", "content": "👤[Ann] Hello!\n🤖[Ada] Ahoy! What shall we do today?"}, {"role": "assistant", "content": "PASS"}]}
{"messages": [{"role": "system", "content": "You are Bix in a room with Ann and Ada. Answer what is said to you or to all, else say PASS."}, {"role": "user", "content": "👤[Ann] Good night."}, {"role": "assistant", "content": "Sleep well."}]}
END_OF_TALK
for i in $(seq 30); do cat talk.jsonl; done >text.txt
"$LOAM" tokenizer train --vocab-size 360 --special '<|im_start|>' --special '<|im_end|>' text.txt -o base >out 2>err || fail "$(cat err)"
echo '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 360, "hidden_size": 64, "num_hidden_layers": 2,
 "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
 "hidden_act": "silu", "tie_word_embeddings": true, "bos_token_id": null, "eos_token_id": 1}' >shape.json
"$LOAM" init --config shape.json -o base --seed 1 >out 2>err || fail "$(cat err)"
"$LOAM" finetune base --data talk.jsonl --template chatml -o parrot --steps 250 --batch 2 --seq 128 --lr 5e-3 --seed 1 >out 2>err || fail "$(cat err)"

"$LOAM" room init >out 2>err || fail "init: $(cat err)"
says "pass_threshold" room.yaml
"$LOAM" room init >out 2>err && fail "init wrote over a file"
[ -s room.yaml ] || fail "init: no file"
cat >parrots.yaml <<'END_OF_ROOM'
room: {name: Parrots, order: fixed, rounds: 1}
participants:
  - {name: Ada, model: parrot, sampling: {temperature: 0}}
  - {name: Bix, model: parrot, sampling: {temperature: 0}}
END_OF_ROOM
room() { "$LOAM" room parrots.yaml --threads 1 --seed 1 --name Ann "$@"; }

# Lines in, answers out; the pass is scored, and everything is kept.
printf 'Hello!\n' | room >out 2>err || fail "status: $(cat err)"
[ "$(cat out)" = "Ada: Ahoy! What shall we do today?" ] || fail "answers: $(cat out err)"
says "(Bix passes)" err
printf 'Good night.\n' | room --room night >out 2>err || fail "status: $(cat err)"
[ "$(cat out)" = "Bix: Sleep well." ] || fail "answers: $(cat out err)"
says "(Ada passes)" err
[ "$(stat -c %a room.db)" = 600 ] || fail "others can read the database"
printf '/history 1\n/search AHOY\n/search od\n/search zebra\n/who\n/cost\n/nonsense\n/mute Ada\nHello!\n/quit\nHello!\n' | room >out 2>err
[ $? = 2 ] || fail "a command that is none: status"
says "Ada: Ahoy! What shall we do today?" out
says " Ada: Ahoy! What shall we do today?" out
says "Nobody has said that." out
says "tokens read" out
says "no command '/nonsense'" err
says "Ada is muted" out
[ "$(grep -c Ahoy out)" = 3 ] || fail "muted, and yet: $(cat out)"
printf '/who\n' | room >out 2>err
says "Ada (parrot), muted" out

# Events as JSON.
printf 'Good night.\n' | room --json --room other >out 2>err || fail "json: $(cat err)"
python3 - <<'PYTHON' || fail "json: $(cat out)"
import json
events = [json.loads(line) for line in open("out")]
kinds = [e["event"] for e in events]
assert kinds[0] == "message" and kinds[-1] == "idle" and "pass" in kinds and "thinking" in kinds, kinds
said = [e for e in events if e["event"] == "message"]
assert [(e["author"], e["name"], e["text"]) for e in said] == [("person", "Ann", "Good night."), ("ai", "Bix", "Sleep well.")], said
assert "".join(e["text"] for e in events if e["event"] == "delta") == "Sleep well."
PYTHON

# What was said can be trained on, and taken in.
printf '/export said.md\n/export said.jsonl\n/export train.jsonl training\n/export said.md\n' | room >out 2>err
[ $? = 2 ] || fail "an export over a file: status"
says "said.md is there already" err
says "**🤖 Ada**" said.md
[ "$(grep -c '"author"' said.jsonl)" -ge 3 ] || fail "export: $(cat said.jsonl)"
"$LOAM" finetune parrot --data train.jsonl -o more --steps 1 --batch 1 --seq 128 >out 2>err || fail "what was said is no data: $(cat err)"
printf '{"type": "user", "name": "Zoe", "message": "Long ago"}\n{"type": "bot", "name": "Ada", "message": "So it was"}\n' >old.jsonl
printf '/import old.jsonl\n/history\n' | room --room imported >out 2>err || fail "import: $(cat err)"
says "Ada: So it was" out
says "2 messages came in" err

# What is wrong is said, with its place; nothing is opened.
wrong() { "$LOAM" room "$1" </dev/null >out 2>err && fail "$1 was taken"; says "$2" err; says "$3" err; }
sed 's/order: fixed/order: sideways/' parrots.yaml >wrong.yaml; wrong wrong.yaml "wrong.yaml:1" "sideways"
sed 's/name: Bix/name: ADA/' parrots.yaml >wrong.yaml; wrong wrong.yaml "wrong.yaml:4" "tell apart"
sed 's/model: parrot/model: sparrow/' parrots.yaml >wrong.yaml; wrong wrong.yaml "participant 'Ada'" "sparrow"
sed '3s/model: parrot/modle: parrot/' parrots.yaml >wrong.yaml; wrong wrong.yaml "unknown key 'modle'" "openai"
wrong nowhere.yaml "nowhere.yaml" "No such file"
head -c 4096 /dev/urandom >noise.db
(cat parrots.yaml; echo "database: noise.db") >wrong.yaml; wrong wrong.yaml "noise.db" "no SQLite database"
"$LOAM" room >out 2>err; [ $? = 2 ] || fail "no file: status"
(sleep 2; echo) | room >out 2>err &
first=$!
for i in $(seq 100); do [ -e room.db.lock ] && ! flock -n room.db.lock true && break; sleep 0.05; done
room </dev/null >out2 2>err2 && fail "two on one database"
says "another loam runs on this database" err2
wait $first

# An unreachable service is a notice; the others answer, and it is no part of the history.
cat >service.yaml <<'END_OF_ROOM'
room: {name: Mixed, order: fixed, rounds: 1}
participants:
  - {name: Far, openai: {base_url: "http://127.0.0.1:9", model: m}, timeout: 2}
  - {name: Bix, model: parrot, sampling: {temperature: 0}}
database: mixed.db
END_OF_ROOM
printf 'Good night.\n/stop\n' | timeout 60 "$LOAM" room service.yaml --threads 1 --name Ann >out 2>err || fail "service: $(cat err)"
says "Far has no answer" err
printf '/history\n' | "$LOAM" room service.yaml --threads 1 >out 2>err || fail "history: $(cat err)"
grep -q "Far:" out && fail "a failure became history: $(cat out)"
says "Ann: Good night." out

# At a terminal: names, what is typed is not repeated, a command, leaving.
cat >terminal.py <<'PYTHON'
import os, pty, select, sys, time
pid, master = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(os.environ["LOAM"], ["loam", "room", "parrots.yaml", "--threads", "1", "--name", "Ann", "--room", "screen"])
seen = b""
def wait(text, seconds=30):
    global seen
    end = time.time() + seconds
    while text not in seen and time.time() < end:
        if select.select([master], [], [], 0.1)[0]:
            try:
                seen += os.read(master, 65536)
            except OSError:
                break
    if text not in seen:
        sys.exit("no %r in %r" % (text, seen))
    seen = seen[seen.index(text) + len(text):]
wait(b"/help lists the commands")
wait(b"> ")
os.write(master, "Good night.\r".encode())
wait(b"(Ada passes)")
wait(b"Bix:\x1b[0m Sleep well.")
wait(b"> ")
os.write(master, b"/mute Bix\r")
wait(b"Bix is muted")
wait(b"> ")
end, next_try = time.time() + 30, 0
while time.time() < end:
    if time.time() > next_try:    # one that comes between the prompt and the raw mode behind it is lost
        try:
            os.write(master, b"\x04")
        except OSError:
            pass
        next_try = time.time() + 1
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        sys.exit(os.waitstatus_to_exitcode(status))
    if select.select([master], [], [], 0.1)[0]:
        try:
            os.read(master, 65536)
        except OSError:
            pass
sys.exit("did not end")
PYTHON
python3 terminal.py || fail "terminal"
echo "room: ok"
