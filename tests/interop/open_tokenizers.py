"""Tokenizers of every format that loam reads, written as tokenizer.json: `tokenizers`, `transformers` and loam itself give the ids that loam
gives for the source, and the sources' own libraries (sentencepiece, tiktoken) give them too.

    pip install -r tests/interop/requirements.txt
    python tests/interop/open_tokenizers.py build/loam ../shared/data

Texts: the vectors of the shared data, slices of its books, random strings of nasty characters. A line a source; ends with 1 where any id
differs. Known differences, which are left out: strings in which sentencepiece's sums of single-precision scores decide between two equally
good ways (Unigram models only; loam and tokenizers sum in double precision), and grapheme clusters that tokenizers' Precompiled maps as a whole.
"""
import base64
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import unicodedata

import sentencepiece
import tiktoken
import tokenizers
import transformers

SOURCES = ["gpt2/encoder.json", "gpt2/vocab.bpe", "llama2-spm/tokenizer.model", "llama2-spm/tokenizer.bin", "llama3-tiktoken/tokenizer.model",
           "qwen/qwen.tiktoken", "llamacpp-vocab/ggml-vocab-gpt-2.gguf", "llamacpp-vocab/ggml-vocab-llama-spm.gguf",
           "swift-transformers/gpt2_tokenizer.json", "swift-transformers/llama_tokenizer.json", "torchtune-tiny/m.model",
           "torchtune-tiny/tiktoken_small.model", "torchtune-tiny/tiny_bpe_vocab.json", "torchtune-tiny/tiny_bpe_tokenizer.json",
           "torchtune-tiny/tokenizer.json", "torchtune-tiny"]
FAMILY = {"torchtune-tiny/tiktoken_small.model": ["--family", "llama3"], "torchtune-tiny/tiny_bpe_vocab.json": ["--family", "qwen2"]}
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CLUSTERS = ("torchtune-tiny/m.model",)    # compared with the others without characters that join the one before them
NASTY = ("aab \t  ▁'sStT09.,!?-_()\u00a0\u3000\u200b\u2028éñÅA\u030a\u0301e\u0301İıſKß日本語한국어ﬁ①½ㄱ가각ＡＢ１🤗👍🏽👩‍👩‍👧🇩🇪\u0e33\u0915\u094d\u0937שם"
         "\x00\x07\x7f\u00ad\ufeff\ufffd")


