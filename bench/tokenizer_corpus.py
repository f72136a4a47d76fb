#!/usr/bin/env python3
"""Text for measuring tokenizers, from what a machine has: English prose, code, other scripts, a third each.

    bench/tokenizer_corpus.py -o mixed.txt --megabytes 60 [--shared ../shared/data]

Prose: what packages bring as documentation (text, Markdown, manual pages). Code: C and C++ headers, Python, Perl,
JavaScript. Other scripts: the translations in message catalogues and the manual pages of other languages. A line of
16 characters or more that has been there already is left out, so that nearly all of the text is different; what part
that is stands in the output. Pieces of the three kinds are mixed, in an order that is always the same for the same
files. Needs nothing but Python's own library.
"""
import argparse
import gettext
import gzip
import os
import random
import re
import sys

PIECE = 16384  # characters that stay together
LONG = 16  # characters of a line that may stand there once only
SOURCES = {
    "prose": [("/usr/share/doc", (".txt", ".md", ".rst", ".gz", "copyright", "README", "NEWS")),
              ("/usr/share/man/man1", (".gz",)), ("/usr/share/man/man3", (".gz",)), ("/usr/share/man/man7", (".gz",)),
              ("/usr/share/info", (".gz",)), ("/usr/share/perl", (".pod",)),
              ("/usr/lib/python3", (".txt", ".md", ".rst", "METADATA"))],
    "code": [("/usr/include", (".h", "")), ("/usr/lib/python3.11", (".py",)), ("/usr/lib/python3", (".py",)),
             ("/usr/share/perl", (".pm", ".pl")), ("/usr/share/javascript", (".js",)), ("/usr/lib/gcc", (".h",))],
    "other": [("/usr/share/locale", (".mo",)), ("/usr/share/vim", (".mo",)), ("/usr/share/man", (".gz",))],
}


def files_of(kind):
    for root, endings in SOURCES[kind]:
        for folder, folders, names in os.walk(root):
            folders.sort()
            if kind == "other" and root.endswith("/man") and re.search(r"/man(/man\d.*)?$", folder):
                continue  # the English pages
            for name in sorted(names):
                path = os.path.join(folder, name)
                if name.endswith(endings) and os.path.isfile(path) and not os.path.islink(path):
                    yield path


def manual_words(text):
    """A manual page without the commands of its formatter."""
    lines = [line for line in text.split("\n") if not line.startswith((".", "'"))]
    return re.sub(r"\\f.|\\&|\\[cs]?[-+]?\d?", "", "\n".join(lines))


def text_of(path):
    try:
        if path.endswith(".mo"):
            with open(path, "rb") as file:
                catalogue = gettext.GNUTranslations(file)._catalog
            return "\n".join(v for k, v in sorted(catalogue.items(), key=str) if k and v and v.strip())
        with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
            text = file.read().decode("utf-8")
        return manual_words(text) if "/man/" in path else text
    except (OSError, UnicodeDecodeError, EOFError, ValueError):
        return ""  # not text after all


def pieces_of(kind, wanted, shared):
    """At most `wanted` bytes in pieces that lines begin and end; files in a random order that is always the same."""
    paths = list(files_of(kind))
    random.Random(kind).shuffle(paths)
    if shared and kind == "prose":
        paths = [os.path.join(folder, name) for folder, _, names in sorted(os.walk(shared)) for name in sorted(names)
                 if name.endswith((".txt", ".en"))] + paths
    seen, pieces, size, current, length = set(), [], 0, [], 0
    for path in paths:
        for line in text_of(path).replace("\0", "").splitlines(keepends=True):
            if len(line) >= LONG:
                key = hash(line.strip())
                if key in seen:
                    continue
                seen.add(key)
            current.append(line if line.endswith("\n") else line + "\n")
            length += len(line)
            if length >= PIECE:
                pieces.append("".join(current))
                size += len(pieces[-1].encode())
                current, length = [], 0
                if size >= wanted:
                    return pieces
    return pieces + ["".join(current)]


def different(pieces):
    """Bytes of the lines that stand there once, or for the first time."""
    seen, fresh = set(), 0
    for piece in pieces:
        for line in piece.splitlines(keepends=True):
            if line not in seen:
                seen.add(line)
                fresh += len(line.encode())
    return fresh


def build(megabytes, shared=None, tell=None):
    """The pieces, mixed."""
    mixed = []
    for kind in SOURCES:
        pieces = pieces_of(kind, megabytes * 1e6 / 3, shared)
        if tell:
            tell(f"{kind}: {sum(len(p.encode()) for p in pieces) / 1e6:.1f} MB")
        mixed += pieces
    random.Random(1).shuffle(mixed)
    return mixed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", required=True, metavar="FILE")
    parser.add_argument("--megabytes", type=float, default=60)
    parser.add_argument("--shared", metavar="DIR", help="a folder with more texts")
    options = parser.parse_args()
    pieces = build(options.megabytes, options.shared, print)
    total = sum(len(piece.encode()) for piece in pieces)
    with open(options.out, "w", encoding="utf-8", newline="") as file:
        file.write("".join(pieces))
    print(f"{options.out}: {total / 1e6:.1f} MB in {len(pieces)} pieces, {different(pieces) / 1e6:.1f} MB of it in "
          "lines that stand there for the first time")


if __name__ == "__main__":
    sys.exit(main())
