#!/bin/bash
# loam look and loam learn from outside: what scripts rely on, every form of a page, what a person can get wrong, a large picture.
# look_pages.sh opens the pages in a browser.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
failed=0
fail() { echo "FAILED: $*" >&2; failed=1; }
says() {    # says STATUS WORDS... -- ARGUMENTS...
    local wanted=$1 words=() status
    shift
    while [ "$1" != -- ]; do words+=("$1"); shift; done
    shift
    timeout 60 "$LOAM" "$@" >out 2>err </dev/null
    status=$?
    [ $status = "$wanted" ] || fail "loam $*: status $status, wanted $wanted: $(cat err)"
    for word in "${words[@]}"; do
        [ -n "$word" ] || continue
        grep -qF -- "$word" out err || fail "loam $*: wanted '$word' in: $(head -c 400 out) $(cat err)"
    done
}

for i in $(seq 40); do echo "the quick brown fox number $i says hello to the lazy dog"; done >text.txt
"$LOAM" tokenizer train --vocab-size 300 --special '<|endoftext|>' text.txt -o model 2>/dev/null || fail tokenizer
cat >shape.json <<'JSON'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 12,
 "num_attention_heads": 12, "num_key_value_heads": 4, "intermediate_size": 64, "max_position_embeddings": 640, "rms_norm_eps": 1e-5,
 "hidden_act": "silu", "tie_word_embeddings": true}
JSON
"$LOAM" init --config shape.json -o model --seed 1 2>/dev/null || fail init
cp -r model other && "$LOAM" init --config shape.json -o other2 --seed 2 2>/dev/null
sentence="the quick fox says hello"

# Every command in every form.
for what in attention logits norms neurons step tokens; do
    says 0 "" -- look $what model --sentence "$sentence"
    [ -s out ] || fail "look $what: no text"
    grep -q $'\x1b' out && fail "look $what: colours where there is no terminal"
    says 0 "" -- look $what model --sentence "$sentence" --json
    python3 -c 'import json; page = json.load(open("out")); assert page["title"] and page["blocks"]' || fail "look $what --json"
    for form in html svg; do
        says 0 "" -- look $what model --sentence "$sentence" -o page.$form
        python3 - page.$form <<'PYTHON' || fail "look $what -o page.$form"
import re, sys, xml.etree.ElementTree as tree
text = open(sys.argv[1], encoding="utf-8").read()
pictures = [text] if sys.argv[1].endswith("svg") else re.findall(r"<svg.*?</svg>", text, re.S)
for picture in pictures:
    tree.fromstring(picture)
assert not re.search(r"(src|href)\s*=", text), "something is fetched"
PYTHON
    done
    LC_ALL=C "$LOAM" look $what model --sentence "$sentence" --width 60 >plain 2>/dev/null
    LC_ALL=C grep -q '[^ -~]' plain && fail "look $what: not plain without Unicode: $(LC_ALL=C grep -m1 '[^ -~]' plain)"
    awk 'length > 60 {exit 1}' plain || fail "look $what: wider than 60: $(awk 'length > 60' plain | head -1)"
done
says 0 "" -- train model --data text.txt -o run --steps 4 --batch 1 --seq 32
for what in "weights model other" "memory model --seq 32" "losses run"; do
    says 0 "" -- look $what --width 60
    [ -s out ] || fail "look $what: no text"
    says 0 "" -- look $what --json
    python3 -c 'import json; assert json.load(open("out"))' || fail "look $what --json"
    [[ $what == weights* ]] || says 0 "" -- look $what -o page.svg
    says 0 "" -- look $what -o page.html
    python3 - page.html $([[ $what == weights* ]] || echo page.svg) <<'PYTHON' || fail "look $what as a picture"
import re, sys, xml.etree.ElementTree as tree
for path in sys.argv[1:]:
    text = open(path, encoding="utf-8").read()
    for picture in [text] if path.endswith("svg") else re.findall(r"<svg.*?</svg>", text, re.S):
        root = tree.fromstring(picture)
        words = ["".join(t.itertext()).strip() for t in root.iter("{http://www.w3.org/2000/svg}text")]
        numbers = [float(w) for w in words if re.fullmatch(r"-?[0-9.]+(e[+-]?[0-9]+)?", w)]
        assert len(words) > len(numbers) > 1 and max(numbers) > min(numbers), (path, words)    # labels, and a range
PYTHON
done
says 0 "" -- look losses run -o curves.svg
grep -q "nats a token" curves.svg || fail "the curves' axis has no unit"
says 0 "" -- look attention model --sentence "$sentence" --colour always
grep -q $'\x1b\[48;5;' out || fail "no colours where they are asked for"
NO_COLOR=1 TERM=xterm script -qec "$LOAM look attention model --sentence '$sentence'" /dev/null </dev/null >out 2>/dev/null
grep -q Attention out || fail "NO_COLOR: nothing is shown"
grep -q $'\x1b\[48' out && fail "NO_COLOR is not heeded"
env -u NO_COLOR TERM=xterm script -qec "$LOAM look attention model --sentence '$sentence'" /dev/null </dev/null >out 2>/dev/null
grep -q $'\x1b\[48' out || fail "no colours on a terminal"
if command -v rsvg-convert >/dev/null; then
    says 0 "" -- look attention model --sentence "$sentence" -o picture.png
    [ "$(head -c 4 picture.png | tail -c 3)" = PNG ] || fail "picture.png is no PNG"
else
    echo "SKIP: no rsvg-convert here, so NO PNG WAS MADE; sh cmake/deps.sh test installs it" >&2
fi
(PATH=/nowhere "$LOAM" look attention model --sentence "$sentence" -o none.png 2>err)
grep -q "librsvg2-bin" err || fail "no rsvg-convert: $(cat err)"

