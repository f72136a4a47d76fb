#!/usr/bin/env python3
"""A large text to train tokenizers on: words of a real text and made-up ones, drawn by Zipf's law.

    bench/tokenizer_training_corpus.py mixed.txt -o big.txt --megabytes 1000

Natural text of that size has some millions of different words, most of them rare: so has this one. The same arguments give
the same text. Needs numpy.
"""
import argparse
import re

import numpy

BLOCK = 2_000_000  # words at a time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source")
    parser.add_argument("-o", "--out", required=True)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--made-up", type=int, default=3_000_000, help="words of random letters beside the real ones")
    options = parser.parse_args()
    draw = numpy.random.default_rng(1)
    with open(options.source, encoding="utf-8") as file:
        counts = {}
        for word in re.findall(r"\S+\s*", file.read()):
            counts[word] = counts.get(word, 0) + 1
    words = sorted(counts, key=lambda word: (-counts[word], word))
    letters = "etaoinshrdlcumwfgypbvk"
    lengths = draw.integers(5, 14, options.made_up)
    picks = draw.integers(0, len(letters), int(lengths.sum()))
    at = 0
    for length in lengths:
        words.append("".join(letters[i] for i in picks[at:at + length]) + " ")
        at += length
    table = numpy.array([word.encode() for word in words], dtype=object)
    weights = 1 / (numpy.arange(len(table)) + 3.0)
    sums = numpy.cumsum(weights / weights.sum())
    size = 0
    with open(options.out, "wb") as file:
        while size < options.megabytes * 1e6:
            places = numpy.minimum(numpy.searchsorted(sums, draw.random(BLOCK)), len(table) - 1)
            block = b"".join(table[places].tolist())
            size += len(block)
            file.write(block)
    print(f"{options.out}: {size / 1e6:.0f} MB, {len(table)} words to draw from")


if __name__ == "__main__":
    main()
