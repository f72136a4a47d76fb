"""What Hugging Face's tokenizers 0.23.3 makes of nasty texts with small tokenizers: every normalizer, pre-tokenizer, model option,
post-processor, decoder and flag of an added token.

    python tests/golden/make_tokenizers.py            # writes tests/golden/tokenizers.json

{"texts": [...], "cases": [{"name", "tokenizer": what tokenizer.json holds, "encodings": [{"text": index, "ids", "places": [start, end, ...]
in bytes, "plain": ids with special tokens as text, "around": ids with what the post-processor adds, "decoded", "skipped"}],
"decodings": [{"ids", "decoded"}]}]}. Members that are equal to "ids" or absent are left out. Where a case tests a normalizer or a
pre-tokenizer, its vocabulary is word-level and holds the pieces themselves, so that ids show where pieces begin and end.
"""
import base64
import json
import pathlib
import struct

from tokenizers import Tokenizer

TEXTS = [
    "", " ", "a", "Hello, world!", "  two  spaces  ", "\ttabs\n\nand\r\nlines ", "it's WE'RE don't 'S", "Ünïcödé İstanbul ßẞ ǅ",
    "e\u0301a\u0308\u0323 \u1e9b\u0323 \u212b \ufb01\u0301 \uff21\uff11", "\u00c5\u212b\u0041\u030a", "한국어 \u1100\u1161\u11a8 각",
    "日本語のテキスト、。「」", "mixed漢字and\u3000ideographic\u00a0space", "123 4567 ٣٤٥ Ⅷ ½ ²", "👩‍👩‍👧‍👦 🇩🇪🇫🇷 👍🏽 e\u0301\u0302\u0303",
    "zero\u200bwidth\u200djoiner\ufeffbom\u00adsoft", "control\x00\x01\x7f\x85chars\ufffd", "snake_case-kebab.dot/slash@at #hash $1.50 50%",
    "<s>in</s> <unk> [CLS]x[MASK] <|x|>", "▁already▁spaced ▁", "don't?! ... n't 'm do not ' s 've", "\u0e01\u0e33 \u0e40\u0e01\u0e32 ประเทศไทย",
    "\u0915\u094d\u0937 हिन्दी \u09be\u09bc", "\u202eRTL\u202c שלום مرحبا", "aaaa bbbb abab", "x" * 30, "tab\tunit\x1fsep\u2028line\u2029para",
    "\u0130\u0131Iiſ K\u212a", "a\u0300\u0300\u0300b", "🤗 hug🤗s  🤗", "\u2460\u24b6 \U0001F130 \U00010400\U00010428 \U0001D400",
    "one<tok>two <tok> three<tok>four", "tokword wordtok tok TOK <TOK>", "\u1e0d\u0307 \u0323\u0307d", "１２３ＡＢＣ ｶﾞ ㌔ ﷺ",
]
DECODER_TOKENS = ["▁Hello", "▁", "world", "##ing", "the", " n't", "'m", " .", "do", " not", "<0x41>", "<0xE4>", "<0xB8>", "<0x96>", "<0xFF>",
                  "Ġcat", "ä", "ð", "Ł", "ĺ", "Ĥ", "low</w>", "er</w>", "</w>", "aaXbXX", "  x  ", "<s>", "é", "日", "▁▁a▁", "?", " ?"]
DECODINGS = [[], [0], [0, 1, 2], [1, 0, 2, 3, 4], [4, 3, 5, 6, 7, 8, 9], [10, 11, 12, 13, 2], [11, 12, 13, 14], [14, 10, 14, 0], [15, 4, 16],
             [17, 18, 19, 20], [21, 22, 4, 23, 21], [21, 21], [24, 25, 24], [25, 25], [26, 0, 26, 29], [27, 28, 15], [29, 1, 1, 29],
             [4, 30, 31, 4, 7], [2, 11], [11, 11, 2], [17, 4, 18]]


def wordlevel(pieces, unknown="<unk>"):
    vocabulary = {unknown: 0}
    for piece in pieces:
        vocabulary.setdefault(piece, len(vocabulary))
    return {"type": "WordLevel", "vocab": vocabulary, "unk_token": unknown}


