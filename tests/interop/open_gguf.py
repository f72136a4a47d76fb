"""GGUF files of loam's against transformers, which reads them with the gguf package: the same logits on both sides.

    pip install -r tests/interop/requirements.txt
    python tests/interop/open_gguf.py build/loam

For small random models of each family that transformers reads out of GGUF: converts to every element type, opens the file with
transformers and with loam, and compares. F32 must give the original's logits to the bit; loam and transformers must agree on every
type to the rounding of two layers in fp32 (5e-5 at logits of about 10). Then converts back and compares the weights.
"""
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file

SHAPE = dict(vocab_size=64, intermediate_size=96, num_hidden_layers=2, max_position_embeddings=64)
MODELS = {
    "llama": transformers.LlamaConfig(**SHAPE, hidden_size=64, num_attention_heads=8, num_key_value_heads=2, head_dim=8,
                                      initializer_range=0.2),
    "qwen2": transformers.Qwen2Config(**SHAPE, hidden_size=64, num_attention_heads=4, num_key_value_heads=2, initializer_range=0.2,
                                      use_sliding_window=False, tie_word_embeddings=True),
    "qwen3": transformers.Qwen3Config(**SHAPE, hidden_size=256, num_attention_heads=2, num_key_value_heads=1, head_dim=128,
                                      initializer_range=0.1),
}
IDS = list(range(1, 9))


def check(loam, folder, name):
    torch.manual_seed(1)
    original = transformers.AutoModelForCausalLM.from_config(MODELS[name]).float().eval()
    original.save_pretrained(folder / name)
    wanted = original(torch.tensor([IDS])).logits[0].detach()
    good = True
    for kind in ("f32", "f16", "bf16", "q8_0", "q4_0"):
        place = folder / (name + kind)
        place.mkdir()
        file, out = place / "m.gguf", place / "logits.safetensors"
        subprocess.run([loam, "convert", folder / name, "-o", file, "--type", kind], check=True, stderr=subprocess.DEVNULL)
        peer = transformers.AutoModelForCausalLM.from_pretrained(place, gguf_file="m.gguf", dtype=torch.float32)
        theirs = peer(torch.tensor([IDS])).logits[0].detach()
        # Beside weights in blocks loam rounds activations to 8 bits as it runs; made fp32 again, they are compared as they are.
        if kind in ("q8_0", "q4_0"):
            subprocess.run([loam, "convert", file, "-o", place / "f32", "--type", "f32"], check=True, stderr=subprocess.DEVNULL)
            file = place / "f32"
        subprocess.run([loam, "look", "logits", file, "--ids", " ".join(map(str, IDS)), "--out", out], check=True)
        apart = float((theirs - torch.tensor(load_file(out)["logits"])).abs().max())
        lost = float((theirs - wanted).abs().max())
        good &= apart < 5e-5 and (kind != "f32" or lost == 0)
        print(f"{name} {kind}: loam and transformers {apart:.1e} apart; {lost:.3g} from the original")
    subprocess.run([loam, "convert", folder / (name + "f32") / "m.gguf", "-o", folder / "back", "--type", "f32"], check=True,
                   stderr=subprocess.DEVNULL)
    before, after = load_file(folder / name / "model.safetensors"), load_file(folder / "back" / "model.safetensors")
    good &= all(np.array_equal(before[key], after[key]) for key in after)
    for path in (folder / "back").iterdir():
        path.unlink()
    return good


def main():
    with tempfile.TemporaryDirectory() as folder:
        results = [check(sys.argv[1], pathlib.Path(folder), name) for name in MODELS]
    sys.exit(0 if all(results) else 1)


main()
