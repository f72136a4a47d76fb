#!/usr/bin/env python3
"""Encoding speed of loam, tiktoken and tokenizers: one text, one thread, the same vocabulary, ids compared first.

    bench/tokenizer.sh && bench/tokenizer_peers.py gpt2_tokenizer.json llama3/tokenizer.json --shared ../shared/data

Each vocabulary is a byte-level BPE tokenizer.json whose ids follow its merges, as GPT-2's and Llama 3's do: tiktoken takes
ids for ranks. The text is made by tokenizer_corpus.py, 60 MB of prose, code and other scripts, and cut at line ends into
texts of 16 KB or a little more. Everybody encodes these one after the other in its own process, through its library, with
neither start, loading, reading nor printing counted: loam through lm_tokenizer_encode (bench/tokenizer.c), tiktoken through
encode_ordinary, tokenizers through encode_batch_fast with one thread, which keeps no offsets, as the two others keep none.
Rounds alternate; the median counts. loam and tiktoken also encode the whole text at once. A difference in the ids ends the
script with status 1 before any speed is printed.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy
import tiktoken
import tokenizers

import tokenizer_corpus

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
PART = 16384  # bytes


def byte_of():
    """GPT-2's alphabet: the character that stands for each byte, turned round."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(c): c for c in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


def tiktoken_of(content):
    alphabet = byte_of()
    added = {token["content"] for token in content["added_tokens"]}
    ranks = {bytes(alphabet[c] for c in token): id for token, id in content["model"]["vocab"].items()
             if token not in added}
    splits = [step["pattern"]["Regex"] for step in content["pre_tokenizer"].get("pretokenizers", [])
              if step["type"] == "Split"]
    return tiktoken.Encoding("peer", pat_str=splits[0] if splits else GPT2, mergeable_ranks=ranks, special_tokens={})


def cut(data):
    parts, at = [], 0
    while at < len(data):
        end = data.find(b"\n", at + PART) + 1
        parts.append(data[at:end or len(data)])
        at += len(parts[-1])
    return parts


class Loam:
    def __init__(self, program, vocabulary, data, parts, folder):
        self.command = [program, vocabulary, os.path.join(folder, "text"), os.path.join(folder, "lengths"),
                        os.path.join(folder, "ids")]
        with open(self.command[2], "wb") as file:
            file.write(data)
        with open(self.command[3], "w") as file:
            file.write("\n".join(str(len(part)) for part in parts))

    def run(self):
        done = subprocess.run(self.command, stdout=subprocess.PIPE, check=True, text=True)
        self.loading, seconds, self.whole, self.before, self.more = map(float, done.stdout.split())
        return seconds, numpy.fromfile(self.command[4], dtype=numpy.int32)


def timed(encode):
    start = time.perf_counter()
    result = encode()
    return time.perf_counter() - start, result


def check_same(name, ids, wanted):
    ids = numpy.array(ids, dtype=numpy.int32)
    if numpy.array_equal(ids, wanted):
        return
    shorter = min(len(ids), len(wanted))
    differ = numpy.nonzero(ids[:shorter] != wanted[:shorter])[0]
    at = int(differ[0]) if len(differ) else shorter
    sys.exit(f"{name} differs from loam at token {at}: {ids[at:at + 5]}, loam {wanted[at:at + 5]}")


def compare(vocabulary, text, options):
    with open(vocabulary, encoding="utf-8") as file:
        content = json.load(file)
    for token in content["added_tokens"]:  # tokenizers always matches them, loam and tiktoken only when asked
        text = text.replace(token["content"], "")
    data = text.encode()
    parts = cut(data)
    texts = [part.decode() for part in parts]
    megabytes = len(data) / 1e6
    rank, whole = tiktoken_of(content), tokenizers.Tokenizer.from_file(vocabulary)
    whole.no_padding(), whole.no_truncation()
    times = {"loam": [], "loam, at once": [], "tiktoken": [], "tiktoken, at once": [], "tokenizers": []}
    with tempfile.TemporaryDirectory() as folder:
        loam = Loam(options.program, vocabulary, data, parts, folder)
        for round in range(options.rounds):
            seconds, ids = loam.run()
            times["loam"].append(seconds)
            times["loam, at once"].append(loam.whole)
            seconds, result = timed(lambda: [rank.encode_ordinary(part) for part in texts])
            times["tiktoken"].append(seconds)
            count = sum(map(len, result))
            if round == 0:
                check_same("tiktoken", [id for part in result for id in part], ids[:count])
            seconds, result = timed(lambda: rank.encode_ordinary(text))
            times["tiktoken, at once"].append(seconds)
            if round == 0:
                check_same("tiktoken, at once", result, ids[count:])
            del result
            if round >= options.slow_rounds:
                continue
            seconds, result = timed(lambda: whole.encode_batch_fast(texts, add_special_tokens=False))
            times["tokenizers"].append(seconds)
            if round == 0:
                check_same("tokenizers", [id for part in result for id in part.ids], ids[:count])
            del result
    print(f"{vocabulary}: {count} tokens, the same from all; loam loads in {loam.loading * 1e3:.0f} ms and takes "
          f"{loam.more / 1024:.1f} MiB of memory while it encodes")
    own = {name: statistics.median(times[name]) for name in times}
    for name, seconds in own.items():
        mine = own["loam, at once"] if name.endswith("at once") else own["loam"]
        ratio = "" if name.startswith("loam") else f"; loam is {seconds / mine:.2f} times as fast"
        print(f"  {name}: {megabytes / seconds:.1f} MB/s{ratio}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocabularies", nargs="+", metavar="TOKENIZER.JSON")
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--shared", metavar="DIR", help="a folder with more texts")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, default=1, help="rounds of tokenizers, which takes a minute for one")
    parser.add_argument("--program", default="build/tokenizer_bench")
    options = parser.parse_args()
    pieces = tokenizer_corpus.build(options.megabytes, options.shared)
    text = "".join(pieces)
    print(f"text: {len(text.encode()) / 1e6:.1f} MB, {tokenizer_corpus.different(pieces) / 1e6:.1f} MB in lines that stand "
          f"there for the first time; tiktoken {tiktoken.__version__}, tokenizers {tokenizers.__version__}")
    for vocabulary in options.vocabularies:
        compare(vocabulary, text, options)


if __name__ == "__main__":
    main()