# Contracts: one tensor of logits, gradients by name, a list of tensors.
says 0 "" -- look logits model --ids "1 2 3" --out logits.safetensors
says 0 "[3, 300]" logits -- look weights logits.safetensors
says 0 "the loss is" -- look step model --ids "1 2 3" --out step
says 0 "model.norm.weight" loss -- look weights step
says 0 "" -- look attention model --ids "1 2 3" -o attention.safetensors
says 0 "[12, 12, 3, 3]" rollout -- look weights attention.safetensors
says 0 "moved at most" -- look weights model other
python3 - "$LOAM" <<'PYTHON' || fail "the difference of equal checkpoints"
import json, subprocess, sys
page = json.loads(subprocess.run([sys.argv[1], "look", "weights", "model", "other", "--json"], capture_output=True).stdout)
rows = next(b for b in page["blocks"] if b.get("name") == "differences")["values"]
assert rows and all(row[0] == 0 and row[1] == 0 and abs(row[3] - 1) < 1e-9 for row in rows)
page = json.loads(subprocess.run([sys.argv[1], "look", "weights", "model", "other2", "--json"], capture_output=True).stdout)
rows = next(b for b in page["blocks"] if b.get("name") == "differences")["values"]
assert any(row[0] > 0 for row in rows)
PYTHON
says 0 spread -- look weights model --ranges

# What can be wrong.
says 2 "empty" -- look attention model --sentence ""
for what in attention logits norms neurons step; do
    says 2 "context is 640; shorten the text" -- look $what model --sentence "$(seq 500 | tr '\n' ' ')"
done
says 2 "layers 0 to 11" -- look attention model --sentence fox --layer 12
says 2 "heads 0 to 11" -- look attention model --sentence fox --layer 0 --head 12
says 2 "--layer" -- look attention model --sentence fox --head 1
says 2 "--sentence" -- look attention model
says 2 "both" -- look attention model --sentence fox --ids 1
says 2 "several forms" -- look norms model --ids "1 2" --json --svg a.svg
says 2 "--svg and --out" -- look logits model --ids "1 2" --svg a.svg -o logits.safetensors
says 2 "part of a model" -- look weights model -o model/config.json
says 2 "part of a model" -- look norms model --ids "1 2" --svg model/config.json
says 2 "part of a model" -- learn 5 -o model/tokenizer.json
[ -e a.svg ] && fail "a picture in spite of the refusal"
says 2 "at least 2" -- look step model --ids 1
says 0 "" -- look attention model --ids 1
for what in logits norms neurons; do says 0 "" -- look $what model --ids 1; done
says 0 "give two or more" -- look norms model --ids 1 --width 200
says 1 "nowhere" -- look attention nowhere --sentence fox
says 2 "1 to 14" -- learn 15
says 2 "empty" -- learn 5 --sentence "  "
says 0 "0.9544" -- learn 5
says 0 "Generation" -- learn
says 2 "choose one with --layer" -- look attention model --ids "$(for i in $(seq 512); do echo $((i % 300)); done | tr '\n' ' ')" -o wide.html
says 0 "" -- look tokens model --sentence ""
says 2 "no picture" -- look tokens model --sentence "" -o none.svg
for i in $(seq 14); do timeout 60 "$LOAM" learn $i --sentence "שלום 世界 🙂 a$(printf '\u0308')" --width 60 >out 2>err; status=$?
    [ $status = 0 ] || fail "learn $i in several scripts: $(cat err)"
    timeout 60 "$LOAM" learn $i --sentence "$(seq 400 | tr '\n' ' ')" >out 2>err; status=$?
    [ $status = 0 ] || { [ $status = 2 ] && grep -q "context is 128" err; } || fail "learn $i, a long sentence: $status $(cat err)"
done
printf 'a\xff\xfe\x1b[31mb' | "$LOAM" look tokens model --sentence - >out 2>err || fail "bytes that are no text: $(cat err)"
grep -q $'\x1b' out && fail "a token drives the terminal"
python3 - <<'PYTHON'
import json, struct
head = json.dumps({"\x1b]0;owned\x07\x1b[2J": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
open("named.safetensors", "wb").write(struct.pack("<Q", len(head)) + head + struct.pack("<2f", 1, 2))
PYTHON
for other in --ranges logits.safetensors; do
    "$LOAM" look weights named.safetensors $other >out 2>err || fail "a name that steers: $(cat err)"
    grep -q owned out || fail "the name is not shown: $(cat out)"
    grep -q $'[\x1b\x07]' out && fail "a tensor's name drives the terminal"
done

# Lessons on a model, and on one whose vocabulary knows no mark of any template.
"$LOAM" tokenizer train --vocab-size 300 text.txt -o bare 2>/dev/null && "$LOAM" init --config shape.json -o bare 2>/dev/null || fail bare
says 1 "no chat template" "--add-tokens" -- learn 13 bare
for lesson in 2 4 8 9 10 11 12 13 14; do says 0 "" -- learn $lesson model --sentence "$sentence"; done
"$LOAM" look weights model >after && "$LOAM" look weights other >before && cmp -s before after || fail "a lesson changed the model"
cmp -s model/model.safetensors other/model.safetensors || fail "a lesson changed the model's file"

# Twelve layers, twelve heads, sixty-four tokens.
"$LOAM" look attention model --ids "$(seq 0 63 | tr '\n' ' ')" -o large.html || fail "large page"
size=$(stat -c %s large.html)
[ "$size" -lt 3000000 ] || fail "the page of 12 layers, 12 heads and 64 tokens has $size bytes"
exit $failed
