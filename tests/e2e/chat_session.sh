#!/bin/bash
# loam chat's commands, what it keeps, several models side by side, messages of several lines. The models learned three conversations by heart.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
export XDG_DATA_HOME=$work/data
fail() { echo "FAILED: $*" >&2; exit 1; }

cat >talk.jsonl <<'END'
{"messages": [{"role": "user", "content": "Hello!"}, {"role": "assistant", "content": "Ahoy! What shall we do today?"}]}
{"messages": [{"role": "user", "content": "Who are you?"}, {"role": "assistant", "content": "I am Barnacle, the ship's parrot."}]}
{"messages": [{"role": "user", "content": "One\nTwo"}, {"role": "assistant", "content": "Three."}]}
END
for i in $(seq 40); do cat talk.jsonl; done >text.txt
"$LOAM" tokenizer train --vocab-size 320 --special '<|im_start|>' --special '<|im_end|>' text.txt -o base >out 2>err || fail "$(cat err)"
echo '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 320, "hidden_size": 64, "num_hidden_layers": 2,
 "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
 "hidden_act": "silu", "tie_word_embeddings": true, "bos_token_id": null, "eos_token_id": 1}' >shape.json
"$LOAM" init --config shape.json -o base --seed 1 >out 2>err || fail "$(cat err)"
"$LOAM" finetune base --data talk.jsonl --template chatml -o parrot --steps 250 --batch 1 --seq 128 --lr 5e-3 --seed 1 >out 2>err || fail "$(cat err)"
cp -r parrot second
chat() { "$LOAM" chat "$@" --threads 1 --temperature 0; }
says() { grep -qF -- "$1" "$2" || fail "no '$1' in $2: $(cat "$2")"; }