def texts_of(shared):
    random.seed(7)
    base = shared / "tokenizers"
    texts = [item["text"] for item in json.loads((base / "swift-transformers/baselines-A/inputs.json").read_text())["inputs"]]
    for name in ("gpt-2", "llama-bpe", "llama-spm"):
        texts += (base / f"llamacpp-vocab/ggml-vocab-{name}.gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    book = (shared / "text/the-verdict.txt").read_text()
    for _ in range(400):
        start = random.randrange(len(book) - 400)
        texts.append(book[start:start + random.randrange(1, 400)])
    for _ in range(2500):
        texts.append("".join(random.choice(NASTY) for _ in range(random.randrange(1, 40))))
    for _ in range(600):
        texts.append(" ".join(random.choice(["banana", "anana", "  ", "llll", "aaaaaaa", "<s>", "</s>", "<|endoftext|>", "<|im_start|>", "1234567"])
                              for _ in range(random.randrange(1, 9))))
    lines = [text for text in texts if "\n" not in text]
    return lines, [text for text in texts if "\n" in text][:12]


def ids_of(loam, source, options, lines, whole):
    def run(more, text):
        done = subprocess.run([loam, "tokenizer", "encode", source, *options, *more], input=text.encode(), check=True, capture_output=True)
        return [[int(i) for i in line.split()] for line in done.stdout.decode().split("\n")]
    found = run(["--lines"], "\n".join(lines) + "\n")[:len(lines)]
    return found + [run([], text)[0] for text in whole]


def joins(character):
    return unicodedata.category(character)[0] == "M" or character in "\u200d\u0e33" or 0x1F3FB <= ord(character) <= 0x1F3FF


def own_library(source):
    """How the source's own library encodes a text without special tokens; None where it has none."""
    if source.suffix == ".model" and source.read_bytes()[0] == 0x0A:
        return sentencepiece.SentencePieceProcessor(model_file=str(source)).encode
    if source.suffix == ".tiktoken" or source.suffix == ".model":
        ranks = {base64.b64decode(a): int(b) for a, b in (line.split() for line in source.read_bytes().splitlines() if line)}
        qwen = source.suffix == ".tiktoken"
        library = tiktoken.Encoding("x", pat_str=LLAMA3.replace("{1,3}", "") if qwen else LLAMA3, mergeable_ranks=ranks, special_tokens={})
        return lambda text: library.encode_ordinary(unicodedata.normalize("NFC", text) if qwen else text)
    return None


def differences(texts, wanted, found, what):
    wrong = [(text, a, b) for text, a, b in zip(texts, wanted, found) if a != b]
    for text, a, b in wrong[:3]:
        print(f"  {what}: {text!r}\n    loam {a}\n    {what} {b}")
    return len(wrong)


def check(loam, shared, folder, name, lines, whole):
    source, options = shared / "tokenizers" / name, FAMILY.get(name, [])
    library, wrong = own_library(source) if source.is_file() else None, 0
    if library:
        wanted = [library(text) for text in lines + whole]
        wrong = differences(lines + whole, ids_of(loam, source, options, lines, whole), wanted, "its own library")
    if name in CLUSTERS:
        lines, whole = ([text for text in list if not any(joins(c) for c in text)] for list in (lines, whole))
    texts = lines + whole
    place = folder / name.replace("/", "-")
    subprocess.run([loam, "tokenizer", "convert", source, *options, "-o", place], check=True, capture_output=True)
    fast = tokenizers.Tokenizer.from_file(str(place / "tokenizer.json"))
    auto = transformers.AutoTokenizer.from_pretrained(str(place))
    plain, special, around = (ids_of(loam, source, options + more, lines, whole)
                              for more in ([], ["--special"], ["--special", "--add-special"]))
    again = ids_of(loam, place, ["--special", "--add-special"], lines, whole)
    wrong += differences(texts, around, again, "loam again")
    fast.encode_special_tokens = False
    wrong += differences(texts, special, [e.ids for e in fast.encode_batch(texts, add_special_tokens=False)], "tokenizers")
    wrong += differences(texts, around, [e.ids for e in fast.encode_batch(texts)], "tokenizers, specials around")
    fast.encode_special_tokens = True
    theirs = [e.ids for e in fast.encode_batch(texts, add_special_tokens=False)]
    if name in CLUSTERS:    # its Unigram finds the special token in the text all the same
        theirs = [a if "s>" in text else b for text, a, b in zip(texts, plain, theirs)]
    wrong += differences(texts, plain, theirs, "tokenizers, specials as text")
    wrong += differences(texts, around, [auto(text).input_ids for text in texts], "transformers")
    stream = subprocess.run([loam, "tokenizer", "decode", place], input="\n".join(" ".join(map(str, ids)) for ids in plain).encode(), check=True,
                            capture_output=True).stdout
    theirs = "\n".join(fast.decode(ids, skip_special_tokens=False) for ids in plain).encode()
    wrong += stream.decode(errors="replace") != theirs.decode()    # of texts that are cut within a character: the bytes, or U+FFFD
    print(f"{name}: {len(texts)} texts, {wrong} differences{', and its own library' if library else ''}")
    return wrong


def main():
    loam, shared = sys.argv[1], pathlib.Path(sys.argv[2])
    lines, whole = texts_of(shared)
    with tempfile.TemporaryDirectory() as folder:
        wrong = [check(loam, shared, pathlib.Path(folder), name, lines, whole) for name in (sys.argv[3:] or SOURCES)]
    sys.exit(1 if any(wrong) else 0)


main()