def whole(model, added=(), normalizer=None, pre=None, post=None, decoder=None):
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": list(added), "normalizer": normalizer,
            "pre_tokenizer": pre, "post_processor": post, "decoder": decoder, "model": model}


def added(number, content, **flags):
    plain = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    return {"id": number, "content": content, **plain, **flags}


def sequence(key, *parts):
    return {"type": "Sequence", key: list(parts)}


def pieces_of(normalizer, pre):
    """All pieces that the texts give, as a word-level vocabulary of everything would see them."""
    spare = Tokenizer.from_str(json.dumps(whole(wordlevel([]), normalizer=normalizer, pre=pre)))
    found = []
    for text in TEXTS:
        normal = spare.normalizer.normalize_str(text) if normalizer else text
        found += [piece for piece, _ in spare.pre_tokenizer.pre_tokenize_str(normal)] if pre else [normal]
        # A prefix that only the text's beginning has is seen here as well: each text is one section.
    return sorted(set(found) - {""})


def precompiled(pairs):
    """A precompiled character map of these pairs: a double array as darts-clone's, one key after the other in a plain trie."""
    texts, places = b"", {}
    for old, new in pairs.items():
        places[old.encode()] = len(texts)
        texts += new.encode() + b"\0"
    trie = {}
    for key, place in places.items():
        node = trie
        for byte in key:
            node = node.setdefault(byte, {})
        node[None] = place
    units = {0: 0}
    queue, free = [(0, trie)], 1

    def fits(base, children):
        return all(base ^ (byte or 0) not in units for byte in children)

    while queue:
        at, node = queue.pop(0)
        base = at ^ 0
        base = next(b for b in range(256, 1 << 20) if fits(b, node) and (b ^ at) < 1 << 21)
        units[at] |= (base ^ at) << 10 | (1 << 8 if None in node else 0)
        for byte, child in node.items():
            if byte is None:
                units[base] = 1 << 31 | child
            else:
                units[base ^ byte] = byte
                queue.append((base ^ byte, child))
    size = max(units) + 1
    array = b"".join(struct.pack("<I", units.get(i, 0)) for i in range((size + 255) // 256 * 256))
    return base64.b64encode(struct.pack("<I", len(array)) + array + texts).decode()


def byte_alphabet():
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [b for b in range(256) if b not in kept]
    return {b: chr(b) for b in kept} | {b: chr(256 + i) for i, b in enumerate(rest)}


CHARSMAP = precompiled({"\u00c5": "A\u030a", "\ufb01": "fi", "e\u0301": "\u00e9", "\u3000": " ", "\t": " ", "\u200b": "", "\uff21": "A", "a": "b",
                        "\uff11": "1", "K": "kk", "\u1100\u1161": "\uac00", "e\u0301\u0302": "!"})

NORMALIZERS = {
    **{form: {"type": form} for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")},
    "Strip": {"type": "Strip", "strip_left": True, "strip_right": True},
    "Strip left": {"type": "Strip", "strip_left": True, "strip_right": False},
    "Strip right": {"type": "Strip", "strip_left": False, "strip_right": True},
    "Prepend": {"type": "Prepend", "prepend": "▁"},
    "Replace": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
    "Replace regex": {"type": "Replace", "pattern": {"Regex": " {2,}|\\p{P}"}, "content": "_x"},
    "Replace ends": {"type": "Replace", "pattern": {"Regex": "\\A +| +\\z"}, "content": ""},
    "Precompiled": {"type": "Precompiled", "precompiled_charsmap": CHARSMAP},
    "NFD and accents": sequence("normalizers", {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}),
    "Prepend and replace": sequence("normalizers", {"type": "Prepend", "prepend": "▁"},
                                    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}),
    "ByteLevel": {"type": "ByteLevel"},
}
for clean in (True, False):
    for chinese in (True, False):
        for accents in (None, True, False):
            for lower in (True, False):
                NORMALIZERS[f"Bert {clean:d}{chinese:d}{accents}{lower:d}"] = {
                    "type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": accents, "lowercase": lower}

BEHAVIOURS = ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous")
GPT4O = ("[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?"
         "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|"
         "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
LLAMA3 = ("(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")


def split(pattern, behaviour="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behaviour, "invert": invert}


def byte_level(prefix=False, regex=True, trim=False):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": regex}


PRETOKENIZERS = {
    **{f"Split regex {b} {i:d}": split("\\s|\\p{P}+", b, i) for b in BEHAVIOURS for i in (False, True)},
    **{f"Split string {b} {i:d}": split("a", b, i, "String") for b in BEHAVIOURS for i in (False, True)},
    **{f"Punctuation {b}": {"type": "Punctuation", "behavior": b} for b in BEHAVIOURS},
    "Digits": {"type": "Digits", "individual_digits": False},
    "Digits alone": {"type": "Digits", "individual_digits": True},
    "Whitespace": {"type": "Whitespace"}, "WhitespaceSplit": {"type": "WhitespaceSplit"}, "BertPreTokenizer": {"type": "BertPreTokenizer"},
    "CharDelimiterSplit": {"type": "CharDelimiterSplit", "delimiter": "-"},
    **{f"Metaspace {s} {b:d}": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": s, "split": b}
       for s in ("always", "first", "never") for b in (True, False)},
    **{f"ByteLevel {p:d}{r:d}": byte_level(p, r) for p in (True, False) for r in (True, False)},
    "Llama 3": split(LLAMA3), "GPT-4o": split(GPT4O),
    "Falcon": sequence("pretokenizers", {"type": "Punctuation", "behavior": "Contiguous"}, byte_level(),
                       {"type": "Digits", "individual_digits": False}, split("[0-9][0-9][0-9]")),
    "StarCoder": sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level()),
    "Words and digits": sequence("pretokenizers", {"type": "WhitespaceSplit"}, {"type": "Digits", "individual_digits": True},
                                 {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": True}),
}

DECODERS = {
    "none": None, "ByteLevel": byte_level(), "ByteFallback": {"type": "ByteFallback"}, "Fuse": {"type": "Fuse"},
    **{f"Metaspace {s}": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": s, "split": True} for s in ("always", "first", "never")},
    **{f"WordPiece {c:d}": {"type": "WordPiece", "prefix": "##", "cleanup": c} for c in (True, False)},
    "BPEDecoder": {"type": "BPEDecoder", "suffix": "</w>"},
    "Replace": {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    "Replace regex": {"type": "Replace", "pattern": {"Regex": "X+|▁$"}, "content": "."},
    "Strip": {"type": "Strip", "content": " ", "start": 1, "stop": 1},
    "Llama": sequence("decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
                      {"type": "Strip", "content": " ", "start": 1, "stop": 0}),
    "Gemma": sequence("decoders", {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}),
    "Fused replace": sequence("decoders", {"type": "Fuse"}, {"type": "Replace", "pattern": {"String": "aX"}, "content": "!"},
                              {"type": "Strip", "content": " ", "start": 2, "stop": 0}),
    "Bytes stripped": sequence("decoders", {"type": "ByteFallback"}, {"type": "Strip", "content": "A", "start": 1, "stop": 0}),
    "Suffix and bytes": sequence("decoders", {"type": "BPEDecoder", "suffix": "</w>"}, byte_level()),
}


def template(single, **ids):
    names = {"<s>": 1, "</s>": 2, **ids}
    def item(word):
        if word.startswith("$"):
            return {"Sequence": {"id": "A", "type_id": 0}}
        return {"SpecialToken": {"id": word, "type_id": 0}}
    return {"type": "TemplateProcessing", "single": [item(w) for w in single.split()],
            "pair": [item(w) for w in single.split()] + [{"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {n: {"id": n, "ids": [i], "tokens": [n]} for n, i in names.items()}}


POSTPROCESSORS = {
    "Template": template("<s> $A"), "Template both": template("<s> $A </s> </s>"), "Template behind": template("$A </s>"),
    "ByteLevel": byte_level(),
    "BertProcessing": {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1]},
    "RobertaProcessing": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 1], "trim_offsets": False, "add_prefix_space": True},
    "Sequence": sequence("processors", byte_level(), template("<s> $A </s>")),
}


def bpe(vocabulary, merges, **options):
    plain = dict(dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None, fuse_unk=False, byte_fallback=False,
                 ignore_merges=False)
    return {"type": "BPE", **plain, **options, "vocab": {t: i for i, t in enumerate(vocabulary)}, "merges": merges}


def models():
    letters = ["<unk>", "a", "b", "x", "o", "l", "e", "H", "w", "r", "d", " ", "▁", "日", "é", "t", "k", "n"]
    merges = [["a", "b"], ["a", "a"], ["x", "x"], ["xx", "xx"], ["l", "l"], ["e", "ll"], ["ab", "ab"], ["b", "b"], ["o", " "]]
    joined = letters + ["ab", "aa", "xx", "xxxx", "ll", "ell", "abab", "bb", "o "]
    yield "BPE", bpe(joined, merges), {}
    yield "BPE unknown", bpe(joined, merges, unk_token="<unk>"), {}
    yield "BPE fused unknown", bpe(joined, merges, unk_token="<unk>", fuse_unk=True), {}
    yield "BPE whole pieces", bpe(joined + ["aaaa", "Hello"], merges, unk_token="<unk>", ignore_merges=True), {"pre": {"type": "Whitespace"}}
    some = [f"<0x{b:02X}>" for b in range(256)]
    yield "BPE bytes", bpe(joined + some, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True), {}
    yield "BPE some bytes", bpe(joined + some[:0xE0], merges, unk_token="<unk>", byte_fallback=True), {}
    yield "BPE prefix", bpe(["<unk>", "a", "b", "##a", "##b", "ab", "##bb", "abab", "aab"],
                            [["a", "##b"], ["##b", "##b"], ["a", "##a"]][:2], unk_token="<unk>", continuing_subword_prefix="##"), \
        {"pre": {"type": "WhitespaceSplit"}}
    yield "BPE suffix", bpe(["<unk>", "a", "b", "a</w>", "b</w>", "ab", "ab</w>", "abab</w>"],
                            [["a", "b"], ["a", "b</w>"], ["ab", "ab</w>"]], unk_token="<unk>", end_of_word_suffix="</w>"), \
        {"pre": {"type": "WhitespaceSplit"}, "decoder": {"type": "BPEDecoder", "suffix": "</w>"}}
    alphabet = list(byte_alphabet().values())
    yield "BPE byte level", bpe(alphabet + ["Ġw", "or", "Ġwor", "ll", "ã", "ĠĠ"][0:1] + ["or", "Ġwor", "ll", "ĠĠ"],
                                [["Ġ", "w"], ["o", "r"], ["Ġw", "or"], ["l", "l"], ["Ġ", "Ġ"]]), \
        {"pre": byte_level(), "decoder": byte_level()}
    yield "BPE byte level behind", bpe(alphabet + ["Ġw", "or", "11", "12", "ĠĠ"], [["Ġ", "w"], ["o", "r"], ["1", "2"]]), \
        {"pre": PRETOKENIZERS["Falcon"], "decoder": byte_level()}
    yield "BPE few bytes", bpe(["Ġ", "a", "b", "ab", "H"], [["a", "b"]]), {"pre": byte_level(), "decoder": byte_level()}
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("a", -3.0), ("b", -3.5), ("ab", -4.0), ("aa", -4.0), ("▁a", -3.1), ("xx", -5.0), ("x", -3.0),
              ("xxx", -7.0), ("o", -2.5), ("ell", -6.0), ("e", -2.0), ("l", -4.1), ("日本", -8.0), ("aab", -5.5), ("▁two▁", -6.0)]
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": False}
    for fallback in (False, True):
        extra = [(t, -11.0) for t in some] if fallback else []
        yield f"Unigram {fallback:d}", {"type": "Unigram", "unk_id": 0, "vocab": [list(p) for p in pieces + extra], "byte_fallback": fallback}, \
            {"pre": metaspace, "decoder": metaspace}
    yield "WordPiece", {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 20,
                        "vocab": {t: i for i, t in enumerate(["[UNK]", "hello", "wor", "##ld", "##l", "a", "##a", "##aa", "b", "##b", "aa", "!", ",",
                                                              "日", "spa", "##ces", "x", "##x", "##xxxx"])}}, \
        {"normalizer": NORMALIZERS["Bert 11None1"], "pre": {"type": "BertPreTokenizer"}, "decoder": DECODERS["WordPiece 1"]}
    yield "WordLevel", wordlevel(["a", "Hello", ",", "world", "aaaa", "spaces"]), {"pre": {"type": "Whitespace"}}


def byte_places(text, places):
    ends = [0]
    for character in text:
        ends.append(ends[-1] + len(character.encode()))
    return [ends[p] for pair in places for p in pair]


# The library's places go astray where characters vanish and where a replacement is longer than one character; of byte fallback in a unigram
# model it gives the whole run.
NO_PLACES = ("model BPE", "model BPE few bytes", "model BPE some bytes", "model Unigram 1", "normalizer Replace regex")


def run(name, description, texts=range(len(TEXTS)), decodings=()):
    tokenizer = Tokenizer.from_str(json.dumps(description))
    case = {"name": name, "tokenizer": description, "encodings": [], "decodings": []}
    for number in texts:
        text = TEXTS[number]
        tokenizer.encode_special_tokens = False
        encoding = tokenizer.encode(text, add_special_tokens=False)
        one = {"text": number, "ids": encoding.ids}
        if name not in NO_PLACES:
            one["places"] = byte_places(text, encoding.offsets)
        around = tokenizer.encode(text).ids
        if around != encoding.ids:
            one["around"] = around
        # The library decodes an added token that is matched behind the normalizer to its normalized text; loam to the token's own.
        if not any(token["normalized"] and token["content"] != token["content"].lower() for token in description["added_tokens"]):
            one["decoded"] = tokenizer.decode(encoding.ids, skip_special_tokens=False)
            skipped = tokenizer.decode(encoding.ids, skip_special_tokens=True)
            if skipped != one["decoded"]:
                one["skipped"] = skipped
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        if plain != encoding.ids:
            one["plain"] = plain
        case["encodings"].append(one)
    for ids in decodings:
        case["decodings"].append({"ids": ids, "decoded": tokenizer.decode(ids, skip_special_tokens=False)})
    return case


def cases():
    for name, normalizer in NORMALIZERS.items():
        yield run("normalizer " + name, whole(wordlevel(pieces_of(normalizer, None)), normalizer=normalizer, decoder={"type": "Fuse"}))
    for name, pre in PRETOKENIZERS.items():
        yield run("pre-tokenizer " + name, whole(wordlevel(pieces_of(None, pre)), pre=pre, decoder={"type": "Fuse"}))
    for name, decoder in DECODERS.items():
        model = {"type": "WordLevel", "vocab": {t: i for i, t in enumerate(DECODER_TOKENS)}, "unk_token": "the"}
        yield run("decoder " + name, whole(model, decoder=decoder), [], DECODINGS)
    for name, post in POSTPROCESSORS.items():
        marks = [added(1, "<s>"), added(2, "</s>")]
        yield run("post-processor " + name, whole(wordlevel(["<s>", "</s>", "a", "Hello"]), marks, pre={"type": "Whitespace"}, post=post),
                  [0, 1, 2, 3, 18])
    for name, model, parts in models():
        yield run("model " + name, whole(model, **parts))
    words = sorted({w for t in TEXTS for w in t.lower().split()} - {"<tok>", "tok"})
    for flags in range(32):
        bits = dict(zip(("single_word", "lstrip", "rstrip", "normalized", "special"), (bool(flags >> i & 1) for i in range(5))))
        base = wordlevel(words)
        base["vocab"] = {w: i for w, i in base["vocab"].items()}
        size = len(base["vocab"])
        marks = [added(size, "<tok>", **bits), added(size + 1, "tok", **bits), added(size + 2, "Wordt", **bits)]
        yield run("added " + "".join("01"[v] for v in bits.values()),
                  whole(base, marks, normalizer={"type": "Lowercase"}, pre={"type": "WhitespaceSplit"}), [4, 16, 18, 31, 32])


def main():
    here = pathlib.Path(__file__).parent
    made = {"texts": TEXTS, "cases": list(cases())}
    (here / "tokenizers.json").write_text(json.dumps(made, ensure_ascii=True, separators=(",", ":")) + "\n")
    print(len(made["cases"]), "cases")


main()