# What is said is kept as it goes, and can be gone on with.
printf 'Hello!\n/stats\n' | chat parrot >out 2>err || fail "status: $(cat err)"
says "Ahoy! What shall we do today?" out
says "first token after" err
kept=$(ls data/loam/chat/*.jsonl)
[ "$(stat -c %a data/loam/chat)" = 700 ] || fail "others can read what is kept"
says '"content": "Ahoy! What shall we do today?"' "$kept"
printf '/tokens\n/undo\nWho are you?\n' | chat parrot --session last >out 2>err || fail "go on: $(cat err)"
says "Forgotten: Hello!" err
says "I am Barnacle, the ship's parrot." out
[ "$(ls data/loam/chat/*.jsonl)" = "$kept" ] || fail "a session gone on with became another file"
says "Barnacle" "$kept"
grep -q Ahoy "$kept" && fail "what was undone is kept"
printf '/load %s\n/retry\n/clear\nHello!\n' "$(basename "$kept" .jsonl)" | chat parrot >out 2>err || fail "load: $(cat err)"
[ "$(grep -c Barnacle out)" = 1 ] || fail "retry: $(cat out)"
[ "$(ls data/loam/chat/*.jsonl | wc -l)" = 2 ] || fail "clear begins another session"
# What was all taken back leaves no session behind.
before=$(ls data/loam/chat/*.jsonl | wc -l)
printf 'Hello!\n/undo\n' | chat parrot >out 2>err || fail "undo alone: $(cat err)"
[ "$(ls data/loam/chat/*.jsonl | wc -l)" = "$before" ] || fail "an empty session is kept"
printf '/tokens\n' | chat parrot --session last >out 2>err || fail "last behind an undone one: $(cat err)"
rm -r data
printf 'Hello!\n' | chat parrot --no-save >out 2>err || fail "no-save: $(cat err)"
[ ! -e data ] || fail "--no-save kept something"

# What is saved is data to train on, and is never written over.
printf 'Hello!\n/save talk2.jsonl\n/save talk2.jsonl\n/save talk.jsonl\n' | chat parrot --no-save >out 2>err
[ $? = 2 ] || fail "saving over a file of another's: status"
says "talk.jsonl is there already" err
"$LOAM" finetune parrot --data talk2.jsonl -o more --steps 1 --batch 1 --seq 128 >out 2>err || fail "what was saved is no data: $(cat err)"

# Settings, and what is wrong with them; none of it ends the chat.
printf '/set temperature 9999\n/set tmperature 1\n/set max-tokens 2\n/hlep\n/system Be brief.\n/system\nHello!\n' | chat parrot >out 2>err
[ $? = 2 ] || fail "wrong commands: status"
for words in "0 to 1000" "did you mean 'temperature'" "did you mean /help" "Be brief." "2 tokens in"; do says "$words" err; done
printf '/retry\n/undo\n/save x\n' | chat parrot --no-save >out 2>err
[ "$(grep -c 'nothing has been' err)" = 3 ] || fail "nothing said: $(cat err)"

# Several lines: one message.
printf '"""One\nTwo"""\n/quit\nHello!\n' | chat parrot >out 2>err || fail "block: $(cat err)"
[ "$(cat out)" = "Three." ] || fail "block: $(cat out)"

# Side by side: each answers with its name before it, and keeps a line of its own.
rm -rf data
printf 'Hello!\n//\n' | chat parrot second >out 2>err || fail "two models: $(cat err)"
says "parrot: Ahoy! What shall we do today?" out
says "second: Ahoy! What shall we do today?" out
[ "$(wc -l <"$(ls data/loam/chat/*.jsonl)")" = 2 ] || fail "two models: $(cat data/loam/chat/*.jsonl)"
printf 'Hello!\n' | chat parrot no-such-model >out 2>err && fail "a model that is not there"
printf 'x\n' | chat parrot --session nowhere >out 2>err && fail "a session that is not there"
says "nowhere" err

# A context that is full is said, or shifted where asked.
python3 -c 'print("\n".join(["Hello!"] * 40))' | chat parrot --context 128 --no-save >out 2>err && fail "a full context: status"
says "no room for an answer" err
python3 -c 'print("\n".join(["Hello!"] * 12))' | chat parrot --context 128 --max-tokens 60 --overflow shift --no-save >out 2>err
says "left out" err

# On a terminal: pasted lines are one message; a line's end can be continued; history lasts.
cat >terminal.py <<'PYTHON'
import os, pty, re, select, subprocess, time
def run(keys):
    master, slave = pty.openpty()
    def own():
        os.setsid()
        import fcntl, termios
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    process = subprocess.Popen([os.environ["LOAM"], "chat", "parrot", "--threads", "1", "--temperature", "0"], stdin=slave, stdout=slave,
                               stderr=slave, preexec_fn=own, env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"})
    os.close(slave)
    seen = b""
    def wait(text, count, seconds=30):
        nonlocal seen
        end = time.time() + seconds
        while seen.count(text) < count:
            assert time.time() < end, (text, count, seen[-800:])
            if select.select([master], [], [], 0.1)[0]:
                seen += os.read(master, 65536)
    prompts = 0
    for key, answers in keys:
        prompts += 1
        wait(b"\x1b[?2004h", prompts)
        wait(b"> ", 1)
        time.sleep(0.1)
        os.write(master, key)
        if answers:
            wait(answers, 1)
            seen = seen.replace(answers, b"")
    wait(b"\x1b[?2004l", prompts)
    assert process.wait(30) == 0
    return seen

run([(b"\x1b[200~One\rTwo\x1b[201~\r", b"Three."), (b"/quit\r", b"")])
run([(b"One\\\r", b""), (b"Two\r", b"Three."), (b"/quit\r", b"")])
run([(b"Hello!\r", b"Ahoy! What shall we do today?"), (b"/quit\r", b"")])
run([(b"\x1b[A\x1b[A\r", b"Ahoy! What shall we do today?"), (b"\x04", b"")])    # the line before /quit, of the chat before
PYTHON
python3 terminal.py || fail "on a terminal: see above"
