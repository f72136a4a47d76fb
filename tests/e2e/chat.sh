#!/bin/bash
# loam chat through a pipe and on a terminal of its own, with Ctrl-C at every moment, Ctrl-D and SIGTERM. The model has random weights:
# what it says is noise, which --max-tokens ends.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
export XDG_DATA_HOME=$work/data
fail() { echo "FAILED: $*" >&2; exit 1; }

for i in $(seq 60); do echo "the quick brown fox number $i jumps over the lazy dog and says hello to user and assistant"; done >text.txt
"$LOAM" tokenizer train --vocab-size 300 --special '<|im_start|>' --special '<|im_end|>' text.txt -o model >out 2>err ||
    fail "tokenizer: $(cat err)"
python3 - <<'PYTHON'
import json
json.dump({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 64,
           "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
           "max_position_embeddings": 65536, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": True}, open("shape.json", "w"))
PYTHON
"$LOAM" init --config shape.json -o model --seed 1 >out 2>err || fail "init: $(cat err)"
chat() { "$LOAM" chat model --template chatml --threads 1 --temperature 0 --seed 1 "$@"; }

# Through a pipe: one reply a line, empty lines passed over, /quit ends it.
printf 'hello\n\nhow are you\r\n/quit\nnever read\n' | chat --max-tokens 5 >out 2>err || fail "pipe: $(cat err)"
[ "$(grep -c 'tokens/s' err)" = 2 ] || fail "pipe: two lines, replies: $(cat err)"
printf '' | chat >out 2>err || fail "nothing said: $(cat err)"
[ -s out ] && fail "nothing said, something answered"
printf 'no newline at the end' | chat --max-tokens 3 >out 2>err || fail "last line: $(cat err)"
[ "$(grep -c 'tokens/s' err)" = 1 ] || fail "last line: $(cat err)"
# A zero byte is a byte of the message.
printf 'a\0b\n' | chat --max-tokens 3 --debug >out 2>err || fail "zero byte: $(cat err)"
printf 'ab\n' | chat --max-tokens 3 --debug >out 2>err2 || fail "zero byte: $(cat err2)"
python3 - <<'PYTHON' || fail "a zero byte was lost"
count = lambda path: int(open(path, "rb").read().split(b"--- sent, ")[1].split()[0])
assert count("err") == count("err2") + 1, (count("err"), count("err2"))
PYTHON
# What does not fit is said, the conversation goes on, the status tells of it.
python3 -c 'print("x y " * 40000); print("hello")' | chat --max-tokens 4 >out 2>err
[ $? = 2 ] || fail "too long: status"
grep -q "context" err || fail "too long: $(head -c 300 err)"
[ "$(grep -c 'tokens/s' err)" = 1 ] || fail "too long: did not go on: $(head -c 300 err)"

cat >terminal.py <<'PYTHON'
"""A terminal: starts loam chat on it, types, and waits for what must come."""
import os, pty, select, signal, subprocess, sys, time
loam = os.environ["LOAM"]

class Terminal:
    def __init__(self, *arguments):
        self.seen = b""
        master, slave = pty.openpty()
        self.master = master
        def own():
            os.setsid()
            import fcntl, termios
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        self.process = subprocess.Popen([loam, "chat", "model", "--template", "chatml", "--threads", "1", *arguments],
                                        stdin=slave, stdout=slave, stderr=slave, preexec_fn=own,
                                        env={**os.environ, "TERM": "xterm", "HOME": os.getcwd()})
        os.close(slave)

    def read(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            got = os.read(self.master, 65536)
        except OSError:
            return False
        self.seen += got
        return bool(got)

    def wait(self, text, count=1, seconds=30):
        end = time.time() + seconds
        while self.seen.count(text) < count:
            assert time.time() < end, f"waited for {count} of {text!r}, saw {self.seen[-600:]!r}"
            self.read(0.1)

    def type(self, keys):
        os.write(self.master, keys)

    def ends(self, status, seconds=30):
        end = time.time() + seconds
        while self.process.poll() is None:
            assert time.time() < end, f"does not end, saw {self.seen[-600:]!r}"
            self.read(0.1)
        while self.read(0):
            pass
        assert self.process.returncode == status, (self.process.returncode, self.seen[-600:])

# A reply, Ctrl-C at the prompt (twice, the second with a half-typed line), another reply, Ctrl-D.
t = Terminal("--max-tokens", "4")
t.wait(b"> ")
t.type(b"hello\r")
t.wait(b"tokens/s")
t.wait(b"> ", 2)
t.type(b"\x03")
t.wait(b"> ", 3)
t.type(b"half a line")
t.wait(b"half a line")
t.type(b"\x03")
t.wait(b"> ", 4)
t.type(b"hello\r")
t.wait(b"tokens/s", 2)
t.wait(b"> ", 5)
t.type(b"\x04")
t.ends(0)

# Ctrl-D during a reply: the reply is said to its end, then the chat ends.
t = Terminal("--max-tokens", "3000", "--temperature", "0")
t.wait(b"> ")
t.type(b"hello\r")
t.wait(b"hello\r\n")
t.type(b"\x04")
t.ends(0)
assert b"\n3000 tokens" in t.seen, t.seen[-300:]

# Ctrl-C during a reply that would go on for very long; the chat goes on; /quit.
t = Terminal("--max-tokens", "30000", "--temperature", "0")
t.wait(b"> ")
t.type(b"hello\r")
t.wait(b"hello\r\n")
time.sleep(0.3)
assert b"tokens/s" not in t.seen, "the reply ended before it could be stopped"
t.type(b"\x03")
t.wait(b"> ", 2)
assert b"tokens/s" in t.seen and b"30000 tokens" not in t.seen, t.seen[-300:]
t.type(b"/quit\r")
t.ends(0)

# SIGTERM during a reply and at the prompt ends the program.
t = Terminal("--max-tokens", "30000", "--temperature", "0")
t.wait(b"> ")
t.type(b"hello\r")
time.sleep(0.3)
t.process.send_signal(signal.SIGTERM)
t.ends(1)
assert b"ended on request" in t.seen, t.seen[-300:]
t = Terminal("--max-tokens", "4")
t.wait(b"> ")
t.process.send_signal(signal.SIGTERM)
t.ends(1)
PYTHON
python3 terminal.py || fail "on a terminal: see above"
