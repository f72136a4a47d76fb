#!/usr/bin/env python3
"""Encoding speed of loam, tiktoken and tokenizers on one text, one thread, one vocabulary.

    bench/tokenizer_peers.py --vocabulary gpt2_tokenizer.json --text corpus.txt src/ [--megabytes 50]

The vocabulary is a byte-level BPE tokenizer.json with GPT-2's pattern whose ids follow its merges, as GPT-2's do:
tiktoken takes ids for ranks. The ids of all three are compared before a speed is printed; a difference ends the script
with status 1. loam is timed as a program, less what it takes on an empty text (start and loading): reading the text and
printing the ids count against it, and nothing of the kind counts against the peers.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tiktoken
import tokenizers

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
PIECE = 16384  # characters of one file that stay together when the text is mixed


def files_under(paths):
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            yield from (os.path.join(folder, name) for name in sorted(names))


def mixed_text(paths, size):
    """Pieces of all files in a random order that is always the same, over again where they do not suffice."""
    pieces = []
    for path in files_under(paths):
        with open(path, encoding="utf-8", errors="ignore") as file:
            text = file.read()
        pieces += [text[at:at + PIECE] for at in range(0, len(text), PIECE)]
    if not any(pieces):
        sys.exit("no text in the files given by --text")
    order, chosen, length = random.Random(1), [], 0
    while length < size:
        order.shuffle(pieces)
        for piece in pieces:
            chosen.append(piece)
            length += len(piece.encode())
            if length >= size:
                break
    own = sum(len(piece.encode()) for piece in pieces)
    return "".join(chosen), own


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
    return tiktoken.Encoding("peer", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})


def loam_run(program, vocabulary, data):
    start = time.perf_counter()
    done = subprocess.run([program, "tokenizer", "encode", vocabulary], input=data, stdout=subprocess.PIPE, check=True)
    return time.perf_counter() - start, done.stdout


def timed(encode, text):
    start = time.perf_counter()
    result = encode(text)
    return time.perf_counter() - start, result


def check_same(name, ids, wanted):
    if ids == wanted:
        return
    at = next((i for i, (a, b) in enumerate(zip(ids, wanted)) if a != b), min(len(ids), len(wanted)))
    sys.exit(f"{name} differs from loam at token {at}: {ids[at:at + 5]}, loam {wanted[at:at + 5]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", required=True, metavar="FILE")
    parser.add_argument("--text", required=True, nargs="+", metavar="PATH")
    parser.add_argument("--megabytes", type=float, default=50)
    parser.add_argument("--loam", default="build/loam", metavar="PROGRAM")
    options = parser.parse_args()
    with open(options.vocabulary, encoding="utf-8") as file:
        content = json.load(file)
    text, own = mixed_text(options.text, options.megabytes * 1e6)
    for token in content["added_tokens"]:  # tokenizers always matches them, loam and tiktoken only when asked
        text = text.replace(token["content"], "")
    data = text.encode()
    print(f"text: {len(data) / 1e6:.1f} MB, of which {min(own, len(data)) / 1e6:.1f} MB differ")
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(os.path.abspath(options.vocabulary), os.path.join(folder, "tokenizer.json"))
        loading = min(loam_run(options.loam, folder, b"")[0] for _ in range(3))
        seconds, printed = loam_run(options.loam, folder, data)
    ids = [int(id) for id in printed.split()]
    own_speed = len(data) / 1e6 / (seconds - loading)
    print(f"loam: {own_speed:.1f} MB/s (started and loaded in {loading * 1e3:.0f} ms), {len(ids)} tokens")
    peer = tiktoken_of(content)
    report("tiktoken", tiktoken.__version__, timed(peer.encode_ordinary, text), ids, len(data), own_speed)
    peer = tokenizers.Tokenizer.from_file(options.vocabulary)
    result = timed(lambda whole: peer.encode(whole, add_special_tokens=False), text)
    report("tokenizers", tokenizers.__version__, (result[0], result[1].ids), ids, len(data), own_speed)


def report(name, version, result, wanted, length, own_speed):
    seconds, ids = result
    check_same(name, ids, wanted)
    speed = length / 1e6 / seconds
    print(f"{name} {version}: {speed:.1f} MB/s; same ids; loam is {own_speed / speed:.2f} times as fast")


if __name__ == "__main__":
    main()
