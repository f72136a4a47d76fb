"""Renders conversations.jsonl with every NAME.jinja here, as transformers' apply_chat_template does, into NAME.json: a list of
{"text", "prompt"} (with and without the assistant's beginning), or {"error"} where the template raises. Also writes
byte_tokenizer.json, a byte-level vocabulary of 256 bytes, a few merges and the specials that the templates know.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python templates.py

tests/data/test_template.c holds loam's templates against the results: their Jinja must be the files here, their text that of the
Jinja.
"""
import json
import pathlib

from jinja2.exceptions import TemplateError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
SPECIALS = ["<|endoftext|>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|start_header_id|>",
            "<|end_header_id|>", "<|eot_id|>"]


def make_tokenizer():
    vocabulary = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("Ġ", "a"), ("h", "e"), ("l", "l"), ("o", "Ġa"), ("ll", "o"), ("he", "llo"), ("Ċ", "Ċ")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIALS)
    return tokenizer


def render(tokenizer, template, messages):
    try:
        return {"text": tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False),
                "prompt": tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False,
                                                        add_generation_prompt=True)}
    except TemplateError as error:
        return {"error": str(error)}


def main():
    tokenizer = make_tokenizer()
    tokenizer.save(str(HERE / "byte_tokenizer.json"))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")
    conversations = [json.loads(line)["messages"] for line in (HERE / "conversations.jsonl").read_text().strip("\n").split("\n")]
    for path in sorted(HERE.glob("*.jinja")):
        template = path.read_text()
        results = [render(fast, template, messages) for messages in conversations]
        path.with_suffix(".json").write_text(json.dumps(results, ensure_ascii=False, indent=0) + "\n")


main()
