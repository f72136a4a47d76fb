"""Greedy text, token for token: loam against transformers for every family, and against llama.cpp on the same GGUF file.

    pip install -r tests/interop/requirements.txt     (and llama-cpp-python, bench/requirements-llama.txt, for the second half)
    python tests/interop/greedy.py build/loam [transformers|llama]

Small random models, a prompt of 20 tokens, 200 tokens behind it. A comparison ends, and is passed, where the two best logits lie within
1e-4 of each other: there, both answers are right. llama.cpp keeps keys and values in fp16 unless told otherwise; it is told fp32. It rounds
activations to the type of the weights (in bf16 and f16) or to 8 bits (in Q8_0 and Q4_0), where loam keeps fp32, and rounds to 8 bits in its
own way: of these types only the place of the first difference is printed, and only f32 must be the same throughout.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

PROMPT, TOKENS, CLOSE = 20, 200, 1e-4
SHAPE = dict(vocab_size=256, num_hidden_layers=3, initializer_range=0.15)
LONG = dict(max_position_embeddings=512)


def configs(transformers):
    llama = dict(SHAPE, **LONG, hidden_size=64, intermediate_size=128, num_attention_heads=4, num_key_value_heads=2)
    return {
        "gpt2": transformers.GPT2Config(vocab_size=256, n_layer=3, n_embd=64, n_head=4, n_positions=512, initializer_range=0.15),
        "llama": transformers.LlamaConfig(**llama),
        "llama-tied": transformers.LlamaConfig(**llama, tie_word_embeddings=True, rope_theta=500000.0),
        "mistral": transformers.MistralConfig(**llama, sliding_window=64),
        "qwen2": transformers.Qwen2Config(**llama, use_sliding_window=False),
        "qwen3": transformers.Qwen3Config(**llama, head_dim=32),
    }


def loam_ids(loam, model, prompt):
    out = subprocess.run([loam, "generate", str(model), "--ids", " ".join(map(str, prompt)), "--max-tokens", str(TOKENS),
                          "--temperature", "0", "--ignore-eos", "--json"], check=True, capture_output=True, text=True).stdout
    return json.loads(out)["ids"]


def make_models(folder):
    import torch
    import transformers
    for seed, (name, config) in enumerate(configs(transformers).items()):
        torch.manual_seed(seed + 1)
        transformers.AutoModelForCausalLM.from_config(config).float().eval().save_pretrained(folder / name)
    return list(configs(transformers))


def with_transformers(loam, folder, name, prompt):
    import torch
    import transformers
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / name, dtype=torch.float32, attn_implementation="eager").eval()
    ours, ids = loam_ids(loam, folder / name, prompt), list(prompt)
    for at, id in enumerate(ours):
        with torch.no_grad():
            best = model(torch.tensor([ids])).logits[0, -1].topk(2)
        if float(best.values[0] - best.values[1]) < CLOSE:
            print(f"{name}: {at} tokens the same, then two logits within {CLOSE}")
            return True
        if int(best.indices[0]) != id:
            print(f"{name}: token {at}: loam {id}, transformers {int(best.indices[0])}")
            return False
        ids.append(id)
    print(f"{name}: {len(ours)} tokens the same")
    return len(ours) == TOKENS


def with_llama(loam, folder, name, kind, prompt):
    import llama_cpp
    import numpy as np
    file = folder / f"{name}-{kind}.gguf"
    subprocess.run([loam, "convert", str(folder / name), "-o", str(file), "--type", kind], check=True, stderr=subprocess.DEVNULL)
    model = llama_cpp.Llama(str(file), n_ctx=512, verbose=False, logits_all=False, type_k=0, type_v=0)
    ours = loam_ids(loam, file, prompt)
    model.eval(prompt)
    exact = kind == "f32"
    for at, id in enumerate(ours):
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(model.ctx), (256,))
        second, first = np.argsort(logits)[-2:]
        if logits[first] - logits[second] < CLOSE:
            print(f"{name} {kind}: {at} tokens as llama.cpp, then two logits within {CLOSE}")
            return True
        if first != id:
            print(f"{name} {kind}: token {at}: loam {id}, llama.cpp {first}, whose best two are {logits[first] - logits[second]:.2g} apart")
            return not exact
        model.eval([int(id)])
    print(f"{name} {kind}: {len(ours)} tokens as llama.cpp")
    return True


def main():
    loam, half = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "transformers"
    prompt = [(i * 37 + 5) % 256 for i in range(PROMPT)]
    folder = pathlib.Path(sys.argv[3] if len(sys.argv) > 3 else tempfile.mkdtemp())
    names = sorted(p.name for p in folder.iterdir() if p.is_dir()) or make_models(folder)
    if half == "transformers":
        good = [with_transformers(loam, folder, name, prompt) for name in names]
    else:
        # llama.cpp has no sliding window for mistral's architecture: the file's own says "llama".
        good = [with_llama(loam, folder, name, kind, prompt) for name in names if name != "mistral"
                for kind in ("f32", "bf16", "f16", "q8_0", "q4_0")]
    sys.exit(0 if all(good) else 1)


main()
