#!/usr/bin/env python3
"""What quantizing costs in perplexity, in loam and in llama.cpp: the same GGUF files, the same ids, the same windows.

    bench/llama_quality.py MODEL --text FILE [--loam build/loam] [--window 256] [--windows 40]

Each line of ids is a window of its own; the mean loss is over predicting all of its ids but the first. A rise is the loss with quantized
weights less the loss with fp32 weights in the same program. Needs llama-cpp-python (bench/requirements-llama.txt).
"""
import argparse, json, math, os, subprocess, sys, tempfile

import llama_cpp
import numpy as np


def llama_losses(path, windows):
    model = llama_cpp.Llama(path, n_ctx=len(windows[0]) + 8, n_batch=512, n_ubatch=512, logits_all=True, verbose=False, type_k=0, type_v=0)
    losses = []
    for window in windows:
        model.reset()
        model.eval(window)
        logits = np.array(model.scores[:len(window)], dtype=np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        below = np.log(np.exp(logits).sum(axis=1))
        losses += [below[i] - logits[i, window[i + 1]] for i in range(len(window) - 1)]
    return np.array(losses)


def loam_loss(loam, path, ids_file, window):
    out = subprocess.run([loam, "eval", path, "--data", ids_file, "--seq", str(window), "--batch", "1", "--json"], check=True,
                         capture_output=True, text=True).stdout
    return json.loads(out)


def main():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("model")
    parse.add_argument("--text", required=True)
    parse.add_argument("--loam", default="build/loam")
    parse.add_argument("--window", type=int, default=256)
    parse.add_argument("--windows", type=int, default=40)
    given = parse.parse_args()
    with open(given.text, "rb") as file:
        ids = subprocess.run([given.loam, "tokenizer", "encode", given.model], stdin=file, check=True, capture_output=True, text=True)
    ids = [int(i) for i in ids.stdout.split()]
    count = min(given.windows, len(ids) // given.window)
    windows = [ids[i * given.window:(i + 1) * given.window] for i in range(count)]
    if not windows:
        sys.exit("the text is shorter than one window")
    base, worse = {}, False
    with tempfile.TemporaryDirectory() as folder:
        ids_file = os.path.join(folder, "windows.ids")
        with open(ids_file, "w") as file:
            file.writelines(" ".join(map(str, window)) + "\n" for window in windows)
        weights = os.path.join(folder, "weights")    # without a tokenizer, which GGUF might not hold
        os.mkdir(weights)
        for name in os.listdir(given.model):
            if name in ("config.json", "generation_config.json") or ".safetensors" in name:
                os.symlink(os.path.abspath(os.path.join(given.model, name)), os.path.join(weights, name))
        for kind in ("f32", "q8_0", "q4_0"):
            path = os.path.join(folder, kind + ".gguf")
            subprocess.run([given.loam, "convert", weights, "--type", kind, "-o", path], check=True, stderr=subprocess.DEVNULL)
            ours, theirs = loam_loss(given.loam, path, ids_file, given.window)["loss"], float(llama_losses(path, windows).mean())
            base.setdefault("loam", ours), base.setdefault("llama.cpp", theirs)
            rises = ours - base["loam"], theirs - base["llama.cpp"]
            worse |= rises[0] > rises[1] + 1e-6
            print("%-5s loss: loam %.6f, llama.cpp %.6f; perplexity %.4f and %.4f; risen by %+.6f and %+.6f" %
                  (kind, ours, theirs, math.exp(ours), math.exp(theirs), *rises))
    print("%d windows of %d ids; llama-cpp-python %s" % (count, given.window, llama_cpp.__version__))
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
