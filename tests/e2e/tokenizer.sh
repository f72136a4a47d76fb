#!/bin/bash
# loam tokenizer on a vocabulary of its own: train, encode, decode, show and convert, and what they say to wrong input.
set -u
work=$(mktemp -d)
trap 'bash "$LOAM_SOURCE/tests/support/leave.sh" "$work" || exit 1' EXIT
cd "$work" || exit 1
fail() { echo "FAILED: $*" >&2; exit 1; }
tokenizer() { "$LOAM" tokenizer "$@"; }

for i in $(seq 200); do echo "the quick brown fox number $i jumps over the lazy dog, naïve as ever – 狐"; done >text.txt
tokenizer train text.txt --vocab-size 320 --special '<|im_start|>' --special '<|im_end|>' --threads 1 -o model >out 2>err || fail "train: $(cat err)"
tokenizer train text.txt --vocab-size 320 --special '<|im_start|>' --special '<|im_end|>' --threads 2 -o other >out 2>err || fail "train: $(cat err)"
cmp -s model/tokenizer.json other/tokenizer.json || fail "two threads learn something else than one"

# There and back, all of the input or line by line, any bytes.
for file in text.txt "$LOAM"; do
    head -c 20000 "$file" | tokenizer encode model >ids 2>err || fail "encode $file: $(cat err)"
    tokenizer decode model <ids >back || fail "decode $file"
    head -c 20000 "$file" | cmp -s - back || fail "$file: not the same bytes again"
done
tokenizer encode model --lines <text.txt >ids || fail "encode --lines"
[ "$(wc -l <ids)" = 200 ] || fail "--lines: $(wc -l <ids) lines of ids"

# Special tokens in a text are text unless asked for.
[ "$(printf '<|im_end|>' | tokenizer encode model --special | wc -w)" = 1 ] || fail "--special: not one token"
[ "$(printf '<|im_end|>' | tokenizer encode model | wc -w)" -gt 1 ] || fail "a special token came out of a plain text"

# Show: every byte of the text between bars, a line a token.
printf 'the naïve fox' | tokenizer show model >shown || fail show
[ "$(head -1 shown | tr -d '|')" = 'the naïve fox' ] || fail "show: $(head -1 shown)"
count=$(printf 'the naïve fox' | tokenizer encode model | wc -w)
[ "$(grep -cE '^ +[0-9]+ +[0-9]+  ' shown)" = "$count" ] || fail "show: not a line a token"
grep -q "^$count tokens, 14 bytes" shown || fail "show: $(tail -1 shown)"
printf 'the naïve fox' | tokenizer show model other --compare --json >compared || fail "compare"
python3 -c 'import json,sys
a, b = json.load(open("compared")); assert a["tokens"] == b["tokens"] == int(sys.argv[1]) and a["bytes"] == 14, a' "$count" || fail "compare: $(cat compared)"

# Where the result cannot be written is said before the work; a training that fails leaves no folder behind.
printf x >taken
tokenizer train nothing.txt --vocab-size 320 -o taken >out 2>err; [ $? = 1 ] || fail "a file as the folder: status"
grep -q '^loam: taken: ' err || fail "a file as the folder: $(cat err)"
tokenizer train nothing.txt --vocab-size 320 -o fresh >out 2>err; [ $? = 1 ] || fail "no text: status"
grep -q 'nothing.txt' err || fail "no text: $(cat err)"
[ ! -e fresh ] || fail "no text: a folder was left behind"

# What fine-tuning trains on: the assistant's words and its end of turn, and nothing else.
echo '{"messages":[{"role":"user","content":"the fox"},{"role":"assistant","content":"the dog"}]}' >chat.jsonl
tokenizer show model --conversations --template chatml <chat.jsonl >shown 2>err || fail "conversations: $(cat err)"
answer=$(printf 'the dog' | tokenizer encode model | wc -w)
[ "$(grep -c 'trained on)$' shown)" = $((answer + 1)) ] || fail "conversations: $(cat shown)"
[ "$(grep -c '(special, trained on)$' shown)" = 1 ] || fail "conversations: the end of the turn is not trained on"
grep 'trained on)$' shown | head -1 | grep -q ' the  (trained on)$' || fail "conversations: $(grep 'trained on)' shown)"
for wrong in "--conversations --special" "--template chatml" "--conversations --compare"; do
    tokenizer show model $wrong <chat.jsonl >out 2>err; [ $? = 2 ] || fail "$wrong: status"
done
echo '{}' | tokenizer show model --conversations --template chatml >out 2>err; [ $? = 1 ] || fail "no conversation: status"
grep -q 'standard input:1' err || fail "no conversation: $(cat err)"

# Converted, it gives the same ids; a target that is its own source is refused or the same.
tokenizer convert model -o converted >out 2>err || fail "convert: $(cat err)"
[ "$(tokenizer encode converted <text.txt)" = "$(tokenizer encode model <text.txt)" ] || fail "converted: other ids"

echo '1 2 100000' | tokenizer decode model >out 2>err; [ $? = 0 ] && fail "an id without a token was decoded"
grep -q 100000 err || fail "id without a token: $(cat err)"
exit 0
