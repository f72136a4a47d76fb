"""Directories that loam writes, opened by transformers, and the other way round: without a warning, to the same logits, the same ids of
a text and the same rendered chat. For both generations of transformers, each in an environment of its own:

    pip install -r tests/interop/requirements.txt      # 5.x
    pip install transformers==4.57.1 ...               # 4.x, the rest as in requirements.txt
    python tests/interop/open_models.py build/loam

For every family: a configuration as this transformers writes it; `loam init` makes a model from it, `loam finetune` trains that for three
steps (in fp32 and in bf16) with a tokenizer and template, and both directories and the run's checkpoint are opened by transformers. Then
a model that transformers saves is opened by loam.
"""
import json
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

import torch
import transformers
from safetensors.numpy import load_file

LLAMA = dict(vocab_size=300, hidden_size=48, intermediate_size=64, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
             max_position_embeddings=256, initializer_range=0.1, head_dim=8, bos_token_id=None, eos_token_id=257)
ROPE3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
FIVE = transformers.__version__.startswith("5")


def rope(theta, scaling=None):
    """The field of this version of transformers."""
    if FIVE:
        return {"rope_parameters": {"rope_theta": theta, **(scaling or {"rope_type": "default"})}}
    return {"rope_theta": theta, "rope_scaling": scaling}


MODELS = {
    "gpt2": lambda: transformers.GPT2Config(vocab_size=300, n_positions=256, n_embd=48, n_layer=2, n_head=3, bos_token_id=257,
                                            eos_token_id=257, initializer_range=0.1),
    "llama2": lambda: transformers.LlamaConfig(**{**LLAMA, "num_key_value_heads": 6}, **rope(10000.0)),
    "llama3": lambda: transformers.LlamaConfig(**LLAMA, **rope(500000.0, ROPE3)),
    "llama3-tied": lambda: transformers.LlamaConfig(**LLAMA, **rope(500000.0, ROPE3), tie_word_embeddings=True),
    "mistral": lambda: transformers.MistralConfig(**LLAMA, **rope(10000.0), sliding_window=7),
    "qwen2": lambda: transformers.Qwen2Config(**{k: v for k, v in LLAMA.items() if k != "head_dim"}, **rope(1000000.0),
                                              tie_word_embeddings=True, use_sliding_window=True, sliding_window=5, max_window_layers=1),
    "qwen3": lambda: transformers.Qwen3Config(**{**LLAMA, "head_dim": 16}, **rope(1000000.0), tie_word_embeddings=True),
}
IDS = [(7 * i * i + 3) % 300 for i in range(40)]
TALK = [{"role": "user", "content": "Hello, who are you?"}, {"role": "assistant", "content": "Nobody yet."},
        {"role": "user", "content": "And now?"}]

said = []


class Listen(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())


def listen():
    handler = Listen(level=logging.WARNING)
    logging.getLogger().addHandler(handler)
    transformers.utils.logging.get_logger("transformers").addHandler(handler)
    warnings.showwarning = lambda message, *_: said.append(str(message))


def run(*arguments, **more):
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True, **more)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def logits_of_loam(loam, model, folder):
    out = folder / "logits.safetensors"
    run(loam, "look", "logits", model, "--ids", " ".join(map(str, IDS)), "--out", out)
    return torch.tensor(load_file(out)["logits"])


def opened(loam, model, folder, dtype):
    """Opens with transformers; the largest difference of logits. bf16 weights are computed in fp32 on both sides."""
    said.clear()
    peer, report = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, output_loading_info=True,
                                                                     attn_implementation="eager")
    assert not said, f"{model}: transformers says {said}"
    left = {key: list(value) for key, value in report.items() if value}
    assert not left, f"{model}: {left}"
    stored = json.loads((pathlib.Path(model) / "config.json").read_text())
    assert stored.get("dtype", stored.get("torch_dtype")) == dtype, stored
    with torch.no_grad():
        theirs = peer(torch.tensor([IDS])).logits[0]
    return float((theirs - logits_of_loam(loam, model, folder)).abs().max())


def same_text(loam, model):
    said.clear()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    assert not said, f"{model}: transformers says {said}"
    text = "Hello, who are you? Ça va, 東京 12345   \n\n don't"
    ours = [int(i) for i in run(loam, "tokenizer", "encode", model, input=text).split()]
    assert ours == tokenizer.encode(text, add_special_tokens=False), f"{model}: other ids"
    assert tokenizer.eos_token_id is not None
    rendered = tokenizer.apply_chat_template(TALK, tokenize=False, add_generation_prompt=True)
    assert rendered.endswith("<|im_start|>assistant\n") and "Nobody yet." in rendered, rendered


def check(loam, name, folder):
    config = MODELS[name]()
    config.architectures = [transformers.AutoModelForCausalLM.from_config(config).__class__.__name__]
    config.save_pretrained(folder / "shape")
    run(loam, "init", "--config", folder / "shape" / "config.json", "-o", folder / "base", "--seed", 3)
    apart = [opened(loam, folder / "base", folder, "float32")]
    for file in (folder / "tokenizer").iterdir():
        (folder / "base" / file.name).write_bytes(file.read_bytes())
    for dtype, stored in (("f32", "float32"), ("bf16", "bfloat16")):
        place = folder / dtype
        run(loam, "finetune", folder / "base", "--data", folder / "talk.jsonl", "--template", "chatml", "-o", place, "--steps", 3,
            "--batch", 1, "--seq", 128, "--dtype", dtype, "--save-every", 2, "--lr", "1e-3")
        apart.append(opened(loam, place, folder, stored))
        same_text(loam, place)
        apart.append(opened(loam, place / "checkpoints" / "step-2", folder, stored))
    theirs = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    theirs.save_pretrained(folder / "theirs")
    with torch.no_grad():
        apart.append(float((theirs(torch.tensor([IDS])).logits[0] - logits_of_loam(loam, folder / "theirs", folder)).abs().max()))
    print(f"transformers {transformers.__version__} {name}: opened without a word, logits at most {max(apart):.1e} apart")
    return max(apart) < 1e-4


def prepare(loam, folder):
    text = "\n".join(f"the quick brown fox number {i} says hello to user and assistant" for i in range(60))
    (folder / "text.txt").write_text(text)
    run(loam, "tokenizer", "train", folder / "text.txt", "--vocab-size", 300, "--special", "<|im_start|>", "--special", "<|im_end|>",
        "-o", folder / "tokenizer")
    (folder / "talk.jsonl").write_text("\n".join(json.dumps({"messages": TALK[:2]}) for _ in range(8)) + "\n")


def main():
    loam = os.path.abspath(sys.argv[1])
    listen()
    good = True
    for name in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            prepare(loam, pathlib.Path(folder))
            good &= check(loam, name, pathlib.Path(folder))
    sys.exit(0 if good else 1)


main()
