#!/usr/bin/env python3
"""Training byte-level BPE: loam beside tokenizers, on the same text, the same processors, with the same merges.

    bench/tokenizer_training.py --text mixed.txt [--vocab-size 32000] [--threads 2] [--rounds 2]

The text (bench/tokenizer_corpus.py makes one) is cut at line ends into files of 1 MB or a little more, each a text of its own. Both
cut words by GPT-2's pattern and break ties by the lower ids. tokenizers gets the texts from memory (train_from_iterator),
loam, as a program, reads the files, loads itself and writes tokenizer.json. The lists of merges are compared first: a
difference ends the script with status 1. Also printed: the most memory each took.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

PART = 1 << 20


def cut(data):
    parts, at = [], 0
    while at < len(data):
        end = data.find(b"\n", at + PART) + 1
        parts.append(data[at:end or len(data)])
        at += len(parts[-1])
    return parts


def train_peer(texts, size, path):
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, special_tokens=[],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    start = time.perf_counter()
    tokenizer.train_from_iterator(texts, trainer)
    seconds = time.perf_counter() - start
    tokenizer.save(path)
    return seconds, tokenizers.__version__


def in_child(function):
    """Runs it in a child process of its own; gives its result (through JSON) and the most memory it took."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(write, "w") as file:
            json.dump(function(), file)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        result = json.load(file)
    _, status, usage = os.wait4(child, 0)
    if status:
        sys.exit("a child failed")
    return result, usage.ru_maxrss / 1024


def train_loam(program, files, size, threads, folder):
    command = [program, "tokenizer", "train", *files, "--vocab-size", str(size), "--threads", str(threads), "-o", folder]
    start = time.perf_counter()
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit("loam failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def merges_of(path):
    with open(path, encoding="utf-8") as file:
        merges = json.load(file)["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True)
    parser.add_argument("--vocab-size", type=int, default=32000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--program", default="build/loam")
    options = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(options.threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    with open(options.text, "rb") as file:
        parts = cut(file.read())
    size = sum(map(len, parts))
    own, peers = [], []
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, f"{i}.txt") for i in range(len(parts))]
        for path, part in zip(files, parts):
            with open(path, "wb") as file:
                file.write(part)
        ours, theirs = os.path.join(folder, "ours"), os.path.join(folder, "theirs.json")
        for round in range(options.rounds):
            own.append(train_loam(options.program, files, options.vocab_size, options.threads, ours))
            (seconds, version), memory = in_child(
                lambda: train_peer([part.decode() for part in parts], options.vocab_size, theirs))
            peers.append((seconds, memory))
        mine, wanted = merges_of(os.path.join(ours, "tokenizer.json")), merges_of(theirs)
    if mine != wanted:
        at = next((i for i, (a, b) in enumerate(zip(mine, wanted)) if a != b), min(len(mine), len(wanted)))
        sys.exit(f"merge {at} differs: loam {mine[at:at + 2]}, tokenizers {wanted[at:at + 2]}")
    seconds, peer = (statistics.median(s for s, _ in runs) for runs in (own, peers))
    print(f"{size / 1e6:.0f} MB, {options.vocab_size} tokens, {options.threads} threads: {len(mine)} merges, the same from both")
    print(f"  loam: {seconds:.1f} s, {max(m for _, m in own):.0f} MiB")
    print(f"  tokenizers {version}: {peer:.1f} s, {max(m for _, m in peers):.0f} MiB with the text; "
          f"loam is {peer / seconds:.2f} times as fast")


if __name__ == "__main__":
    main()
